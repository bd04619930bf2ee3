"""Claims that mathematics decides: computed with the package's own losses, on grids or random logits."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

from lossbench.claims.verdicts import UNDECIDED, Answer, settle

if TYPE_CHECKING:
    from torch import Tensor

EXACT = 1e-12
TREE_LOSS = "hierarchical_cross_entropy"
SAMPLES, CLASSES, NODES = 60, 10, 17  # nodes of the poster's tree below its root
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
    limit = "if KL divergence was implemented as equation 3.3 with its sign corrected; the code is not at hand"
    return Answer(settle(gap > EXACT), gap, "nats between them", 3 * SAMPLES, why, limits=(limit,))


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
    """The largest relative gap between cross-entropy and a multiple of Adma, the multiple chosen to make it small."""
    p = _grid()[:-1]
    gaps = {}
    for a in (*REPORTED_A, 0.01, 1e-4):
        ratio = _on_grid("adma", p, a=a) / -p.log()
        gaps[a] = float((ratio.max() - ratio.min()) / (ratio.max() + ratio.min()))
    least = min(gaps[a] for a in REPORTED_A)
    why = f"Adma misses it by {least:.0%} or more with the paper's exponents, by {gaps[1e-4]:.2%} with a=0.0001"
    limit = "depends on the reading: true only as a goes to 0, far from the exponents that the paper uses"
    return Answer(UNDECIDED, 100 * least, "% of cross-entropy", len(p), why, limits=(limit,))


@cache
def adma_gradient() -> Answer:
    """The coefficient of the probability's gradient in equation 8: the paper calls gradients always amplified."""
    p = _grid().clone().requires_grad_()
    slopes = {a: -_gradient(_on_grid("adma", p, a=a), p) for a in REPORTED_A}
    least = min(float(slope.min()) for slope in slopes.values())
    amplified = [float(p.detach()[slope > 1].max()) for slope in slopes.values()]
    why = f"it falls to e times a at p = 1 and is above 1 only for p below {min(amplified):.2f} to {max(amplified):.2f}"
    return Answer(settle(least >= 1), least, "smallest coefficient", 2 * len(p), why)


@cache
def mse_saturates() -> Answer:
    """The gradient of MSE on the target's logit, over that of cross-entropy, of a network that is sure and wrong."""
    import torch

    p = torch.tensor([0.1, 0.01, 0.001], dtype=torch.float64)
    ratio = _pull_on_target("mse", p) / _pull_on_target("cross_entropy", p)
    why = f"at p = 0.1, 0.01, 0.001 it is {', '.join(f'{float(r):.2g}' for r in ratio)} times that of cross-entropy"
    vanishes = bool((ratio.diff() < 0).all()) and float(ratio[-1]) < 0.01
    return Answer(settle(vanishes), float(ratio[-1]), "times cross-entropy", len(ratio), why)


@cache
def opposite_to_focal() -> Answer:
    """How the pull on the target's logit, over that of cross-entropy, goes from hard samples to easy ones."""
    p = _grid()[9::10]
    plain = _pull_on_target("cross_entropy", p)
    ours = _pull_on_target("false_positive", p, alpha="none") / plain
    focal = _pull_on_target("focal", p, gamma=2.0) / plain
    opposite = bool((ours.diff() > 0).all()) and float(focal[-1]) < 0.1 * float(focal[0])
    why = f"from p = 0.01 to 0.99 it goes from {ours[0]:.2f} to {ours[-1]:.2f}, under focal loss to {focal[-1]:.4f}"
    return Answer(settle(opposite), float(ours[-1]), "times cross-entropy", len(p), why)


@cache
def push_on_false_class() -> Answer:
    """The gradient of cross-entropy on the logit of the most probable false class, against its probability."""
    logits, target = _sample()
    logits.requires_grad_()
    push = _gradient(_losses("cross_entropy", logits, target), logits)
    probabilities = logits.detach().softmax(1).scatter(1, target[:, None], 0.0)
    largest, false = probabilities.max(1)
    gap = float((push.gather(1, false[:, None]).squeeze(1) - largest).abs().max())
    why = "cross-entropy pushes each false class down by its probability, so the most probable one most"
    return Answer(settle(gap > EXACT), gap, "gap to its probability", SAMPLES, why)


@cache
def triplets_to_visit() -> Answer:
    """How the number of images, pairs and triplets (two of one class, one of another) grows when the images double."""
    counts = []
    for images in (100, 200):
        size = images // CLASSES
        triplets = images * (size - 1) * (images - size)
        counts.append((images, images * (images - 1) // 2, triplets))
    growth = [second / first for first, second in zip(*counts, strict=True)]
    why = "twice the images are {:.0f} times the terms without pairs, {:.1f} times with them and {:.1f} with triplets"
    limit = "counts all that there are, of which losses on triplets sample a part"
    verdict = settle(growth == sorted(growth))
    return Answer(verdict, growth[2], "times the triplets", 2, why.format(*growth), limits=(limit,))


@cache
def sampling_free_weight() -> Answer:
    """The factor of the reconstructed loss on hard samples and on easy ones."""
    p = _grid()
    factor = _on_grid("sampling_free", p, beta=1.0, gamma=5.0) / -p.log()
    whole = _on_grid("sampling_free", p, beta=4.0, gamma=5.0) / -p.log()
    hard, easy = float(factor[0]), float(factor[-1])
    why = f"the factor falls from {hard:.3f} at p=0.001 to {easy:.0e} at p=0.999"
    beside = f"with beta 4 the loss itself is up to {float(whole.max()):.0f} times cross-entropy on hard samples"
    built = "depends on the formula, which is missing; the reconstruction was built to have this property"
    return Answer(UNDECIDED, hard, "factor", len(p), why, limits=(built, beside))


@cache
def tree_in_the_loss() -> Answer:
    """The path loss with equal weights: on class probabilities it is cross-entropy, on outputs of all nodes not."""
    first = _value_and_gradient(TREE_LOSS, mode="leaf", node_weight="path")
    second = _value_and_gradient("cross_entropy")
    gap = max(float((a - b).abs().max()) for a, b in zip(first, second, strict=True))
    _, slopes = _value_and_gradient(TREE_LOSS, mode="flat_nodes")
    inner = float(slopes[:, CLASSES:].abs().max())
    why = (
        f"with inner nodes as sums of their classes the tree drops out (gap to cross-entropy {gap:.0e}); where inner "
        f"labels are predicted, as the poster says, it acts (gradient on their outputs up to {inner:.2g})"
    )
    return Answer(UNDECIDED, gap, "nats", SAMPLES, why, limits=("depends on the reading of the printed formula",))


@cache
def second_sum() -> Answer:
    """The largest gradient of the second sum of the printed formula, in two readings."""
    slopes = {}
    for mode in ("leaf", "flat_nodes"):
        (_, still), (_, moved) = (
            _value_and_gradient(TREE_LOSS, mode=mode, node_weight="path", kappa=kappa) for kappa in (0.0, 1.0)
        )
        slopes[mode] = float((moved - still).abs().max())
    why = (
        f"with inner nodes as sums of their classes it is a constant (gradient {slopes['leaf']:.0e}); in the most "
        f"literal reading, outputs for all nodes, it acts (gradient up to {slopes['flat_nodes']:.2g})"
    )
    limits = ("depends on the reading", "on our reading of the poster's tree, every class at depth 3")
    return Answer(UNDECIDED, slopes["flat_nodes"], "gradient", SAMPLES, why, limits=limits)


def _grid() -> Tensor:
    import torch

    return torch.linspace(0.001, 1.0, 1000, dtype=torch.float64)[:-1]


def _on_grid(name: str, p: Tensor, **params: Any) -> Tensor:
    """A loss of two classes, the target with probability `p`."""
    import torch

    return _losses(name, torch.stack([p.log(), (-p).log1p()], dim=1), torch.zeros(len(p), dtype=torch.long), **params)


def _pull_on_target(name: str, p: Tensor, **params: Any) -> Tensor:
    """Minus the gradient on the target's logit, the rest of the probability shared 2 to 1 by two other classes."""
    import torch

    logits = torch.stack([p, (1 - p) * 2 / 3, (1 - p) / 3], dim=1).log().requires_grad_()
    return -_gradient(_losses(name, logits, torch.zeros(len(p), dtype=torch.long), **params), logits)[:, 0]


def _losses(name: str, logits: Tensor, target: Tensor, probability: str = "softmax", **params: Any) -> Tensor:
    from lossbench.data.trees import CIFAR_10_CLASSES
    from lossbench.losses import Criterion

    classes = min(logits.shape[1], CLASSES)  # beyond them, outputs for the inner nodes of a tree
    names = CIFAR_10_CLASSES if classes == CLASSES else None
    criterion = Criterion(
        name, probability=probability, reduction="none", num_classes=classes, class_names=names, **params
    )
    value: Tensor = criterion(logits, target)
    return value


def _gradient(value: Tensor, at: Tensor) -> Tensor:
    import torch

    return torch.autograd.grad(value.sum(), at)[0].detach()


def _value_and_gradient(name: str, probability: str = "softmax", **params: Any) -> tuple[Tensor, Tensor]:
    """Losses and their gradient on the logits, of the same random logits for every loss."""
    import torch

    logits, target = _sample(NODES if params.get("mode") == "flat_nodes" else CLASSES)
    logits.requires_grad_()
    value = _losses(name, logits, target, probability, **params)
    return value.detach(), torch.as_tensor(_gradient(value, logits))


def _sample(outputs: int = CLASSES) -> tuple[Tensor, Tensor]:
    """Random logits and targets, balanced over the classes."""
    import torch

    logits = 3 * torch.randn(SAMPLES, outputs, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return logits, torch.arange(SAMPLES) % CLASSES
