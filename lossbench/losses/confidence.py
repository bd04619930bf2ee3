"""The regularised cross-entropy of paper 004: confident predictions are penalised."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from lossbench.entry import search, slider, symbol
from lossbench.losses.primitives import of_target, over_target
from lossbench.losses.registry import register
from lossbench.registry import at_least


@register(colour="orange", shown=("lam",), soft_target="whole")
def confidence_penalty(
    log_probs: Tensor,
    target: Tensor,
    *,
    lam: Annotated[float, at_least(0.0), slider(0.0, 1.0, 0.05), search(0.01, 1.0, log=True), symbol("λ")] = 0.1,
) -> Tensor:
    r"""Cross-entropy minus a share of the prediction's entropy.

    .. math:: L = -\log p_t + \lambda \sum_i p_i \log p_i

    Range: [-λ log C, ∞): it can be negative.
    Gradient: :math:`\partial L / \partial z_j = p_j - Y_j + \lambda p_j (\log p_j + H)`, H the entropy of p.
    At p -> 0: as cross_entropy, plus a bounded term.
    At p -> 1: reaches 0 but not its minimum, which lies at a target probability below 1.
    Equals: cross_entropy at lam 0.
    Source: paper 004 (r-CE), which gives no lam, so 0.1 is our choice; Pereyra et al. 2017, arXiv:1701.06548.
    Peers: none in torch, timm or kornia.

    Args:
        log_probs: (batch, classes) log-probabilities.
        target: (batch,) class indices, or (batch, classes) class probabilities.
        lam: how strongly confidence is penalised, >= 0.

    Returns: (batch,) loss in nats.
    """
    loss = over_target(-of_target(log_probs, target), target)
    if lam == 0:
        return loss
    finite = log_probs.clamp(min=torch.finfo(log_probs.dtype).min)  # a class whose logit is masked with -inf adds 0
    return loss + lam * (log_probs.exp() * finite).sum(1)
