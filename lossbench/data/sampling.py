"""Choose images by class and seed: validation splits, subsets, wrong classes."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from lossbench.data.dataset import VALIDATION_FRACTION, Dataset, Split
from lossbench.registry import unknown

NOISE_STREAM, IMBALANCE_STREAM, SIZE_STREAM = 101, 102, 103  # one a purpose: none disturbs another


class Degradation(Protocol):
    """The fields of `RunConfig` that make training images fewer or wrong."""

    @property
    def train_size(self) -> int | None: ...
    @property
    def label_noise(self) -> float: ...
    @property
    def noise_kind(self) -> str: ...
    @property
    def imbalance(self) -> float: ...
    @property
    def seed(self) -> int: ...


def degrade(split: Split, config: Degradation) -> Split:
    """The training images a config asks for: a long tail first, then fewer, then some under a wrong class.

    Test and validation images are never degraded. The same seed gives the same images, whatever the loss.
    """
    whole = len(split)
    if config.imbalance != 1:
        split = split.subset(long_tail(split.target, config.imbalance, config.seed))
    if config.train_size is not None:
        if config.train_size > len(split):
            left = f"images that imbalance={config.imbalance:g} leaves of {whole}" if len(split) < whole else "images"
            raise ValueError(
                f"train_size must lie between 1 and {len(split)}, the {left} to train on, got {config.train_size!r}: "
                "give a smaller train_size or imbalance, or no train_size, which takes what there is"
            )
        split = split.subset(stratified_subset(split.target, config.train_size, config.seed))
    if config.label_noise:
        split = Split(split.images, flip_target(split.target, config.label_noise, config.seed, kind=config.noise_kind))
    return split


def stratified_subset(target: Tensor, size: int, seed: int) -> Tensor:
    """Ascending indices of `size` of the images (N,), with the same share of every class.

    Raises ValueError unless 1 <= size <= N.
    """
    if not 1 <= size <= len(target):
        raise ValueError(f"train_size must lie between 1 and {len(target)}, the images there are, got {size!r}")
    counts = apportion(torch.bincount(target), size)
    return _draw(target, counts, _generator(seed, SIZE_STREAM))


def long_tail(target: Tensor, factor: float, seed: int) -> Tensor:
    """Ascending indices of a long-tailed part: class c of C keeps the share factor ** (-c / (C - 1)).

    Args:
        factor: size of the first class over that of the last, >= 1.
    Raises ValueError for a factor below 1. Source: Cui et al. 2019, arXiv:1901.05555.
    """
    if not factor >= 1:
        raise ValueError(f"imbalance must be at least 1 (1 leaves the classes as they are), got {factor!r}")
    sizes = torch.bincount(target)
    rank = torch.arange(len(sizes), dtype=torch.float64) / max(len(sizes) - 1, 1)
    counts = (sizes * factor ** -rank.to(sizes.device)).round().long().clamp(min=1).minimum(sizes)
    return _draw(target, counts, _generator(seed, IMBALANCE_STREAM))


def flip_target(
    target: Tensor, rate: float, seed: int, *, kind: str = "symmetric", num_classes: int | None = None
) -> Tensor:
    """A copy of `target` (N,) in which the share `rate` of each class names a wrong class.

    Args:
        kind: "symmetric" draws the wrong class evenly from the others; "asymmetric" takes the next one.
        num_classes: the largest target plus one where it is not given.
    Raises ValueError for a rate outside [0, 1) or an unknown kind.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"label_noise must be at least 0 and below 1, got {rate!r}")
    if kind not in ("symmetric", "asymmetric"):
        raise ValueError(unknown("kind of label noise", kind, ["symmetric", "asymmetric"]))
    classes = num_classes or int(target.max()) + 1
    order = _generator(seed, NOISE_STREAM)
    sizes = torch.bincount(target)
    wrong = _draw(target, apportion(sizes, round(rate * len(target))), order)
    shift = torch.randint(1, classes, (len(wrong),), generator=order) if kind == "symmetric" else torch.tensor(1)
    flipped = target.clone()
    flipped[wrong] = (target[wrong] + shift.to(target.device)) % classes
    return flipped


def stratified_split(target: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Divide images into the rest and a held-out part with the same share of every class.

    Args:
        target: (N,) int64 class indices.
        fraction: share held out, in (0, 1); the held-out part has round(fraction * N) images.
        seed: of a generator of its own; the global random state is left alone.
    Returns: ascending indices (rest, held), each int64.
    Raises ValueError for a fraction outside (0, 1).
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must lie between 0 and 1, both excluded, got {fraction!r}")
    counts = apportion(torch.bincount(target), round(fraction * len(target)))
    is_held_out = torch.zeros_like(target, dtype=torch.bool)
    is_held_out[_draw(target, counts, torch.Generator().manual_seed(seed))] = True
    return (~is_held_out).nonzero()[:, 0], is_held_out.nonzero()[:, 0]


def hold_out(dataset: Dataset, seed: int) -> tuple[Split, Split]:
    """The images that a run trains on and those that choose its epoch.

    The second are the dataset's own validation images, the same for every seed, where it has some; else a tenth of the
    training images, drawn by class and seed.
    """
    if dataset.validation is not None:
        return dataset.train, dataset.validation
    rest, held = stratified_split(dataset.train.target.cpu(), VALIDATION_FRACTION, seed)
    return dataset.train.subset(rest), dataset.train.subset(held)


def epoch_order(target: Tensor, sampler: str, generator: torch.Generator) -> Tensor:
    """Indices (N,) of the images (N,) in the order in which an epoch shows them; `sampler` is that of `RunConfig`."""
    if sampler == "shuffled":
        order = torch.randperm(len(target), generator=generator)
    else:
        classes = target.cpu()
        rarity = 1 / torch.bincount(classes).double()[classes]
        order = torch.multinomial(rarity, len(target), replacement=True, generator=generator)
    return order.to(target.device)


def apportion(sizes: Tensor, total: int) -> Tensor:
    """`total` seats shared out in proportion to `sizes` (C,): largest remainder, ties to the lower index."""
    quota = sizes.double() * total / sizes.sum().double()
    seats = quota.floor().long()
    missing = total - int(seats.sum())
    first = torch.argsort(quota - seats, descending=True, stable=True)[:missing]
    seats[first] += 1
    return seats


def _draw(target: Tensor, counts: Tensor, generator: torch.Generator) -> Tensor:
    """Ascending indices of counts[c] images of each class c, chosen by `generator` (on the CPU)."""
    chosen = []
    for class_index, count in enumerate(counts.tolist()):
        members = (target == class_index).nonzero()[:, 0]
        chosen.append(members[torch.randperm(len(members), generator=generator)[:count].to(target.device)])
    return torch.cat(chosen).sort().values


def _generator(seed: int, stream: int) -> torch.Generator:
    return torch.Generator().manual_seed((seed * 1_000_003 + stream) % 2**63)
