"""Resampling, tests, ranks, margins, planning and the mixed model against libraries, papers and simulation."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats as oracle
from statsmodels.stats.multitest import multipletests

from benchmarks.calibration import calibrate, draw_grid, means, unshared
from lossbench import plots, stats
from lossbench.stats.resampling import SMALLEST_BOOTSTRAP

SHIFTS = {"cross_entropy": 0.0, "kl_divergence": 0.0, "worse": -0.02, "same": 0.0, "better": 0.015}


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture
def runs():
    """Two data sets, two probability functions, six seeds; KL is cross-entropy's twin."""
    source, rows = rng(), []
    for dataset, level in (("easy", 0.95), ("hard", 0.7)):
        for probability in ("softmax", "taylor_softmax"):
            for seed in range(6):
                common, twin = 0.004 * source.normal(), 0.003 * source.normal()
                for loss, shift in SHIFTS.items():
                    own = twin if loss in ("cross_entropy", "kl_divergence") else 0.003 * source.normal()
                    rows.append((dataset, probability, seed, loss, level + shift + common + own))
    table = pd.DataFrame(rows, columns=["dataset", "probability", "seed", "loss", "test_accuracy"])
    return table.assign(model="m", label=table["loss"], status="finished")


def row(table, label):
    (found,) = table[table["label"] == label].to_dict("records")
    return found


def differences(runs, label):
    pairs = stats.paired_differences(runs)
    return pairs[pairs["label"] == label]["difference"].to_numpy()


def test_many_differences_get_the_bca_interval_of_scipy():
    values = rng().gamma(2, size=SMALLEST_BOOTSTRAP)
    expected = oracle.bootstrap((values,), np.mean, n_resamples=2000, method="BCa", rng=rng(1)).confidence_interval
    assert stats.mean_interval(values, rng(1)) == (pytest.approx(expected.low), pytest.approx(expected.high), "BCa")


def test_few_differences_get_a_t_interval_and_one_gets_none():
    assert stats.mean_interval([0.1, 0.2, 0.4], rng()) == (*stats.t_interval([0.1, 0.2, 0.4]), "t")
    assert stats.mean_interval([0.1], rng())[2] == "none"


def test_differences_pool_all_blocks(runs):
    found = row(stats.interval_of_differences(runs, rng()), "worse")
    values = differences(runs, "worse")
    assert (found["n"], found["mean"]) == (24, pytest.approx(values.mean()))
    assert found["low"] < -0.02 < found["high"]


def test_interquartile_mean_is_scipys_and_its_interval_repeats_with_the_generator(runs):
    first, again = (stats.interquartile_mean(runs, rng(5), resamples=300) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    values = runs[runs["label"] == "better"]["test_accuracy"]
    assert row(first, "better")["iqm"] == pytest.approx(oracle.trim_mean(values, 0.25))
    assert row(first, "better")["low"] < row(first, "better")["iqm"] < row(first, "better")["high"]


def test_strata_are_never_mixed_when_resampled(runs):
    """Between 0.70 and 0.95 a plain bootstrap would swing by points; strata hold it to the seeds' spread."""
    found = row(stats.interquartile_mean(runs, rng(), resamples=300), "same")
    assert found["high"] - found["low"] < 0.01


def test_probability_of_improvement_is_the_mann_whitney_statistic(runs):
    one = runs[(runs["dataset"] == "easy") & (runs["probability"] == "softmax")]
    a, b = (one[one["label"] == name]["test_accuracy"] for name in ("same", "cross_entropy"))
    found = stats.probability_of_improvement(one, rng(), resamples=200)
    assert row(found, "same")["probability"] == pytest.approx(oracle.mannwhitneyu(a, b).statistic / 36)
    everywhere = stats.probability_of_improvement(runs, rng(), resamples=200)
    assert row(everywhere, "kl_divergence")["probability"] == pytest.approx(0.5)
    assert row(everywhere, "better")["low"] > 0.9


def test_single_runs_have_a_value_but_no_interval(runs):
    one = runs[runs["seed"] == 0]
    assert math.isnan(stats.interquartile_mean(one, rng())["low"].iloc[0])
    assert math.isnan(stats.probability_of_improvement(one, rng())["low"].iloc[0])


def test_p_values_are_scipys_and_holm_is_statsmodels(runs):
    found = stats.significance(runs, rng(), resamples=999)
    assert found["label"].tolist() == ["worse", "same", "better"]  # the twin is no comparison
    values = differences(runs, "same")
    assert row(found, "same")["p_t"] == pytest.approx(oracle.ttest_1samp(values, 0).pvalue)
    assert row(found, "same")["p_wilcoxon"] == pytest.approx(oracle.wilcoxon(values).pvalue)
    np.testing.assert_allclose(found["p_t_holm"], multipletests(found["p_t"], method="holm")[1])
    assert (found["p_permutation_holm"] >= found["p_permutation"]).all()


def test_permutation_of_few_pairs_counts_every_sign_pattern(runs):
    few = runs[(runs["dataset"] == "easy") & (runs["probability"] == "softmax") & (runs["seed"] < 5)]
    found = row(stats.significance(few, rng()), "worse")
    assert found["p_permutation"] == found["p_wilcoxon"] == 2 / 2**5  # all five worse: as small as it gets


def test_effect_size_is_hedges_corrected():
    values = np.array([0.01, 0.02, 0.03, 0.02])
    assert stats.effect_size(values) == pytest.approx(values.mean() / values.std(ddof=1) * (1 - 3 / 11))
    assert math.isnan(stats.effect_size([0.01]))
    assert math.isnan(stats.effect_size([0.01, 0.01]))


def test_dunnett_p_is_scipys_without_blocks():
    groups = rng(3).normal(size=(5, 6))
    groups[1] += 2
    expected = oracle.dunnett(*groups[1:], control=groups[0], rng=rng())
    found = [stats.dunnett_p(abs(t), 4, 25) for t in expected.statistic]
    np.testing.assert_allclose(found, expected.pvalue, atol=1e-3)


def test_dunnett_with_one_comparison_is_the_paired_t_test(runs):
    pair = runs[runs["label"].isin(["cross_entropy", "same"])]
    found = row(stats.dunnett(pair), "same")
    values = differences(runs, "same")
    test = oracle.ttest_1samp(values, 0)
    assert found["p"] == pytest.approx(test.pvalue, abs=5e-5)
    assert (found["low"], found["high"]) == pytest.approx(tuple(test.confidence_interval(0.95)), abs=1e-6)


def test_dunnett_leaves_out_incomplete_blocks_and_the_twin(runs):
    found = stats.dunnett(runs.drop(runs[(runs["label"] == "same") & (runs["seed"] == 0)].index))
    assert set(found["label"]) == {"worse", "same", "better"}
    assert set(found["n"]) == {20}
    assert stats.dunnett(runs[runs["label"] != "cross_entropy"]).empty


def test_ranks_friedman_and_nemenyi_follow_demsar(runs):
    found = stats.rank_losses(runs[runs["label"] != "kl_divergence"])
    assert (found.blocks, found.incomplete) == (24, 0)
    assert found.ranks["better"] < found.ranks["same"] < found.ranks["worse"]
    assert found.ranks.sum() == pytest.approx(10)
    # Demsar 2006, section 3.2.2: four classifiers on fourteen data sets, critical difference 1.25.
    assert stats.critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)
    gaps = (found.ranks.to_numpy()[:, None] - found.ranks.to_numpy()[None, :]).__abs__()
    significant = found.pairwise.loc[found.ranks.index, found.ranks.index].to_numpy() < 0.05
    np.testing.assert_array_equal(significant, gaps > found.critical_difference)


def test_ranks_need_three_losses_and_two_complete_blocks(runs):
    with pytest.raises(ValueError, match="2 losses with 24 complete blocks"):
        stats.rank_losses(runs[runs["label"].isin(["same", "worse"])])
    holed = runs.drop(runs[(runs["label"] == "same") & (runs["seed"] == 0)].index)
    assert stats.rank_losses(holed).incomplete == 4


def test_equal_scores_everywhere_differ_in_nothing(runs):
    assert stats.rank_losses(runs.assign(test_accuracy=0.9)).p == 1.0


def test_critical_difference_diagram_names_every_loss(runs):
    from matplotlib.figure import Figure

    ax = plots.critical_difference(runs, Figure().subplots())
    drawn = " ".join(text.get_text() for text in ax.texts)
    assert all(loss in drawn for loss in SHIFTS)
    assert "24 blocks" in ax.get_title()


def test_tost_is_two_one_sided_t_tests():
    values = rng(2).normal(0.001, 0.004, size=12)
    low = oracle.ttest_1samp(values, -0.005, alternative="greater").pvalue
    high = oracle.ttest_1samp(values, 0.005, alternative="less").pvalue
    assert stats.tost(values, 0.005) == pytest.approx(max(low, high))
    assert stats.tost([0.001, 0.001], 0.005) == 0.0
    assert stats.tost([0.006, 0.006], 0.005) == 1.0
    assert math.isnan(stats.tost([0.001], 0.005))


def test_signed_rank_posterior_agrees_with_baycomp():
    values = [0.012, -0.003, 0.005, 0.001, 0.009, -0.006, 0.004, 0.002, 0.015, -0.001]
    expected = (0.000237, 0.613473, 0.386290)  # baycomp 1.0.3, SignedRankTest, rope 0.0043, a million samples
    assert stats.signed_rank_posterior(values, 0.0043, rng(), samples=100_000) == pytest.approx(expected, abs=0.006)


def test_equivalence_finds_the_loss_that_does_not_matter(runs):
    found = stats.equivalence(runs, 0.005, rng())
    assert row(found, "same")["p_tost"] < 0.01
    assert row(found, "same")["p_rope"] > 0.95
    assert row(found, "worse")["p_tost"] > 0.99
    assert row(found, "better")["p_above"] > 0.95
    assert (found[["p_below", "p_rope", "p_above"]].sum(axis=1) - 1).abs().max() < 1e-9


def test_mixed_model_of_a_balanced_grid_estimates_the_mean_differences(runs):
    found = stats.mixed_model(runs)
    for label in ("worse", "same", "better"):
        assert row(found, label)["effect"] == pytest.approx(differences(runs, label).mean(), abs=1e-6)
        assert row(found, label)["low"] < SHIFTS[label] < row(found, label)["high"]
    assert found["converged"].all()
    with pytest.raises(ValueError, match="'cross_entropy' and of another loss; found same"):
        stats.mixed_model(runs[runs["label"] == "same"])


def test_planning_functions_invert_each_other():
    effect = stats.minimum_detectable_effect(0.006, n=8)
    assert stats.power(effect, 0.006, 8) == pytest.approx(0.8, abs=1e-6)
    needed = stats.sample_size(0.005, 0.006)
    assert stats.power(0.005, 0.006, needed) >= 0.8 > stats.power(0.005, 0.006, needed - 1)
    assert stats.sample_size(0.005, 0.006, comparisons=12) > needed
    assert stats.sample_size(0.5, 0.001) == 2
    assert math.isnan(stats.minimum_detectable_effect(0.006, n=1))


def test_power_is_what_simulation_finds():
    draws = rng().normal(0.005, 0.006, size=(4000, 8))
    found = (oracle.ttest_1samp(draws, 0, axis=1).pvalue < 0.05).mean()
    assert stats.power(0.005, 0.006, 8) == pytest.approx(found, abs=0.025)


BAD_CALLS = [
    (lambda: stats.tost([0.1, 0.2], 0), "margin=0 must"),
    (lambda: stats.tost([0.1, math.nan], 1), "finite"),
    (lambda: stats.power(0.1, 0, 5), "sd=0 must"),
    (lambda: stats.sample_size(0, 0.1), "effect=0 needs"),
    (lambda: stats.minimum_detectable_effect(0.1, 5, alpha=5), "alpha=5"),
    (lambda: stats.critical_difference(1, 5), "1 losses over 5 blocks"),
]


@pytest.mark.parametrize(("call", "words"), BAD_CALLS)
def test_a_bad_argument_is_refused_with_its_value(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_small_calibration_stays_near_its_promises():
    """The full one is `python -m benchmarks.calibration`; here within three standard errors."""
    coverage = calibrate(means, 60, seed=1)["rate"]
    assert (coverage > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 60)).all()
    alarms = calibrate(unshared, 25, seed=2)["rate"]
    assert (alarms <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 25)).all()


def test_committed_calibration_keeps_the_goals():
    """Family-wise false alarms 0.05 +- 0.01; 95 % intervals cover 93 to 97 %."""
    table = pd.read_csv(Path(__file__).parents[1] / "benchmarks" / "calibration.csv")
    exact = table[table["method"] == "Dunnett with blocks"]
    assert (exact["grids"] == 2000).all()
    assert len(exact) == 2
    assert exact["rate"].between(0.04, 0.06).all()
    alarms = table[table["kind"].str.contains("alarms")]
    assert (alarms["rate"] <= 0.05 + 3 * alarms["standard_error"]).all()
    coverage = table[table["kind"].str.startswith("coverage")].set_index("method")
    assert len(coverage) == 12
    # Student's t under skewed noise and the mixed model's normal intervals fall a little short, within sampling error.
    short = coverage.index.str.contains("skewed|mixed model")
    assert coverage[~short]["rate"].between(0.93, 0.97).all()
    assert (coverage[short]["rate"] + 3 * coverage[short]["standard_error"]).between(0.94, 1.0).all()


def test_a_null_grid_holds_no_effect():
    grids = pd.concat([draw_grid(rng(i)) for i in range(20)])
    means_by_loss = grids.groupby("loss")["test_accuracy"].mean()
    assert np.ptp(means_by_loss) < 0.003
