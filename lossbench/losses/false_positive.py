"""False Positive Loss (paper 003): also push down the most probable wrong class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lossbench.entry import choices, search, slider, symbol
from lossbench.losses.primitives import log1m, of_target
from lossbench.losses.registry import register
from lossbench.losses.state import Context, LossState
from lossbench.registry import one_of, whole

ALPHAS = ("batch", "dataset", "none")


class ClassAlpha(LossState):
    """Fixed weights of the classes."""

    def __init__(self, alpha: Tensor) -> None:
        super().__init__()
        self.register_buffer("alpha", alpha)

    def forward(self) -> dict[str, Tensor]:
        return {"alpha": self.get_buffer("alpha")}


def build_alpha(params: Mapping[str, Any], context: Context) -> LossState | None:
    """Weights from the training set's class counts, or those given; None where they come from the batch."""
    alpha = params["alpha"]
    if alpha == "dataset":
        counts = context.require("class_counts").to(torch.float64)
        if counts.dim() != 1 or not (counts >= 0).all() or not counts.sum() > 0:
            raise ValueError(f"false_positive: class_counts must be (classes,) counts, got {counts.tolist()}")
        return ClassAlpha((1 - counts / counts.sum()).float())
    return None if alpha in ALPHAS else ClassAlpha(torch.tensor(alpha))


def check_alpha(name: str, value: object) -> str | tuple[float, ...]:
    """A word, or a weight >= 0 for each class."""
    if isinstance(value, str):
        return one_of(*ALPHAS)(name, value)
    numbers = value.tolist() if isinstance(value, Tensor) else value
    if not isinstance(numbers, Sequence) or not all(isinstance(number, (int, float)) for number in numbers):
        raise TypeError(f"{name} must be one of {', '.join(ALPHAS)} or a number for each class, got {value!r}")
    if len(numbers) < 2 or not all(0 <= number < math.inf for number in numbers):
        raise ValueError(f"{name} must hold a finite weight >= 0 for each class, got {value!r}")
    return tuple(float(number) for number in numbers)


@register(title="False Positive Loss", colour="vermillion", state=build_alpha)
def false_positive(
    log_probs: Tensor,
    target: Tensor,
    valid: Tensor | None = None,
    *,
    form: Annotated[str, one_of("ce", "mse")] = "ce",
    # The explorer shows one sample at a time, and "batch" depends on the others.
    alpha: Annotated[str | Tensor, check_alpha, choices("dataset", "none"), symbol("α")] = "batch",
    top_k: Annotated[int, whole(1), slider(1, 9, 1), search(1, 5)] = 1,
    aggregate: Annotated[str, one_of("sum", "mean", "median")] = "sum",
) -> Tensor:
    r"""Cross-entropy plus a penalty on the wrong classes that the model believes in most.

    .. math:: L = -\alpha_t \log p_t - \sum_{F \in \text{top k wrong}} \alpha_F \log(1 - p_F)

    Range: [0, ∞); with form="mse" [0, 2] for alpha up to 1 and top_k 1.
    Gradient: :math:`\partial L / \partial z_j = -\alpha_t (Y_j - p_j) + \alpha_F \frac{p_F}{1 - p_F}
        (\delta_{jF} - p_j)` (form ce, top_k 1); bounded, although the fraction is not.
    At p -> 0: grows without bound, between :math:`\alpha_t` and :math:`\alpha_t + \alpha_F` times
        cross_entropy.
    At p -> 1: falls to 0; F is then the runner-up, and pushing it down adds to the gradient of cross_entropy.
    Equals: with two classes :math:`(\alpha_t + \alpha_F)` times cross_entropy; with alpha="none"
        cross_entropy plus the one-against-rest term of the hardest wrong class.
    Note: F is the most probable wrong class also when the sample is right. With alpha from counts a balanced
        set weighs every class (C - 1) / C, and a batch of one class has no loss at all. The gradient jumps
        where F changes.
    Source: paper 003 (Preprints 84050, 2023), whose formulas have lost their minus signs; alpha is
        :math:`(N - N_i) / N` over the dataset or over the batch, the default here as it needs no counts.
    Peers: none in torch, timm or kornia.

    Args:
        log_probs: (batch, classes) log-probabilities.
        target: (batch,) class indices.
        valid: (batch,) samples that count in the batch's alpha; None for all.
        form: "ce", or "mse": :math:`\alpha_t (1-p_t)^2 + \alpha_F p_F^2`.
        alpha: "batch", "dataset" (Criterion needs class_counts), "none" for 1, or a weight for each class.
        top_k: how many wrong classes; all of them if there are fewer.
        aggregate: "sum", "mean" or "median" (the lower one) of their terms.

    Returns: (batch,) loss.

    Raises:
        ValueError: alpha="dataset" outside Criterion, or another number of weights than classes.
    """
    wrong = _top_wrong(log_probs.detach(), target, top_k)
    weight = _class_weight(alpha, log_probs, target, valid)
    log_p, log_wrong = of_target(log_probs, target), log_probs.gather(1, wrong)
    if form == "mse":
        hit, miss = torch.expm1(log_p).square(), log_wrong.exp().square()
    else:
        hit, miss = -log_p, -_log1m_wrong(log_probs, log_p, target, log_wrong, wrong)
    terms, hit = weight[wrong] * miss, weight[target] * hit
    if aggregate == "median":
        return hit + terms.median(1).values
    return hit + (terms.sum(1) if aggregate == "sum" else terms.mean(1))


def _top_wrong(log_probs: Tensor, target: Tensor, top_k: int) -> Tensor:
    others = log_probs.scatter(1, target[:, None], -math.inf)
    if top_k == 1:
        return others.argmax(1, keepdim=True)
    return others.topk(min(top_k, log_probs.shape[1] - 1), dim=1).indices


def _log1m_wrong(log_probs: Tensor, log_p: Tensor, target: Tensor, log_wrong: Tensor, wrong: Tensor) -> Tensor:
    """log(1 - p_F) for each class in `wrong`, the most probable first.

    Only that one can be near 1, where 1 - p has lost its digits and a clamp would take the gradient from the
    worst errors. For it, 1 - p_F = p_t / p(t | not F), with the condition normalised over the other classes.
    """
    others = log_probs.scatter(1, wrong[:, :1], -math.inf)
    first = log_p - of_target(F.log_softmax(others, dim=1), target)
    return torch.cat([first[:, None], log1m(log_wrong[:, 1:])], dim=1)


def _class_weight(alpha: str | Tensor, log_probs: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
    classes = log_probs.shape[1]
    if isinstance(alpha, Tensor):
        if alpha.shape != (classes,):
            raise ValueError(f"false_positive: alpha must have shape ({classes},), got {tuple(alpha.shape)}")
        return alpha.to(log_probs.dtype)
    if alpha == "dataset":
        raise ValueError("false_positive: alpha='dataset' needs class_counts: pass Criterion(class_counts=...)")
    if alpha == "none":
        return log_probs.new_ones(classes)
    counted = torch.ones_like(target, dtype=log_probs.dtype) if valid is None else valid.to(log_probs.dtype)
    counts = log_probs.new_zeros(classes).scatter_add(0, target, counted)
    return 1 - counts / counts.sum().clamp(min=1)
