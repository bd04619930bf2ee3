"""A trained network read back from its record: `load` gives what `--keep weights` has kept."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lossbench.config import RunConfig
from lossbench.data import Split
from lossbench.losses import Criterion
from lossbench.models import MODELS, Classifier, ModelEntry, Pretrained
from lossbench.records.record import WEIGHTS, Record, damaged_file, output_folder
from lossbench.registry import unknown
from lossbench.training.checkpoint import undisturbed
from lossbench.training.loop import Training, predict
from lossbench.training.machine import find_device
from lossbench.training.run import start
from lossbench.training.weights import Task, unpack_weights


@dataclass(frozen=True)
class Trained:
    """A trained network in evaluation mode, with the loss that trained it.

    Args:
        record: where it comes from.
        task: its classes, and the images that it was made for.
        training: the model, the criterion and the scale of the images.
    """

    record: Record
    task: Task
    training: Training

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, in target order."""
        return self.task.class_names

    @property
    def model(self) -> Classifier:
        """The network: normalised images -> logits and embeddings."""
        return self.training.model

    @property
    def criterion(self) -> Criterion:
        """The loss, with what it has learned."""
        return self.training.criterion

    def log_probs(self, images: Any) -> Tensor:
        """Log-probabilities (N, classes) of uint8 images (N, C, H, W), scaled as in training.

        Those of the run's test images are, to the bit, the run's predictions where device, torch and its number of
        threads are those of the run.
        """
        batch = torch.as_tensor(images)
        shape = self.task.image_shape
        if batch.dtype != torch.uint8 or batch.shape[1:] != shape:
            wanted = f"(N, {', '.join(map(str, shape))}), 0 to 255"
            raise ValueError(f"images must be uint8 {wanted}, got {batch.dtype} {tuple(batch.shape)}")
        batch = batch.to(next(self.model.parameters()).device)
        target = torch.zeros(len(batch), dtype=torch.int64, device=batch.device)
        return predict(self.training, Split(batch, target))[1]

    def predict(self, images: Any) -> Tensor:
        """Class indices (N,) of uint8 images (N, C, H, W)."""
        return self.log_probs(images).argmax(1)

    def __repr__(self) -> str:
        return f"Trained({self.record.path.name}, {len(self.class_names)} classes, images {self.task.image_shape})"


def load(
    run_id: str | os.PathLike[str], output: str | os.PathLike[str] | None = None, *, device: str = "cpu"
) -> Trained:
    """Read the trained network of a run that was finished with `keep="weights"`. No images are needed.

    Args:
        run_id: as in `load_runs`.
        output: folder of results; None takes LOSSBENCH_OUTPUT, else `outputs`.
        device: where to put the network.

    Raises: ValueError for a run that is not there, not finished or without weights, and for a file that its checksum
        does not prove, or that does not fit the network as it is now.
    """
    runs = output_folder(output) / "runs"
    record = Record(runs / run_id)
    if not record.finished:
        names = [path.parent.name for path in runs.glob("*/result.json")]
        raise ValueError(f"{unknown('finished run', str(run_id), names)}; they are looked for in {str(runs)!r}")
    if not record.has_weights:
        what = "diverged" if record.result["best_epoch"] is None else "was finished without its weights"
        raise ValueError(
            f"{record.path} {what}, so there is no network to load; `lossbench run` and `lossbench study` keep it "
            "with --keep weights"
        )
    config = record.config
    if record.result["run_id"] not in (config.run_id, config.long_run_id):
        raise ValueError(
            f"{record.path} is of another version of a file or data set of yours: its run was "
            f"{record.result['run_id']!r}, the same config is {config.run_id!r} now; bring that version back"
        )
    try:
        state, task = unpack_weights(record.read(WEIGHTS))
        training = _rebuild(config, task, find_device(device))
        for part, tensors in state.items():
            getattr(training, part).load_state_dict(tensors)
    except RuntimeError as error:  # of load_state_dict: names or shapes
        raise damaged_file(record.path / WEIGHTS, error) from error
    training.criterion.set_epoch(record.result["best_epoch"], config.epochs)
    for module in (training.model, training.criterion):
        module.eval().requires_grad_(False)
    return Trained(record, task, training)


class _NotLoaded(Pretrained):
    """Published weights that need not be on this machine, since the trained ones take their place."""

    def load_into(self, body: nn.Module, name: str) -> None:
        pass


def _rebuild(config: RunConfig, task: Task, device: torch.device) -> Training:
    dataset, train_split = task.stand_in()
    entry: ModelEntry = MODELS[config.model]
    if entry.pretrained is not None:
        published = entry.pretrained
        entry = replace(entry, pretrained=_NotLoaded(**{name: getattr(published, name) for name in vars(published)}))
    with undisturbed():
        return start(config, dataset, train_split, device, entry)
