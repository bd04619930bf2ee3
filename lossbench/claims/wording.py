"""Verdicts as people read them."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from lossbench.claims.verdicts import CONTRADICTED, GROUPS, PAPERS, SUPPORTED, TUNED, VERDICTS

SIGNS = dict(zip(VERDICTS, "✓✗?–", strict=True))  # so that colour is not needed
_BY = ("Decided by runs", "Decided by mathematics", "Decided by the paper's own tables")
TITLES = dict(zip(GROUPS, (*_BY, "Slips in print: copying and arithmetic"), strict=True))
NONE = "–"


def as_markdown(table: pd.DataFrame, *, links: bool = True) -> str:
    """Tables in Markdown of what `evaluate` or `decide` gave, one a group; with `links` to the claims' figures."""
    groups = [(group, table[table["group"] == group].to_dict("records")) for group in GROUPS]
    return "\n\n".join(f"**{TITLES[group]}**\n\n{_rows(rows, links)}" for group, rows in groups if rows)


def _rows(rows: list[dict[Any, Any]], links: bool) -> str:
    lines = ["| what the paper says | verdict | estimate | n | pairs that would decide |", "| --- " * 5 + "|"]
    for row in rows:
        statement = f"[{row['says']}](#{row['figure']})" if links and row["figure"] else row["says"]
        source = PAPERS[row["paper"]].source
        says = f"{statement} <br> *{source}{': ' * bool(source)}{row['place']}*"
        here = " here" if row["here"] and row["verdict"] in (SUPPORTED, CONTRADICTED) else ""
        tuned = ", every loss tuned" if row["regime"] == TUNED else ""
        verdict = f"{SIGNS[row['verdict']]} {row['verdict']}{here}{tuned} <br> *{row['why']}*"
        against = f" <br> *{row['against']}*" if row["against"] and row["n"] else ""
        cells = [says, verdict, estimate(row) + against, count(row["n"] or None), count(row["needed"])]
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join(lines)


def estimate(row: dict[Any, Any]) -> str:
    """The estimate of a claim with its unit and its 95 % interval."""
    if not _known(row["estimate"]):
        return NONE
    if not (_known(row["low"]) and _known(row["high"])):
        return quantity(row["estimate"], row["unit"])
    ends = [float(row[name]) for name in ("estimate", "low", "high")]
    digits = _digits(max(map(abs, ends)))  # one precision for all three
    value, low, high = (number(end, digits) for end in ends)
    return f"{value} {row['unit'] or ''}".strip() + f" (95 %: {low} to {high})"


def quantity(value: Any, unit: Any) -> str:
    """A number with its unit: a count as a count, anything else in about three significant digits."""
    if not _known(value):
        return NONE
    size = abs(float(value))
    if abs(size - round(size)) < 1e-9:
        return f"{number(float(value), 0)} {unit or ''}".strip()
    text = number(float(value), _digits(size))
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} {unit or ''}".strip()


def count(value: Any) -> str:
    """A whole number."""
    return f"{int(value):,}" if _known(value) else NONE


def number(value: float, digits: int, *, sign: bool = False) -> str:
    """A number with a true minus sign, with a plus sign too if `sign`; a dash where there is none."""
    if not math.isfinite(value):
        return NONE
    if sign and value == 0:
        return "0"  # exactly, which only the twins of cross-entropy reach
    rounded = round(value, digits) + 0.0  # no minus zero
    return f"{rounded:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def _digits(size: float) -> int:
    return 2 if size == 0 else max(0, min(4, 2 - math.floor(math.log10(size))))


def _known(value: Any) -> bool:
    return value is not None and value == value and math.isfinite(float(value))
