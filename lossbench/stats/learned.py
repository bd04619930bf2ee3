"""Whether runs are worth a word: networks that have learned their task, and curves that have become flat.

**Not learned.** A comparison gets no word where the better of its two sides has a mean test accuracy below what is had
without a network (`data.yardsticks.UNTRAINED`: class means of raw pixels, or the commonest class; three standard errors
above guessing where neither is known), or where more than half the runs of one side are no better than guessing. A
loss that is merely bad, beside a cross-entropy that has learned, keeps its `worse`.

**Still rising.** A run was cut off where its best epoch is its last, and the last third of its epochs gained more
accuracy than one standard error of that accuracy on its validation images. Such a run compares how fast losses learn as
well as where they lead. Its word stands, as a word about this budget, and every table says how many such runs it
rests on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lossbench.data.dataset import VALIDATION_FRACTION
from lossbench.data.yardsticks import chance_level, untrained_accuracy
from lossbench.stats.runs import judged_accuracy

if TYPE_CHECKING:
    import pandas as pd

NOT_LEARNED = "not learned"  # stands in place of a word


def why_not_learned(dataset: str, images: float, sides: Sequence[tuple[str, Sequence[float]]]) -> str:
    """Why nothing can follow from these runs, by the rule at the top of this module; empty where something can.

    Args:
        images: number of test images, nan where unknown.
        sides: of each its label and the test accuracy of every run, nan for one that has none.
    """
    scores = [(label, np.asarray(values, dtype=float)) for label, values in sides]
    means = [float(np.nanmean(values)) for _, values in scores if np.isfinite(values).any()]
    best, bar = max(means, default=math.nan), untrained_accuracy(dataset, images)
    if best < bar:
        return f"no network learned: accuracy {100 * best:.0f} %, without a network {100 * bar:.0f} %"
    guessing = chance_level(dataset, images)
    for label, values in scores:
        stuck = int((values <= guessing).sum())
        if 2 * stuck > len(values):
            return f"{stuck} of {len(values)} runs of {label} stayed at chance"
    return ""


def why_runs_not_learned(*sides: pd.DataFrame) -> str:
    """`why_not_learned` for tables of runs, a table a side; empty where they have no data set or no accuracies."""
    first = sides[0]
    if first.empty or not {"dataset", "test_accuracy"} <= set(first):
        return ""
    images = float(first["test_images"].astype(float).min()) if "test_images" in first else math.nan
    name = "label" if "label" in first else "loss"
    scores = [
        (str(side[name].iloc[0]), list(side["test_accuracy"].astype(float).where(side["status"] == "finished")))
        for side in sides
        if len(side)
    ]
    return why_not_learned(str(first["dataset"].iloc[0]), images, scores)


def at_chance(runs: pd.DataFrame) -> int:
    """How many finished runs are no better than guessing: within three standard errors of one over the classes."""
    if runs.empty or not {"dataset", "test_accuracy", "test_images"} <= set(runs):
        return 0
    dataset = str(runs["dataset"].iloc[0])
    limits = [chance_level(dataset, images) for images in runs["test_images"].astype(float)]
    return int(((runs["status"] == "finished") & (runs["test_accuracy"].astype(float) <= limits)).sum())


def is_last_best(runs: pd.DataFrame) -> pd.Series:
    """For each run whether its best epoch is the last that it trained."""
    done = runs["epochs_done"] if "epochs_done" in runs else runs["epochs"]
    return (runs["best_epoch"].astype(float) >= done.astype(float)).rename("last")


def still_rising(runs: pd.DataFrame, history: pd.DataFrame) -> pd.Series:
    """For each run whether it was cut off while it still became better, by the rule at the top of this module.

    Args:
        runs: what `load_runs` gives, a run once.
        history: what `load_history` gives of them.

    Returns: True or False in the order and with the index of `runs`. A run of one epoch, or without a history, counts
        as rising: nothing shows that it was not.
    """
    import pandas as pd

    history = history.drop_duplicates(["run_id", "epoch"])  # a run may be in two studies
    curves = dict(list(history.assign(curve=judged_accuracy(history)).groupby("run_id", sort=False)["curve"]))
    last = is_last_best(runs)
    rising = [
        bool(cut) and _rises(curves[run].to_numpy(float) if run in curves else np.array([]), images)
        for run, cut, images in zip(runs["run_id"], last, _validation_images(runs), strict=True)
    ]
    return pd.Series(rising, index=runs.index, dtype=bool, name="rising")


def _rises(curve: np.ndarray, images: float) -> bool:
    if len(curve) < 2:
        return True
    end = float(curve[-1])
    noise = math.sqrt(end * (1 - end) / images)
    return bool(end - curve[-1 - max(1, len(curve) // 3)] > noise)


def _validation_images(runs: pd.DataFrame) -> list[float]:
    """How many images scored each epoch of each run; never degraded, so the same for all runs of a data set."""
    from lossbench.data.loading import find_spec

    sizes: dict[str, float] = {}
    for name in dict.fromkeys(map(str, runs["dataset"])):
        try:
            spec = find_spec(name)
            sizes[name] = spec.validation_size or VALIDATION_FRACTION * spec.train_size
        except (ValueError, OSError):
            sizes[name] = 0
    counts = []
    for row in runs.to_dict("records"):
        held = sizes[str(row["dataset"])]
        trained = float(row.get("train_images", math.nan)) * VALIDATION_FRACTION / (1 - VALIDATION_FRACTION)
        images = row.get("test_images", math.nan) if row.get("selection") == "best_test" else held or trained
        counts.append(float(images) if images >= 1 else 1.0)
    return counts
