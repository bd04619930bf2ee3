"""Compare two losses by hand: curves, gradients, a real batch and a decision surface that follow the sliders.

    explore(left=side("focal", gamma=2.0), right=side("cross_entropy"))

Everything the picture shows can be had as numbers too: `curves`, `crossings`, `pull_on_batch`, `train_on_moons`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lossbench.explorer.batch import Pull, pull_on_batch, real_batch
from lossbench.explorer.comparison import Comparison
from lossbench.explorer.crossings import Crossing, crossings
from lossbench.explorer.curves import Curves, curves
from lossbench.explorer.moons import Surface, train_on_moons
from lossbench.explorer.presets import PRESETS
from lossbench.explorer.sides import Side, side

__all__ = [
    "PRESETS",
    "Comparison",
    "Crossing",
    "Curves",
    "Pull",
    "Side",
    "Surface",
    "crossings",
    "curves",
    "draw",
    "explore",
    "explore_in_page",
    "pull_on_batch",
    "real_batch",
    "side",
    "train_on_moons",
]

_LAZY = {"explore": "opening", "draw": "still", "explore_in_page": "in_page"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"lossbench.explorer.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'lossbench.explorer' has no attribute {name!r}")


if TYPE_CHECKING:
    from lossbench.explorer.in_page import explore_in_page as explore_in_page
    from lossbench.explorer.opening import explore as explore
    from lossbench.explorer.still import draw as draw
