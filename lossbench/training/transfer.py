"""What a network's features are worth on images that it was not trained for: a linear classifier on top of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lossbench.config import RunConfig
from lossbench.data import Split, load, stratified_split
from lossbench.data.dataset import VALIDATION_FRACTION
from lossbench.training.loop import Training, predict, require_finite

STRENGTHS = (0.01, 0.1, 1.0, 10.0)  # scikit-learn's C, the inverse of the L2 penalty


def load_transfer(
    config: RunConfig, image_shape: tuple[int, ...], data: Path | None, device: torch.device
) -> tuple[Split, Split] | None:
    """The training and test images of the config's other data set, brought to the size that its network sees.

    Colour becomes grey where the network sees grey, and grey the same in all channels where it sees colour.
    """
    if config.transfer is None:
        return None
    other = load(config.transfer, data)
    channels, *size = image_shape

    def as_seen(split: Split) -> Split:
        from torchvision.transforms.v2 import functional

        images = split.images
        if images.shape[1] != channels:
            images = functional.rgb_to_grayscale(images) if channels == 1 else images.expand(-1, channels, -1, -1)
        return Split(functional.resize(images, size, antialias=True), split.target).to(device)

    return as_seen(other.train), as_seen(other.test)


def transfer_accuracy(training: Training, train: Split, test: Split) -> float:
    """Test accuracy, in [0, 1], of logistic regression on the network's frozen embeddings of other images.

    Features are standardised; the strength of the L2 penalty is chosen on a tenth of the training images, held out by
    the run's seed, and the classifier is then fitted to all of them.

    Raises: Diverged where an embedding is not finite.

    Source: Kornblith et al. 2021, arXiv:2010.16402, section 3.4, where the strength is chosen likewise.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    embeddings = [predict(training, split)[0].embeddings for split in (train, test)]
    require_finite("an embedding of another data set", embeddings, training.best_epoch, 0)
    (x, y), (x_test, y_test) = (
        (points.cpu().double().numpy(), split.target.cpu().numpy())
        for points, split in zip(embeddings, (train, test), strict=True)
    )
    rest, held = stratified_split(train.target.cpu(), VALIDATION_FRACTION, training.config.seed)

    def fitted(strength: float, rows: Tensor | slice) -> Any:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000, tol=1e-3))
        return model.fit(x[rows], y[rows])

    best = max(STRENGTHS, key=lambda strength: fitted(strength, rest).score(x[held], y[held]))
    return float(fitted(best, slice(None)).score(x_test, y_test))
