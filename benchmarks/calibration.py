"""Do the intervals cover what they promise, and do the tests stay silent when nothing differs? By simulation.

Run `python -m benchmarks.calibration [--grids 2000] [--seed 0]`; it writes `benchmarks/calibration.csv`. A null grid
is five losses on three data sets under five seeds whose accuracies differ by noise alone: a part that all losses
share under a seed, and a part of their own.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from lossbench import stats

LOSSES = ("cross_entropy", "js_divergence", "focal", "mse", "adma")
DATASETS = {"easy": 0.97, "middle": 0.86, "hard": 0.61}
SD, SHARED = 0.005, 0.3  # of one run; share of the variance that a seed gives to all losses alike


def draw_grid(rng: np.random.Generator, seeds: int = 5, shared: float = SHARED) -> pd.DataFrame:
    """A table of runs in which no loss matters."""
    rows = []
    for dataset, level in DATASETS.items():
        common = math.sqrt(shared) * rng.normal(size=seeds)
        for loss in LOSSES:
            noise = common + math.sqrt(1 - shared) * rng.normal(size=seeds)
            rows += [(dataset, loss, seed, level + SD * noise[seed]) for seed in range(seeds)]
    table = pd.DataFrame(rows, columns=["dataset", "loss", "seed", "test_accuracy"])
    return table.assign(model="m", probability="softmax", label=table["loss"], status="finished")


def holm(runs: pd.DataFrame, rng: np.random.Generator) -> dict[str, bool]:
    """Any false alarm of the paired tests over all data sets, corrected by Holm."""
    found = stats.significance(runs, rng, resamples=999)
    return {f"{test}, Holm": bool((found[f"p_{test}_holm"] < 0.05).any()) for test in ("t", "wilcoxon", "permutation")}


def simultaneous(runs: pd.DataFrame, rng: np.random.Generator) -> dict[str, bool]:
    """Any false alarm of Dunnett's test and of the noise floor's wide band, on one data set."""
    one = runs[runs["dataset"] == "middle"]
    far = stats.compare(one)["verdict"].isin(["above", "below"]).any()
    return {"Dunnett with blocks": bool((stats.dunnett(one)["p"] < 0.05).any()), "noise floor": bool(far)}


def unshared(_: pd.DataFrame, rng: np.random.Generator) -> dict[str, bool]:
    """The same when a seed gives nothing to all losses alike, which is what the noise floor assumes."""
    return simultaneous(draw_grid(rng, shared=0.0), rng)


def ranked(runs: pd.DataFrame, rng: np.random.Generator) -> dict[str, bool]:
    """A false alarm of Friedman's test, and of any of Nemenyi's."""
    found = stats.rank_losses(runs)
    nemenyi = bool((found.pairwise.to_numpy() < 0.05).any())
    return {"Friedman": found.p < 0.05, "Nemenyi": nemenyi}


def modelled(runs: pd.DataFrame, rng: np.random.Generator) -> dict[str, bool]:
    """Whether the mixed model's interval of one loss holds 0."""
    row = stats.mixed_model(runs).iloc[0]
    return {"mixed model interval": bool(row["low"] <= 0 <= row["high"])}


def resampled(runs: pd.DataFrame, rng: np.random.Generator) -> dict[str, bool]:
    """Whether bootstrap intervals of one loss hold the truth."""
    loss = runs[runs["loss"] == "mse"]
    middle = stats.interquartile_mean(_independent(rng), rng, resamples=1000).iloc[0]
    unpaired = draw_grid(rng, shared=0.0)
    pair = unpaired[unpaired["loss"].isin(["cross_entropy", "focal"])]
    better = stats.probability_of_improvement(pair, rng, resamples=1000).iloc[0]
    low, high = stats.t_interval(loss[loss["dataset"] == "easy"]["test_accuracy"])
    return {
        "t interval, 5 seeds": low <= DATASETS["easy"] <= high,
        "interquartile mean, 3 x 5 runs": bool(middle["low"] <= 0.86 <= middle["high"]),
        "probability of improvement, 3 x 5 pairs": bool(better["low"] <= 0.5 <= better["high"]),
    }


def _independent(rng: np.random.Generator) -> pd.DataFrame:
    """Runs on three data sets with one level, so that the true interquartile mean is known."""
    values = 0.86 + SD * rng.normal(size=15)
    table = pd.DataFrame({"test_accuracy": values, "dataset": np.repeat(list("abc"), 5), "seed": np.tile(range(5), 3)})
    return table.assign(model="m", probability="softmax", loss="mse", label="mse", status="finished")


def means(_: pd.DataFrame, rng: np.random.Generator) -> dict[str, bool]:
    """Whether intervals for a mean of n differences hold the truth, with normal and with skewed noise."""
    found = {}
    for n in (5, 20, 50, 80):
        for name, sample in (("normal", rng.normal(size=n)), ("skewed", rng.gamma(4, size=n) / 2 - 2)):
            low, high, method = stats.mean_interval(sample, rng, resamples=1000)
            found[f"mean of {n} {name} differences, {method}"] = low <= 0 <= high
    return found


# Each part with the share of the grids that it is given: the slow ones get a quarter.
PARTS: dict[str, tuple[Callable[[pd.DataFrame, np.random.Generator], dict[str, bool]], float]] = {
    "family-wise false alarms": (simultaneous, 1),
    "family-wise false alarms, independent runs": (unshared, 1),
    "coverage of means": (means, 1),
    "coverage": (resampled, 1),
    "family-wise false alarms, pooled": (holm, 0.25),
    "false alarms of ranks": (ranked, 0.25),
    "coverage of a model": (modelled, 0.25),
}


def calibrate(
    part: Callable[[pd.DataFrame, np.random.Generator], dict[str, bool]], grids: int, seed: int
) -> pd.DataFrame:
    """How often each thing happened: columns `method`, `grids`, `rate`, `standard_error`."""
    rng = np.random.default_rng(seed)
    rates = pd.DataFrame([part(draw_grid(rng), rng) for _ in range(grids)]).mean()
    errors = np.sqrt(rates * (1 - rates) / grids)
    columns = {"method": rates.index, "grids": grids, "rate": rates.round(4), "standard_error": errors.round(4)}
    return pd.DataFrame(columns).reset_index(drop=True)


def main() -> None:
    """Run everything and write the table beside this file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--grids", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    path = Path(__file__).with_suffix(".csv")
    tables = []
    for kind, (part, share) in PARTS.items():
        began = time.perf_counter()
        found = calibrate(part, max(1, round(share * options.grids)), options.seed)
        found.insert(0, "kind", kind)
        tables.append(found)
        pd.concat(tables).to_csv(path, index=False)
        print(f"{found.to_string(index=False, header=False)}\n{time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
