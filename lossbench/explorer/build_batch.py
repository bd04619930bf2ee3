"""Make the explorer's real batch again: train a small network, keep its logits for random test images.

Run `python -m lossbench.explorer.build_batch`; ten seconds on a CPU.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from lossbench.config import RunConfig
from lossbench.data import load
from lossbench.explorer.measure import BATCH
from lossbench.training.loop import predict, train_epoch
from lossbench.training.run import start

SIZE = 128
EPOCHS = 3


def build(path: Path = BATCH) -> None:
    """Write the logits (128, 10) float32 and target (128,) uint8 to `path`."""
    config = RunConfig(epochs=EPOCHS)
    dataset = load("fashion-mini")
    training = start(config, dataset, dataset.train, torch.device("cpu"))
    for _ in range(EPOCHS):
        train_epoch(training, dataset.train)
        training.scheduler.step()
    chosen = torch.randperm(len(dataset.test), generator=torch.Generator().manual_seed(0))[:SIZE]
    images = dataset.test.subset(chosen)
    output, _ = predict(training, images)
    np.savez(path, logits=output.logits.numpy(), target=images.target.to(torch.uint8).numpy())


if __name__ == "__main__":
    build()
