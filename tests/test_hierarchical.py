"""Hierarchical cross-entropy: hand-worked rows, the facts of its algebra, and what it refuses."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lossbench import trees
from lossbench.data import DATASETS
from lossbench.data.trees import TREES, check_tree, find_tree, tree_distance_matrix
from lossbench.losses import LOSSES, Criterion
from lossbench.losses.hierarchical import MODES, NODE_WEIGHTS, index_tree, leaf_log_probs
from lossbench.losses.probabilities import PROBABILITIES

# What the tests of hierarchical cross-entropy build and try it on.

NAME = "hierarchical_cross_entropy"
SMALL = {"root": ["left", "c"], "left": ["a", "b"]}  # nodes in this order: a, b, c, left
EVERY = list(itertools.product(MODES, NODE_WEIGHTS))


def build(mode: str = "conditional", **params) -> Criterion:
    return Criterion(NAME, mode=mode, **{"reduction": "none", **params})


def draw(criterion: Criterion, batch: int = 6, seed: int = 0, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    classes = criterion.num_classes
    logits = torch.randn(batch, criterion.num_outputs(classes), generator=generator, dtype=torch.float64)
    return logits * scale, torch.randint(classes, (batch,), generator=generator)


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
@pytest.mark.parametrize(("mode", "node_weight"), list(zip(MODES, NODE_WEIGHTS, strict=True)))
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


@pytest.mark.parametrize("mode", MODES)
def test_extreme_logits_keep_value_and_gradient_finite_in_float32(mode):
    for probability, size in itertools.product(PROBABILITIES, (1e-4, 1e4)):
        criterion = build(mode, tree="cifar-10-mammals", node_weight="literal", kappa=1.0, probability=probability)
        logits, target = draw(criterion, batch=64)
        logits = (logits.sign() * size).float().requires_grad_()
        loss = criterion(logits, target)
        loss.sum().backward()
        assert loss.isfinite().all(), (probability, size)
        assert logits.grad.isfinite().all(), (probability, size)


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


# Hierarchical cross-entropy in use: margins, compilation, the choice of the tree, and what it refuses.


@pytest.mark.parametrize("mode", MODES)
def test_the_margin_is_on_the_leaf_of_the_target_in_training_only(mode):
    criterion = build(mode, probability="soft_margin_softmax", probability_params={"margin": 0.7})
    logits, target = draw(criterion)
    lowered = logits - 0.7 * F.one_hot(target, logits.shape[1])
    torch.testing.assert_close(criterion(logits, target), build(mode)(lowered, target))
    torch.testing.assert_close(criterion(logits, F.one_hot(target, 10).double()), build(mode)(lowered, target))
    assert torch.equal(criterion.eval()(logits, target), build(mode)(logits, target))


def test_taylor_softmax_in_conditional_mode_is_a_taylor_softmax_in_each_group():
    criterion = build(tree=SMALL, class_names=["a", "b", "c"], probability="taylor_softmax")
    logits, _ = draw(criterion)
    taylor = PROBABILITIES["taylor_softmax"].function
    siblings, top = taylor(logits[:, [0, 1]]), taylor(logits[:, [3, 2]])
    expected = torch.cat([siblings + top[:, :1], top[:, 1:]], dim=1)
    torch.testing.assert_close(criterion.log_probs(logits), expected)


def test_a_tree_that_went_through_json_gives_the_same_loss():
    tree = json.loads(json.dumps(TREES["cifar-10"].children))
    checked = LOSSES[NAME].check({"tree": tree})
    assert checked == {"tree": tree}
    criterion = build(class_names=TREES["cifar-10"].class_names, **checked)
    logits, target = draw(criterion)
    assert torch.equal(criterion(logits, target), build(tree="cifar-10")(logits, target))


def test_the_class_names_choose_the_tree():
    names = TREES["fashion-mnist"].class_names
    assert build(class_names=names).num_outputs(10) == 14
    assert build(class_names=names, mode="leaf").num_outputs(10) == 10
    assert build(class_names=TREES["cifar-100"].class_names).num_outputs(100) == 120


def test_without_class_names_it_is_the_tree_of_the_poster():
    assert build().num_outputs(10) == 17
    assert build(tree="cifar-10-mammals").num_outputs(10) == 18


def test_it_is_labelled_a_reconstruction():
    entry = LOSSES[NAME]
    assert entry.reconstruction
    assert entry.label({"mode": "leaf"}) == f"{NAME} mode=leaf node_weight=path (reconstruction)"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"mode": "leafs"}, "mode 'leafs'; did you mean 'leaf'"),
        ({"node_weight": "height"}, "node_weight 'height'"),
        ({"kappa": -1}, "kappa must be at least 0, got -1"),
        ({"alpha": math.nan}, "alpha must be finite"),
        ({"tree": "cifar10"}, "tree 'cifar10'; did you mean 'cifar-10'"),
        ({"tree": {"root": ["a"], "other": ["b"]}}, "tree: .*single root"),
        ({"tree": {"x": ["y"], "y": ["x"]}}, "tree: .*cycle"),
        ({"tree": SMALL}, "class_names is needed"),
        ({"tree": SMALL, "class_names": ["a", "b", "z"]}, "the classes 'z' are no leaves"),
        ({"class_names": ["a", "b"]}, "no tree is known for the classes 'a', 'b'"),
        ({"num_classes": 7}, "num_classes is 7, but the tree has 10"),
    ],
)
def test_a_bad_value_is_a_value_error_that_names_it(params, message):
    with pytest.raises(ValueError, match=message):
        build(**params)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"mode": 3}, "mode must be one of"),
        ({"kappa": "1"}, "kappa must be a number"),
        ({"tree": 3}, "tree must be a name or a dict"),
        ({"tree": {"root": "abc"}}, "children of 'root' must be a list"),
        ({"levels": 2}, "unknown parameter of hierarchical_cross_entropy 'levels'"),
    ],
)
def test_a_bad_type_or_parameter_is_a_type_error_that_names_it(params, message):
    with pytest.raises(TypeError, match=message):
        build(**params)


def test_a_model_without_an_output_for_each_node_is_refused():
    with pytest.raises(ValueError, match="logits must have 17 columns, got shape"):
        build()(torch.zeros(2, 10), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"target must be in 0\.\.9"):
        build()(torch.zeros(2, 17), torch.tensor([0, 10]))
    with pytest.raises(ValueError, match="num_classes is 5, but the tree has 10"):
        build().num_outputs(5)


def test_the_function_itself_refuses_the_wrong_number_of_columns():
    index = index_tree(find_tree("cifar-10"))
    with pytest.raises(ValueError, match="mode 'conditional' of this tree needs 17 columns"):
        LOSSES[NAME].function(torch.zeros(2, 10), torch.tensor([0, 1]), index)


# Class trees: the ones that come along, what follows from a tree, and what is refused.

LAWS_TREES = settings(deadline=None, derandomize=True, max_examples=50)

# tree, classes, non-root nodes, internal nodes with the root, depths of the classes that occur
SHAPES = [
    ("cifar-10", 10, 17, 8, {3}),
    ("cifar-10-mammals", 10, 18, 9, {3, 4}),
    ("fashion-mnist", 10, 14, 5, {2, 3}),
    ("cifar-100", 100, 120, 21, {2}),
    ("omniglot-small", 242, 250, 9, {2}),
]


def test_every_tree_has_its_shape_written_down():
    assert [row[0] for row in SHAPES] == list(TREES)


@pytest.mark.parametrize(("name", "classes", "nodes", "internal", "depths"), SHAPES)
def test_a_tree_of_the_package_is_valid_and_has_its_known_shape(name, classes, nodes, internal, depths):
    entry = TREES[name]
    check_tree(entry.children, entry.class_names)
    assert len(entry.class_names) == classes
    assert trees.subtree_size(entry.children, "root") - 1 == nodes
    assert len(entry.children) == internal
    assert {trees.depth(entry.children, name) for name in entry.class_names} == depths
    assert entry.source


def test_only_trees_of_the_publishers_are_no_reconstruction():
    assert [name for name, entry in TREES.items() if not entry.reconstruction] == ["cifar-100", "omniglot-small"]


def test_cifar_100_has_twenty_groups_of_five():
    groups = trees.top_groups(TREES["cifar-100"].children, TREES["cifar-100"].class_names)
    assert np.bincount(groups).tolist() == [5] * 20


@pytest.mark.parametrize(
    ("dataset", "tree"),
    [
        ("fashion-mini", "fashion-mnist"),
        ("fashion-mnist", "fashion-mnist"),
        ("cifar-10", "cifar-10"),
        ("cifar-100", "cifar-100"),
        ("cifar-100-lossless", "cifar-100"),
        ("omniglot-small", "omniglot-small"),
    ],
)
def test_a_dataset_with_a_tree_finds_it_by_its_class_names(dataset, tree):
    names = DATASETS[dataset].class_names
    found = find_tree(class_names=names)
    assert found.class_names == names
    assert found.children is TREES[tree].children


def test_the_groups_of_omniglot_are_its_eight_alphabets():
    tree = TREES["omniglot-small"]
    groups = trees.top_groups(tree.children, tree.class_names)
    assert np.bincount(groups).tolist() == [24, 22, 24, 47, 40, 26, 42, 17]  # folders in the published archives
    assert tree.children["root"][3] == "Japanese_(katakana)"


# From formulas.md section 6.4, counted there on the drawing of the tree.
@pytest.mark.parametrize(
    ("row", "distances"),
    [("airplane", [0, 4, 6, 6, 6, 6, 6, 6, 2, 4]), ("cat", [6, 6, 4, 0, 4, 2, 4, 4, 6, 6])],
)
def test_cifar_10_distances_are_those_counted_by_hand(row, distances):
    entry = TREES["cifar-10"]
    matrix = tree_distance_matrix(entry.children, entry.class_names)
    assert matrix[entry.class_names.index(row)].tolist() == distances


def test_subtree_sizes_of_cifar_10_are_those_counted_by_hand():
    tree = TREES["cifar-10"].children
    sizes = {node: trees.subtree_size(tree, node) for node in ("root", "animal", "vehicle", "carnivore", "cat")}
    assert sizes == {"root": 18, "animal": 10, "vehicle": 7, "carnivore": 3, "cat": 1}


def test_heights_and_ancestors_of_the_deeper_tree():
    tree = TREES["cifar-10-mammals"].children
    heights = {node: trees.height(tree, node) for node in ("root", "animal", "nonmammal", "vehicle", "cat")}
    assert heights == {"root": 4, "animal": 3, "nonmammal": 1, "vehicle": 2, "cat": 0}
    assert trees.path(tree, "cat") == ["root", "animal", "mammal", "carnivore", "cat"]
    assert trees.lowest_common_ancestor(tree, "cat", "horse") == "mammal"
    assert trees.lowest_common_ancestor(tree, "cat", "animal") == "animal"
    assert trees.tree_distance(tree, "cat", "frog") == 5


def test_a_critical_mistake_takes_an_animal_for_a_vehicle():
    entry = TREES["cifar-10"]
    groups = dict(zip(entry.class_names, trees.top_groups(entry.children, entry.class_names), strict=True))
    animals = {name for name, group in groups.items() if group == groups["cat"]}
    assert animals == {"bird", "cat", "deer", "dog", "frog", "horse"}


@LAWS_TREES
@given(st.sampled_from(list(TREES)), st.data())
def test_tree_distances_are_a_metric(name, data):
    entry = TREES[name]
    matrix = tree_distance_matrix(entry.children, entry.class_names)
    assert (matrix == matrix.T).all()
    assert ((matrix == 0) == np.eye(len(matrix), dtype=bool)).all()
    i, j, k = (data.draw(st.integers(0, len(matrix) - 1)) for _ in range(3))
    assert matrix[i, j] <= matrix[i, k] + matrix[k, j]
    names = entry.class_names
    assert matrix[i, j] == trees.tree_distance(entry.children, names[i], names[j])


@LAWS_TREES
@given(st.permutations(list(TREES["cifar-10"].class_names)))
def test_distances_follow_the_order_of_the_classes(names):
    entry = TREES["cifar-10"]
    matrix = tree_distance_matrix(entry.children, entry.class_names)
    order = [entry.class_names.index(name) for name in names]
    assert (tree_distance_matrix(entry.children, names) == matrix[np.ix_(order, order)]).all()


def test_a_tree_of_the_user_keeps_the_order_of_the_classes_given():
    found = find_tree(SMALL, ["c", "b", "a"])
    assert found.class_names == ("c", "b", "a")
    assert tree_distance_matrix(found.children, found.class_names).tolist() == [
        [0, 3, 3],
        [3, 0, 2],
        [3, 2, 0],
    ]


INVALID = [
    ({"root": ["a", "b"], "other": ["c"]}, "single root, but has 'root', 'other'"),
    ({"root": ["left", "c"], "left": ["a", "c"]}, "'c' is listed more than once"),
    ({"root": ["a", "b", "c"], "x": ["y"], "y": ["x"]}, "cycle through 'x', 'y'"),
    ({"x": ["y"], "y": ["x"]}, "cycle through 'x', 'y'"),
    ({"root": ["left", "c"], "left": ["a"]}, "the classes 'b' are no leaves"),
    ({"root": ["left", "c"], "left": ["a", "b", "d"]}, "the leaves 'd' are no classes"),
    ({"root": ["a", "b", "c"], "c": []}, "'c' has an empty list"),
    ({}, "is empty"),
]


@pytest.mark.parametrize(("tree", "message"), INVALID)
def test_what_is_no_tree_of_the_classes_is_refused_with_the_nodes_at_fault(tree, message):
    with pytest.raises(ValueError, match=message):
        check_tree(tree, ["a", "b", "c"])


@pytest.mark.parametrize("tree", [3, ["root"], {"root": "abc"}, {"root": 3}, {"root": ["a", 1]}, {1: ["a"]}])
def test_what_is_no_dict_of_lists_of_names_is_a_type_error(tree):
    with pytest.raises(TypeError, match="tree"):
        check_tree(tree, ["a", "b", "c"])


def test_a_known_tree_with_other_classes_is_refused():
    with pytest.raises(ValueError, match="the classes 'a', 'b' are no leaves"):
        find_tree("cifar-10", ["a", "b"])


@pytest.mark.parametrize(
    ("tree", "class_names", "message"),
    [
        (None, None, "neither tree nor class_names"),
        (None, ["a", "b"], "no tree is known for the classes 'a', 'b'"),
        (SMALL, None, "class_names is needed"),
        (SMALL, ["a", "b", "b", "c"], "must differ"),
    ],
)
def test_a_tree_that_cannot_be_chosen_says_what_is_missing(tree, class_names, message):
    with pytest.raises(ValueError, match=message):
        find_tree(tree, class_names)


def test_an_unknown_node_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="unknown node 'catt'; did you mean 'cat'"):
        trees.path(TREES["cifar-10"].children, "catt")
