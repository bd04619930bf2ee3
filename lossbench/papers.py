"""Experiments of the papers and beyond, each a plan: from shared settings to the configs of one data set and seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lossbench.config import RunConfig

LossSpec = tuple[str, Mapping[str, Any]]

THESIS_LOSSES: tuple[LossSpec, ...] = (
    ("cross_entropy", {}),
    ("kl_divergence", {}),
    ("js_divergence", {}),
    ("focal", {"gamma": 0.5}),
    ("focal", {"gamma": 2.0}),
)
THESIS_PROBABILITIES: tuple[LossSpec, ...] = (
    ("softmax", {}),
    ("soft_margin_softmax", {"margin": 0.3}),
    ("taylor_softmax", {}),
)
ADMA_BASELINES: tuple[LossSpec, ...] = (("cross_entropy", {}), ("adma", {}), ("mse", {}), ("squared_hinge", {}))
# Length of the gradient on the logits beside cross-entropy's where ten classes are equally probable: a step of SGD from
# the start is as long as under cross-entropy with the learning rate divided by it.
FIRST_PULL = {"adma": 0.2475, "mse": 0.02, "squared_hinge": 0.04}
ROBUST_LOSSES: tuple[LossSpec, ...] = (
    *THESIS_LOSSES,
    *ADMA_BASELINES[1:],
    ("confidence_penalty", {}),
    ("false_positive", {"alpha": "none"}),
)
EMBEDDING_LOSSES: tuple[LossSpec, ...] = (
    ("contrastive", {}),
    ("triplet", {"mining": "semi_hard"}),
    ("margin", {}),
    ("n_pair", {}),
    ("proxy_nca", {}),
)


def with_losses(base: RunConfig, losses: Sequence[LossSpec]) -> list[RunConfig]:
    """One config a loss, everything else as in `base`."""
    return [replace(base, loss=name, loss_params=params) for name, params in losses]


def thesis(base: RunConfig) -> list[RunConfig]:
    """Paper 000: five losses times three probability functions."""
    return [
        replace(config, probability=name, probability_params=params)
        for config in with_losses(base, THESIS_LOSSES)
        for name, params in THESIS_PROBABILITIES
    ]


def adma(base: RunConfig) -> list[RunConfig]:
    """Paper 001: Adma and its baselines under two optimizers with and without L2, Adma's exponent, less data.

    Adma's gradient is about e·a times that of cross-entropy, so the sweep of `a` is planned twice: as printed, and
    divided by e·a, which takes the learning rate out of the comparison. Beyond the paper, the losses are run under SGD
    once more with learning rates that make their first steps as long as that of cross-entropy.
    """
    optimizers = {"adam": base.lr, "sgd": 10 * base.lr}
    regularised = [
        replace(base, optimizer=name, lr=lr, weight_decay=decay, weight_decay_on="convolutions")
        for name, lr in optimizers.items()
        for decay in (0.0, 1e-4)
    ]
    sweep = [("adma", {"a": a, "normalize": scaled}) for a in (0.1, 0.2, 0.3, 0.4, 0.5) for scaled in (False, True)]
    size = base.train_size or _train_size(base.dataset)
    fractions = [replace(base, train_size=int(size * part)) for part in (0.8, 0.75, 0.6)]
    plan = [config for point in regularised for config in with_losses(point, ADMA_BASELINES)]
    plan += with_losses(base, [*sweep, ("adma", {"learnable": True})])
    plan += [
        replace(base, optimizer="sgd", lr=float(f"{10 * base.lr / pull:.3g}"), loss=name)
        for name, pull in FIRST_PULL.items()
    ]
    return plan + [config for point in fractions for config in with_losses(point, ADMA_BASELINES[:2])]


def sampling_free(base: RunConfig) -> list[RunConfig]:
    """Paper 002, a reconstruction: sweeps of beta and gamma, and losses on embeddings beside it.

    The gradient's norm is limited to 1 in every run: at beta 4 a confident mistake weighs thousands of times more
    than under cross-entropy.
    """
    clipped = replace(base, clip_norm=1.0)
    betas = [("sampling_free", {"beta": float(beta), "gamma": 3.0}) for beta in (2, 3, 4, 5, 7, 10)]
    gammas = [("sampling_free", {"beta": 4.0, "gamma": float(gamma)}) for gamma in (5, 10)]
    classifiers = [("cross_entropy", {}), ("focal", {"gamma": 2.0})]
    return with_losses(clipped, [*classifiers, *betas, *gammas, *EMBEDDING_LOSSES])


def false_positive(base: RunConfig) -> list[RunConfig]:
    """Paper 003: False Positive Loss in both forms, with and without class weights, on balanced and long tails."""
    losses: list[LossSpec] = [
        ("cross_entropy", {}),
        ("false_positive", {"alpha": "none"}),
        ("false_positive", {"alpha": "dataset"}),
        ("false_positive", {"form": "mse", "alpha": "none"}),
        ("false_positive", {"alpha": "none", "top_k": 3}),
    ]
    return [config for factor in (1.0, 10.0) for config in with_losses(replace(base, imbalance=factor), losses)]


def layers(base: RunConfig) -> list[RunConfig]:
    """Paper 004: cross-entropy, the confidence penalty, and three readings of the hierarchical loss."""
    return with_losses(
        base,
        [
            ("cross_entropy", {}),
            ("confidence_penalty", {}),
            ("hierarchical_cross_entropy", {"mode": "conditional"}),
            ("hierarchical_cross_entropy", {"mode": "leaf", "node_weight": "literal"}),
            ("hierarchical_cross_entropy", {"mode": "flat_nodes"}),
        ],
    )


def pretrained(base: RunConfig) -> list[RunConfig]:
    """The thesis losses on a network with published weights, fine-tuned whole and by its head alone."""
    parts = [replace(base, trainable=part) for part in ("all", "head")]
    return [config for point in parts for config in with_losses(point, THESIS_LOSSES)]


def noise(base: RunConfig) -> list[RunConfig]:
    """Beyond the papers: 0, 20 and 40 % of the training targets replaced by another class."""
    return [
        config for share in (0.0, 0.2, 0.4) for config in with_losses(replace(base, label_noise=share), ROBUST_LOSSES)
    ]


def imbalance(base: RunConfig) -> list[RunConfig]:
    """Beyond the papers: the rarest class has 1, 10 and 100 times fewer training images than the commonest."""
    return [
        config
        for factor in (1.0, 10.0, 100.0)
        for config in with_losses(replace(base, imbalance=factor), ROBUST_LOSSES)
    ]


def _train_size(dataset: str) -> int:
    from lossbench.data.loading import find_spec

    return find_spec(dataset).train_size
