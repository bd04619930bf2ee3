"""Claims that mathematics decides: computed with the package's own losses, on grids or random logits."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from lossbench.claims.verdicts import MATHEMATICS, Answer, exact
from lossbench.data.trees import CIFAR_10_CLASSES
from lossbench.losses import Criterion

EXACT = 1e-12
TREE_LOSS = "hierarchical_cross_entropy"
SAMPLES, CLASSES, NODES = 60, 10, 17  # nodes of the poster's tree below its root
# The range of Adma's exponent that paper 001 reports, and its default.
REPORTED_A = (0.2451, 0.3118)


@exact(MATHEMATICS, "largest difference in value and gradient on one-hot targets")
def ce_is_kl() -> Answer:
    functions = ("softmax", "soft_margin_softmax", "taylor_softmax")
    gap = max(_gap_to_cross_entropy("kl_divergence", function) for function in functions)
    why = "on class indices the two are one function; a difference between their runs is noise"
    limit = "if KL divergence was implemented as equation 3.3 with its sign corrected; the code is not at hand"
    return Answer(gap > EXACT, gap, "nats between them", 3 * SAMPLES, why, (limit,))


@exact(MATHEMATICS, "values on a grid of probabilities and exponents")
def adma_range() -> Answer:
    p = _grid()
    lowest, highest, falls = math.inf, -math.inf, True
    for a in (0.05, *REPORTED_A, 0.5):
        value = _on_grid("adma", p, a=a)
        lowest, highest = min(lowest, float(value.min())), max(highest, float(value.max()))
        falls &= bool((value.diff() < 0).all())
    bounded = lowest >= -EXACT and highest <= math.e - 1 + EXACT
    return Answer(bounded and falls, highest, "loss", 4 * len(p), f"values in [{lowest:.2g}, {highest:.4g}]")


@exact(MATHEMATICS, "second differences on a grid of probabilities")
def adma_convex() -> Answer:
    p = _grid()
    # The formula itself: the package allows no exponent above 0.5.
    bend = {a: float((math.e - (p**a).exp()).diff().diff().min()) for a in (0.1, 0.3, 0.5, 0.51, 0.6, 0.8)}
    true = all((least >= -EXACT) == (a <= 0.5) for a, least in bend.items())
    last = max(a for a, least in bend.items() if least >= -EXACT)
    return Answer(true, last, "exponent a", len(bend), f"convex for a up to {last:g} of those tried")


@exact(MATHEMATICS, "Adma, scaled as fits best, against cross-entropy")
def adma_imitates_ce() -> Answer:
    p = _grid()[:-1]
    gaps = {}
    for a in (*REPORTED_A, 0.01, 1e-4):
        ratio = _on_grid("adma", p, a=a) / -p.log()
        gaps[a] = float((ratio.max() - ratio.min()) / (ratio.max() + ratio.min()))
    least = min(gaps[a] for a in REPORTED_A)
    why = f"Adma misses it by {least:.0%} or more with the paper's exponents, by {gaps[1e-4]:.2%} with a=0.0001"
    limit = "depends on the reading: true only as a goes to 0, far from the exponents that the paper uses"
    return Answer(None, 100 * least, "% of cross-entropy", len(p), why, (limit,))


@exact(MATHEMATICS, "the coefficient a p^(a-1) e^(p^a) of equation 8")
def adma_gradient() -> Answer:
    p = _grid().clone().requires_grad_()
    slopes = {a: -_gradient(_on_grid("adma", p, a=a), p) for a in REPORTED_A}
    least = min(float(slope.min()) for slope in slopes.values())
    amplified = [float(p.detach()[slope > 1].max()) for slope in slopes.values()]
    why = f"it falls to e times a at p = 1 and is above 1 only for p below {min(amplified):.2f} to {max(amplified):.2f}"
    return Answer(least >= 1, least, "smallest coefficient", 2 * len(p), why)


@exact(MATHEMATICS, "gradient on the target's logit where the network is wrong")
def mse_saturates() -> Answer:
    p = torch.tensor([0.1, 0.01, 0.001], dtype=torch.float64)
    ratio = _pull_on_target("mse", p) / _pull_on_target("cross_entropy", p)
    why = f"at p = 0.1, 0.01, 0.001 it is {', '.join(f'{float(r):.2g}' for r in ratio)} times that of cross-entropy"
    vanishes = bool((ratio.diff() < 0).all()) and float(ratio[-1]) < 0.01
    return Answer(vanishes, float(ratio[-1]), "times cross-entropy", len(ratio), why)


@exact(MATHEMATICS, "gradient on the target's logit over that of cross-entropy, easy against hard samples")
def opposite_to_focal() -> Answer:
    p = _grid()[9::10]
    plain = _pull_on_target("cross_entropy", p)
    ours = _pull_on_target("false_positive", p, alpha="none") / plain
    focal = _pull_on_target("focal", p, gamma=2.0) / plain
    opposite = bool((ours.diff() > 0).all()) and float(focal[-1]) < 0.1 * float(focal[0])
    why = f"from p = 0.01 to 0.99 it goes from {ours[0]:.2f} to {ours[-1]:.2f}, under focal loss to {focal[-1]:.4f}"
    return Answer(opposite, float(ours[-1]), "times cross-entropy", len(p), why)


@exact(MATHEMATICS, "its gradient on the logit of the most probable false class")
def push_on_false_class() -> Answer:
    logits, target = _sample()
    logits.requires_grad_()
    push = _gradient(_losses("cross_entropy", logits, target), logits)
    probabilities = logits.detach().softmax(1).scatter(1, target[:, None], 0.0)
    largest, false = probabilities.max(1)
    gap = float((push.gather(1, false[:, None]).squeeze(1) - largest).abs().max())
    why = "cross-entropy pushes each false class down by its probability, so the most probable one most"
    return Answer(gap > EXACT, gap, "gap to its probability", SAMPLES, why)


@exact(MATHEMATICS, "pairs and triplets of a balanced batch, counted")
def triplets_to_visit() -> Answer:
    """How the number of images, pairs and triplets (two of one class, one of another) grows when the images double."""
    sizes = [(images, images // CLASSES) for images in (100, 200)]
    counts = [(n, n * (n - 1) // 2, n * (size - 1) * (n - size)) for n, size in sizes]
    growth = [second / first for first, second in zip(*counts, strict=True)]
    why = "twice the images are {:.0f} times the terms without pairs, {:.1f} times with them and {:.1f} with triplets"
    limit = "counts all that there are, of which losses on triplets sample a part"
    return Answer(growth == sorted(growth), growth[2], "times the triplets", 2, why.format(*growth), (limit,))


@exact(MATHEMATICS, "the loss's factor on a grid of probabilities")
def sampling_free_weight() -> Answer:
    p = _grid()
    factor = _on_grid("sampling_free", p, beta=1.0, gamma=5.0) / -p.log()
    whole = _on_grid("sampling_free", p, beta=4.0, gamma=5.0) / -p.log()
    hard, easy = float(factor[0]), float(factor[-1])
    why = f"the factor falls from {hard:.3f} at p=0.001 to {easy:.0e} at p=0.999"
    beside = f"with beta 4 the loss itself is up to {float(whole.max()):.0f} times cross-entropy on hard samples"
    built = "depends on the formula, which is missing; the reconstruction was built to have this property"
    return Answer(None, hard, "factor", len(p), why, (built, beside))


@exact(MATHEMATICS, "each reading of the path loss against cross-entropy")
def tree_in_the_loss() -> Answer:
    gap = _gap_to_cross_entropy(TREE_LOSS, mode="leaf", node_weight="path")
    _, slopes = _value_and_gradient(TREE_LOSS, mode="flat_nodes")
    inner = float(slopes[:, CLASSES:].abs().max())
    why = (
        f"with inner nodes as sums of their classes the tree drops out (gap to cross-entropy {gap:.0e}); where inner "
        f"labels are predicted, as the poster says, it acts (gradient on their outputs up to {inner:.2g})"
    )
    return Answer(None, gap, "nats", SAMPLES, why, ("depends on the reading of the printed formula",))


@exact(MATHEMATICS, "its gradient on random logits, in two readings")
def second_sum() -> Answer:
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
    return Answer(None, slopes["flat_nodes"], "gradient", SAMPLES, why, limits)


def _grid() -> Tensor:
    return torch.linspace(0.001, 1.0, 1000, dtype=torch.float64)[:-1]


def _on_grid(name: str, p: Tensor, **params: Any) -> Tensor:
    """A loss of two classes, the target with probability `p`."""
    return _losses(name, torch.stack([p.log(), (-p).log1p()], dim=1), torch.zeros(len(p), dtype=torch.long), **params)


def _pull_on_target(name: str, p: Tensor, **params: Any) -> Tensor:
    """Minus the gradient on the target's logit, the rest of the probability shared 2 to 1 by two other classes."""
    logits = torch.stack([p, (1 - p) * 2 / 3, (1 - p) / 3], dim=1).log().requires_grad_()
    return -_gradient(_losses(name, logits, torch.zeros(len(p), dtype=torch.long), **params), logits)[:, 0]


def _losses(name: str, logits: Tensor, target: Tensor, probability: str = "softmax", **params: Any) -> Tensor:
    classes = min(logits.shape[1], CLASSES)  # beyond them, outputs for the inner nodes of a tree
    names = CIFAR_10_CLASSES if classes == CLASSES else None
    criterion = Criterion(
        name, probability=probability, reduction="none", num_classes=classes, class_names=names, **params
    )
    value: Tensor = criterion(logits, target)
    return value


def _gradient(value: Tensor, at: Tensor) -> Tensor:
    return torch.autograd.grad(value.sum(), at)[0].detach()


def _value_and_gradient(name: str, probability: str = "softmax", **params: Any) -> tuple[Tensor, Tensor]:
    """Losses and their gradient on the logits, of the same random logits for every loss."""
    logits, target = _sample(NODES if params.get("mode") == "flat_nodes" else CLASSES)
    logits.requires_grad_()
    value = _losses(name, logits, target, probability, **params)
    return value.detach(), torch.as_tensor(_gradient(value, logits))


def _gap_to_cross_entropy(name: str, probability: str = "softmax", **params: Any) -> float:
    """The largest difference in value and gradient."""
    pairs = zip(
        _value_and_gradient(name, probability, **params), _value_and_gradient("cross_entropy", probability), strict=True
    )
    return max(float((a - b).abs().max()) for a, b in pairs)


def _sample(outputs: int = CLASSES) -> tuple[Tensor, Tensor]:
    """Random logits and targets, balanced over the classes."""
    logits = 3 * torch.randn(SAMPLES, outputs, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return logits, torch.arange(SAMPLES) % CLASSES
