"""The papers' claims, each with the verdict that these runs allow."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import pandas as pd

from lossbench import claims, plots, published, stats
from lossbench.claims.wording import SIGNS, count, estimate, number
from lossbench.data.yardsticks import belongs
from lossbench.losses import LOSSES as ENTRIES
from lossbench.report.drawing import Figure, Panel
from lossbench.report.evidence import Evidence, Study
from lossbench.report.tables import Table, intervals
from lossbench.report.text import say

# The losses that a paper is about, by which its study is told.
LOSSES = {
    "000": ("js_divergence", "kl_divergence", "focal"),
    "001": ("adma", "mse", "squared_hinge"),
    "002": ("sampling_free",),
    "003": ("false_positive",),
    "004": ("confidence_penalty", "hierarchical_cross_entropy"),
}


def link_figures(table: pd.DataFrame, studies: Sequence[Study], names: Collection[str]) -> pd.DataFrame:
    """Replace `figure` by the name of a figure of this page, or by nothing where it has none."""
    pairs = zip(table["figure"], table["paper"], strict=True)
    return table.assign(figure=[_figure_on_page(figure, paper, studies, names) for figure, paper in pairs])


def _figure_on_page(figure: str, paper: str, studies: Sequence[Study], names: Collection[str]) -> str:
    ending = claims.FIGURES[figure].ending if figure else ""
    if not ending or not studies:
        return ""

    def runs_of_paper(part: Study | Evidence) -> int:
        return int(part.runs["loss"].isin(LOSSES.get(paper, ())).sum())

    study = max(studies, key=runs_of_paper)
    settings = sorted(study.settings, key=runs_of_paper, reverse=True)
    slugs = [study.slug, *(setting.slug for setting in settings)]
    candidates = [ending, *(f"{slug}-{ending}" for slug in slugs)]
    return next((name for name in candidates if name in names), "")


def in_groups(table: pd.DataFrame) -> dict[str, Any]:
    """The claims of the five papers, and those of the field, each as `page_of` gives them."""
    five = table["paper"].isin(claims.FIVE)
    return {"papers": page_of(table[five]), "field": page_of(table[~five])}


def page_of(table: pd.DataFrame) -> dict[str, Any]:
    """The claims by what decides them; those of tuned runs by themselves, and those of runs that these do not test.

    Args:
        table: what `claims.decide` returns, its figures linked.
    """
    rows = [_shown(row) for row in table.to_dict("records")]
    groups = {group: [row for row in rows if row["group"] == group] for group in claims.GROUPS}
    tuned = [row for row in groups["runs"] if row["tuned"]]
    plain = [row for row in groups["runs"] if not row["tuned"]]
    tested = [row for row in plain if row["verdict"] != "not tested"]
    about = {row["key"] for row in [*tested, *tuned]}
    return {
        "tested": _group(tested),
        "tuned": _group(tuned),
        "about": len(about),
        "untested": _group([row for row in plain if row["key"] not in about]),
        "others": {group: _group(rows) for group, rows in groups.items() if group != "runs" and rows},
        "decided": any(row["verdict"] in ("supported", "contradicted") for row in [*tested, *tuned]),
    }


def _group(rows: list[dict[str, Any]]) -> dict[str, Any]:
    counts = Counter(row["verdict"] for row in rows)
    papers = dict.fromkeys(row["paper"] for row in rows)
    return {
        "count": len(rows),
        "verdicts": [(counts[word], word, sign) for word, sign in SIGNS.items() if counts[word]],
        "papers": [(_title(paper), [row for row in rows if row["paper"] == paper]) for paper in papers],
    }


def _title(key: str) -> str:
    name, source = claims.PAPERS[key].name, claims.PAPERS[key].source
    return f"{name[0].upper()}{name[1:]}: {source}" if source else f"Paper {key}: {name}"


def claims_table(table: pd.DataFrame) -> Table:
    """The claims as files."""
    shown = pd.DataFrame(
        {
            "paper": [claims.PAPERS[paper].source or paper for paper in table["paper"]],
            "place": table["place"],
            "claim": table["says"],
            "runs": table["regime"],
            "verdict": [f"{SIGNS[word]} {word}" for word in table["verdict"]],
            "estimate": [estimate(row) for row in table.to_dict("records")],
            "n": [count(n) for n in table["n"]],
        }
    )
    return Table("claims", say("table_claims"), table, shown)


def _shown(row: dict[Any, Any]) -> dict[str, Any]:
    facts = {"against": _titled(row["against"]), "estimate": estimate(row)}
    facts |= {name: count(row[name]) for name in ("n", "needed")}
    tuned = row["regime"] == "tuned"
    source = claims.PAPERS[row["paper"]].source or f"Paper {row['paper']}"
    return {
        **{name: row[name] for name in ("paper", "says", "verdict", "group", "figure", "notebook")},
        "id": f"claim-{row['claim']}{'-tuned' if tuned else ''}",
        "key": row["claim"],
        "tuned": tuned,
        "place": f"{source}, {row['place']}",
        "test": _titled(row["test"]),
        "sign": SIGNS[row["verdict"]],
        "facts": {name: value for name, value in facts.items() if value not in ("–", "0", "")},
        "remarks": [_titled(row[name]) for name in ("why", "limits", "reconstruction", "here") if row[name]],
    }


def _titled(text: Any) -> str:
    """A sentence of the claims with the titles of losses in place of their names."""
    titled = re.sub(r"\w+", lambda word: ENTRIES[word[0]].title if word[0] in ENTRIES else word[0], str(text))
    return titled.replace("_", " ")


# The papers' numbers beside ours, cell by cell: never in one column, never in one mean.

TUNED = ("adma", "false_positive")  # their hyperparameters are tuned or not stated in the papers
Row = dict[Any, Any]


@dataclass(frozen=True)
class Source:
    """A published table: its name, the number of its paper, and the column that it prints."""

    table: str
    paper: str
    metric: str


SOURCES = (
    Source("thesis_table_4_1", "000", "test_accuracy"),
    Source("adma_tables_1_4", "001", "val_accuracy"),
    Source("fpl_tables_2_3", "003", "test_accuracy"),
)


def _trained_alike(evidence: Evidence, row: Row) -> bool:
    """Whether a setting trains as a row of a table did, if the table tells its losses apart by that."""
    if not row["regularisation"]:
        return True
    fields, decayed = evidence.setting.fields, row["regularisation"].startswith("L2")
    return bool(fields["optimizer"] == row["optimizer"].lower() and (fields["weight_decay"] > 0) == decayed)


def compare(studies: Sequence[Study]) -> Iterator[tuple[Figure, Table]]:
    """A figure and a table for every published table, from the study that shares most cells with it."""
    for source in SOURCES:
        cells = max((shared_cells(study, source) for study in studies), key=len)
        if len(cells) and (cells["n"] > 0).any():
            yield _figure(source, cells), _table(source, cells)


@cache
def _printed(source: Source) -> pd.DataFrame:
    """The rows of a published table that print its metric, each with its `difference` to cross-entropy there."""
    table = published.runs(source.table)
    table = table.assign(function=stats.probability_labels(table))[table[source.metric].notna()]
    alike = ["dataset", "model", "optimizer", "regularisation", "function", "source_table"]
    base = table[table["loss"] == "cross_entropy"].drop_duplicates(alike).set_index(alike)[source.metric]
    return table.assign(difference=table[source.metric] - table.join(base.rename("base"), on=alike)["base"])


def shared_cells(study: Study, source: Source) -> pd.DataFrame:
    """A row a published configuration and setting of ours that meet, with both values and both differences.

    A cell is a data set family, a loss and a probability function; the differences are to cross-entropy in the same
    table and model, or in the same setting and under the same seeds.
    """
    theirs = _printed(source)
    rows = []
    for evidence in _comparable(study):
        same = theirs[[belongs(evidence.setting.fields["dataset"], family) for family in theirs["dataset"]]]
        if same.empty:
            continue
        means, differences = stats.summarise(evidence.runs, source.metric), stats.compare(evidence.runs, source.metric)
        differences = differences[["probability", "label", "mean", "low", "high", "n", "verdict"]]
        measured = means.merge(differences, on=["probability", "label"], how="left", suffixes=("", "_difference"))
        for row in same.to_dict("records"):
            if _trained_alike(evidence, row):
                rows += [_cell(evidence, row, match, source) for match in _matches(measured, row)]
    return pd.DataFrame(rows)


def _comparable(study: Study) -> list[Evidence]:
    """The settings with the right targets, as the papers had them, and on each data set with the most images."""
    clean = []
    for evidence in study.settings:
        fields = evidence.setting.fields
        usual = float(fields["label_noise"]) == 0 and float(fields["imbalance"]) == 1
        if usual and "cross_entropy" in set(evidence.runs["loss"]):
            size = fields["train_size"]
            clean.append((evidence, fields["dataset"], math.inf if pd.isna(size) else float(size)))
    most = {dataset: size for _, dataset, size in sorted(clean, key=lambda part: part[2])}
    return [evidence for evidence, dataset, size in clean if size == most[dataset]]


def _matches(measured: pd.DataFrame, row: Row) -> list[Row]:
    same = (measured["probability"] == row["function"]) & (measured["loss"] == row["loss"]) & (measured["n"] > 0)
    exact = measured[same & (measured["label"] == row["label"])]
    if len(exact) or row["loss"] not in TUNED:
        return list(exact.to_dict("records"))
    # Our versions without extras stand for them: what the loss is by default, or with constant class weights.
    entry = ENTRIES[row["loss"]]
    plain = [entry.label()]
    if "alpha" in entry.defaults:
        plain += [entry.label({"alpha": alpha}) for alpha in ("none", "dataset")]
    return list(measured[same & measured["label"].isin(plain)].to_dict("records"))


def _cell(evidence: Evidence, row: Row, match: Row, source: Source) -> dict[str, Any]:
    pairs = match["n_difference"]
    return {
        "data": evidence.setting.fields["dataset"],
        "setting": evidence.setting.name,
        "loss": evidence.titles[match["label"]],
        "probability": match["probability"],
        "their data": row["dataset"],
        "their table": f"paper {source.paper}, {row['source_table']}",
        "their model": row["model"],
        "our model": evidence.setting.fields["model"],
        "published": row[source.metric],
        "measured": match["mean"],
        "measured_low": match["low"],
        "measured_high": match["high"],
        "runs": match["n"],
        "diverged": match["diverged"],
        "published_difference": row["difference"],
        "difference": match["mean_difference"],
        "low": match["low_difference"],
        "high": match["high_difference"],
        "n": int(pairs) if pairs > 0 else 0,
        "verdict": "" if pd.isna(match["verdict"]) else match["verdict"],
    }


def _figure(source: Source, cells: pd.DataFrame) -> Figure:
    apart = cells[cells["n"] > 0].dropna(subset=["published_difference", "difference"])
    models = apart["their model"].nunique() > 1
    several = apart["setting"].nunique() > apart["data"].nunique()
    panels = []
    for setting, part in apart.groupby("setting", sort=False):
        names = part["loss"]
        if part["probability"].nunique() > 1:
            names = names + ", " + part["probability"]
        if models:
            names = names + " (" + part["their model"] + ")"
        drawn = part[["low", "high", "n"]].assign(name=names, mean=part["difference"].astype(float))
        drawn["published"] = part["published_difference"].astype(float)
        shown = "; ".join(
            f"{row['name']}: published {number(100 * row['published'], 2, sign=True)}, measured "
            f"{number(100 * row['mean'], 2, sign=True)}"
            for row in drawn.to_dict("records")
        )
        title = str(setting) if several else str(part["data"].iloc[0])
        draw = partial(plots.published_and_measured, drawn, title=title)
        panels.append(Panel(draw, f"Differences to cross-entropy, {title}. {shown}."))
    longest = max((int(part["loss"].size) for _, part in apart.groupby("setting")), default=1)
    caption = say("figure_published", paper=source.paper)
    return Figure(f"published-{source.paper}", caption, panels, 0.9 + 0.36 * longest, 4.4)


def _table(source: Source, cells: pd.DataFrame) -> Table:
    name = "setting" if cells["setting"].nunique() > cells["data"].nunique() else "data"
    half = (cells["measured_high"] - cells["measured_low"]) / 2
    shown = pd.DataFrame(
        {
            "data": cells[name],
            "loss": cells["loss"],
            "probability": cells["probability"],
            "source": cells["their table"] + ", " + cells["their model"],
            "published %": [number(100 * x, 2) for x in cells["published"]],
            "their difference": [number(100 * x, 2, sign=True) for x in cells["published_difference"]],
            "measured %": [
                number(100 * mean, 2) + (f" ±{100 * h:.2f}" if h == h else "")
                for mean, h in zip(cells["measured"], half, strict=True)
            ],
            "our difference": [number(100 * x, 2, sign=True) for x in cells["difference"]],
            "95 % interval": intervals(cells, 100, 2, sign=True),
            "word": cells["verdict"],
            "n": cells["runs"].astype(str),
        }
    )
    return Table(f"published-{source.paper}", say("table_published", paper=source.paper), cells, shown)
