"""The tables that claims are decided from: runs without repetition, with the scores that curves and mistakes give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from lossbench import metrics, stats
from lossbench.config import RunConfig
from lossbench.registry import parse_value
from lossbench.stats.grouping import COMPARED, merge_idle
from lossbench.stats.paired import OUTCOMES, TWINS, Outcome
from lossbench.trees import TREES, top_groups

if TYPE_CHECKING:
    import pandas as pd

    from lossbench.data import DatasetSpec

Row = dict[str, Any]
REACHED = 0.95
PARTS = (0.8, 0.75, 0.6)  # of the training images, in paper 001
# A family of data sets -> the beginnings of its variants' names, besides its own name.
VARIANTS = {"fashion-mnist": ("fashion-mini",)}
# Family of data sets -> the class that paper 000 calls the hardest.
HARDEST = {"fashion-mnist": 6, "cifar-10": 3}
# Test accuracy of the nearest class mean of raw pixels, all training images. A network below it has learned nothing.
NEAREST_MEAN = {"mnist": 0.820, "fashion-mnist": 0.677, "kmnist": 0.606, "cifar-10": 0.278}
CURVES = ("epochs_needed", "first_epoch_accuracy", "roughness", "train_gap")
MISTAKES = ("hardest_lead", "worst_gap", "similar_mistakes")
SETTING = tuple(f.name for f in fields(RunConfig) if f.name not in COMPARED)
UNKNOWN = ("", "nan", "None", "<NA>")


def _points(title: str, margin: float | None = None, higher_is_better: bool = True) -> Outcome:
    return Outcome(title, "points", 100.0, margin, higher_is_better)


SCORES: dict[str, Outcome] = {
    **OUTCOMES,
    "test_nmi": _points("NMI"),
    "test_recall_at_1": _points("recall@1"),
    "test_recall_at_8": _points("recall@8"),
    "test_top5": _points("top-5 accuracy"),
    "test_critical_error": _points("critical mistakes", higher_is_better=False),
    "best_epoch": Outcome("best epoch", "epochs", higher_is_better=False),
    "first_epoch_accuracy": _points("accuracy after the first epoch"),
    "roughness": _points("unrest of the accuracy from epoch to epoch", higher_is_better=False),
    "train_gap": _points("training minus validation accuracy", higher_is_better=False),
    "rescued": _points("share of mistakes whose true class is among the first five"),
    "hardest_lead": _points("recall by which the class lies below every other"),
    "worst_gap": _points("recall by which the worst class lies below every other", higher_is_better=False),
    "similar_mistakes": _points("mistakes within the class's branch beyond chance"),
}


@dataclass(frozen=True)
class Tables:
    """What claims look at: a dict a run, with the columns of `load_runs` and what `prepare` adds; scores by fold."""

    rows: list[Row]
    folds: pd.DataFrame | None = None


def prepare(
    runs: pd.DataFrame,
    confusion: pd.DataFrame | None = None,
    folds: pd.DataFrame | None = None,
    history: pd.DataFrame | None = None,
) -> Tables:
    """Drop runs that two studies share, and those of KL divergence, and add what claims need.

    New columns: `params` (of the loss), `ended` (finished), `at_chance`, `rescued` (share of mistakes whose true class
    is among the five most probable), `train_part` (training images over those of the same setting's largest run), and
    from `history` and `confusion`, if given, `CURVES` and `MISTAKES`.

    Raises: ValueError when `runs` lacks the columns of `load_runs`.
    """
    needed = {"run_id", "label", "status", *(f.name for f in fields(RunConfig) if f.name != "noise_kind")}
    if missing := sorted(needed - set(runs)):
        raise ValueError(f"the table of runs lacks {', '.join(missing)}; pass what load_runs gives")
    # KL divergence is cross-entropy on class indices: kept, its runs would count twice.
    table = merge_idle(runs[runs["loss"] != TWINS[1]].drop_duplicates("run_id")).reset_index(drop=True)
    if {"test_top5", "test_accuracy"} <= set(table):
        wrong = 1 - table["test_accuracy"].astype(float)
        table["rescued"] = (table["test_top5"].astype(float) - 1 + wrong) / wrong.where(wrong > 0)
    table["train_part"] = _train_parts(table)
    for scores in (_curve_scores(history), _mistake_scores(confusion, table)):
        if scores is not None:
            table = table.merge(scores, on="run_id", how="left")
    table["ended"] = table["status"] == "finished"
    table["params"] = table["loss_params"].map(_read_params)
    rows = [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]
    for row in rows:
        row["at_chance"] = float(row.get("test_accuracy", math.nan)) <= _chance(row)
    return Tables(rows, folds)


def belongs(dataset: str, family: str) -> bool:
    """Whether a data set is one of a family: `cifar-10-jpeg` is of `cifar-10`, `cifar-100` is not."""
    names = (family, *VARIANTS.get(family, ()))
    return any(dataset == name or dataset.startswith(f"{name}-") for name in names)


def untrained_accuracy(row: Row) -> float:
    """The accuracy that a network has to pass to have learned something: `NEAREST_MEAN`, else that of guessing."""
    known = (bar for family, bar in NEAREST_MEAN.items() if belongs(row["dataset"], family))
    return next(known, _chance(row))


def is_unfinished(row: Row) -> bool:
    """Whether the best epoch of a run is its last, so that it might have become better."""
    return float(row.get("best_epoch", math.nan)) >= float(row["epochs"])


def text(row: Row, name: str) -> str:
    """A run's value in a column as text, empty where there is none."""
    value = str(row.get(name, ""))
    return "" if value in UNKNOWN else value.removesuffix(".0")


@cache
def _read_params(params: str) -> dict[str, Any]:
    parts = (part.partition("=") for part in str(params).split(";") if part)
    return {name: parse_value(value) for name, _, value in parts}


def _chance(row: Row) -> float:
    """Three standard errors above one over the number of classes; 0 where that is unknown."""
    spec, images = _spec(row["dataset"]), row.get("test_images", math.nan)
    if spec is None or not float(images) > 0:
        return 0.0
    chance = 1 / max(1, len(spec.class_names))
    return chance + 3 * math.sqrt(chance * (1 - chance) / float(images))


@cache
def _spec(dataset: str) -> DatasetSpec | None:
    from lossbench.data.loading import find_spec

    try:
        return find_spec(dataset)
    except (ValueError, OSError):
        return None


def _train_parts(table: pd.DataFrame) -> pd.Series:
    """The share of the images that paper 001 would call the whole, where runs with fewer exist beside them.

    Runs of one study that differ in nothing else: 3,000 images of another study are no 0.6 of the 5,000 of this one.
    """
    import pandas as pd

    whole = table["dataset"].map({name: spec.train_size for name in set(table["dataset"]) if (spec := _spec(name))})
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


def _curve_scores(history: pd.DataFrame | None) -> pd.DataFrame | None:
    """Scores of each learning curve: validation accuracy, or test accuracy where the epoch was chosen on it."""
    import pandas as pd

    if history is None or history.empty:
        return None
    table = history.drop_duplicates(["run_id", "epoch"]).sort_values(["run_id", "epoch"], kind="stable")
    table = table.assign(judged=stats.judged_accuracy(table))
    if "train_accuracy" not in table:
        table["train_accuracy"] = np.nan
    curves = table.groupby("run_id")[["judged", "train_accuracy"]]
    rows = [(name, *_score_curve(*part.astype(float).to_numpy().T)) for name, part in curves]
    return pd.DataFrame(rows, columns=["run_id", *CURVES])


def _score_curve(curve: np.ndarray, train: np.ndarray) -> tuple[float, ...]:
    steps = np.diff(curve[len(curve) // 2 :])
    rough = float(steps.std(ddof=1)) if len(steps) > 1 else math.nan
    return metrics.epochs_to_reach(curve, REACHED), float(curve[0]), rough, float(train[-1] - curve[-1])


def _mistake_scores(confusion: pd.DataFrame | None, runs: pd.DataFrame) -> pd.DataFrame | None:
    """Scores of each confusion matrix over ten classes."""
    import pandas as pd

    if confusion is None or confusion.empty:
        return None
    datasets = dict(zip(runs["run_id"], runs["dataset"], strict=True))
    rows = []
    for run_id, cells in confusion.drop_duplicates(["run_id", "true", "predicted"]).groupby("run_id", sort=False):
        true, predicted = (cells[name].to_numpy(dtype=int) for name in ("true", "predicted"))
        if run_id in datasets and max(true.max(), predicted.max()) < 10:
            matrix = np.zeros((10, 10))
            matrix[true, predicted] = cells["count"]
            family = next((name for name in HARDEST if belongs(datasets[run_id], name)), None)
            rows.append((run_id, *_score_mistakes(matrix, family)))
    return pd.DataFrame(rows, columns=["run_id", *MISTAKES])


def _score_mistakes(matrix: np.ndarray, family: str | None) -> tuple[float, float, float]:
    """By how much the named class, and the worst one, lie below every other; how far mistakes stay among like."""
    recall = np.diag(matrix) / np.maximum(matrix.sum(axis=1), 1)
    worst, second = np.sort(recall)[:2]
    if family is None:
        return math.nan, float(second - worst), math.nan
    hardest = HARDEST[family]
    lead = float(np.delete(recall, hardest).min() - recall[hardest])
    return lead, float(second - worst), _similarity(matrix, family)


def _similarity(matrix: np.ndarray, family: str) -> float:
    """Share of mistakes that stay in the main branch of the class tree, minus the share chance would leave there."""
    tree = TREES[family]
    branches = top_groups(tree.children, tree.class_names)
    same = (branches[:, None] == branches[None, :]) & ~np.eye(len(branches), dtype=bool)
    wrong = matrix - np.diag(np.diag(matrix))
    if not wrong.any():
        return math.nan
    by_chance = wrong.sum(axis=1) @ (same.sum(axis=1) / (len(branches) - 1))
    return float(((wrong * same).sum() - by_chance) / wrong.sum())


def setting_of(row: Row, opened: Sequence[str] | set[str]) -> tuple[str, ...]:
    """The fields of the config that runs must share, as text, but for those `opened`."""
    return tuple("" if name in opened else text(row, name) for name in SETTING)
