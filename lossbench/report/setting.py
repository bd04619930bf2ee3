"""One setting of a study: what the page shows of it, as numbers, tables and figures for the template."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd

from lossbench import stats
from lossbench.claims.wording import number
from lossbench.config import RunConfig
from lossbench.data.yardsticks import best_known
from lossbench.plots.style import title_of
from lossbench.report import panels, predictions, tables
from lossbench.report.evidence import Evidence
from lossbench.report.text import span


def page_of(evidence: Evidence, *, brief: bool) -> dict[str, Any]:
    """Everything that the template shows of a setting; `brief`: findings and numbers, no figure but the heat map."""
    compared = len(evidence.comparison) > 0
    shown: dict[str, Any] = {
        "slug": evidence.slug,
        "name": evidence.setting.name,
        "brief": brief,
        "words": words(evidence.comparison, evidence.titles),
        "facts": facts(evidence),
        "declared": declared([evidence]),
        "gaps": gaps(evidence),
        "limits": list(
            dict.fromkeys(limit for text in evidence.comparison["limits"] for limit in text.split("; ") if limit)
        ),
        "accuracy_table": tables.accuracy(evidence),
        "differences_table": tables.differences(evidence) if compared else None,
        "heat": panels.by_loss_and_probability(evidence),
    }
    if brief:
        return shown
    learned = evidence.history["curve"].notna().any() and evidence.history["epoch"].nunique() > 1
    return shown | {
        "unsaid": unsaid(evidence),
        "twins": twins(evidence),
        "differences": panels.differences(evidence) if compared else None,
        "accuracy": panels.accuracy(evidence),
        "scores_table": tables.scores(evidence),
        "curves": panels.curves(evidence) if learned else None,
        "epochs": panels.epochs(evidence) if learned else None,
        "epochs_table": tables.epochs(evidence) if learned else None,
        "reliability": predictions.reliability(evidence),
        "confusion": predictions.confusion(evidence),
        "classes": predictions.false_positives(evidence),
        "severity": predictions.severity(evidence),
        "runs_table": tables.every_run(evidence),
    }


def words(comparison: pd.DataFrame, titles: dict[str, str], most: int = 6) -> list[dict[str, Any]]:
    """The words that were said, best first: how often, and of what, the largest differences first."""
    order = (*stats.VERDICTS[:2], *stats.VERDICTS[:3:-1], *stats.VERDICTS[2:4])  # what differs before what does not
    shown = []
    for word in order:
        rows = comparison[comparison["verdict"] == word]
        if rows.empty:
            continue
        # A loss whose runs stayed at chance makes no headline.
        rows = rows.assign(weak=rows["at_chance"] > 0, size=-rows["mean"].abs()).sort_values(["weak", "size"])
        named = [row | {"title": titles[row["label"]]} for row in rows.head(most).to_dict("records")]
        needed = rows["needed"][rows["needed"] > 0]
        more = {"pairs": span(rows["n"]), "needed": span(needed) if len(needed) else ""}
        shown.append({"word": word, "count": len(rows), "rows": named, "more": len(rows) - len(named)} | more)
    return shown


def facts(evidence: Evidence) -> dict[str, Any]:
    """What was run, on what, how long, as far as the records know."""
    runs, fields = evidence.runs, evidence.setting.fields
    finished, seconds = runs["status"] == "finished", runs["seconds"].astype(float)
    seeds = sorted(runs["seed"].astype(int).unique())
    means = stats.summarise(runs)["mean"].dropna()
    tunable = ("optimizer", "lr", "scheduler")
    told = ("dataset", "model", "epochs", "selection", "batch_size", *tunable)
    return {
        **{name: fields[name] for name in told if name not in tunable},
        **{name: evidence.text_of(name) for name in tunable},
        "runs": len(runs),
        "finished": int(finished.sum()),
        "losses": [evidence.titles[label] for label in dict.fromkeys(runs["label"])],
        "functions": [name for name, _ in evidence.by_probability()],
        "seeds": seeds,
        "means": (float(means.min()), float(means.max())) if len(means) else None,
        "train_images": _count(runs, "train_images"),
        "test_images": _count(runs, "test_images"),
        "parameters": _count(runs, "num_parameters"),
        "known": known_beside(runs),
        "fingerprint": _first(runs, "dataset_fingerprint")[:12],
        "other": [f"{name} {value}" for name, value in fields.items() if name not in told and _changed(name, value)],
        "judged_on": evidence.judged_on,
        "time": time(seconds.sum()),
        "time_of_one": time(seconds.median()),
        "device": _first(runs, "device"),
        "threads": _first(runs, "threads"),
        "commit": _first(runs, "commit"),
        "versions": evidence.versions,
    }


def known_beside(runs: pd.DataFrame) -> str:
    """The best published accuracy of a network of this size on this data set, as text; `not known` without one."""
    sizes = runs["num_parameters"].dropna().astype(float).tolist() if "num_parameters" in runs else []
    known = best_known(str(runs["dataset"].iloc[0]), max(sizes)) if sizes else None
    return "not known" if known is None else f"{number(100 * known.accuracy, 1)} % on all images, {known.source}"


def declared(settings: Sequence[Evidence]) -> list[dict[str, Any]]:
    """What was declared before the runs of each setting, at which look each loss was decided, and what came later."""
    entries = []
    for evidence in settings:
        if (plan := evidence.declaration) is None:
            continue
        later = plan.added_after_looking
        entry = {
            "setting": evidence.setting.name,
            "plan": plan,
            "time": plan.time[:10],
            "losses": sorted({title_of(loss["loss"], loss["label"]) for more in later for loss in more.losses}),
            "seeds": sorted({seed for more in later for seed in more.seeds}),
            "margins": [more.margin for more in later if more.margin is not None],
            "looks": [more.looks for more in later if more.looks is not None],
            "coverage": evidence.coverage,
            "decided": [],
            "undecided": [],
        }
        if plan.sequential:
            table = evidence.comparison[evidence.comparison["verdict"] != "same function"]
            names = table["label"].map(evidence.titles) + table["probability"].map(
                lambda name: "" if name == "softmax" else f" with {name}"
            )
            looks = sorted(table["look"].dropna().unique())
            entry["decided"] = [(int(look), list(names[(table["look"] == look).fillna(False)])) for look in looks]
            entry["undecided"] = list(names[table["look"].isna()])
        entries.append(entry)
    return entries


def _first(runs: pd.DataFrame, column: str) -> str:
    values = runs[column].dropna().tolist() if column in runs else []
    return str(values[0]) if values else "not recorded"


def _count(runs: pd.DataFrame, column: str) -> str:
    """A count in all runs, as a range where it differs."""
    values = runs[column].dropna() if column in runs else pd.Series(dtype=float)
    return span(values) if len(values) else ""


def _changed(name: str, value: Any) -> bool:
    default = RunConfig.__dataclass_fields__[name].default
    return not (value == default or (default is None and pd.isna(value)))


def time(seconds: float) -> str:
    """Seconds in the unit that reads best."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def gaps(evidence: Evidence) -> dict[str, Any]:
    """Everything that keeps a setting from answering the question; the template names what is there."""
    runs = evidence.runs
    seeds = runs.assign(probability=stats.probability_labels(runs)).groupby(["probability", "label"])["seed"].nunique()
    finished = runs[runs["status"] == "finished"]
    mixed = [
        {"name": name.replace("_", " "), "kinds": runs[name].astype(str).nunique()}
        for name in ("device", "threads", "engine", "commit", "dataset_fingerprint")
        if name in runs and runs[name].astype(str).nunique() > 1
    ]
    return {
        "losses": runs["label"].nunique(),
        "cells": len(seeds),
        "all_cells": runs["label"].nunique() * len(evidence.by_probability()),
        "fewest": int(seeds.min()),
        "most": int(seeds.max()),
        "reference": "cross_entropy" in set(runs["loss"]),
        "runs": len(runs),
        "diverged": named(runs[runs["status"] != "finished"], evidence.titles),
        "at_chance": at_chance(runs, evidence.titles),
        "unlearned": unlearned(evidence.comparison, evidence.titles),
        "last": int(stats.is_last_best(finished).sum()),
        "rising": int(stats.still_rising(finished, evidence.history).sum()),
        "unscored": len(finished) - len(stats.finished(runs)),
        "damaged": list(evidence.damaged.values()),
        "finished": len(finished),
        "unpredicted": len(set(finished["run_id"]) - set(evidence.confusion["run_id"])),
        "judged_on": evidence.judged_on,
        "mixed": mixed,
    }


def named(runs: pd.DataFrame, titles: dict[str, str]) -> list[str]:
    """These runs by loss and probability function, counted: `2 × n-pair with softmax`."""
    kinds = Counter(zip(runs["label"], stats.probability_labels(runs), strict=True))
    return [f"{count} × {titles[label]} with {function}" for (label, function), count in kinds.items()]


def at_chance(runs: pd.DataFrame, titles: dict[str, str]) -> list[str]:
    """The finished runs that are no better than guessing, as `stats.compare` counts them, named as by `named`."""
    counts: Counter[tuple[str, str]] = Counter()
    for (_, label, function), part in runs.groupby(["dataset", "label", stats.probability_labels(runs)], sort=False):
        counts[str(label), str(function)] += stats.at_chance(part)
    return [f"{count} × {titles[label]} with {function}" for (label, function), count in counts.items() if count]


def unlearned(comparison: pd.DataFrame, titles: dict[str, str]) -> list[str]:
    """The comparisons without a word because networks have not learned, each with the reason."""
    rows = comparison[comparison["verdict"] == stats.NOT_LEARNED].to_dict("records")
    return [f"{titles[row['label']]} ({str(row['limits']).partition(';')[0]})" for row in rows]


def unsaid(evidence: Evidence) -> dict[str, Any]:
    """What the runs of this setting cannot say, however clear they look."""
    runs, fields = evidence.runs, evidence.setting.fields
    accuracy = float(stats.finished(runs)["test_accuracy"].astype(float).mean())
    images = runs["test_images"].dropna().astype(float).max() if "test_images" in runs else math.nan
    known = math.isfinite(accuracy) and math.isfinite(images) and images > 0
    return {
        **{name: fields[name] for name in ("dataset", "model", "epochs")},
        "lr": evidence.text_of("lr"),
        "tuned": "lr" in evidence.tuned,
        "accuracy": accuracy,
        "images": images,
        "spread": math.sqrt(accuracy * (1 - accuracy) / images) if known else None,
    }


def twins(evidence: Evidence) -> dict[str, Any] | None:
    """Cross-entropy against KL divergence, one function under two names: how far equal and other seeds lead apart."""
    same = stats.same_seed_differences(evidence.runs)
    spreads = evidence.comparison["single_run_sd"].dropna()
    if not same or spreads.empty:
        return None
    largest = max(map(abs, same))
    return {
        "pairs": len(same),
        "equal": sum(gap == 0 for gap in same),
        "largest": largest,
        "spread": float(spreads.mean()),
    }
