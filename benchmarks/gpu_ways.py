"""The ways of training that `benchmarks.gpu` compares, each as a function that trains for some steps when called."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.plain_loop import make_loaders
from lossbench.config import RunConfig
from lossbench.data import Dataset, Split, load
from lossbench.models import MODELS
from lossbench.studies.plans import thesis
from lossbench.training import prepare, start
from lossbench.training.ensemble import Stack
from lossbench.training.loop import train_step

SHAPES = {"grey": (1, 28, 28), "colour": (3, 32, 32)}
LOSSES = 15

Way = Callable[[], int]  # trains for some steps, returns how many images went through a network


@dataclass(frozen=True)
class Setting:
    """One network, batch and precision, and what trains on it."""

    config: RunConfig
    dataset: Dataset
    device: torch.device
    steps: int
    loader_workers: int


def make_images(shape: str) -> Dataset:
    """fashion-mini, in the shape asked for."""
    dataset = load("fashion-mini")
    channels, height, width = SHAPES[shape]
    if (channels, height, width) == dataset.image_shape:
        return dataset
    train, test = (
        Split(nn.functional.interpolate(part.images.repeat(1, channels, 1, 1), (height, width)), part.target)
        for part in (dataset.train, dataset.test)
    )
    return replace(dataset, train=train, test=test, mean=dataset.mean * channels, std=dataset.std * channels)


def one_after_the_other(setting: Setting, mode: str) -> Way:
    """Fifteen single runs; compiled, cross-entropy alone stands for all, as compiling fifteen would take minutes."""
    split, trainings = begin(setting, 1 if mode != "off" else LOSSES)
    if mode != "off":
        trainings[0].model = torch.compile(trainings[0].model, mode=mode)
    for training in trainings:
        training.model.train()
        training.criterion.train()
    batches = endless(split, setting.config.batch_size)

    def way() -> int:
        images = 0
        for training in trainings:
            for x, y in itertools.islice(batches, setting.steps):
                train_step(training, x, y)
                images += len(y)
        return images

    return way


def ensemble(setting: Setting, mode: str) -> Way:
    """Fifteen runs as one program."""
    split, trainings = begin(setting, LOSSES)
    stack: Any = Stack(trainings)
    if mode != "off":
        stack.compute = torch.compile(stack.compute, mode=mode)
    batches = endless(split, setting.config.batch_size)

    def way() -> int:
        images = 0
        for x, y in itertools.islice(batches, setting.steps):
            stack.step(x, y)
            images += LOSSES * len(y)
        return images

    return way


def plain_loop(setting: Setting) -> Way:
    """One run of the tutorial's loop: fifteen of them, one after the other, have the same images a second."""
    config, device = setting.config, setting.device
    loader, _, _ = make_loaders(config, setting.dataset, tensors=False, loader_workers=setting.loader_workers)
    channels, side = setting.dataset.image_shape[0], min(setting.dataset.image_shape[1:])
    model = MODELS[config.model](setting.dataset.num_classes, channels, image_size=side).to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)
    batches = (batch for _ in itertools.count() for batch in loader if len(batch[1]) == config.batch_size)

    def way() -> int:
        images = 0
        for x, y in itertools.islice(batches, max(1, setting.steps // 3)):
            x, y = x.to(device), y.to(device)
            optimizer.zero_grad()
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.precision == "bfloat16"):
                loss = nn.functional.cross_entropy(model(x).logits, y)
            loss.backward()
            optimizer.step()
            loss.item()
            images += len(y)
        return images

    return way


def begin(setting: Setting, count: int) -> tuple[Split, list[Any]]:
    """The images on the device, and the first `count` runs of the thesis grid."""
    split = prepare(setting.config, setting.dataset, setting.device).train
    configs = thesis(setting.config)[:count]
    return split, [start(config, setting.dataset, split, setting.device) for config in configs]


def endless(split: Split, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches in an order that does not matter here, for ever, without waiting for the device."""
    for place in itertools.cycle(range(max(1, len(split) // batch_size))):
        index = torch.arange(place * batch_size, (place + 1) * batch_size, device=split.target.device) % len(split)
        yield split.images[index], split.target[index]
