"""The tables that claims are decided from: runs without repetition, with the scores that curves and mistakes give."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from lossbench import metrics, stats
from lossbench.claims.scales import SCALES
from lossbench.config import RunConfig
from lossbench.stats.grouping import COMPARED, merge_idle
from lossbench.stats.paired import TWINS
from lossbench.trees import TREES, top_groups

if TYPE_CHECKING:
    import pandas as pd

REACHED = 0.95
PARTS = (0.8, 0.75, 0.6)  # of the training images, in paper 001
# A family of data sets -> the beginnings of its variants' names, besides its own name.
VARIANTS = {"fashion-mnist": ("fashion-mini",)}
# Family of data sets -> the class that paper 000 calls the hardest.
HARDEST = {"fashion-mnist": 6, "cifar-10": 3}
CURVES = ("epochs_to_95", "first_epoch_accuracy", "curve_mean", "roughness", "train_gap")
MISTAKES = ("hardest_lead", "similar_mistakes")


# The fields of a config that runs share unless a claim is about them.
SETTING = tuple(f.name for f in fields(RunConfig) if f.name not in COMPARED)


@dataclass(frozen=True)
class Tables:
    """What claims look at, a place a run.

    Args:
        columns: arrays by column: those of `load_runs`, what `prepare` adds, `ended` (no divergence) and
            `kind_probability` (probability function with its parameters).
        settings: (runs, len(SETTING)) numbers, equal where the field's values are.
        folds: scores by run and test fold, or None.
    """

    columns: dict[str, np.ndarray]
    settings: np.ndarray
    folds: pd.DataFrame | None = None

    def said(self, row: int, name: str) -> str:
        """A run's value in a column as text, empty where there is none."""
        value = self.columns[name][row] if name in self.columns else None
        return "" if value is None or str(value) in ("nan", "<NA>") else str(value)


def prepare(
    runs: pd.DataFrame,
    confusion: pd.DataFrame | None = None,
    folds: pd.DataFrame | None = None,
    history: pd.DataFrame | None = None,
) -> Tables:
    """Drop runs that two studies share, and those of KL divergence, and add what claims need.

    New columns: `rescued` (share of mistakes whose true class is among the five most probable), `train_part` (training
    images over those of the same setting's largest run), and from `history` and `confusion`, if given, `CURVES` and
    `MISTAKES`.

    Raises: ValueError when `runs` lacks the columns of `load_runs`.
    """
    import pandas as pd

    needed = {"run_id", "label", "status", *(f.name for f in fields(RunConfig) if f.name != "noise_kind")}
    if missing := sorted(needed - set(runs)):
        raise ValueError(f"the table of runs lacks {', '.join(missing)}; pass what load_runs gives")
    # KL divergence is cross-entropy on class indices: kept, its runs would count twice.
    table = merge_idle(runs[runs["loss"] != TWINS[1]].drop_duplicates("run_id")).reset_index(drop=True)
    if {"test_top5", "test_accuracy"} <= set(table):
        wrong = 1 - table["test_accuracy"].astype(float)
        table["rescued"] = (table["test_top5"].astype(float) - 1 + wrong) / wrong.where(wrong > 0)
    table["train_part"] = _train_parts(table)
    for found in (_curve_scores(history), _mistake_scores(confusion, table)):
        if found is not None:
            table = table.merge(found, on="run_id", how="left")
    table["ended"] = table["status"] == "finished"
    table["kind_probability"] = stats.probability_labels(table)
    columns = {str(name): table[name].astype("float64" if name in SCALES else "object").to_numpy() for name in table}
    coded = [pd.factorize(table[name].astype(str))[0] if name in table else np.zeros(len(table)) for name in SETTING]
    return Tables(columns, np.column_stack(coded).astype(np.int32), folds)


def belongs(dataset: str, family: str) -> bool:
    """Whether a data set is one of a family: `cifar-10-jpeg` is of `cifar-10`, `cifar-100` is not."""
    names = (family, *VARIANTS.get(family, ()))
    return any(dataset == name or dataset.startswith(f"{name}-") for name in names)


def _train_parts(table: pd.DataFrame) -> pd.Series:
    """The share of the images that paper 001 would call the whole, where runs with fewer exist beside them.

    Runs of one study that differ in nothing else: 3,000 images of another study are no 0.6 of the 5,000 of this one.
    """
    import pandas as pd

    whole = table["dataset"].map({name: _whole(name) for name in set(table["dataset"])})
    size = table["train_size"].astype(float).fillna(whole.astype(float))
    part = pd.Series(np.nan, index=table.index)
    shared = [name for name in ("study", *SETTING) if name in table and name != "train_size"]
    for _, group in size.groupby([table[name].astype(str) for name in shared], dropna=False):
        sizes = set(group)
        for base in sorted(map(float, sizes)):
            named = {float(int(base * share)): share for share in PARTS}
            if named.keys() & sizes:
                part.update(group.map({**named, base: 1.0}).dropna())
    return part


def _whole(dataset: str) -> float:
    from lossbench.data.loading import find_spec

    try:
        return float(find_spec(dataset).train_size)
    except (ValueError, OSError):
        return float("nan")


def _curve_scores(history: pd.DataFrame | None) -> pd.DataFrame | None:
    """Scores of each learning curve: validation accuracy, or test accuracy where the epoch was chosen on it."""
    import pandas as pd

    if history is None or history.empty:
        return None
    table = history.drop_duplicates(["run_id", "epoch"]).sort_values(["run_id", "epoch"], kind="stable")
    curve = stats.judged_accuracy(table).to_numpy()
    train = (
        table["train_accuracy"].astype(float).to_numpy() if "train_accuracy" in table else np.full(len(curve), np.nan)
    )
    names, starts = np.unique(table["run_id"].to_numpy(dtype=str), return_index=True)
    rows = [
        (name, *_score_curve(values, seen))
        for name, values, seen in zip(names, np.split(curve, starts[1:]), np.split(train, starts[1:]), strict=True)
    ]
    return pd.DataFrame(rows, columns=["run_id", *CURVES])


def _score_curve(curve: np.ndarray, train: np.ndarray) -> tuple[float, ...]:
    steps = np.diff(curve[len(curve) // 2 :])
    rough = float(steps.std(ddof=1)) if len(steps) > 1 else float("nan")
    gap = float(train[-1] - curve[-1])
    return metrics.epochs_to_reach(curve, REACHED), float(curve[0]), float(curve.mean()), rough, gap


def _mistake_scores(confusion: pd.DataFrame | None, runs: pd.DataFrame) -> pd.DataFrame | None:
    """Scores of each confusion matrix whose classes paper 000 or a class tree speaks about."""
    import pandas as pd

    if confusion is None or confusion.empty:
        return None
    families = {run: _family(name) for run, name in zip(runs["run_id"], runs["dataset"], strict=True)}
    rows = []
    for run_id, cells in confusion.drop_duplicates(["run_id", "true", "predicted"]).groupby("run_id", sort=False):
        family = families.get(str(run_id))
        if family is None:
            continue
        matrix = np.zeros((10, 10))
        matrix[cells["true"].to_numpy(dtype=int), cells["predicted"].to_numpy(dtype=int)] = cells["count"]
        rows.append((run_id, _lead(matrix, HARDEST[family]), _similarity(matrix, family)))
    return pd.DataFrame(rows, columns=["run_id", *MISTAKES])


def _family(dataset: str) -> str | None:
    return next((family for family in HARDEST if belongs(dataset, family)), None)


def _lead(matrix: np.ndarray, hardest: int) -> float:
    """Recall of the hardest other class minus that of class `hardest`: above 0 if that is the hardest."""
    recall = np.diag(matrix) / np.maximum(matrix.sum(axis=1), 1)
    return float(np.delete(recall, hardest).min() - recall[hardest])


def _similarity(matrix: np.ndarray, family: str) -> float:
    """Share of mistakes that stay in the main branch of the class tree, minus the share chance would leave there."""
    tree = TREES[family]
    branches = top_groups(tree.children, tree.class_names)
    same = (branches[:, None] == branches[None, :]) & ~np.eye(len(branches), dtype=bool)
    wrong = matrix - np.diag(np.diag(matrix))
    if not wrong.any():
        return float("nan")
    by_chance = wrong.sum(axis=1) @ (same.sum(axis=1) / (len(branches) - 1))
    return float(((wrong * same).sum() - by_chance) / wrong.sum())
