"""Claims that mathematics and printed tables decide, and the scores from curves, mistakes and folds."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from claim_cases import config
from scipy import stats as oracle
from torch.nn import functional as F

from lossbench import claims, metrics, published
from lossbench.claims import adma, algebra, false_positive, layers, thesis
from lossbench.claims.tables import prepare

EXPECTED = {
    "thesis-ce-ahead-of-kl": "contradicted",
    "thesis-up-to-2.5-times-fewer-epochs": "supported",
    "thesis-functions-not-significant": "supported",
    "thesis-only-kmnist-js-significant": "supported",
    "thesis-tables-4-2-to-4-4": "supported",
    "thesis-table-4-5": "supported",
    "thesis-table-4-6": "contradicted",
    "thesis-best-runs-100th-percentile": "contradicted",
    "thesis-captions-agree": "contradicted",
    "adma-highest-on-half-with-l2": "contradicted",
    "adma-gains-two-without-l2": "supported",
    "adma-surpasses-ce-over-all-tables": "undecided",
    "adma-larger-exponent-under-sgd": "supported",
    "adma-mse-ahead-on-svhn-and-dogs": "supported",
    "adma-mnist-error": "undecided",
    "adma-range": "supported",
    "adma-convex-up-to-half": "supported",
    "adma-imitates-ce": "undecided",
    "adma-gradient-amplified": "contradicted",
    "adma-mse-saturates": "supported",
    "sampling-free-needs-no-triplets": "supported",
    "sampling-free-weighs-easy-samples-less": "undecided",
    "fpl-opposite-to-focal": "supported",
    "fpl-others-ignore-false-classes": "contradicted",
    "fpl-table-2-adds-up": "supported",
    "fpl-gain-beyond-sampling": "undecided",
    "fpl-gain-of-0-68": "contradicted",
    "layers-tree-informs-any-model": "undecided",
    "layers-second-sum-acts": "undecided",
}


def answer(key):
    return claims.find_claim(key).rule.find()


def test_every_exact_claim_has_the_verdict_worked_out_here():
    exact = [claim for claim in claims.CLAIMS if claim.rule.kind != "runs"]
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
    coefficient = [a * p ** (a - 1) * np.exp(p**a) for a in algebra.REPORTED_A]  # equation 8 of the paper
    assert answer("adma-gradient-amplified").estimate == pytest.approx(np.min(coefficient), abs=1e-9)
    assert np.min(coefficient) == pytest.approx(math.e * 0.2451, abs=1e-3)
    ratio = (math.e - np.exp(p**0.2451)) / -np.log(p)
    fitted = 2 / (ratio.max() + ratio.min()) * ratio
    assert answer("adma-imitates-ce").estimate == pytest.approx(100 * np.abs(fitted - 1).max(), rel=1e-3)


def test_gradients_of_mse_focal_and_false_positive_loss_agree_with_their_formulas():
    """Three classes with p, 2(1 - p)/3 and (1 - p)/3: derivatives on the first logit by hand."""
    p = 0.001
    mse = 2 * p * ((1 - p) * (1 - p) + (2 * (1 - p) / 3) ** 2 + ((1 - p) / 3) ** 2) / 3
    assert answer("adma-mse-saturates").estimate == pytest.approx(mse / (1 - p), rel=1e-6)
    p, false = 0.99, 2 * 0.01 / 3
    assert answer("fpl-opposite-to-focal").estimate == pytest.approx(1 + p * false / (1 - false) / (1 - p))


def test_the_path_loss_on_summed_probabilities_telescopes_and_only_there():
    """log P(leaf | parent) + log P(parent | root) = log P(leaf), on a tree of two pairs."""
    log_p = F.log_softmax(torch.tensor([0.3, -1.0, 2.0, 0.5], dtype=torch.float64), 0)
    parent = torch.logsumexp(log_p[:2], 0)
    assert -((log_p[0] - parent) + parent) == pytest.approx(-log_p[0])
    assert answer("layers-tree-informs-any-model").estimate < 1e-12
    assert answer("layers-second-sum-acts").estimate > 0.01
    assert "depends on the reading" in answer("layers-second-sum-acts").limits


def test_triplets_are_counted_as_they_are_enumerated():
    target = np.repeat(range(10), 4)
    same = target[:, None] == target[None, :]
    triplets = sum(same[i].sum() - 1 for i in range(40) for _ in range((~same[i]).sum()))
    assert triplets == 40 * 3 * 36
    large, small = (n * (n // 10 - 1) * (n - n // 10) for n in (200, 100))
    assert answer("sampling-free-needs-no-triplets").estimate == pytest.approx(large / small)


def test_printed_gains_are_those_of_the_papers():
    assert answer("fpl-gain-of-0-68").estimate == pytest.approx(95.25 - 94.93)
    assert answer("adma-highest-on-half-with-l2").estimate == 3
    assert answer("adma-mnist-error").estimate == pytest.approx(2.5)
    assert answer("thesis-functions-not-significant").estimate == pytest.approx(2 * 0.054350476)
    row = answer("fpl-gain-beyond-sampling")
    rates = np.array([0.4425, 0.4464])
    half = 1.96 * 100 * np.sqrt((rates * (1 - rates) / 10_000).sum())
    assert (row.estimate, row.high - row.estimate) == pytest.approx((0.39, half))
    assert "+0.39, +0.05, -0.20, +0.32" in row.why


def test_what_the_papers_call_marginal_and_parallel_is_what_their_tables_print():
    runs = published.runs("thesis_table_4_1").groupby("dataset")["test_accuracy"]
    assert 100 * (runs.max() - runs.min()).max() == pytest.approx(thesis.MARGINAL)
    cells = adma._cells().loc[["Table 1", "Table 3"]]
    assert 100 * (cells["cross_entropy"] - cells["adma"]).max() == pytest.approx(adma.PARALLEL)


def test_adma_over_all_tables_is_the_t_test_of_its_32_cells():
    table = published.load("adma_tables_1_4")
    cells = table.assign(value=table["value"].astype(float)).pivot(
        index=["source_table", "dataset"], columns="loss", values="value"
    )
    gaps = cells["Adma"] - cells["CCE"]
    row, test = answer("adma-surpasses-ce-over-all-tables"), oracle.ttest_1samp(gaps, 0)
    assert (row.n, row.estimate) == (32, pytest.approx(gaps.mean()))
    assert (row.low, row.high) == pytest.approx(tuple(test.confidence_interval()))
    assert row.estimate == pytest.approx(-0.80, abs=0.005)


def test_a_table_that_does_not_add_up_is_found_out(monkeypatch):
    changed = published.load("fpl_tables_2_3")
    changed.loc[0, "value"] = "717"
    monkeypatch.setattr(false_positive.published, "load", lambda name: changed)
    totals = false_positive.totals_add_up.__wrapped__()
    assert (totals.verdict, totals.estimate) == ("contradicted", 1)


def folds(gap, seeds=10):
    """Ten folds of three losses a seed, the last one `gap` below the others."""
    rng, runs, rows = np.random.default_rng(0), [], []
    for seed in range(seeds):
        for place, (name, where) in enumerate(layers.FOLDED.items()):
            run_id = f"{name}-{seed}"
            runs.append({**config("cifar-10-jpeg", seed, where), "run_id": run_id})
            scores = 0.7 + rng.normal(0, 0.014, 10) - gap * (place == 2)
            rows += [{"run_id": run_id, "fold": fold, "accuracy": value} for fold, value in enumerate(scores)]
    return pd.DataFrame(runs), pd.DataFrame(rows)


def test_the_posters_test_over_folds_is_repeated_for_every_seed():
    def verdict(gap, seeds=10):
        runs, scores = folds(gap, seeds)
        return layers.share_of_seeds(prepare(runs, folds=scores))

    assert verdict(0.0).verdict == "supported"
    assert (verdict(0.1).verdict, verdict(0.1).estimate) == ("contradicted", 100)
    assert verdict(0.1, seeds=2).verdict == "undecided"
    assert layers.share_of_seeds(prepare(folds(0)[0])).limits == ("no folds given",)
    share = oracle.binomtest(10, 10).proportion_ci(method="exact")
    assert verdict(0.1).low == pytest.approx(100 * share.low)


def test_curves_give_epochs_first_accuracy_unrest_and_gap():
    runs = pd.DataFrame([{**config("mnist"), "run_id": "a"}, {**config("mnist", 1), "run_id": "b"}])
    curve, train = [0.5, 0.8, 0.79, 0.83, 0.82], [0.6, 0.8, 0.9, 0.95, 0.97]
    history = pd.DataFrame({"run_id": "a", "epoch": range(1, 6), "val_accuracy": curve, "train_accuracy": train})
    first, second = prepare(runs, history=pd.concat([history, history])).rows
    assert first["epochs_needed"] == metrics.epochs_to_reach(curve, 0.95) == 2
    assert first["first_epoch_accuracy"] == 0.5
    assert first["roughness"] == pytest.approx(np.std([0.04, -0.01], ddof=1))
    assert first["train_gap"] == pytest.approx(0.15)
    assert math.isnan(second["train_gap"])


def test_confusion_tells_the_hardest_class_and_whether_mistakes_stay_among_like():
    runs = pd.DataFrame([{**config("cifar-10-jpeg"), "run_id": "a"}, {**config("mnist"), "run_id": "b"}])
    cells = [("a", c, c, 90 - 20 * (c == 3)) for c in range(10)]  # cats, class 3, are the hardest by 20 points
    cells += [("a", c, {0: 1, 1: 0, 8: 9, 9: 8}.get(c, 2 + (c == 2)), 10 + 20 * (c == 3)) for c in range(10) if c != 3]
    cells += [("a", 3, 5, 30), *(("b", c, c, 9 - (c == 4)) for c in range(10)), ("b", 4, 9, 1)]
    confusion = pd.DataFrame(cells, columns=["run_id", "true", "predicted", "count"])
    cifar, mnist = prepare(runs, confusion).rows
    assert cifar["hardest_lead"] == cifar["worst_gap"] == pytest.approx(0.2)
    # All mistakes stay among vehicles or animals; by chance 3/9 of a vehicle's would and 5/9 of an animal's.
    chance = (4 * 10 * 3 / 9 + (5 * 10 + 30) * 5 / 9) / 120
    assert cifar["similar_mistakes"] == pytest.approx(1 - chance)
    assert math.isnan(mnist["hardest_lead"])
    assert mnist["worst_gap"] == pytest.approx(1 / 9)


def test_rescued_mistakes_are_those_with_the_class_among_five():
    runs = pd.DataFrame([{**config("mnist"), "run_id": "a", "test_accuracy": 0.8, "test_top5": 0.95}])
    assert prepare(runs).rows[0]["rescued"] == pytest.approx(0.75)
    assert math.isnan(prepare(runs.assign(test_accuracy=1.0, test_top5=1.0)).rows[0]["rescued"])
