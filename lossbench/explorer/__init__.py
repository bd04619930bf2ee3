"""Compare two losses by hand: curves, gradients, a real batch and a decision surface that follow the sliders.

    explore(left=side("focal", gamma=2.0), right=side("cross_entropy"))

Everything the picture shows can be had as numbers too: `curves`, `crossings`, `pull_on_batch`, `train_on_moons`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lossbench.explorer.batch import Pull, pull_on_batch, real_batch
from lossbench.explorer.comparison import Comparison, Scale
from lossbench.explorer.crossings import Crossing, crossings
from lossbench.explorer.curves import Axis, Curves, curves
from lossbench.explorer.moons import Surface, train_on_moons
from lossbench.explorer.presets import PRESETS
from lossbench.explorer.sides import Side, side
from lossbench.names import unknown

if TYPE_CHECKING:
    from lossbench.explorer.still import Still
    from lossbench.explorer.widget import Explorer

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
    "pull_on_batch",
    "real_batch",
    "side",
    "train_on_moons",
]


def explore(
    left: Side | str | None = None,
    right: Side | str | None = None,
    *,
    preset: str = "",
    others: Sequence[Side] | None = None,
    axis: Axis | None = None,
    scale: Scale | None = None,
    num_classes: int | None = None,
    noise: float | None = None,
    seed: int | None = None,
) -> Explorer:
    """Open the explorer; in a notebook, make this the last line of a cell.

    Args:
        left, right: `side(...)` or the name of a loss; None for the preset's, or focal and cross_entropy.
        preset: a name in `PRESETS`: a figure or grid of one of the papers.
        others: up to five sides drawn thinly behind.
        axis: "p", the target's probability, or "z", its logit.
        scale: "linear", or "log" for sizes on a logarithmic scale.
        num_classes: number of classes, 2 to 1000.
        noise: share of flipped points on the two moons, 0 to 0.5.
        seed: of those points and the network's first weights.

    Raises:
        ValueError: an unknown name or a value out of range.
        TypeError: a side that is neither a `side(...)` nor a name.
    """
    from lossbench.explorer.widget import Explorer

    given: dict[str, object]
    given = {"others": others, "axis": axis, "scale": scale, "num_classes": num_classes, "noise": noise, "seed": seed}
    return Explorer(_choose(left, right, preset, given), preset)


def draw(comparison: Comparison, look: str = "") -> Still:
    """The explorer's picture of one comparison, without controls.

    Raises: ValueError when a loss cannot have this number of classes.
    """
    from lossbench.explorer.still import draw_still

    return draw_still(comparison, look)


def _choose(left: Side | str | None, right: Side | str | None, preset: str, given: dict[str, object]) -> Comparison:
    if preset and preset not in PRESETS:
        raise ValueError(unknown("preset", preset, PRESETS))
    start = PRESETS[preset].comparison if preset else Comparison()
    changes = {name: value for name, value in given.items() if value is not None}
    if isinstance(changes.get("others"), Sequence):
        changes["others"] = tuple(changes["others"])  # type: ignore[arg-type]
    for name, one in (("left", left), ("right", right)):
        if one is not None:
            changes[name] = side(one) if isinstance(one, str) else one
    return replace(start, **changes)  # type: ignore[arg-type]
