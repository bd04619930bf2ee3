"""What a network's features are worth on images that it was not trained for: a linear classifier on top of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from lossbench.config import RunConfig
from lossbench.data import Dataset, Split, hold_out, load
from lossbench.training.loop import Training, predict, require_finite

STRENGTHS = (0.01, 0.1, 1.0, 10.0)  # scikit-learn's C, the inverse of the L2 penalty


def load_transfer(
    config: RunConfig, image_shape: tuple[int, ...], data: Path | None, device: torch.device
) -> Dataset | None:
    """The config's other data set, brought to the size that its network sees.

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
        return Split(functional.resize(images, size, antialias=True), split.target)

    return other.with_splits({name: as_seen(split) for name, split in other.splits.items()}).to(device)


def transfer_accuracy(training: Training, other: Dataset) -> float:
    """Test accuracy, in [0, 1], of logistic regression on the network's frozen embeddings of other images.

    Features are standardised; the strength of the L2 penalty is chosen on validation images (see `hold_out`), and the
    classifier is then fitted to all training images.

    Raises: Diverged where an embedding is not finite.

    Source: Kornblith et al. 2021, arXiv:2010.16402, section 3.4, where the strength is chosen likewise.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def features(split: Split) -> tuple[NDArray[Any], NDArray[Any]]:
        embeddings = predict(training, split)[0].embeddings
        require_finite("an embedding of another data set", [embeddings], training.best_epoch, 0)
        return embeddings.cpu().double().numpy(), split.target.cpu().numpy()

    rest, held = map(features, hold_out(other, training.config.seed))

    def fitted(strength: float, images: tuple[NDArray[Any], NDArray[Any]]) -> Any:
        head = LogisticRegression(C=strength, max_iter=1000, tol=1e-3)
        return make_pipeline(StandardScaler(), head).fit(*images)

    best = max(STRENGTHS, key=lambda strength: fitted(strength, rest).score(*held))
    return float(fitted(best, features(other.train)).score(*features(other.test)))
