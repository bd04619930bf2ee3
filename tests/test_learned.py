"""What a network must have reached to be judged, and which runs were cut off while they still rose."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.neighbors import NearestCentroid

from lossbench import load_runs, stats
from lossbench.data import load
from lossbench.data.yardsticks import BEST_KNOWN, UNTRAINED, belongs, best_known, chance_level, untrained_accuracy
from lossbench.records import archive

REFERENCE = Path(__file__).parents[1] / "outputs" / "reference"


@pytest.mark.parametrize("name", ["fashion-mini", "kmnist-10k", "flowers-4064", "ham10000-5984"])
def test_the_accuracy_without_a_network_is_that_of_scikit_learns_nearest_centroid(name: str) -> None:
    """Or of naming the commonest class, where that is higher; small variants stand for their families."""
    try:
        dataset = load(name)
    except (FileNotFoundError, ValueError):
        pytest.skip(f"{name} is not here")
    train, test = (
        (part.images.flatten(1).numpy().astype(np.float32), part.target.numpy())
        for part in (dataset.train, dataset.test)
    )
    centres = NearestCentroid().fit(*train).score(*test)
    commonest = float((test[1] == np.bincount(train[1]).argmax()).mean())
    assert untrained_accuracy(name) == pytest.approx(max(centres, commonest), abs=0.004)


def test_chance_is_three_standard_errors_above_one_over_the_classes() -> None:
    assert chance_level("fashion-mini", 900) == pytest.approx(0.1 + 3 * 0.3 / 30)
    assert chance_level("no such data", 900) == 0
    assert chance_level("fashion-mini", math.nan) == 0
    assert untrained_accuracy("shapes", 300) == pytest.approx(0.25 + 3 * math.sqrt(0.1875 / 300))


def test_variants_are_of_a_family_and_other_class_lists_are_not() -> None:
    assert belongs("fashion-mini", "fashion-mnist")
    assert belongs("cifar-10-jpeg", "cifar-10")
    assert not belongs("cifar-100", "cifar-10")
    assert not belongs("cifar-100-coarse", "cifar-100")


def test_the_best_known_accuracy_is_of_a_network_of_this_size_or_not_known() -> None:
    found = best_known("cifar-10-jpeg", 464_170)
    assert found is not None
    assert (found.accuracy, found.source.partition(",")[0]) == (0.9353, "ResNet-32")
    assert best_known("cifar-10", 106_202) is None
    assert best_known("kmnist-10k", 106_202) is None
    for family, rows in BEST_KNOWN.items():
        assert all(UNTRAINED[family] < row.accuracy < 1 and row.source for row in rows)


def runs_of(loss: str, accuracies: list[float], dataset: str = "fashion-mini") -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"loss": loss, "label": loss, "loss_params": "", "probability": "softmax", "seed": seed, "epochs": 9,
             "status": "finished", "test_accuracy": accuracy, "dataset": dataset, "model": "small_cnn",
             "test_images": 2000, "best_epoch": 9 if seed else 5}
            for seed, accuracy in enumerate(accuracies)
        ]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("own", "reference", "word"),
    [
        ([0.70, 0.71, 0.705, 0.70], [0.80, 0.81, 0.80, 0.802], "worse"),  # both above 0.677
        ([0.30, 0.31, 0.305, 0.30], [0.80, 0.81, 0.80, 0.802], "worse"),  # bad beside one that has learned
        ([0.60, 0.61, 0.605, 0.60], [0.65, 0.66, 0.65, 0.652], "not learned"),  # class means do better than both
        ([0.10, 0.11, 0.105, 0.10], [0.80, 0.81, 0.80, 0.802], "not learned"),  # guesses
        ([0.80, 0.81, 0.80, 0.802], [0.10, 0.11, 0.105, 0.10], "not learned"),  # being ahead of guessing proves nothing
        ([0.10, 0.11, 0.70, 0.71], [0.80, 0.81, 0.80, 0.802], "undecided"),  # half, not more than half
    ],
)
def test_a_network_that_has_not_learned_gets_no_word(own: list[float], reference: list[float], word: str) -> None:
    runs = pd.concat([runs_of("cross_entropy", reference), runs_of("focal", own)], ignore_index=True)
    [row] = stats.compare(runs).to_dict("records")
    assert row["verdict"] == word
    assert row["mean"] == pytest.approx(np.mean(own) - np.mean(reference))
    assert row["unfinished"] == 6, "three of four on each side were best in their last epoch"
    assert bool("learned" in row["limits"] or "stayed at chance" in row["limits"].partition(";")[0]) == (
        word == "not learned" or min(own) < 0.12
    )
    assert math.isnan(row["needed"]) == (word != "undecided")
    finals = runs.assign(study=runs["seed"])
    [final] = stats.judge_finals(finals).to_dict("records")
    assert (final["verdict"] == "not learned") == (word == "not learned")
    assert bool(final["limits"]) == (word == "not learned")


def test_no_committed_word_rests_on_networks_that_have_not_learned() -> None:
    """`false-positive-resnet18` has 33 % where class means of raw pixels have 68 %; five runs of n-pair guessed."""
    table = stats.compare(load_runs(REFERENCE))
    silent = table[table["verdict"] == stats.NOT_LEARNED]
    assert set(silent["study"]) == {"false-positive-resnet18", "sampling-free"}
    assert (table[table["study"] == "false-positive-resnet18"]["verdict"] == stats.NOT_LEARNED).all()
    assert set(silent[silent["study"] == "sampling-free"]["loss"]) == {"n_pair"}


@pytest.mark.parametrize(
    ("curve", "best", "rising"),
    [
        ([0.5, 0.6, 0.7, 0.8, 0.85, 0.90], 6, True),  # from 0.80 to 0.90; one error is sqrt(0.09 / 500) = 0.013
        ([0.5, 0.7, 0.8, 0.895, 0.897, 0.90], 6, False),  # best at the end, by less than an error
        ([0.5, 0.6, 0.7, 0.88, 0.91, 0.90], 5, False),  # best before the end
        ([0.9], 1, True),  # one epoch cannot show that it was enough
        ([0.8, 0.82, 0.84], 3, True),  # a third of three epochs is one
    ],
)
def test_a_run_still_rises_if_its_last_third_gained_more_than_one_standard_error(
    curve: list[float], best: int, rising: bool
) -> None:
    runs = pd.DataFrame(
        [{"run_id": "a", "dataset": "fashion-mini", "best_epoch": best, "epochs_done": len(curve),
          "test_images": 2000, "train_images": 4500}]
    )  # fmt: skip
    history = pd.DataFrame({"run_id": "a", "epoch": range(1, len(curve) + 1), "val_accuracy": curve})
    assert stats.still_rising(runs, history).tolist() == [rising]
    assert stats.is_last_best(runs).tolist() == [best == len(curve)]


def test_the_share_of_committed_runs_that_still_rose_is_between_none_and_those_best_at_their_end() -> None:
    tables = archive.load_tables(REFERENCE / "thesis")
    rising = stats.still_rising(tables.runs, tables.history)
    last = stats.is_last_best(tables.runs)
    assert (last | ~rising).all()
    by_data = rising.groupby(tables.runs["dataset"]).mean()
    assert by_data["cifar-10-jpeg"] == 1.0, "cut off after six epochs"
    assert by_data["kmnist-10k"] == 0.0, "flat after ten"
