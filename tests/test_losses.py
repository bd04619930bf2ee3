"""Every loss on logits: a row worked by hand, then laws that hold for all of them."""

from __future__ import annotations

import copy
import dataclasses
import io
import itertools
import math
import multiprocessing
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any, get_args

import numpy as np
import pytest
import scipy.spatial.distance
import sklearn.metrics
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import (
    COUNTED,
    ON_LOGITS,
    OTHERS,
    PAIRS,
    SOFT,
    TAUGHT,
    VARIANTS,
    context_of,
    make_problem,
    name_of,
    soft_targets,
)
from torch import Tensor, nn

from lossbench.losses import LOSSES, Criterion
from lossbench.losses.catalogue import Origin
from lossbench.losses.classification import LearnableExponent, log1m
from lossbench.losses.probabilities import PROBABILITIES
from lossbench.losses.relations import EDGES, Edge

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
    ("adma", {"a": 0.5, "base": 4.0}, 4 - 4 ** math.sqrt(0.5)),
    ("adma", {"a": 0.5, "base": 4.0, "normalize": True}, (4 - 4 ** math.sqrt(0.5)) / (0.5 * 4 * math.log(4))),
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
    ("false_positive", {"alpha": "none", "ratio": 0.5}, LOG2 + 0.5 * math.log(4 / 3)),
    ("false_positive", {"alpha": "none", "ratio": 0.0}, LOG2),
    ("false_positive", {"alpha": "none", "form": "mse"}, 1 / 4 + 1 / 16),
    ("confidence_penalty", {}, LOG2 - 0.1 * (LOG2 / 2 + LOG4 / 2)),
    # -3 log P(pair) - log P(a | pair): the subtree of pair has three nodes
    ("hierarchical_cross_entropy", PAIRED, -3 * math.log(3 / 4) - math.log(2 / 3)),
    ("label_smoothing", {}, 0.9 * LOG2 + 0.1 * (LOG2 + 2 * LOG4) / 3),
    ("poly1", {}, LOG2 + 2 / 2),
    ("taylor_cross_entropy", {}, 1 / 2 + 1 / 8 + 1 / 24 + 1 / 64),
    # the logits are -(1, 2, 2) log 2, whose length is 3 log 2
    ("logit_norm", {}, math.log(1 + 2 * math.exp(-1 / 3 / 0.04))),
    ("generalized_cross_entropy", {"q": 0.5}, 2 - math.sqrt(2)),
    ("symmetric_cross_entropy", {}, 0.1 * LOG2 + 4 / 2),
    # m = (5/8, 3/16, 3/16): KL(q|m) = log(8/5); KL(p|m) = log(4/5) / 2 + log(4/3) / 2
    (
        "generalized_js",
        {"share": 0.25},
        (math.log(8 / 5) / 4 + 3 / 8 * (math.log(4 / 5) + math.log(4 / 3))) / (3 / 4 * math.log(4 / 3)),
    ),
    ("active_passive", {}, LOG2 / (LOG2 + 2 * LOG4) + 2 / 2),
    # sigmoids p / (1 + p): 1/3, 1/5, 1/5
    ("binary_cross_entropy", {}, math.log(3) + 2 * math.log(5 / 4)),
    ("binary_cross_entropy", {"aggregate": "mean"}, (math.log(3) + 2 * math.log(5 / 4)) / 3),
    ("square_loss", {}, ((LOG2 + 1) ** 2 + 2 * LOG4**2) / 3),
    ("square_loss", {"goal": 2.0, "factor": 3.0}, (3 * (LOG2 + 2) ** 2 + 2 * LOG4**2) / 3),
    ("squentropy", {}, LOG2 + LOG4**2),
    ("multi_margin", {}, 2 * (1 - LOG2) / 3),
    ("multi_margin", {"aggregate": "max"}, 1 - LOG2),
    # counts 1, 2, 3: 1/2 against 2/4 and 3/4
    ("logit_adjusted", {}, math.log((1 / 2 + 2 / 4 + 3 / 4) / (1 / 2))),
    ("bi_tempered", {"t1": 0.5}, 2 - math.sqrt(2) - (1 - 0.5**1.5 - 2 * 0.25**1.5) / 1.5),
    # on logits 0, -log 2, -log 2 all classes are in the support: the threshold is -(1 + 2 log 2) / 3
    ("sparsemax_loss", {}, (2 * LOG2**2 - (1 + 2 * LOG2) ** 2 / 3 + 1) / 2),
    ("focal_flsd", {}, LOG2 / 8),
    ("focal_flsd", {"threshold": 0.6}, LOG2 / 32),
    ("asymmetric", {"epsilon": 0.3, "gamma_target": 1.0}, 0.8 * LOG2 / 2 + 0.1 * 2 * LOG4 / 256),
    ("two_scale", {}, (0.1 + 0.9 / (1 + math.exp(2.5))) * LOG2),  # it leads by 1/4
]


def test_every_loss_on_logits_has_a_row():
    assert {row[0] for row in ROWS} == set(ON_LOGITS)


@pytest.mark.parametrize(("name", "params", "expected"), ROWS, ids=name_of)
def test_the_value_is_the_one_worked_by_hand(name: str, params: dict[str, Any], expected: float):
    context = {"class_names": ("a", "b", "c")} if "tree" in params else context_of(name, 3)
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


@pytest.mark.parametrize(("name", "params"), VARIANTS, ids=name_of)
def test_value_and_gradient_are_finite_at_extreme_logits(name: str, params: dict[str, Any]):
    for probability, size in itertools.product(PROBABILITIES, (200.0, 1e4)):
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
        assert loss.isfinite().all(), (probability, loss)
        assert gradient.isfinite().all(), (probability, gradient)


FLAT = [variant for variant in VARIANTS if variant[0] not in {"hierarchical_cross_entropy", *COUNTED}]


@pytest.mark.parametrize(("name", "params"), FLAT, ids=name_of)
def test_the_order_of_the_classes_does_not_matter(name: str, params: dict[str, Any]):
    criterion, logits, target = make_problem(name, params, batch=16, classes=7)
    order = torch.tensor([3, 0, 6, 2, 5, 1, 4])
    moved = criterion(logits[:, order], torch.argsort(order)[target])
    torch.testing.assert_close(moved, criterion(logits, target), rtol=1e-12, atol=1e-12)


@settings(max_examples=6, deadline=None, derandomize=True)
@given(batch=st.integers(1, 64), classes=st.integers(2, 100), seed=st.integers(0, 9999))
@pytest.mark.parametrize(("name", "params"), VARIANTS, ids=name_of)
def test_any_shape_gives_one_finite_value_a_sample_and_leaves_the_inputs_as_they_were(
    name: str, params: dict[str, Any], batch: int, classes: int, seed: int
):
    criterion, logits, target = make_problem(
        name, params, batch=batch, classes=classes, seed=seed, reduction="none", dtype=torch.float32
    )
    before = logits.clone(), target.clone()
    loss = criterion(logits.requires_grad_(), target)
    assert loss.shape == (batch,)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert logits.grad.isfinite().all()
    assert torch.equal(logits, before[0])
    assert torch.equal(target, before[1])


@pytest.mark.parametrize(("name", "params"), VARIANTS, ids=name_of)
def test_nan_logits_are_not_hidden(name: str, params: dict[str, Any]):
    for probability in PROBABILITIES:
        criterion, logits, target = make_problem(name, params, probability=probability, reduction="none")
        wrong_class = (target[1] + 1) % criterion.num_outputs(criterion.num_classes or logits.shape[1])
        logits[1, wrong_class] = math.nan
        if params.get("mode") is None and criterion.num_classes is not None:
            logits[1] = math.nan  # with a softmax in each group of siblings, classes elsewhere do not matter
        assert criterion(logits, target).isnan()[1], probability


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
def test_vmap_over_models_and_over_targets_gives_what_a_loop_gives(name: str, params: dict[str, Any]):
    criterion, logits, target = make_problem(name, params)
    stack = torch.stack([logits, logits.flip(0), -logits])
    batched = torch.func.vmap(torch.func.grad_and_value(lambda z: criterion(z, target)))(stack)
    looped = [torch.func.grad_and_value(lambda z: criterion(z, target))(z) for z in stack]
    for part in (0, 1):
        torch.testing.assert_close(batched[part], torch.stack([one[part] for one in looped]))
    targets = torch.stack([target, target.flip(0), target])
    each = torch.stack([criterion(z, t) for z, t in zip(stack, targets, strict=True)])
    torch.testing.assert_close(torch.func.vmap(criterion)(stack, targets), each)


FLAT_CRITERION = [name for name in ON_LOGITS if name != "hierarchical_cross_entropy"]
COMPILED = [(name, {}) for name in ON_LOGITS] + [
    ("adma", {"learnable": True}),
    ("false_positive", {"top_k": 3, "aggregate": "median"}),
    ("hierarchical_cross_entropy", {"mode": "leaf", "node_weight": "literal", "kappa": 1.0}),
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


# What formulas.md proves: losses that equal each other, closed-form gradients, and outside references.

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


EXACT_ON_LOG_PROBS = [
    entry
    for entry in EDGES
    if not entry.gap and {"log_probs"} == {*LOSSES[entry.loss].tensors} & {"logits", "log_probs", "embeddings"}
]


def evaluate_edge(entry: Edge, probability: str = "softmax") -> list[tuple[Tensor, Tensor]]:
    """Value and gradient of the loss, and of the sum of its terms."""
    embeds = LOSSES[entry.loss].takes == "embeddings"
    context = {"num_classes": entry.classes, **({"embedding_dim": 10} if embeds else {}), **entry.context}
    target = TARGET % entry.classes
    sides: list[tuple[Tensor, Tensor]] = []
    for terms in (((1.0, entry.loss, entry.params),), entry.terms):
        size = 0.1 if entry.gap else 1.0  # a limit is reached later by a smaller probability
        inputs = (size * LOGITS[:, : 10 if embeds else entry.classes]).requires_grad_()
        criteria = [
            Criterion(name, probability=probability, reduction="none", **context, **params).double()
            for _, name, params in terms
        ]
        loss = sum(factor * criterion(inputs, target) for (factor, *_), criterion in zip(terms, criteria, strict=True))
        sides.append((loss.detach(), torch.autograd.grad(loss.sum(), inputs)[0]))
    return sides


@pytest.mark.parametrize("entry", EDGES, ids=lambda entry: f"{entry.loss}-{name_of(entry.params)}")
def test_an_edge_of_the_map_of_losses_holds(entry: Edge):
    ours, theirs = evaluate_edge(entry)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=entry.gap or 1e-9)
    if entry.gap:  # a limit: it is not the same function already
        assert not torch.allclose(ours[0], theirs[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("probability", OTHERS)
def test_an_equality_of_losses_holds_on_every_probability_function(probability: str):
    for entry in EXACT_ON_LOG_PROBS:
        torch.testing.assert_close(*evaluate_edge(entry, probability), rtol=1e-9, atol=1e-9)


def test_two_variants_of_the_sampling_free_loss_are_focal_at_beta_one():
    for variant in ("scale", "inner"):
        ours = loss_and_gradient(criterion_of("sampling_free", beta=1.0, gamma=2.5, variant=variant), TARGET)
        torch.testing.assert_close(ours, loss_and_gradient(criterion_of("focal", gamma=2.5), TARGET))


def test_label_smoothing_and_the_confidence_penalty_take_the_divergence_from_the_uniform_in_either_direction():
    uniform = torch.full_like(P, 0.1)
    smoothed = criterion_of("label_smoothing", epsilon=0.2)(LOGITS, TARGET) / 0.8
    penalised = criterion_of("confidence_penalty", lam=0.25)(LOGITS, TARGET)
    cross_entropy = criterion_of("cross_entropy")(LOGITS, TARGET)
    from_uniform = F.kl_div(P.log(), uniform, reduction="none").sum(1)
    to_uniform = F.kl_div(uniform.log(), P, reduction="none").sum(1)
    torch.testing.assert_close(smoothed, cross_entropy + 0.25 * (from_uniform + math.log(10)))
    torch.testing.assert_close(penalised, cross_entropy + 0.25 * (to_uniform - math.log(10)))


def test_binary_cross_entropy_of_opposite_logits_is_twice_cross_entropy_of_half_of_them():
    z, target = torch.stack([LOGITS[:, 0], -LOGITS[:, 0]], dim=1), TARGET % 2
    ours = criterion_of("binary_cross_entropy")(z, target)
    torch.testing.assert_close(ours, 2 * F.cross_entropy(z / 2, target, reduction="none"))


def test_the_normalised_cross_entropies_of_all_labels_add_up_to_one():
    criterion = criterion_of("active_passive", beta=0.0)
    values = [criterion(LOGITS, torch.full_like(TARGET, label)) for label in range(10)]
    torch.testing.assert_close(torch.stack(values).sum(0), torch.ones(64, dtype=torch.float64))


def test_the_logits_of_logit_normalisation_may_have_any_length():
    criterion = criterion_of("logit_norm")
    torch.testing.assert_close(criterion(1e3 * LOGITS, TARGET), criterion(LOGITS, TARGET))
    torch.testing.assert_close(criterion(0 * LOGITS, TARGET), torch.full((64,), math.log(10), dtype=torch.float64))


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


SURPRISE = -P.log().sum(1, keepdim=True)


def norm_gradient(tau: float) -> Tensor:
    length = LOGITS.norm(dim=1, keepdim=True)
    units = LOGITS / length
    pull = (units / tau).softmax(1) - ONE_HOT
    return (pull - units * (units * pull).sum(1, keepdim=True)) / (tau * length)


def hinges_gradient() -> Tensor:
    within = (LOGITS.gather(1, TARGET[:, None]) < 1 + LOGITS) * (1 - ONE_HOT)
    return (within - within.sum(1, keepdim=True) * ONE_HOT) / 10


def through_softmax(on_p: Tensor) -> Tensor:
    return P * (on_p - (P * on_p).sum(1, keepdim=True))


def asymmetric_gradient(share: float) -> Tensor:
    rest = through_softmax(-share * (1 - ONE_HOT) * P**3 * (1 + 4 * P.log()))
    return (1 - 10 * share + share) * focal_gradient(2.0) + rest


def two_scale_gradient(inner: float, width: float) -> Tensor:
    step = ((WRONG.values - P_T) / width).sigmoid()
    turn = (1 - inner) * step * (1 - step) * -C_T / width
    return through_softmax(ONE_HOT * (turn - (inner + (1 - inner) * step) / P_T) - AT_F * turn)


NEAREST = PROBABILITIES["sparsemax"].function(LOGITS, floor=1e-15).exp()
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
    ("label_smoothing", {"epsilon": 0.2}, P - 0.8 * ONE_HOT - 0.02),
    ("poly1", {"epsilon": 2.0}, -(1 + 2 * P_T) * PULL),
    ("taylor_cross_entropy", {"order": 4}, -(1 - (1 - P_T) ** 4) * PULL),
    ("logit_norm", {"tau": 0.5}, norm_gradient(0.5)),
    ("generalized_cross_entropy", {"q": 0.7}, -(P_T**0.7) * PULL),
    ("symmetric_cross_entropy", {"alpha": 0.1, "beta": 2.0}, -(0.1 + 8 * P_T) * PULL),
    (
        "generalized_js",
        {"share": 0.3},
        P_T * (0.7 * P_T / (0.3 + 0.7 * P_T)).log() * PULL / -math.log(0.7),
    ),
    (
        "active_passive",
        {"alpha": 3.0, "beta": 0.5},
        3 * (-PULL / SURPRISE - C_T * (10 * P - 1) / SURPRISE**2) - P_T * PULL,
    ),
    ("binary_cross_entropy", {}, LOGITS.sigmoid() - ONE_HOT),
    ("square_loss", {"goal": 5.0, "factor": 3.0}, (ONE_HOT * 3 * (LOGITS - 5) + (1 - ONE_HOT) * LOGITS) / 5),
    ("squentropy", {}, -PULL + 2 / 9 * (1 - ONE_HOT) * LOGITS),
    ("multi_margin", {}, hinges_gradient()),
    ("bi_tempered", {"t1": 0.6}, through_softmax(P**-0.6 * (P - ONE_HOT))),
    ("sparsemax_loss", {}, NEAREST - ONE_HOT),
    ("focal_flsd", {}, torch.where(P_T < 0.2, focal_gradient(5.0), focal_gradient(3.0))),
    ("asymmetric", {"gamma_target": 2.0, "epsilon": 0.2}, asymmetric_gradient(0.02)),
    ("two_scale", {}, two_scale_gradient(0.1, 0.1)),
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
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_torchs(reduction: str, weight: Tensor | None, smoothing: float):
    options = {"weight": weight, "reduction": reduction, "label_smoothing": smoothing}
    for target in (TARGET.masked_fill(torch.arange(64) % 5 == 0, -100), SOFT_TARGET):
        ours = loss_and_gradient(Criterion("cross_entropy", **options), target)
        theirs = loss_and_gradient(partial(F.cross_entropy, **options), target)
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_label_smoothing_is_torchs():
    for epsilon in (0.0, 0.1, 0.7):
        ours = loss_and_gradient(Criterion("label_smoothing", epsilon=epsilon), TARGET)
        theirs = loss_and_gradient(partial(F.cross_entropy, label_smoothing=epsilon), TARGET)
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("soft", [False, True], ids=["indices", "probabilities"])
def test_binary_cross_entropy_is_torchs(soft: bool):
    one_hot, target = (SOFT_TARGET, SOFT_TARGET) if soft else (ONE_HOT, TARGET)
    for aggregate, classes in (("mean", 1), ("sum", 10)):
        ours = loss_and_gradient(Criterion("binary_cross_entropy", aggregate=aggregate), target)
        theirs = loss_and_gradient(lambda z, y, n=classes: n * F.binary_cross_entropy_with_logits(z, y), one_hot)
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("soft", [False, True], ids=["indices", "probabilities"])
def test_square_loss_is_torchs_mean_squared_error_of_the_logits(soft: bool):
    one_hot, target = (SOFT_TARGET, SOFT_TARGET) if soft else (ONE_HOT, TARGET)
    ours = Criterion("square_loss")(LOGITS, target)
    if soft:  # the loss by class is a constant more: the spread of the target
        ours = ours - ((one_hot - one_hot.square()).sum(1) / 10).mean()
    torch.testing.assert_close(ours, F.mse_loss(LOGITS, one_hot))
    scaled = Criterion("square_loss", goal=30.0, factor=15.0, reduction="none")(LOGITS, TARGET)
    weight = 1 + 14 * ONE_HOT
    torch.testing.assert_close(scaled, (weight * (LOGITS - 30 * ONE_HOT).square()).mean(1))


def test_multi_margin_is_torchs():
    ours = loss_and_gradient(Criterion("multi_margin", margin=1.5), TARGET)
    theirs = loss_and_gradient(partial(F.multi_margin_loss, margin=1.5), TARGET)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_the_hinge_of_crammer_and_singer_is_scikit_learns():
    theirs = sklearn.metrics.hinge_loss(TARGET.numpy(), LOGITS.numpy(), labels=range(10))
    assert Criterion("multi_margin", aggregate="max")(LOGITS, TARGET).item() == pytest.approx(theirs, rel=1e-12)


def test_logit_adjustment_is_torchs_cross_entropy_of_the_logits_with_the_log_prior_and_predicts_without_it():
    counts = torch.tensor([0, 1, 2, 3, 5, 8, 13, 21, 34, 55])
    criterion = Criterion("logit_adjusted", tau=1.5, class_counts=counts)
    log_prior = (counts.clamp(min=1) / 143).double().log()
    ours = loss_and_gradient(criterion, TARGET)
    theirs = loss_and_gradient(lambda z, t: F.cross_entropy(z + 1.5 * log_prior, t), TARGET)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(criterion.log_probs(LOGITS), LOGITS.log_softmax(1))


def test_mean_absolute_error_and_reverse_cross_entropy_are_their_definitions():
    absolute = criterion_of("generalized_cross_entropy", q=1.0)(LOGITS, TARGET)
    torch.testing.assert_close(2 * absolute, (P - ONE_HOT).abs().sum(1))
    reverse = criterion_of("symmetric_cross_entropy", alpha=0.0)
    torch.testing.assert_close(reverse(LOGITS, TARGET), -(P * ONE_HOT.log().clamp(min=-4)).sum(1))
    torch.testing.assert_close(reverse(LOGITS, SOFT_TARGET), -(P * SOFT_TARGET.log().clamp(min=-4)).sum(1))


def test_generalised_js_is_its_definition_from_entropies():
    entropy = torch.special.entr
    for share in (0.1, 0.8):
        for target, one_hot in ((TARGET, ONE_HOT), (SOFT_TARGET, SOFT_TARGET)):
            spread = entropy(share * one_hot + (1 - share) * P) - share * entropy(one_hot) - (1 - share) * entropy(P)
            expected = spread.sum(1) / (-(1 - share) * math.log(1 - share))
            torch.testing.assert_close(criterion_of("generalized_js", share=share)(LOGITS, target), expected)


def test_sparsemax_loss_is_the_difference_of_two_squared_distances():
    for target, one_hot in ((TARGET, ONE_HOT), (SOFT_TARGET, SOFT_TARGET)):
        expected = ((LOGITS - one_hot).square().sum(1) - (LOGITS - NEAREST).square().sum(1)) / 2
        torch.testing.assert_close(criterion_of("sparsemax_loss")(LOGITS, target), expected)
        torch.testing.assert_close(loss_and_gradient(criterion_of("sparsemax_loss"), target)[1], NEAREST - one_hot)


def test_sparsemax_loss_of_two_classes_is_the_binary_form_of_its_paper():
    lead = torch.linspace(-3, 3, 25, dtype=torch.float64)
    logits = torch.stack([lead, torch.zeros_like(lead)], dim=1)
    loss = criterion_of("sparsemax_loss")(logits, torch.zeros(25, dtype=torch.int64))
    expected = torch.where(lead >= 1, 0.0, torch.where(lead <= -1, -lead, (lead - 1) ** 2 / 4))
    torch.testing.assert_close(loss, expected)


def test_bi_tempered_is_the_bregman_divergence_of_its_potential():
    def potential(q: Tensor, t1: float) -> Tensor:
        return (torch.xlogy(q, q) if t1 == 1 else (q ** (2 - t1) - q) / (1 - t1)).sum(1) - (q ** (2 - t1)).sum(1) / (
            2 - t1
        )

    for t1 in (0.0, 0.3, 0.8, 1.0):
        for probability in ("softmax", "tempered_softmax"):
            criterion = criterion_of("bi_tempered", t1=t1, probability=probability)
            p = criterion.log_probs(LOGITS).exp()
            slope = p.log() if t1 == 1 else (p ** (1 - t1) - 1) / (1 - t1)
            for target, q in ((TARGET, ONE_HOT), (SOFT_TARGET, SOFT_TARGET)):
                expected = potential(q, t1) - potential(p, t1) - ((q - p) * slope).sum(1)
                torch.testing.assert_close(criterion(LOGITS, target), expected)


def test_asymmetric_is_its_definition():
    weight = torch.where(ONE_HOT > 0, (1 - P) ** 1.5, P**4)
    smoothed = 0.9 * ONE_HOT + 0.01
    expected = -(weight * smoothed * P.log()).sum(1)
    torch.testing.assert_close(criterion_of("asymmetric", gamma_target=1.5)(LOGITS, TARGET), expected)


PROPER = ("likelihood", "scoring rule")


@pytest.mark.parametrize("name", [name for name in FLAT_CRITERION if LOSSES[name].tensors == ("log_probs", "target")])
def test_the_origin_says_whether_the_mean_loss_is_least_at_the_true_probabilities(name: str):
    truth = torch.tensor([[0.5, 0.3, 0.15, 0.05]], dtype=torch.float64)
    believed = truth.log().requires_grad_()
    criterion = make_problem(name, classes=4, reduction="none").criterion
    mean = sum(truth[0, k] * criterion(believed, torch.tensor([k])) for k in range(4))
    (slope,) = torch.autograd.grad(mean.sum(), believed)
    assert (slope.abs().max() < 1e-9) == (LOSSES[name].origin in PROPER)


def test_every_loss_says_its_origin():
    assert {entry.origin for entry in LOSSES.values()} == set(get_args(Origin))
    assert "Origin      scoring rule: " in LOSSES["mse"].card.text()
    assert "Brier score" in LOSSES["mse"].card.summary


def test_kl_divergence_is_torchs():
    ours = loss_and_gradient(Criterion("kl_divergence"), SOFT_TARGET)
    theirs = loss_and_gradient(lambda z, t: F.kl_div(F.log_softmax(z, 1), t, reduction="batchmean"), SOFT_TARGET)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("soft", [False, True], ids=["indices", "probabilities"])
@pytest.mark.parametrize("sqrt", [False, True])
def test_js_divergence_is_scipys(soft: bool, sqrt: bool):
    target = SOFT_TARGET if soft else ONE_HOT
    distance = scipy.spatial.distance.jensenshannon(P.numpy(), target.numpy(), axis=1)
    ours = criterion_of("js_divergence", sqrt=sqrt)(LOGITS, SOFT_TARGET if soft else TARGET)
    np.testing.assert_allclose(ours.numpy(), distance if sqrt else distance**2, rtol=1e-9, atol=1e-9)


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


# Criterion as a drop-in for nn.CrossEntropyLoss: weights, ignored samples, reductions, modes and messages.

LOGITS_CRITERION = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))
TARGET_CRITERION = torch.tensor([0, 1, 2, 3, 3, 2, 1, 0])


@pytest.mark.parametrize("name", ON_LOGITS)
def test_reductions_are_mean_sum_and_none_of_the_same_values(name: str):
    each, logits, target = make_problem(name, reduction="none")
    values = each(logits, target)
    assert values.shape == target.shape
    for reduction, expected in (("mean", values.mean()), ("sum", values.sum())):
        torch.testing.assert_close(make_problem(name, reduction=reduction).criterion(logits, target), expected)


@pytest.mark.parametrize("name", ON_LOGITS)
def test_ignored_samples_count_nowhere(name: str):
    for ignore_index in (-100, -1, 1):
        criterion, logits, target = make_problem(name, batch=12, ignore_index=ignore_index)
        kept = torch.arange(12) % 3 != 0
        target = torch.where(target == ignore_index, 0, target).masked_fill(~kept, ignore_index)
        without = criterion(logits[kept], target[kept])
        logits[~kept] = 50 * logits[~kept]
        logits.requires_grad_()
        loss = criterion(logits, target)
        torch.testing.assert_close(loss, without)
        gradient = torch.autograd.grad(loss, logits)[0]
        assert (gradient[~kept] == 0).all()
        assert (gradient[kept] != 0).any()


@pytest.mark.parametrize("name", FLAT_CRITERION)
def test_class_weights_multiply_values_and_divide_the_mean(name: str):
    weight = torch.tensor([0.5, 1.0, 2.0, 4.0], dtype=torch.float64)
    plain, logits, target = make_problem(name, classes=4, reduction="none")
    values = plain(logits, target)
    context = {"weight": weight, **context_of(name, 4)}
    assert torch.equal(Criterion(name, reduction="none", **context)(logits, target), values * weight[target])
    mean = (values * weight[target]).sum() / weight[target].sum()
    torch.testing.assert_close(Criterion(name, **context)(logits, target), mean)


@pytest.mark.parametrize("name", SOFT)
def test_label_smoothing_is_the_loss_of_the_smoothed_target(name: str):
    smooth, logits, target = make_problem(name, reduction="none", label_smoothing=0.2)
    plain, _, _ = make_problem(name, reduction="none")
    classes = plain.num_classes or 5
    smoothed = 0.8 * F.one_hot(target, classes).double() + 0.2 / classes
    torch.testing.assert_close(smooth(logits, target), plain(logits, smoothed))
    stack = torch.stack([logits, -logits])
    torch.testing.assert_close(torch.func.vmap(lambda z: smooth(z, target))(stack)[0], smooth(logits, target))


def test_label_smoothing_is_refused_where_a_target_of_probabilities_has_no_meaning_and_outside_its_range():
    with pytest.raises(ValueError, match=r"false_positive: label_smoothing=0.1 needs a loss .* choose from cross_ent"):
        Criterion("false_positive", label_smoothing=0.1)
    with pytest.raises(ValueError, match="label_smoothing must be at least 0 and at most 1"):
        Criterion("cross_entropy", label_smoothing=1.5)
    assert "label_smoothing=0.1" in repr(Criterion("cross_entropy", label_smoothing=0.1))


def test_class_weights_by_name_follow_the_counts():
    counts = [1, 10, 1000, 0]
    inverse = Criterion("cross_entropy", weight="inverse", class_counts=counts).weight
    balanced = Criterion("cross_entropy", weight="class_balanced", class_counts=counts).weight
    torch.testing.assert_close(inverse, torch.tensor([1, 0.1, 0.001, 0]) * 3 / 1.101)
    expected = [0.001 / (1 - 0.999**n) for n in counts[:3]]
    torch.testing.assert_close(balanced, torch.tensor([*expected, 0]) * 3 / sum(expected))
    with pytest.raises(ValueError, match="cross_entropy needs class_counts"):
        Criterion("cross_entropy", weight="inverse")
    with pytest.raises(ValueError, match="unknown weight 'inversed'; did you mean 'inverse'"):
        Criterion("cross_entropy", weight="inversed", class_counts=counts)


def test_a_mean_over_no_sample_is_nan_as_in_torch():
    target = torch.full((8,), -100)
    assert Criterion("focal")(LOGITS_CRITERION, target).isnan()
    assert F.cross_entropy(LOGITS_CRITERION, target).isnan()


SEGMENTED = 2 * torch.randn(3, 4, 5, 2, generator=GENERATOR, dtype=torch.float64)
SEGMENTS = torch.randint(4, (3, 5, 2), generator=GENERATOR)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("weight", "smoothing"), [(None, 0.2), (WEIGHT[:4], 0.0), (WEIGHT[:4], 0.2)])
@pytest.mark.parametrize("kind", ["indices", "some ignored", "probabilities"])
def test_logits_with_more_dimensions_are_torchs(reduction: str, weight: Tensor | None, smoothing: float, kind: str):
    target = {
        "indices": SEGMENTS,
        "some ignored": SEGMENTS.masked_fill(SEGMENTS == 3, -100),
        "probabilities": SEGMENTED.flip(2).softmax(1),
    }[kind]
    options = {"weight": weight, "reduction": reduction, "label_smoothing": smoothing}
    sides = []
    for loss in (Criterion("cross_entropy", **options), partial(F.cross_entropy, **options)):
        logits = SEGMENTED.clone().requires_grad_()
        value = loss(logits, target)
        sides.append((value.detach(), torch.autograd.grad(value.sum(), logits)[0]))
    assert sides[0][0].shape == sides[1][0].shape
    torch.testing.assert_close(*sides, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ON_LOGITS)
def test_every_loss_on_logits_takes_each_place_as_a_sample(name: str):
    criterion, rows, target = make_problem(name, batch=12, reduction="none")
    maps = rows.unflatten(0, (2, 3, 2)).movedim(-1, 1)
    torch.testing.assert_close(criterion(maps, target.view(2, 3, 2)), criterion(rows, target).view(2, 3, 2))
    expected = criterion.log_probs(rows).unflatten(0, (2, 3, 2)).movedim(-1, 1)
    torch.testing.assert_close(criterion.log_probs(maps), expected)


def test_a_target_that_does_not_fit_logits_with_more_dimensions_is_named():
    for target in (SEGMENTS[:, :1], SEGMENTS.flatten(), SEGMENTED.softmax(1).movedim(1, -1)):
        with pytest.raises(ValueError, match=r"for logits \(3, 4, 5, 2\) a target of class .* must have shape \(3, "):
            Criterion("focal")(SEGMENTED, target)
    known = {"num_classes": 4, "embedding_dim": 4}
    with pytest.raises(ValueError, match=r"proxy_nca: embeddings must have shape \(batch, dim\), got \(3, 4, 5, 2\)"):
        Criterion("proxy_nca", **known)(SEGMENTED, SEGMENTS)


@pytest.mark.parametrize("name", ON_LOGITS)
def test_the_short_way_and_the_way_with_ignored_samples_give_the_same_bits(name: str):
    criterion, logits, target = make_problem(name, batch=37, dtype=torch.float32)
    twin = copy.deepcopy(criterion)
    twin.register_buffer("weight", torch.ones(criterion.num_classes or 5))
    for reduction in ("mean", "sum", "none"):
        criterion.reduction = twin.reduction = reduction
        sides = []
        for one in (criterion, twin):
            inputs = logits.clone().requires_grad_()
            loss = one(inputs, target)
            sides.append((loss.detach(), torch.autograd.grad(loss.sum(), inputs)[0]))
        (ours, slope), (theirs, their_slope) = sides
        assert torch.equal(ours, theirs)
        if reduction == "mean":
            assert torch.equal(slope, their_slope)
        torch.testing.assert_close(slope, their_slope, rtol=1e-6, atol=1e-7)  # a gradient of ones takes other kernels


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_a_function_with_the_values_of_its_criterion(name: str):
    from lossbench import functional

    known = {"num_classes": 5, "embedding_dim": 6, "class_counts": [1, 2, 3, 4, 5]}
    criterion = Criterion(name, **known) if LOSSES[name].takes == "embeddings" else make_problem(name).criterion
    inputs = torch.randn(
        12, 6 if LOSSES[name].takes == "embeddings" else criterion.num_outputs(criterion.num_classes or 5)
    )
    target = torch.arange(12) % 4
    options = known if LOSSES[name].takes == "embeddings" else context_of(name, 5)
    if list(criterion.parameters()):
        with pytest.raises(TypeError, match=f"{name} learns parameters of its own"):
            getattr(functional, name)(inputs, target, **options)
        return
    for _ in range(2):
        fresh = copy.deepcopy(criterion)  # one that draws numbers begins with the first again
        torch.testing.assert_close(getattr(functional, name)(inputs, target, **options), fresh(inputs, target))


def test_functions_take_what_a_criterion_is_built_with_and_check_it():
    from lossbench import functional

    options = {"gamma": 0.5, "probability": "soft_margin_softmax", "reduction": "none", "weight": WEIGHT}
    torch.testing.assert_close(
        functional.focal(LOGITS, TARGET, **options), Criterion("focal", **options)(LOGITS, TARGET)
    )
    torch.testing.assert_close(
        functional.focal(LOGITS, TARGET, training=False, probability="soft_margin_softmax"),
        functional.focal(LOGITS, TARGET),
    )
    with pytest.raises(TypeError, match="gamma must be a number, got True"):
        functional.focal(LOGITS, TARGET, gamma=1), functional.focal(LOGITS, TARGET, gamma=True)
    with pytest.raises(AttributeError, match="unknown loss 'focl'; did you mean 'focal'"):
        _ = functional.focl
    assert functional.focal.__name__ == "focal"
    assert set(dir(functional)) == set(LOSSES)


def test_the_margin_counts_in_train_mode_only_and_never_in_log_probs():
    criterion = Criterion("cross_entropy", probability="soft_margin_softmax", probability_params={"margin": 1.0})
    plain = F.cross_entropy(LOGITS_CRITERION, TARGET_CRITERION)
    assert criterion.train()(LOGITS_CRITERION, TARGET_CRITERION) > plain + 0.1
    torch.testing.assert_close(criterion.eval()(LOGITS_CRITERION, TARGET_CRITERION), plain)
    for mode in (True, False):
        torch.testing.assert_close(
            criterion.train(mode).log_probs(LOGITS_CRITERION), F.log_softmax(LOGITS_CRITERION, 1)
        )


def test_ignored_samples_get_no_margin_error():
    criterion = Criterion("cross_entropy", probability="soft_margin_softmax")
    target = TARGET_CRITERION.clone()
    target[0] = -100
    assert criterion(LOGITS_CRITERION, target).isfinite()


def test_log_probs_come_from_the_chosen_probability_function():
    log_probs = Criterion("focal", probability="taylor_softmax").log_probs(LOGITS_CRITERION)
    polynomial = 1 + LOGITS_CRITERION + LOGITS_CRITERION**2 / 2
    torch.testing.assert_close(log_probs.exp(), polynomial / polynomial.sum(1, keepdim=True))


def test_a_learnable_exponent_learns_within_its_interval_and_leaves_random_state_alone():
    before = torch.get_rng_state()
    criterion = Criterion("adma", learnable=True, a=0.3)
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(criterion.state, LearnableExponent)
    assert criterion.state.a.item() == pytest.approx(0.3)
    torch.testing.assert_close(
        criterion(LOGITS_CRITERION, TARGET_CRITERION), Criterion("adma", a=0.3)(LOGITS_CRITERION, TARGET_CRITERION)
    )
    optimizer = torch.optim.SGD(criterion.parameters(), lr=10.0)
    path = []
    for _ in range(50):
        optimizer.zero_grad()
        criterion(LOGITS_CRITERION, TARGET_CRITERION).backward()
        optimizer.step()
        path.append(criterion.state.a.item())
    assert all(0 < a <= 0.5 for a in path)
    assert path == sorted(path, reverse=True)  # without normalize the loss falls with a


def test_a_learnable_exponent_grows_with_normalize_and_starts_at_most_just_below_its_bound():
    criterion = Criterion("adma", learnable=True, normalize=True)
    criterion(LOGITS_CRITERION, TARGET_CRITERION).backward()
    assert isinstance(criterion.state, LearnableExponent)
    assert criterion.state.raw.grad < 0
    assert Criterion("adma", learnable=True, a=0.5).state.a.item() == pytest.approx(0.4995)


def test_a_criterion_without_learnable_parameters_has_none():
    assert [name for name in ON_LOGITS if list(make_problem(name).criterion.parameters())] == []


def test_the_printed_form_names_loss_parameters_and_probability():
    assert repr(Criterion("focal", gamma=0.5)) == (
        "Criterion('focal', reduction='mean', gamma=0.5, probability='softmax')"
    )
    shown = repr(Criterion("cross_entropy", probability="soft_margin_softmax", ignore_index=3))
    assert "probability='soft_margin_softmax', margin=0.3, ignore_index=3" in shown


def test_integer_targets_of_any_width_are_class_indices():
    expected = Criterion("focal")(LOGITS_CRITERION, TARGET_CRITERION)
    for dtype in (torch.int32, torch.int16, torch.uint8):
        assert torch.equal(Criterion("focal")(LOGITS_CRITERION, TARGET_CRITERION.to(dtype)), expected)


BAD_ARGUMENTS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"name": "focl"}, ValueError, "unknown loss 'focl'; did you mean 'focal'"),
    ({"name": "focal", "probability": "taylor"}, ValueError, "unknown probability function 'taylor'"),
    ({"name": "focal", "gama": 1.0}, TypeError, "parameter of focal 'gama'; did you mean 'gamma'"),
    ({"name": "cross_entropy", "gamma": 1.0}, TypeError, "cross_entropy takes no parameters, got gamma=1.0"),
    ({"name": "focal", "gamma": -1}, ValueError, "gamma must be at least 0, got -1"),
    ({"name": "focal", "gamma": float("nan")}, ValueError, "gamma must be finite, got nan"),
    ({"name": "focal", "gamma": "2"}, TypeError, "gamma must be a number, got '2'"),
    ({"name": "focal", "gamma": True}, TypeError, "gamma must be a number, got True"),
    ({"name": "focal", "reduction": "avg"}, ValueError, "unknown reduction 'avg'"),
    ({"name": "adma", "a": 0}, ValueError, "a must be above 0 and at most 0.5, got 0"),
    ({"name": "adma", "a": -0.1}, ValueError, "a must be above 0 and at most 0.5, got -0.1"),
    ({"name": "adma", "a": 0.6}, ValueError, "a must be above 0 and at most 0.5, got 0.6"),
    ({"name": "adma", "base": 1.0}, ValueError, "base must be above 1 and at most 100, got 1"),
    ({"name": "adma", "normalize": 1}, TypeError, "normalize must be True or False, got 1"),
    ({"name": "squared_hinge", "on": "logit"}, ValueError, "'logit'; did you mean 'logits'"),
    ({"name": "squared_hinge", "on": 3}, TypeError, "on must be one of probs, logits, got 3"),
    ({"name": "sampling_free", "variant": "pow"}, ValueError, "'pow'"),
    ({"name": "sampling_free", "beta": 0.5}, ValueError, "beta must be at least 1 with variant='power', got 0.5"),
    ({"name": "sampling_free", "beta": 0, "variant": "inner"}, ValueError, "beta must be above 0"),
    ({"name": "sampling_free", "gamma": 0, "variant": "star"}, ValueError, "gamma must be above 0"),
    ({"name": "false_positive", "top_k": 0}, ValueError, "top_k must be at least 1, got 0"),
    ({"name": "false_positive", "top_k": 1.5}, ValueError, "top_k must be a whole number, got 1.5"),
    ({"name": "false_positive", "form": "mae"}, ValueError, "'mae'"),
    ({"name": "false_positive", "alpha": "batches"}, ValueError, "did you mean 'batch'"),
    ({"name": "false_positive", "alpha": 0.5}, TypeError, "a number for each class, got 0.5"),
    ({"name": "false_positive", "alpha": [1.0, -1.0]}, ValueError, "finite weight >= 0 for each class"),
    ({"name": "false_positive", "alpha": "dataset"}, ValueError, "needs class_counts: pass Criterion"),
    (
        {"name": "false_positive", "alpha": "dataset", "class_counts": [0, 0]},
        ValueError,
        r"class_counts must be \(classes,\) counts",
    ),
    ({"name": "confidence_penalty", "lam": -0.1}, ValueError, "lam must be at least 0, got -0.1"),
    (
        {"name": "focal", "probability": "soft_margin_softmax", "probability_params": {"margin": -1}},
        ValueError,
        "margin must be at least 0, got -1",
    ),
    (
        {"name": "focal", "probability": "taylor_softmax", "probability_params": {"order": 3}},
        ValueError,
        "order must be even .* got 3",
    ),
    ({"name": "focal", "probability_params": {"margin": 1}}, TypeError, "softmax takes no parameters"),
    (
        {"name": "focal", "weight": [1.0, 2.0]},
        TypeError,
        "weight must be a floating-point tensor, or 'inverse' or 'class_balanced', got list",
    ),
    ({"name": "focal", "weight": torch.ones(2, 2)}, ValueError, r"weight must have shape .* got \(2, 2\)"),
    ({"name": "focal", "weight": torch.ones(3), "num_classes": 4}, ValueError, r"shape \(4,\), got \(3,\)"),
    ({"name": "focal", "weight": torch.tensor([1.0, -1.0])}, ValueError, "weight must be finite and not negative"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD_ARGUMENTS, ids=lambda value: str(value)[:60])
def test_a_bad_argument_is_named_with_what_it_got(arguments: dict[str, Any], error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        Criterion(**arguments)


BAD_CALLS: list[tuple[Any, Any, type[Exception], str]] = [
    (
        LOGITS_CRITERION[0],
        TARGET_CRITERION,
        ValueError,
        r"must have shape \(batch, classes\) or \(batch, classes, d1, ...\), got \(4,\)",
    ),
    (
        LOGITS_CRITERION[None],
        TARGET_CRITERION,
        ValueError,
        r"for logits \(1, 8, 4\) a target of class indices must have shape \(1, 4\), got \(8,\)",
    ),
    (LOGITS_CRITERION[:, :1], TARGET_CRITERION, ValueError, r"logits must have at least 2 classes, got shape \(8, 1\)"),
    (
        TARGET_CRITERION[:, None].repeat(1, 4),
        TARGET_CRITERION,
        TypeError,
        "logits must be a floating-point tensor, got torch.int64",
    ),
    ([[0.0, 1.0]], TARGET_CRITERION, TypeError, "logits must be a floating-point tensor, got list"),
    (LOGITS_CRITERION, TARGET_CRITERION[:3], ValueError, r"target must have shape \(8,\), got \(3,\)"),
    (LOGITS_CRITERION, TARGET_CRITERION[:, None], ValueError, r"target must have shape \(8,\), got \(8, 1\)"),
    (LOGITS_CRITERION, TARGET_CRITERION + 1, ValueError, r"target must be in 0..3 or ignore_index=-100, got 4"),
    (LOGITS_CRITERION, TARGET_CRITERION - 1, ValueError, r"target must be in 0..3 or ignore_index=-100, got -1"),
    (LOGITS_CRITERION, TARGET_CRITERION.bool(), TypeError, r"target must hold class indices \(int64\), got torch.bool"),
    (LOGITS_CRITERION, [0] * 8, TypeError, "target must be a tensor, got list"),
    (LOGITS_CRITERION, TARGET_CRITERION.float(), ValueError, r"must have shape \(8, 4\), got \(8,\)"),
    (
        LOGITS_CRITERION,
        torch.full((8, 4), 0.5),
        ValueError,
        "rows of class probabilities must sum to 1, got a row of 2",
    ),
    (
        LOGITS_CRITERION,
        torch.tensor([[1.5, -0.5, 0, 0]]).repeat(8, 1),
        ValueError,
        "must not be negative or nan, got -0.5",
    ),
    (LOGITS_CRITERION, torch.full((8, 4), float("nan")), ValueError, "must not be negative or nan, got nan"),
]


@pytest.mark.parametrize(("logits", "target", "error", "message"), BAD_CALLS)
def test_a_bad_call_is_named_with_what_it_got(logits: Any, target: Any, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        Criterion("cross_entropy")(logits, target)


UNFIT: list[tuple[dict[str, Any], str]] = [
    ({"name": "focal", "num_classes": 5}, r"logits must have 5 columns, got shape \(8, 4\)"),
    ({"name": "focal", "weight": torch.ones(3)}, r"weight must have shape \(4,\), got \(3,\)"),
    ({"name": "focal", "weight": torch.ones(5)}, r"weight must have shape \(4,\), got \(5,\)"),
    ({"name": "false_positive", "alpha": [1, 1, 1]}, r"alpha must have shape \(4,\), got \(3,\)"),
]


@pytest.mark.parametrize(("arguments", "message"), UNFIT)
def test_what_does_not_fit_the_number_of_classes_is_refused(arguments: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        Criterion(**arguments)(LOGITS_CRITERION, TARGET_CRITERION)


@pytest.mark.parametrize("name", [name for name in ON_LOGITS if LOSSES[name].soft_target == "whole"])
def test_class_probabilities_do_not_go_with_an_ignored_class_nor_with_weights_unless_the_loss_sums_over_classes(name):
    with pytest.raises(ValueError, match=f"{name}: weight needs class indices as target"):
        Criterion(name, weight=torch.ones(4))(LOGITS_CRITERION, LOGITS_CRITERION.softmax(1))
    with pytest.raises(ValueError, match="ignore_index=2 needs class indices"):
        Criterion(name, ignore_index=2)(LOGITS_CRITERION, LOGITS_CRITERION.softmax(1))


def test_values_of_targets_are_not_read_under_vmap_or_on_other_devices():
    bad = TARGET_CRITERION + 1
    meta = Criterion("cross_entropy")(LOGITS_CRITERION.to("meta"), bad.to("meta"))
    assert meta.device.type == "meta"
    with pytest.raises(ValueError, match="target must be in"):
        Criterion("cross_entropy")(LOGITS_CRITERION, bad)


def test_losses_run_outside_autocast_and_leave_it_as_it_was(monkeypatch: pytest.MonkeyPatch):
    seen: list[bool] = []

    def spy(log_probs: Tensor, target: Tensor) -> Tensor:
        seen.append(torch.is_autocast_enabled("cpu"))
        return -log_probs[:, 0]

    entry = dataclasses.replace(LOSSES["cross_entropy"], function=spy)
    monkeypatch.setitem(LOSSES, "cross_entropy", entry)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        Criterion("cross_entropy")(LOGITS_CRITERION, TARGET_CRITERION)
        assert torch.is_autocast_enabled("cpu")
    assert seen == [False]


# What a loss of the user's own may return, and what Criterion says of it.
RETURNS: list[tuple[str, Any, str]] = [
    ("column", lambda log_probs, target: -log_probs[:, :1], r"\(8,\), not .*\(8, 1\): take .*squeeze\(1\)"),
    ("scalar", lambda log_probs, target: -log_probs.mean(), r"of shape \(\): leave the mean to Criterion's reduction"),
    ("classes", lambda log_probs, target: -log_probs, r"of shape \(8, 4\): add up .*sum\(1\)"),
    ("nothing", lambda log_probs, target: None, r"not None: end the function with `return`"),
    ("listed", lambda log_probs, target: list(-log_probs[:, 0]), "not list: return one tensor"),
    ("counted", lambda log_probs, target: log_probs.argmax(1) != target, "torch.bool .* argmax has no gradient"),
    ("cut", lambda log_probs, target: -log_probs[:, 0].detach(), r"cut has no gradient: .*\(detach"),
    ("written", lambda log_probs, target: -log_probs.mul_(2)[:, 0], "written changes its log_probs in place"),
]


@pytest.fixture
def own_loss(monkeypatch: pytest.MonkeyPatch) -> Any:
    def define(name: str, function: Any) -> Criterion:
        entry = dataclasses.replace(LOSSES["cross_entropy"], name=name, function=function)
        monkeypatch.setitem(LOSSES, name, entry)
        return Criterion(name)

    return define


@pytest.mark.parametrize(("name", "function", "message"), RETURNS, ids=[row[0] for row in RETURNS])
def test_what_a_loss_returns_is_checked_and_named(name: str, function: Any, message: str, own_loss: Any):
    criterion = own_loss(name, function)
    logits = LOGITS_CRITERION.clone().requires_grad_()
    for target in (TARGET_CRITERION, LOGITS_CRITERION.softmax(1)):
        if name != "counted" or target.dim() == 1:
            with pytest.raises(TypeError, match=message):
                criterion(logits, target)


def test_a_loss_that_changes_the_logits_in_place_is_named(monkeypatch: pytest.MonkeyPatch):
    changes = {"name": "grab", "tensors": ("logits", "target"), "parameters": {}}
    entry = dataclasses.replace(
        LOSSES["squared_hinge"], function=lambda logits, target: logits.sub_(1)[:, 0], **changes
    )
    monkeypatch.setitem(LOSSES, "grab", entry)
    with pytest.raises(TypeError, match="grab changes its logits in place"):
        Criterion("grab")(LOGITS_CRITERION.clone(), TARGET_CRITERION)


def test_what_a_loss_returns_is_proven_once_for_each_shape(monkeypatch: pytest.MonkeyPatch):
    seen: list[int] = []
    monkeypatch.setattr("lossbench.losses.criterion.check_returned", lambda *a, **k: seen.append(a[2]))
    criterion = Criterion("focal")
    for size in (8, 8, 5, 8, 5, 5):
        criterion(LOGITS_CRITERION[:size], TARGET_CRITERION[:size])
    assert seen == [8, 5]


def test_a_criterion_can_be_written_as_on_the_command_line():
    assert repr(Criterion("focal:gamma=0.5")) == repr(Criterion("focal", gamma=0.5))
    assert Criterion("false_positive:alpha=none,top_k=3").loss_params["top_k"] == 3
    with pytest.raises(TypeError, match="focal: gamma is given twice"):
        Criterion("focal:gamma=2", gamma=1.0)
    with pytest.raises(TypeError, match=r"given by name, got \['focal'\]"):
        Criterion(["focal"])


KEPT = [(name, list(PROBABILITIES)[place % len(PROBABILITIES)]) for place, name in enumerate(LOSSES)]


def build(name: str, probability: str) -> Criterion:
    known = {"num_classes": 4, "embedding_dim": 4, "class_counts": [3, 1, 2, 2], "class_names": ("a", "b", "c", "d")}
    tree = {"tree": {"root": ["x", "y"], "x": ["a", "b"], "y": ["c", "d"]}, "mode": "leaf"}
    return Criterion(
        name, probability=probability, reduction="none", **known, **(tree if name.startswith("hier") else {})
    ).eval()


@pytest.mark.parametrize(("name", "probability"), KEPT)
def test_every_criterion_is_copied_pickled_and_saved_with_its_model(name: str, probability: str):
    criterion = build(name, probability)
    expected = criterion(LOGITS_CRITERION, TARGET_CRITERION)
    file = io.BytesIO()
    torch.save(nn.Sequential(criterion), file)
    file.seek(0)
    again = [copy.deepcopy(criterion), pickle.loads(pickle.dumps(criterion)), torch.load(file, weights_only=False)[0]]
    for other in again:
        assert torch.equal(other(LOGITS_CRITERION, TARGET_CRITERION), expected)
        assert other.entry is LOSSES[name]


def test_every_choice_of_every_parameter_is_pickled():
    for entry in (*LOSSES.values(), *PROBABILITIES.values()):
        for parameter in entry.parameters.values():
            assert pickle.loads(pickle.dumps(parameter)) == parameter


def test_a_spawned_process_gets_the_criterion():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        value = pool.apply(Criterion("focal:gamma=0.5"), (LOGITS_CRITERION, TARGET_CRITERION))
    assert torch.equal(value, Criterion("focal", gamma=0.5)(LOGITS_CRITERION, TARGET_CRITERION))


@pytest.mark.parametrize("name", LOSSES)
def test_torch_func_takes_the_gradient(name: str):
    criterion = build(name, "softmax")
    criterion.reduction = "mean"
    logits = LOGITS_CRITERION.clone().requires_grad_()
    (expected,) = torch.autograd.grad(criterion(logits, TARGET_CRITERION), logits)
    torch.testing.assert_close(torch.func.grad(criterion)(LOGITS_CRITERION, TARGET_CRITERION), expected)
    before = dict(criterion.events)
    torch.func.grad(criterion)(LOGITS_CRITERION, TARGET_CRITERION)
    assert criterion.events == before


ASKS_OF_EVERY_LOGIT = {"label_smoothing", "logit_norm", "active_passive", "square_loss", "squentropy"}


@pytest.mark.parametrize("probability", ["softmax", "soft_margin_softmax"])
@pytest.mark.parametrize("name", [name for name in FLAT_CRITERION if name not in ASKS_OF_EVERY_LOGIT])
def test_a_class_whose_logits_are_masked_counts_as_one_that_is_impossible(name: str, probability: str):
    masked, low = LOGITS_CRITERION.clone(), LOGITS_CRITERION.clone()
    masked[:, 3], low[:, 3] = -torch.inf, -1e4
    criterion, target = make_problem(name, classes=4, probability=probability).criterion, TARGET_CRITERION.clamp(max=2)
    values = [criterion(logits.requires_grad_(), target) for logits in (masked, low)]
    torch.testing.assert_close(*values)
    gradients = [torch.autograd.grad(value, logits)[0] for value, logits in zip(values, (masked, low), strict=True)]
    torch.testing.assert_close(*gradients)
    if name == "cross_entropy" and probability == "softmax":
        torch.testing.assert_close(values[0], F.cross_entropy(masked, target))


@pytest.mark.parametrize("probability", [name for name in PROBABILITIES if name != "sparsemax"])
def test_a_masked_class_is_as_good_as_not_there_and_the_usual_masks_give_no_nan(probability: str):
    logits, target = LOGITS_CRITERION.clone(), TARGET_CRITERION.clamp(max=2)
    logits[:, 3] = -torch.inf
    criterion = Criterion("cross_entropy", probability=probability)
    torch.testing.assert_close(criterion(logits, target), criterion(logits[:, :3], target))
    for mask in (-torch.inf, torch.finfo(torch.float32).min, -65504.0, -1e4):
        for dtype in (torch.float32, torch.float64):
            masked = logits.to(dtype).index_fill(1, torch.tensor([3]), mask).requires_grad_()
            loss = criterion(masked, target)
            (gradient,) = torch.autograd.grad(loss, masked)
            assert loss.isfinite(), mask
            assert gradient.isfinite().all(), mask


# False Positive Loss against its parts: cross-entropy, the one-against-rest terms, and the weights of the classes.

loss_of = partial(Criterion, "false_positive", reduction="none")


@pytest.mark.parametrize("alpha", [(1.0, 1.0), (0.25, 0.5)])
def test_false_positive_loss_of_two_classes_is_cross_entropy_times_both_alphas(alpha: tuple[float, float]):
    two, target = LOGITS[:, :2], TARGET % 2
    loss = loss_of(alpha=alpha)(two, target)
    torch.testing.assert_close(loss, sum(alpha) * F.cross_entropy(two, target, reduction="none"))


def test_false_positive_loss_adds_the_one_against_rest_term_of_the_hardest_class():
    loss = loss_of(alpha="none")(LOGITS, TARGET)
    p = LOGITS.softmax(1)
    p[torch.arange(64), TARGET] = 0
    hardest = F.binary_cross_entropy(p.amax(1), torch.zeros(64, dtype=torch.float64), reduction="none")
    torch.testing.assert_close(loss, F.cross_entropy(LOGITS, TARGET, reduction="none") + hardest)


def test_false_positive_alphas_from_balanced_counts_are_all_the_same():
    counts = torch.full((10,), 600)
    loss = loss_of(alpha="dataset", class_counts=counts)(LOGITS, TARGET)
    torch.testing.assert_close(loss, 0.9 * loss_of(alpha="none")(LOGITS, TARGET))


def test_false_positive_alphas_follow_the_counts_of_the_batch_or_the_dataset():
    counts = torch.bincount(TARGET, minlength=10)
    batch = loss_of(alpha="batch")(LOGITS, TARGET)
    dataset = loss_of(alpha="dataset", class_counts=counts)(LOGITS, TARGET)
    given_alpha = loss_of(alpha=[1 - n / 64 for n in counts.tolist()])(LOGITS, TARGET)
    torch.testing.assert_close(batch, dataset, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(batch, given_alpha, rtol=1e-6, atol=1e-6)


def test_a_batch_of_one_class_has_no_false_positive_target_term():
    target = torch.full((64,), 3)
    loss = loss_of()(LOGITS, target)
    others = LOGITS.softmax(1).scatter(1, target[:, None], 0.0)
    torch.testing.assert_close(loss, -torch.log1p(-others.amax(1)))


def test_more_false_positives_than_wrong_classes_are_all_of_them():
    many = loss_of(top_k=99)(LOGITS, TARGET)
    torch.testing.assert_close(many, loss_of(top_k=9)(LOGITS, TARGET))
    p = LOGITS.softmax(1).scatter(1, TARGET[:, None], 0.0)
    every = loss_of(alpha="none", top_k=9)(LOGITS, TARGET)
    expected = F.cross_entropy(LOGITS, TARGET, reduction="none") - torch.log1p(-p).sum(1)
    torch.testing.assert_close(every, expected)


def test_the_gradient_of_the_worst_false_positives_is_not_clamped_away():
    logits = torch.tensor([[-200.0, 200.0, 0.0]], requires_grad=True)
    loss = Criterion("false_positive", alpha="none")(logits, torch.tensor([0]))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == pytest.approx(600)  # 400 for the target, 200 for 1 - p_F = exp(-200)
    torch.testing.assert_close(gradient, torch.tensor([[-1.0, 2.0, -1.0]]))
