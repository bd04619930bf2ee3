"""Everything that a comparison's picture shows, as numbers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from lossbench.explorer.batch import Pull, pull_on_batch
from lossbench.explorer.comparison import Comparison
from lossbench.explorer.crossings import Crossing, compare, locate
from lossbench.explorer.curves import Axis, Curves, curves
from lossbench.explorer.sides import Side

CROSSED = {"loss": "loss", "slope_z": "pull on the logit"}


@dataclass(frozen=True)
class Measured:
    """Curves, crossings and gradients of one comparison.

    Attributes:
        left, right, others: curves of the sides.
        crossings: of the loss and of the pull on the logit, by the names in `CROSSED`.
        pulls: gradients of left and right on the real batch.
    """

    left: Curves
    right: Curves
    others: tuple[Curves, ...]
    crossings: dict[str, list[Crossing]]
    pulls: tuple[Pull, Pull]

    def sentence(self, quantity: str, axis: Axis) -> str:
        """Say where a quantity of the two sides crosses, or which one is larger throughout."""
        name, found = CROSSED[quantity], self.crossings[quantity]
        if found:
            places = ", then ".join(f"{one.larger_after} is larger from {axis} = {one.at:.3g}" for one in found)
            return f"{name}: {places}"
        verdict = compare((self.left, self.right), quantity)
        return f"{name}: " + {"same": "the two are equal", "mixed": "no crossing"}.get(
            verdict, f"{verdict} is larger throughout"
        )


def measure(comparison: Comparison) -> Measured:
    """Compute what is drawn. A side that did not change is remembered.

    Raises: ValueError when a loss cannot have this number of classes, or its parameters do not go together.
    """
    axis, num_classes = comparison.axis, comparison.num_classes
    sides = (comparison.left, comparison.right)
    left, right = (_curves(one, axis, num_classes) for one in sides)
    others = tuple(_curves(one, axis, num_classes) for one in comparison.others)
    found = {
        quantity: locate(sides, (left, right), quantity, axis=axis, num_classes=num_classes, rounds=0)
        for quantity in CROSSED
    }
    return Measured(left, right, others, found, (_pull(sides[0]), _pull(sides[1])))


@lru_cache(maxsize=32)
def _curves(side: Side, axis: Axis, num_classes: int) -> Curves:
    return curves(side, axis=axis, num_classes=num_classes)


@lru_cache(maxsize=32)
def _pull(side: Side) -> Pull:
    return pull_on_batch(side)
