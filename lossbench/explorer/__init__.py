"""Compare two losses by hand: curves, gradients, a real batch and a decision surface that follow the sliders.

    explore(left=side("focal", gamma=2.0), right=side("cross_entropy"))

The kernel tabulates (`tables`), the page draws (`explorer.js`), with a kernel or without one. Everything it shows can
be had as numbers too: `curves`, `crossings`, `pull_on_batch`, `train_on_moons`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lossbench.doors import on_first_use
from lossbench.explorer.comparison import PRESETS, Comparison
from lossbench.explorer.measure import Pull, Surface, pull_on_batch, real_batch, train_on_moons
from lossbench.losses.curves import Crossing, Curves, Side, crossings, curves, side

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
    "write_page",
]

_LAZY = {"explore": "widget", "draw": "in_page", "explore_in_page": "in_page", "write_page": "in_page"}


__getattr__ = on_first_use(__name__, _LAZY)


if TYPE_CHECKING:
    from lossbench.explorer.in_page import draw, explore_in_page, write_page
    from lossbench.explorer.widget import explore
