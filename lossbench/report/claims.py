"""The papers' claims, each with the verdict that these runs allow."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd

from lossbench import claims
from lossbench.claims.wording import SIGNS, count, estimate
from lossbench.losses import LOSSES as ENTRIES
from lossbench.report.evidence import Study
from lossbench.report.tables import Table
from lossbench.report.text import say

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


def page_of(table: pd.DataFrame) -> dict[str, Any]:
    """The claims in three groups, by what decides them; those of runs that these runs do not test by themselves.

    Args:
        table: what `claims.decide` returns, its figures linked.
    """
    rows = [_shown(row) for row in table.to_dict("records")]
    groups = {group: [row for row in rows if row["group"] == group] for group in claims.GROUPS}
    tested = [row for row in groups["runs"] if row["verdict"] != "not tested"]
    untested = [row for row in groups["runs"] if row["verdict"] == "not tested"]
    return {
        "tested": _group(tested),
        "untested": _group(untested),
        "others": {group: _group(rows) for group, rows in groups.items() if group != "runs" and rows},
        "decided": any(row["verdict"] in ("supported", "contradicted") for row in tested),
    }


def _group(rows: list[dict[str, Any]]) -> dict[str, Any]:
    counts = Counter(row["verdict"] for row in rows)
    papers = {
        paper: [row for row in rows if row["paper"] == paper] for paper in dict.fromkeys(r["paper"] for r in rows)
    }
    return {
        "count": len(rows),
        "verdicts": [(counts[word], word, sign) for word, sign in SIGNS.items() if counts[word]],
        "papers": [(f"Paper {paper}: {claims.PAPERS[paper].name}", rows) for paper, rows in papers.items()],
    }


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
    return Table("claims", say("table_claims"), table, shown)


def _shown(row: dict[Any, Any]) -> dict[str, Any]:
    facts = {
        "against": _titled(row["against"]),
        "estimate": estimate(row),
        "n": count(row["n"]),
        "needed": count(row["needed"]),
    }
    remarks = [_titled(row[name]) for name in ("why", "limits", "reconstruction", "here") if row[name]]
    return {
        "id": f"claim-{row['claim']}",
        "paper": str(row["paper"]),
        "place": f"Paper {row['paper']}, {row['place']}",
        "says": str(row["says"]),
        "test": _titled(row["test"]),
        "verdict": row["verdict"],
        "sign": SIGNS[row["verdict"]],
        "group": row["group"],
        "facts": {name: value for name, value in facts.items() if value not in ("–", "0", "")},
        "remarks": remarks,
        "figure": row["figure"],
        "notebook": str(row["notebook"] or ""),
    }


def _titled(text: Any) -> str:
    """A sentence of the claims with the titles of losses in place of their names."""
    return re.sub(r"\w+", lambda word: ENTRIES[word[0]].title if word[0] in ENTRIES else word[0], str(text)).replace(
        "_", " "
    )
