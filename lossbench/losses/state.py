"""What a loss may own besides hyperparameters: learnable parameters, constant tensors, an output layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

LogProbs = Callable[[Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Context:
    """What the trainer knows about the task; each may be missing.

    Attributes:
        loss: name of the loss, for messages.
        num_classes: number of classes.
        embedding_dim: width of the embeddings.
        class_counts: (classes,) number of training samples of each class.
        class_names: the classes in the order of the target indices.
        generator: the only source of randomness; global random state stays untouched.
    """

    loss: str
    num_classes: int | None
    embedding_dim: int | None
    class_counts: Tensor | None
    generator: torch.Generator
    class_names: tuple[str, ...] | None = None

    def require(self, name: str) -> Any:
        """The named piece of context; ValueError saying how to pass it if it is missing."""
        value = getattr(self, name)
        if value is None:
            raise ValueError(f"{self.loss} needs {name}: pass Criterion({self.loss!r}, ..., {name}=...)")
        return value


class LossState(nn.Module):
    """Tensors of a loss, handed to its pure function by name.

    A subclass is built as `Subclass(params, context)` with all hyperparameters (defaults included). It
    registers parameters and buffers and returns them from `forward`; a name that is also a hyperparameter
    replaces that hyperparameter's value. The two other methods need overriding only when the model's outputs
    are not one logit a class (tree nodes); such a state also sets `num_classes`.
    """

    num_classes: int | None = None

    def forward(self) -> dict[str, Tensor]:
        """Tensors for the loss function, by argument name."""
        return {}

    def num_outputs(self, num_classes: int) -> int:
        """How many logits the model must give."""
        return num_classes

    def training_log_probs(self, logits: Tensor, target: Tensor | None, log_probs: LogProbs) -> Tensor:
        """What the loss function gets as `log_probs`; `log_probs` is the chosen probability function."""
        return log_probs(logits, target)

    def class_log_probs(self, logits: Tensor, log_probs: LogProbs) -> Tensor:
        """(batch, classes) log-probabilities to predict and score with."""
        return log_probs(logits, None)
