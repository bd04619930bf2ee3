"""The picture of a class tree says what the tree says."""

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from lossbench import plots
from lossbench.trees import TREES, leaves, path

mpl.use("Agg")


@pytest.fixture
def ax():
    return Figure().subplots()


def places(ax):
    return {text.get_text(): text.xy for text in ax.texts}


@pytest.mark.parametrize("name", ["cifar-10", "cifar-10-mammals", "fashion-mnist"])
def test_every_node_stands_in_the_column_of_its_depth_and_every_class_in_a_row_of_its_own(name, ax):
    tree = TREES[name].children
    assert plots.class_tree(tree, ax, title="t") is ax
    drawn = places(ax)
    assert {node: column for node, (column, _) in drawn.items()} == {n: len(path(tree, n)) - 1 for n in drawn}
    classes = leaves(tree)
    assert sorted(drawn[node][1] for node in classes) == list(range(len(classes)))
    assert set(drawn) == {*tree, *classes}


def test_the_classes_below_a_node_are_next_to_each_other_so_that_no_branches_cross(ax):
    tree = TREES["cifar-10-mammals"].children
    plots.class_tree(tree, ax)
    for node in tree:
        rows = sorted(places(ax)[leaf][1] for leaf in leaves(tree, node))
        assert rows == list(range(int(rows[0]), int(rows[0]) + len(rows))), node


def test_every_branch_goes_from_a_parent_to_its_child(ax):
    tree = TREES["fashion-mnist"].children
    plots.class_tree(tree, ax)
    drawn = places(ax)
    wanted = {(*drawn[parent], *drawn[child]) for parent, children in tree.items() for child in children}
    ends = [line.get_xydata()[[0, -1]].ravel() for line in ax.lines]
    assert {tuple(end) for end in ends} == wanted


def test_numbers_stand_behind_their_names_and_the_way_to_a_node_is_marked(ax):
    plots.class_tree(TREES["cifar-10"].children, ax, numbers={"animal": 10, "cat": 1}, digits=0, to="cat")
    names = {text.get_text(): text.get_fontweight() for text in ax.texts}
    assert {name for name, weight in names.items() if weight == "bold"} == {"root", "animal 10", "carnivore", "cat 1"}
    assert sum(line.get_linewidth() > 2 for line in ax.lines) == 3


def test_what_is_no_node_of_the_tree_is_refused(ax):
    tree = {"root": ["a", "b"]}
    with pytest.raises(ValueError, match=r"numbers has 'c', which the tree has not; it has a, b, root"):
        plots.class_tree(tree, ax, numbers={"c": 1.0})
    with pytest.raises(ValueError, match="node 'c'"):
        plots.class_tree(tree, ax, to="c")
    with pytest.raises(ValueError, match="single root"):
        plots.class_tree({"a": ["b"], "c": ["d"]}, ax)
