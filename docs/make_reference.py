"""Run the studies whose tables are committed under outputs/reference/: `python -m docs.make_reference [name ...]`.

Runs that are finished are skipped, so the command may be interrupted and called again. Every run has paired seeds,
chooses its epoch on held-out training images and scores the test images once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lossbench.config import RunConfig
from lossbench.records.archive import pack
from lossbench.registry import unknown
from lossbench.studies import plan_study, run_configs
from lossbench.studies.estimate import estimate

HERE = Path(__file__).resolve().parents[1] / "outputs"


@dataclass(frozen=True)
class Part:
    """A named study on some data sets with settings of its own."""

    study: str
    datasets: tuple[str, ...]
    seeds: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    keep: Callable[[RunConfig], bool] = lambda config: True

    def plan(self) -> list[RunConfig]:
        """The configs, seed by seed."""
        return [c for c in plan_study(self.study, self.datasets, self.seeds, self.settings) if self.keep(c)]


@dataclass(frozen=True)
class Reference:
    """What is committed under one name, and why it has this size."""

    note: str
    parts: tuple[Part, ...]

    def plan(self) -> list[RunConfig]:
        """The configs of all parts; one that two parts share runs once."""
        return list(dict.fromkeys(config for part in self.parts for config in part.plan()))


FORMS = ("aggregate", "ratio")  # of False Positive Loss, planned after these studies were run


def planned_then(config: RunConfig) -> bool:
    """Whether a config was part of its study when the committed runs were made."""
    later = config.loss == "sampling_free" or any(name in config.loss_params for name in FORMS)
    return not later


SMALL = {"train_size": 5_000, "epochs": 4}
ADMA = {"train_size": 3_000, "epochs": 4, "batch_size": 64}

REFERENCES: dict[str, Reference] = {
    "thesis": Reference(
        "Five losses times three probability functions, as paper 000; small_cnn instead of ResNet50.",
        (
            Part("thesis", ("kmnist-10k",), 5, {"epochs": 10}),
            Part("thesis", ("fashion-mnist",), 5, {"epochs": 2}),
            Part("thesis", ("cifar-10-jpeg",), 5, {"train_size": 5_000, "epochs": 6}),
        ),
    ),
    "layers": Reference(
        "Cross-entropy, the confidence penalty and three readings of the hierarchical loss, as paper 004; ten seeds, "
        "and ten folds of the test images.",
        (Part("layers", ("cifar-10-jpeg",), 10, SMALL),),
    ),
    "false-positive": Reference(
        "Cross-entropy and False Positive Loss in several forms on balanced and long-tailed training images, as paper "
        "003; small_cnn instead of ResNet18.",
        (Part("false-positive", ("cifar-10-jpeg", "fashion-mnist"), 5, SMALL, planned_then),),
    ),
    "adma": Reference(
        "Adma and its baselines under two optimizers with and without L2, as paper 001, and under SGD with first steps "
        "of one length; its exponent and less data on Fashion-MNIST only; small_cnn instead of the paper's network.",
        (
            Part("adma", ("fashion-mnist",), 5, ADMA),
            Part(
                "adma",
                ("mnist", "cifar-10-jpeg"),
                5,
                ADMA,
                lambda c: not c.loss_params and c.train_size == ADMA["train_size"],
            ),
        ),
    ),
    "sampling-free": Reference(
        "The reconstructed loss of paper 002 with sweeps of beta and gamma, and five losses on embeddings.",
        (Part("sampling-free", ("cifar-10-jpeg", "fashion-mnist"), 5, SMALL),),
    ),
    "robustness": Reference(
        "Beyond the papers: wrong labels (0, 20, 40 %) and long tails (1, 10, 100 times fewer images).",
        tuple(
            Part(study, ("fashion-mnist",), 5, {"train_size": 3_000, "epochs": 4}, planned_then)
            for study in ("noise", "imbalance")
        ),
    ),
    "trees": Reference(
        "The losses of paper 004 on 242 classes in a true tree, characters in their alphabets, until accuracy is flat.",
        (Part("layers", ("omniglot-small",), 5, {"epochs": 20, "batch_size": 64}),),
    ),
    "transfer": Reference(
        "Networks trained with seven losses, whose frozen features then serve another data set by a linear head, the "
        "question of Kornblith et al. 2021; small_cnn instead of ResNet50.",
        (Part("transfer", ("fashion-mini",), 10, {"epochs": 15, "transfer": "sign-digits-mini"}),),
    ),
    "false-positive-resnet18": Reference(
        "Cross-entropy and False Positive Loss with the ResNet18 of paper 003, on a small subset.",
        (
            Part(
                "false-positive",
                ("fashion-mini",),
                5,
                {"model": "resnet18", "train_size": 400, "epochs": 3, "batch_size": 64},
                lambda c: c.imbalance == 1 and planned_then(c),
            ),
        ),
    ),
}


def main() -> None:
    """Run, then pack, the studies named; all of them when none is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(REFERENCES)}; all when none is given")
    parser.add_argument("--workers", type=int, help="processes, one thread each; one per core unless given")
    parser.add_argument("--runs", type=Path, default=HERE / "reference-runs", help="folder for the full records")
    parser.add_argument("--to", type=Path, default=HERE / "reference", help="folder for the packed tables")
    parser.add_argument("--dry-run", action="store_true", help="show the runs and what they will cost, and stop")
    parser.add_argument("--quiet", action="store_true", help="draw no progress bar")
    chosen = parser.parse_args()
    if strangers := [name for name in chosen.names if name not in REFERENCES]:
        parser.error(unknown("reference study", strangers[0], REFERENCES))
    for name in chosen.names or REFERENCES:
        reference, folder = REFERENCES[name], chosen.runs / name
        configs = reference.plan()
        if chosen.dry_run:
            print(f"{name}: {len(configs)} runs\n{estimate(configs, workers=chosen.workers)}\n")
            continue
        summary = run_configs(configs, folder, workers=chosen.workers, show_progress=not chosen.quiet)
        print(f"{name}: {summary}", flush=True)
        if summary.interrupted:
            break
        pack(folder, chosen.to / name, name=name, note=reference.note)


if __name__ == "__main__":
    main()
