"""The ConvNet of paper 001. Its figure 2 shows three blocks and ELU; all numbers here are our reconstruction."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

WIDTHS = (32, 64, 128)
DROPOUT = (0.2, 0.3)
HEAD_DROPOUT = 0.4
GRID = 4


class Maxout(nn.Module):
    """The larger one of two linear pieces: halves the channels (Goodfellow et al. 2013, arXiv:1302.4389)."""

    def forward(self, images: Tensor) -> Tensor:
        """Turn (batch, 2 * channels, height, width) into (batch, channels, height, width)."""
        return torch.maximum(*images.chunk(2, dim=1))


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "elu": nn.ELU,
    "relu": nn.ReLU,
    "leaky_relu": partial(nn.LeakyReLU, 0.3),  # the default slope of Keras; the paper gives none
    "maxout": Maxout,
}


def convnet(in_channels: int, *, activation: str = "elu", dropout: tuple[float, float] = DROPOUT) -> nn.Module:
    """Three blocks of two 3x3 convolutions, each followed by activation and batch normalisation, and a pooling.

    Dropout follows the first two poolings here; that of the third stands before the head (`ModelEntry.dropout`).
    The last maps are pooled to 4 x 4, their size for images of 32 x 32, so that embeddings always have 2048 values.
    """
    layers: list[nn.Module] = []
    for width, rate in zip(WIDTHS, (*dropout, 0.0), strict=True):
        layers += [*_convolve(in_channels, width, activation), *_convolve(width, width, activation)]
        layers += [nn.MaxPool2d(2)] + [nn.Dropout(rate)] * (rate > 0)
        in_channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(GRID), nn.Flatten())


def _convolve(in_channels: int, out_channels: int, activation: str) -> list[nn.Module]:
    pieces = 2 if activation == "maxout" else 1
    convolution = nn.Conv2d(in_channels, pieces * out_channels, 3, padding=1)
    return [convolution, ACTIVATIONS[activation](), nn.BatchNorm2d(out_channels)]
