"""How often are the words of `stats.compare` wrong, and how often are they found? By simulation.

Run `python -m benchmarks.calibration [--grids 2000] [--seed 0]`; it writes `benchmarks/calibration.csv`. A grid is what
one setting gives: a reference and some losses under the same seeds. A seed moves all of them alike, each has noise of
its own, and since all are compared with one reference, their differences are correlated by a half.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from lossbench import stats
from lossbench.stats.tuning import judge_finals

MARGIN = 0.005  # half a point of accuracy
SD = 0.005  # of one paired difference, as on CIFAR-10 in outputs/reference
SEEDS, LOSSES = (3, 5, 10, 20), (4, 8, 16)
DISTRIBUTIONS = ("normal", "skewed", "skewed losses", "heavy tails", "1/50", "1/500", "1/10,000")
INSIDE = ("equivalent", "slightly better", "slightly worse")
FAR = ("better", "slightly better", "worse", "slightly worse")


def draw(
    rng: np.random.Generator, distribution: str, losses: int, seeds: int, shift: float = 0.0, sd: float = SD
) -> tuple[list[list[float]], float]:
    """Paired differences of each loss to the reference, whose true means are `shift`, and how finely they are counted.

    `1/m` counts right answers among m images at an accuracy of 0.9. The others have a standard deviation of `sd`; noise
    is skewed in all runs alike, which leaves differences symmetric, or in those of the losses only.
    """
    size = (losses + 1, seeds)
    if distribution.startswith("1/"):
        images = int(distribution[2:].replace(",", ""))
        level = np.full((losses + 1, 1), 0.9 + shift)
        level[0] = 0.9
        scores = rng.binomial(images, level, size) / images
        return (scores[1:] - scores[0]).tolist(), 1 / images
    noise = rng.standard_t(3, size=size) / math.sqrt(3) if distribution == "heavy tails" else rng.normal(size=size)
    if distribution.startswith("skewed"):
        skewed = (rng.gamma(2, size=size) - 2) / math.sqrt(2)
        noise = skewed if distribution == "skewed" else np.concatenate([noise[:1], skewed[1:]])
    return (shift + sd / math.sqrt(2) * (noise[1:] - noise[0])).tolist(), 0.0


def false_words(distribution: str, losses: int, seeds: int, grids: int, seed: int) -> Iterator[dict[str, object]]:
    """Where no loss differs: how often any is said to, and whether the interval of the first holds 0."""
    rng, false, covered = np.random.default_rng(seed), 0, 0
    for _ in range(grids):
        samples, resolution = draw(rng, distribution, losses, seeds)
        judged = stats.judge(samples, margin=MARGIN, resolution=resolution)
        false += any(judgement.verdict in FAR for judgement in judged)
        covered += judged[0].low <= 0 <= judged[0].high
    setup = {"rule": "fixed", "distribution": distribution, "losses": losses, "pairs": seeds}
    yield {"measure": "family-wise error", **setup, **_rate(false, grids)}
    yield {"measure": "coverage", **setup, **_rate(covered, grids)}


def false_words_by_look(distribution: str, losses: int, grids: int, seed: int) -> Iterator[dict[str, object]]:
    """How often any loss is said to differ where none does, if one looks until every word is final."""
    rng, false = np.random.default_rng(seed), 0
    for _ in range(grids):
        samples, resolution = draw(rng, distribution, losses, stats.LOOKS[-1])
        judged = stats.judge_by_look(samples, margin=MARGIN, resolution=resolution)
        false += any(judgement.verdict in FAR for _, judgement in judged)
    setup = {"rule": "until decided", "distribution": distribution, "losses": losses, "pairs": stats.LOOKS[-1]}
    yield {"measure": "family-wise error", **setup, **_rate(false, grids)}


def false_equivalence(distribution: str, grids: int, seed: int) -> Iterator[dict[str, object]]:
    """How often a loss that differs by exactly the margin is placed inside it, by number of pairs and by looks."""
    rng = np.random.default_rng(seed)
    inside = {**dict.fromkeys(SEEDS, 0), "until decided": 0}
    for _ in range(grids):
        samples, resolution = draw(rng, distribution, 1, stats.LOOKS[-1], MARGIN)
        for seeds in SEEDS:
            judged = stats.judge([samples[0][:seeds]], margin=MARGIN, resolution=resolution)
            inside[seeds] += judged[0].verdict in INSIDE
        ((_, judgement),) = stats.judge_by_look(samples, margin=MARGIN, resolution=resolution)
        inside["until decided"] += judgement.verdict in INSIDE
    for key, count in inside.items():
        rule, pairs = ("fixed", key) if key in SEEDS else (key, stats.LOOKS[-1])
        setup = {"rule": rule, "distribution": distribution, "losses": 1, "pairs": pairs}
        yield {"measure": "error of equivalent", **setup, **_rate(count, grids)}


def found_words(difference: float, sd: float, grids: int, seed: int) -> Iterator[dict[str, object]]:
    """Share of decided comparisons where each of four losses differs by `difference`: by pairs, and by looks."""
    rng = np.random.default_rng(seed)
    decided, looks = dict.fromkeys(stats.LOOKS, 0), []
    for _ in range(grids):
        samples, _ = draw(rng, "normal", 4, stats.LOOKS[-1], difference, sd)
        for pairs in stats.LOOKS:
            decided[pairs] += (
                stats.judge([sample[:pairs] for sample in samples], margin=MARGIN)[0].verdict != "undecided"
            )
        looks.append(stats.judge_by_look(samples, margin=MARGIN)[0][0])
    about = f"difference {100 * difference:g} points, sd of a pair {100 * sd:g}"
    setup = {"measure": "share decided", "distribution": about, "losses": 4}
    for pairs, count in decided.items():
        yield {**setup, "rule": "fixed", "pairs": pairs, **_rate(count, grids)}
    for pairs in stats.LOOKS:
        count = sum(look is not None and look <= pairs for look in looks)
        yield {**setup, "rule": "until decided", "pairs": pairs, **_rate(count, grids)}


STUDIES, FINALS = 3, 5
TUNINGS = (0.0, 0.002, 0.005)  # how far a study's tuning moves all its finals, one standard deviation


def false_words_when_tuned(tuning: float, losses: int, grids: int, seed: int) -> Iterator[dict[str, object]]:
    """Finals that share the luck of their study's tuning: false words where no loss differs, and the coverage."""
    rng, false, covered = np.random.default_rng(seed), 0, 0
    finals = pd.MultiIndex.from_product(
        [range(losses + 1), range(STUDIES), range(FINALS)], names=["loss", "study", "seed"]
    ).to_frame(index=False)
    finals = finals.assign(status="finished", test_images=2000)
    finals["loss"] = np.where(finals["loss"] == 0, "cross_entropy", finals["loss"].astype(str))
    for _ in range(grids):
        luck = np.repeat(rng.normal(0, tuning / math.sqrt(2), (losses + 1, STUDIES)), FINALS)
        noise = rng.normal(0, SD / math.sqrt(2), len(finals))
        judged = judge_finals(finals.assign(test_accuracy=0.9 + luck + noise), margin=MARGIN)
        false += bool(judged["verdict"].isin(FAR).any())
        covered += bool(judged["low"].iloc[0] <= 0 <= judged["high"].iloc[0])
    setup = {"rule": f"tuned, {STUDIES} studies of {FINALS}", "distribution": f"sd of tuning {100 * tuning:g} points"}
    counts = {"losses": losses, "pairs": STUDIES * FINALS}
    yield {"measure": "family-wise error", **setup, **counts, **_rate(false, grids)}
    yield {"measure": "coverage", **setup, **counts, **_rate(covered, grids)}


def _rate(count: int, grids: int) -> dict[str, float]:
    rate = count / grids
    return {"grids": grids, "rate": round(rate, 4), "standard_error": round(math.sqrt(rate * (1 - rate) / grids), 4)}


def calibrate(grids: int, seed: int) -> Iterator[dict[str, object]]:
    """All rows of the table."""
    for distribution in DISTRIBUTIONS:
        for losses in LOSSES:
            for seeds in SEEDS:
                yield from false_words(distribution, losses, seeds, grids, seed)
            yield from false_words_by_look(distribution, losses, grids, seed)
        yield from false_equivalence(distribution, 2 * grids, seed)
    for difference in (0.0, 0.0025, 0.005, 0.01):
        for sd in (0.003, 0.006):
            yield from found_words(difference, sd, grids, seed)
    for tuning in TUNINGS:
        for losses in LOSSES:
            yield from false_words_when_tuned(tuning, losses, grids, seed)


def main() -> None:
    """Run everything and write the table beside this file, growing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--grids", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    path, began, rows = Path(__file__).with_suffix(".csv"), time.perf_counter(), []
    columns = ["measure", "rule", "distribution", "losses", "pairs", "grids", "rate", "standard_error"]
    for row in calibrate(options.grids, options.seed):
        rows.append(row)
        pd.DataFrame(rows)[columns].to_csv(path, index=False)
        print(" ".join(map(str, row.values())), f"{time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
