"""Claims that mathematics and printed tables decide, and the scores from curves, mistakes and folds."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from claim_cases import config, grid, invent
from scipy import stats as oracle
from torch.nn import functional as F

from lossbench import claims, metrics, published
from lossbench.claims import algebra, fold_tests, printed_gains
from lossbench.claims.rules import Exact
from lossbench.claims.tables import prepare

EXPECTED = {
    "thesis-ce-ahead-of-kl": "contradicted",
    "thesis-kl-faster-than-ce": "contradicted",
    "thesis-tables-4-2-to-4-4": "supported",
    "thesis-table-4-5": "supported",
    "thesis-table-4-6": "contradicted",
    "thesis-only-kmnist-js-significant": "supported",
    "thesis-best-runs-100th-percentile": "contradicted",
    "thesis-captions-agree": "contradicted",
    "adma-highest-on-half-with-l2": "contradicted",
    "adma-gains-two-without-l2": "supported",
    "adma-surpasses-ce-over-all-tables": "undecided",
    "adma-larger-exponent-under-sgd": "supported",
    "adma-mnist-error": "contradicted",
    "adma-range": "supported",
    "adma-convex-up-to-half": "supported",
    "adma-imitates-ce": "supported",
    "adma-gradient-amplified": "contradicted",
    "sampling-free-weighs-easy-samples-less": "supported",
    "fpl-class-weights-when-balanced": "contradicted",
    "fpl-two-measures": "contradicted",
    "fpl-table-2-adds-up": "supported",
    "fpl-gain-beyond-sampling": "undecided",
    "fpl-gain-of-0-68": "contradicted",
    "fpl-gain-pretrained": "contradicted",
    "layers-tree-informs-any-model": "contradicted",
    "layers-second-sum-acts": "contradicted",
}


def answer(key):
    return claims.find_claim(key).rule.find()


def test_every_exact_claim_has_the_verdict_worked_out_here():
    exact = [claim for claim in claims.CLAIMS if isinstance(claim.rule, Exact)]
    assert {claim.key: claim.rule.find().verdict for claim in exact} == EXPECTED


def test_cross_entropy_is_kl_divergence_in_torch_too():
    logits = torch.randn(20, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    target = torch.arange(20) % 10
    kl = F.kl_div(F.log_softmax(logits, 1), F.one_hot(target, 10).double(), reduction="none").sum(1)
    assert torch.allclose(F.cross_entropy(logits, target, reduction="none"), kl, atol=1e-12)
    assert answer("thesis-ce-ahead-of-kl").estimate < 1e-12


def test_two_losses_that_differ_would_be_told_apart(monkeypatch):
    plain = algebra._losses

    def shifted(name, *args, **params):
        return plain(name, *args, **params) * (1.01 if name == "kl_divergence" else 1)

    monkeypatch.setattr(algebra, "_losses", shifted)
    assert algebra.ce_is_kl.__wrapped__().verdict == "supported"


def test_adma_agrees_with_its_formula():
    assert answer("adma-range").estimate == pytest.approx(math.e - math.exp(0.001**0.5))
    p = np.linspace(0.001, 1, 1000)[:-1]
    ratio = [a * p**a * np.exp(p**a) for a in algebra.REPORTED_A]
    assert answer("adma-gradient-amplified").estimate == pytest.approx(np.max(ratio))
    assert np.max(ratio) < 1
    gap = np.abs((math.e - np.exp(p**1e-4)) / (math.e * 1e-4) / -np.log(p) - 1).max()
    assert answer("adma-imitates-ce").estimate == pytest.approx(100 * gap, rel=1e-3)


def test_the_path_loss_on_summed_probabilities_telescopes():
    """log P(leaf | parent) + log P(parent | root) = log P(leaf), on a tree of two pairs."""
    log_p = F.log_softmax(torch.tensor([0.3, -1.0, 2.0, 0.5], dtype=torch.float64), 0)
    parent = torch.logsumexp(log_p[:2], 0)
    assert -((log_p[0] - parent) + parent) == pytest.approx(-log_p[0])
    assert answer("layers-tree-informs-any-model").estimate < 1e-12
    assert "adds 3 to every sample" in answer("layers-second-sum-acts").why


def test_printed_gains_are_those_of_the_papers():
    assert answer("fpl-gain-of-0-68").estimate == pytest.approx(95.25 - 94.93)
    assert answer("fpl-gain-pretrained").estimate == pytest.approx(94.02 - 94.22)
    assert answer("adma-highest-on-half-with-l2").estimate == 3
    assert answer("adma-mnist-error").estimate == pytest.approx(2.5)
    found = answer("fpl-gain-beyond-sampling")
    rates = np.array([0.4425, 0.4464, 0.3531, 0.3536])
    half = 1.96 * 100 * np.sqrt((rates * (1 - rates) / 10_000).sum()) / 2
    assert (found.estimate, found.high - found.estimate) == pytest.approx((0.22, half))


def test_adma_over_all_tables_is_the_t_test_of_its_32_cells():
    table = published.load("adma_tables_1_4")
    cells = table.assign(value=table["value"].astype(float)).pivot(
        index=["source_table", "dataset"], columns="loss", values="value"
    )
    gaps = cells["Adma"] - cells["CCE"]
    found, test = answer("adma-surpasses-ce-over-all-tables"), oracle.ttest_1samp(gaps, 0)
    assert (found.n, found.estimate) == (32, pytest.approx(gaps.mean()))
    assert (found.low, found.high) == pytest.approx(tuple(test.confidence_interval()))
    assert found.estimate == pytest.approx(-0.80, abs=0.005)


def test_epochs_of_the_thesis_are_a_paired_test_over_nine_cells():
    runs = published.runs("thesis_table_4_1").set_index(["dataset", "probability"])
    first, second = (runs[runs["loss"] == name]["best_epoch"] for name in ("cross_entropy", "kl_divergence"))
    found, test = answer("thesis-kl-faster-than-ce"), oracle.ttest_rel(first, second.reindex(first.index))
    assert (found.low, found.high) == pytest.approx(tuple(test.confidence_interval()))


def test_a_table_that_does_not_add_up_is_found_out(monkeypatch):
    changed = published.load("fpl_tables_2_3")
    changed.loc[0, "value"] = "717"
    monkeypatch.setattr(printed_gains.published, "load", lambda name: changed)
    found = printed_gains.fpl_totals_add_up.__wrapped__()
    assert (found.verdict, found.estimate) == ("contradicted", 1)


def folds(gap, seeds=10):
    """Ten folds of three losses a seed, the last one `gap` below the others."""
    rng, runs, rows = np.random.default_rng(0), [], []
    for seed in range(seeds):
        for place, (name, where) in enumerate(fold_tests.LOSSES.items()):
            run_id = f"{name}-{seed}"
            runs.append({**config("cifar-10-jpeg", seed, where), "run_id": run_id})
            scores = 0.7 + rng.normal(0, 0.014, 10) - gap * (place == 2)
            rows += [{"run_id": run_id, "fold": fold, "accuracy": value} for fold, value in enumerate(scores)]
    return pd.DataFrame(runs), pd.DataFrame(rows)


def test_the_posters_test_over_folds_is_repeated_for_every_seed():
    def verdict(gap, seeds=10):
        runs, scores = folds(gap, seeds)
        return fold_tests.share_of_seeds(prepare(runs, folds=scores))

    assert verdict(0.0).verdict == "supported"
    assert (verdict(0.1).verdict, verdict(0.1).estimate) == ("contradicted", 100)
    assert verdict(0.1, seeds=2).verdict == "undecided"
    assert fold_tests.share_of_seeds(prepare(folds(0)[0])).limits == ("no folds given",)
    share = oracle.binomtest(10, 10).proportion_ci(method="exact")
    assert verdict(0.1).low == pytest.approx(100 * share.low)


def test_curves_give_epochs_first_accuracy_unrest_and_gap():
    runs = pd.DataFrame([{**config("mnist"), "run_id": "a"}, {**config("mnist", 1), "run_id": "b"}])
    curve, train = [0.5, 0.8, 0.79, 0.83, 0.82], [0.6, 0.8, 0.9, 0.95, 0.97]
    history = pd.DataFrame({"run_id": "a", "epoch": range(1, 6), "val_accuracy": curve, "train_accuracy": train})
    row = prepare(runs, history=pd.concat([history, history])).columns
    assert row["epochs_to_95"][0] == metrics.epochs_to_reach(curve, 0.95) == 2
    assert row["first_epoch_accuracy"][0] == 0.5
    assert row["curve_mean"][0] == pytest.approx(np.mean(curve))
    assert row["roughness"][0] == pytest.approx(np.std([0.04, -0.01], ddof=1))
    assert row["train_gap"][0] == pytest.approx(0.15)
    assert math.isnan(row["train_gap"][1])


def test_confusion_tells_the_hardest_class_and_whether_mistakes_stay_among_like():
    runs = pd.DataFrame([{**config("cifar-10-jpeg"), "run_id": "a"}, {**config("mnist"), "run_id": "b"}])
    cells = [("a", c, c, 90 - 20 * (c == 3)) for c in range(10)]  # cats, class 3, are the hardest by 20 points
    cells += [("a", c, {0: 1, 1: 0, 8: 9, 9: 8}.get(c, 2 + (c == 2)), 10 + 20 * (c == 3)) for c in range(10) if c != 3]
    cells += [("a", 3, 5, 30), ("b", 0, 0, 5)]
    confusion = pd.DataFrame(cells, columns=["run_id", "true", "predicted", "count"])
    columns = prepare(runs, confusion).columns
    assert columns["hardest_lead"][0] == pytest.approx(0.2)
    # All mistakes stay among vehicles or animals; by chance 3/9 of a vehicle's would and 5/9 of an animal's.
    chance = (4 * 10 * 3 / 9 + (5 * 10 + 30) * 5 / 9) / 120
    assert columns["similar_mistakes"][0] == pytest.approx(1 - chance)
    assert math.isnan(columns["hardest_lead"][1])


def test_rescued_mistakes_are_those_with_the_class_among_five():
    runs = pd.DataFrame([{**config("mnist"), "run_id": "a", "test_accuracy": 0.8, "test_top5": 0.95}])
    assert prepare(runs).columns["rescued"][0] == pytest.approx(0.75)
    perfect = prepare(runs.assign(test_accuracy=1.0, test_top5=1.0)).columns["rescued"]
    assert math.isnan(perfect[0])


def test_an_evaluation_has_a_row_a_claim_and_is_the_same_every_time():
    runs = grid(js_divergence=-4.0)
    table = claims.evaluate(runs)
    assert tuple(table.columns) == claims.COLUMNS
    assert list(table["claim"]) == [claim.key for claim in claims.CLAIMS]
    assert set(table["verdict"]) <= set(claims.VERDICTS)
    pd.testing.assert_frame_equal(table, claims.evaluate(runs.sample(frac=1, random_state=0)))
    row = table.set_index("claim").loc["thesis-js-least-accurate"]
    assert (row["verdict"], row["n"]) == ("supported", 15)
    assert "variants of the paper's data sets: cifar-10-jpeg, kmnist-10k" in row["limits"]
    assert (
        "kmnist-10k: small_cnn, 10,000 training images, 10 epochs, mean of 3 combinations, 5 seeds" in row["protocol"]
    )
    open_ = table[(table["verdict"] == "undecided") & (table["kind"] == "runs") & table["low"].notna()]
    assert open_["needed"].gt(open_["n"]).all()


def test_conclusions_name_losses_data_numbers_and_what_does_not_survive():
    runs = grid(js_divergence=-4.0)
    found = claims.conclusions(claims.evaluate(runs), runs)
    cifar = next(text for text in found if text.startswith("On cifar-10-jpeg"))
    expected = claims.against_cross_entropy(runs).set_index(["dataset", "loss"]).loc[("cifar-10-jpeg", "js_divergence")]
    assert f"js_divergence {expected['estimate']:+.2f} points [{expected['low']:+.2f}" in cifar
    assert "Not shown to differ: focal" in cifar
    assert expected["estimate"] == pytest.approx(-4, abs=0.7)
    assert any(text.startswith("Does not survive: Cross-entropy is ahead of KL divergence") for text in found)
    assert any(text.startswith("Paper 004 (Loss in Layers), 11 claims:") for text in found)
    assert not any(text.startswith("On ") for text in claims.conclusions(claims.evaluate(runs)))


def test_no_runs_at_all_leave_claims_about_runs_untested():
    table = claims.evaluate(grid(seeds=1).iloc[:0])
    assert set(table[table["kind"] == "runs"]["verdict"]) == {"not tested"}
    assert claims.detail("fpl-beats-ce", grid(seeds=1).iloc[:0]).empty
    assert claims.against_cross_entropy(grid(seeds=1).iloc[:0]).empty


def test_detail_lists_every_contrast_and_data_set():
    claim = claims.find_claim("squared-hinge-worst")
    found = claims.detail(claim.key, invent(claim, effect=3.0))
    assert len(found) == 3 * 2
    assert set(found["place"]) == {"above"}
    assert (found["low"] < found["estimate"]).all()
    assert claims.detail("adma-range", invent(claim)).empty
