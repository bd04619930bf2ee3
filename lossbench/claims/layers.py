"""What paper 004, the poster Loss in Layers, claims, and the test over folds that it made."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict

import numpy as np

from lossbench.claims import algebra
from lossbench.claims.contrasts import PLAIN, Tables, lead_over, loss, matches, minus, setting_of
from lossbench.claims.verdicts import MORE_SEEDS, RUNS, Answer, Claim, above, exact, within
from lossbench.data.yardsticks import belongs, untrained_accuracy
from lossbench.stats.paired import holm

CE, RCE = loss("cross_entropy"), loss("confidence_penalty")
FLAT = loss("hierarchical_cross_entropy", mode="flat_nodes")
READINGS = (
    FLAT,
    loss("hierarchical_cross_entropy", mode="conditional", node_weight="path"),
    loss("hierarchical_cross_entropy", mode="leaf", node_weight="literal"),
)
FOLDED = {"CE": CE, "r-CE": RCE, "h-CE": FLAT}
CIFAR, HARDER = ("cifar-10",), ("cifar-100", "omniglot")
TREE = "the tree is our reading of a picture"
READING = f"{TREE}, and the loss the most literal of three readings of the formula"
ALL_READINGS = f"{TREE}, and the loss is tested in three readings of the formula"
PENALTY = "the weight of the penalty, 0.1, is not in the paper"
NO_GAIN = 0.5  # points


@exact(RUNS, "share of seeds in which any pair of losses differs on ten folds (Mann-Whitney)")
def share_of_seeds(tables: Tables) -> Answer:
    """In which share of seeds the poster's own test finds a difference between any two of its three losses.

    The claim is supported if a repetition would mostly find none: the 95 % interval of the share (Clopper and Pearson)
    lies below one half; contradicted if it lies above.
    """
    from scipy import stats

    seeds = [_any_difference(scores) for scores in _by_seed(tables)]
    unit, n, differing = "% of seeds", len(seeds), sum(seeds)
    if not n:
        needed = "folds of CE, r-CE and h-CE"
        limits = () if tables.folds is not None else ("no folds given",)
        return Answer(None, math.nan, unit, 0, f"needs {needed} under one seed", limits, remedy=needed)
    share = stats.binomtest(differing, n).proportion_ci(method="exact")
    low, high = 100 * float(share.low), 100 * float(share.high)
    holds = None if low <= 50 <= high else high < 50
    limits = (*(("one seed",) if n == 1 else ()), "folds of one trained network show test sampling, not training")
    why, here = f"{differing} of {n} seeds show a difference", "ten folds of the test images"
    remedy = MORE_SEEDS if holds is None else ""
    return Answer(holds, 100 * differing / n, unit, n, why, limits, low, high, here, remedy)


def _by_seed(tables: Tables) -> list[dict[str, np.ndarray]]:
    """For each data set, network and seed that has all three losses: their accuracies by fold."""
    if tables.folds is None or tables.folds.empty:
        return []
    scores = tables.folds.drop_duplicates(["run_id", "fold"]).sort_values("fold").groupby("run_id")["accuracy"]
    folds = {str(run_id): part.to_numpy(dtype=float) for run_id, part in scores}
    tested: dict[tuple[object, ...], dict[str, np.ndarray]] = defaultdict(dict)
    for row in tables.rows:
        for name, where in FOLDED.items():
            usable = row["run_id"] in folds and row["ended"] and belongs(row["dataset"], "cifar-10")
            learned = row.get("test_accuracy", 1.0) > untrained_accuracy(row["dataset"])
            if usable and learned and matches(row, {**where, **PLAIN}):
                tested[*setting_of(row, ()), row["probability"], row["seed"]][name] = folds[row["run_id"]]
    return [scores for scores in tested.values() if len(scores) == len(FOLDED)]


def _any_difference(scores: dict[str, np.ndarray]) -> bool:
    """Whether any two losses differ at 0.05 after Holm."""
    from scipy import stats

    pairs = itertools.combinations(scores.values(), 2)
    p_values = [float(stats.mannwhitneyu(a, b, alternative="two-sided", method="auto").pvalue) for a, b in pairs]
    return bool(holm(p_values).min() < 0.05)


CLAIMS = (
    Claim(
        "layers-hierarchical-below-ce", "004", "Results after training",
        "The hierarchical loss scores lower than cross-entropy.",
        above(*(minus(CE, reading, datasets=CIFAR) for reading in READINGS), readings=True),
        "layers-accuracy", "h-CE < CE, no numbers", ALL_READINGS,
    ),
    Claim(
        "layers-penalty-equals-ce", "004", "Results after training",
        "The penalty on confident predictions scores about as cross-entropy does.",
        within(minus(RCE, CE, datasets=CIFAR), tuned=True),
        "layers-accuracy", "CE and r-CE about equal, no numbers", PENALTY,
    ),
    Claim(
        "layers-no-improvement", "004", "Conclusions",
        "Neither the penalty nor the hierarchical loss improves on cross-entropy.",
        above(*(minus(CE, other, datasets=CIFAR) for other in (RCE, *READINGS)), bound=-NO_GAIN, everywhere=True),
        "layers-accuracy", "no significant improvement",
        f"{ALL_READINGS}; no improvement is read as: at most {NO_GAIN:g} points; {PENALTY}",
    ),
    Claim(
        "layers-folds-show-no-difference", "004", "Results after training",
        "Mann-Whitney tests over ten test folds show no difference between the three losses.",
        share_of_seeds,
        "layers-accuracy", "no significant difference", READING,
    ),
    Claim(
        "layers-fewer-critical-mistakes", "004", "Introduction",
        "Knowledge of the class tree could make critical mistakes, an animal for a vehicle or the reverse, fewer.",
        above(
            *(c for reading in READINGS for c in lead_over(reading, (CE,), "test_critical_error", CIFAR)),
            readings=True,
        ),
        "layers-mistakes", "", ALL_READINGS,
    ),
    Claim(
        "layers-penalty-overfits-less", "004", "A closer look at the losses",
        "The penalty on confident predictions avoids overfitting.",
        above(*lead_over(RCE, (CE,), "train_gap", CIFAR), tuned=True),
        "layers-accuracy", "", PENALTY,
    ),
    Claim(
        "layers-helps-on-harder-data", "004", "Conclusions",
        "On harder data such as CIFAR-100 the hierarchical loss would help.",
        above(minus(FLAT, CE, datasets=HARDER)),
        "layers-accuracy", "", f"{READING}; the 242 characters of Omniglot count as harder data too",
    ),
    Claim(
        "layers-tree-informs-any-model", "004", "Introduction, Hierarchical loss function",
        "The path loss brings the class tree into any model.",
        algebra.tree_in_the_loss,
        "layers-algebra", "", ALL_READINGS,
    ),
    Claim(
        "layers-second-sum-acts", "004", "Hierarchical loss function",
        "The sum over inner nodes shapes what is learned.",
        algebra.second_sum,
        "layers-algebra", "", ALL_READINGS,
    ),
)  # fmt: skip
