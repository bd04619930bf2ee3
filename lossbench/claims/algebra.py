"""Claims that mathematics decides: computed with the package's own losses, on grids or random logits."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

from lossbench.claims.rules import Answer, settle

if TYPE_CHECKING:
    from torch import Tensor

EXACT = 1e-12
SAMPLES, CLASSES = 60, 10
# The range of Adma's exponent that paper 001 reports, and its default.
REPORTED_A = (0.2451, 0.3118)


@cache
def ce_is_kl() -> Answer:
    """Cross-entropy against KL divergence under the three probability functions, value and gradient."""
    gap = 0.0
    for probability in ("softmax", "soft_margin_softmax", "taylor_softmax"):
        first, second = (_value_and_gradient(name, probability) for name in ("cross_entropy", "kl_divergence"))
        gap = max(gap, *(float((a - b).abs().max()) for a, b in zip(first, second, strict=True)))
    why = "on class indices the two are one function; a difference between their runs is noise"
    return Answer(settle(gap > EXACT), gap, "nats", 3 * SAMPLES, why)


@cache
def adma_range() -> Answer:
    """Adma lies between 0 and e - 1 and falls with the probability of the target."""
    p = _grid()
    lowest, highest, falls = math.inf, -math.inf, True
    for a in (0.05, *REPORTED_A, 0.5):
        value = _on_grid("adma", p, a=a)
        lowest, highest = min(lowest, float(value.min())), max(highest, float(value.max()))
        falls &= bool((value.diff() < 0).all())
    bounded = lowest >= -EXACT and highest <= math.e - 1 + EXACT
    return Answer(settle(bounded and falls), highest, "loss", 4 * len(p), f"values in [{lowest:.2g}, {highest:.4g}]")


@cache
def adma_convex() -> Answer:
    """Adma is convex up to a = 0.5 and no further."""
    p = _grid()
    # The formula itself: the package allows no exponent above 0.5.
    bend = {a: float((math.e - (p**a).exp()).diff().diff().min()) for a in (0.1, 0.3, 0.5, 0.51, 0.6, 0.8)}
    true = all((least >= -EXACT) == (a <= 0.5) for a, least in bend.items())
    last = max(a for a, least in bend.items() if least >= -EXACT)
    return Answer(settle(true), last, "exponent a", len(bend), f"convex for a up to {last:g} of those tried")


@cache
def adma_imitates_ce() -> Answer:
    """Adma over e times a comes as close to cross-entropy as wanted when a goes to 0."""
    p = _grid()
    gaps = {
        a: float((_on_grid("adma", p, a=a) / (math.e * a) / -p.log() - 1).abs()[:-1].max())
        for a in (0.2622, 0.01, 1e-4)
    }
    why = f"largest relative gap to cross-entropy {gaps[0.2622]:.0%} at a=0.2622, {gaps[1e-4]:.2%} at a=0.0001"
    answer = Answer(settle(gaps[1e-4] < 0.002 < gaps[0.01]), 100 * gaps[1e-4], "% of cross-entropy", len(p), why)
    return answer.limited("holds in the limit a -> 0, far from the exponents that the paper uses")


@cache
def adma_gradient() -> Answer:
    """Adma's gradient on the target's logit over that of cross-entropy: the paper calls it amplified, so above 1."""
    p = _grid().clone().requires_grad_()
    worst, best = math.inf, 0.0
    for a in REPORTED_A:
        slope = _gradient(_on_grid("adma", p, a=a), p)  # dL/dz = dL/dp * p * (1 - p); that of cross-entropy is -(1 - p)
        ratio = -slope * p.detach()
        worst, best = min(worst, float(ratio.min())), max(best, float(ratio.max()))
    why = f"on logits it is {worst:.2g} to {best:.2g} times that of cross-entropy, and vanishes with p"
    return Answer(settle(worst >= 1), best, "times cross-entropy", 2 * len(p), why)


@cache
def sampling_free_weight() -> Answer:
    """The factor of the reconstructed loss goes to 1 on hard samples and to 0 on easy ones."""
    p = _grid()
    factor = _on_grid("sampling_free", p, beta=1.0, gamma=5.0) / -p.log()
    whole = _on_grid("sampling_free", p, beta=4.0, gamma=5.0) / -p.log()
    hard, easy = float(factor[0]), float(factor[-1])
    fades = bool((factor.diff() < 0).all()) and abs(hard - 1) < 0.01 and easy < 0.01
    why = f"the factor falls from {hard:.3f} at p=0.001 to {easy:.0e} at p=0.999"
    beside = f"with beta 4 the loss itself is up to {float(whole.max()):.0f} times cross-entropy on hard samples"
    return Answer(settle(fades), hard, "factor", len(p), why, limits=(beside,))


@cache
def errors_are_false_positives() -> Answer:
    """All false positives are all mistakes: their total and the accuracy are one measure."""
    import numpy as np

    from lossbench import metrics

    rng, gap = np.random.default_rng(0), 0.0
    for _round in range(20):
        scores, target = rng.normal(size=(500, CLASSES)), rng.integers(0, CLASSES, 500)
        wrong = 500 * (1 - metrics.accuracy(scores, target))
        gap = max(gap, abs(float(metrics.false_positives(scores, target).sum()) - wrong))
    return Answer(settle(gap > 1e-6), gap, "images", 20, "the total of false positives is the number of mistakes")


@cache
def class_weights_when_balanced() -> Answer:
    """On balanced classes the class weights are one constant, so they tell no class from another."""
    logits, target = _sample()
    weighted, plain = (_losses("false_positive", logits, target, alpha=alpha) for alpha in ("batch", "none"))
    ratio = weighted / plain
    spread = float(ratio.max() - ratio.min())
    why = f"every class weighs {float(ratio.mean()):.3g}, ten classes of one size"
    return Answer(settle(spread > EXACT), spread, "spread of the weights", CLASSES, why)


@cache
def leaf_tree_is_ce() -> Answer:
    """The path loss with equal weights on a network's class probabilities is cross-entropy, value and gradient."""
    first = _value_and_gradient("hierarchical_cross_entropy", mode="leaf", node_weight="path")
    second = _value_and_gradient("cross_entropy")
    gap = max(float((a - b).abs().max()) for a, b in zip(first, second, strict=True))
    why = "the terms along the path add up to the leaf's own: the tree drops out"
    answer = Answer(settle(gap > EXACT), gap, "nats", SAMPLES, why)
    return answer.limited("one reading of the printed formula: probabilities of inner nodes as sums of their classes")


@cache
def path_penalty_is_constant() -> Answer:
    """The second sum of the printed formula, on the tree with all classes at one depth."""
    (without, still), (with_it, moved) = (
        _value_and_gradient("hierarchical_cross_entropy", mode="leaf", node_weight="path", kappa=kappa)
        for kappa in (0.0, 1.0)
    )
    slope, constant = float((moved - still).abs().max()), float((with_it - without).mean())
    why = f"it adds {constant:.3g} to every sample whatever the network says, and nothing to the gradient"
    answer = Answer(settle(slope > 1e-9), slope, "gradient", SAMPLES, why)
    return answer.limited("on our reading of the poster's tree, every class at depth 3")


def _grid() -> Tensor:
    import torch

    return torch.linspace(0.001, 1.0, 1000, dtype=torch.float64)[:-1]


def _on_grid(name: str, p: Tensor, **params: Any) -> Tensor:
    """A loss of two classes, the target with probability `p`."""
    import torch

    return _losses(name, torch.stack([p.log(), (-p).log1p()], dim=1), torch.zeros(len(p), dtype=torch.long), **params)


def _losses(name: str, logits: Tensor, target: Tensor, probability: str = "softmax", **params: Any) -> Tensor:
    from lossbench.class_trees import CIFAR_10_CLASSES
    from lossbench.losses import Criterion

    names = CIFAR_10_CLASSES if logits.shape[1] == CLASSES else None
    criterion = Criterion(
        name, probability=probability, reduction="none", num_classes=logits.shape[1], class_names=names, **params
    )
    value: Tensor = criterion(logits, target)
    return value


def _gradient(value: Tensor, at: Tensor) -> Tensor:
    import torch

    return torch.autograd.grad(value.sum(), at)[0].detach()


def _value_and_gradient(name: str, probability: str = "softmax", **params: Any) -> tuple[Tensor, Tensor]:
    """Losses and their gradient on the logits, of the same random logits for every loss."""
    import torch

    logits, target = _sample()
    logits.requires_grad_()
    value = _losses(name, logits, target, probability, **params)
    return value.detach(), torch.as_tensor(_gradient(value, logits))


def _sample() -> tuple[Tensor, Tensor]:
    """Random logits and targets, balanced over the classes."""
    import torch

    logits = 3 * torch.randn(SAMPLES, CLASSES, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return logits, torch.arange(SAMPLES) % CLASSES
