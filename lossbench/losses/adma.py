"""Adma (paper 001) and the two baselines its tables compare it with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from lossbench.entry import fixed, search, slider
from lossbench.losses.primitives import of_target, over_target
from lossbench.losses.registry import register
from lossbench.losses.state import Context, LossState
from lossbench.registry import above, boolean, one_of


class LearnableExponent(LossState):
    """Adma's `a` as a parameter, kept in (0, 0.5] by a sigmoid."""

    def __init__(self, start: float) -> None:
        super().__init__()
        share = min(start / 0.5, 0.999)  # the sigmoid reaches 0.5 only at infinity
        self.raw = nn.Parameter(torch.tensor(math.log(share / (1 - share))))

    @property
    def a(self) -> Tensor:
        return 0.5 * self.raw.sigmoid()

    def forward(self) -> dict[str, Tensor]:
        return {"a": self.a}


def build_exponent(params: Mapping[str, Any], context: Context) -> LossState | None:
    """A learnable exponent if it is asked for."""
    return LearnableExponent(params["a"]) if params["learnable"] else None


@register(title="Adma", colour="purple", shown=("a",), soft_target="by_class", state=build_exponent)
def adma(
    log_probs: Tensor,
    target: Tensor,
    *,
    a: Annotated[float | Tensor, above(0.0, up_to=0.5), slider(0.01, 0.5, 0.01), search(0.05, 0.5, log=True)] = 0.2622,
    normalize: Annotated[bool, boolean()] = False,
    learnable: Annotated[bool, boolean(), fixed(False)] = False,
) -> Tensor:
    r"""Bounded loss whose flexibility is set by an exponent on the target's probability.

    .. math:: L = e - \exp(p_t^a)

    Range: [0, e - 1]; divided by e a with normalize.
    Gradient: :math:`\partial L / \partial z_j = -a p_t^a \exp(p_t^a) (Y_j - p_j)` on the softmax logits.
    At p -> 0: levels off at e - 1; the gradient vanishes, but only as slowly as :math:`p^a`.
    At p -> 1: falls to 0 like e a (1 - p).
    Equals: cross_entropy in the limit a -> 0 with normalize (not in the paper).
    Note: the gradient is about e a times that of cross_entropy, so without normalize the choice of a is mixed
        up with the learning rate. A learnable a lowers the loss by itself: towards 0 without normalize,
        towards 0.5 with it.
    Source: Shrivastava 2020, arXiv:2007.12499 (paper 001), eq. 5; the default a is Table 1's for CIFAR-10.
    Peers: none in torch, timm or kornia.

    Args:
        log_probs: (batch, classes) log-probabilities.
        target: (batch,) class indices, or (batch, classes) class probabilities.
        a: exponent, 0 < a <= 0.5, where the loss is convex in p; a = 0 would make it 0 everywhere.
        normalize: divide by e a, so that the gradient has the scale of cross_entropy's.
        learnable: let `Criterion` learn `a`, starting from the given one (at most 0.4995).

    Returns: (batch,) loss.
    """
    # exact near p = 1, and a finite gradient at p = 0
    loss = -torch.expm1(torch.expm1(a * of_target(log_probs, target)))
    return over_target(loss / a if normalize else math.e * loss, target)


@register(title="MSE", colour="blue", soft_target="whole")
def mse(log_probs: Tensor, target: Tensor) -> Tensor:
    r"""Squared distance between the probabilities and the target distribution, averaged over classes.

    .. math:: L = \frac{1}{C} \sum_k (p_k - Y_k)^2

    Range: [0, 2 / C], hence smaller the more classes there are.
    Gradient: :math:`\partial L / \partial z_j = \frac{2}{C} p_j [(p_j - Y_j) - \sum_k p_k (p_k - Y_k)]`
    At p -> 0: stays below 2 / C; the gradient vanishes once a wrong class takes all the probability.
    At p -> 1: falls to 0 like :math:`(1 - p)^2`.
    Equals: the Brier score divided by the number of classes.
    Source: Keras' convention (mean over classes of softmax outputs), as compared in paper 001.
    Peers: torch (nn.MSELoss on probabilities and one-hot targets), Keras (MeanSquaredError).

    Args:
        log_probs: (batch, classes) log-probabilities.
        target: (batch,) class indices, or (batch, classes) class probabilities.

    Returns: (batch,) loss.
    """
    probs = log_probs.exp()
    if target.dim() == 2:
        gap = probs - target
    else:
        index = target[:, None]
        gap = probs.scatter_add(1, index, -torch.ones_like(index, dtype=probs.dtype))
    return (gap * gap).mean(1)


@register(colour="orange")
def squared_hinge(
    log_probs: Tensor, target: Tensor, logits: Tensor, *, on: Annotated[str, one_of("probs", "logits")] = "probs"
) -> Tensor:
    r"""Squared distance by which each class misses its margin of 1.

    .. math:: L = \frac{1}{C} \sum_k \max(0, 1 - s_k p_k)^2, \quad s_k = 2 Y_k - 1

    Range: on probabilities [(C - 1) / C, (C + 3) / C): 0 is out of reach; on logits [0, ∞).
    Gradient: :math:`\partial L / \partial p_k = -\frac{2}{C} s_k \max(0, 1 - s_k p_k)`; on logits the same
        with z for p.
    At p -> 0: at most (C + 3) / C; the gradient vanishes once a wrong class takes all the probability.
    At p -> 1: falls to (C - 1) / C, the share of the wrong classes, which count 1 each even at probability 0.
    Equals: no other loss here.
    Note: its minimum is not 0 on probabilities, so do not read its height against that of other losses.
    Source: Keras' convention, as compared in paper 001, which does not say what it is applied to; on="logits"
        is the usual hinge.
    Peers: Keras (SquaredHinge); scikit-learn's LinearSVC (on="logits", one class against the rest).

    Args:
        log_probs: (batch, classes) log-probabilities.
        target: (batch,) class indices.
        logits: (batch, classes).
        on: "probs", or "logits", where the loss ignores the probability function.

    Returns: (batch,) loss.
    """
    scores = logits if on == "logits" else log_probs.exp()
    index = target[:, None]
    signed = scores.scatter(1, index, -scores.gather(1, index))  # -s_k times the score
    miss = (1 + signed).relu()
    return (miss * miss).mean(1)
