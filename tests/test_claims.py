"""Verdicts on invented runs in which each claim is true, false or open by construction."""

import math
from dataclasses import fields

import numpy as np
import pandas as pd
import pytest
from claim_cases import BETTER, COMPARED, EQUAL, config, grid, invent

from lossbench import claims
from lossbench.claims.evaluation import judge
from lossbench.claims.rules import Finding
from lossbench.claims.tables import prepare


def decide(claim, runs, **options):
    """The row of one claim, as if its paper made no other."""
    return judge([claim], prepare(runs, **options)).iloc[0]


def by_key(claim):
    return claim.key


@pytest.mark.parametrize("claim", BETTER, ids=by_key)
def test_a_claim_that_is_true_is_supported_and_its_opposite_is_contradicted(claim):
    found = decide(claim, invent(claim, effect=10.0))
    assert found["verdict"] == "supported", found["why"]
    assert found["low"] > 0
    assert abs(found["estimate"]) > found["floor"]
    found = decide(claim, invent(claim, effect=-10.0))
    assert found["verdict"] == "contradicted", found["why"]
    assert found["high"] < 0
    assert math.isnan(found["needed"])


@pytest.mark.parametrize("claim", EQUAL, ids=by_key)
def test_no_difference_is_supported_within_the_margin_and_contradicted_beyond_it(claim):
    found = decide(claim, invent(claim, effect=0.0))
    assert found["verdict"] == "supported", found["why"]
    assert -0.5 < found["low"] < found["high"] < 0.5
    found = decide(claim, invent(claim, effect=10.0))
    assert found["verdict"] == "contradicted", found["why"]
    assert min(abs(found["low"]), abs(found["high"])) > 0.5


@pytest.mark.parametrize("claim", COMPARED, ids=by_key)
def test_too_few_seeds_leave_a_claim_undecided_and_say_how_many_are_needed(claim):
    size = getattr(claim.rule, "size", None) or 0.3
    found = decide(claim, invent(claim, effect=size, seeds=2, noise=max(2.0, size)))
    assert found["verdict"] == "undecided"
    assert found["needed"] > found["n"] >= 2
    assert found["detectable"] > 0


@pytest.mark.parametrize("claim", COMPARED, ids=by_key)
def test_one_seed_gives_no_interval_and_no_verdict(claim):
    found = decide(claim, invent(claim, effect=10.0, seeds=1))
    assert found["verdict"] == "undecided"
    assert "one seed" in found["limits"]
    assert math.isnan(found["low"])
    assert np.isfinite(found["estimate"])


@pytest.mark.parametrize("claim", COMPARED, ids=by_key)
def test_without_its_runs_a_claim_is_not_tested(claim):
    other = pd.DataFrame([config("shapes", seed, {"loss": "kl_divergence"}) for seed in range(3)])
    found = decide(claim, other.assign(run_id=["a", "b", "c"], test_accuracy=0.5))
    assert (found["verdict"], found["n"]) == ("not tested", 0)
    assert math.isnan(found["estimate"])


@pytest.mark.parametrize("claim", BETTER, ids=by_key)
def test_a_side_that_lost_runs_to_divergence_gets_no_verdict_in_its_favour(claim):
    contrast = claim.rule.contrasts[0]
    better = contrast.scale.more_is_better or len(contrast.terms) == 1
    side = next(term for term in contrast.terms if (term.weight > 0) == better)
    runs = invent(claim, effect=10.0)
    label = config("shapes", 0, side.where)["label"] if "loss" in side.where else None
    mine = (runs["seed"] == 0) & ((runs["label"] == label) if label else (runs["label"] != "n_pair"))
    for column in set(side.where) - {"loss", "loss_params", "train_part"}:
        mine &= runs[column] == side.where[column]
    found = decide(claim, runs.assign(status=runs["status"].mask(mine, "diverged")))
    assert found["verdict"] == "undecided"
    assert "diverged runs" in found["limits"]
    assert "divergence" in found["why"]


@pytest.mark.parametrize("claim", [c for c in COMPARED if len(c.rule.contrasts[0].terms) > 1], ids=by_key)
def test_unequal_seeds_are_named_and_only_shared_seeds_are_paired(claim):
    runs = invent(claim, effect=10.0)
    where = claim.rule.contrasts[0].terms[0].where
    label = config("shapes", 0, where)["label"] if "loss" in where else runs["label"].iloc[0]
    mine = (runs["seed"] == 3) & (runs["label"] == label)
    if "probability" in where:
        mine &= runs["probability"] == where["probability"]
    found, whole = decide(claim, runs[~mine]), decide(claim, runs)
    assert "unequal seeds: 1 of 6" in found["limits"]
    assert found["n"] <= whole["n"]


@pytest.mark.parametrize("claim", [c for c in BETTER if len(c.rule.contrasts) > 1], ids=by_key)
def test_a_claim_about_all_rivals_is_not_supported_with_one_of_them_missing(claim):
    rival = claim.rule.contrasts[-1]
    term = next(t for t in rival.terms if t.where not in [u.where for u in claim.rule.contrasts[0].terms])
    runs = invent(claim, effect=10.0)
    label = config("shapes", 0, term.where)["label"]
    gone = runs["probability"] == term.where["probability"] if "probability" in term.where else runs["label"] == label
    found = decide(claim, runs[~gone])
    assert found["verdict"] == "undecided"
    assert "missing cells" in found["limits"]


def test_a_size_that_is_claimed_is_contradicted_by_a_smaller_gain():
    claim = claims.find_claim("adma-leads-with-few-images")
    found = decide(claim, invent(claim, effect=1.0))
    assert found["verdict"] == "contradicted"
    assert 0 < found["low"] < found["high"] < 4
    assert found["why"].startswith("the interval lies above 0 but below the claimed 4")


def test_a_difference_inside_the_noise_floor_is_not_supported():
    """Paired runs may differ by less than two runs of one loss under different seeds: too little to matter."""
    claim = claims.find_claim("fpl-beats-ce")
    found = decide(claim, invent(claim, effect=0.5, noise=0.02, together=3.0))
    assert found["low"] > 0
    assert found["floor"] > found["estimate"]
    assert (found["verdict"], found["why"].split(";")[0]) == ("undecided", "the difference lies inside the noise floor")
    assert found["needed"] > found["n"]


def test_differences_that_are_all_equal_give_no_interval():
    claim = claims.find_claim("fpl-beats-ce")
    found = decide(claim, invent(claim, effect=1.0, noise=0.0, seeds=3))
    assert (found["verdict"], found["limits"].split(";")[0]) == ("undecided", "all differences equal")


def test_data_sets_that_contradict_each_other_are_named():
    claim = claims.find_claim("adma-leads-without-l2")
    runs = invent(claim, effect=10.0)
    flipped = (runs["dataset"] == "mnist") & (runs["loss"] == "adma")
    runs.loc[flipped, "test_accuracy"] -= 0.15
    found = decide(claim, runs)
    assert found["verdict"] == "undecided"
    assert "the data sets disagree: fashion-mnist +9.90, mnist -5.00" in found["why"]
    assert math.isnan(found["needed"])
    detail = claims.detail("adma-leads-without-l2", runs).set_index("dataset")
    assert detail["place"].to_dict() == {"fashion-mnist": "above", "mnist": "below"}
    assert detail.loc["mnist", "estimate"] == pytest.approx(-5, abs=0.2)


def test_differences_that_cancel_over_data_sets_are_not_no_difference():
    claim = claims.find_claim("adma-on-par-with-ce")
    runs = invent(claim)
    adma = runs["loss"] == "adma"
    opposite = runs["dataset"].map({"mnist": 0.02, "fashion-mnist": -0.02})
    found = decide(claim, runs.assign(test_accuracy=runs["test_accuracy"] + opposite.where(adma, 0.0)))
    assert found["verdict"] == "undecided"
    assert abs(found["estimate"]) > 1.5
    assert "mnist, small_cnn" in found["against"]


def test_a_best_epoch_at_the_end_of_training_says_nothing_about_speed():
    claim = claims.find_claim("thesis-focal-half-fastest")
    found = decide(claim, invent(claim, effect=10.0).assign(epochs=20))
    assert found["verdict"] == "undecided"
    assert "cut off: the best epoch is the last one in 100% of the runs" in found["limits"]


def test_without_any_difference_better_is_supported_in_at_most_a_twentieth_of_tables():
    claim = claims.find_claim("fpl-beats-ce")
    rng = np.random.default_rng(1)
    verdicts = [decide(claim, invent(claim, 0.0, 5, 1.0, 0.5, rng))["verdict"] for _ in range(200)]
    # A share of 2.5 % or less on either side; 4.7 % would still be chance (binomial, one in a hundred thousand).
    assert verdicts.count("supported") <= 14
    assert verdicts.count("contradicted") <= 14


def test_a_lack_of_runs_is_no_evidence_for_no_difference():
    claim = claims.find_claim("layers-penalty-equals-ce")
    rng = np.random.default_rng(2)
    verdicts = [decide(claim, invent(claim, 1.0, 3, 1.0, 0.5, rng))["verdict"] for _ in range(60)]
    assert verdicts.count("supported") <= 3  # the truth is a whole point, twice the margin


def test_a_paper_whose_losses_do_not_differ_rarely_gets_any_verdict_on_who_is_better():
    rng = np.random.default_rng(3)
    better = [claim for claim in BETTER if claim.paper == "000"]
    said = 0
    for _ in range(60):
        table = judge(better, prepare(grid(rng=rng)))
        said += bool(table["verdict"].isin(["supported", "contradicted"]).any())
    assert said <= 8  # 5 % of tables give 3


def test_every_claim_is_told_apart_and_points_to_a_known_figure_and_notebook():
    keys = [claim.key for claim in claims.CLAIMS]
    assert len(keys) == len(set(keys)) >= 30
    assert {claim.paper for claim in claims.CLAIMS} == set(claims.PAPERS)
    assert {claim.figure for claim in claims.CLAIMS} <= set(claims.FIGURES)
    assert {claim.notebook for claim in claims.CLAIMS} <= set(claims.NOTEBOOKS)
    assert all(claim.says.endswith(".") and claim.place for claim in claims.CLAIMS)
    with pytest.raises(ValueError, match="did you mean 'thesis-cat-hardest'"):
        claims.find_claim("thesis-cat-hardst")


def test_a_finding_without_an_interval_has_no_p_value():
    assert {field.name for field in fields(Finding)} == {"comparisons", "support", "contradict", "margin", "size"}
    assert math.isnan(Finding((), (math.nan,), (math.nan,)).p)


@pytest.mark.parametrize("apart", [{"study": "another"}, {"batch_size": 16}])
def test_the_share_of_training_images_is_taken_among_runs_that_belong_together(apart):
    sizes = [(3_000, {}), (1_800, {}), (5_000, apart)]  # 3,000 is 0.6 of 5,000 by accident
    where = {"loss": "cross_entropy", "study": "adma"}
    table = pd.DataFrame([config("mnist", 0, where, train_size=size, **other) for size, other in sizes])
    parts = prepare(table.assign(run_id=list("abc"))).columns["train_part"]
    np.testing.assert_equal(parts.astype(float), [1.0, 0.6, np.nan])


def test_a_large_effect_that_is_undecided_needs_few_more_pairs():
    claim = claims.find_claim("thesis-shirt-hardest")
    found = decide(claim, invent(claim, effect=10.0, seeds=3, noise=30.0, together=0.0))
    assert found["verdict"] == "undecided", found["why"]
    assert found["n"] < found["needed"] < 100
