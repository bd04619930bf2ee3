"""Every loss on logits: a row worked by hand, then laws that hold for all of them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_problems import ON_LOGITS, PAIRS, VARIANTS, make_problem, name_of, soft_targets
from torch import Tensor

from lossbench.losses import LOSSES, Criterion
from lossbench.losses.primitives import log1m
from lossbench.probabilities import PROBABILITIES

LOG2, LOG4 = math.log(2), math.log(4)
PAIRED = {"tree": {"root": ["pair", "c"], "pair": ["a", "b"]}, "mode": "leaf", "node_weight": "literal"}

# loss, hyperparameters, value at probabilities (1/2, 1/4, 1/4) and target 0, worked by hand from formulas.md
ROWS: list[tuple[str, dict[str, Any], float]] = [
    ("cross_entropy", {}, LOG2),
    ("kl_divergence", {}, LOG2),
    # m = (3/4, 1/8, 1/8): KL(q|m) = log(4/3); KL(p|m) = log(2/3) / 2 + log(2) / 2
    ("js_divergence", {}, (math.log(4 / 3) + math.log(2 / 3) / 2 + LOG2 / 2) / 2),
    ("js_divergence", {"sqrt": True}, math.sqrt((math.log(4 / 3) + math.log(4 / 3) / 2) / 2)),
    ("focal", {}, LOG2 / 4),
    ("focal", {"gamma": 0.5}, LOG2 / math.sqrt(2)),
    ("adma", {"a": 0.5}, math.e - math.exp(math.sqrt(0.5))),
    ("adma", {"a": 0.5, "normalize": True}, (math.e - math.exp(math.sqrt(0.5))) / (0.5 * math.e)),
    ("mse", {}, (1 / 4 + 1 / 16 + 1 / 16) / 3),
    ("squared_hinge", {}, (1 / 4 + 25 / 16 + 25 / 16) / 3),
    ("sampling_free", {}, LOG2**4 / 32),
    ("sampling_free", {"beta": 2.0, "gamma": 3.0, "variant": "scale"}, 2 * LOG2 / 8),
    ("sampling_free", {"beta": 2.0, "gamma": 3.0, "variant": "inner"}, (3 / 4) ** 3 * LOG2),
    ("sampling_free", {"beta": 2.0, "gamma": 3.0, "variant": "star"}, math.log(1 + math.exp(-2)) / 3),
    ("false_positive", {"alpha": "none"}, LOG2 + math.log(4 / 3)),
    ("false_positive", {"alpha": (1.0, 2.0, 2.0)}, LOG2 + 2 * math.log(4 / 3)),
    ("false_positive", {"alpha": "none", "top_k": 2}, LOG2 + 2 * math.log(4 / 3)),
    ("false_positive", {"alpha": "none", "form": "mse"}, 1 / 4 + 1 / 16),
    ("confidence_penalty", {}, LOG2 - 0.1 * (LOG2 / 2 + LOG4 / 2)),
    # -3 log P(pair) - log P(a | pair): the subtree of pair has three nodes
    ("hierarchical_cross_entropy", PAIRED, -3 * math.log(3 / 4) - math.log(2 / 3)),
]


def test_every_loss_on_logits_has_a_row():
    assert {row[0] for row in ROWS} == set(ON_LOGITS)


def test_every_loss_on_logits_is_in_the_variants_with_its_defaults():
    assert {name for name, params in VARIANTS if not params} == set(ON_LOGITS)


@pytest.mark.parametrize(("name", "params", "expected"), ROWS, ids=name_of)
def test_the_value_is_the_one_worked_by_hand(name: str, params: dict[str, Any], expected: float):
    context = {"class_names": ("a", "b", "c")} if "tree" in params else {}
    criterion = Criterion(name, **params, **context)
    logits = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64).log()
    if params.get("on") == "logits":
        logits = logits.exp()
    assert criterion(logits, torch.tensor([0])).item() == pytest.approx(expected, rel=1e-11)


def test_squared_hinge_on_logits_reaches_zero_and_on_probabilities_does_not():
    logits = torch.tensor([[2.0, -3.0, -1.0]])
    assert Criterion("squared_hinge", on="logits")(logits, torch.tensor([0])).item() == 0
    sure = torch.tensor([[1e4, 0.0, 0.0]])
    assert Criterion("squared_hinge")(sure, torch.tensor([0])).item() == pytest.approx(2 / 3)


@pytest.mark.parametrize(("name", "params", "probability"), PAIRS, ids=name_of)
def test_gradients_agree_with_finite_differences(name: str, params: dict[str, Any], probability: str):
    criterion, logits, target = make_problem(name, params, batch=4, probability=probability, reduction="none")
    assert torch.autograd.gradcheck(lambda z: criterion(z, target), logits.requires_grad_())


@pytest.mark.parametrize("name", ON_LOGITS)
def test_second_derivatives_agree_with_finite_differences(name: str):
    criterion, logits, target = make_problem(name, batch=2, classes=3)
    assert torch.autograd.gradgradcheck(lambda z: criterion(z, target), logits.requires_grad_())


@pytest.mark.parametrize(("name", "params", "probability"), PAIRS, ids=name_of)
def test_value_and_gradient_are_finite_at_extreme_logits(name: str, params: dict[str, Any], probability: str):
    for size in (200.0, 1e4):
        criterion, logits, _ = make_problem(
            name, params, batch=9, classes=3, dtype=torch.float32, probability=probability, reduction="none"
        )
        rows = torch.zeros_like(logits)
        rows[0, 0], rows[1, 0], rows[2, 1], rows[3, :2] = size, -size, size, size
        rows[4], rows[5], rows[6, 0], rows[6, 1] = size, -size, size, -size
        rows[7, 0], rows[7, 1], rows[8] = -size, size, torch.where(torch.arange(rows.shape[1]) % 2 == 0, size, -size)
        rows.requires_grad_()
        target = torch.zeros(len(rows), dtype=torch.int64)
        loss = criterion(rows, target)
        (gradient,) = torch.autograd.grad(loss.sum(), rows)
        assert loss.isfinite().all(), loss
        assert gradient.isfinite().all(), gradient


FLAT = [variant for variant in VARIANTS if variant[0] != "hierarchical_cross_entropy"]  # no class structure


@pytest.mark.parametrize(("name", "params"), FLAT, ids=name_of)
def test_the_order_of_the_classes_does_not_matter(name: str, params: dict[str, Any]):
    criterion, logits, target = make_problem(name, params, batch=16, classes=7)
    order = torch.tensor([3, 0, 6, 2, 5, 1, 4])
    moved = criterion(logits[:, order], torch.argsort(order)[target])
    torch.testing.assert_close(moved, criterion(logits, target), rtol=1e-12, atol=1e-12)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(batch=st.integers(1, 64), classes=st.integers(2, 100), seed=st.integers(0, 9999))
@pytest.mark.parametrize(("name", "params"), VARIANTS, ids=name_of)
def test_any_shape_gives_one_finite_value_a_sample(
    name: str, params: dict[str, Any], batch: int, classes: int, seed: int
):
    criterion, logits, target = make_problem(
        name, params, batch=batch, classes=classes, seed=seed, reduction="none", dtype=torch.float32
    )
    loss = criterion(logits.requires_grad_(), target)
    assert loss.shape == (batch,)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("probability", PROBABILITIES)
@pytest.mark.parametrize(("name", "params"), VARIANTS, ids=name_of)
def test_nan_logits_are_not_hidden(name: str, params: dict[str, Any], probability: str):
    criterion, logits, target = make_problem(name, params, probability=probability, reduction="none")
    wrong_class = (target[1] + 1) % criterion.num_outputs(criterion.num_classes or logits.shape[1])
    logits[1, wrong_class] = math.nan
    if params.get("mode") is None and criterion.num_classes is not None:
        logits[1] = math.nan  # with a softmax in each group of siblings, classes elsewhere do not matter
    assert criterion(logits, target).isnan()[1]


@pytest.mark.parametrize(("name", "params"), VARIANTS, ids=name_of)
def test_half_precision_is_computed_in_single_precision(name: str, params: dict[str, Any]):
    for dtype in (torch.float16, torch.bfloat16):
        criterion, logits, target = make_problem(name, params, dtype=torch.float32, reduction="none", scale=20.0)
        logits = logits.to(dtype)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = criterion(logits, target)
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, criterion(logits.float(), target), rtol=0, atol=0)


@pytest.mark.parametrize(("name", "params"), VARIANTS, ids=name_of)
def test_inputs_are_left_as_they_were(name: str, params: dict[str, Any]):
    criterion, logits, target = make_problem(name, params)
    before, target_before = logits.clone(), target.clone()
    criterion(logits.requires_grad_(), target).backward()
    assert torch.equal(logits, before)
    assert torch.equal(target, target_before)


@pytest.mark.parametrize(("name", "params"), VARIANTS, ids=name_of)
def test_vmap_over_models_gives_what_a_loop_gives(name: str, params: dict[str, Any]):
    criterion, logits, target = make_problem(name, params)
    stack = torch.stack([logits, logits.flip(0), -logits])
    batched = torch.func.vmap(torch.func.grad_and_value(lambda z: criterion(z, target)))(stack)
    looped = [torch.func.grad_and_value(lambda z: criterion(z, target))(z) for z in stack]
    for part in (0, 1):
        torch.testing.assert_close(batched[part], torch.stack([one[part] for one in looped]))


@pytest.mark.parametrize(("name", "params"), VARIANTS, ids=name_of)
def test_vmap_over_logits_and_targets_gives_what_a_loop_gives(name: str, params: dict[str, Any]):
    criterion, logits, target = make_problem(name, params)
    stack, targets = torch.stack([logits, -logits]), torch.stack([target, target.flip(0)])
    looped = torch.stack([criterion(z, t) for z, t in zip(stack, targets, strict=True)])
    torch.testing.assert_close(torch.func.vmap(criterion)(stack, targets), looped)


COMPILED = [(name, {}) for name in ON_LOGITS] + [
    ("adma", {"learnable": True}),
    ("false_positive", {"top_k": 3, "aggregate": "median"}),
    ("hierarchical_cross_entropy", {"mode": "flat_nodes"}),
]


@pytest.mark.parametrize(("name", "params"), COMPILED, ids=name_of)
def test_the_whole_loss_compiles_to_one_graph(name: str, params: dict[str, Any]):
    torch.compiler.reset()
    criterion, logits, target = make_problem(name, params)
    compiled = torch.compile(criterion, backend="aot_eager", fullgraph=True)
    logits.requires_grad_()
    value, expected = compiled(logits, target), criterion(logits, target)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(*(torch.autograd.grad(loss, logits)[0] for loss in (value, expected)))


@pytest.mark.slow
def test_a_loss_runs_under_the_default_compiler():
    torch.compiler.reset()
    criterion, logits, target = make_problem("focal", {"gamma": 0.5}, dtype=torch.float32)
    compiled = torch.compile(criterion, fullgraph=True)
    torch.testing.assert_close(compiled(logits, target), criterion(logits, target))


@pytest.mark.parametrize("name", [name for name in ON_LOGITS if LOSSES[name].soft_target != "no"])
def test_one_hot_probabilities_as_target_are_class_indices(name: str):
    criterion, logits, target = make_problem(name, reduction="none", classes=4)
    one_hot = torch.nn.functional.one_hot(target, criterion.num_classes or 4).double()
    logits.requires_grad_()
    hard, soft = criterion(logits, target), criterion(logits, one_hot)
    torch.testing.assert_close(soft, hard, rtol=1e-12, atol=1e-12)
    hard_gradient, soft_gradient = (torch.autograd.grad(loss.sum(), logits)[0] for loss in (hard, soft))
    torch.testing.assert_close(soft_gradient, hard_gradient, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in ON_LOGITS if LOSSES[name].soft_target != "no"])
def test_class_probabilities_as_target_pass_gradcheck_and_extreme_logits(name: str):
    criterion, logits, target = make_problem(name, batch=4, reduction="none")
    soft = soft_targets(target, criterion.num_classes or 5)
    assert torch.autograd.gradcheck(lambda z: criterion(z, soft), logits.requires_grad_())
    extreme = (1e4 * logits.detach().sign()).float().requires_grad_()
    loss = criterion(extreme, soft.float())
    assert loss.isfinite().all()
    assert torch.autograd.grad(loss.sum(), extreme)[0].isfinite().all()


@pytest.mark.parametrize("name", [name for name in ON_LOGITS if LOSSES[name].soft_target == "no"])
def test_a_loss_without_soft_targets_says_so(name: str):
    criterion, logits, _ = make_problem(name)
    with pytest.raises(TypeError, match=f"{name}: target must be class indices.*does not say what class prob"):
        criterion(logits, torch.softmax(logits, 1))


@pytest.mark.parametrize(("dtype", "accuracy"), [(torch.float32, 1e-5), (torch.float64, 1e-9)])
@given(log_p=st.floats(-60, -1e-6))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_log1m_agrees_with_extended_precision(dtype: torch.dtype, accuracy: float, log_p: float):
    rounded = torch.tensor(log_p, dtype=dtype)
    exact = math.log(-math.expm1(rounded.item()))
    assert log1m(rounded).item() == pytest.approx(exact, rel=accuracy, abs=torch.finfo(dtype).eps)


def test_log1m_is_finite_where_the_probability_has_rounded_to_one():
    for dtype in (torch.float32, torch.float64):
        log_p = torch.zeros(1, dtype=dtype, requires_grad=True)
        value: Tensor = log1m(log_p)
        assert value.isfinite().all()
        assert torch.autograd.grad(value, log_p)[0].item() == 0
