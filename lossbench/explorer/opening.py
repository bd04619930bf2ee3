"""How the explorer is opened: one call, whose arguments are all there is to its state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lossbench.explorer.comparison import Comparison, Scale
from lossbench.explorer.curves import Axis
from lossbench.explorer.presets import PRESETS
from lossbench.explorer.sides import Side, side
from lossbench.explorer.widget import Explorer
from lossbench.registry import unknown


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
    if preset and preset not in PRESETS:
        raise ValueError(unknown("preset", preset, PRESETS))
    start = PRESETS[preset].comparison if preset else Comparison()
    chosen = {"left": _side(left), "right": _side(right), "others": None if others is None else tuple(others)}
    settings = {"axis": axis, "scale": scale, "num_classes": num_classes, "noise": noise, "seed": seed}
    given = {name: value for name, value in {**chosen, **settings}.items() if value is not None}
    return Explorer(replace(start, **given), preset)  # type: ignore[arg-type]


def _side(given: Side | str | None) -> Side | None:
    return side(given) if isinstance(given, str) else given
