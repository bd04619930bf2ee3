"""Intervals against scipy, the noise floor against its own promise on simulated noise."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats as oracle

from lossbench import stats


def table(values, **columns):
    """A table of runs from {(probability, loss): [accuracy by seed]}."""
    rows = [
        {"probability": probability, "loss": loss, "label": loss, "seed": seed, "test_accuracy": value}
        for (probability, loss), found in values.items()
        for seed, value in enumerate(found)
    ]
    shared = {"dataset": "shapes", "model": "small_cnn", "status": "finished", **columns}
    return pd.DataFrame(rows).assign(**shared)


@pytest.mark.parametrize("coverage", [0.8, 0.95])
def test_t_interval_is_the_one_of_scipy(coverage):
    values = [0.85, 0.861, 0.87, 0.849]
    expected = oracle.ttest_1samp(values, 0).confidence_interval(coverage)
    assert stats.t_interval(values, coverage) == pytest.approx(tuple(expected))


def test_one_value_has_no_interval():
    assert all(math.isnan(end) for end in stats.t_interval([0.9]))
    with pytest.raises(ValueError, match="coverage=95"):
        stats.t_interval([0.9, 0.8], 95)


def test_summary_counts_a_diverged_run_and_leaves_it_out_of_the_mean():
    runs = table({("softmax", "focal"): [0.8, 0.9, 0.1]})
    runs.loc[2, "status"] = "diverged"
    row = stats.summarise(runs).iloc[0]
    assert (row["runs"], row["n"], row["diverged"]) == (3, 2, 1)
    assert row["mean"] == pytest.approx(0.85)


def test_a_score_that_is_missing_enters_no_mean():
    row = stats.summarise(table({("softmax", "focal"): [0.8, None]})).iloc[0]
    assert (row["runs"], row["n"], row["diverged"]) == (2, 1, 0)
    assert math.isnan(row["low"])


def test_settings_never_mix_budgets_or_datasets():
    a = table({("softmax", "focal"): [0.8, 0.9, 0.7]}, epochs=5, train_size=None)
    b = table({("softmax", "focal"): [0.8]}, epochs=9, train_size=None)
    c = table({("softmax", "focal"): [0.8, 0.2]}, epochs=5, train_size=100.0)
    found = stats.settings(pd.concat([b, a, c], ignore_index=True))
    assert [len(setting.runs) for setting in found] == [3, 2, 1]
    assert found[2].name == "shapes, small_cnn, epochs 9"
    assert found[0].fields["epochs"] == 5


def test_same_seed_twins_differ_by_exactly_nothing():
    twins = [0.85, 0.87, 0.86]
    runs = table({("softmax", "cross_entropy"): twins, ("softmax", "kl_divergence"): twins})
    assert stats.same_seed_differences(runs) == [0.0, 0.0, 0.0]
    row = stats.compare(runs).iloc[0]
    assert (row["verdict"], row["mean"], row["n"]) == ("same function", 0.0, 3)


def test_floor_of_identical_twins_is_root_two_times_the_seed_deviation():
    twins = [0.85, 0.87, 0.86, 0.90]
    runs = table({("softmax", "cross_entropy"): twins, ("softmax", "kl_divergence"): twins})
    floor = stats.noise_floor(runs)
    assert floor.sd == pytest.approx(math.sqrt(2) * np.std(twins, ddof=1))
    assert (floor.df, floor.pairs, floor.against) == (3, 12, "kl_divergence")
    alone = stats.noise_floor(runs[runs["loss"] == "cross_entropy"])
    assert alone.sd == pytest.approx(floor.sd)
    assert alone.against == "cross_entropy"


def test_one_seed_gives_no_floor_and_no_verdict():
    runs = table({("softmax", "cross_entropy"): [0.8], ("softmax", "focal"): [0.9]})
    assert math.isnan(stats.noise_floor(runs).sd)
    assert stats.compare(runs)["verdict"].tolist() == ["unknown"]


@pytest.mark.parametrize("seeds", [3, 5])
def test_floor_holds_its_promise_on_runs_that_differ_by_noise_alone(seeds):
    """Under no difference 5 % of means leave the band, and in 5 % of grids at most one leaves the family band."""
    rng = np.random.default_rng(seeds)
    names = [(p, loss) for p in ("softmax", "taylor_softmax", "other") for loss in ("cross_entropy", "a", "b", "c")]
    single, family, grids = 0, 0, 400
    for _ in range(grids):
        draws = {name: 0.86 + 0.005 * rng.normal(size=seeds) for name in names}
        floor = stats.noise_floor(table({name: x for name, x in draws.items() if name[1] == "cross_entropy"}))
        means = [abs((draws[n] - draws[n[0], "cross_entropy"]).mean()) for n in names if n[1] != "cross_entropy"]
        single += sum(mean > floor.half_width(seeds) for mean in means)
        family += max(means) > floor.half_width(seeds, comparisons=len(means))
    # The nine comparisons of a grid share their references, so the grids, not the means, are independent.
    assert single / (9 * grids) == pytest.approx(0.05, abs=0.02)
    assert family / grids < 0.05 + 3 * math.sqrt(0.05 * 0.95 / grids)


def test_detectable_difference_is_found_in_four_of_five_studies():
    """Runs of nine degrees of freedom under a true difference; the spread is estimated anew in each study."""
    rng = np.random.default_rng(1)
    sd = 0.01 * np.sqrt(rng.chisquare(9, size=4000) / 9)
    truth = stats.NoiseFloor(sd=0.01, df=9, pairs=30, seeds=4, against="kl_divergence").detectable(4)
    means = rng.normal(truth, 0.01 / 2, size=4000)
    bands = [stats.NoiseFloor(s, 9, 30, 4, "kl_divergence").half_width(4) for s in sd]
    assert (means > bands).mean() == pytest.approx(0.8, abs=0.03)


def test_band_narrows_with_pairs_and_widens_with_comparisons():
    floor = stats.NoiseFloor(sd=0.01, df=6, pairs=18, seeds=3, against="kl_divergence")
    assert floor.half_width(4) == pytest.approx(floor.half_width(1) / 2)
    assert floor.half_width(3, comparisons=9) > floor.half_width(3)
    assert floor.half_width(1) == pytest.approx(oracle.t.ppf(0.975, 6) * 0.01)
    assert math.isnan(floor.half_width(0))


def test_verdicts_follow_the_two_bands():
    base = np.array([0.85, 0.86, 0.87])
    floor = stats.NoiseFloor(sd=0.01, df=60, pairs=18, seeds=3, against="kl_divergence")
    single, family = floor.half_width(3), floor.half_width(3, comparisons=4)
    shifts = {"up": 1.01 * family, "down": -1.01 * family, "hint": (single + family) / 2, "same": 0.99 * single}
    values = {("softmax", name): base + shift for name, shift in shifts.items()}
    found = stats.compare(table({("softmax", "cross_entropy"): base, **values}), floor=floor)
    assert found["verdict"].tolist() == ["above", "below", "unclear", "within"]
    np.testing.assert_allclose(found["mean"], list(shifts.values()))


def test_pairs_use_only_seeds_that_both_sides_have():
    runs = table({("softmax", "cross_entropy"): [0.5, 0.6, 0.7], ("softmax", "focal"): [0.6, 0.9]})
    pairs = stats.paired_differences(runs)
    assert pairs["seed"].tolist() == [0, 1]
    np.testing.assert_allclose(pairs["difference"], [0.1, 0.3])


def test_a_diverged_partner_takes_the_verdict_away():
    runs = table({("softmax", "cross_entropy"): [0.5, 0.6, 0.7], ("softmax", "focal"): [0.6, 0.9, 0.9]})
    runs.loc[0, "status"] = "diverged"  # cross-entropy, seed 0
    row = stats.compare(runs).iloc[0]
    assert (row["verdict"], row["n"], row["diverged"]) == ("diverged", 2, 1)


def test_mixed_settings_are_refused_before_they_are_averaged():
    runs = table({("softmax", "cross_entropy"): [0.5], ("softmax", "focal"): [0.6]})
    with pytest.raises(ValueError, match=r"'cross_entropy' with softmax and seed 0 .*settings\(\)"):
        stats.paired_differences(pd.concat([runs, runs]))
