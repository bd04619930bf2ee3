"""How far the explorer's sliders reach: one table for every parameter of every loss and probability function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lossbench.entry import Entry


@dataclass(frozen=True)
class Slider:
    """A numeric control from `low` to `high` in steps of `step`; whole numbers when all three are ints."""

    low: float
    high: float
    step: float


@dataclass(frozen=True)
class Choices:
    """A control that offers these values."""

    values: tuple[Any, ...]


Control = Slider | Choices
YES_OR_NO = Choices((False, True))

RANGES: dict[str, dict[str, Control]] = {
    "js_divergence": {"sqrt": YES_OR_NO},
    "focal": {"gamma": Slider(0.0, 5.0, 0.1)},
    "adma": {"a": Slider(0.01, 0.5, 0.01), "normalize": YES_OR_NO},
    "squared_hinge": {"on": Choices(("probs", "logits"))},
    "sampling_free": {
        "beta": Slider(1.0, 16.0, 0.5),
        "gamma": Slider(0.0, 21.0, 0.5),
        "variant": Choices(("power", "scale", "inner", "star")),
    },
    "false_positive": {
        "form": Choices(("ce", "mse")),
        "alpha": Choices(("dataset", "none")),
        "top_k": Slider(1, 9, 1),
        "aggregate": Choices(("sum", "mean", "median")),
    },
    "confidence_penalty": {"lam": Slider(0.0, 1.0, 0.05)},
    "hierarchical_cross_entropy": {
        "node_weight": Choices(("path", "literal", "exp")),
        "alpha": Slider(0.0, 1.0, 0.05),
    },
    "soft_margin_softmax": {"margin": Slider(0.0, 3.0, 0.1)},
    "taylor_softmax": {"order": Choices((2, 4, 6, 8))},
}

FIXED = {"adma": ("learnable",), "hierarchical_cross_entropy": ("tree", "mode", "kappa")}  # no control for these


def find_controls(entry: Entry) -> dict[str, Control]:
    """The controls of an entry's parameters: the table's, or guessed from the defaults of a loss of your own."""
    if entry.name in RANGES or entry.name in FIXED:
        return RANGES.get(entry.name, {})
    guesses = {name: _guess(value) for name, value in entry.defaults.items()}
    return {name: control for name, control in guesses.items() if control is not None}


def _guess(default: object) -> Control | None:
    if isinstance(default, bool):
        return YES_OR_NO
    if isinstance(default, int):
        return Slider(min(1, default), max(10, 3 * default), 1)
    if isinstance(default, float):
        size = abs(default) or 1.0
        return Slider(min(default, size / 10), 3 * size, size / 20)
    return None
