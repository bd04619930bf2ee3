"""Split a table of runs into settings: runs that differ only in loss, probability function and seed."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from lossbench.config import RunConfig

if TYPE_CHECKING:
    import pandas as pd

COMPARED = ("loss", "loss_params", "probability", "probability_params", "seed")


@dataclass(frozen=True)
class Setting:
    """Runs that may be compared with each other.

    Args:
        name: dataset and model, then the fields in which this setting differs from the others.
        fields: every field of the config that is the same in all its runs.
        runs: the rows of the table.
    """

    name: str
    fields: dict[str, Any]
    runs: pd.DataFrame


def settings(runs: pd.DataFrame) -> list[Setting]:
    """Group runs that differ only in loss, probability function and seed; the largest group first.

    Accuracies of different datasets, models or budgets are never averaged: they land in different settings.
    """
    shared = [f.name for f in fields(RunConfig) if f.name not in COMPARED and f.name in runs]
    # As text, so that None, nan and numbers may stand in one column.
    texts = [tuple(str(value) for value in row) for row in runs[shared].itertuples(index=False)]
    groups = [runs[[text == key for text in texts]] for key in dict.fromkeys(texts)]
    varying = [name for i, name in enumerate(shared) if len({text[i] for text in texts}) > 1]
    found = [_setting(group, shared, varying) for group in groups]
    return sorted(found, key=lambda setting: -len(setting.runs))


def _setting(group: pd.DataFrame, shared: list[str], varying: list[str]) -> Setting:
    first = group.iloc[0]
    parts = [str(first[name]) for name in ("dataset", "model") if name in shared]
    parts += [f"{name} {_shown(first[name])}" for name in varying if name not in ("dataset", "model")]
    return Setting(", ".join(parts), {name: first[name] for name in shared}, group.reset_index(drop=True))


def _shown(value: object) -> str:
    return "not set" if value is None or str(value) in ("nan", "<NA>") else str(value)
