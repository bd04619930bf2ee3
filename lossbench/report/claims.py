"""The papers' claims, each with the verdict that these runs allow."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd

from lossbench import claims
from lossbench.claims.wording import SIGNS, count, estimate, quantity
from lossbench.losses import LOSSES as ENTRIES
from lossbench.report.blocks import Block, ClaimList, Section, Text
from lossbench.report.evidence import Study
from lossbench.report.tables import Table

TITLE = "The papers' claims"
# Where the page shows what a claim is about: the ending of a figure's name; the papers' tables have names of their own.
FIGURES = {
    "ce-equals-kl": "differences",
    "thesis-accuracy": "differences",
    "thesis-epochs": "epochs",
    "thesis-probabilities": "heat",
    "thesis-tables": "published-000",
    "thesis-confusion": "confusion",
    "adma-tables": "published-001",
    "adma-accuracy": "differences",
    "adma-learning": "curves",
    "adma-exponent": "differences",
    "adma-fractions": "differences",
    "sampling-sweeps": "differences",
    "sampling-comparison": "differences",
    "fpl-tables": "published-003",
    "fpl-accuracy": "differences",
    "fpl-imbalance": "imbalance-1",
    "layers-accuracy": "differences",
    "layers-mistakes": "severity",
}
LOSSES = {
    "000": ("js_divergence", "kl_divergence", "focal"),
    "001": ("adma", "mse", "squared_hinge"),
    "002": ("sampling_free",),
    "003": ("false_positive",),
    "004": ("confidence_penalty", "hierarchical_cross_entropy"),
}


def link_figures(table: pd.DataFrame, studies: Sequence[Study], names: Collection[str]) -> pd.DataFrame:
    """Replace `figure` by the name of a figure of this page, or by nothing where it has none."""
    places = [_place(row["figure"], row["paper"], studies, names) for row in table.to_dict("records")]
    return table.assign(figure=places)


def _place(key: str, paper: str, studies: Sequence[Study], names: Collection[str]) -> str:
    if key not in FIGURES:
        return ""
    wanted, losses = FIGURES[key], LOSSES.get(paper, ())
    study = max(studies, key=lambda one: int(one.runs["loss"].isin(losses).sum()))
    settings = sorted(study.settings, key=lambda one: -int(one.runs["loss"].isin(losses).sum()))
    candidates = [wanted, *(f"{slug}-{wanted}" for slug in (study.slug, *(one.slug for one in settings)))]
    return next((name for name in candidates if name in names), "")


def claims_section(table: pd.DataFrame) -> Section:
    """All claims by paper; those that these runs say nothing about are folded away.

    Args:
        table: what `claims.evaluate` returns, its figures linked.
    """
    counts = Counter(table["verdict"])
    said = ", ".join(f"{counts[word]} {word} {sign}" for word, sign in SIGNS.items() if counts[word])
    rows = [_shown(row) for row in table.to_dict("records")]
    tested, untested = (
        _by_paper([row for row in rows if (row["verdict"] != "not tested") == wanted]) for wanted in (True, False)
    )
    if not ((table["kind"] == "runs") & table["verdict"].isin(("supported", "contradicted"))).any():
        text = (
            f"These runs decide none of the {len(table)} claims of the papers. The committed studies in "
            "outputs/reference do: lossbench report --output outputs/reference."
        )
        return Section("claims", TITLE, [Text(text)], [*tested, *untested], f"All claims: {said}")
    text = (
        f"{len(table)} claims of the five papers: {said}. The interval is that of the contrast that the verdict hangs "
        "on, 95 % over paired seeds; an undecided claim says how many pairs would decide it. Some claims are decided "
        "by mathematics or by the printed tables alone."
    )
    left = counts["not tested"]
    fold = f"{left} claim{'' if left == 1 else 's'} not tested by these runs"
    return Section("claims", TITLE, [Text(text), *tested], untested, fold)


def claims_table(table: pd.DataFrame) -> Table:
    """The claims as files."""
    shown = pd.DataFrame(
        {
            "paper": table["paper"],
            "place": table["place"],
            "claim": table["says"],
            "verdict": [f"{SIGNS[word]} {word}" for word in table["verdict"]],
            "estimate": [estimate(row) for row in table.to_dict("records")],
            "n": [count(n) for n in table["n"]],
        }
    )
    return Table("claims", "Claims of the papers and what the runs say about them", table, shown)


def _by_paper(rows: list[dict[str, Any]]) -> list[Block]:
    papers = dict.fromkeys(row["paper"] for row in rows)
    return [
        ClaimList(f"Paper {paper}: {claims.PAPERS[paper].name}", [row for row in rows if row["paper"] == paper])
        for paper in papers
    ]


def _shown(row: dict[Any, Any]) -> dict[str, Any]:
    facts = [
        (_words(str(row["against"])) or "estimate", estimate(row)),
        ("n", count(row["n"])),
        ("smallest difference found 4 times in 5", quantity(row["detectable"], row["unit"])),
        ("pairs that would decide", count(row["needed"])),
    ]
    remarks = [_words(str(row[name])) for name in ("why", "limits", "reconstruction") if row[name]]
    return {
        "id": f"claim-{row['claim']}",
        "paper": str(row["paper"]),
        "place": f"Paper {row['paper']}, {row['place']}",
        "says": str(row["says"]),
        "test": _words(str(row["test"])),
        "verdict": row["verdict"],
        "sign": SIGNS[row["verdict"]],
        "facts": [(name, value) for name, value in facts if value not in ("–", "0")],
        "remarks": remarks,
        "figure": row["figure"],
        "notebook": str(row["notebook"] or ""),
    }


def _words(text: str) -> str:
    for name, entry in ENTRIES.items():
        text = re.sub(rf"\b{name}\b", entry.title, text)
    return text.replace("_", " ")
