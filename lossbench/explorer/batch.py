"""A real batch: the logits of a trained network for 128 test images, and how hard each loss pulls on each of them.

`fashion_batch.npz` lies beside this file; `python -m lossbench.explorer.build_batch` makes it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lossbench.explorer.curves import Array
from lossbench.explorer.sides import Side

BATCH = Path(__file__).parent / "fashion_batch.npz"


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
