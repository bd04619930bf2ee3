"""What a number of seeds can show: power, smallest effect in reach, seeds needed. Paired two-sided t-test."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lossbench.stats.grouping import REFERENCE, Setting, merge_idle, settings

if TYPE_CHECKING:
    import pandas as pd

PLAN_COLUMNS = (
    *("setting", "dataset", "model", "probability", "loss", "label", "n", "sd", "sd_high"),
    *("pairs_difference", "pairs_equivalence", "pairs", "pairs_high", "seconds", "hours", "cost"),
)


def power(effect: float, sd: float, n: int, alpha: float = 0.05, comparisons: int = 1) -> float:
    """Probability to find a true mean difference `effect` with `n` pairs.

    Args:
        effect: in units of the metric, such as 0.005 for half a point of accuracy.
        sd: standard deviation of one paired difference, such as that of `paired_differences`.
        alpha: chance of a false alarm over all `comparisons` (Bonferroni).
    """
    _check(sd, n, alpha, comparisons)
    return float(_solver().power(abs(effect) / sd, n, alpha / comparisons))


def minimum_detectable_effect(
    sd: float, n: int, alpha: float = 0.05, target_power: float = 0.8, comparisons: int = 1
) -> float:
    """Smallest true mean difference that `n` pairs find with probability `target_power`; nan for one pair."""
    _check(sd, n, alpha, comparisons)
    if n < 2:
        return math.nan
    return sd * _solve(nobs=n, alpha=alpha / comparisons, power=target_power)


def sample_size(effect: float, sd: float, alpha: float = 0.05, target_power: float = 0.8, comparisons: int = 1) -> int:
    """Pairs of seeds needed to find a true mean difference `effect` with probability `target_power`."""
    _check(sd, 2, alpha, comparisons)
    if effect == 0:
        raise ValueError("effect=0 needs infinitely many seeds; state the smallest difference that matters")
    return _fewest(
        abs(effect) / sd, alpha / comparisons / 2, target_power, lambda n: power(effect, sd, n, alpha, comparisons)
    )


def sample_size_equivalence(
    effect: float, sd: float, margin: float, alpha: float = 0.05, target_power: float = 0.8
) -> int:
    """Pairs of seeds needed for two one-sided t tests to place a true mean difference `effect` inside +-`margin`."""
    from scipy import stats

    _check(sd, 2, alpha, 1)
    if not abs(effect) < margin:
        raise ValueError(f"effect={effect!r} must lie inside the margin of {margin!r}")

    def reached(n: int) -> float:
        bound, root = stats.t.isf(alpha, n - 1), math.sqrt(n) / sd
        return float(sum(stats.nct.sf(bound, n - 1, (margin + sign * effect) * root) for sign in (1, -1)) - 1)

    return _fewest((margin - abs(effect)) / sd, alpha, target_power, reached)


def plan(
    pilot: pd.DataFrame,
    difference: float | None = None,
    metric: str = "test_accuracy",
    reference: str = REFERENCE,
    *,
    target_power: float = 0.8,
    price: float | None = None,
) -> pd.DataFrame:
    """What it takes, for each loss of a pilot, to tell a difference of `difference` from none with `target_power`.

    Args:
        pilot: what `load_runs` gives, the runs of one study with at least three pairs of each loss.
        difference: in the unit of the column; None takes the margin of `OUTCOMES`.
        price: of an hour of one core.

    Returns: a row a loss, columns `PLAN_COLUMNS`. `sd` is the spread of the `n` paired differences of the pilot, and
        `sd_high` its upper 80 % limit. `pairs_difference` find a true difference of `difference` (level 0.05 over the
        losses of the setting), `pairs_equivalence` place a true difference of 0 inside +-`difference`; `pairs` do both,
        and `pairs_high` if the spread is `sd_high`. `seconds` are those of a pair in the pilot, on one core; `hours` of
        one core and `cost` are for all `pairs`. nan with fewer than three pairs.

    Raises: ValueError for a difference that is not above 0, or an outcome without a margin.
    """
    import pandas as pd

    from lossbench.stats.paired import OUTCOMES

    outcome = OUTCOMES.get(metric)
    difference = outcome.margin if difference is None and outcome else difference
    if difference is None or not difference > 0:
        raise ValueError(f"difference={difference!r} must be greater than 0, in the unit of {metric}")
    rows = []
    for setting in settings(merge_idle(pilot)):
        rows += _plan_setting(setting, difference, metric, reference, target_power)
    table = pd.DataFrame(rows, columns=PLAN_COLUMNS)
    return table.assign(hours=table["pairs"] * table["seconds"] / 3600).assign(
        cost=lambda t: t["hours"] * (math.nan if price is None else price)
    )


def _plan_setting(
    setting: Setting, difference: float, metric: str, reference: str, target_power: float
) -> list[dict[str, Any]]:
    from scipy import stats

    from lossbench.stats.paired import LEAST_PAIRS, OUTCOMES, TWINS, judge, paired_differences
    from lossbench.stats.summary import probability_labels

    pairs = paired_differences(setting.runs, metric, reference)
    pairs = pairs[[not {loss, reference} <= set(TWINS) for loss in pairs["loss"]]]
    counted = metric in OUTCOMES and OUTCOMES[metric].counts_images and "test_images" in setting.runs
    resolution = 1 / float(setting.runs["test_images"].min()) if counted else 0.0
    runs = setting.runs.assign(probability=probability_labels(setting.runs))
    core_seconds = (runs["seconds"] * runs.get("threads", 1)).groupby([runs["probability"], runs["label"]]).mean()
    seconds: dict[Any, float] = core_seconds.to_dict()
    beside = next(iter(runs.loc[runs["loss"] == reference, "label"]), "")
    rows: list[dict[str, Any]] = []
    for key, sample in pairs.groupby(["probability", "loss", "label"], sort=False):
        (probability, loss, label), n = map(str, key), len(sample)
        row: dict[str, Any] = {
            "setting": setting.name,
            **{name: setting.fields.get(name) for name in ("dataset", "model")},
        }
        row |= {"probability": probability, "loss": loss, "label": label, "n": n}
        row["seconds"] = seconds[probability, label] + seconds[probability, beside]
        if n >= LEAST_PAIRS:
            comparisons = pairs.loc[pairs["probability"] == probability, "label"].nunique()
            (judgement,) = judge([sample["difference"]], margin=None, resolution=resolution)
            sd = judgement.se * math.sqrt(n)
            high = sd * math.sqrt((n - 1) / stats.chi2.ppf(0.2, n - 1))
            found, same = _pairs_for(difference, sd, target_power, comparisons)
            row |= {"sd": sd, "sd_high": high, "pairs_difference": found, "pairs_equivalence": same}
            row |= {
                "pairs": max(found, same),
                "pairs_high": max(_pairs_for(difference, high, target_power, comparisons)),
            }
        rows.append(row)
    return rows


def _pairs_for(difference: float, sd: float, target_power: float, comparisons: int) -> tuple[int, int]:
    from lossbench.stats.paired import LEAST_PAIRS

    if not sd > 0:
        return LEAST_PAIRS, LEAST_PAIRS
    found = sample_size(difference, sd, target_power=target_power, comparisons=comparisons)
    same = sample_size_equivalence(0.0, sd, difference, target_power=target_power)
    return max(LEAST_PAIRS, found), max(LEAST_PAIRS, same)


def _fewest(standardised: float, tail: float, target_power: float, reached: Callable[[int], float]) -> int:
    """The smallest n whose power reaches the target; power must grow with n."""
    from scipy import stats

    # The normal distribution needs a little less than Student's t: double from there, then halve the gap.
    low = max(1, math.ceil((float(stats.norm.isf(tail) + stats.norm.ppf(target_power)) / standardised) ** 2) - 1)
    step = 1
    while reached(low + step) < target_power:
        low, step = low + step, 2 * step
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if reached(middle) < target_power else (low, middle)
    return high


def _solver() -> Any:
    from statsmodels.stats.power import TTestPower

    return TTestPower()


def _solve(**known: float) -> float:
    import numpy as np

    return float(np.squeeze(_solver().solve_power(**known)))


def _check(sd: float, n: int, alpha: float, comparisons: int) -> None:
    if not sd > 0:
        raise ValueError(f"sd={sd!r} must be greater than 0")
    if n < 1 or comparisons < 1:
        raise ValueError(f"n={n!r} and comparisons={comparisons!r} must be at least 1")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha={alpha!r} must lie in (0, 1)")
