"""The few numerical building blocks that the losses share."""

from __future__ import annotations

import torch
from torch import Tensor


def of_target(log_probs: Tensor, target: Tensor) -> Tensor:
    """Log-probabilities that the target speaks about.

    Args:
        log_probs: (batch, classes).
        target: (batch,) class indices, or (batch, classes) class probabilities.

    Returns: (batch,) for indices; for probabilities all of `log_probs`. Close with `over_target`.
    """
    if target.dim() == 2:
        return log_probs
    return log_probs.gather(1, target[:, None]).squeeze(1)


def over_target(values: Tensor, target: Tensor) -> Tensor:
    """Sum of `values`, computed from `of_target`, weighted by the target: (batch,)."""
    if target.dim() == 2:
        return (target * values).sum(1)
    return values


def log1m(log_p: Tensor) -> Tensor:
    """log(1 - p) from log p <= 0: finite value and gradient also where p has rounded to 1.

    There `log_p` itself has lost the true value; 1 - p is taken as half a unit in the last place, with no
    gradient. That is as exact as cross-entropy for a loss that vanishes at p = 1. A loss that grows there needs
    the other classes, see `false_positive`.
    """
    below = log_p.clamp(max=-torch.finfo(log_p.dtype).eps / 2)
    return (-torch.expm1(below)).log()


def widen(tensor: Tensor) -> Tensor:
    """float32 for a tensor in half precision; others as they are."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
