"""A training step never reads a number back from the device: on a GPU it would stand still until the answer came.

There is no GPU here, so the operations of a step on the CPU are watched. Those that read a value, or whose result's
size depends on values, wait on a GPU; so does a tensor made of a Python number, which is copied there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lossbench import LOSSES, PROBABILITIES, RunConfig
from lossbench.augmentation import AUGMENTATIONS
from lossbench.data import load
from lossbench.ensemble import Stack
from lossbench.losses import validation
from lossbench.runner import prepare, start
from lossbench.train import Training, train_step

WAITS = {
    "_local_scalar_dense",
    "item",
    "is_nonzero",
    "nonzero",
    "masked_select",
    "_unique2",
    "unique_dim",
    "lift_fresh",
}
CONFIG = RunConfig(dataset="fashion-mini", train_size=200, batch_size=16)
DRAWS_ON_THE_CPU = {"margin"}  # it reads distances back to draw negatives, so that a GPU draws the same ones


class Watch(TorchDispatchMode):
    """Collects the waiting operations that are called inside it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in WAITS:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """Watch a step as a GPU would see it: targets are checked on the CPU alone."""
    monkeypatch.setattr(validation, "_values_readable", lambda tensor: False)
    with Watch() as watch:
        yield watch


def begin(config: RunConfig) -> tuple[Training, torch.Tensor, torch.Tensor]:
    dataset = load(config.dataset)
    split = prepare(config, dataset, torch.device("cpu")).train
    return start(config, dataset, split, torch.device("cpu")), split.images[:16], split.target[:16]


@pytest.mark.parametrize("loss", [name for name in LOSSES if name not in DRAWS_ON_THE_CPU])
def test_no_loss_waits(loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    training, images, target = begin(replace(CONFIG, loss=loss))
    with watched(monkeypatch) as watch:
        train_step(training, images, target)
    assert watch.seen == []


@pytest.mark.parametrize("probability", list(PROBABILITIES))
@pytest.mark.parametrize("optimizer", ["adam", "sgd", "adadelta"])
def test_no_probability_function_or_optimizer_waits(
    probability: str, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, probability=probability, optimizer=optimizer, clip_norm=1.0, precision="bfloat16")
    training, images, target = begin(config)
    with watched(monkeypatch) as watch:
        train_step(training, images, target)
    assert watch.seen == []


def test_a_step_together_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = ["cross_entropy", "triplet", "mse"]
    begun = [begin(replace(CONFIG, loss=loss, clip_norm=1.0)) for loss in losses]
    stack = Stack([training for training, _, _ in begun])
    with watched(monkeypatch) as watch:
        stack.step(*begun[0][1:])
    assert watch.seen == []


def test_the_watch_sees_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    with watched(monkeypatch) as watch:
        torch.ones(3).sum().item()
        torch.ones(3).nonzero()
        torch.tensor(1.0)
    assert watch.seen == ["_local_scalar_dense", "nonzero", "lift_fresh"]


@pytest.mark.parametrize("augmentation", [name for name in AUGMENTATIONS if name != "none"])
@pytest.mark.parametrize("channels", [1, 3])
def test_no_augmentation_reads_from_the_images_device(augmentation: str, channels: int) -> None:
    """Tensors of the device `meta` have no values, so that reading one is an error."""
    images = torch.empty(8, channels, 16, 16, device="meta")
    changed = AUGMENTATIONS[augmentation](images, torch.Generator().manual_seed(0))
    assert changed.shape == images.shape
    assert changed.device.type == "meta"
