"""What a frozen network computes, once for each image: a run that trains only the head starts from there.

The features of a data set are a file in the cache, `features/<model>-<dataset>-<digest>.safetensors`; the digest is of
the images, the published weights, their scale and the precision, so that nothing else can be mistaken for them. Where
the cache cannot be written they are computed for the run alone.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from lossbench.config import RunConfig
from lossbench.data import Dataset, Split
from lossbench.data.loading import SUFFIX, cache_folder
from lossbench.files import replacing
from lossbench.models import MODELS, Pretrained
from lossbench.training.loop import Normalise, Training, autocast

FEATURE_BATCH = 100

Features = dict[str, Tensor]  # by the name of their split


def uses_features(config: RunConfig) -> bool:
    """Whether every epoch shows the same features to the head: a frozen published body, and images as they are."""
    return config.pretrained and config.trainable == "head" and config.augmentation == "none"


def with_features(config: RunConfig, dataset: Dataset, device: torch.device) -> Dataset:
    """The data set with features in the place of images."""
    features = _features(config, dataset, device)
    return dataset.with_splits(
        {name: Split(features[name].to(device), split.target) for name, split in dataset.splits.items()}
    )


class _Seen(Normalise):
    """Features are what a network has made of images that were on its scale: they stay as they are."""

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return images


def see_features(training: Training) -> None:
    """Let a training that was begun on images go on with their features: its body and its scale have done their part.

    The body waits in `training.frozen`, out of the way of checkpoints and steps.
    """
    training.frozen, training.model.body = training.model.body, nn.Identity()
    training.normalise = _Seen(training.normalise.mean, training.normalise.std)


def whole_model(training: Training) -> nn.Module:
    """The network with its body, also where it has learned from features."""
    if training.frozen is not None:
        training.model.body, training.frozen = training.frozen, None
    return training.model


@dataclass(frozen=True)
class _Origin:
    """What the features of a data set depend on."""

    dataset: str
    fingerprint: str
    model: str
    weights: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    precision: str

    @property
    def text(self) -> str:
        return json.dumps(vars(self), sort_keys=True)

    @property
    def path(self) -> Path:
        digest = hashlib.sha256(self.text.encode()).hexdigest()[:16]
        return cache_folder() / "features" / f"{self.model}-{self.dataset}-{digest}{SUFFIX}"


def _features(config: RunConfig, dataset: Dataset, device: torch.device) -> Features:
    published = MODELS[config.model].pretrained
    assert published is not None
    weights = hashlib.sha256(published.find(config.model).read_bytes()).hexdigest()
    known = (dataset.name, dataset.fingerprint, config.model, weights)
    origin = _Origin(*known, published.mean, published.std, config.precision)
    stored = _read(origin, origin.path.stat().st_mtime_ns) if origin.path.exists() else None
    if stored is None:
        stored = _compute(config, dataset, device, published)
        _write(origin, stored)
    return stored


@lru_cache(maxsize=1)
def _read(origin: _Origin, written: int) -> Features | None:
    """The stored features, read once by a process that makes many runs; None where the file is damaged.

    `written` is the file's time: one that was replaced is read again.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(origin.path, framework="pt") as file:
            metadata = file.metadata() or {}
            features = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
    except (SafetensorError, OSError):
        metadata, features = {}, {}
    if metadata.get("origin") != origin.text or metadata.get("digest") != _digest(features):
        warnings.warn(f"{origin.path} is damaged and is computed again", stacklevel=2)
        return None
    return features


def _write(origin: _Origin, features: Features) -> None:
    from safetensors.torch import save_file

    metadata = {"origin": origin.text, "digest": _digest(features)}
    try:
        origin.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(origin.path) as temporary:
            save_file(features, temporary, metadata=metadata)
    except OSError as error:
        warnings.warn(
            f"features are not kept for the next run: {origin.path} cannot be written ({error})", stacklevel=2
        )


def _digest(features: Features) -> str:
    digest = hashlib.sha256()
    for part in (features[name] for name in ("train", "test", "validation") if name in features):
        digest.update(str(tuple(part.shape)).encode())
        digest.update(part.contiguous().numpy().data)
    return digest.hexdigest()


@torch.no_grad()
def _compute(config: RunConfig, dataset: Dataset, device: torch.device, published: Pretrained) -> Features:
    """Features (images, embedding_dim) float32 of each split on the CPU, as the body in evaluation mode sees them."""
    entry = MODELS[config.model]
    with torch.random.fork_rng(devices=[]):
        model = entry(2, dataset.image_shape[0], image_size=min(dataset.image_shape[1:]), pretrained=True)
    body = model.eval().body.to(device).to(memory_format=torch.channels_last)
    normalise = Normalise.to(published, device)

    def see(split: Split) -> Tensor:
        parts = []
        for start in range(0, len(split), FEATURE_BATCH):
            images = normalise(split.images[start : start + FEATURE_BATCH].to(device))
            with autocast(config, device):
                parts.append(body(images))
        return torch.cat(parts).float().cpu()

    return {name: see(split) for name, split in dataset.splits.items()}
