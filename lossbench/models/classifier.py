"""What every network is: a body that sees, and a head that decides."""

from __future__ import annotations

from typing import Literal, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lossbench.registry import unknown

Head = Literal["linear", "cosine"]
HEADS = ("linear", "cosine")
TRAINED_LAYERS = {"all": None, "head": 1, "last5": 5}


class Output(NamedTuple):
    """What every model returns: `logits` (batch, num_outputs) and `embeddings` (batch, features)."""

    logits: Tensor
    embeddings: Tensor


class CosineHead(nn.Linear):
    """Logits that are cosines of the angles between embedding and class weights, times a learned scale.

    They lie in [-scale, scale], so a loss can change directions and the scale, but not lengths.

    Source: Gidaris & Komodakis 2018, section 3.2, arXiv:1804.09458; their scale also starts at 10.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, bias=False)
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Turn embeddings (batch, in_features) into logits (batch, out_features)."""
        return self.scale * F.linear(F.normalize(embeddings), F.normalize(self.weight))


class Classifier(nn.Module):
    """A body that turns images (batch, channels, height, width) into embeddings, and a head that makes logits.

    Args:
        body: images -> embeddings (batch, embedding_dim).
        embedding_dim: length of an embedding.
        num_outputs: number of logits: classes, or the nodes of a tree for a hierarchical loss.
        head: `linear`, or `cosine` for a `CosineHead`.
        dropout: between embeddings and head while training, in [0, 1); a loss on embeddings sees them whole.
    """

    def __init__(
        self, body: nn.Module, embedding_dim: int, num_outputs: int, head: Head = "linear", dropout: float = 0.0
    ) -> None:
        super().__init__()
        if head not in HEADS:
            raise ValueError(unknown("head", head, HEADS))
        self.embedding_dim = embedding_dim
        self.body = body
        # The head comes last: with one seed, losses that need other heads still start from the same body.
        self.head = (nn.Linear if head == "linear" else CosineHead)(embedding_dim, num_outputs)
        self.dropout = nn.Dropout(dropout)
        self._frozen: list[nn.Module] = []

    def set_trainable(self, which: str) -> None:
        """Freeze what comes before the trained layers: its weights, and its running statistics and dropout.

        Args:
            which: `all`, the `head` alone, or `last5`: the last five layers with weights, in the order in which the
                model lists them. As in "ResNet34", convolutions and linear layers count, and the batch
                normalisation after one goes with it; paper 001 trains "the top 5 layers" and does not say more.

        Raises:
            ValueError: an unknown choice.
        """
        if which not in TRAINED_LAYERS:
            raise ValueError(unknown("choice of trainable weights", which, TRAINED_LAYERS))
        self.requires_grad_(True)
        modules = list(self.modules())
        count = TRAINED_LAYERS[which]
        trained = [module for module in modules if isinstance(module, nn.Conv2d | nn.Linear)][-(count or 0) :]
        before = modules[: modules.index(trained[0])] if count else []
        for module in before:
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)
        self._frozen = [m for m in before if not any(p.requires_grad for p in m.parameters())]
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """As nn.Module.train, but what is frozen stays in evaluation mode."""
        super().train(mode)
        for module in self._frozen:
            module.training = False
        return self

    def forward(self, images: Tensor) -> Output:
        """Turn images (batch, channels, height, width) into logits and embeddings."""
        embeddings = self.body(images)
        return Output(self.head(self.dropout(embeddings)), embeddings)
