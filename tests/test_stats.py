"""What a table of runs says: against scipy, statsmodels, closed forms, papers and simulation."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats as oracle
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

from benchmarks import calibration
from lossbench import plots, stats
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


BAD_CALLS = [
    (lambda: stats.power(0.1, 0, 5), "sd=0 must"),
    (lambda: stats.sample_size(0, 0.1), "effect=0 needs"),
    (lambda: stats.sample_size_equivalence(0.01, 0.1, 0.005), r"effect=0.01 must lie inside the margin of 0.005"),
    (lambda: stats.minimum_detectable_effect(0.1, 5, alpha=5), "alpha=5"),
    (lambda: stats.critical_difference(1, 5), "1 losses over 5 blocks"),
    (lambda: stats.judge([[0.1, math.nan]], margin=1), "finite"),
]


@pytest.mark.parametrize(("call", "words"), BAD_CALLS)
def test_a_bad_argument_is_refused_with_its_value(call, words):
    with pytest.raises(ValueError, match=words):
        call()


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
    assert all(loss in drawn for loss in SHIFTS)
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


def test_committed_calibration_keeps_the_goals():
    """Errors of 0.05 at most and coverage of 93 to 97 %, as far as so many grids can tell."""
    rates = pd.read_csv(Path(calibration.__file__).with_suffix(".csv"))
    error = np.sqrt(0.05 * 0.95 / rates["grids"])
    assert rates["grids"].min() >= 2000
    assert set(rates["distribution"]) > set(calibration.DISTRIBUTIONS)
    family = rates["measure"] == "family-wise error"
    assert (rates["rate"] <= 0.05 + 2 * error)[family].all()
    inside = (
        rates["measure"] == "error of equivalent"
    )  # 35 rates of exactly 0.05: one or the other lies above two errors
    assert (rates["rate"] <= 0.05 + 3 * error)[inside].all()
    assert rates["rate"][inside].mean() < 0.05
    coverage = rates["rate"][rates["measure"] == "coverage"]
    assert coverage.min() > 0.93 - 2 * error.max()
