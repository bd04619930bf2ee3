"""What formulas.md proves: losses that equal each other, closed-form gradients, and outside references."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.spatial.distance
import sklearn.metrics
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_problems import SOFT, TAUGHT, make_problem, soft_targets
from torch import Tensor

from lossbench.losses import LOSSES, Criterion
from lossbench.probabilities import PROBABILITIES

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = 2 * torch.randn(64, 10, generator=GENERATOR, dtype=torch.float64)
TARGET = torch.randint(10, (64,), generator=GENERATOR)
SOFT_TARGET = soft_targets(TARGET, 10)
WEIGHT = torch.rand(10, generator=GENERATOR, dtype=torch.float64) + 0.1


def loss_and_gradient(criterion: Callable[[Tensor, Tensor], Tensor], target: Tensor) -> tuple[Tensor, Tensor]:
    logits = LOGITS.clone().requires_grad_()
    loss = criterion(logits, target)
    return loss.detach(), torch.autograd.grad(loss.sum(), logits)[0]


def criterion_of(name: str, **params: Any) -> Criterion:
    return Criterion(name, **{"reduction": "none", **params})


EQUAL: list[tuple[tuple[str, dict[str, Any]], tuple[str, dict[str, Any]]]] = [
    (("kl_divergence", {}), ("cross_entropy", {})),
    (("focal", {"gamma": 0.0}), ("cross_entropy", {})),
    (("confidence_penalty", {"lam": 0.0}), ("cross_entropy", {})),
    (("sampling_free", {"beta": 1.0, "gamma": 0.0}), ("cross_entropy", {})),
    (("sampling_free", {"beta": 1.0, "gamma": 2.5}), ("focal", {"gamma": 2.5})),
    (("sampling_free", {"beta": 1.0, "gamma": 2.5, "variant": "scale"}), ("focal", {"gamma": 2.5})),
    (("sampling_free", {"beta": 1.0, "gamma": 2.5, "variant": "inner"}), ("focal", {"gamma": 2.5})),
    (("sampling_free", {"beta": 0.0, "gamma": 1.0, "variant": "star"}), ("cross_entropy", {})),
]


@pytest.mark.parametrize("probability", PROBABILITIES)
@pytest.mark.parametrize(("one", "other"), EQUAL, ids=lambda pair: pair[0] + str(pair[1]))
def test_two_losses_are_the_same_function(
    one: tuple[str, dict[str, Any]], other: tuple[str, dict[str, Any]], probability: str
):
    first = loss_and_gradient(criterion_of(one[0], probability=probability, **one[1]), TARGET)
    second = loss_and_gradient(criterion_of(other[0], probability=probability, **other[1]), TARGET)
    torch.testing.assert_close(first, second, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("probability", PROBABILITIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kl_and_cross_entropy_are_bit_identical_on_class_indices(probability: str, dtype: torch.dtype):
    logits = LOGITS.clone().to(dtype).requires_grad_()
    results = []
    for name in ("kl_divergence", "cross_entropy"):
        loss = Criterion(name, probability=probability)(logits, TARGET)
        results.append((loss, torch.autograd.grad(loss, logits)[0]))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize("margin", [0.0, 0.3, 2.0])
def test_cross_entropy_on_a_margin_is_a_shifted_softplus_and_the_star_variant(margin: float):
    options = {"probability": "soft_margin_softmax", "probability_params": {"margin": margin}}
    loss = criterion_of("cross_entropy", **options)(LOGITS, TARGET)
    log_odds = -torch.log(torch.expm1(criterion_of("cross_entropy")(LOGITS, TARGET)))
    torch.testing.assert_close(loss, F.softplus(margin - log_odds), rtol=1e-8, atol=1e-8)
    star = criterion_of("sampling_free", beta=-margin, gamma=1.0, variant="star")(LOGITS, TARGET)
    torch.testing.assert_close(star, loss, rtol=1e-10, atol=1e-10)
    plain = criterion_of("cross_entropy")(LOGITS, TARGET)
    assert (plain <= loss + 1e-12).all()
    assert (loss <= plain + margin + 1e-12).all()


def test_normalized_adma_approaches_cross_entropy_as_its_exponent_falls():
    p = torch.linspace(0.001, 0.999, 500, dtype=torch.float64)
    logits = torch.stack([p, 1 - p], dim=1).log()
    target = torch.zeros(500, dtype=torch.int64)
    cross_entropy = criterion_of("cross_entropy")(logits, target)
    gaps = []
    for a in (0.01, 0.0001):
        adma = criterion_of("adma", a=a, normalize=True)(logits, target)
        gaps.append(((adma - cross_entropy).abs() / cross_entropy).max().item())
    assert gaps[0] == pytest.approx(0.065, abs=0.003)  # the two gaps that formulas.md states
    assert gaps[1] == pytest.approx(0.0007, abs=0.00003)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.floats(-30, 30), st.floats(0.01, 0.5))
def test_adma_stays_within_its_bounds(log_odds: float, a: float):
    logits = torch.tensor([[log_odds, 0.0]], dtype=torch.float64)
    loss = Criterion("adma", a=a)(logits, torch.tensor([0])).item()
    assert 0 <= loss <= math.e - 1


@pytest.mark.parametrize("probability", PROBABILITIES)
def test_js_stays_within_its_bounds_for_indices_and_probabilities(probability: str):
    for target in (TARGET, SOFT_TARGET):
        loss = criterion_of("js_divergence", probability=probability)(20 * LOGITS, target)
        assert (loss >= 0).all()
        assert (loss <= math.log(2) + 1e-12).all()


def test_js_near_certainty_keeps_its_digits_in_single_precision():
    log_probs = torch.tensor([[-1e-6, math.log(1e-6)]])
    loss = LOSSES["js_divergence"].function(log_probs, torch.tensor([0])).item()
    assert loss == pytest.approx(1e-6 * math.log(2) / 2, rel=1e-5)


# --- closed-form gradients on the softmax logits, formulas.md sections 2 to 6 ---

P = LOGITS.softmax(1)
ONE_HOT = F.one_hot(TARGET, 10).double()
P_T = P.gather(1, TARGET[:, None])
C_T = -P_T.log()
PULL = ONE_HOT - P
WRONG = P.scatter(1, TARGET[:, None], 0.0).max(1, keepdim=True)
ENTROPY = -(P * P.log()).sum(1, keepdim=True)
AT_F = torch.zeros_like(P).scatter(1, WRONG.indices, 1.0)


def focal_gradient(gamma: float) -> Tensor:
    return -((1 - P_T) ** gamma + gamma * P_T * (1 - P_T) ** (gamma - 1) * C_T) * PULL


def hinge_gradient() -> Tensor:
    on_p = -(2 / 10) * (2 * ONE_HOT - 1) * (1 - (2 * ONE_HOT - 1) * P)
    return P * (on_p - (P * on_p).sum(1, keepdim=True))


GRADIENTS: list[tuple[str, dict[str, Any], Tensor]] = [
    ("cross_entropy", {}, -PULL),
    ("kl_divergence", {}, -PULL),
    ("js_divergence", {}, (P_T / 2) * (P_T / (1 + P_T)).log() * PULL),
    ("focal", {"gamma": 2.0}, focal_gradient(2.0)),
    ("focal", {"gamma": 0.5}, focal_gradient(0.5)),
    ("adma", {"a": 0.25}, -0.25 * P_T**0.25 * (P_T**0.25).exp() * PULL),
    ("mse", {}, 0.2 * P * ((P - ONE_HOT) - (P * (P - ONE_HOT)).sum(1, keepdim=True))),
    ("squared_hinge", {}, hinge_gradient()),
    (
        "sampling_free",
        {"beta": 4.0, "gamma": 5.0},
        -(4 * C_T**3 * (1 - P_T) ** 5 + 5 * P_T * (1 - P_T) ** 4 * C_T**4) * PULL,
    ),
    ("false_positive", {"alpha": "none"}, -PULL + WRONG.values / (1 - WRONG.values) * (AT_F - P)),
    ("confidence_penalty", {"lam": 0.1}, -PULL + 0.1 * P * (P.log() + ENTROPY)),
]


def test_every_flat_loss_of_the_papers_has_its_gradient_checked():
    flat = {name for name in TAUGHT if LOSSES[name].takes == "logits"} - {"hierarchical_cross_entropy"}
    assert {row[0] for row in GRADIENTS} >= flat


@pytest.mark.parametrize(("name", "params", "expected"), GRADIENTS, ids=lambda v: v if isinstance(v, str) else "")
def test_the_gradient_on_the_logits_is_the_closed_form(name: str, params: dict[str, Any], expected: Tensor):
    _, gradient = loss_and_gradient(criterion_of(name, **params), TARGET)
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-10)


def test_the_sampling_free_gradient_at_a_confident_error_is_the_published_figure():
    p = torch.tensor([[0.0001, 0.9999]], dtype=torch.float64)
    logits = p.log().requires_grad_()
    loss = Criterion("sampling_free")(logits, torch.tensor([0]))
    assert -torch.autograd.grad(loss, logits)[0][0, 0].item() == pytest.approx(3127, rel=2e-3)


# --- outside references ---


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("soft", [False, True], ids=["indices", "probabilities"])
def test_cross_entropy_is_torchs(reduction: str, weight: Tensor | None, soft: bool):
    target = SOFT_TARGET if soft else TARGET.clone()
    if not soft:
        target[::5] = -100
    ours = loss_and_gradient(Criterion("cross_entropy", weight=weight, reduction=reduction), target)
    theirs = loss_and_gradient(lambda z, t: F.cross_entropy(z, t, weight=weight, reduction=reduction), target)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_cross_entropy_on_smoothed_targets_is_torchs_label_smoothing(smoothing: float):
    smoothed = (1 - smoothing) * ONE_HOT + smoothing / 10
    ours = Criterion("cross_entropy")(LOGITS, smoothed)
    torch.testing.assert_close(ours, F.cross_entropy(LOGITS, TARGET, label_smoothing=smoothing))


def test_kl_divergence_is_torchs():
    ours = loss_and_gradient(Criterion("kl_divergence"), SOFT_TARGET)
    theirs = loss_and_gradient(lambda z, t: F.kl_div(F.log_softmax(z, 1), t, reduction="batchmean"), SOFT_TARGET)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_kl_divergence_is_cross_entropy_less_the_entropy_of_the_target():
    entropy = torch.special.entr(SOFT_TARGET).sum(1)
    gap = criterion_of("cross_entropy")(LOGITS, SOFT_TARGET) - criterion_of("kl_divergence")(LOGITS, SOFT_TARGET)
    torch.testing.assert_close(gap, entropy)


@pytest.mark.parametrize("soft", [False, True], ids=["indices", "probabilities"])
@pytest.mark.parametrize("sqrt", [False, True])
def test_js_divergence_is_scipys(soft: bool, sqrt: bool):
    target = SOFT_TARGET if soft else ONE_HOT
    distance = scipy.spatial.distance.jensenshannon(P.numpy(), target.numpy(), axis=1)
    ours = criterion_of("js_divergence", sqrt=sqrt)(LOGITS, SOFT_TARGET if soft else TARGET)
    np.testing.assert_allclose(ours.numpy(), distance if sqrt else distance**2, rtol=1e-9, atol=1e-9)


def test_cross_entropy_is_scikit_learns_log_loss():
    theirs = sklearn.metrics.log_loss(TARGET.numpy(), P.numpy(), labels=range(10))
    assert Criterion("cross_entropy")(LOGITS, TARGET).item() == pytest.approx(theirs, rel=1e-12)


def test_mse_is_torchs_mse_and_scikit_learns_brier_score():
    ours = Criterion("mse")(LOGITS, TARGET).item()
    assert ours == pytest.approx(F.mse_loss(P, ONE_HOT).item(), rel=1e-12)
    brier = sklearn.metrics.brier_score_loss(TARGET.numpy(), P.numpy(), labels=range(10), scale_by_half=False)
    assert ours == pytest.approx(brier / 10, rel=1e-12)
    assert Criterion("mse")(LOGITS, SOFT_TARGET).item() == pytest.approx(F.mse_loss(P, SOFT_TARGET).item())


def test_squared_hinge_of_each_class_is_torchs_margin_loss():
    signs = 2 * ONE_HOT - 1
    for on, scores in (("probs", P), ("logits", LOGITS)):
        expected = F.relu(1 - signs * scores).square().mean()
        torch.testing.assert_close(Criterion("squared_hinge", on=on)(LOGITS, TARGET), expected)


@pytest.mark.parametrize("name", [name for name in SOFT if LOSSES[name].soft_target == "by_class"])
def test_a_loss_by_class_is_the_targets_mean_over_the_classes(name: str):
    criterion, logits, target = make_problem(name, reduction="none")
    classes = criterion.num_classes or 5
    soft = soft_targets(target, classes)
    each = [criterion(logits, torch.full_like(target, index)) for index in range(classes)]
    torch.testing.assert_close(criterion(logits, soft), (soft * torch.stack(each, dim=1)).sum(1))
