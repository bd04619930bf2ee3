"""Named studies: what is asked, which runs answer it, and at what scale."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from lossbench.config import RunConfig
from lossbench.published import FIRST_PULL
from lossbench.registry import Registry, unknown
from lossbench.studies.space import LossSpec, tuned

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
ROBUST_LOSSES: tuple[LossSpec, ...] = (
    *THESIS_LOSSES,
    *ADMA_BASELINES[1:],
    ("confidence_penalty", {}),
    ("false_positive", {"alpha": "none"}),
)
TRANSFER_LOSSES: tuple[LossSpec, ...] = (
    ("cross_entropy", {}),
    ("label_smoothing", {}),
    ("binary_cross_entropy", {}),
    ("square_loss", {}),
    ("focal", {"gamma": 2.0}),
    ("js_divergence", {}),
    ("squentropy", {}),
)
EMBEDDING_LOSSES: tuple[LossSpec, ...] = (
    ("contrastive", {}),
    ("triplet", {"mining": "semi_hard"}),
    ("margin", {}),
    ("n_pair", {}),
    ("proxy_nca", {}),
)


TUNABLE = ("lr", "weight_decay", "clip_norm", "optimizer", "scheduler", "warmup_epochs")


def with_losses(base: RunConfig, losses: Sequence[LossSpec], own: Sequence[Mapping[str, Any]] = ()) -> list[RunConfig]:
    """One config a loss, everything else as in `base` but for the settings that are a loss's `own`."""
    each = own or [{}] * len(losses)
    return [
        replace(base, loss=name, loss_params=params, **settings)
        for (name, params), settings in zip(losses, each, strict=True)
    ]


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
    """Paper 003: False Positive Loss in both forms, with and without class weights, on balanced and long tails.

    Its wishes are here too: the mean and the median of several wrong classes, and other weights of the wrong class.
    """
    losses: list[LossSpec] = [
        ("cross_entropy", {}),
        ("false_positive", {"alpha": "none"}),
        ("false_positive", {"alpha": "dataset"}),
        ("false_positive", {"form": "mse", "alpha": "none"}),
        ("false_positive", {"alpha": "none", "top_k": 3}),
        *(("false_positive", {"alpha": "none", "top_k": 3, "aggregate": how}) for how in ("mean", "median")),
        *(("false_positive", {"alpha": "none", "ratio": ratio}) for ratio in (0.25, 0.5, 2.0, 4.0)),
    ]
    return [config for factor in (1.0, 10.0) for config in with_losses(replace(base, imbalance=factor), losses)]


# What the papers did themselves, at the scale `paper`.

STANDARD = ("mnist", "fashion-mnist", "cifar-10", "cifar-100")  # the data sets of paper 001 with a fixed split
SGD_RATE, REDUCED_RATE = 1e-3, 2e-4  # of paper 001, section 5
PRINTED = (
    ("Table 1", "adam", 1e-4),
    ("Table 2", "sgd_plain", 1e-4),
    ("Table 3", "adam", 0.0),
    ("Table 4", "sgd_plain", 0.0),
)


def adma_as_printed(base: RunConfig) -> list[RunConfig]:
    """Paper 001's own runs: Tables 1 to 4 with the exponent printed for each cell, and what section 5 changes.

    These are a reduced learning rate, other activations, no dropout, the last layers of a pretrained ResNet34 on the
    data sets of `STANDARD`, and fewer training images on those that have no fixed split.
    """
    exponents = _printed_exponents(base.dataset)
    plan = []
    for table, optimizer, decay in PRINTED:
        lr = base.lr if optimizer == "adam" else SGD_RATE
        point = replace(base, optimizer=optimizer, lr=lr, weight_decay=decay, weight_decay_on="convolutions")
        losses = _baselines(exponents[table])
        plan += with_losses(point, losses)
        if not decay:
            plan += with_losses(replace(point, lr=REDUCED_RATE), losses)
    plain = _baselines(exponents["Table 3"])
    networks = ("convnet_relu", "convnet_leaky_relu", "convnet_maxout", "convnet_plain")
    plan += [config for model in networks for config in with_losses(replace(base, model=model), plain)]
    if _family(base.dataset, STANDARD):
        plan += with_losses(replace(base, model="resnet34", pretrained=True, trainable="last5"), plain)
    else:
        size = base.train_size or _train_size(base.dataset)
        parts = [replace(base, train_size=int(size * part)) for part in (0.8, 0.75, 0.6)]
        plan += [config for point in parts for config in with_losses(point, plain)]
    return plan


def _baselines(a: float) -> list[LossSpec]:
    return [("adma", {"a": a}) if name == "adma" else (name, params) for name, params in ADMA_BASELINES]


def _printed_exponents(dataset: str) -> dict[str, float]:
    """The exponent of Adma in each of Tables 1 to 4 of paper 001; the default where the data set is not in them."""
    from lossbench import published

    table = published.runs("adma_tables_1_4")
    rows = table[(table["loss"] == "adma") & (table["dataset"] == _family(dataset, set(table["dataset"])))]
    printed = {row["source_table"]: float(row["loss_params"].removeprefix("a=")) for row in rows.to_dict("records")}
    return {table: printed.get(table, 0.2622) for table, *_ in PRINTED}


def sampling_free_as_printed(base: RunConfig) -> list[RunConfig]:
    """Paper 002's own runs: the sweeps, and on CIFAR-10 the losses under a residual network too."""
    plan = sampling_free(base)
    if _family(base.dataset, ("cifar-10",)):
        residual = replace(base, model="resnet50", clip_norm=1.0)
        plan += with_losses(residual, [("sampling_free", {"beta": 4.0, "gamma": 5.0}), *EMBEDDING_LOSSES])
        plan += with_losses(residual, [("cross_entropy", {})])
    return plan


# The settings of mmclassification for CIFAR-10, which paper 003 names without its values: a tenth at 1/2 and at 3/4.
_PLATFORM: dict[str, Any] = {
    "model": "resnet50",
    "optimizer": "sgd_momentum",
    "lr": 0.1,
    "weight_decay": 1e-4,
    "scheduler": "step",
    "batch_size": 128,
    "epochs": 200,
    "augmentation": "crop_flip",
}


def false_positive_as_printed(base: RunConfig) -> list[RunConfig]:
    """Paper 003's own runs: two networks with its settings, and ResNet50 on the platform it names; beyond it, tails."""
    losses: list[LossSpec] = [("cross_entropy", {}), ("false_positive", {}), ("false_positive", {"alpha": "dataset"})]
    platform = replace(base, **_PLATFORM)
    points = [replace(base, model="efficientnet_v2_s"), platform, replace(platform, pretrained=True, epochs=10)]
    return false_positive(base) + [config for point in points for config in with_losses(point, losses)]


def _family(dataset: str, families: Iterable[str]) -> str:
    """The family that a data set belongs to by its name, as `cifar-10-jpeg` to `cifar-10`; empty if none."""
    known = [name for name in families if dataset == name or dataset.startswith(f"{name}-")]
    return max(known, key=len, default="")


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
        for config in with_losses(replace(base, imbalance=factor), (*ROBUST_LOSSES, ("sampling_free", {})))
    ]


def sweep(base: RunConfig) -> list[RunConfig]:
    """The wish of paper 000: other values of focal loss's gamma (0 is cross-entropy) and of soft-margin's margin."""
    gammas = [("focal", {"gamma": gamma}) for gamma in (0.5, 1.0, 2.0, 3.0, 4.0, 5.0)]
    margins = [{"margin": margin} for margin in (0.1, 0.3, 0.5, 0.7, 1.0)]
    plan = with_losses(base, [("cross_entropy", {}), *gammas])
    return plan + [replace(base, probability="soft_margin_softmax", probability_params=params) for params in margins]


def transfer(base: RunConfig) -> list[RunConfig]:
    """Beyond the papers: networks trained with each loss, whose features then serve another data set."""
    return with_losses(base, TRANSFER_LOSSES)


def _train_size(dataset: str) -> int:
    from lossbench.data.loading import find_spec

    return find_spec(dataset).train_size


SCALES = ("smoke", "laptop", "paper")

# A minute for a whole study, to see that every part of it works.
_SMOKE = {"epochs": 1, "train_size": 300}
HELD_OUT = "a tenth of the training images is held out, and chooses the epoch"
_THESIS = {"model": "resnet50", "pretrained": True, "lr": 1e-4, "epochs": 75, "scheduler": "constant"}


@dataclass(frozen=True)
class Scale:
    """The data sets, settings and number of seeds at one scale.

    Args:
        own: settings of single data sets, by their family's name; they win over `settings`.
        plan: the runs at this scale, where they are others than the study's.
        differs: where this is not what the paper did, a sentence each.
    """

    datasets: tuple[str, ...]
    settings: Mapping[str, Any]
    seeds: int
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    plan: Callable[[RunConfig], list[RunConfig]] | None = None
    differs: tuple[str, ...] = ()

    def settings_of(self, dataset: str) -> dict[str, Any]:
        """The settings of a data set at this scale."""
        return {**self.settings, **self.own.get(_family(dataset, self.own), {})}


@dataclass(frozen=True)
class Study:
    """A question and the runs that answer it: `plan(base)` gives the configs of one data set and one seed."""

    question: str
    plan: Callable[[RunConfig], list[RunConfig]]
    laptop: Scale
    paper: Scale
    smoke: Scale = Scale(("fashion-mini",), _SMOKE, 1)

    def scale(self, name: str) -> Scale:
        """Settings by the scale's name; ValueError for another name."""
        if name not in SCALES:
            raise ValueError(unknown("scale", name, SCALES))
        scale: Scale = getattr(self, name)
        return scale


_STUDIES = {
    "thesis": Study(
        "Do five losses under three probability functions differ in accuracy or in speed? (paper 000)",
        thesis,
        laptop=Scale(("fashion-mini",), {}, 3),
        paper=Scale(
            ("fashion-mnist", "kmnist", "cifar-10"),
            {**_THESIS, "augmentation": "thesis", "selection": "best_test"},
            3,
            differs=(
                "a tenth of the training images is held out, although the epoch is chosen on test images as there",
                "3 seeds a configuration; the thesis has one run",
                "75 epochs, the most that Table 4.1 prints as the best one; how long a run went on is not printed",
            ),
        ),
    ),
    "sweep": Study(
        "What do other gammas of focal loss and other margins of soft-margin softmax do? (the wish of paper 000)",
        sweep,
        laptop=Scale(("fashion-mini",), {}, 3),
        paper=Scale(("fashion-mnist", "kmnist", "cifar-10"), {**_THESIS, "augmentation": "thesis"}, 3),
    ),
    "adma": Study(
        "Is Adma better than cross-entropy, whatever the optimizer, the L2 penalty and the amount of data? (paper 001)",
        adma,
        laptop=Scale(("fashion-mini",), {}, 3),
        paper=Scale(
            ("mnist", "fashion-mnist", "cifar-10", "cifar-100", "svhn", "flowers", "ham10000", "dogs-vs-cats"),
            {"model": "convnet", "batch_size": 64, "epochs": 150, "scheduler": "constant"},
            20,
            own={
                "mnist": {"epochs": 50, "augmentation": "adma_mnist"},
                "fashion-mnist": {"epochs": 75, "augmentation": "adma_mnist"},
                "cifar-10": {"epochs": 125, "augmentation": "adma_cifar10"},
                "cifar-100": {"epochs": 170, "augmentation": "adma_cifar100"},
                "flowers": {"lr": 4e-4},
                "ham10000": {"lr": 4e-4},
                "dogs-vs-cats": {"epochs": 50},
            },
            plan=adma_as_printed,
            differs=(
                f"{HELD_OUT}; the paper reports the accuracy at the end of each run on its validation images",
                "20 seeds on every data set; the paper has 10 iterations on MNIST and Fashion-MNIST",
                "150 epochs on SVHN, for which the paper gives no number, and batches of 64, which it gives for three",
                "flowers and skin are squares; the paper has 150 x 150 and 75 x 100 pixels",
                "fewer training images are a part of those that there are; the paper moves them to the test images",
                "the exponent of Table 3 serves where the paper names none: other networks, fewer images",
            ),
        ),
    ),
    "sampling-free": Study(
        "Does a loss without sampling beat the losses on embeddings, and which beta and gamma? (paper 002)",
        sampling_free,
        laptop=Scale(("fashion-mini",), {}, 3),
        paper=Scale(
            ("cifar-10", "fashion-mnist", "cifar-100"),
            {"model": "googlenet", "lr": 1e-5, "weight_decay": 4e-4, "scheduler": "constant", "epochs": 70},
            3,
            own={"fashion-mnist": {"model": "resnet50"}},
            plan=sampling_free_as_printed,
            differs=(
                "the loss is a reconstruction: the paper's formulas are missing from its text",
                HELD_OUT,
                "gradients are clipped at 1: confident mistakes weigh thousands of times more at beta 4; batches of 32",
                "the residual network on CIFAR-10 is ResNet50 for 70 epochs; the paper names no depth, and 14 and 70",
                "Fashion-MNIST has the whole sweep under ResNet50, the paper one setting of it",
            ),
        ),
    ),
    "false-positive": Study(
        "Does False Positive Loss make fewer mistakes than cross-entropy, and for which classes? (paper 003)",
        false_positive,
        laptop=Scale(("fashion-mini",), {}, 3),
        paper=Scale(
            ("cifar-10",),
            {"model": "resnet18", "optimizer": "adadelta", "lr": 1e-3, "batch_size": 64, "epochs": 20},
            5,
            plan=false_positive_as_printed,
            differs=(
                HELD_OUT,
                "5 seeds a configuration; the paper has one run",
                "the size of its EfficientNetV2 is not printed: the small one",
                "ResNet50 has the settings that mmclassification has for CIFAR-10; the paper prints none of them",
                "long tails and other forms of the loss are beyond the paper",
            ),
        ),
    ),
    "layers": Study(
        "Does a tree of classes make mistakes fewer or milder? (paper 004)",
        layers,
        laptop=Scale(("fashion-mini",), {}, 3),
        paper=Scale(
            ("cifar-10", "cifar-100"),
            {"model": "convnet", "batch_size": 64, "epochs": 100},
            5,
            differs=(
                HELD_OUT,
                "the network, the optimizer and its settings are not printed: those of paper 001, Adam",
                "100 epochs; the poster trains until convergence",
                "the tree, the weight of the penalty and the reading of the formula are ours; CIFAR-100 is its wish",
            ),
        ),
    ),
    "noise": Study(
        "Which losses keep their accuracy when training labels are wrong? (beyond the papers)",
        noise,
        laptop=Scale(("fashion-mini",), {}, 3),
        paper=Scale(("fashion-mnist", "cifar-10"), {"model": "convnet", "batch_size": 64, "epochs": 100}, 5),
    ),
    "imbalance": Study(
        "Which losses keep their accuracy when some classes are rare? (beyond the papers)",
        imbalance,
        laptop=Scale(("fashion-mini",), {}, 3),
        paper=Scale(("fashion-mnist", "cifar-10"), {"model": "convnet", "batch_size": 64, "epochs": 100}, 5),
    ),
    "transfer": Study(
        "Do features that a better loss has learned serve another data set worse? (Kornblith et al. 2021)",
        transfer,
        laptop=Scale(("fashion-mini",), {"transfer": "sign-digits-mini", "epochs": 15}, 3),
        paper=Scale(("cifar-100",), {**_PLATFORM, "model": "resnet18", "transfer": "cifar-10"}, 5),
        smoke=Scale(("fashion-mini",), {**_SMOKE, "transfer": "sign-digits-mini"}, 1),
    ),
    "pretrained": Study(
        "Does the loss matter when a network with published weights is fine-tuned? (the setting of papers 000 and 001)",
        pretrained,
        laptop=Scale(
            ("fashion-mini",),
            {"model": "efficientnet_lite0", "pretrained": True, "lr": 1e-4, "train_size": 500, "epochs": 3},
            3,
        ),
        paper=Scale(
            ("cifar-10", "fashion-mnist"),
            {"model": "efficientnet_lite0", "pretrained": True, "lr": 1e-4, "epochs": 20},
            5,
        ),
        smoke=Scale(("shapes",), {"epochs": 1, "train_size": 32, "model": "efficientnet_lite0", "pretrained": True}, 1),
    ),
    "tuned": Study(
        "Does the loss matter when each one is tuned with the same budget? (a seed is a study of 16 trials a loss)",
        tuned,
        laptop=Scale(("fashion-mini",), {}, 3),
        paper=Scale(
            ("fashion-mnist", "cifar-10", "cifar-100"), {"model": "convnet", "batch_size": 64, "epochs": 60}, 3
        ),
        smoke=Scale(("shapes",), {"epochs": 1, "train_size": 32}, 1),
    ),
}
STUDIES: Registry[Study] = Registry("study", _STUDIES)


def plan_study(
    name: str,
    datasets: Sequence[str] = (),
    seeds: int | Iterable[int] | None = None,
    settings: Mapping[str, Any] | None = None,
    scale: str = "laptop",
) -> list[RunConfig]:
    """The configs of a named study, seed by seed, so that an interrupted study still holds whole comparisons.

    Args:
        name: a name in `STUDIES`.
        datasets: names of data sets; none takes the scale's own.
        seeds: how many seeds, counted from 0, or the seeds themselves; None takes the scale's own number.
        settings: fields of RunConfig that all runs share, such as `{"epochs": 5}`; they win over the scale's.
        scale: `smoke` (a minute, to see that it works), `laptop`, or `paper`.

    Raises: ValueError or TypeError for an unknown name or setting, or no seed at all.
    """
    study = STUDIES[name]
    size = study.scale(scale)
    seeds = size.seeds if seeds is None else seeds
    every = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not every:
        raise ValueError(f"seeds must be at least 1, got {seeds!r}")
    bases = [
        RunConfig.from_dict({**size.settings_of(dataset), **(settings or {}), "dataset": dataset})
        for dataset in datasets or size.datasets
    ]
    return _seed_by_seed(size.plan or study.plan, bases, every)


def plan_losses(
    losses: Sequence[LossSpec],
    datasets: Sequence[str] = (),
    seeds: int | None = None,
    settings: Mapping[str, Any] | None = None,
    own: Sequence[Mapping[str, Any]] = (),
) -> list[RunConfig]:
    """Configs that compare losses with cross-entropy, which is added if it is not among them, seed by seed.

    Args:
        losses: `(name, params)` of each.
        datasets: names of data sets; none takes the default one.
        seeds: how many paired seeds, counted from 0; None takes 5.
        settings: fields of RunConfig that all runs share.
        own: for each loss the settings, of those in `TUNABLE`, that only its runs have; then give them to
            `stats.compare` as `tuned`.

    Raises: ValueError or TypeError for an unknown name or setting, or one that no loss may have of its own.
    """
    for name in (name for fields in own for name in fields):
        if name not in TUNABLE:
            raise ValueError(unknown("setting of a loss's own", name, TUNABLE))
    compared, each = list(losses), list(own or [{}] * len(losses))
    if "cross_entropy" not in dict(losses):
        compared, each = [("cross_entropy", {}), *compared], [{}, *each]
    shared = RunConfig.from_dict(settings or {})
    every = range(5 if seeds is None else seeds)
    bases = [replace(shared, dataset=dataset) for dataset in datasets or (shared.dataset,)]
    return _seed_by_seed(partial(with_losses, losses=compared, own=each), bases, every)


def _seed_by_seed(
    plan: Callable[[RunConfig], list[RunConfig]], bases: Sequence[RunConfig], seeds: Iterable[int]
) -> list[RunConfig]:
    """The plan of each data set and seed; a config that two parts of it share runs once."""
    points = [replace(base, seed=seed) for seed in seeds for base in bases]
    return list(dict.fromkeys(config for point in points for config in plan(point)))


def compare_losses(losses: Sequence[LossSpec], seeds: int = 3, base: RunConfig | None = None) -> list[RunConfig]:
    """Configs that compare `(name, params)` losses over paired seeds, everything else as in `base`.

    >>> [c.label for c in compare_losses([("cross_entropy", {}), ("focal", {"gamma": 2.0})], seeds=1)]
    ['cross_entropy', 'focal γ=2']
    """
    shared = base or RunConfig()
    return [config for seed in range(seeds) for config in with_losses(replace(shared, seed=seed), losses)]


def table(headers: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Left-aligned columns; long cells are wrapped, the last column to the width of a terminal."""
    widths = [min(_WIDEST, max(len(row[i]) for row in [headers, *rows])) for i in range(len(headers))]
    widths[-1] = max(40, 110 - sum(widths[:-1]) - 2 * len(widths))
    lines = []
    for row in [headers, *rows]:
        cells = [textwrap.wrap(cell, width) or [""] for cell, width in zip(row, widths, strict=True)]
        for parts in itertools.zip_longest(*cells, fillvalue=""):
            lines.append("  ".join(f"{part:<{width}}" for part, width in zip(parts, widths, strict=True)).rstrip())
    return "\n".join(lines)


_WIDEST = 32
