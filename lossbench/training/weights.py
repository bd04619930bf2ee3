"""What of a trained network is kept: `model.safetensors`, its weights and what it was built from, as plain numbers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from lossbench.data import Dataset, Split
from lossbench.training.features import whole_model
from lossbench.training.loop import Training

PARTS = ("model", "criterion")  # of a training, whose tensors are named `model.body.0.weight`, `criterion.state.raw`

State = dict[str, dict[str, Tensor]]  # part -> name -> tensor


@dataclass(frozen=True)
class Task:
    """What of its data a network and its loss were built from, so that neither needs the images again."""

    dataset: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_counts: tuple[int, ...]
    fingerprint: str

    @classmethod
    def of(cls, dataset: Dataset, train_split: Split) -> Task:
        """The task of a run on these training images."""
        counts = torch.bincount(train_split.target, minlength=dataset.num_classes)
        facts = (dataset.name, dataset.class_names, dataset.image_shape, dataset.mean, dataset.std)
        return cls(*facts, tuple(counts.tolist()), dataset.fingerprint)

    def stand_in(self) -> tuple[Dataset, Split]:
        """A data set of empty images with the same classes and counts, and its training images."""
        target = torch.repeat_interleave(torch.arange(len(self.class_counts)), torch.tensor(self.class_counts))
        images = torch.zeros((1, *self.image_shape), dtype=torch.uint8).expand(len(target), -1, -1, -1)
        split = Split(images, target)
        test = split.subset(torch.arange(0))
        return Dataset(self.dataset, self.class_names, split, test, self.fingerprint, self.mean, self.std), split


def learned_by_loss(training: Training) -> dict[str, Any]:
    """The numbers that the loss has learned, as `loss_state` of a result; proxies and the like go with the weights."""
    with torch.enable_grad():
        state = training.criterion.state()
    learned = {name: value for name, value in state.items() if isinstance(value, Tensor) and value.requires_grad}
    values = {name: tensor.item() for name, tensor in learned.items() if tensor.numel() == 1}
    return {"loss_state": values} if values else {}


def pack_weights(training: Training, dataset: Dataset, train_split: Split) -> bytes:
    """The content of `model.safetensors`: everything that the network and the loss have learned or counted."""
    whole_model(training)
    state = {part: getattr(training, part).state_dict() for part in PARTS}
    tensors = {
        f"{part}.{name}": value.detach().cpu().contiguous()
        for part, values in state.items()
        for name, value in values.items()
    }
    return safetensors.torch.save(tensors, {"task": json.dumps(asdict(Task.of(dataset, train_split)))})


def unpack_weights(content: bytes) -> tuple[State, Task]:
    """Read `pack_weights` back; ValueError where it is something else."""
    try:
        tensors = safetensors.torch.load(content)
        size = int.from_bytes(content[:8], "little")
        facts: dict[str, Any] = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["task"])
        facts |= {name: tuple(value) for name, value in facts.items() if isinstance(value, list)}
        task = Task(**facts)
        state: State = {part: {} for part in PARTS}
        for key, value in tensors.items():
            part, _, name = key.partition(".")
            state[part][name] = value
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"no weights of lossbench: {error!r}") from error
    return state, task
