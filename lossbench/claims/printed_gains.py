"""Claims of papers 001 and 003 that their own printed numbers decide."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from lossbench import published
from lossbench.claims.rules import Answer, settle
from lossbench.claims.thesis_tables import from_differences

if TYPE_CHECKING:
    import pandas as pd

TEST_IMAGES = 10_000
NO_SPREAD = "the paper prints no spread"


@cache
def adma_over_all_cells() -> Answer:
    """Adma minus cross-entropy over the 32 cells of Tables 1 to 4."""
    gaps = _adma_gaps().stack().to_numpy(dtype=float)
    won, median = int((gaps > 0).sum()), float(np.median(gaps))
    why = f"ahead in {won} of {len(gaps)} cells, median {median:+.2f}; two cells of CIFAR-100 with SGD lose most"
    return from_differences(
        gaps, "points", why, NO_SPREAD, "the exponent was tuned for every cell, the baselines were not"
    )


@cache
def adma_best_with_l2() -> Answer:
    """Data sets of Table 1 on which Adma is the highest of the four; the text says four of eight."""
    counts = _times_highest()
    return Answer(
        settle(counts["Table 1"] >= 4), float(counts["Table 1"]), "data sets", 8, "Flower Recognition is lost"
    )


@cache
def adma_gains_without_l2() -> Answer:
    """Data sets on which Adma is the highest under Adam without L2, beyond those with it; the text says two more."""
    counts = _times_highest()
    more = counts["Table 3"] - counts["Table 1"]
    answer = Answer(
        settle(more == 2), float(more), "data sets", 8, f"{counts['Table 1']} with L2, {counts['Table 3']} without"
    )
    return answer.limited(NO_SPREAD)


@cache
def adma_exponent_under_sgd() -> Answer:
    """Exponent chosen under SGD minus that under Adam, over eight data sets with and without L2."""
    table = published.runs("adma_tables_1_4")
    adma = table[table["loss"] == "adma"].assign(a=lambda t: t["loss_params"].str.removeprefix("a=").astype(float))
    chosen = adma.pivot(index="dataset", columns="source_table", values="a")
    gaps = average(chosen["Table 2"] - chosen["Table 1"], chosen["Table 4"] - chosen["Table 3"])
    return from_differences(gaps, "exponent a", "the exponents of the paper's tables, averaged over L2", NO_SPREAD)


@cache
def adma_mnist_error() -> Answer:
    """Whether an error rate of 0.025 % is a whole number of the 10,000 test images."""
    table = published.load("adma_text_values")
    row = table[(table["dataset"] == "MNIST") & (table["metric"] == "error_rate")]
    wrong = float(row["value"].iloc[0]) / 100 * TEST_IMAGES
    why = f"{wrong:g} wrong images of {TEST_IMAGES:,}: no whole number"
    return Answer(settle(wrong == round(wrong)), wrong, "images", TEST_IMAGES, why)


@cache
def fpl_totals_add_up() -> Answer:
    """Totals of Table 2 against the sums of its classes."""
    table = published.load("fpl_tables_2_3")
    counts = table[table["metric"] == "false_positives"].assign(value=lambda t: t["value"].astype(float))
    total = counts["class"] == "TOTAL"
    key = ["model", "loss"]
    sums = counts[~total].groupby(key)["value"].sum()
    off = (sums - counts[total].set_index(key)["value"]).abs()
    return Answer(
        settle(not off.any()), float((off > 0).sum()), "totals that differ", len(sums), "sums over ten classes"
    )


@cache
def fpl_gain_in_table_2() -> Answer:
    """Errors saved in Table 2, against what 10,000 test images can tell.

    The same images were scored by both losses, but which ones were wrong is not printed; taking the two as independent
    makes the interval too wide rather than too narrow.
    """
    table = published.runs("fpl_tables_2_3")
    errors = (1 - table[table["source_table"] == "Table 2"].set_index(["model", "loss"])["test_accuracy"]).unstack()
    gaps = 100 * (errors["cross_entropy"] - errors["false_positive"])
    variance = (errors * (1 - errors) / TEST_IMAGES).to_numpy(dtype=float).sum()
    half = 1.96 * 100 * math.sqrt(variance) / len(gaps)
    low, high = float(gaps.mean()) - half, float(gaps.mean()) + half
    verdict = settle(low > 0) if low > 0 or high < 0 else "undecided"
    why = "39 and 5 errors saved, which another sample of test images could reverse"
    return Answer(verdict, float(gaps.mean()), "points", len(gaps), why, low, high, ("one run a cell",))


@cache
def fpl_gain_in_text() -> Answer:
    """Gain in top-1 accuracy by Table 3 against the 0.68 of the text."""
    gain = _table_3("test_accuracy").loc["no"]
    why = f"Table 3 gives {gain:+.2f}, the text +0.68"
    return Answer(settle(abs(gain - 0.68) < 0.005), float(gain), "points", 1, why, limits=("one run a cell",))


@cache
def fpl_gain_pretrained() -> Answer:
    """Gain in top-1 accuracy of the pretrained network in Table 3."""
    gain = _table_3("test_accuracy").loc["ImageNet"]
    why = "with pretrained weights cross-entropy is ahead in the paper's own table"
    return Answer(settle(gain > 0), float(gain), "points", 1, why, limits=("one run a cell",))


def average(*parts: pd.Series) -> np.ndarray:
    """Mean of several columns, row by row."""
    stacked = np.stack([part.to_numpy(dtype=float) for part in parts])
    return np.asarray(stacked.mean(axis=0))


def _adma_gaps() -> pd.DataFrame:
    cells = published.runs("adma_tables_1_4").pivot(
        index=["source_table", "dataset"], columns="loss", values="val_accuracy"
    )
    return (100 * (cells["adma"] - cells["cross_entropy"])).unstack()


def _times_highest() -> dict[str, int]:
    """In how many rows of each table Adma is the highest."""
    cells = published.runs("adma_tables_1_4").pivot(
        index=["source_table", "dataset"], columns="loss", values="val_accuracy"
    )
    won = cells["adma"] > cells.drop(columns="adma").max(axis=1)
    return {str(name): int(count) for name, count in won.groupby("source_table").sum().items()}


def _table_3(metric: str) -> pd.Series:
    """False Positive Loss minus cross-entropy in points, by `pretrained`."""
    table = published.runs("fpl_tables_2_3")
    cells = table[table["source_table"] == "Table 3"].pivot(index="pretrained", columns="loss", values=metric)
    return 100 * (cells["false_positive"] - cells["cross_entropy"])
