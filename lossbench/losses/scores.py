"""Losses on the logits themselves, with a term for each class and no softmax between the classes, or beside one.

They ignore the probability function. Their models are predicted and scored by the softmax of the logits.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from lossbench.losses.catalogue import register, search, slider, symbol
from lossbench.losses.classification import of_target
from lossbench.losses.probabilities import project_on_simplex
from lossbench.registry import above, one_of


def over_target_and_rest(own: Tensor, other: Tensor, target: Tensor) -> Tensor:
    """Sum over classes of `own` where the class is the target's and of `other` where it is not: (batch,).

    Both are (batch, classes). Class probabilities as target weigh the two; they need not sum to 1.
    """
    if target.dim() == 2:
        return (target * own + (target.sum(1, keepdim=True) - target) * other).sum(1)
    index = target[:, None]
    return other.scatter(1, index, own.gather(1, index)).sum(1)


def replace_target(values: Tensor, target: Tensor, own: Tensor) -> Tensor:
    """The values (batch, classes) with `own` (batch,) in the target's place."""
    return values.scatter(1, target[:, None], own[:, None])


@register(
    title="binary cross-entropy", colour="green", shown=("aggregate",), soft_target="by_class", origin="likelihood"
)
def binary_cross_entropy(
    logits: Tensor, target: Tensor, *, aggregate: Annotated[str, one_of("sum", "mean")] = "sum"
) -> Tensor:
    r"""Cross-entropy of each class against the rest, every class being asked on its own.

    .. math:: L = -\log \sigma(z_t) - \sum_{j \ne t} \log \sigma(-z_j), \quad \sigma(z) = \frac{1}{1 + e^{-z}}

    Use when: an image may show several classes or none, or a class shall be judged by itself.
    Avoid when: probabilities must sum to 1, or the learning rate of cross_entropy is kept: its first gradient is
        another.
    Range: [0, ∞); for class probabilities as target, at least the sum of their binary entropies.
    Gradient: :math:`\partial L / \partial z_j = \sigma(z_j) - Y_j`
    At p -> 0: grows without bound with the logits, as fast as cross_entropy or faster.
    At p -> 1: falls to 0 once every logit has the right sign and is large: that p is high is not enough.
    Equals: with two classes, on logits z and -z, twice cross_entropy on z/2 and -z/2.
    Note: aggregate="mean" divides by the number of classes C, as torch does, and the step with it. At logits of 0 the
        sum is C log 2, most of it from the wrong classes.
    Source: Beyer et al. 2020, Are we done with ImageNet?, arXiv:2006.07159; Wightman, Touvron and Jégou 2021,
        arXiv:2110.00476. Paper 000, eq. 1.12, prints a sign wrong.
    Peers: torch (nn.BCEWithLogitsLoss on one-hot targets: the mean), timm (BinaryCrossEntropy), optax, Keras.

    Args:
        logits: (batch, classes).
        target: (batch,) class indices, or (batch, classes) class probabilities.
        aggregate: "sum" or "mean" over the classes.

    Returns: (batch,) loss in nats.
    """
    if target.dim() == 2:
        loss = over_target_and_rest(F.softplus(-logits), F.softplus(logits), target)
    else:
        loss = F.softplus(replace_target(logits, target, -of_target(logits, target))).sum(1)
    return loss / logits.shape[1] if aggregate == "mean" else loss


@register(
    title="square loss on logits", colour="blue", shown=("goal", "factor"), soft_target="by_class", origin="surrogate"
)
def square_loss(
    logits: Tensor,
    target: Tensor,
    *,
    goal: Annotated[float, above(0.0), slider(1.0, 30.0, 1.0), search(1.0, 30.0, log=True), symbol("M")] = 1.0,
    factor: Annotated[float, above(0.0), slider(1.0, 20.0, 1.0), search(1.0, 20.0, log=True), symbol("k")] = 1.0,
) -> Tensor:
    r"""Squared distance of the logits from their goals: M for the target, 0 for the others.

    .. math:: L = \frac{1}{C} \left[ k (z_t - M)^2 + \sum_{j \ne t} z_j^2 \right]

    Use when: the logits shall be goals of a regression, with few classes.
    Avoid when: classes are many and k and M stay 1: the target drowns among zeros.
    Range: [0, ∞).
    Gradient: :math:`\partial L / \partial z_t = \frac{2 k}{C} (z_t - M)`, and :math:`\frac{2}{C} z_j` elsewhere.
    At p -> 0: grows with the square of the logits, and its gradient with the logits.
    At p -> 1: reaches 0 at p = :math:`e^M / (e^M + C - 1)` and rises again beyond: too large a logit costs as well.
    Equals: mse with logits for probabilities at M 1 and k 1.
    Note: the paper takes k = M = 1 up to about 40 classes, and k 15, M 30 on ImageNet, where the single target would
        otherwise drown among a thousand zeros.
    Source: Hui and Belkin 2020, Evaluation of Neural Architectures Trained with Square Loss vs Cross-Entropy in
        Classification Tasks, arXiv:2006.07322, section 2.
    Peers: torch (nn.MSELoss on logits and one-hot targets, at M 1 and k 1).

    Args:
        logits: (batch, classes).
        target: (batch,) class indices, or (batch, classes) class probabilities.
        goal: M, what the target's logit should be, > 0.
        factor: k, how much the target's term counts, > 0.

    Returns: (batch,) loss.
    """
    if target.dim() == 2:
        return over_target_and_rest(factor * (logits - goal).square(), logits.square(), target) / logits.shape[1]
    return replace_target(logits, target, factor**0.5 * (of_target(logits, target) - goal)).square().mean(1)


@register(colour="purple", soft_target="by_class", curve=False, origin="heuristic")
def squentropy(log_probs: Tensor, target: Tensor, logits: Tensor) -> Tensor:
    r"""Cross-entropy plus the mean square of the wrong classes' logits.

    .. math:: L = -\log p_t + \frac{1}{C - 1} \sum_{j \ne t} z_j^2

    Use when: the logits shall stay near 0 without a parameter to tune.
    Avoid when: logits are shifted or masked afterwards: it cares where they lie.
    Range: (0, ∞).
    Gradient: :math:`\partial L / \partial z_j = p_j - Y_j + \frac{2}{C - 1} (1 - Y_j) z_j` on the softmax logits.
    At p -> 0: as cross_entropy, plus the square.
    At p -> 1: falls to 0 only where the wrong logits are 0 and the target's alone has grown.
    Equals: cross_entropy plus :math:`C / (C - 1)` times the wrong classes' part of square_loss.
    Note: has no parameter to tune. It fixes where the logits lie, which cross_entropy leaves open.
    Source: Hui, Belkin and Wright 2023, Cut your Losses with Squentropy, arXiv:2302.03952, eq. 1.
    Peers: none in torch, timm, optax or Keras.

    Args:
        log_probs: (batch, classes) log-probabilities.
        target: (batch,) class indices, or (batch, classes) class probabilities.
        logits: (batch, classes).

    Returns: (batch,) loss.
    """
    rest = logits.shape[1] - 1
    if target.dim() == 2:
        return over_target_and_rest(-log_probs, logits.square() / rest, target)
    own = of_target(log_probs, target)
    return replace_target(logits, target, torch.zeros_like(own)).square().sum(1) / rest - own


@register(title="multi-class hinge", colour="vermillion", shown=("margin",), curve=False, origin="surrogate")
def multi_margin(
    logits: Tensor,
    target: Tensor,
    *,
    margin: Annotated[float, above(0.0), slider(0.1, 5.0, 0.1), search(0.1, 5.0, log=True), symbol("m")] = 1.0,
    aggregate: Annotated[str, one_of("max", "mean")] = "mean",
) -> Tensor:
    r"""Ask the target's logit to lead each other class by a margin.

    .. math:: L = \frac{1}{C} \sum_{j \ne t} \max(0, m - z_t + z_j)

    Use when: only the order of the classes counts, as for a support vector machine.
    Avoid when: probabilities are wanted: it stops learning once the margin is kept.
    Range: [0, ∞).
    Gradient: :math:`\partial L / \partial z_j = \frac{1}{C}` for each class within the margin, and minus their number
        over C on the target's logit; it does not depend on how far within.
    At p -> 0: grows without bound, in proportion to how far the target is behind.
    At p -> 1: is 0 once the target leads all others by the margin, and so is the gradient.
    Equals: at aggregate="max" the hinge of Crammer and Singer, :math:`\max(0, m - z_t + \max_{j \ne t} z_j)`; with two
        classes the two differ by the factor 2.
    Note: squared_hinge compares each class with 0, this one compares the classes with each other.
    Source: Weston and Watkins 1999 (mean); Crammer and Singer 2001 (max).
    Peers: torch (nn.MultiMarginLoss), optax (multiclass_hinge_loss: max), Keras (CategoricalHinge: max, of
        probabilities), scikit-learn's LinearSVC(multi_class="crammer_singer").

    Args:
        logits: (batch, classes).
        target: (batch,) class indices.
        margin: m > 0, in units of the logits.
        aggregate: "mean": all classes, the target counting 0; "max": the one that is nearest to the target.

    Returns: (batch,) loss.
    """
    behind = (margin - of_target(logits, target)[:, None] + logits).relu()
    behind = behind.scatter(1, target[:, None], 0.0)
    return behind.amax(1) if aggregate == "max" else behind.mean(1)


@register(title="sparsemax loss", colour="green", soft_target="whole", curve=False, origin="surrogate")
def sparsemax_loss(logits: Tensor, target: Tensor) -> Tensor:
    r"""What half a squared distance loses by the logits lying outside the simplex: the loss made for sparsemax.

    .. math:: L = \frac{1}{2} \sum_{j \in S} (z_j^2 - \tau^2) + \frac{1}{2} - z_t

    Use when: the model shall say of most classes that they are impossible: predict with probability sparsemax.
    Avoid when: every class needs a probability above 0, as for a log-likelihood.
    Range: [0, ∞).
    Gradient: :math:`\partial L / \partial z_j = p_j - Y_j`, p being sparsemax of the logits: exactly 0 for classes far
        behind.
    At p -> 0: grows in proportion to how far the target is behind.
    At p -> 1: is 0 once the target leads all others by 1, and so is the gradient.
    Equals: half of :math:`\lVert z - Y \rVert^2 - \lVert z - p \rVert^2`; with two classes a squared hinge that
        goes on as a straight line.
    Note: ignores the probability function; take sparsemax to predict, else the softmax of the logits is scored. S are
        the classes with :math:`z > \tau`, see sparsemax.
    Source: Martins and Astudillo 2016, From Softmax to Sparsemax, arXiv:1602.02068; as a Fenchel-Young loss:
        Blondel, Martins and Niculae 2020, arXiv:1901.02324.
    Peers: optax (multiclass_sparsemax_loss).

    Args:
        logits: (batch, classes).
        target: (batch,) class indices, or (batch, classes) class probabilities.

    Returns: (batch,) loss.
    """
    nearest = project_on_simplex(logits)
    shifted = logits - logits.amax(1, keepdim=True).detach()
    least = (nearest * (torch.where(nearest > 0, shifted, 0.0) - nearest / 2)).sum(1)
    if target.dim() == 1:
        return least + 0.5 - of_target(shifted, target)
    reached = torch.where(target > 0, shifted, 0.0)
    return least + (target * (target / 2 - reached)).sum(1)
