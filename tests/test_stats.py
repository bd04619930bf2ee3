"""What a table of runs says: against scipy, statsmodels, closed forms, papers and simulation."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as oracle
from sklearn import metrics as sklearn_oracle
from sklearn.metrics import f1_score, top_k_accuracy_score
from sklearn.neighbors import KNeighborsClassifier
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

from benchmarks import calibration
from lossbench import LOSSES, RunConfig, metrics, plots, stats
from lossbench.stats.metrics import SCORES, score, score_mistakes
from lossbench.stats.paired import holm, sign_flip_p


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


def against(differences, base=0.8, **columns):
    """A table in which the loss `a` differs from cross-entropy by these differences, seed by seed."""
    values = np.asarray(differences, dtype=float)
    return table({("softmax", "cross_entropy"): np.full(len(values), base), ("softmax", "a"): base + values}, **columns)


def only(frame):
    """The one row of a table."""
    (row,) = frame.to_dict("records")
    return row


def test_same_seed_twins_differ_by_exactly_nothing():
    twins = [0.85, 0.87, 0.86]
    runs = table({("softmax", "cross_entropy"): twins, ("softmax", "kl_divergence"): twins})
    assert stats.same_seed_differences(runs) == [0.0, 0.0, 0.0]
    row = only(stats.compare(runs))
    assert (row["verdict"], row["mean"], row["n"], row["ties"]) == ("same function", 0.0, 3, 3)


def test_interval_and_p_values_are_those_of_scipy_and_statsmodels():
    values = np.random.default_rng(2).normal(0.002, 0.004, size=12)
    row = only(stats.compare(against(values)))
    test = oracle.ttest_1samp(values, 0)
    assert (row["low"], row["high"]) == pytest.approx(tuple(test.confidence_interval()))
    assert row["p"] == pytest.approx(test.pvalue)
    assert row["p_equivalence"] == pytest.approx(DescrStatsW(values).ttost_mean(-0.005, 0.005)[0])
    exact = oracle.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=5000, vectorized=True)
    assert row["p_sign_flip"] == pytest.approx(exact.pvalue)
    assert (row["n"], row["ahead"]) == (12, int((values > 0).sum()))


def test_random_flips_of_many_pairs_come_near_all_of_them():
    values = np.random.default_rng(3).normal(0.5, 1, size=14)
    flips = 1 - 2 * ((np.arange(2**14)[:, None] >> np.arange(14)) & 1)
    exact = (np.abs(flips @ values) >= abs(values.sum()) - 1e-9).mean()
    assert sign_flip_p(values) == pytest.approx(exact, abs=4 * math.sqrt(exact / 9999))


def test_holm_is_that_of_statsmodels_and_leaves_out_what_has_no_p_value():
    p = np.array([0.04, 0.001, math.nan, 0.03, 0.2])
    expected = multipletests(p[np.isfinite(p)], method="holm")[1]
    np.testing.assert_allclose(holm(p)[np.isfinite(p)], expected)
    assert math.isnan(holm(p)[2])


SPREAD = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
WORDS = [
    (0.02, 0.002, "better"),
    (-0.02, 0.002, "worse"),
    (0.002, 0.0002, "slightly better"),
    (-0.002, 0.0002, "slightly worse"),
    (0.0, 0.002, "equivalent"),
    (0.004, 0.02, "undecided"),
]


@pytest.mark.parametrize(("mean", "sd", "verdict"), WORDS)
def test_the_word_follows_from_test_interval_and_margin(mean, sd, verdict):
    runs = against(mean + sd * SPREAD)
    assert only(stats.compare(runs))["verdict"] == verdict
    flipped = {"better": "worse", "worse": "better"}
    lower_is_better = stats.compare(runs.assign(test_ece=runs["test_accuracy"]), "test_ece")
    expected = " ".join(flipped.get(word, word) for word in verdict.split())
    assert only(lower_is_better)["verdict"] == expected


@pytest.mark.parametrize("name", ["critical_error", "tree_distance", "mistake_distance", "ece", "nll", "brier"])
def test_more_mistakes_and_farther_ones_are_worse(name):
    runs = against(0.02 + 0.002 * SPREAD).rename(columns={"test_accuracy": f"test_{name}"})
    assert only(stats.compare(runs, f"test_{name}"))["verdict"] == "worse"


def test_every_score_of_a_record_says_which_way_it_is_better():
    assert {f"test_{name}" for name in SCORES} - set(stats.OUTCOMES) == {"test_false_positives"}  # a count a class


def test_every_word_is_one_of_the_list_and_the_list_has_no_other():
    assert sorted(verdict for *_, verdict in WORDS) == sorted(stats.VERDICTS)


def test_all_losses_of_a_setting_and_probability_function_are_one_family():
    values = {
        ("softmax", name): 0.8 + shift * (1 + 0.3 * SPREAD) for name, shift in zip("abcd", (1, 2, 3, 4), strict=True)
    }
    base = {(p, "cross_entropy"): np.full(5, 0.8) + 0.01 * SPREAD for p in ("softmax", "taylor_softmax")}
    rows = stats.compare(table({**base, **values, ("taylor_softmax", "a"): values["softmax", "a"]}))
    softmax, taylor = rows[rows["probability"] == "softmax"], rows[rows["probability"] != "softmax"]
    np.testing.assert_allclose(softmax["p_holm"], multipletests(softmax["p"], method="holm")[1])
    assert only(taylor)["p_holm"] == only(taylor)["p"]


def test_studies_and_settings_are_judged_apart_whatever_stands_beside_them():
    first, second = against(0.02 + 0.002 * SPREAD, epochs=5), against(-0.02 + 0.002 * SPREAD, epochs=9)
    other = against(0.002 * SPREAD, epochs=5)
    together = pd.concat([t.assign(study=n) for t, n in ((first, "x"), (second, "x"), (other, "y"))], ignore_index=True)
    rows = stats.compare(together)
    assert list(zip(rows["study"], rows["epochs"], rows["verdict"], strict=True)) == [
        ("x", 5, "better"),
        ("x", 9, "worse"),
        ("y", 5, "equivalent"),
    ]
    alone = only(stats.compare(second))
    assert {name: alone[name] for name in ("mean", "low", "p_holm")} == pytest.approx(
        rows.iloc[1][["mean", "low", "p_holm"]].to_dict()
    )


def test_a_learning_rate_of_its_own_is_paired_only_where_the_study_says_so_and_is_named():
    runs = against(0.02 + 0.002 * SPREAD)
    runs["lr"] = np.where(runs["loss"] == "a", 0.5, 0.05)
    apart = only(stats.compare(runs))
    assert (apart["n"], apart["verdict"]) == (0, "undecided")
    assert "no run of cross_entropy" in apart["limits"]
    tuned = only(stats.compare(runs, tuned=("lr",)))
    assert (tuned["n"], tuned["verdict"]) == (5, "better")
    assert "lr 0.5 against 0.05" in tuned["limits"]
    with pytest.raises(ValueError, match=r"tuned=\['learning_rate'\] are no fields"):
        stats.compare(runs, tuned=("learning_rate",))


@pytest.mark.parametrize("images", [50, 10_000])
@pytest.mark.parametrize("pairs", [3, 5, 20])
def test_equal_accuracies_never_give_a_p_of_zero_or_an_interval_of_no_width(images, pairs):
    """Its standard error is that of one image more in one of the runs."""
    row = only(stats.compare(against(np.full(pairs, 2 / images), test_images=images)))
    one_off = np.array([1.0] + [0.0] * (pairs - 1)) / images
    se = one_off.std(ddof=1) / math.sqrt(pairs)
    assert (row["high"] - row["low"]) / 2 == pytest.approx(se * oracle.t.ppf(0.975, pairs - 1))
    assert row["p"] == pytest.approx(2 * oracle.t.sf(2 / images / se, pairs - 1))


def test_ties_are_compared_in_counts_of_images():
    base = np.array([0.1 + 0.2, 0.7, 0.6])  # 0.30000000000000004
    runs = table({("softmax", "cross_entropy"): base, ("softmax", "a"): [0.3, 0.7, 0.7]}, test_images=10)
    row = only(stats.compare(runs))
    assert (row["ties"], row["ahead"]) == (2, 1)


def test_equal_differences_of_a_score_that_is_not_counted_decide_nothing():
    row = only(stats.compare(against(np.full(5, 0.1))))
    assert row["verdict"] == "undecided"
    assert "all differences are equal" in row["limits"]
    assert math.isnan(row["p"])


def test_pairs_use_only_seeds_that_both_sides_have_and_say_which_are_left():
    runs = table({("softmax", "cross_entropy"): [0.5, 0.6, 0.7], ("softmax", "focal"): [0.6, 0.9]})
    pairs = stats.paired_differences(runs)
    assert pairs["seed"].tolist() == [0, 1]
    np.testing.assert_allclose(pairs["difference"], [0.1, 0.3])
    row = only(stats.compare(runs))
    assert row["limits"] == "seeds without a partner: 2; 2 pairs, a word takes 3"


BROKEN = [
    ({"status": "diverged"}, r"1 of 5 runs of a diverged"),
    ({"test_accuracy": math.nan}, r"1 of 5 runs of a have no finite test_accuracy"),
]


@pytest.mark.parametrize(("fields", "limit"), BROKEN)
def test_a_run_without_a_score_is_counted_and_named_and_leaves_no_false_word(fields, limit):
    runs = against(-0.2 + 0.002 * SPREAD)
    for name, value in fields.items():
        runs.loc[(runs["loss"] == "a") & (runs["seed"] == 0), name] = value
    row = only(stats.compare(runs))
    assert limit in row["limits"]
    assert row["n"] == 4
    assert row["diverged"] == (1 if "status" in fields else 0)
    assert row["verdict"] == ("undecided" if "status" in fields else "worse")


def test_one_seed_one_loss_and_no_reference_give_no_word():
    assert only(stats.compare(against([0.1])))["verdict"] == "undecided"
    runs = against([0.1, 0.2, 0.3])
    assert stats.compare(runs[runs["loss"] == "cross_entropy"]).empty
    alone = only(stats.compare(runs[runs["loss"] == "a"]))
    assert (alone["n"], alone["verdict"]) == (0, "undecided")
    assert stats.compare(runs.head(0)).empty


def test_a_run_at_chance_is_counted_and_named():
    runs = against([-0.7, -0.705, -0.69], dataset="fashion-mini", test_images=2000)
    row = only(stats.compare(runs))
    assert row["at_chance"] == 3
    assert "3 of 3 runs of a stayed at chance" in row["limits"]


def test_two_runs_for_one_place_and_unknown_scores_are_refused():
    runs = against([0.1, 0.2])
    with pytest.raises(ValueError, match=r"'cross_entropy ?' with softmax and seed 0 is there more than once"):
        stats.compare(pd.concat([runs, runs.assign(label=runs["label"] + " ")]))
    with pytest.raises(ValueError, match="no column 'accuracy' of scores; there are probability, loss"):
        stats.compare(runs, "accuracy")
    with pytest.raises(ValueError, match="margin=0 must be greater than 0"):
        stats.compare(runs, margin=0)


def test_pairs_that_were_needed_decide():
    """Under the difference that was seen, as many pairs as named decide four of five times."""
    rng = np.random.default_rng(5)
    for mean, sd in ((0.004, 0.004), (0.001, 0.006)):
        needed = int(stats.pairs_needed(mean, sd, margin=0.005))
        draws = rng.normal(mean, sd, size=(600, needed))
        words = [stats.judge([draw], margin=0.005)[0].verdict for draw in draws]
        assert 1 - words.count("undecided") / 600 > 0.76


def test_spread_of_single_runs_is_root_two_times_that_of_the_seeds():
    scores = [0.85, 0.87, 0.86, 0.90]
    runs = table({("softmax", "cross_entropy"): scores})
    assert stats.single_run_spread(runs) == pytest.approx(math.sqrt(2) * np.std(scores, ddof=1))
    assert math.isnan(stats.single_run_spread(runs.head(1)))


def sequence(*means, sd=0.002, pairs=40, seed=0):
    """A table of losses with these true differences."""
    rng = np.random.default_rng(seed)
    base = 0.8 + 0.01 * rng.normal(size=pairs)
    values = {("softmax", f"loss{i}"): base + m + sd * rng.normal(size=pairs) for i, m in enumerate(means)}
    return table({("softmax", "cross_entropy"): base, **values})


def test_looks_stop_each_loss_when_its_word_is_final():
    runs = sequence(-0.03, 0.0, 0.0048, sd=0.004)
    rows = stats.sequential(runs).set_index("loss")
    assert (rows.loc["loss0", "verdict"], rows.loc["loss0", "look"], rows.loc["loss0", "n"]) == ("worse", 5, 5)
    assert rows.loc["loss1", "verdict"] == "equivalent"
    later = rows.loc["loss2", "look"]
    assert pd.isna(later) or later > 5
    # What comes after the deciding look changes nothing.
    ruined = runs.copy()
    ruined.loc[(ruined["loss"] == "loss0") & (ruined["seed"] >= 5), "test_accuracy"] += 0.5
    again = stats.sequential(ruined).set_index("loss").loc["loss0"]
    assert (again["mean"], again["verdict"]) == (rows.loc["loss0", "mean"], "worse")


@pytest.mark.parametrize("pairs", [4, 5, 7, 9, 10])
def test_pairs_between_two_looks_are_not_looked_at(pairs):
    runs = sequence(0.001, sd=0.02)
    row = only(stats.sequential(runs[runs["seed"] < pairs]))
    assert row["n"] == {4: 4, 5: 5, 7: 5, 9: 5, 10: 10}[pairs]
    assert pd.isna(row["look"])
    assert ("first look is at 5 pairs" in row["limits"]) == (pairs < 5)


@pytest.mark.parametrize("looks", [(), (10, 5), (2, 5), (5, 5)])
def test_looks_must_ascend_from_three_pairs_on(looks):
    with pytest.raises(ValueError, match="must be ascending numbers of pairs, 3 or more"):
        stats.sequential(sequence(0.0), looks=looks)


def test_planning_functions_invert_each_other():
    effect = stats.minimum_detectable_effect(0.006, n=8)
    assert stats.power(effect, 0.006, 8) == pytest.approx(0.8, abs=1e-6)
    needed = stats.sample_size(0.005, 0.006)
    assert stats.power(0.005, 0.006, needed) >= 0.8 > stats.power(0.005, 0.006, needed - 1)
    assert stats.sample_size(0.005, 0.006, comparisons=12) > needed
    assert stats.sample_size(0.5, 0.001) == 2
    assert math.isnan(stats.minimum_detectable_effect(0.006, n=1))


def test_power_grows_with_the_pairs_up_to_one_whatever_the_effect():
    for effect in (0.1, 0.5, 1.0, 5.0, 50.0):
        powers = [stats.power(effect, 0.6, n) for n in range(2, 200)]
        assert (np.diff(powers) >= -1e-9).all()
        assert 0 < min(powers) <= max(powers) <= 1
    pairs = np.random.default_rng(0).normal(5.0, 0.6, (100_000, 2))  # where scipy's noncentral t is nan
    found = (oracle.ttest_1samp(pairs, 0, axis=1).pvalue < 0.05).mean()
    assert stats.power(5.0, 0.6, 2) == pytest.approx(found, abs=0.005)


def test_power_is_what_simulation_finds():
    draws = np.random.default_rng(0).normal(0.005, 0.006, size=(4000, 8))
    found = (oracle.ttest_1samp(draws, 0, axis=1).pvalue < 0.05).mean()
    assert stats.power(0.005, 0.006, 8) == pytest.approx(found, abs=0.025)


def test_pairs_for_equivalence_show_it_four_times_of_five():
    needed = stats.sample_size_equivalence(0.001, 0.006, 0.005)
    draws = np.random.default_rng(1).normal(0.001, 0.006, size=(4000, needed))
    inside = [
        oracle.ttest_1samp(draws, side * 0.005, axis=1, alternative=way).pvalue < 0.05
        for side, way in ((-1, "greater"), (1, "less"))
    ]
    assert (inside[0] & inside[1]).mean() == pytest.approx(0.8, abs=0.03)


SHIFTS = {"cross_entropy": 0.0, "worse": -0.02, "same": 0.0, "better": 0.015}


@pytest.fixture
def ranked_runs():
    """Four data sets and six seeds."""
    rng = np.random.default_rng(0)
    tables = []
    for dataset in "abcd":
        values = {("softmax", loss): 0.8 + shift + 0.003 * rng.normal(size=6) for loss, shift in SHIFTS.items()}
        tables.append(table(values, dataset=dataset))
    return pd.concat(tables, ignore_index=True)


def test_ranks_friedman_and_nemenyi_follow_demsar(ranked_runs):
    ranking = stats.rank_losses(ranked_runs)
    assert (ranking.blocks, ranking.incomplete) == (24, 0)
    assert ranking.ranks["better"] < ranking.ranks["same"] < ranking.ranks["worse"]
    assert ranking.ranks.sum() == pytest.approx(10)
    # Demsar 2006, section 3.2.2: four classifiers on fourteen data sets, critical difference 1.25.
    assert stats.critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)
    gaps = np.abs(ranking.ranks.to_numpy()[:, None] - ranking.ranks.to_numpy()[None, :])
    significant = ranking.pairwise.loc[ranking.ranks.index, ranking.ranks.index].to_numpy() < 0.05
    np.testing.assert_array_equal(significant, gaps > ranking.critical_difference)


def test_ranks_need_three_losses_and_two_complete_blocks(ranked_runs):
    with pytest.raises(ValueError, match="2 losses with 24 complete blocks"):
        stats.rank_losses(ranked_runs[ranked_runs["label"].isin(["same", "worse"])])
    holed = ranked_runs.drop(ranked_runs[(ranked_runs["label"] == "same") & (ranked_runs["seed"] == 0)].index)
    assert stats.rank_losses(holed).incomplete == 4
    assert stats.rank_losses(ranked_runs.assign(test_accuracy=0.9)).p == 1.0


def test_critical_difference_diagram_names_every_loss(ranked_runs):
    from matplotlib.figure import Figure

    ax = plots.critical_difference(ranked_runs, Figure().subplots())
    drawn = " ".join(text.get_text() for text in ax.texts)
    assert all(LOSSES[loss].title in drawn if loss in LOSSES else loss in drawn for loss in SHIFTS)
    assert "24 blocks" in ax.get_title()


@pytest.mark.parametrize("distribution", calibration.DISTRIBUTIONS)
def test_words_are_wrong_no_more_often_than_they_promise(distribution):
    """A small version of `python -m benchmarks.calibration`, to three standard errors."""
    fixed = calibration.false_words(distribution, 4, 5, grids=200, seed=2)
    by_look = calibration.false_words_by_look(distribution, 2, grids=200, seed=2)
    for row in (*fixed, *by_look, *calibration.false_equivalence(distribution, grids=150, seed=2)):
        slack = 3 * math.sqrt(0.05 * 0.95 / row["grids"])
        if row["measure"] == "coverage":
            assert row["rate"] > 0.95 - slack
        else:
            assert row["rate"] < 0.05 + slack


@pytest.mark.parametrize("tuning", calibration.TUNINGS)
def test_finals_that_share_a_tuning_are_judged_no_more_boldly_than_they_may_be(tuning):
    """Pairs taken for independent would err in a third of the grids at the largest of these."""
    for row in calibration.false_words_when_tuned(tuning, 4, grids=150, seed=3):
        slack = 3 * math.sqrt(0.05 * 0.95 / row["grids"])
        assert row["rate"] > 0.95 - slack if row["measure"] == "coverage" else row["rate"] < 0.05 + slack


def test_committed_calibration_keeps_the_goals():
    """Errors of 0.05 at most and coverage of 93 to 97 %, as far as so many grids can tell."""
    rates = pd.read_csv(Path(calibration.__file__).with_suffix(".csv"))
    error = np.sqrt(0.05 * 0.95 / rates["grids"])
    assert rates["grids"].min() >= 2000
    assert set(rates["distribution"]) > set(calibration.DISTRIBUTIONS)
    family = rates["measure"] == "family-wise error"
    assert (rates["rate"] <= 0.05 + 2 * error)[family].all()
    inside, skewed = rates["measure"] == "error of equivalent", rates["distribution"] == "skewed losses"
    # 30 rates of exactly 0.05: one or the other lies above two errors.
    assert (rates["rate"] <= 0.05 + 3 * error)[inside & ~skewed].all()
    assert rates["rate"][inside].mean() < 0.05
    # Student's t errs more often where the differences themselves are skewed; docs/answer.md says so.
    assert rates["rate"][inside & skewed].max() < 0.07
    coverage = rates["rate"][rates["measure"] == "coverage"]
    assert coverage.min() > 0.93 - 2 * error.max()


# Settings of many studies at once: fields without effect, runs that two studies share, losses that must be there.


def table_grouping(*rows):
    """Rows as `load_runs` gives them, from what differs from the defaults."""
    plain = {**RunConfig.defaults(), "loss_params": "", "probability_params": ""}
    return pd.DataFrame([{"run_id": f"run-{place}", **plain, **row} for place, row in enumerate(rows)])


ADMA = {"loss": "adma", "weight_decay_on": "convolutions"}


def test_a_field_that_is_switched_off_does_not_keep_runs_apart():
    runs = table_grouping({}, ADMA, {**ADMA, "weight_decay": 1e-4})
    first, second = stats.settings(stats.merge_idle(runs))
    assert list(first.runs["run_id"]) == ["run-0", "run-1"]
    assert second.fields["weight_decay_on"] == "convolutions"


def test_of_two_runs_that_are_the_same_but_for_an_idle_field_one_is_kept():
    runs = table_grouping({}, {"weight_decay_on": "convolutions"}, {"noise_kind": "asymmetric"}, {"seed": 1})
    assert list(stats.merge_idle(runs)["run_id"]) == ["run-0", "run-3"]


def test_an_idle_field_counts_once_it_is_switched_on():
    runs = table_grouping({"label_noise": 0.2}, {"label_noise": 0.2, "noise_kind": "asymmetric"})
    assert len(stats.merge_idle(runs)) == 2


def test_settings_with_a_loss_also_hold_cross_entropy_and_count_a_shared_run_once():
    runs = table_grouping({}, ADMA, {"epochs": 3}, {"loss": "mse", "epochs": 5}).assign(study="one")
    both = pd.concat([runs, runs.head(1).assign(study="two")])
    (found,) = stats.settings_with(both, ["adma"])
    assert list(found.runs["run_id"]) == ["run-0", "run-1"]
    assert found.name == "fashion-mini, small_cnn", "named beside the settings found, not beside all there are"


def test_where_no_setting_has_the_losses_the_error_says_what_there_is():
    with pytest.raises(ValueError, match=r"no setting has runs of adma, cross_entropy, mse together.*runs of adma, cr"):
        stats.settings_with(table_grouping({}, ADMA), ["mse", "adma"])
    with pytest.raises(ValueError, match="no run at all"):
        stats.settings_with(table_grouping({}).head(0), ["mse"])


def test_the_judged_accuracy_is_that_of_validation_where_there_is_one():
    history = pd.DataFrame({"val_accuracy": [0.5, None], "test_accuracy": [0.9, 0.7]})
    assert stats.judged_accuracy(history).tolist() == [0.5, 0.7]
    assert stats.judged_accuracy(history[[]]).isna().all()


# Every score against scikit-learn or a case worked by hand.


def draw(seed, samples=60, classes=5):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(samples, classes)) * 3
    log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return log_probs, rng.integers(0, classes, samples)


seeds = given(st.integers(0, 10_000))
law = settings(deadline=None, derandomize=True, max_examples=30)
BY_SKLEARN = {
    "accuracy": lambda p, t: sklearn_oracle.accuracy_score(t, p.argmax(1)),
    "top_k": lambda p, t: sklearn_oracle.top_k_accuracy_score(t, p, k=2, labels=range(5)),
    "nll": lambda p, t: sklearn_oracle.log_loss(t, np.exp(p), labels=range(5)),
    "brier": lambda p, t: sklearn_oracle.brier_score_loss(t, np.exp(p), labels=range(5), scale_by_half=False),
    "confusion_matrix": lambda p, t: sklearn_oracle.confusion_matrix(t, p.argmax(1), labels=range(5)),
    "precision": lambda p, t: sklearn_oracle.precision_score(
        t, p.argmax(1), labels=range(5), average=None, zero_division=np.nan
    ),
    "recall": lambda p, t: sklearn_oracle.recall_score(
        t, p.argmax(1), labels=range(5), average=None, zero_division=np.nan
    ),
    "f1": lambda p, t: sklearn_oracle.f1_score(t, p.argmax(1), labels=range(5), average=None, zero_division=0),
    "macro_f1": lambda p, t: sklearn_oracle.f1_score(t, p.argmax(1), labels=range(5), average="macro", zero_division=0),
}


@pytest.mark.parametrize("name", BY_SKLEARN)
@law
@seeds
def test_score_agrees_with_scikit_learn(name, seed):
    log_probs, target = draw(seed, samples=12)  # few samples, so that classes are missing now and then
    extra = {"k": 2} if name == "top_k" else {}
    ours = getattr(metrics, name)(log_probs, target, **extra)
    np.testing.assert_allclose(ours, BY_SKLEARN[name](log_probs, target), rtol=1e-12, equal_nan=True)


@pytest.mark.parametrize("normalize", ["true", "pred"])
def test_normalised_confusion_matrix_agrees_with_scikit_learn(normalize):
    log_probs, target = draw(1, samples=400)
    expected = sklearn_oracle.confusion_matrix(target, log_probs.argmax(1), normalize=normalize)
    np.testing.assert_allclose(metrics.confusion_matrix(log_probs, target, normalize), expected)


def test_confusion_matrix_rows_are_the_true_classes():
    log_probs = np.log([[0.1, 0.9], [0.2, 0.8], [0.3, 0.7]])
    np.testing.assert_array_equal(metrics.confusion_matrix(log_probs, [0, 0, 1]), [[0, 2], [0, 1]])


@law
@seeds
def test_false_positives_sum_to_the_number_of_errors(seed):
    log_probs, target = draw(seed)
    errors = (log_probs.argmax(1) != target).sum()
    assert metrics.false_positives(log_probs, target).sum() == errors
    assert metrics.accuracy(log_probs, target) == pytest.approx(1 - errors / len(target))


def test_calibration_error_worked_by_hand():
    # confidences .9 .9 .6 .6; right, wrong, right, right: gaps |.9 - .5| and |.6 - 1|, half the samples each
    log_probs = np.log([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    assert metrics.ece(log_probs, [0, 1, 0, 0], bins=10) == pytest.approx(0.4)
    table = metrics.reliability_table(log_probs, [0, 1, 0, 0], bins=10)
    assert table["count"].tolist() == [0, 0, 0, 0, 0, 2, 0, 0, 2, 0]
    assert table["accuracy"].dropna().tolist() == [1.0, 0.5]


@law
@seeds
def test_one_calibration_bin_gives_the_gap_of_the_means(seed):
    log_probs, target = draw(seed)
    gap = abs(np.exp(log_probs).max(1).mean() - metrics.accuracy(log_probs, target))
    assert metrics.ece(log_probs, target, bins=1) == pytest.approx(gap)


def test_a_confidence_on_the_edge_belongs_to_the_bin_below():
    table = metrics.reliability_table(np.log([[0.5, 0.5], [1 - 1e-9, 1e-9]]), [0, 0], bins=2)
    assert table["count"].tolist() == [1, 1]


def test_separated_clusters_have_nmi_one_and_constant_target_too():
    rng = np.random.default_rng(0)
    target = np.repeat([0, 1, 2], 20)
    points = rng.normal(size=(60, 4)) + 50 * target[:, None]
    assert metrics.nmi(points, target) == pytest.approx(1.0)
    assert metrics.nmi(points, np.zeros(60, dtype=int)) == pytest.approx(1.0)  # both entropies 0


def test_recall_at_one_is_leave_one_out_nearest_neighbour_accuracy():
    rng = np.random.default_rng(3)
    points, target = rng.normal(size=(80, 3)), rng.integers(0, 4, 80)
    hits = []
    for i in range(80):
        others = KNeighborsClassifier(1).fit(np.delete(points, i, 0), np.delete(target, i))
        hits.append(others.predict(points[i : i + 1])[0] == target[i])
    expected = np.mean(hits)
    assert metrics.recalls_at(points, target, [1])[0] == pytest.approx(expected)


def test_recall_at_k_counts_a_twin_but_never_the_sample_itself():
    points = np.array([[0.0], [0.0], [5.0], [5.1]])
    assert metrics.recalls_at(points, [0, 1, 2, 2], [1])[0] == pytest.approx(0.5)


def test_epochs_count_from_one_and_the_first_of_equals_wins():
    assert metrics.best_epoch([0.1, 0.8, 0.8, 0.7]) == 2
    assert metrics.epochs_to_reach([0.1, 0.5, 0.76, 0.8], 0.95) == 3
    assert metrics.epochs_to_reach([0.8, 0.9, 0.8], 1.0) == 1


def test_a_diverged_curve_reaches_nothing():
    assert np.isnan(metrics.epochs_to_reach([0.4, np.nan]))
    assert np.isnan(metrics.best_epoch([np.nan, np.nan]))
    assert metrics.best_epoch([0.4, np.nan]) == 1


GOOD = np.log(np.full((2, 4), 0.25))
BAD_CALLS = [
    (lambda: stats.power(0.1, 0, 5), ValueError, "sd=0 must"),
    (lambda: stats.sample_size(0, 0.1), ValueError, "effect=0 needs"),
    (lambda: stats.sample_size_equivalence(0.01, 0.1, 0.005), ValueError, "effect=0.01 must lie inside the margin of"),
    (lambda: stats.minimum_detectable_effect(0.1, 5, alpha=5), ValueError, "alpha=5"),
    (lambda: stats.critical_difference(1, 5), ValueError, "1 losses over 5 blocks"),
    (lambda: stats.judge([[0.1, math.nan]], margin=1), ValueError, "finite"),
    (lambda: metrics.accuracy(GOOD, [0]), ValueError, r"\(2, 4\).*\(1,\)"),
    (lambda: metrics.accuracy(GOOD[:0], np.zeros(0, int)), ValueError, "at least one sample"),
    (lambda: metrics.accuracy(GOOD, [0, 4]), ValueError, "0..4, but there are 4"),
    (lambda: metrics.accuracy(GOOD, [0, -1]), ValueError, "-1..0"),
    (lambda: metrics.accuracy(GOOD, [0.0, 1.0]), TypeError, "float64"),
    (lambda: metrics.nll(GOOD * np.nan, [0, 1]), ValueError, "nan in 2 of 2"),
    (lambda: metrics.top_k(GOOD, [0, 1], k=5), ValueError, "k=5"),
    (lambda: metrics.ece(GOOD, [0, 1], bins=0), ValueError, "bins=0"),
    (lambda: metrics.confusion_matrix(GOOD, [0, 1], "rows"), ValueError, "'rows'"),
    (lambda: metrics.recalls_at([[0.0], [1.0]], [0, 1], [2]), ValueError, "k=2"),
    (lambda: metrics.nmi([[0.0], [np.inf]], [0, 1]), ValueError, "nan or inf"),
    (lambda: metrics.nmi([0.0, 1.0], [0, 1]), ValueError, r"\(2,\)"),
    (lambda: metrics.epochs_to_reach([], 0.5), ValueError, r"\(0,\)"),
    (lambda: metrics.epochs_to_reach([0.5], 1.5), ValueError, "fraction=1.5"),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD_CALLS)
def test_a_bad_argument_is_refused_with_its_value(call, error, words):
    with pytest.raises(error, match=words):
        call()


# The scores that a record holds.

CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@pytest.fixture
def predictions() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    target = np.arange(200) % 10
    log_probs = np.log(rng.dirichlet(np.ones(10), 200))
    return target, log_probs, np.eye(10)[target] + 0.01 * rng.normal(size=(200, 10))


def test_all_scores_are_there_and_agree_with_scikit_learn(predictions: tuple[np.ndarray, ...]) -> None:
    target, log_probs, embeddings = predictions
    found = score(target, log_probs, embeddings, np.eye(10), CIFAR)
    assert set(found) == set(SCORES) - {"transfer_accuracy"}  # that needs the network and other images
    assert found["accuracy"] == pytest.approx((log_probs.argmax(1) == target).mean())
    assert found["top5"] == pytest.approx(top_k_accuracy_score(target, log_probs, k=5))
    assert found["macro_f1"] == pytest.approx(f1_score(target, log_probs.argmax(1), average="macro"))
    assert sum(found["false_positives"]) == (log_probs.argmax(1) != target).sum()
    assert (found["nmi"], found["recall_at_1"], found["recall_at_8"]) == (pytest.approx(1), 1, 1), "separate clusters"
    nearest = KNeighborsClassifier(1).fit(np.eye(10), np.arange(10)).predict(embeddings)
    assert found["class_mean_accuracy"] == (nearest == target).mean() == 1
    shifted = score(target, log_probs, embeddings, np.roll(np.eye(10), 1, axis=0), CIFAR)
    assert shifted["class_mean_accuracy"] == 0


def test_classes_without_a_tree_have_no_tree_scores(predictions: tuple[np.ndarray, ...]) -> None:
    found = score(*predictions, np.eye(10), class_names=[f"class {i}" for i in range(10)])
    missing = {"tree_distance", "mistake_distance", "critical_error", "transfer_accuracy"}
    assert set(SCORES) - set(found) == missing


def test_an_impossible_prediction_is_none_and_not_infinity(predictions: tuple[np.ndarray, ...]) -> None:
    target, log_probs, embeddings = predictions
    log_probs[0, target[0]] = -np.inf
    assert score(target, log_probs, embeddings, np.eye(10), CIFAR)["nll"] is None


def test_mistakes_are_measured_in_edges_of_the_tree() -> None:
    # cat taken for dog: 2 edges; airplane for cat: 6, and the only critical one; two images right.
    target, predicted = np.array([3, 0, 1, 9]), np.array([5, 3, 1, 9])
    found = score_mistakes(target, predicted, CIFAR)
    assert found == {"tree_distance": 2.0, "mistake_distance": 4.0, "critical_error": 0.25}


def test_no_mistake_has_no_distance() -> None:
    target = np.arange(10)
    assert score_mistakes(target, target, CIFAR) == dict.fromkeys(
        ("tree_distance", "mistake_distance", "critical_error"), 0.0
    )
