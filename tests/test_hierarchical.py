"""Hierarchical cross-entropy: hand-worked rows, the facts of its algebra, and what it refuses."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hierarchical_cases import EVERY, SMALL, build, draw
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lossbench import trees
from lossbench.losses.hierarchical import MODES, NODE_WEIGHTS, leaf_log_probs
from lossbench.losses.tree_index import index_tree
from lossbench.probabilities import PROBABILITIES
from lossbench.trees import TREES, find_tree

LAWS = settings(deadline=None, derandomize=True, max_examples=40)
# Weights 1 : 3 : 1 : 2 of a, b, c, left give conditional probabilities 1/4, 3/4, 1/3, 2/3; as leaf probabilities
# 1/6, 1/2, 1/3 are taken. Target a, whose path is left (2/3), then a (1/4).
LOG_3_2, LOG_4 = math.log(3 / 2), math.log(4)
ROWS = [  # mode, node weight, kappa, value by hand
    ("conditional", "path", None, math.log(6)),
    ("conditional", "literal", None, 3 * LOG_3_2 + LOG_4),
    ("conditional", "exp", None, math.exp(-1) * LOG_3_2 + LOG_4),
    ("conditional", "path", 2.0, math.log(6) + 2 * (1 + 2 / 3)),
    ("leaf", "path", None, math.log(6)),
    ("leaf", "literal", None, 3 * LOG_3_2 + LOG_4),
    ("leaf", "exp", None, math.exp(-1) * LOG_3_2 + LOG_4),
    ("leaf", "literal", 0.5, 3 * LOG_3_2 + LOG_4 + 0.5 * (1 + 2 / 3)),
    ("flat_nodes", "path", None, math.log(7) + math.log(7 / 2) + 1 + 2 / 7),
    ("flat_nodes", "literal", 0.0, math.log(7) + 3 * math.log(7 / 2)),
    ("flat_nodes", "exp", 0.0, math.log(7) + math.exp(-1) * math.log(7 / 2)),
]


def test_every_mode_and_weight_has_a_row():
    assert {row[:2] for row in ROWS} == set(EVERY)


@pytest.mark.parametrize(("mode", "node_weight", "kappa", "value"), ROWS)
def test_the_value_is_the_one_worked_by_hand(mode, node_weight, kappa, value):
    criterion = build(mode, tree=SMALL, class_names=["a", "b", "c"], node_weight=node_weight, alpha=1.0, kappa=kappa)
    weights = [1.0, 3.0, 2.0] if mode == "leaf" else [1.0, 3.0, 1.0, 2.0]
    logits = torch.tensor([weights], dtype=torch.float64).log()
    assert criterion(logits, torch.tensor([0])).item() == pytest.approx(value, rel=1e-14)


def plainly(probability: dict[str, float], tree, target: str, node_weight: str, alpha: float, kappa: float) -> float:
    """The formula read out loud over a dict: `probability` is exp(c) of each node below the root."""
    weight = {
        "path": lambda node: 1.0,
        "literal": lambda node: trees.subtree_size(tree, node),
        "exp": lambda node: math.exp(-alpha * trees.height(tree, node)),
    }[node_weight]
    loss = -sum(weight(node) * math.log(probability[node]) for node in trees.path(tree, target)[1:])
    products = (math.prod(probability[node] for node in trees.path(tree, inner)[1:]) for inner in tree)
    return loss + kappa * sum(products)


@pytest.mark.parametrize("name", ["cifar-10", "cifar-10-mammals", "fashion-mnist"])
@pytest.mark.parametrize(("mode", "node_weight"), EVERY)
def test_the_tensor_code_agrees_with_the_formula_read_node_by_node(name, mode, node_weight):
    entry = TREES[name]
    tree, classes = entry.children, entry.class_names
    criterion = build(mode, tree=name, node_weight=node_weight, alpha=0.7, kappa=0.3)
    logits, target = draw(criterion)
    inner = sorted((n for n in tree if n != "root"), key=lambda node: trees.depth(tree, node))
    for row, index, value in zip(logits, target.tolist(), criterion(logits, target).tolist(), strict=True):
        score = dict(zip([*classes, *inner], row.exp().tolist(), strict=False))
        if mode == "leaf":
            mass = {n: sum(score[leaf] for leaf in trees.leaves(tree, n)) for n in (*classes, *tree)}
            c = {n: mass[n] / mass[trees.path(tree, n)[-2]] for n in mass if n != "root"}
        elif mode == "conditional":
            c = {n: score[n] / sum(score[m] for m in group) for group in tree.values() for n in group}
        else:
            c = {n: score[n] / sum(score.values()) for n in score}
        assert value == pytest.approx(plainly(c, tree, classes[index], node_weight, 0.7, 0.3), rel=1e-12)


@LAWS
@given(st.sampled_from(MODES), st.sampled_from(list(TREES)), st.sampled_from(list(PROBABILITIES)), st.integers(0, 99))
def test_leaf_probabilities_sum_to_one(mode, tree, probability, seed):
    criterion = build(mode, tree=tree, probability=probability)
    logits, _ = draw(criterion, seed=seed, scale=3)
    log_probs = criterion.log_probs(logits)
    assert log_probs.shape == (6, criterion.num_classes)
    torch.testing.assert_close(log_probs.exp().sum(1), torch.ones(6, dtype=torch.float64))


@pytest.mark.parametrize("tree", TREES)
def test_unit_weights_in_conditional_mode_are_the_likelihood_of_the_leaf(tree):
    criterion = build("conditional", tree=tree)
    logits, target = draw(criterion)
    expected = F.nll_loss(criterion.log_probs(logits), target, reduction="none")
    torch.testing.assert_close(criterion(logits, target), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("weights", [{"node_weight": "path"}, {"node_weight": "exp", "alpha": 0.0}])
@pytest.mark.parametrize("tree", TREES)
def test_unit_weights_in_leaf_mode_are_flat_cross_entropy_in_value_and_gradient(tree, weights):
    criterion = build("leaf", tree=tree, **weights)
    logits, target = draw(criterion)
    logits.requires_grad_()
    ours, flat = criterion(logits, target), F.cross_entropy(logits, target, reduction="none")
    torch.testing.assert_close(ours, flat, rtol=1e-12, atol=1e-12)
    gradients = [torch.autograd.grad(loss.sum(), logits)[0] for loss in (ours, flat)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("node_weight", ["literal", "exp"])
def test_other_weights_in_leaf_mode_are_not_cross_entropy(node_weight):
    criterion = build("leaf", node_weight=node_weight)
    logits, target = draw(criterion)
    assert (criterion(logits, target) - F.cross_entropy(logits, target, reduction="none")).abs().min() > 1e-3


def penalty(mode: str, tree: str, logits: Tensor, target: Tensor) -> Tensor:
    return build(mode, tree=tree, kappa=1.0)(logits, target) - build(mode, tree=tree, kappa=0.0)(logits, target)


@pytest.mark.parametrize("mode", ["conditional", "leaf"])
def test_the_penalty_is_a_constant_three_without_gradient_where_all_leaves_are_equally_deep(mode):
    logits, target = draw(build(mode), batch=64)
    logits.requires_grad_()
    values = penalty(mode, "cifar-10", logits, target)
    torch.testing.assert_close(values, torch.full_like(values, 3.0))
    (gradient,) = torch.autograd.grad(values.sum(), logits)
    assert gradient.abs().max() < 1e-14


@pytest.mark.parametrize("mode", ["conditional", "leaf"])
def test_the_penalty_is_the_expected_depth_and_pushes_away_from_mammals(mode):
    criterion = build(mode, tree="cifar-10-mammals")
    logits, target = draw(criterion, batch=64)
    logits.requires_grad_()
    values = penalty(mode, "cifar-10-mammals", logits, target)
    depth = torch.tensor([4.0 if n in ("cat", "dog", "deer", "horse") else 3.0 for n in criterion.state.class_names])
    torch.testing.assert_close(values, criterion.log_probs(logits).exp() @ depth.double())
    assert 3.0 < values.min() < values.max() < 4.0
    assert values.max() - values.min() > 0.3
    (gradient,) = torch.autograd.grad(values.sum(), logits)
    path_of_cat = index_tree(TREES["cifar-10-mammals"]).paths[3]  # animal, mammal, carnivore, cat
    mammal = gradient[:, depth == 4] if mode == "leaf" else gradient[:, path_of_cat[1]]
    assert (mammal > 0).all()


def test_only_flat_nodes_has_an_optimum_inside_as_the_penalty_means_it():
    """Minimised numerically; formulas.md gives animal .255, carnivore .355, cat .390."""
    criterion = build("flat_nodes", reduction="mean")
    entry = TREES["cifar-10"]
    target = torch.tensor([entry.class_names.index("cat")])
    logits = torch.zeros(1, 17, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=500, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def evaluate() -> Tensor:
        optimizer.zero_grad()
        loss = criterion(logits, target)
        loss.backward()
        return loss

    optimizer.step(evaluate)
    probability = logits.detach().softmax(1)[0]
    path = index_tree(entry).paths[target[0]].tolist()
    assert probability[path].tolist() == pytest.approx([0.255, 0.355, 0.390], abs=5e-4)
    assert probability[path].sum() > 0.999


def test_kappa_is_one_in_flat_nodes_and_zero_elsewhere_unless_given():
    for mode in MODES:
        criterion = build(mode)
        logits, target = draw(criterion)
        expected = build(mode, kappa=1.0 if mode == "flat_nodes" else 0.0)(logits, target)
        assert torch.equal(criterion(logits, target), expected)


@pytest.mark.parametrize("probability", PROBABILITIES)
@pytest.mark.parametrize(("mode", "node_weight"), EVERY)
def test_gradcheck_passes_on_every_probability_function(mode, node_weight, probability):
    criterion = build(
        mode,
        tree=SMALL,
        class_names=["a", "b", "c"],
        node_weight=node_weight,
        kappa=0.5,
        probability=probability,
    )
    logits, target = draw(criterion)
    assert torch.autograd.gradcheck(lambda z: criterion(z, target), logits.requires_grad_())


@pytest.mark.parametrize("probability", PROBABILITIES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [1e-4, 1e4])
def test_extreme_logits_keep_value_and_gradient_finite_in_float32(mode, probability, size):
    criterion = build(mode, tree="cifar-10-mammals", node_weight="literal", kappa=1.0, probability=probability)
    logits, target = draw(criterion, batch=64)
    logits = (logits.sign() * size).float().requires_grad_()
    loss = criterion(logits, target)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("mode", MODES)
def test_half_precision_is_computed_in_float32(mode, dtype):
    criterion = build(mode)
    logits, target = draw(criterion)
    narrow = logits.to(dtype)
    assert torch.equal(criterion(narrow, target), criterion(narrow.float(), target))


@LAWS
@given(st.integers(1, 64), st.sampled_from(MODES), st.sampled_from(list(TREES)), st.sampled_from(NODE_WEIGHTS))
def test_one_value_a_sample_and_the_reductions_belong_together(batch, mode, tree, node_weight):
    logits, target = draw(build(mode, tree=tree), batch=batch)
    none, mean, total = (
        build(mode, tree=tree, node_weight=node_weight, reduction=reduction)(logits, target)
        for reduction in ("none", "mean", "sum")
    )
    assert none.shape == (batch,)
    torch.testing.assert_close(mean, none.mean())
    torch.testing.assert_close(total, none.sum())


@LAWS
@given(st.permutations(range(10)), st.sampled_from(MODES), st.sampled_from(NODE_WEIGHTS))
def test_the_order_of_the_classes_does_not_matter(order, mode, node_weight):
    names = TREES["cifar-10"].class_names
    params = {"tree": "cifar-10", "node_weight": node_weight}
    plain = build(mode, class_names=names, **params)
    shuffled = build(mode, class_names=[names[i] for i in order], **params)
    logits, target = draw(plain)
    moved = torch.cat([logits[:, order], logits[:, 10:]], dim=1)
    back = torch.tensor([order.index(i) for i in range(10)])
    torch.testing.assert_close(shuffled(moved, back[target]), plain(logits, target))
    torch.testing.assert_close(shuffled.log_probs(moved), plain.log_probs(logits)[:, order])


@pytest.mark.parametrize(("mode", "node_weight"), EVERY)
def test_class_probabilities_as_target_mix_the_losses_of_the_classes(mode, node_weight):
    criterion = build(mode, node_weight=node_weight, kappa=0.5)
    logits, _ = draw(criterion)
    each = torch.stack([criterion(logits, torch.full((6,), c)) for c in range(10)], dim=1)
    target = torch.rand(6, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).softmax(1)
    torch.testing.assert_close(criterion(logits, target), (target * each).sum(1))


def test_a_flat_tree_is_plain_cross_entropy_in_every_mode_without_penalty():
    names = ["a", "b", "c"]
    for mode, node_weight in EVERY:
        criterion = build(mode, tree={"root": names}, class_names=names, node_weight=node_weight, kappa=0.0)
        logits, target = draw(criterion)
        torch.testing.assert_close(criterion(logits, target), F.cross_entropy(logits, target, reduction="none"))


def test_leaf_log_probs_of_flat_nodes_keep_the_order_of_the_leaf_outputs():
    index = index_tree(find_tree("cifar-10"))
    logits, _ = draw(build("flat_nodes"))
    log_probs = leaf_log_probs(logits.log_softmax(1), index, mode="flat_nodes")
    assert torch.equal(log_probs.argsort(1), logits[:, :10].argsort(1))
