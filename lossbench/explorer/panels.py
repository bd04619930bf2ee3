"""What each panel of the explorer's picture shows, and how the sides are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lossbench.explorer.comparison import Scale
from lossbench.explorer.curves import Array, Axis
from lossbench.plots.style import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION


@dataclass(frozen=True)
class Panel:
    """One panel of curves: the quantity of `Curves` it draws, its place, and how much of the values must be seen."""

    quantity: str
    symbol: str
    words: str
    column: int
    row: int
    coverage: float = 1.0

    def title(self, scale: Scale) -> str:
        """Symbol and words; bars where the sizes are drawn."""
        return f"{self.symbol}: {self.words}" if scale == "linear" else f"|{self.symbol}|: {self.words}"


PANELS: dict[Axis, tuple[Panel, ...]] = {
    "p": (
        Panel("loss", "L", "the loss", 0, 0, 0.96),
        Panel("slope_z", "dL/dz", "pull on the target's logit", 0, 1, 0.98),
        Panel("slope_p", "dL/dp", "slope in p", 1, 0, 0.70),
        Panel("curvature_p", "d²L/dp²", "curvature in p", 1, 1, 0.60),
    ),
    "z": (
        Panel("loss", "L", "the loss", 0, 0),
        Panel("slope_z", "dL/dz", "pull on the target's logit", 0, 1),
        Panel("p", "p", "probability of the target", 1, 0),
        Panel("curvature_z", "d²L/dz²", "curvature in z", 1, 1),
    ),
}
X_LABELS = {"p": "p, probability of the target", "z": "z, logit of the target (others 0)"}
X_LIMITS = {"p": (0.0, 1.0), "z": (-8.0, 8.0)}


@dataclass(frozen=True)
class Look:
    """How a side is drawn: told apart by colour, by dashes, and by width."""

    colour: str
    dashes: Any
    width: float
    marker: str = ""


LEFT, RIGHT = Look(BLUE, "-", 2.2, "o"), Look(VERMILLION, (0, (5, 1.8)), 2.2, "x")
OTHERS = (
    Look(GREEN, (0, (1, 1.4)), 1.5),
    Look(PURPLE, (0, (6, 1.6, 1, 1.6)), 1.3),
    Look(ORANGE, (0, (2.5, 1.5)), 1.3),
    Look(SKY, (0, (8, 1.6, 1, 1.6, 1, 1.6)), 1.3),
    Look(GREY, (0, (10, 3)), 1.3),
)


def to_scale(values: Array, scale: Scale) -> Array:
    """What is drawn: the values, or the logarithm of their sizes (nan for 0)."""
    if scale == "linear":
        return values
    with np.errstate(divide="ignore", invalid="ignore"):
        sizes = np.log10(np.abs(values))
    return np.where(np.isfinite(sizes), sizes, np.nan)


def tick_label(value: float, scale: Scale) -> str:
    """A tick as the reader wants it: the number itself also where its logarithm is drawn."""
    if scale == "linear":
        return f"{value:g}".replace("-", "\N{MINUS SIGN}")
    return f"{10.0**value:.0e}".replace("e-0", "e-").replace("e+0", "e") if abs(value) > 3 else f"{10.0**value:g}"
