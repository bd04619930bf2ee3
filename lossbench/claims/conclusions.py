"""What the claims and the runs come to, in plain sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lossbench.claims.claim import PAPERS
from lossbench.claims.compare import Comparison, compare
from lossbench.claims.contrast import PLAIN, Contrast, Term
from lossbench.claims.estimates import holm
from lossbench.claims.evaluation import protocol
from lossbench.claims.rules import CONTRADICTED, NOT_TESTED, SUPPORTED, UNDECIDED
from lossbench.claims.tables import prepare
from lossbench.stats.grouping import Setting, merge_idle, settings
from lossbench.stats.paired import TWINS

if TYPE_CHECKING:
    import pandas as pd

REFERENCE = "cross_entropy"
COLUMNS = (
    "loss",
    "dataset",
    "model",
    "setting",
    "n",
    "estimate",
    "low",
    "high",
    "floor",
    "p",
    "p_holm",
    "verdict",
    "limits",
    "protocol",
)


def conclusions(table: pd.DataFrame, runs: pd.DataFrame | None = None) -> list[str]:
    """Say in sentences what was found.

    Args:
        table: what `evaluate` gave.
        runs: the same runs; with them come the losses that differ from cross-entropy, data set by data set.

    Returns: sentences: which losses differ from cross-entropy by more than the noise floor, on which data, by how much
        [95 % interval, pairs]; which do not, or not yet; then which claims of which paper are contradicted.
    """
    found = list(_differences(against_cross_entropy(runs))) if runs is not None else []
    return [*found, *_verdicts(table)]


def against_cross_entropy(runs: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy of each loss minus cross-entropy, in points, a row a loss and setting.

    Runs are paired by seed as for claims, the p values corrected by Holm over all losses of a setting.

    Returns: columns `loss` (its label), `dataset`, `model`, `setting`, `n`, `estimate`, `low`, `high` (95 %), `floor`,
        `p`, `p_holm`, `verdict` (`above`, `below`, `unclear`, or `inside the noise floor`), `limits`, `protocol`.
    """
    import pandas as pd

    whole = merge_idle(runs.drop_duplicates("run_id")).reset_index(drop=True)
    rows = [row for setting in settings(whole) for row in _setting_rows(setting)]
    found = pd.DataFrame(rows, columns=[n for n in COLUMNS if n not in ("p_holm", "verdict")]).assign(p_holm=1.0)
    for _, part in found.groupby("setting"):
        corrected = holm(dict(zip(part["loss"], part["p"], strict=True)))
        found.loc[part.index, "p_holm"] = part["loss"].map(corrected)
    found["verdict"] = [_place(row) for row in found.to_dict("records")]
    return found[list(COLUMNS)]


def _setting_rows(setting: Setting) -> Iterator[tuple[Any, ...]]:
    tables = prepare(setting.runs)
    levels = {name: setting.fields[name] for name in PLAIN}
    for label, name in sorted(set(zip(tables.columns["label"], tables.columns["loss"], strict=True))):
        if name in TWINS:
            continue
        sides = (Term(1.0, {"loss": name, "label": label}, str(label)), Term(-1.0, {"loss": REFERENCE}, REFERENCE))
        comparison = compare(Contrast(f"{label} minus {REFERENCE}", sides, where=levels), tables)
        if comparison.estimate:
            names = (label, setting.fields["dataset"], setting.fields["model"], setting.name)
            yield *names, comparison.pairs, *_numbers(comparison)


def _numbers(comparison: Comparison) -> tuple[float, float, float, float, float, str, str]:
    assert comparison.estimate is not None
    low, high = comparison.estimate.interval()
    p = min(1.0, 2 * min(comparison.estimate.p_above(0), comparison.estimate.p_below(0)))
    limits = "; ".join(comparison.limits)
    return comparison.mean, low, high, comparison.floor, p, limits, protocol(comparison.samples)


def _place(row: Mapping[Any, Any]) -> str:
    if row["p_holm"] >= 0.05:
        return "unclear"
    if abs(row["estimate"]) <= row["floor"]:
        return "inside the noise floor"
    return "above" if row["estimate"] > 0 else "below"


def _differences(table: pd.DataFrame) -> Iterator[str]:
    """A sentence for each data set, model and protocol."""
    for where, part in table.groupby(table["protocol"].str.rpartition(", ")[0], sort=True):
        found = [
            f"{row['loss']} {row['estimate']:+.2f} points [{row['low']:+.2f}, {row['high']:+.2f}], n={row['n']}"
            for row in part[part["verdict"].isin(["above", "below"])].sort_values("estimate").to_dict("records")
        ]
        rest = part[~part["verdict"].isin(["above", "below"])]["loss"]
        said = "; ".join(found) or "none"
        unclear = f". Not shown to differ: {', '.join(rest)}" if len(rest) else ""
        dataset, _, rest_of_it = str(where).partition(": ")
        start = f"On {dataset} ({rest_of_it}), losses that differ from cross-entropy by more than the noise floor"
        yield f"{start}: {said}{unclear}."


def _verdicts(table: pd.DataFrame) -> Iterator[str]:
    """How many claims of each paper stand, and the ones that do not."""
    for number, paper in PAPERS.items():
        part = table[table["paper"] == number]
        counts = part["verdict"].value_counts()
        said = ", ".join(f"{counts.get(name, 0)} {name}" for name in (SUPPORTED, CONTRADICTED, UNDECIDED, NOT_TESTED))
        yield f"Paper {number} ({paper.name}), {len(part)} claims: {said}."
        for row in part[part["verdict"] == CONTRADICTED].to_dict("records"):
            size = f"{row['estimate']:.3g} {row['unit']}"
            if row["low"] == row["low"]:
                size += f" [{row['low']:.3g}, {row['high']:.3g}]"
            yield f"Does not survive: {row['says']} ({size}, n={row['n']}; {row['why']}.)"
