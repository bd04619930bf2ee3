"""Every loss of the five papers and those that readers ask for beside them, `Criterion`, a drop-in for
nn.CrossEntropyLoss with any of them, and what it takes to add one: `from lossbench.losses import register, at_least,
of_target, over_target`."""

from __future__ import annotations

from importlib import import_module

from lossbench.losses.catalogue import (
    LOSSES,
    Context,
    LossEntry,
    LossState,
    choices,
    fixed,
    register,
    search,
    slider,
    symbol,
)
from lossbench.losses.classification import log1m, of_target, over_target
from lossbench.losses.criterion import Criterion
from lossbench.registry import above, any_number, at_least, boolean, extend_inherited, one_of, whole

__all__ = [
    "LOSSES",
    "Context",
    "Criterion",
    "LossEntry",
    "LossState",
    "above",
    "any_number",
    "at_least",
    "boolean",
    "choices",
    "fixed",
    "log1m",
    "of_target",
    "one_of",
    "over_target",
    "register",
    "search",
    "slider",
    "symbol",
    "whole",
]

# Importing a family registers its losses: this order is the order in which they are taught and listed.
FAMILIES = ("classification", "hierarchical", "embedding", "smoothing", "robust", "scores", "imbalanced", "focusing")
for _family in FAMILIES:
    import_module(f"lossbench.losses.{_family}")
extend_inherited()
