"""A made-up study on disk, in the form that real runs have, so that analysis is tested without training."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from extension_cases import leave_no_trace, own_losses  # noqa: F401  fixtures
from miniatures import miniature, own_cache, pets, small  # noqa: F401  fixtures for the tests of data

from lossbench.config import RunConfig
from lossbench.records import Record
from lossbench.scores import score

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
THESIS = (
    ("cross_entropy", {}),
    ("kl_divergence", {}),
    ("js_divergence", {}),
    ("focal", {"gamma": 0.5}),
    ("focal", {"gamma": 2.0}),
)
SHIFTS = {"js_divergence": -0.07, "focal": -0.004}


def write_run(
    output: Path, config: RunConfig, status: str = "finished", images: int = 500, all_scores: bool = False
) -> Record:
    """Write one invented record; the twins cross-entropy and KL get the same numbers under the same seed.

    `all_scores` adds those on embeddings, trees and classes, with the log-probabilities as embeddings.
    """
    twin = config.loss.replace("kl_divergence", "cross_entropy")
    name = f"{twin}{dict(config.loss_params)}{config.probability}{config.seed}{config.dataset}"
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    target = np.arange(images, dtype=np.int64) % len(CLASSES)
    wanted = 0.86 + SHIFTS.get(config.loss, 0.0) + 0.006 * rng.normal()
    logits = rng.normal(size=(images, len(CLASSES)))
    right = rng.random(images) < wanted
    logits[np.arange(images), np.where(right, target, (target + 2) % len(CLASSES))] += 6
    log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    epochs = np.arange(1, config.epochs + 1)
    noise = 0.01 * rng.normal() + 0.003 * rng.normal(size=len(epochs))
    curve = wanted - 0.35 * np.exp(-epochs / 2) + noise
    rates = config.lr * (1 + np.cos(np.pi * epochs / config.epochs)) / 2
    history = [
        {"epoch": int(e), "lr": float(r), "train_loss": float(2 - c), "train_accuracy": float(c) + 0.01,
         "val_loss": float(2 - c), "val_nll": float(2 - c), "val_accuracy": float(c)}
        for e, r, c in zip(epochs, rates, curve, strict=True)
    ]  # fmt: skip
    finished = status == "finished"
    scores = {
        "best_epoch": int(curve.argmax()) + 1,
        "test_accuracy": float((log_probs.argmax(1) == target).mean()),
        "test_nll": float(-log_probs[np.arange(images), target].mean()),
        "val_accuracy": float(curve.max()),
    }
    if all_scores:
        found = score(target, log_probs, log_probs, np.eye(len(CLASSES)), CLASSES)
        scores |= {f"test_{name}": value for name, value in found.items()}
    result = {
        "run_id": config.run_id,
        "label": config.label,
        "loss_params": config.full_loss_params,
        "probability_params": config.full_probability_params,
        "status": status,
        "epochs": config.epochs,
        "epochs_done": config.epochs if finished else 2,
        **(scores if finished else dict.fromkeys(scores)),
        "seconds": 12.5,
        "epoch_seconds": [12.5 / config.epochs] * config.epochs,
        "train_images": 4500,
        "test_images": images,
        "num_parameters": 20_000,
        "dataset_fingerprint": "ab" * 32,
        "class_names": list(CLASSES),
        "events": {},
        "device": "cpu",
        "threads": 1,
        "peak_memory_mb": 600.0,
        "commit": "0123456789ab",
        "versions": {"lossbench": "0.1.0", "python": "3.11.7", "torch": "2.15.0", "numpy": "2.4.6"},
    }
    record = Record.of(config, output)
    record.write_config(config)
    arrays = (target, log_probs.astype(np.float32)) if finished else ()
    record.write(result, history if finished else history[:2], *arrays)
    return record


@pytest.fixture
def study_folder(tmp_path):
    """Write a study of invented runs; `study_folder(losses=..., probabilities=..., seeds=...)` is its folder."""

    def write(losses=THESIS, probabilities=("softmax", "taylor_softmax"), seeds=(0, 1, 2), diverged=(), **fields):
        for loss, params in losses:
            for probability in probabilities:
                for seed in seeds:
                    config = RunConfig(
                        loss=loss, loss_params=params, probability=probability, seed=seed,
                        **{"epochs": 8, **fields},
                    )  # fmt: skip
                    broken = (loss, probability, seed) in diverged
                    write_run(tmp_path, config, "diverged" if broken else "finished")
        return tmp_path

    return write
