"""A tree of classes, from its root at the left to the classes at the right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lossbench.plots.style import BLUE, FIGURE_FONT, GREY, INK, axes, settle
from lossbench.trees import Tree, check_tree, depth, path, root

BELOW = {"fontsize": FIGURE_FONT - 0.5, "ha": "center", "va": "center"}
COVER = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": "none"}


def class_tree(
    tree: Tree,
    ax: Any = None,
    title: str = "",
    numbers: Mapping[str, float] | None = None,
    digits: int = 2,
    to: str | None = None,
) -> Any:
    """Draw a tree: a column a level, a row a class, siblings beside each other.

    Args:
        tree: `{parent: [children]}`, such as `lossbench.trees.TREES["cifar-10"].children`.
        numbers: written behind the names of nodes; nodes without one have none.
        digits: decimals of the numbers.
        to: a node; the way from the root to it is drawn in bold and colour.

    Raises:
        ValueError: `tree` is none, `numbers` names nodes that it does not have, or `to` is not among its nodes.
    """
    tree = check_tree(tree)
    places = {node: (float(depth(tree, node)), row) for node, row in _rows(tree)}
    if extra := [node for node in numbers or {} if node not in places]:
        raise ValueError(
            f"numbers has {', '.join(map(repr, extra))}, which the tree has not; it has {', '.join(places)}"
        )
    way = set(path(tree, to)) if to is not None else set()
    ax = axes(ax)
    for parent, children in tree.items():
        for child in children:
            look = {"color": BLUE, "linewidth": 2.2} if child in way else {"color": GREY, "linewidth": 0.9}
            _branch(ax, places[parent], places[child], look, zorder=2 if child in way else 1)
    for node, place in places.items():
        said = f"{node} {numbers[node]:.{digits}f}" if numbers and node in numbers else node
        look = {"color": BLUE, "fontweight": "bold"} if node in way else {"color": INK}
        ax.annotate(said, place, **BELOW, bbox=COVER, zorder=3, **look)
    rows = [row for _, row in places.values()]
    ax.set_xlim(-0.4, max(column for column, _ in places.values()) + 0.55)
    ax.set_ylim(max(rows) + 0.6, min(rows) - 0.6)
    settle(ax, title)
    ax.set_axis_off()
    return ax


def _rows(tree: Tree) -> Iterator[tuple[str, float]]:
    """Every node with its row: classes from 0 on, so that no branches cross, a parent amid its children."""
    rows: dict[str, float] = {}
    classes = 0
    waiting = [root(tree)]
    while waiting:
        node = waiting[-1]
        children = tree.get(node, ())
        if missing := [child for child in reversed(children) if child not in rows]:
            waiting += missing
            continue
        rows[node] = (rows[children[0]] + rows[children[-1]]) / 2 if children else float(classes)
        classes += not children
        yield waiting.pop(), rows[node]


def _branch(
    ax: Any, start: tuple[float, float], end: tuple[float, float], look: Mapping[str, Any], zorder: int
) -> None:
    middle = (start[0] + end[0]) / 2
    ax.plot([start[0], middle, middle, end[0]], [start[1], start[1], end[1], end[1]], zorder=zorder, **look)
