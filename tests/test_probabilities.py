"""Probability functions: proper distributions, their gradients, and what the papers' printed forms get wrong."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.special
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lossbench.probabilities import PROBABILITIES, log_probs, register_probability

LOGITS = 2 * torch.randn(64, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGET = torch.randint(10, (64,), generator=torch.Generator().manual_seed(1))

# name, parameters, probabilities at logits (1, 0, -1) and target 0, worked by hand
E = math.e
ROWS: list[tuple[str, dict[str, Any], list[float]]] = [
    ("softmax", {}, [x / (E + 1 + 1 / E) for x in (E, 1, 1 / E)]),
    ("soft_margin_softmax", {"margin": 1.0}, [x / (2 + 1 / E) for x in (1, 1, 1 / E)]),
    ("taylor_softmax", {}, [2.5 / 4, 1 / 4, 0.5 / 4]),
    ("taylor_softmax", {"order": 4}, [x / (65 / 24 + 1 + 9 / 24) for x in (65 / 24, 1, 9 / 24)]),
]


def test_every_probability_function_has_a_row():
    assert {row[0] for row in ROWS} == set(PROBABILITIES)


@pytest.mark.parametrize(("name", "params", "expected"), ROWS)
def test_probabilities_are_those_worked_by_hand(name: str, params: dict[str, Any], expected: list[float]):
    logits = torch.tensor([[1.0, 0.0, -1.0]], dtype=torch.float64)
    result = log_probs(name, logits, torch.tensor([0]), **params).exp()
    torch.testing.assert_close(result, torch.tensor([expected], dtype=torch.float64), rtol=1e-12, atol=0)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 64), st.integers(2, 100), st.floats(0.01, 1e4), st.integers(0, 999))
@pytest.mark.parametrize(("name", "params"), [(row[0], row[1]) for row in ROWS] + [("taylor_softmax", {"order": 8})])
def test_probabilities_are_positive_and_sum_to_one(
    name: str, params: dict[str, Any], batch: int, classes: int, scale: float, seed: int
):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(batch, classes, generator=generator, dtype=torch.float64)
    target = torch.randint(classes, (batch,), generator=generator)
    result = log_probs(name, logits, target, **params)
    assert result.isfinite().all()
    assert (result <= 0).all()
    torch.testing.assert_close(result.exp().sum(1), torch.ones(batch, dtype=torch.float64), rtol=1e-9, atol=0)


@pytest.mark.parametrize(("name", "params"), [(row[0], row[1]) for row in ROWS] + [("taylor_softmax", {"order": 8})])
def test_log_probabilities_and_gradients_are_finite_at_extreme_logits(name: str, params: dict[str, Any]):
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4], [-1e4, -1e4, -1e4]], requires_grad=True)
    result = log_probs(name, logits, torch.tensor([0, 0, 0]), **params)
    assert result.isfinite().all()
    assert torch.autograd.grad(result.sum(), logits)[0].isfinite().all()


@pytest.mark.parametrize(("name", "params"), [(row[0], row[1]) for row in ROWS])
def test_gradients_agree_with_finite_differences(name: str, params: dict[str, Any]):
    logits = LOGITS[:4, :5].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: log_probs(name, z, TARGET[:4] % 5, **params), logits)


def test_softmax_is_scipys():
    expected = scipy.special.log_softmax(LOGITS.numpy(), axis=1)
    np.testing.assert_allclose(log_probs("softmax", LOGITS).numpy(), expected, rtol=1e-12)


def test_the_margin_is_taken_off_the_target_only_and_only_when_there_is_one():
    shifted = LOGITS - 0.3 * F.one_hot(TARGET, 10)
    torch.testing.assert_close(log_probs("soft_margin_softmax", LOGITS, TARGET), F.log_softmax(shifted, 1))
    torch.testing.assert_close(log_probs("soft_margin_softmax", LOGITS), F.log_softmax(LOGITS, 1))
    assert torch.equal(log_probs("soft_margin_softmax", LOGITS, TARGET, margin=0), F.log_softmax(LOGITS, 1))


def test_the_margin_of_class_probabilities_is_their_share_of_it():
    one_hot = F.one_hot(TARGET, 10).double()
    soft, hard = (log_probs("soft_margin_softmax", LOGITS, target) for target in (one_hot, TARGET))
    torch.testing.assert_close(soft, hard)


@pytest.mark.parametrize("order", [2, 4, 6, 8])
def test_taylor_softmax_normalises_the_taylor_polynomial(order: int):
    polynomial = sum(LOGITS**k / math.factorial(k) for k in range(order + 1))
    assert isinstance(polynomial, Tensor)
    expected = polynomial / polynomial.sum(1, keepdim=True)
    torch.testing.assert_close(log_probs("taylor_softmax", LOGITS, order=order).exp(), expected)


def test_taylor_softmax_approaches_softmax_with_its_order():
    gaps = [
        (log_probs("taylor_softmax", LOGITS / 4, order=order) - F.log_softmax(LOGITS / 4, 1)).abs().max().item()
        for order in (2, 4, 6, 8)
    ]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-3


def test_the_gradient_of_taylor_softmax_is_its_closed_form():
    logits = LOGITS.clone().requires_grad_()
    result = log_probs("taylor_softmax", logits)
    (gradient,) = torch.autograd.grad(result[:, 0].sum(), logits)
    rate = (1 + LOGITS) / (1 + LOGITS + LOGITS**2 / 2)
    delta = F.one_hot(torch.zeros(64, dtype=torch.int64), 10)
    torch.testing.assert_close(gradient, rate * (delta - result.detach().exp()), rtol=1e-10, atol=1e-10)
    assert rate.abs().max() <= 1


def test_taylor_softmax_is_not_monotone_so_the_largest_logit_need_not_win():
    logits = torch.tensor([[0.0, -4.0]])
    assert logits.argmax(1).item() == 0
    assert log_probs("taylor_softmax", logits).argmax(1).item() == 1


@pytest.mark.parametrize("order", [0, 1, 3, 5, -2, 2.5, 10])
def test_taylor_softmax_takes_even_orders_only(order: float):
    with pytest.raises(ValueError, match=f"order must be .* got {order}"):
        log_probs("taylor_softmax", LOGITS, order=order)


def test_an_unknown_probability_function_names_the_nearest():
    with pytest.raises(ValueError, match="unknown probability function 'sofmax'; did you mean 'softmax'"):
        PROBABILITIES["sofmax"]


def test_labels_show_the_margin_always_and_the_order_when_it_is_unusual():
    assert PROBABILITIES["soft_margin_softmax"].label() == "soft_margin_softmax m=0.3"
    assert PROBABILITIES["taylor_softmax"].label() == "taylor_softmax"
    assert PROBABILITIES["taylor_softmax"].label({"order": 4.0}) == "taylor_softmax order=4"


def test_a_probability_function_must_have_the_right_signature_and_a_new_name():
    def strange(scores: Tensor) -> Tensor:
        return scores

    with pytest.raises(TypeError, match="strange must take"):
        register_probability()(strange)
    with pytest.raises(ValueError, match="'softmax' is registered already"):
        register_probability()(PROBABILITIES["softmax"].function)
