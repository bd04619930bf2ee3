"""Hierarchical cross-entropy in use: margins, compilation, the choice of the tree, and what it refuses."""

from __future__ import annotations

import json
import math

import pytest
import torch
import torch.nn.functional as F
from hierarchical_cases import NAME, SMALL, build, draw

from lossbench.losses import LOSSES
from lossbench.losses.hierarchical import MODES
from lossbench.losses.tree_index import index_tree
from lossbench.probabilities import PROBABILITIES
from lossbench.trees import TREES, find_tree


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


@pytest.mark.parametrize("mode", MODES)
def test_it_compiles_and_maps(mode):
    criterion = build(mode, node_weight="literal", kappa=1.0)
    logits, target = draw(criterion)
    expected = criterion(logits, target)
    torch._dynamo.reset()
    compiled = torch.compile(criterion, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(logits, target), expected)
    mapped = torch.func.vmap(criterion)(torch.stack([logits, -logits]), torch.stack([target, target]))
    torch.testing.assert_close(mapped[0], expected)
    torch.testing.assert_close(mapped[1], criterion(-logits, target))


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
