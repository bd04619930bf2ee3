"""What a loss does beyond its curve: how hard it pulls on each image of a real batch, and the surface it draws.

The batch is the logits of a trained network for 128 test images; `fashion_batch.npz` lies beside this file and
`python -m lossbench.explorer.build_batch` makes it again. The surface is that of a tiny network on two moons, trained
in a few milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lossbench.losses.criterion import Criterion
from lossbench.losses.curves import Array, Side

BATCH = Path(__file__).parent / "fashion_batch.npz"
POINTS, HIDDEN, STEPS = 160, 24, 70
STEP_LENGTH, MOMENTUM = 0.25, 0.85
ACROSS, UP = (-1.9, 2.9), (-1.6, 2.1)
COLUMNS, ROWS = 64, 50


@dataclass(frozen=True)
class Pull:
    """What one loss asks of a batch.

    Attributes:
        p: (batch,) softmax probability of the target, the same for every loss.
        size: (batch,) length of dL/dz over all logits of an image.
        wrong: (batch,) True where the network's largest logit is not the target's.
    """

    p: Array
    size: Array
    wrong: np.ndarray[tuple[int], np.dtype[np.bool_]]

    @property
    def share_of_wrong(self) -> float:
        """The part of all pulling that goes to images which the network gets wrong; nan if nothing pulls."""
        total = float(self.size.sum())
        return float(self.size[self.wrong].sum()) / total if total > 0 else float("nan")


@lru_cache(maxsize=1)
def real_batch() -> tuple[Tensor, Tensor]:
    """Logits (128, 10) in float64 and target (128,) of test images of fashion-mini.

    The network is small_cnn after 3 epochs of cross-entropy on the training images, seed 0; the images are drawn at
    random.
    """
    with np.load(BATCH, allow_pickle=False) as stored:
        return torch.from_numpy(stored["logits"]).double(), torch.from_numpy(stored["target"]).long()


def pull_on_batch(side: Side) -> Pull:
    """Hand the batch's logits to a loss and measure the gradient that each image sends back.

    Raises: ValueError if the loss cannot have 10 classes.
    """
    stored, target = real_batch()
    logits = stored.clone().requires_grad_()
    loss = side.criterion(logits.shape[1]).train()(logits, target)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    p = stored.softmax(1).gather(1, target[:, None]).squeeze(1)
    return Pull(p.numpy(), gradient.norm(dim=1).numpy(), (stored.argmax(1) != target).numpy())


@dataclass(frozen=True)
class Moons:
    """Points of two interleaved half circles.

    Attributes:
        points: (160, 2) float32.
        target: (160,) class to train on, 0 or 1, of which a share was flipped.
        truth: (160,) the class before flipping.
    """

    points: Tensor
    target: Tensor
    truth: Tensor


@dataclass(frozen=True)
class Surface:
    """What a trained network believes: `p` (rows, columns) of class 1 over the plane, and its `accuracy` against the
    classes before flipping. `message` says why there is none.
    """

    p: Array | None
    accuracy: float = float("nan")
    message: str = ""


@lru_cache(maxsize=32)
def make_moons(noise: float = 0.0, seed: int = 0) -> Moons:
    """Draw the points and flip the class of a share `noise` of them, in [0, 0.5]."""
    generator = torch.Generator().manual_seed(seed)
    half = POINTS // 2
    angle = torch.pi * torch.rand(half, generator=generator)
    upper = torch.stack([angle.cos(), angle.sin()], 1)
    lower = torch.stack([1 - angle.cos(), 0.5 - angle.sin()], 1)
    points = torch.cat([upper, lower]) + 0.16 * torch.randn(POINTS, 2, generator=generator)
    truth = torch.arange(POINTS) // half
    order = torch.randperm(POINTS, generator=generator)
    flipped = order[: round(noise * POINTS)]
    target = truth.clone()
    target[flipped] = 1 - truth[flipped]
    return Moons(points, target, truth)


def train_on_moons(side: Side, *, noise: float = 0.0, seed: int = 0) -> Surface:
    """Train 2-24-24-2 tanh units on all points for 70 steps from weights that depend on `seed` alone.

    Every step has the same length whatever the size of the gradient: a loss is judged by where it pulls, not by its
    scale.

    Returns: the surface, or a message where the loss cannot have two classes.
    """
    return train_many_on_moons([side], [noise], seed)[side, noise]


def train_many_on_moons(sides: Sequence[Side], noises: Sequence[float], seed: int) -> dict[tuple[Side, float], Surface]:
    """A network for each side at each noise, all trained as one batched program."""
    surfaces: dict[tuple[Side, float], Surface] = {}
    criteria: list[Criterion] = []
    for side in sides:
        try:
            criteria.append(side.criterion(2))
        except ValueError as error:
            surfaces |= dict.fromkeys(((side, noise) for noise in noises), Surface(None, message=str(error)))
    if not criteria:
        return surfaces
    data = make_moons(0.0, seed)
    target = torch.stack([make_moons(noise, seed).target for noise in noises]).flatten()
    weights = _first_weights(seed, len(criteria) * len(noises))
    speed = [torch.zeros_like(weight) for weight in weights]
    for step in range(STEPS):
        outputs = _forward(weights, data.points).chunk(len(criteria))
        losses = [
            criterion(logits.flatten(0, 1), target).sum() for criterion, logits in zip(criteria, outputs, strict=True)
        ]
        gradients = torch.autograd.grad(sum(losses, torch.zeros(())), weights)
        length = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0).clamp_min(1e-10)
        torch._foreach_mul_(speed, MOMENTUM)
        torch._foreach_add_(speed, [gradient / length[:, None, None] for gradient in gradients])
        with torch.no_grad():
            torch._foreach_add_(weights, speed, alpha=-STEP_LENGTH * (1 - MOMENTUM) * (1 - step / STEPS))
    keys = [(side, noise) for side in sides if (side, noises[0]) not in surfaces for noise in noises]
    with torch.no_grad():
        views = [_forward(weights, points).chunk(len(criteria)) for points in (data.points, _plane())]
        for i, criterion in enumerate(criteria):
            for k in range(len(noises)):
                believed, p = (criterion.eval().log_probs(view[i][k]) for view in views)
                accuracy = (believed.argmax(1) == data.truth).double().mean().item()
                surface = Surface(p[:, 1].exp().reshape(ROWS, COLUMNS).double().numpy(), accuracy)
                surfaces[keys[i * len(noises) + k]] = surface
    return surfaces


def _forward(weights: list[Tensor], points: Tensor) -> Tensor:
    """Logits (networks, points, 2)."""
    first, first_bias, second, second_bias, last, last_bias = weights
    hidden = (points @ first + first_bias).tanh()
    return (hidden @ second + second_bias).tanh() @ last + last_bias


def _first_weights(seed: int, networks: int) -> list[Tensor]:
    """The same weights for all networks, in pairs of (networks, inputs, outputs) and (networks, 1, outputs)."""
    generator = torch.Generator().manual_seed(seed)
    weights = []
    for inputs, outputs, spread in ((2, HIDDEN, 1.5), (HIDDEN, HIDDEN, 0.3), (HIDDEN, 2, 0.2)):
        for rows in (inputs, 1):
            weight = spread * torch.randn(rows, outputs, generator=generator)
            weights.append(weight.repeat(networks, 1, 1).requires_grad_())
    return weights


@lru_cache(maxsize=1)
def _plane() -> Tensor:
    across, up = np.meshgrid(np.linspace(*ACROSS, COLUMNS), np.linspace(*UP, ROWS))
    return torch.from_numpy(np.stack([across.ravel(), up.ravel()], 1)).float()
