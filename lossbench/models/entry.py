"""A row of `MODELS`: how to build a network, and what is known about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from lossbench.models.classifier import Classifier, Head
from lossbench.models.weights import Pretrained
from lossbench.registry import unknown

Stem = Literal["cifar", "imagenet"]
CIFAR_STEM_UP_TO = 64


class Rgb(nn.Module):
    """Show a grey image to a network that was trained on colours: three equal channels."""

    def forward(self, images: Tensor) -> Tensor:
        """Turn (batch, 1 or 3, height, width) into (batch, 3, height, width)."""
        return images.expand(-1, 3, -1, -1)


@dataclass(frozen=True)
class ModelEntry:
    """Builds a model when called, with fresh weights from torch's global random state.

    Attributes:
        name: in configs, tables and figures.
        build: in_channels -> body; with `stems`, (in_channels, stem) -> body.
        embedding_dim: length of an embedding.
        num_parameters: with 10 outputs, 3 channels and, where there is a choice, the cifar stem.
        summary: a line for `lossbench list models`.
        source: who proposed it.
        min_size: the smallest image side that passes through, in pixels.
        stems: the first layers to choose from. `cifar` is for small images: it leaves out the first two halvings.
        head: the kind of head it is built with.
        dropout: before the head.
        pretrained: its published weights, if it has some.
        reconstruction: the source does not describe all of it; the rest is our reading.
    """

    name: str
    build: Callable[..., nn.Module]
    embedding_dim: int
    num_parameters: int
    summary: str
    source: str
    min_size: int = 8
    stems: tuple[Stem, ...] = ()
    head: Head = "linear"
    dropout: float = 0.0
    pretrained: Pretrained | None = None
    reconstruction: bool = False

    def __call__(
        self,
        num_outputs: int,
        in_channels: int = 1,
        *,
        image_size: int | None = None,
        stem: Stem | None = None,
        head: Head | None = None,
        pretrained: bool = False,
    ) -> Classifier:
        """Build the model.

        Args:
            num_outputs: number of logits.
            in_channels: 1 for grey images, 3 for colours.
            image_size: shorter side of the images in pixels; chooses the stem where `stem` is None: `cifar` up to
                64 pixels and where the size is not given, else `imagenet`.
            stem: one of `stems`.
            head: `linear` or `cosine`; None takes the entry's own.
            pretrained: start the body from the published weights, which have the `imagenet` stem. The model then takes
                grey images too, whatever `in_channels`, and repeats them to three channels.

        Raises:
            ValueError: no such stem, head or published weights, a damaged file, or an extra that is not installed.
            FileNotFoundError: the published weights are not on this machine.
        """
        if pretrained:
            body = self._build_pretrained(stem)
        else:
            body = self._build(in_channels, self._choose_stem(stem, image_size))
        return Classifier(body, self.embedding_dim, num_outputs, head or self.head, self.dropout)

    def _build_pretrained(self, stem: Stem | None) -> nn.Module:
        if self.pretrained is None:
            raise ValueError(f"model {self.name!r} has no published weights; set pretrained=False")
        if stem == "cifar":
            raise ValueError(f"the published weights of {self.name!r} have the imagenet stem, got stem='cifar'")
        body = self._build(3, self._choose_stem("imagenet" if self.stems else stem, None))
        self.pretrained.load_into(body, self.name)
        return nn.Sequential(Rgb(), body)

    def _build(self, in_channels: int, stem: Stem | None) -> nn.Module:
        return self.build(in_channels) if stem is None else self.build(in_channels, stem)

    def _choose_stem(self, stem: Stem | None, image_size: int | None) -> Stem | None:
        if stem is not None and stem not in self.stems:
            raise ValueError(f"model {self.name!r}: {unknown('stem', stem, self.stems)}")
        if stem is not None or not self.stems:
            return stem
        return "cifar" if image_size is None or image_size <= CIFAR_STEM_UP_TO else "imagenet"
