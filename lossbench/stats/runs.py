"""Mean and interval of each configuration over its seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from lossbench.config import RunConfig

if TYPE_CHECKING:
    import pandas as pd


def finished(runs: pd.DataFrame, metric: str = "test_accuracy") -> pd.DataFrame:
    """The runs that ended normally and have a finite `metric`."""
    values = runs[metric].astype(float)
    return runs[(runs["status"] == "finished") & np.isfinite(values)]


def probability_labels(runs: pd.DataFrame) -> pd.Series:
    """Name each run's probability function and its parameters, such as `Taylor softmax order=4`."""
    from lossbench.losses.probabilities import PROBABILITIES

    titles = {name: entry.title for name, entry in PROBABILITIES.items()}
    names = runs["probability"].astype(str).map(lambda name: titles.get(name, name.replace("_", " ")))
    if "probability_params" not in runs:
        return names
    return (names + " " + runs["probability_params"].fillna("").astype(str)).str.strip()


def t_interval(values: ArrayLike, coverage: float = 0.95) -> tuple[float, float]:
    """Student's t interval for the mean of independent values; (nan, nan) for fewer than two.

    Assumes about normal values; with three of them the interval is wide, and that is the honest width.
    """
    from scipy import stats

    sample = np.asarray(values, dtype=float)
    if not 0 < coverage < 1:
        raise ValueError(f"coverage={coverage!r} must lie in (0, 1)")
    if len(sample) < 2:
        return math.nan, math.nan
    half = stats.t.ppf((1 + coverage) / 2, len(sample) - 1) * sample.std(ddof=1) / math.sqrt(len(sample))
    return float(sample.mean() - half), float(sample.mean() + half)


def summarise(runs: pd.DataFrame, metric: str = "test_accuracy", coverage: float = 0.95) -> pd.DataFrame:
    """Mean, standard deviation and t interval of `metric` over seeds, a row a configuration.

    Runs that did not finish are counted in `diverged` and left out of the mean, which then flatters the
    configuration: read the two columns together.

    Returns: columns `probability`, `loss`, `label`, `runs`, `diverged`, `n` (values in the mean), `mean`,
        `sd`, `low`, `high`; nan where there are too few values.
    """
    import pandas as pd

    rows = []
    table = runs.assign(probability=probability_labels(runs))[["probability", "loss", "label", "status", metric]]
    for (probability, loss, label), cell in table.groupby(["probability", "loss", "label"], sort=False):
        scores = finished(cell, metric)[metric].astype(float)
        diverged = int((cell["status"] != "finished").sum())
        counts = (len(cell), diverged, len(scores))
        rows.append((probability, loss, label, *counts, scores.mean(), scores.std(), *t_interval(scores, coverage)))
    names = ["probability", "loss", "label", "runs", "diverged", "n", "mean", "sd", "low", "high"]
    return pd.DataFrame(rows, columns=names)


COMPARED = ("loss", "loss_params", "probability", "probability_params", "seed")
IDLE = {"weight_decay_on": "weight_decay", "noise_kind": "label_noise"}  # field -> the one that switches it off at 0
REFERENCE = "cross_entropy"


@dataclass(frozen=True)
class Setting:
    """Runs that may be compared with each other.

    Args:
        name: dataset and model, then the fields in which settings differ, where they are not the default.
        fields: every field of the config that is the same in all its runs.
        runs: the rows of the table.
    """

    name: str
    fields: dict[str, Any]
    runs: pd.DataFrame


def setting_fields(runs: pd.DataFrame) -> list[str]:
    """The columns in which runs that are compared with each other agree."""
    return [name for name in RunConfig.defaults() if name in runs and name not in COMPARED]


def settings(runs: pd.DataFrame, tuned: Sequence[str] = ()) -> list[Setting]:
    """Group runs that differ only in loss, probability function, seed and the `tuned` fields; the largest group first.

    Accuracies of different datasets, models or budgets are never averaged: they land in different settings.

    Raises: ValueError for a tuned field that is no column.
    """
    if strangers := set(tuned) - set(setting_fields(runs)):
        raise ValueError(f"tuned={sorted(strangers)} are no fields of a setting; there are {setting_fields(runs)}")
    shared = [name for name in setting_fields(runs) if name not in tuned]
    # As text, so that None, nan and numbers may stand in one column.
    texts = [tuple(str(value) for value in row) for row in runs[shared].itertuples(index=False)]
    groups = [runs[[text == key for text in texts]] for key in dict.fromkeys(texts)]
    varying = [name for i, name in enumerate(shared) if len({text[i] for text in texts}) > 1]
    return [_setting(group, shared, varying) for group in sorted(groups, key=len, reverse=True)]


def settings_with(runs: pd.DataFrame, losses: Sequence[str]) -> list[Setting]:
    """The settings that hold a run of each of these losses and of cross-entropy; the largest first.

    Args:
        runs: what `load_runs` gives, of one or many studies; a run that two studies share counts once.
        losses: names of losses.

    Returns: settings named by what they differ in among each other.

    Raises: ValueError when there is none.
    """
    import pandas as pd

    wanted = {REFERENCE, *losses}
    groups = [setting.runs for setting in settings(merge_idle(runs.drop_duplicates("run_id")))]
    groups = [group for group in groups if wanted <= set(group["loss"])]
    if not groups:
        there = ", ".join(sorted(set(runs["loss"]))) or "no run at all"
        raise ValueError(
            f"no setting has runs of {', '.join(sorted(wanted))} together; there are runs of {there}. Make some with "
            "`lossbench study`, see `lossbench list studies`, or read the committed studies in outputs/reference"
        )
    return settings(pd.concat(groups))


def merge_idle(runs: pd.DataFrame) -> pd.DataFrame:
    """Let runs that differ only in a field without effect meet in one setting; of two such runs the first is kept."""
    idle = {name: switch for name, switch in IDLE.items() if {name, switch} <= set(runs)}
    defaults = RunConfig.defaults()
    table = runs.assign(**{name: runs[name].mask(runs[switch] == 0, defaults[name]) for name, switch in idle.items()})
    alike = [name for name in RunConfig.defaults() if name in table] + [name for name in ("label",) if name in table]
    return table[~table[alike].astype(str).duplicated()]


def _setting(group: pd.DataFrame, shared: list[str], varying: list[str]) -> Setting:
    first, plain = group.iloc[0], RunConfig.defaults()
    parts = [str(first[name]) for name in ("dataset", "model") if name in shared]
    for name in varying:
        value = str(first[name])
        if name not in ("dataset", "model") and value not in (str(plain[name]), "None", "nan", "<NA>"):
            parts.append(f"{name} {value}")
    return Setting(", ".join(parts), {name: first[name] for name in shared}, group.reset_index(drop=True))


def judged_accuracy(history: pd.DataFrame) -> pd.Series:
    """The accuracy by which each run chose its epoch: validation accuracy, else that on the test images.

    Args:
        history: what `load_history` gives.

    Returns: a number in [0, 1] for each row; nan where neither is known.
    """
    import pandas as pd

    columns = [name for name in ("val_accuracy", "test_accuracy") if name in history]
    if not columns:
        return pd.Series(float("nan"), index=history.index)
    return history[columns].astype(float).bfill(axis=1).iloc[:, 0]
