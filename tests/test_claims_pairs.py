"""Which runs a claim pairs, and how differences of several data sets are pooled: against scipy and `stats`."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats as oracle
from test_claims import config, grid

from lossbench import claims, stats
from lossbench.claims import contrasts
from lossbench.claims.contrasts import belongs, loss, minus, prepare
from lossbench.stats.pooled import pool

CE, JS = loss("cross_entropy"), loss("js_divergence")


def compare(contrast, tables):
    return contrasts.compare(contrast, tables.rows)


def draws(*shape, seed=0):
    return np.random.default_rng(seed).normal(0.3, 1.0, size=shape)


def test_one_data_set_gives_the_paired_t_test():
    values = draws(7)
    mean, test = pool([values]), oracle.ttest_1samp(values, 0)
    assert mean.interval() == pytest.approx(tuple(test.confidence_interval()))
    assert 2 * min(mean.p_above(0), mean.p_below(0)) == pytest.approx(test.pvalue)


def test_data_sets_weigh_by_their_precision_and_those_with_few_pairs_do_not_enter():
    exact, rough = draws(5), 10 * draws(9, seed=1)
    mean = pool([exact, rough, np.array([99.0, 98.0])])
    weights = [len(sample) / sample.var(ddof=1) for sample in (exact, rough)]
    assert mean.mean == pytest.approx(np.average([exact.mean(), rough.mean()], weights=weights))
    assert (mean.n, mean.df) == (14, 4)
    assert mean.se > 1 / np.sqrt(sum(weights))
    assert pool([np.array([1.0])]) is None
    assert pool([np.array([0.3, 0.3, 0.1 + 0.2])]) is None
    assert pool([[0.0, 0.0, 0.0]], [0.01]).se == pytest.approx(0.01 / 3)


@pytest.mark.parametrize("sizes", [(5,), (5, 5, 5), (3, 8), (10, 10, 5)])
def test_intervals_of_pooled_means_cover_the_truth_as_often_as_they_say(sizes):
    rng, hits = np.random.default_rng(4), 0
    for _ in range(1000):
        low, high = pool([rng.normal(0.5, 1 + 2 * i, n) for i, n in enumerate(sizes)]).interval()
        hits += low < 0.5 < high
    assert 0.93 < hits / 1000 < 0.985


def test_a_detail_is_the_comparison_that_stats_makes():
    runs = grid(datasets=("fashion-mnist",), js_divergence=-2.0).assign(study="thesis", test_images=10_000)
    runs = runs[runs["probability"] == "softmax"]
    row = claims.detail("thesis-ce-most-accurate", runs).iloc[0]
    judged = stats.compare(runs[runs["loss"].isin(["cross_entropy", "js_divergence"])]).iloc[0]
    assert (row["estimate"], row["low"], row["high"]) == pytest.approx(
        (-100 * judged["mean"], -100 * judged["high"], -100 * judged["low"])
    )
    assert (row["verdict"], judged["verdict"]) == ("better", "worse")
    assert (row["ahead"], row["margin"]) == (judged["n"] - judged["ahead"], pytest.approx(100 * judged["margin"]))


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
    comparison = compare(minus(JS, CE), prepare(runs))
    assert abs(comparison.pooled.mean) < 2
    assert comparison.pairs == 5
    assert "other settings left out on fashion-mnist, small_cnn: 1" in comparison.limits
    mixed = runs[(runs["loss"] != "cross_entropy") | (runs["epochs"] == 1)]
    assert compare(minus(JS, CE), prepare(mixed)).pairs == 3


def test_of_two_settings_of_one_size_the_one_nearer_to_the_defaults_is_used():
    other = grid(datasets=("fashion-mnist",), js_divergence=-30.0).assign(optimizer="sgd")
    runs = pd.concat([other.assign(run_id="sgd-" + other["run_id"]), grid(datasets=("fashion-mnist",))])
    (sample,) = compare(minus(JS, CE), prepare(runs)).samples
    assert sample.unusual == []
    (sample,) = compare(minus(JS, CE), prepare(other)).samples
    assert sample.unusual == ["optimizer sgd"]


def test_a_learning_rate_of_its_own_is_compared_only_where_a_claim_says_so():
    claim = claims.find_claim("adma-on-par-with-ce-under-sgd")
    first, second = (term.where for term in claim.rule.contrasts[0].terms)
    assert (first["lr"], second["lr"]) == (0.0404, 0.01)
    rows = [config("mnist", seed, {**where, "optimizer": "sgd"}, test_accuracy=0.9 + 0.001 * seed * i)
            for seed in range(5) for i, where in enumerate((first, second))]  # fmt: skip
    runs = pd.DataFrame(rows).assign(run_id=[str(i) for i in range(10)])
    assert compare(claim.rule.contrasts[0], prepare(runs)).pairs == 5
    assert compare(minus(loss("adma"), CE), prepare(runs)).pairs == 0


def test_noisy_targets_and_long_tails_are_left_out_unless_a_claim_asks_for_them():
    runs = grid(datasets=("fashion-mnist",), js_divergence=2.0)
    noisy = runs.assign(label_noise=0.4, run_id="noisy-" + runs["run_id"], test_accuracy=runs["test_accuracy"] - 0.05)
    noisy.loc[noisy["loss"] == "js_divergence", "test_accuracy"] += 0.03
    both, plain = prepare(pd.concat([runs, noisy])), compare(minus(JS, CE), prepare(runs)).pooled.mean
    assert compare(minus(JS, CE), both).pooled.mean == pytest.approx(plain)
    asked = compare(minus(JS, CE, where={"label_noise": 0.4}), both)
    assert asked.pooled.mean == pytest.approx(plain + 3)


def test_a_run_that_two_studies_share_counts_once():
    runs = grid(datasets=("fashion-mnist",))
    twice = pd.concat([runs.assign(study="a"), runs.assign(study="b")])
    once, double = (compare(minus(JS, CE), prepare(table)) for table in (runs, twice))
    assert (double.pairs, double.pooled) == (once.pairs, once.pooled)


def test_where_no_weight_decays_it_does_not_matter_on_which():
    rows = [config("mnist", s, {"loss": n, "weight_decay_on": w}, test_accuracy=0.9 + 0.01 * s * (n == "mse"))
            for s in range(3) for n, w in (("cross_entropy", "all"), ("mse", "convolutions"))]  # fmt: skip
    table = pd.DataFrame(rows).assign(run_id=[str(i) for i in range(6)])
    assert compare(minus(loss("mse"), CE), prepare(table)).pairs == 3
    assert compare(minus(loss("mse"), CE), prepare(table.assign(weight_decay=1e-4))).pairs == 0


def test_a_kind_of_run_that_only_one_side_has_is_named_and_left_out():
    runs = grid(datasets=("fashion-mnist",))
    lacking = runs[(runs["loss"] != "js_divergence") | (runs["probability"] != "taylor_softmax")]
    comparison = compare(minus(JS, CE), prepare(lacking))
    assert "missing cells: 1 of 3 kinds of run lack a side on fashion-mnist, small_cnn" in comparison.limits
    softmaxes = runs[runs["probability"] != "taylor_softmax"]
    assert comparison.pooled == compare(minus(JS, CE), prepare(softmaxes)).pooled


@pytest.mark.parametrize("apart", [{"study": "another"}, {"batch_size": 16}])
def test_the_share_of_training_images_is_taken_among_runs_that_belong_together(apart):
    sizes = [(3_000, {}), (1_800, {}), (5_000, apart)]  # 3,000 is 0.6 of 5,000 by accident
    where = {"loss": "cross_entropy", "study": "adma"}
    table = pd.DataFrame([config("mnist", 0, where, train_size=size, **other) for size, other in sizes])
    parts = [row["train_part"] for row in prepare(table.assign(run_id=list("abc"))).rows]
    np.testing.assert_equal(parts, [1.0, 0.6, np.nan])
