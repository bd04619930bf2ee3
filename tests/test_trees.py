"""Class trees: the ones that come along, what follows from a tree, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lossbench import trees
from lossbench.data import DATASETS
from lossbench.trees import TREES, check_tree, find_tree, tree_distance_matrix

LAWS = settings(deadline=None, derandomize=True, max_examples=50)
SMALL = {"root": ["left", "c"], "left": ["a", "b"]}

# tree, classes, non-root nodes, internal nodes with the root, depths of the classes that occur
SHAPES = [
    ("cifar-10", 10, 17, 8, {3}),
    ("cifar-10-mammals", 10, 18, 9, {3, 4}),
    ("fashion-mnist", 10, 14, 5, {2, 3}),
    ("cifar-100", 100, 120, 21, {2}),
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


def test_only_the_superclasses_of_cifar_100_are_no_reconstruction():
    assert [name for name, entry in TREES.items() if not entry.reconstruction] == ["cifar-100"]


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
    ],
)
def test_a_dataset_with_a_tree_finds_it_by_its_class_names(dataset, tree):
    names = DATASETS[dataset].class_names
    found = find_tree(class_names=names)
    assert found.class_names == names
    assert found.children is TREES[tree].children


def test_class_orders_are_those_of_the_datasets():
    for dataset in ("cifar-10", "fashion-mnist", "cifar-100"):
        assert TREES[dataset].class_names == DATASETS[dataset].class_names


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


@LAWS
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


@LAWS
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


def test_an_unknown_tree_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="unknown tree 'cifar10'; did you mean 'cifar-10'"):
        find_tree("cifar10")


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
