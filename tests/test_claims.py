"""Verdicts on invented runs in which each claim is true, false or open by construction."""

import math

import numpy as np
import pandas as pd
import pytest
from claim_cases import BETTER, COMPARED, EQUAL, config, grid, invent

from lossbench import claims
from lossbench.claims.claim import GROUPS
from lossbench.claims.evaluation import judge_claims
from lossbench.claims.tables import NEAREST_MEAN, prepare

FAIR = [claim for claim in BETTER if not claim.rule.rebuilt]  # runs may decide them


def decide(claim, runs, **options):
    """The row of one claim, as if its paper made no other."""
    return judge_claims([claim], prepare(runs, **options)).iloc[0]


def by_key(claim):
    return claim.key


@pytest.mark.parametrize("claim", FAIR, ids=by_key)
def test_a_claim_that_is_true_is_supported_and_its_opposite_is_contradicted(claim):
    row = decide(claim, invent(claim, effect=10.0))
    assert row["verdict"] == "supported", row["why"]
    assert row["low"] > claim.rule.low
    row = decide(claim, invent(claim, effect=-10.0))
    assert row["verdict"] == ("undecided" if claim.rule.exists else "contradicted"), row["why"]
    assert row["high"] < claim.rule.low
    assert math.isnan(row["needed"])


@pytest.mark.parametrize("claim", EQUAL, ids=by_key)
def test_no_difference_is_supported_within_the_margin_and_contradicted_beyond_it(claim):
    row = decide(claim, invent(claim))
    assert row["verdict"] == "supported", row["why"]
    row = decide(claim, invent(claim, effect=10.0))
    assert row["verdict"] == "contradicted", row["why"]
    assert min(abs(row["low"]), abs(row["high"])) > 0.5


@pytest.mark.parametrize("claim", [claim for claim in COMPARED if claim.rule.rebuilt], ids=by_key)
def test_a_reconstruction_of_a_lost_formula_decides_nothing_about_the_paper(claim):
    for effect in (10.0, -10.0):
        row = decide(claim, invent(claim, effect))
        assert row["verdict"] == "undecided"
        assert "our reconstruction" in row["why"]
        assert math.isnan(row["needed"])


@pytest.mark.parametrize("claim", COMPARED[::4], ids=by_key)
def test_one_seed_gives_no_interval_and_no_verdict(claim):
    row = decide(claim, invent(claim, effect=10.0, seeds=1))
    assert row["verdict"] == "undecided"
    assert "one seed" in row["limits"]
    assert math.isnan(row["low"])
    assert np.isfinite(row["estimate"])


@pytest.mark.parametrize("claim", COMPARED[1::4], ids=by_key)
def test_without_its_runs_a_claim_is_not_tested(claim):
    runs = pd.DataFrame([config("shapes", seed, {"loss": "kl_divergence"}) for seed in range(3)])
    row = decide(claim, runs.assign(run_id=["a", "b", "c"], test_accuracy=0.5))
    assert (row["verdict"], row["n"]) == ("not tested", 0)
    assert math.isnan(row["estimate"])


@pytest.mark.parametrize("key", ["fpl-beats-ce", "layers-penalty-equals-ce", "thesis-js-slowest"])
def test_too_few_seeds_leave_a_claim_undecided_and_say_how_many_are_needed(key):
    claim = claims.find_claim(key)
    row = decide(claim, invent(claim, effect=0.3, seeds=3, noise=2.0))
    assert row["verdict"] == "undecided"
    assert row["needed"] > row["n"] >= 3


@pytest.mark.parametrize("key", ["fpl-beats-ce", "layers-penalty-equals-ce"])
def test_diverged_runs_leave_a_claim_undecided_and_are_counted(key):
    claim = claims.find_claim(key)
    runs = invent(claim, effect=10.0 if claim in BETTER else 0.0)
    lost = (runs["seed"] == 0) & (runs["loss"] != "cross_entropy")
    row = decide(claim, runs.assign(status=runs["status"].mask(lost, "diverged")))
    assert row["verdict"] == "undecided"
    assert "diverged runs: 1 of" in row["limits"]
    assert row["why"].endswith("runs diverged")


def test_unequal_seeds_are_named_and_only_shared_seeds_are_paired():
    claim = claims.find_claim("fpl-beats-ce")
    runs = invent(claim, effect=10.0)
    row = decide(claim, runs[(runs["seed"] != 3) | (runs["loss"] == "cross_entropy")])
    assert (row["verdict"], row["n"]) == ("supported", 5)
    assert "unequal seeds: 1 of 6" in row["limits"]


@pytest.mark.parametrize(
    ("key", "rival"), [("thesis-ce-most-accurate", "js_divergence"), ("adma-first-epoch", "squared_hinge")]
)
def test_a_claim_about_all_rivals_is_not_supported_with_one_of_them_missing(key, rival):
    claim = claims.find_claim(key)
    runs = invent(claim, effect=10.0)
    row = decide(claim, runs[runs["loss"] != rival])
    assert row["verdict"] == "undecided"
    assert "missing cells" in row["limits"]


@pytest.mark.parametrize(
    ("effect", "noise", "verdict"), [(1, 0.1, "contradicted"), (4, 1, "supported"), (5, 6, "undecided")]
)
def test_a_size_that_is_claimed_is_contradicted_only_by_an_interval_that_does_not_hold_it(effect, noise, verdict):
    claim = claims.find_claim("adma-leads-with-few-images")
    row = decide(claim, invent(claim, effect, noise=noise))
    assert row["verdict"] == verdict, row["why"]
    assert (row["high"] < 4) == (verdict == "contradicted")


@pytest.mark.parametrize("accuracy", [0.4, 0.9])
def test_a_verdict_never_rests_on_networks_that_have_not_learned(accuracy):
    """ResNet18 on 400 images had 33 %, where the class means of the raw pixels have 68 %."""
    claim = claims.find_claim("fpl-true-class-among-five")
    runs = invent(claim, effect=30.0).assign(dataset="fashion-mini", test_accuracy=accuracy)
    row = decide(claim, runs)
    learned = accuracy > NEAREST_MEAN["fashion-mnist"]
    assert row["verdict"] == ("supported" if learned else "not tested")
    assert ("no network learned: accuracy 40 %, class means of raw pixels 68 %" in row["limits"]) != learned


def test_a_rival_that_stayed_at_chance_is_named_and_beaten_by_nobody():
    claim = claims.find_claim("fpl-beats-ce")
    runs = invent(claim, effect=10.0).assign(test_images=10_000)
    runs["test_accuracy"] = runs["test_accuracy"].mask(runs["loss"] == "cross_entropy", 0.1)
    row = decide(claim, runs)
    assert row["verdict"] == "not tested"
    assert "6 of 6 runs of cross_entropy stayed at chance" in row["limits"]


@pytest.mark.parametrize(("effect", "verdict"), [(10.0, "supported"), (-10.0, "undecided")])
def test_networks_that_are_still_improving_refute_nothing_and_are_counted(effect, verdict):
    claim = claims.find_claim("fpl-beats-ce")
    row = decide(claim, invent(claim, effect).assign(best_epoch=100))
    assert row["verdict"] == verdict
    assert "the best epoch is the last one in 12 of 12 runs" in row["limits"]
    assert row["limits"].startswith("here: small_cnn, 100 epochs; the paper: EfficientNetV2 and ResNets")


def test_the_best_epoch_of_runs_that_were_cut_off_decides_nothing():
    claim = claims.find_claim("thesis-focal-half-fastest")
    assert decide(claim, invent(claim, effect=10.0).assign(epochs=20))["verdict"] == "undecided"


def test_a_claim_in_several_readings_falls_only_if_it_falls_in_all():
    claim = claims.find_claim("layers-hierarchical-below-ce")
    runs = invent(claim, effect=-10.0)
    assert decide(claim, runs)["verdict"] == "contradicted"
    literal = runs["loss_params"].str.contains("literal")
    assert decide(claim, runs.assign(test_accuracy=runs["test_accuracy"] - 0.2 * literal))["verdict"] == "undecided"


def test_data_sets_that_contradict_each_other_are_named_and_broken_down():
    claim = claims.find_claim("adma-leads-without-l2")
    runs = invent(claim, effect=10.0)
    runs.loc[(runs["dataset"] == "mnist") & (runs["loss"] == "adma"), "test_accuracy"] -= 0.12
    row = decide(claim, runs)
    assert row["verdict"] == "undecided"
    assert math.isnan(row["needed"])
    table = claims.detail(claim.key, runs).set_index("dataset")
    assert table["verdict"].to_dict() == {"cifar-10": "better", "fashion-mnist": "better", "mnist": "worse"}
    assert table.loc["mnist", "estimate"] == pytest.approx(-2, abs=0.2)
    assert (table["low"] < table["estimate"]).all()
    assert claims.detail("adma-range", runs).empty


def test_differences_that_cancel_over_data_sets_are_not_no_difference():
    claim = claims.find_claim("fpl-comparable-to-ce")
    runs = pd.concat([invent(claim), invent(claim).assign(dataset="mnist")]).reset_index(drop=True)
    opposite = runs["dataset"].map({"mnist": 0.02, "cifar-10": -0.02}).where(runs["loss"] != "cross_entropy", 0.0)
    row = decide(
        claim, runs.assign(test_accuracy=runs["test_accuracy"] + opposite, run_id=[*map(str, range(len(runs)))])
    )
    assert row["verdict"] == "contradicted"
    assert abs(row["estimate"]) > 1.5


def test_an_imprecise_data_set_decides_nothing_against_a_precise_one():
    claim = claims.find_claim("fpl-beats-ce")
    exact, rough = invent(claim, effect=1.0), invent(claim, effect=-5.0, noise=20.0).assign(dataset="mnist")
    both = pd.concat([exact, rough]).assign(run_id=[*map(str, range(len(exact) + len(rough)))])
    row, alone = decide(claim, both), decide(claim, exact)
    assert row["verdict"] == alone["verdict"] == "supported"
    assert row["estimate"] == pytest.approx(alone["estimate"], abs=0.05)


def test_a_paper_whose_losses_do_not_differ_rarely_gets_any_verdict():
    """Null runs through the whole rule: an error for the paper at all in a twentieth of the tables."""
    rng = np.random.default_rng(3)
    thesis = [claim for claim in BETTER if claim.paper == "000"]
    wrong = [
        judge_claims(thesis, prepare(grid(rng=rng)))["verdict"].isin(["supported", "contradicted"]).any()
        for _ in range(60)
    ]
    assert sum(wrong) <= 8  # 5 % of tables give 3; more than 8 would have a chance of 0.3 %


def test_without_a_difference_better_is_said_in_at_most_a_twentieth_of_tables():
    claim, rng = claims.find_claim("fpl-beats-ce"), np.random.default_rng(1)
    verdicts = [decide(claim, invent(claim, 0.0, 5, 1.0, 0.5, rng))["verdict"] for _ in range(100)]
    assert verdicts.count("supported") + verdicts.count("contradicted") <= 12  # 5 % give 5


def test_equality_at_the_margin_is_said_in_at_most_a_twentieth_of_tables():
    claim, rng = claims.find_claim("layers-penalty-equals-ce"), np.random.default_rng(2)
    verdicts = [decide(claim, invent(claim, 0.5, 5, 0.2, 0.5, rng))["verdict"] for _ in range(100)]
    assert verdicts.count("supported") <= 12
    assert verdicts.count("contradicted") <= 8


def test_every_claim_is_told_apart_and_points_to_a_known_figure_and_notebook():
    keys = [claim.key for claim in claims.CLAIMS]
    assert len(keys) == len(set(keys)) >= 30
    assert {claim.paper for claim in claims.CLAIMS} == set(claims.PAPERS)
    assert {claim.group for claim in claims.CLAIMS} == set(GROUPS)
    assert {claim.notebook for claim in claims.CLAIMS} <= set(claims.NOTEBOOKS)
    assert all(claim.says.endswith(".") and claim.place for claim in claims.CLAIMS)
    with pytest.raises(ValueError, match="did you mean 'thesis-cat-hardest'"):
        claims.find_claim("thesis-cat-hardst")


def test_an_evaluation_has_a_row_a_claim_is_the_same_every_time_and_is_counted_by_group():
    runs = grid(js_divergence=-4.0)
    table = claims.evaluate(runs)
    assert tuple(table.columns) == claims.COLUMNS
    assert list(table["claim"]) == [claim.key for claim in claims.CLAIMS]
    pd.testing.assert_frame_equal(table, claims.evaluate(runs.sample(frac=1, random_state=0)))
    row = table.set_index("claim").loc["thesis-js-least-accurate"]
    assert (row["verdict"], row["n"]) == ("supported", 15)
    assert "variants of the paper's data sets: cifar-10-jpeg, kmnist-10k" in row["limits"]
    assert "kmnist-10k: small_cnn, 10,000 training images, 20 epochs, mean of 3 combinations, 5 pairs" in row["here"]
    counts = claims.count_verdicts(table)
    assert not counts.duplicated(["paper", "group"]).any()
    assert counts["claims"].sum() == counts[list(claims.VERDICTS)].sum().sum() == len(claims.CLAIMS)


def test_no_runs_at_all_leave_claims_about_runs_untested():
    table = claims.evaluate(grid(seeds=1).iloc[:0])
    assert set(table[table["kind"] == "runs"]["verdict"]) == {"not tested"}
    assert claims.detail("fpl-beats-ce", grid(seeds=1).iloc[:0]).empty


def test_tables_of_something_else_are_refused():
    with pytest.raises(ValueError, match=r"lacks .*optimizer"):
        claims.evaluate(pd.DataFrame({"run_id": ["a"], "status": ["finished"]}))
    with pytest.raises(ValueError, match="margin=0 must"):
        claims.evaluate(grid(seeds=2), margin=0)
