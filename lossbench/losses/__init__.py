"""Every loss of the five papers, and `Criterion`, a drop-in for nn.CrossEntropyLoss with any of them."""

from __future__ import annotations

from importlib import import_module

from lossbench.extensions import extend_inherited
from lossbench.losses.criterion import Criterion
from lossbench.losses.registry import LOSSES, LossEntry, find_loss, register
from lossbench.losses.state import Context, LossState

# Importing a family registers its losses: this order is the order in which they are taught and listed.
FAMILIES = (
    "thesis",
    "adma",
    "sampling_free",
    "false_positive",
    "confidence",
    "hierarchical",
    "embedding",
    "sampled_margin",
    "n_pairs",
    "proxies",
)
for _family in FAMILIES:
    import_module(f"lossbench.losses.{_family}")
extend_inherited()

__all__ = ["LOSSES", "Context", "Criterion", "LossEntry", "LossState", "find_loss", "register"]
