"""Networks. A model is one function `(num_outputs, in_channels) -> Classifier` and one row in `MODELS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Self

from torch import Tensor, nn


class Output(NamedTuple):
    """What every model returns: `logits` (batch, num_outputs) and `embeddings` (batch, features)."""

    logits: Tensor
    embeddings: Tensor


class Classifier(nn.Module):
    """A body that turns images (batch, channels, height, width) into embeddings, and a linear head."""

    def __init__(self, body: nn.Module, embedding_dim: int, num_outputs: int) -> None:
        super().__init__()
        self.embedding_dim = embedding_dim
        self.body = body
        # The head comes last: with one seed, losses that need other heads still start from the same body.
        self.head = nn.Linear(embedding_dim, num_outputs)
        self.body_is_frozen = False

    def freeze_body(self) -> None:
        """Train the head alone: the body keeps its weights and its running statistics."""
        self.body.requires_grad_(False)
        self.body_is_frozen = True

    def train(self, mode: bool = True) -> Self:
        """As nn.Module.train, but a frozen body stays in evaluation mode."""
        super().train(mode)
        if self.body_is_frozen:
            self.body.eval()
        return self

    def forward(self, images: Tensor) -> Output:
        embeddings = self.body(images)
        return Output(self.head(embeddings), embeddings)


@dataclass(frozen=True)
class ModelEntry:
    """A row of `MODELS`; calling it builds the model with fresh weights from torch's global random state."""

    build: Callable[[int, int], Classifier]
    embedding_dim: int
    min_size: int
    summary: str
    pretrained: bool = False

    def __call__(self, num_outputs: int, in_channels: int = 1) -> Classifier:
        """Build the model for `num_outputs` logits and images with `in_channels` channels."""
        return self.build(num_outputs, in_channels)


def small_cnn(num_outputs: int, in_channels: int) -> Classifier:
    """Two convolutions and a hidden layer of 64 units."""
    body = nn.Sequential(
        *_conv_block(in_channels, 16),
        *_conv_block(16, 32),
        nn.AdaptiveAvgPool2d(7),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 64),
        nn.ReLU(),
    )
    return Classifier(body, embedding_dim=64, num_outputs=num_outputs)


def _conv_block(in_channels: int, out_channels: int) -> list[nn.Module]:
    """Convolution, batch normalisation and ReLU after pooling, which is the same and four times cheaper."""
    return [
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    ]


MODELS: dict[str, ModelEntry] = {
    "small_cnn": ModelEntry(
        small_cnn,
        embedding_dim=64,
        min_size=8,
        summary="2 convolutions, 64 hidden units; a second an epoch on a CPU",
    ),
}
