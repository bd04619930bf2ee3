"""What is compared: a side is one loss on one probability function, written as it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from lossbench.explorer.ranges import starting_values
from lossbench.losses import LOSSES, Criterion
from lossbench.probabilities import PROBABILITIES
from lossbench.registry import unknown


@dataclass(frozen=True, eq=False)
class Side:
    """A loss and a probability function with all their parameters; `repr` is the code that makes it again."""

    loss: str
    loss_params: Mapping[str, Any] = field(default_factory=dict)
    probability: str = "softmax"
    probability_params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes two sides the same."""
        params = (tuple(sorted(self.loss_params.items())), tuple(sorted(self.probability_params.items())))
        return (self.loss, self.probability, *params)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Side) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        parts = [f'"{self.loss}"', *_assignments(self.loss, LOSSES[self.loss].shown, self.loss_params)]
        probability = PROBABILITIES[self.probability]
        if self.probability != "softmax":
            parts.append(f'probability="{self.probability}"')
        changed = {k: v for k, v in self.probability_params.items() if v != probability.defaults[k]}
        if changed:
            parts.append(f"probability_params={write(changed)}")
        return f"side({', '.join(parts)})"

    @property
    def label(self) -> str:
        """Name for legends, such as "focal γ=2, taylor_softmax"."""
        params = {k: v for k, v in self.loss_params.items() if not _same(v, starting_values(LOSSES[self.loss])[k])}
        label = LOSSES[self.loss].label(params)
        if self.probability == "softmax":
            return label
        return f"{label}, {PROBABILITIES[self.probability].label(self.probability_params)}"

    def criterion(self, num_classes: int) -> Criterion:
        """The criterion of this side, a value per sample, for classes of equal size.

        Raises:
            ValueError: the loss cannot have this number of classes, or its parameters do not go together.
        """
        return Criterion(
            self.loss,
            probability=self.probability,
            probability_params=dict(self.probability_params),
            reduction="none",
            num_classes=num_classes,
            class_counts=torch.ones(num_classes),
            **self.loss_params,
        )


def side(
    loss: str,
    *,
    probability: str = "softmax",
    probability_params: Mapping[str, object] | None = None,
    **loss_params: object,
) -> Side:
    """Name one side of a comparison, with the arguments of `lossbench.Criterion`.

    >>> side("focal", gamma=0.5, probability="taylor_softmax")
    side("focal", gamma=0.5, probability="taylor_softmax")

    Raises:
        ValueError: an unknown name, a value out of range, a loss on embeddings, or `alpha="batch"`.
        TypeError: an unknown parameter, or one of the wrong type.
    """
    entry = LOSSES[loss]
    if entry.takes != "logits":
        raise ValueError(unknown("loss on logits", loss, drawable_losses()) + f"; {loss} compares embeddings")
    if loss_params.get("alpha") == "batch":
        raise ValueError(f'{loss}: alpha="batch" depends on the other samples; the explorer takes "dataset" or "none"')
    values = {**starting_values(entry), **loss_params}
    return Side(
        loss, entry.complete(values), probability, PROBABILITIES[probability].complete(probability_params or {})
    )


def drawable_losses() -> list[str]:
    """Names of the losses that the explorer can draw: those on logits."""
    return [name for name, entry in LOSSES.items() if entry.takes == "logits"]


def _assignments(loss: str, shown: tuple[str, ...], params: Mapping[str, Any]) -> list[str]:
    starts = starting_values(LOSSES[loss])
    return [f"{k}={write(v)}" for k, v in params.items() if k in shown or not _same(v, starts[k])]


def _same(value: object, default: object) -> bool:
    return type(value) is type(default) and bool(value == default)


def write(value: object) -> str:
    """A parameter's value as code, floats without rounding noise."""
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, dict):
        return "{" + ", ".join(f"{write(k)}: {write(v)}" for k, v in value.items()) + "}"
    return f"{value:.10g}" + ".0" * (value.is_integer()) if isinstance(value, float) else repr(value)
