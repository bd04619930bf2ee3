"""A loss as a curve: value, slopes and curvature over the target's probability or logit, in float64.

The logit of the target, z, moves; the logits of all other classes stay at 0, so that they share what probability
is left evenly. p is the probability that the model then gives the target at test time, without a margin.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from lossbench.explorer.sides import Side
from lossbench.probabilities import log_probs
from lossbench.registry import unknown

Array = npt.NDArray[np.float64]
Axis = Literal["p", "z"]
Params = tuple[tuple[str, Any], ...]
AXES = ("p", "z")
REACH = 40.0  # the logits between which the lowest probability is looked for


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


@lru_cache(maxsize=64)
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
    slope_z, curvature_z = (slope.detach().numpy() for slope in _two_slopes(loss, moved))
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


@lru_cache(maxsize=64)
def _rising_branch(probability: str, params: Params, num_classes: int) -> tuple[Array, Array]:
    """(logits, probabilities) from the lowest probability up to almost 1."""
    z = np.concatenate([np.linspace(-REACH, REACH, 1601), np.geomspace(REACH * 1.05, 1e6, 200)])
    p = _log_probability(probability, params, torch.from_numpy(z), num_classes).exp().numpy()
    start = int(p[:1601].argmin())
    rising = np.append(True, np.diff(p[start:]) > 0)
    return z[start:][rising], p[start:][rising]


def _log_probability(probability: str, params: Params, z: Tensor, num_classes: int) -> Tensor:
    return log_probs(probability, F.pad(z[:, None], (0, num_classes - 1)), **dict(params))[:, 0]
