"""A study over all its settings, and what the whole page begins with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pandas as pd

from lossbench import plots, stats
from lossbench.plots.style import fold, titles_of
from lossbench.report import tables
from lossbench.report.drawing import PANEL_WIDTH, Figure, Panel
from lossbench.report.evidence import Evidence, Study
from lossbench.report.panels import table_in_words
from lossbench.report.setting import at_chance, declared, named, page_of, unlearned, words
from lossbench.report.text import say, span

FEW = 6  # settings that a page shows with all their figures
LETTERS = 44  # of a setting's name in one line
DIFFERENT = tuple(word for word in stats.VERDICTS if word.endswith(("better", "worse")))


def front(studies: Sequence[Study], comparison: pd.DataFrame) -> dict[str, Any]:
    """What the page begins with: what was run, what may be said of it, and, if nothing, why."""
    runs = pd.concat([study.runs for study in studies], ignore_index=True).drop_duplicates("run_id")
    judged = comparison[comparison["verdict"].isin(stats.VERDICTS)]
    settings = [setting for study in studies for setting in study.settings]
    titles = titles_of(runs)
    return {
        "runs": len(runs),
        "settings": [setting.setting.name for setting in settings],
        "studies": len(studies),
        "datasets": list(dict.fromkeys(runs["dataset"])),
        "models": list(dict.fromkeys(runs["model"])),
        "losses": len(set(runs["label"])),
        "functions": len(set(stats.probability_labels(runs))),
        "seeds": span(runs.groupby([runs["label"], stats.probability_labels(runs), "setting"])["seed"].nunique()),
        "why": why_nothing(runs, comparison),
        "comparisons": len(judged),
        "differing": int(judged["verdict"].isin(DIFFERENT).sum()),
        "equivalent": int((judged["verdict"] == "equivalent").sum()),
        "pairs": span(judged["n"]) if len(judged) else "0",
        "most_pairs": int(judged["n"].max()) if len(judged) else 0,
        "same": int((comparison["verdict"] == "same function").sum()),
        "margin": float(judged["margin"].max()) if len(judged) else None,
        "words": words(judged, titles, most=4 if len(settings) == 1 else 3),
        "declared": declared(settings),
        "diverged": named(runs[runs["status"] != "finished"], titles),
        "at_chance": at_chance(runs, titles),
        "unlearned": unlearned(comparison, titles),
        "alone": titles[runs["label"].iloc[0]],
        "accuracy": float(runs["test_accuracy"].astype(float).max()),
        "picture": verdicts(judged) if len(settings) > 1 and len(judged) else None,
    }


def why_nothing(runs: pd.DataFrame, comparison: pd.DataFrame) -> str:
    """Why these runs say nothing about losses, as a key of the sentence; empty where they can."""
    judged = comparison[comparison["verdict"].isin(stats.VERDICTS)]
    finished = runs[runs["status"] == "finished"]
    reasons = (
        ("diverged", finished.empty),
        ("one run", len(runs) == 1),
        ("no score", len(finished) > 0 and stats.finished(runs).empty),
        ("one loss", runs["label"].nunique() == 1),
        ("no reference", "cross_entropy" not in set(runs["loss"])),
        ("not learned", judged.empty and (comparison["verdict"] == stats.NOT_LEARNED).any()),
        ("no other loss", judged.empty and set(runs["loss"]) <= {"cross_entropy", "kl_divergence"}),
        ("no pair", judged.empty or judged["n"].max() == 0),
        ("few pairs", len(judged) > 0 and judged["n"].max() < 3),
    )
    return next((reason for reason, holds in reasons if holds), "")


def verdicts(judged: pd.DataFrame) -> Figure:
    """How often each word was said of each loss, over all settings."""
    counts = judged.groupby(["loss", "verdict"]).size().unstack(fill_value=0)
    alt = "Words said of each loss over all settings. " + "; ".join(
        f"{loss}: " + ", ".join(f"{n} {word}" for word, n in row.items() if n) for loss, row in counts.iterrows()
    )
    panel = Panel(partial(plots.verdicts, judged), alt + ".")
    return Figure(
        "across-verdicts",
        say("figure_verdicts", margin=float(judged["margin"].max())),
        [panel],
        1.3 + 0.25 * len(counts),
        5.6,
    )


def differences(study: Study) -> Figure | None:
    """Every loss minus cross-entropy in every setting and under every probability function of a study."""
    rows = tables.comparisons([study])
    several = rows["probability"].nunique() > 1
    rows = rows.assign(row=rows["setting"] + (", " + rows["probability"] if several else ""))
    if rows["row"].nunique() < 2:
        return None
    titles = titles_of(study.runs)
    order = [label for label in dict.fromkeys(plots.in_order(study.runs)["label"]) if label in set(rows["label"])]
    marked = rows["verdict"].map(lambda word: "*" if word in DIFFERENT else "")
    means, marks = (
        table.pivot_table(index="row", columns="label", values="value", aggfunc="first", sort=False).reindex(
            columns=order
        )
        for table in (rows.assign(value=100 * rows["mean"]), rows.assign(value=marked))
    )
    if means.empty:  # no pair anywhere
        return None
    means, marks = means.rename(columns=titles), marks.reindex(means.index).fillna("")
    differing = int((marks == "*").to_numpy().sum())
    alt = f"{table_in_words('Difference to cross-entropy in points', means.T, True)} {differing} cells differ."
    lines = max(fold(name, LETTERS).count("\n") + 1 for name in means.index)
    height = 1.6 + (0.16 + 0.13 * lines) * len(means)
    width = max(PANEL_WIDTH + 1, 3.6 + 0.55 * means.shape[1])
    draw = partial(plots.heat_map, means, centre=0.0, marks=marks, letters=LETTERS)
    return Figure(f"{study.slug}-differences", say("figure_map"), [Panel(draw, alt)], height, width)


def ranking(study: Study) -> Figure | None:
    """The critical-difference diagram over settings and seeds; None for one setting, whose pairs say more."""
    runs = comparable(study) if len(study.settings) > 1 else None
    if runs is None:
        return None
    ranks, titles = stats.rank_losses(runs), titles_of(runs)
    listed = ", ".join(f"{titles[str(label)]} {rank:.2f}" for label, rank in ranks.ranks.sort_values().items())
    alt = f"Critical-difference diagram over {ranks.blocks} blocks. Mean ranks: {listed}."
    lines = max(fold(titles[label], 30).count("\n") + 1 for label in ranks.ranks.index)
    height = 1.1 + (0.05 + 0.12 * lines) * len(ranks.ranks)
    caption = say("figure_ranks", ranks=ranks, settings=runs["dataset"].nunique())
    return Figure(f"{study.slug}-ranks", caption, [Panel(partial(plots.critical_difference, runs), alt)], height, 7.2)


def comparable(study: Study) -> pd.DataFrame | None:
    """Runs whose losses can be ranked: those losses that most settings share, in the settings that have them all.

    Each setting counts as a data set of its own. None if that leaves fewer than three losses or two blocks.
    """
    losses = [set(one.runs["label"]) for one in study.settings if one.runs["label"].nunique() > 2]
    shared = {label for label in set().union(*losses) if sum(label in some for some in losses) > len(losses) / 2}
    whole = [one for one in study.settings if shared <= set(one.runs["label"])]
    if len(shared) < 3 or not whole:
        return None
    parts = [one.runs[one.runs["label"].isin(shared)].assign(dataset=one.setting.name) for one in whole]
    runs = pd.concat(parts, ignore_index=True)
    try:
        stats.rank_losses(runs)
    except ValueError:
        return None
    return runs


def robustness(study: Study, field: str) -> Iterator[Figure]:
    """Accuracy against the share of wrong training targets, or the imbalance of the classes."""
    for place, runs in enumerate(_varying(study, field), start=1):
        first, titles = runs.iloc[0], titles_of(runs)
        name = f"{first['dataset']}, {first['model']}, {stats.probability_labels(runs).iloc[0]}"
        panels = []
        for reference, what in ((None, "Accuracy"), ("cross_entropy", "Minus cross-entropy")):
            table = plots.robustness_table(runs, field, reference=reference)
            if table.empty:
                continue
            shown = "; ".join(
                f"{titles[str(label)]} "
                + ", ".join(f"{100 * row['mean']:.1f} at {row[field]:g}" for _, row in part.iterrows())
                for label, part in table.groupby("label", sort=False)
            )
            draw = partial(plots.robustness, runs, field, reference=reference, title=what)
            panels.append(Panel(draw, f"{what} against {field.replace('_', ' ')}, {name}: {shown}."))
        seeds = runs[runs["status"] == "finished"].groupby(["label", field])["seed"].nunique()
        caption = say("figure_robustness", field=field, name=name, seeds=span(seeds))
        yield Figure(f"{study.slug}-{field.replace('_', '-')}-{place}", caption, panels, 3.4, PANEL_WIDTH + 0.6)


def _varying(study: Study, field: str) -> Iterator[pd.DataFrame]:
    """Runs of settings that differ in nothing but `field`, one probability function at a time."""
    groups: dict[tuple[str, ...], list[Evidence]] = {}
    for one in study.settings:
        key = tuple(str(value) for name, value in one.setting.fields.items() if name != field)
        groups.setdefault(key, []).append(one)
    for group in groups.values():
        runs = pd.concat([one.runs for one in group], ignore_index=True)
        if runs[field].nunique() < 2:
            continue
        labels = stats.probability_labels(runs)
        for name in dict.fromkeys(labels):
            part = runs[labels == name]
            if part[field].nunique() > 1:
                yield part


def page_of_study(study: Study, full: set[str]) -> dict[str, Any]:
    """Everything that the template shows of a study: all its settings together, then each."""
    several = len(study.settings) > 1
    return {
        "slug": study.slug,
        "name": study.name,
        "note": study.note,
        "settings_table": tables.settings(study) if several else None,
        "map": differences(study) if several else None,
        "ranks": ranking(study),
        "settings": [page_of(setting, brief=setting.slug not in full) for setting in study.settings],
    }


def shown_in_full(studies: Sequence[Study]) -> set[str]:
    """The settings with all their figures: all, or, where they are many, the first of each study or data set."""
    if sum(len(study.settings) for study in studies) <= FEW:
        return {one.slug for study in studies for one in study.settings}
    firsts: dict[object, str] = {}
    for study in studies:
        for one in study.settings:
            firsts.setdefault(study.slug if len(studies) > 1 else one.setting.fields["dataset"], one.slug)
    return set(firsts.values())
