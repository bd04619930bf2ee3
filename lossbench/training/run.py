"""One run from config to record: seed, data, train, select, score once, write."""

from __future__ import annotations

import itertools
import os
import random
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lossbench.config import RunConfig
from lossbench.data import Dataset, Split, degrade, hold_out, load
from lossbench.data.augmentation import AUGMENTATIONS
from lossbench.data.dataset import require_enough_images
from lossbench.data.loading import search_roots
from lossbench.files import remove_temporaries, require_writable
from lossbench.losses import LOSSES, Criterion
from lossbench.losses.criterion import BadLoss
from lossbench.models import MODELS, ModelEntry
from lossbench.records.lease import Held, Lease, hold
from lossbench.records.record import METRIC_NOTES, Record, output_folder, what_to_keep
from lossbench.registry import unknown
from lossbench.stats.metrics import SCORES, measure_all, score, try_metrics
from lossbench.training.checkpoint import (
    RESUMES,
    describe_origin,
    find_resumable,
    remove_checkpoint,
    restore_streams,
    save_streams,
    undisturbed,
    write_checkpoint,
)
from lossbench.training.features import see_features, uses_features, with_features
from lossbench.training.loop import (
    Diverged,
    Normalise,
    Training,
    class_means,
    predict,
    require_finite,
    steps_of,
    train,
)
from lossbench.training.machine import describe_machine, find_device, keep_freed_memory, warn_of_slow_precision
from lossbench.training.tensorboard import event_writer, require_tensorboard
from lossbench.training.transfer import load_transfer, transfer_accuracy
from lossbench.training.weights import learned_by_loss, pack_weights

WAIT_SECONDS = 1.0  # between two looks at a run that another process does

Progress = Callable[[dict[str, float]], object]


@dataclass(frozen=True)
class Splits:
    """What a run trains on, what it scores after each epoch, the test images, and those of another data set."""

    train: Split
    scored: Split
    prefix: str
    test: Split
    transfer: Dataset | None = None


def run(
    config: RunConfig,
    output: str | os.PathLike[str] | None = None,
    *,
    device: str | None = None,
    threads: int | None = 1,
    data: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    tensorboard: bool = False,
    resume: str = "same",
    wait: bool = True,
    keep: str | None = None,
) -> Record:
    """Train and score one configuration and keep the record under `<output>/runs/<run_id>/`.

    A finished run is returned as it stands; an interrupted one goes on from its last whole epoch. On a CPU with
    the same number of threads, equal configs give bit-identical histories, interrupted or not.

    Args:
        config: what to compute.
        output: folder for results; None takes LOSSBENCH_OUTPUT, else `outputs`.
        device: such as `cpu` or `cuda`; None takes a GPU if there is one.
        threads: CPU threads; None leaves torch's own number.
        data: folder to look for the data set in; None takes LOSSBENCH_DATA, then the usual places.
        progress: called with each epoch's row, after its checkpoint is on disk.
        tensorboard: write TensorBoard events into the record's folder too.
        resume: whether to go on from a checkpoint: `same` only under the threads, device and versions that wrote it,
            `anyway`, or `never`.
        wait: when another process works on this run, wait for its record instead of raising Held.
        keep: `weights` keeps the network for `lossbench.load`, and changes nothing that is computed; None takes
            LOSSBENCH_KEEP, else keeps the predictions only.

    Raises:
        ValueError, FileNotFoundError, PermissionError: before any training, when the data are missing or damaged,
            the output cannot be written, the device is not there, a checkpoint does not fit, or the run was finished
            without the weights that are to be kept.
        Held: another process works on this run, and `wait` is False or that process is this one.
        DiskFull: no room for a file; every file from before stands.
    """
    record, where = Record.of(config, output), find_device(device)
    place = None if data is None else Path(data)
    keep = what_to_keep(keep)
    if resume not in RESUMES:
        raise ValueError(unknown("choice of resume", resume, RESUMES))
    if place is not None:
        search_roots(place)
    if tensorboard:
        require_tensorboard()
    if _is_done(record, config, place):
        record.require_kept(keep)
        if record.missing_metrics(config):
            with hold(record.path):
                record.add_metrics(config)
        return record
    require_writable(output_folder(output))
    warn_of_slow_precision(config.precision, where)
    callbacks = [progress] if progress is not None else []
    for turn in itertools.count():
        try:
            with hold(record.path) as lease:
                if Record.of(config, output) == record:
                    if not _is_done(record, config, place):  # by another process, a moment ago
                        dataset = load_images(config, place)
                        writers = [event_writer(record.path)] if tensorboard else []
                        with undisturbed(threads):
                            _compute(record, config, dataset, where, place, lease, [*callbacks, *writers], resume, keep)
                    break
            record = Record.of(config, output)  # another config has taken the shorter name meanwhile
        except Held as held:
            if (taken := Record.of(config, output)) != record:
                record = taken
                continue
            if held.mine or not wait:
                raise
            if turn == 0:
                warnings.warn(f"waiting: {held}", stacklevel=2)
            time.sleep(WAIT_SECONDS)
    record.require_kept(keep)
    return record


def _is_done(record: Record, config: RunConfig, data: Path | None) -> bool:
    """Whether there is nothing left to do; ValueError for a finished record that is damaged or of other images."""
    if record.has(config, data):
        return True
    return record.finished and record.is_of(config) and bool(record.result)  # says what of it is damaged


def load_images(config: RunConfig, data: Path | None) -> Dataset:
    """The data set of a config; ValueError where it is not the one that the config's name was made for."""
    dataset = load(config.dataset, data)
    expected = config.versions.get("dataset_fingerprint", dataset.fingerprint)
    if dataset.fingerprint != expected:
        raise ValueError(
            f"{config.dataset} has other images (fingerprint {dataset.fingerprint[:12]}) than when this config was "
            f"made ({expected[:12]}): make the config anew; images in another folder are found through LOSSBENCH_DATA"
        )
    return dataset


def _compute(
    record: Record,
    config: RunConfig,
    dataset: Dataset,
    device: torch.device,
    data: Path | None,
    lease: Lease,
    callbacks: Sequence[Progress],
    resume: str,
    keep: str | None,
) -> None:
    """Train from the last checkpoint, or from the start, and write the record."""
    keep_freed_memory()
    remove_temporaries(record.path, everyones=True)  # the lease is ours, so their writers are gone
    record.write_config(config)
    splits = prepare(config, dataset, device, data)
    training = start(config, dataset, splits.train, device)
    origin = describe_origin(config, device, dataset.fingerprint)
    epoch_seconds = restore(record, training, origin, resume)
    known: dict[str, Any] = {"status": "finished", "epoch_seconds": epoch_seconds}
    began = time.perf_counter()
    try:
        for row in train(training, splits.train, splits.scored, splits.prefix):
            epoch_seconds.append(round(time.perf_counter() - began, 4))
            lease.check()
            if not training.ended:
                save(record, training, origin, epoch_seconds)
            for callback in callbacks:
                callback(row)
            began = time.perf_counter()
    except Diverged as error:
        known |= {"status": "diverged", "diverged": error}
        warnings.warn(f"{record.path.name}: {error}", stacklevel=3)
    except SystemExit as error:
        raise ValueError(f"{config.loss} called sys.exit({error.code!r}) while it was trained; take it out") from error
    except BadLoss:
        raise  # says all in one line
    except Exception as error:
        error.add_note(f"while training {config.run_id}")
        raise
    lease.check()
    finish(record, training, splits, dataset, known, keep)


def restore(record: Record, training: Training, origin: Mapping[str, Any], resume: str) -> list[float]:
    """Put the training where its last checkpoint was, if there is one; see `find_resumable`.

    Returns: the seconds of each epoch before it.
    """
    state = find_resumable(record.path, origin, resume)
    if state is None:
        return []
    training.load_state_dict(state)
    restore_streams(state["streams"])
    seconds: list[float] = state["epoch_seconds"]
    return seconds


def save(record: Record, training: Training, origin: Mapping[str, Any], epoch_seconds: list[float]) -> None:
    """Write the checkpoint of the epoch that has ended."""
    own = {"origin": origin, "streams": save_streams(), "epoch_seconds": epoch_seconds}
    write_checkpoint(record.path, {**training.state_dict(), **own})


def prepare(config: RunConfig, dataset: Dataset, device: torch.device, data: Path | None = None) -> Splits:
    """Put the images on the device, apart from those that choose the epoch: see `hold_out`.

    Where the test images choose it, the validation images that a data set has of its own are not used at all.
    """
    require_enough_images(dataset, config.selection)
    other = load_transfer(config, dataset.image_shape, data, device)
    dataset = (with_features(config, dataset, device) if uses_features(config) else dataset).to(device)
    if config.selection == "best_test":
        return Splits(degrade(dataset.train, config), dataset.test, "test", dataset.test, other)
    train_split, held = hold_out(dataset, config.seed)
    return Splits(degrade(train_split, config), held, "val", dataset.test, other)


def start(
    config: RunConfig, dataset: Dataset, train_split: Split, device: torch.device, entry: ModelEntry | None = None
) -> Training:
    """The state before the first step: for one seed the same first weights, whatever the loss.

    `entry` says how to build the model; None takes the config's row of `MODELS`.
    """
    random.seed(config.seed)
    np.random.seed(config.seed % 2**32)  # noqa: NPY002  libraries that a loss calls may use the global stream
    torch.manual_seed(config.seed)
    num_classes = len(dataset.class_names)
    try_metrics(config.metrics, num_classes)
    channels, size = dataset.image_shape[0], min(dataset.image_shape[1:])
    entry = entry or MODELS[config.model]
    width = find_width(config, dataset, entry)
    criterion = Criterion(
        config.loss,
        probability=config.probability,
        probability_params=dict(config.probability_params),
        num_classes=num_classes,
        class_names=dataset.class_names,
        embedding_dim=width,
        class_counts=torch.bincount(train_split.target, minlength=num_classes).cpu(),
        weight=None if config.class_weight == "none" else config.class_weight,
        label_smoothing=config.label_smoothing,
        seed=config.seed,
        **config.loss_params,
    )
    model = entry(criterion.num_outputs(num_classes), channels, image_size=size, pretrained=config.pretrained)
    torch.manual_seed(config.seed)  # heads differ in size; dropout draws the same masks behind all of them
    scale = entry.pretrained if entry.pretrained and config.pretrained else dataset
    augment = None if config.augmentation == "none" else AUGMENTATIONS[config.augmentation]
    normalise = Normalise.to(scale, device, augment)
    model.set_trainable(config.trainable)
    model = model.to(device).to(memory_format=torch.channels_last)
    training = Training(model, criterion.to(device), normalise, config)
    if train_split.images.ndim == 2:
        see_features(training)
    return training


def find_width(config: RunConfig, dataset: Dataset, entry: ModelEntry | None = None) -> int | None:
    """The width of the embeddings that the config's loss works on; None for a loss on logits.

    Raises ValueError where the model cannot take the images, or gives no embeddings to a loss that needs them.
    """
    entry = entry or MODELS[config.model]
    channels, *sides = dataset.image_shape
    if min(sides) < entry.min_size:
        raise ValueError(
            f"model {config.model!r} needs images of at least {entry.min_size} x {entry.min_size} pixels, "
            f"{dataset.name} has {sides[0]} x {sides[1]}; choose another model"
        )
    if LOSSES[config.loss].takes != "embeddings":
        return None
    if (width := entry.find_embedding_dim(channels, min(sides))) is None:
        raise ValueError(
            f"{config.loss} works on embeddings and model {config.model!r} gives none: no linear layer of its own is "
            "proven to make its logits; choose a loss on logits or another model"
        )
    return width


def finish(
    record: Record,
    training: Training,
    splits: Splits,
    dataset: Dataset,
    known: dict[str, Any],
    keep: str | None = None,
) -> None:
    """Score the test images with the selected epoch's weights and write the record.

    `known` holds `status` and `epoch_seconds`, the error as `diverged` where there was one, and the `engine` where its
    numbers are not those of a run alone to the last bit.
    """
    config, status, diverged = training.config, known["status"], known.get("diverged")
    scores: dict[str, Any] = {}
    target = predicted = weights = None
    if training.best_epoch:
        try:
            scores, target, predicted = _score_test(training, splits, dataset)
        except Diverged as error:  # finite on the images that it was selected on, and not on these
            status, diverged, training.best_epoch = "diverged", error, 0
            warnings.warn(f"{record.path.name}: {error}", stacklevel=4)
    result = {
        "run_id": record.path.name,
        "label": config.label,
        "loss_params": config.full_loss_params,
        "probability_params": config.full_probability_params,
        "status": status,
        "epochs": config.epochs,
        "epochs_done": len(training.history),
        "best_epoch": training.best_epoch or None,
        **{f"test_{name}": scores.get(name) for name in SCORES},
        "val_accuracy": training.best_score if training.best_epoch and config.selection == "validation" else None,
        "seconds": round(sum(known["epoch_seconds"]), 3),
        "epoch_seconds": known["epoch_seconds"],
        "train_images": len(splits.train),
        "test_images": len(splits.test),
        **({} if dataset.validation is None else {"validation_images": len(dataset.validation)}),
        "num_parameters": _count_parameters(training),
        "dataset_fingerprint": dataset.fingerprint,
        "class_names": list(dataset.class_names),
        "events": dict(training.criterion.events),
        **learned_by_loss(training),
        **describe_machine(splits.train.images.device),
    }
    if "engine" in known:
        result["engine"] = known["engine"]
    if config.metrics and target is not None and predicted is not None:
        values, notes = measure_all(config.metrics, predicted, target)
        result |= {**values, METRIC_NOTES: notes}
        for name in (name for name, note in notes.items() if "missing" in note):
            warnings.warn(f"{record.path.name}: {notes[name]['missing']}; the record is without it", stacklevel=4)
    if diverged is not None:
        value = str(diverged.value)
        result["diverged"] = {"what": diverged.what, "value": value, "epoch": diverged.epoch, "step": diverged.step}
    if keep == "weights" and training.best_epoch:
        weights = pack_weights(training, dataset, splits.train)
    record.write_config(config)  # once more: the folder may have been deleted or renamed meanwhile
    record.write(result, training.history, target, predicted, weights)
    remove_checkpoint(record.path)


def _count_parameters(training: Training) -> int:
    parts = (training.model, training.frozen, training.criterion)
    return sum(parameter.numel() for part in parts if part is not None for parameter in part.parameters())


def _score_test(
    training: Training, splits: Splits, dataset: Dataset
) -> tuple[dict[str, Any], NDArray[Any], NDArray[Any]]:
    """The scores of the test images, their targets and log-probabilities. Diverged where one is not finite."""
    training.restore_best()
    output, log_probs = predict(training, splits.test)
    parts = []  # embeddings of the test images, mean directions of the classes
    if training.config.embedding_scores:
        parts = [output.embeddings, class_means(training, splits.train, len(dataset.class_names))]
    own = log_probs.gather(1, splits.test.target[:, None])  # of other classes it may be -inf
    values = {"a test prediction": (own, log_probs[log_probs.isnan()]), "an embedding": parts}
    for what, tensors in values.items():
        require_finite(what, tensors, training.best_epoch, steps_of(training, splits.train))
    target, predicted = splits.test.target.cpu().numpy(), log_probs.cpu().numpy()
    embeddings, means = (part.cpu().numpy() for part in parts) if parts else (None, None)
    scores = score(target, predicted, embeddings, means, dataset.class_names)
    if splits.transfer is not None:
        scores["transfer_accuracy"] = transfer_accuracy(training, splits.transfer)
    return scores, target, predicted
