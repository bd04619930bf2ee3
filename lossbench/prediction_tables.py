"""Small tables that stand for a run's predictions: confusion counts, reliability bins, scores by fold."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossbench import metrics
from lossbench.packed import Row
from lossbench.record import damaged_file
from lossbench.records import Damages, find_records
from lossbench.stats.folds import FOLDS, score_folds

Predictions = tuple[NDArray[Any], NDArray[Any], Sequence[str]]


def prediction_rows(
    folder: Path, tables: Iterable[str], run_ids: Collection[str] | None, found: Damages
) -> dict[str, list[Row]]:
    """Rows of these tables for the finished runs in `folder` that have predictions; each file is read once."""
    rows: dict[str, list[Row]] = {table: [] for table in tables}
    for record in find_records(folder):
        wanted = run_ids is None or record.path.name in run_ids
        if not wanted or not (record.path / "predictions.npz").exists():
            continue
        with found.in_record(record):
            target, log_probs = record.predictions
            try:
                predictions = target, log_probs, record.result["class_names"]
                fresh = {table: FROM_PREDICTIONS[table](*predictions) for table in rows}
            except (KeyError, ValueError, IndexError) as error:
                raise damaged_file(record.path / "predictions.npz", error) from error
            for table, found_rows in fresh.items():
                rows[table] += [{"run_id": record.path.name, **row} for row in found_rows]
    return rows


def confusion_rows(target: NDArray[Any], log_probs: NDArray[Any], class_names: Sequence[str]) -> list[Row]:
    """How often each true class (by index) was taken for each other; pairs that never occur are left out."""
    counts = metrics.confusion_matrix(log_probs, target)
    return [
        {"true": int(true), "predicted": int(predicted), "count": int(counts[true, predicted])}
        for true, predicted in zip(*np.nonzero(counts), strict=True)
    ]


def reliability_rows(target: NDArray[Any], log_probs: NDArray[Any], class_names: Sequence[str]) -> list[Row]:
    """Confidence and accuracy in 15 equal bins of confidence; None where no image falls."""
    table = metrics.reliability_table(log_probs, target)
    rows: list[Row] = []
    for place, (low, high, count, confidence, accuracy) in enumerate(table.itertuples(index=False)):
        means = {"confidence": float(confidence), "accuracy": float(accuracy)} if count else {}
        rows.append({"bin": place, "low": float(low), "high": float(high), "count": int(count), **means})
    return rows


def fold_rows(target: NDArray[Any], log_probs: NDArray[Any], class_names: Sequence[str]) -> list[Row]:
    """Scores on each fold of the test images; none where a class has fewer images than there are folds."""
    if np.bincount(target, minlength=len(class_names)).min() < FOLDS:
        return []
    return [{"fold": fold, **scores} for fold, scores in enumerate(score_folds(target, log_probs, class_names))]


FROM_PREDICTIONS: dict[str, Callable[..., list[Row]]] = {
    "confusion": confusion_rows,
    "reliability": reliability_rows,
    "folds": fold_rows,
}
