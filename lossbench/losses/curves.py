"""A loss as a curve: value, slopes and curvature over the target's probability or logit, and where two curves cross.

The logit of the target, z, moves; the logits of all other classes stay at 0, so that they share what probability
is left evenly. p is the probability that the model then gives the target at test time, without a margin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from lossbench.losses.catalogue import LOSSES
from lossbench.losses.criterion import Criterion
from lossbench.losses.probabilities import PROBABILITIES, log_probs
from lossbench.registry import remember, unknown

Array = npt.NDArray[np.float64]
Axis = Literal["p", "z"]
Params = tuple[tuple[str, Any], ...]
AXES = ("p", "z")
REACH = 40.0  # the logits between which the lowest probability is looked for
SAME = 1e-9  # relative difference below which two values count as equal
POINTS = 33  # a crossing is narrowed down 32 times a round


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
        label = LOSSES[self.loss].label(self.loss_params)
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
    if not entry.curve:
        why = "compares embeddings" if entry.takes == "embeddings" else "looks at several logits, so it is no curve"
        raise ValueError(unknown("loss on logits", loss, drawable_losses()) + f"; {loss} {why}")
    if not PROBABILITIES[probability].curve:
        why = f"{probability} is no rising curve over one logit that is the same for any number of classes"
        raise ValueError(unknown("probability function of a curve", probability, drawable_probabilities()) + f"; {why}")
    if loss_params.get("alpha") == "batch":
        raise ValueError(f'{loss}: alpha="batch" depends on the other samples; the explorer takes "dataset" or "none"')
    values = {**entry.starts, **loss_params}
    return Side(
        loss, entry.complete(values), probability, PROBABILITIES[probability].complete(probability_params or {})
    )


def drawable_losses() -> list[str]:
    """Names of the losses that the explorer can draw: those on logits that do not jump along one of them."""
    return [name for name, entry in LOSSES.items() if entry.curve]


def drawable_probabilities() -> list[str]:
    """Names of the probability functions that the explorer can draw."""
    return [name for name, entry in PROBABILITIES.items() if entry.curve]


def _assignments(loss: str, shown: tuple[str, ...], params: Mapping[str, Any]) -> list[str]:
    starts = LOSSES[loss].starts
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


@dataclass(frozen=True)
class Curves:
    """One side along its axis; every field is (points,) float64, nan where the probability function cannot go.

    Attributes:
        z: logit of the target, the others being 0.
        p: test-time probability of the target.
        loss: value in nats.
        slope_p, slope_z: dL/dp and dL/dz.
        curvature_p, curvature_z: second derivatives.
    """

    z: Array
    p: Array
    loss: Array
    slope_p: Array
    slope_z: Array
    curvature_p: Array
    curvature_z: Array

    def quantity(self, name: str) -> Array:
        """One of the fields by name; ValueError naming the allowed ones otherwise."""
        if name not in QUANTITIES:
            raise ValueError(unknown("quantity", name, QUANTITIES))
        values: Array = getattr(self, name)
        return values


QUANTITIES = tuple(name for name in Curves.__dataclass_fields__ if name not in ("z", "p"))


def default_grid(axis: Axis) -> Array:
    """Where curves are drawn: p from 0.001 to 0.999, closer at the ends, or z from -8 to 8."""
    if axis == "z":
        return np.linspace(-8.0, 8.0, 241)
    ends = np.geomspace(0.001, 0.01, 12, endpoint=False)
    return np.concatenate([ends, np.linspace(0.01, 0.99, 197), 1 - ends[::-1]])


def curves(side: Side, at: npt.ArrayLike | None = None, *, axis: Axis = "p", num_classes: int = 10) -> Curves:
    """Evaluate a side by the package's own functions, and their derivatives by autograd.

    Args:
        side: the loss and probability function.
        at: (points,) probabilities in (0, 1), or logits when `axis` is "z"; None for the default grid.
        axis: what `at` holds.
        num_classes: number of classes, at least 2.

    Raises:
        ValueError: an unknown axis, or a number of classes that the loss cannot have.
    """
    if axis not in AXES:
        raise ValueError(unknown("axis", axis, AXES))
    points = default_grid(axis) if at is None else np.asarray(at, dtype=np.float64)
    return differentiate(side, place(side, points, axis, num_classes), num_classes)


@dataclass(frozen=True)
class Places:
    """Logits of the target and what the probability function makes of them: p and its two derivatives in z."""

    z: Array
    p: Array
    dp: Array
    ddp: Array


def place(side: Side, at: Array, axis: Axis, num_classes: int) -> Places:
    """Find the logits that belong to `at`; remembered, since a loss's own slider does not move them."""
    params = tuple(sorted(side.probability_params.items()))
    return _place(side.probability, params, at.tobytes(), axis, num_classes)


@remember(64)
def _place(probability: str, params: Params, at: bytes, axis: Axis, num_classes: int) -> Places:
    points = np.frombuffer(at, dtype=np.float64)
    z = points.copy() if axis == "z" else _logit_of(points, probability, params, num_classes)
    moved = torch.tensor(z, requires_grad=True)
    p = _log_probability(probability, params, moved, num_classes).exp()
    dp, ddp = _two_slopes(p, moved)
    return Places(z, p.detach().numpy(), dp.detach().numpy(), ddp.numpy())


def differentiate(side: Side, places: Places, num_classes: int) -> Curves:
    """The loss at the target's logits, with its derivatives."""
    criterion = side.criterion(num_classes).train()
    moved = torch.tensor(places.z, requires_grad=True)
    logits = F.pad(moved[:, None], (0, num_classes - 1))
    loss = criterion(logits, torch.zeros(len(moved), dtype=torch.int64))
    known = np.isfinite(places.z)  # a curvature that is one number everywhere has it where there is no logit, too
    slope_z, curvature_z = (np.where(known, slope.detach().numpy(), np.nan) for slope in _two_slopes(loss, moved))
    with np.errstate(divide="ignore", invalid="ignore"):  # p stands still where Taylor softmax turns
        slope_p = slope_z / places.dp
        curvature_p = (curvature_z - slope_p * places.ddp) / places.dp**2
    return Curves(places.z, places.p, loss.detach().numpy(), slope_p, slope_z, curvature_p, curvature_z)


def _two_slopes(values: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    (first,) = torch.autograd.grad(values.sum(), at, create_graph=True)
    if not first.requires_grad:
        return first, torch.zeros_like(first)
    (second,) = torch.autograd.grad(first.sum(), at)
    return first, second


def _logit_of(p: Array, probability: str, params: Params, num_classes: int) -> Array:
    """The target's logit at which its probability is `p`, on the branch where p rises with z.

    Taylor softmax falls before it rises, so it has a lowest probability; below it the answer is nan.
    """
    z, known = _rising_branch(probability, params, num_classes)
    above = np.searchsorted(known, p).clip(1, len(z) - 1)
    lower, upper = torch.from_numpy(z[above - 1]), torch.from_numpy(z[above])
    wanted = torch.logit(torch.from_numpy(p.copy()))
    guess = (lower + upper) / 2
    for _ in range(8):  # Newton on the log-odds, which are close to straight lines
        guess = guess.detach().requires_grad_()
        error = torch.logit(_log_probability(probability, params, guess, num_classes).exp()) - wanted
        (slope,) = torch.autograd.grad(error.sum(), guess)
        guess = (guess - error / slope).clamp(lower, upper)
    inside = (p >= known[0]) & (p <= known[-1])
    return np.where(inside, guess.detach().numpy(), np.nan)


@remember(64)
def _rising_branch(probability: str, params: Params, num_classes: int) -> tuple[Array, Array]:
    """(logits, probabilities) from the lowest probability up to almost 1."""
    z = np.concatenate([np.linspace(-REACH, REACH, 1601), np.geomspace(REACH * 1.05, 1e6, 200)])
    p = _log_probability(probability, params, torch.from_numpy(z), num_classes).exp().numpy()
    start = int(p[:1601].argmin())
    rising = np.append(True, np.diff(p[start:]) > 0)
    return z[start:][rising], p[start:][rising]


def _log_probability(probability: str, params: Params, z: Tensor, num_classes: int) -> Tensor:
    return log_probs(probability, F.pad(z[:, None], (0, num_classes - 1)), **dict(params))[:, 0]


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
    left: Side, right: Side, quantity: str = "loss", *, axis: Axis = "p", num_classes: int = 10, rounds: int = 4
) -> list[Crossing]:
    """List where the sizes of a quantity of two sides cross, in ascending order.

    Sizes are compared because slopes are negative: where |dL/dz| crosses, the other loss starts to pull harder.

    Args:
        left, right: the two sides.
        quantity: "loss", "slope_p", "slope_z", "curvature_p" or "curvature_z".
        axis: "p" (0.001 to 0.999) or "z" (-8 to 8).
        rounds: each narrows a crossing down up to 32 times, starting from 0.005 in p.

    Raises:
        ValueError: an unknown quantity or axis, or a number of classes that a loss cannot have.
    """
    grid = default_grid(axis)
    left_curve, right_curve = (curves(one, grid, axis=axis, num_classes=num_classes) for one in (left, right))
    difference, value = _difference(left_curve, right_curve, quantity), left_curve.quantity(quantity)
    before, after = sign_changes(difference)
    if not len(before):
        return []
    ends = [np.stack([values[before], values[after]]) for values in (grid, difference, value)]
    larger_after = ["right" if was > 0 else "left" for was in ends[1][0]]
    for _ in range(rounds):
        ends = _narrow((left, right), ends[0], quantity, axis, num_classes)
    at, difference, value = ends
    way = difference[0] / (difference[0] - difference[1])  # where a straight line between the ends meets zero
    places, heights = (end[0] + (end[1] - end[0]) * way for end in (at, value))
    return [
        Crossing(float(place), float(height), larger)
        for place, height, larger in zip(places, heights, larger_after, strict=True)
    ]


def _narrow(sides: tuple[Side, Side], at: Array, quantity: str, axis: Axis, num_classes: int) -> list[Array]:
    """Brackets (2, crossings) up to 32 times as narrow: their ends, the differences and the left side's values there.

    Ties stay inside: where two curves touch to third order, the crossing lies in the middle of them.
    """
    steps = at[0][:, None] + (at[1] - at[0])[:, None] * np.linspace(0, 1, POINTS)
    left, right = (curves(one, steps.ravel(), axis=axis, num_classes=num_classes) for one in sides)
    difference = _difference(left, right, quantity).reshape(steps.shape)
    signs = np.sign(difference)
    after = (signs == -signs[:, :1]).argmax(1)  # the first point on the other side
    index = np.arange(POINTS)
    before = np.where((index < after[:, None]) & (signs == signs[:, :1]), index, 0).max(1)
    rows = np.arange(len(steps))
    finer = (steps, difference, left.quantity(quantity).reshape(steps.shape))
    return [np.stack([values[rows, before], values[rows, after]]) for values in finer]


def larger_throughout(left: Curves, right: Curves, quantity: str) -> str:
    """Say in a word how the sizes stand where nothing crosses: "same", "left", "right" or "mixed"."""
    signs = np.sign(_difference(left, right, quantity))
    known: Any = signs[np.isfinite(signs) & (signs != 0)]
    if not len(known):
        return "same"
    if (known == known[0]).all():
        return "left" if known[0] > 0 else "right"
    return "mixed"


def _difference(left: Curves, right: Curves, quantity: str) -> Array:
    """Size of the left minus size of the right, 0 where rounding cannot tell them apart."""
    sizes = [np.abs(one.quantity(quantity)) for one in (left, right)]
    difference: Array = sizes[0] - sizes[1]
    difference[np.abs(difference) <= SAME * np.maximum(*sizes)] = 0.0
    return difference


def sign_changes(difference: Array) -> tuple[Any, Any]:
    """Neighbouring points, before and after, between which the sign changes; ties between them are passed over."""
    finite = np.isfinite(difference)
    known = np.flatnonzero(finite & (difference != 0))
    before, after = known[:-1], known[1:]
    gaps = np.cumsum(~finite)
    swap = (np.sign(difference[before]) != np.sign(difference[after])) & (gaps[before] == gaps[after])
    return before[swap], after[swap]
