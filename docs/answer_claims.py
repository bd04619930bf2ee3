"""What the committed studies say about the claims of papers, for `docs.answer`."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pandas as pd

from lossbench import claims
from lossbench.claims.wording import SIGNS, count

MANY = 100  # pairs; more than a study of this size can add


def of_five(decided: pd.DataFrame) -> pd.Series:
    return decided["paper"].isin(claims.FIVE)


def make_blocks(decided: pd.DataFrame) -> dict[str, str]:
    """Everything about claims that is written, by marker."""
    papers, field = decided[of_five(decided)], decided[~of_five(decided)]
    return {
        "verdicts": write_verdicts(papers),
        "contradicted": write_claims(papers, "contradicted"),
        "supported": write_claims(papers, "supported"),
        "field": write_field(field),
        "field_claims": claims.as_markdown(field, links=False) + "\n",
        "tuning": write_tuning(decided),
        "open": write_open(decided),
    }


def table(header: list[str], rows: list[list[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def write_verdicts(decided: pd.DataFrame) -> str:
    """Counts of the verdicts by paper, in groups that are never summed; untuned and tuned runs apart."""
    counted = claims.count_verdicts(decided).to_dict("records")
    parts = []
    for group in claims.GROUPS:
        rows = [row for row in counted if row["group"] == group]
        runs = ["runs"] if any(row["regime"] for row in rows) else []
        lines = [
            [f"{row['name']} ({row['paper']})", *([row["regime"]] if runs else []), *(row[w] for w in claims.VERDICTS)]
            for row in rows
        ]
        if lines:
            parts.append(f"**{group.capitalize()}**\n\n{table(['paper', *runs, *claims.VERDICTS], lines)}")
    return "\n".join(parts)


def write_claims(decided: pd.DataFrame, verdict: str) -> str:
    """The claims with this verdict, by what decides them."""
    return claims.as_markdown(decided[decided["verdict"] == verdict], links=False) + "\n"


def write_field(field: pd.DataFrame) -> str:
    """A line for each claim of the field: its verdicts before and after tuning."""
    rows = []
    for _, part in field.groupby("claim", sort=False):
        first = part.iloc[0]
        words = {row["regime"]: f"{SIGNS[row['verdict']]} {row['verdict']}" for row in part.to_dict("records")}
        apart = [words.get(regime, "–") for regime in claims.REGIMES]
        shown = apart if first["regime"] else [f"{words['']} by {first['group']}"] * 2
        rows.append([first["says"], claims.PAPERS[first["paper"]].source, *shown])
    return table(["claim", "source", "one learning rate for all", "every loss tuned"], rows)


def write_tuning(decided: pd.DataFrame) -> str:
    """How the verdicts of claims changed that were judged on untuned runs and on tuned ones."""
    both = claims.before_and_after(decided)
    kept = int((both["before"] == both["after"]).sum())
    moves = Counter(zip(both["before"], both["after"], strict=True))
    order = [(old, new) for old in claims.VERDICTS for new in claims.VERDICTS if moves[old, new]]
    lines = [[old, new, moves[old, new]] for old, new in order]
    changed = both[both["before"] != both["after"]]
    listed = [
        [row["says"], row["before"], row["after"], remedy(row) if row["after"] == "undecided" else "–"]
        for row in changed.to_dict("records")
    ]
    shown = table(["claim", "untuned", "tuned", "what would decide it"], listed) if listed else ""
    return (
        f"{len(both)} claims were judged on both kinds of runs; {kept} have the same verdict on both.\n\n"
        f"{table(['untuned', 'tuned', 'claims'], lines)}\n{shown}"
    )


def write_open(decided: pd.DataFrame) -> str:
    """How many claims about runs nothing has decided, and what would decide each."""
    every = decided[decided["kind"] == "runs"]["claim"].nunique()
    left = claims.still_open(decided)
    named = Counter(kind_of_remedy(row) for row in left.to_dict("records"))
    lines = [[what, number] for what, number in named.most_common()]
    each = [
        [row["says"], SIGNS[row["verdict"]] + " " + row["verdict"], row["regime"], count(row["n"] or None), remedy(row)]
        for row in left.to_dict("records")
    ]
    whole = table(["claim", "closest", "runs", "n", "what would decide it"], each)
    return (
        f"Of {every} claims that runs can decide, {len(left)} are decided by none of these runs.\n\n"
        f"{table(['what would decide them', 'claims'], lines)}\n"
        f"<details><summary>Each of them</summary>\n\n{whole}\n</details>\n"
    )


def remedy(row: dict[Any, Any]) -> str:
    """What would decide a claim: pairs if more of them would, and what else is lacking."""
    pairs = f"{count(row['needed'])} pairs" if row["needed"] == row["needed"] else ""
    return "; ".join(filter(None, [row["remedy"], pairs])) or "not known from these runs"


def kind_of_remedy(row: dict[Any, Any]) -> str:
    """The remedy without its details, to be counted."""
    if row["verdict"] == "not tested":
        return "runs that there are none of"
    if row["remedy"].startswith("runs of"):
        return "runs of a rival or condition that is missing"
    if row["remedy"]:
        return str(row["remedy"])
    if row["needed"] != row["needed"]:
        return "not known from these runs"
    return f"up to {MANY} pairs in all" if row["needed"] <= MANY else f"more than {MANY} pairs"
