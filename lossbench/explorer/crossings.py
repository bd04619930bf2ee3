"""Where one loss overtakes the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lossbench.explorer.curves import Array, Axis, Curves, curves, default_grid
from lossbench.explorer.sides import Side

SAME = 1e-9  # relative difference below which two values count as equal
POINTS = 33


@dataclass(frozen=True)
class Crossing:
    """A point where the two sides swap places.

    Attributes:
        at: target's probability, or its logit on axis "z".
        value: the quantity there.
        larger_after: "left" or "right", the side whose size is larger just after it.
    """

    at: float
    value: float
    larger_after: str


def crossings(
    left: Side, right: Side, quantity: str = "loss", *, axis: Axis = "p", num_classes: int = 10, rounds: int = 3
) -> list[Crossing]:
    """List where the sizes of a quantity of two sides cross, in ascending order.

    Sizes are compared because slopes are negative: where |dL/dz| crosses, the other loss starts to pull harder.

    Args:
        left, right: the two sides.
        quantity: "loss", "slope_p", "slope_z", "curvature_p" or "curvature_z".
        axis: "p" (0.001 to 0.999) or "z" (-8 to 8).
        rounds: each narrows a crossing down 32 times, starting from 0.005 in p.

    Raises:
        ValueError: an unknown quantity or axis, or a number of classes that a loss cannot have.
    """
    grid = default_grid(axis)
    drawn = [curves(one, grid, axis=axis, num_classes=num_classes) for one in (left, right)]
    sides, pair = (left, right), (drawn[0], drawn[1])
    return locate(sides, pair, quantity, axis=axis, num_classes=num_classes, rounds=rounds)


def locate(
    sides: tuple[Side, Side], drawn: tuple[Curves, Curves], quantity: str, *, axis: Axis, num_classes: int, rounds: int
) -> list[Crossing]:
    """As `crossings`, from curves on the default grid that are there already; `rounds` 0 evaluates nothing more."""
    grid, difference, value = default_grid(axis), _difference(drawn, quantity), drawn[0].quantity(quantity)
    before, after = sign_changes(difference)
    if not len(before):
        return []
    ends = [np.stack([values[before], values[after]]) for values in (grid, difference, value)]
    larger_after = ["right" if was > 0 else "left" for was in ends[1][0]]
    for _ in range(rounds):
        ends = _narrow(sides, ends[0], quantity, axis, num_classes)
    at, difference, value = ends
    way = difference[0] / (difference[0] - difference[1])  # where a straight line between the ends meets zero
    places, heights = (end[0] + (end[1] - end[0]) * way for end in (at, value))
    return [
        Crossing(float(place), float(height), larger)
        for place, height, larger in zip(places, heights, larger_after, strict=True)
    ]


def _narrow(sides: tuple[Side, Side], at: Array, quantity: str, axis: Axis, num_classes: int) -> list[Array]:
    """Brackets (2, crossings) 32 times as narrow: their ends, the differences and the left side's values there."""
    steps = at[0][:, None] + (at[1] - at[0])[:, None] * np.linspace(0, 1, POINTS)
    left, right = (curves(one, steps.ravel(), axis=axis, num_classes=num_classes) for one in sides)
    difference = _difference((left, right), quantity).reshape(steps.shape)
    signs = np.sign(difference)
    first = (signs[:, 1:] != signs[:, :1]).argmax(1)  # the step after which the sign is another
    rows = np.arange(len(steps))
    finer = (steps, difference, left.quantity(quantity).reshape(steps.shape))
    return [np.stack([values[rows, first], values[rows, first + 1]]) for values in finer]


def compare(drawn: tuple[Curves, Curves], quantity: str) -> str:
    """Say in a word how the sizes stand where nothing crosses: "same", "left", "right" or "mixed"."""
    signs = np.sign(_difference(drawn, quantity))
    known: Any = signs[np.isfinite(signs) & (signs != 0)]
    if not len(known):
        return "same"
    if (known == known[0]).all():
        return "left" if known[0] > 0 else "right"
    return "mixed"


def _difference(pair: tuple[Curves, Curves], quantity: str) -> Array:
    """Size of the left minus size of the right, 0 where rounding cannot tell them apart."""
    left, right = (np.abs(one.quantity(quantity)) for one in pair)
    difference = left - right
    difference[np.abs(difference) <= SAME * np.maximum(left, right)] = 0.0
    return difference


def sign_changes(difference: Array) -> tuple[Any, Any]:
    """Neighbouring points, before and after, between which the sign changes; ties between them are passed over."""
    finite = np.isfinite(difference)
    known = np.flatnonzero(finite & (difference != 0))
    before, after = known[:-1], known[1:]
    gaps = np.cumsum(~finite)
    swap = (np.sign(difference[before]) != np.sign(difference[after])) & (gaps[before] == gaps[after])
    return before[swap], after[swap]
