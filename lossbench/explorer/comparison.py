"""The state of the explorer, which can be written as one line of code."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from lossbench.explorer.curves import AXES, Axis
from lossbench.explorer.sides import Side, side, write
from lossbench.registry import unknown

Scale = Literal["linear", "log"]
SCALES = ("linear", "log")
MOST_CLASSES = 1000


@dataclass(frozen=True)
class Comparison:
    """Two sides, other losses drawn thinly behind them, and how they are looked at.

    Attributes:
        left, right: the two that are compared.
        others: drawn for reference.
        axis: "p" or "z", what runs along the curves.
        scale: "linear", or "log" for the sizes of losses and slopes on a logarithmic scale.
        num_classes: 2 to 1000.
        noise: share of flipped points on the two moons, 0 to 0.5.
        seed: of the points and the first weights of the tiny network.

    Raises:
        ValueError: a value out of range.
        TypeError: a side that is no `side(...)`.
    """

    left: Side = field(default_factory=lambda: side("focal"))
    right: Side = field(default_factory=lambda: side("cross_entropy"))
    others: tuple[Side, ...] = ()
    axis: Axis = "p"
    scale: Scale = "linear"
    num_classes: int = 10
    noise: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        for one in (self.left, self.right, *self.others):
            if not isinstance(one, Side):
                raise TypeError(f'a side is written side("focal", gamma=2.0), got {one!r}')
        if self.axis not in AXES:
            raise ValueError(unknown("axis", self.axis, AXES))
        if self.scale not in SCALES:
            raise ValueError(unknown("scale", self.scale, SCALES))
        _check_range("num_classes", self.num_classes, 2, MOST_CLASSES, whole=True)
        _check_range("noise", self.noise, 0, 0.5)
        _check_range("seed", self.seed, 0, 2**31, whole=True)

    def code(self, preset: str = "", start: Comparison | None = None) -> str:
        """The call that shows this again, leaving out what `start` (the preset's comparison) says already."""
        parts = [f"left={self.left!r}", f"right={self.right!r}"]
        known = start or Comparison()
        if self.others != known.others:
            parts.append(f"others=[{', '.join(map(repr, self.others))}]")
        plain = ("axis", "scale", "num_classes", "noise", "seed")
        parts += [f"{k}={write(getattr(self, k))}" for k in plain if getattr(self, k) != getattr(known, k)]
        if preset:
            parts.insert(0, f'preset="{preset}"')
        return f"explore({', '.join(parts)})"


def _check_range(name: str, value: object, low: float, high: float, *, whole: bool = False) -> None:
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise TypeError(f"{name} must be a {'whole ' if whole else ''}number, got {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be {low:g} to {high:g}, got {value!r}")
