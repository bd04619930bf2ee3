"""Named studies: what is asked, which runs answer it, and at what scale."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from lossbench import papers
from lossbench.config import RunConfig
from lossbench.registry import Registry, unknown

SCALES = ("smoke", "laptop", "paper")

# A minute for a whole study, to see that every part of it works.
_SMOKE = {"epochs": 1, "train_size": 300}
_THESIS = {"model": "resnet50", "pretrained": True, "lr": 1e-4, "epochs": 75, "scheduler": "constant"}


@dataclass(frozen=True)
class Scale:
    """The data sets, settings and number of seeds at one scale."""

    datasets: tuple[str, ...]
    settings: Mapping[str, Any]
    seeds: int


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
        found: Scale = getattr(self, name)
        return found


_STUDIES = {
    "thesis": Study(
        "Do five losses under three probability functions differ in accuracy or in speed? (paper 000)",
        papers.thesis,
        laptop=Scale(("fashion-mini",), {}, 3),
        paper=Scale(
            ("fashion-mnist", "kmnist", "cifar-10"),
            {**_THESIS, "augmentation": "thesis", "selection": "best_test"},
            3,
        ),
    ),
    "adma": Study(
        "Is Adma better than cross-entropy, whatever the optimizer, the L2 penalty and the amount of data? (paper 001)",
        papers.adma,
        laptop=Scale(("fashion-mini",), {}, 3),
        paper=Scale(
            ("mnist", "fashion-mnist", "cifar-10", "cifar-100", "svhn", "flowers", "ham10000", "dogs-vs-cats"),
            {"model": "convnet", "batch_size": 64, "epochs": 150},
            20,
        ),
    ),
    "sampling-free": Study(
        "Does a loss without sampling beat the losses on embeddings, and which beta and gamma? (paper 002)",
        papers.sampling_free,
        laptop=Scale(("fashion-mini",), {}, 3),
        paper=Scale(
            ("cifar-10", "fashion-mnist", "cifar-100"),
            {"model": "googlenet", "lr": 1e-5, "weight_decay": 4e-4, "scheduler": "constant", "epochs": 70},
            3,
        ),
    ),
    "false-positive": Study(
        "Does False Positive Loss make fewer mistakes than cross-entropy, and for which classes? (paper 003)",
        papers.false_positive,
        laptop=Scale(("fashion-mini",), {}, 3),
        paper=Scale(
            ("cifar-10",),
            {"model": "resnet18", "optimizer": "adadelta", "lr": 1e-3, "batch_size": 64, "epochs": 20},
            5,
        ),
    ),
    "layers": Study(
        "Does a tree of classes make mistakes fewer or milder? (paper 004)",
        papers.layers,
        laptop=Scale(("fashion-mini",), {}, 3),
        paper=Scale(("cifar-10", "cifar-100"), {"model": "convnet", "batch_size": 64, "epochs": 100}, 5),
    ),
    "noise": Study(
        "Which losses keep their accuracy when training labels are wrong? (beyond the papers)",
        papers.noise,
        laptop=Scale(("fashion-mini",), {}, 3),
        paper=Scale(("fashion-mnist", "cifar-10"), {"model": "convnet", "batch_size": 64, "epochs": 100}, 5),
    ),
    "imbalance": Study(
        "Which losses keep their accuracy when some classes are rare? (beyond the papers)",
        papers.imbalance,
        laptop=Scale(("fashion-mini",), {}, 3),
        paper=Scale(("fashion-mnist", "cifar-10"), {"model": "convnet", "batch_size": 64, "epochs": 100}, 5),
    ),
    "pretrained": Study(
        "Does the loss matter when a network with published weights is fine-tuned? (the setting of papers 000 and 001)",
        papers.pretrained,
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
    asked = size.seeds if seeds is None else seeds
    every = list(range(asked)) if isinstance(asked, int) else list(asked)
    if not every:
        raise ValueError(f"seeds must be at least 1, got {seeds!r}")
    shared = RunConfig.from_dict({**size.settings, **(settings or {})})
    return _seed_by_seed(study.plan, shared, datasets or size.datasets, every)


def plan_losses(
    losses: Sequence[papers.LossSpec],
    datasets: Sequence[str] = (),
    seeds: int | None = None,
    settings: Mapping[str, Any] | None = None,
) -> list[RunConfig]:
    """Configs that compare losses with cross-entropy, which is added if it is not among them, seed by seed.

    Args:
        losses: `(name, params)` of each.
        datasets: names of data sets; none takes the default one.
        seeds: how many paired seeds, counted from 0; None takes 5.
        settings: fields of RunConfig that all runs share.

    Raises: ValueError or TypeError for an unknown name or setting.
    """
    asked = [("cross_entropy", {}), *losses] if "cross_entropy" not in dict(losses) else losses
    shared = RunConfig.from_dict(settings or {})
    every = range(5 if seeds is None else seeds)
    return _seed_by_seed(partial(papers.with_losses, losses=asked), shared, datasets or (shared.dataset,), every)


def _seed_by_seed(
    plan: Callable[[RunConfig], list[RunConfig]], shared: RunConfig, datasets: Sequence[str], seeds: Iterable[int]
) -> list[RunConfig]:
    """The plan of each data set and seed; a config that two parts of it share runs once."""
    points = [replace(shared, dataset=dataset, seed=seed) for seed in seeds for dataset in datasets]
    return list(dict.fromkeys(config for point in points for config in plan(point)))


def compare_losses(losses: Sequence[papers.LossSpec], seeds: int = 3, base: RunConfig | None = None) -> list[RunConfig]:
    """Configs that compare `(name, params)` losses over paired seeds, everything else as in `base`.

    >>> [c.label for c in compare_losses([("cross_entropy", {}), ("focal", {"gamma": 2.0})], seeds=1)]
    ['cross_entropy', 'focal γ=2']
    """
    shared = base or RunConfig()
    return [config for seed in range(seeds) for config in papers.with_losses(replace(shared, seed=seed), losses)]
