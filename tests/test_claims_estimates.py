"""The estimate, interval and noise floor behind claims, against scipy, statsmodels and `stats`."""

import math

import numpy as np
import pandas as pd
import pytest
from claim_cases import config, grid, invent
from scipy import stats as oracle
from statsmodels.stats.multitest import multipletests

from lossbench import claims, stats
from lossbench.claims.compare import compare
from lossbench.claims.conclusions import against_cross_entropy
from lossbench.claims.contrast import loss, minus
from lossbench.claims.estimates import combine, holm, noise_band, pairs_needed
from lossbench.claims.tables import belongs, prepare

CE, JS = loss("cross_entropy"), loss("js_divergence")


def draws(*shape, seed=0):
    return np.random.default_rng(seed).normal(0.3, 1.0, size=shape)


def test_one_data_set_gives_the_paired_t_test():
    values = draws(7)
    found, test = combine([values]), oracle.ttest_1samp(values, 0)
    assert found.interval() == pytest.approx(tuple(test.confidence_interval()))
    assert 2 * min(found.p_above(0), found.p_below(0)) == pytest.approx(test.pvalue)


def test_two_data_sets_give_welchs_test():
    """The mean of two means is half of first minus (minus second)."""
    first, second = draws(4), 3 * draws(9, seed=1)
    found, test = combine([first, second]), oracle.ttest_ind(first, -second, equal_var=False)
    assert 2 * min(found.p_above(0), found.p_below(0)) == pytest.approx(test.pvalue)
    assert np.multiply(found.interval(), 2) == pytest.approx(tuple(test.confidence_interval()))


def test_data_sets_count_alike_and_those_of_one_seed_do_not_count():
    found = combine([np.array([1.0, 2.0]), np.array([10.0, 11.0, 12.0]), np.array([99.0])])
    assert (found.mean, found.n) == (6.25, 5)
    assert combine([np.array([1.0])]) is None
    assert combine([np.array([0.3, 0.3, 0.1 + 0.2])]) is None


@pytest.mark.parametrize("sizes", [(5,), (5, 5, 5), (3, 8)])
def test_intervals_cover_the_truth_as_often_as_they_say(sizes):
    rng, hits = np.random.default_rng(4), 0
    for _ in range(2000):
        low, high = combine([rng.normal(place, 1 + place, n) for place, n in enumerate(sizes)]).interval()
        hits += low < np.mean(range(len(sizes))) < high
    assert 0.935 < hits / 2000 < 0.985  # Welch's degrees of freedom err to the safe side with few seeds


def test_the_noise_band_of_one_data_set_is_the_noise_floor_of_stats():
    runs = grid(datasets=("fashion-mnist",))
    runs = runs[runs["probability"] == "softmax"]
    floor = stats.noise_floor(runs)
    found = compare(minus(JS, CE), prepare(runs))
    assert found.floor == pytest.approx(100 * floor.half_width(5))
    assert noise_band([floor.sd**2], [4], [5]) == pytest.approx(floor.half_width(5))


def test_equivalence_uses_the_two_one_sided_tests_of_stats():
    claim = claims.find_claim("layers-penalty-equals-ce")
    finding = claim.rule.judge(prepare(invent(claim, noise=0.5)), 0.5)
    (sample,) = finding.comparisons[0].samples
    assert finding.support[-1] == pytest.approx(stats.tost(sample.values, 0.5))


def test_differences_are_those_of_stats_paired_differences():
    runs = grid(datasets=("fashion-mnist",))
    pairs = stats.paired_differences(runs)
    expected = pairs[pairs["loss"] == "js_divergence"].groupby("seed")["difference"].mean()
    (sample,) = compare(minus(JS, CE), prepare(runs)).samples
    assert sample.values == pytest.approx(100 * expected.to_numpy())


def test_planning_agrees_with_stats():
    found = combine([draws(12)])
    assert found.detectable == pytest.approx(stats.minimum_detectable_effect(found.sd, 12))
    assert found.sd == pytest.approx(draws(12).std(ddof=1))
    assert pairs_needed(found, 0.4, 3) == stats.sample_size(0.4, found.sd, comparisons=3)
    assert math.isnan(pairs_needed(found, 0.0))


def test_holm_is_that_of_statsmodels_and_leaves_out_what_has_no_p_value():
    p_values = {"a": 0.03, "b": 0.004, "c": math.nan, "d": 0.02, "e": 0.9}
    found = holm(p_values)
    assert math.isnan(found.pop("c"))
    assert list(found.values()) == pytest.approx(multipletests([0.03, 0.004, 0.02, 0.9], method="holm")[1])
    assert holm({}) == {}


def test_a_data_set_belongs_to_its_family_by_name():
    assert belongs("cifar-10-jpeg", "cifar-10")
    assert not belongs("cifar-100", "cifar-10")
    assert not belongs("cifar-100-coarse", "cifar-10")
    assert belongs("kmnist-10k", "kmnist")
    assert not belongs("kmnist-10k", "mnist")
    assert belongs("fashion-mini", "fashion-mnist")


def test_runs_of_different_budgets_are_not_paired_and_the_larger_study_is_used():
    short = grid(seeds=3, datasets=("fashion-mnist",), js_divergence=-30.0).assign(epochs=1)
    runs = pd.concat([grid(datasets=("fashion-mnist",)), short.assign(run_id="short-" + short["run_id"])])
    found = compare(minus(JS, CE), prepare(runs))
    assert abs(found.mean) < 2
    assert found.pairs == 5
    assert "other settings left out on fashion-mnist, small_cnn: 1" in found.limits
    mixed = runs[(runs["loss"] != "cross_entropy") | (runs["epochs"] == 1)]
    assert compare(minus(JS, CE), prepare(mixed)).pairs == 3


def test_noisy_labels_and_long_tails_are_left_out_unless_a_claim_asks_for_them():
    runs = grid(datasets=("fashion-mnist",))
    noisy = runs.assign(label_noise=0.4, run_id="noisy-" + runs["run_id"], test_accuracy=runs["test_accuracy"] / 2)
    both = prepare(pd.concat([runs, noisy]))
    assert compare(minus(JS, CE), both).mean == pytest.approx(compare(minus(JS, CE), prepare(runs)).mean)
    asked = compare(minus(JS, CE, where={"label_noise": 0.4}), both)
    assert asked.mean == pytest.approx(compare(minus(JS, CE), prepare(runs)).mean / 2)


def test_a_run_that_two_studies_share_counts_once():
    runs = grid(datasets=("fashion-mnist",))
    twice = pd.concat([runs.assign(study="a"), runs.assign(study="b")])
    once, double = (compare(minus(JS, CE), prepare(table)) for table in (runs, twice))
    assert (double.pairs, double.mean) == (once.pairs, once.mean)


def test_where_no_weight_decays_it_does_not_matter_on_which():
    rows = [config("mnist", s, {"loss": n, "weight_decay_on": w}, test_accuracy=0.9 + 0.01 * s * (n == "mse"))
            for s in range(3) for n, w in (("cross_entropy", "all"), ("mse", "convolutions"))]  # fmt: skip
    table = pd.DataFrame(rows).assign(run_id=[str(place) for place in range(6)])
    assert compare(minus(loss("mse"), CE), prepare(table)).pairs == 3
    assert compare(minus(loss("mse"), CE), prepare(table.assign(weight_decay=1e-4))).pairs == 0


def test_a_kind_of_run_that_only_one_side_has_is_named_and_left_out():
    runs = grid(datasets=("fashion-mnist",))
    lacking = runs[(runs["loss"] != "js_divergence") | (runs["probability"] != "taylor_softmax")]
    found = compare(minus(JS, CE), prepare(lacking))
    assert "missing cells: 1 of 3 kinds of run lack a side on fashion-mnist, small_cnn" in found.limits
    softmaxes = runs[runs["probability"] != "taylor_softmax"]
    assert found.mean == pytest.approx(compare(minus(JS, CE), prepare(softmaxes)).mean)


def test_tables_of_something_else_are_refused():
    with pytest.raises(ValueError, match=r"lacks .*optimizer"):
        claims.evaluate(pd.DataFrame({"run_id": ["a"], "status": ["finished"]}))
    with pytest.raises(ValueError, match="margin=0 must"):
        claims.evaluate(grid(seeds=2), margin=0)


def test_of_two_settings_of_one_size_the_one_nearer_to_the_defaults_is_used():
    other = grid(seeds=5, datasets=("fashion-mnist",), js_divergence=-30.0).assign(optimizer="sgd")
    runs = pd.concat([other.assign(run_id="sgd-" + other["run_id"]), grid(datasets=("fashion-mnist",))])
    found = compare(minus(JS, CE), prepare(runs))
    assert abs(found.mean) < 2
    assert found.samples[0].unusual == {}
    assert compare(minus(JS, CE), prepare(other)).samples[0].unusual == {"optimizer": "sgd"}


def test_each_setting_is_compared_with_cross_entropy_on_its_own():
    other = grid(seeds=5, datasets=("fashion-mnist",), js_divergence=-30.0).assign(optimizer="sgd")
    runs = pd.concat([other.assign(run_id="sgd-" + other["run_id"]), grid(datasets=("fashion-mnist",))])
    found = against_cross_entropy(runs).set_index("loss").loc["js_divergence"]
    assert sorted(abs(found["estimate"]) > 20) == [False, True]
    (sgd,) = found[found["estimate"] < -20]["protocol"]
    assert "optimizer sgd" in sgd
