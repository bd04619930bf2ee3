"""A class tree as tensors of indices, and the paths, groups and sums that a hierarchical loss needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lossbench.trees import ClassTree, height, leaves, path, root, subtree_size


class TreeIndex(NamedTuple):
    """The nodes of a tree without its root: first the leaves in target order, then the inner nodes, from the root down.

    As the leaves come first, a target is also the index of its node. Rows are padded with the number of nodes (in
    `leaves`: of classes).

    Attributes:
        paths: (nodes, depth) the nodes from below the root to this node, itself included.
        parents: (nodes,) the parent; the number of nodes stands for the root.
        groups: (inner + 1, largest group) the children of each inner node and, last, of the root.
        leaves: (inner, most leaves) the leaves below each inner node.
        sizes: (nodes,) how many nodes its subtree has.
        heights: (nodes,) edges to the farthest leaf below.
    """

    paths: Tensor
    parents: Tensor
    groups: Tensor
    leaves: Tensor
    sizes: Tensor
    heights: Tensor

    @property
    def num_nodes(self) -> int:
        """How many nodes there are, the root left out."""
        return self.paths.shape[0]

    @property
    def num_classes(self) -> int:
        """How many leaves there are."""
        return self.paths.shape[0] - self.leaves.shape[0]


def index_tree(found: ClassTree) -> TreeIndex:
    """Number the nodes of a checked tree and tabulate what lies above, below and beside each."""
    tree, top = found.children, root(found.children)
    inner = sorted((node for node in tree if node != top), key=lambda node: len(path(tree, node)))
    nodes = [*found.class_names, *inner]
    number = {node: place for place, node in enumerate([*nodes, top])}
    parent = {child: number[above] for above, children in tree.items() for child in children}
    return TreeIndex(
        paths=_table([[number[above] for above in path(tree, node)[1:]] for node in nodes], len(nodes)),
        parents=torch.tensor([parent[node] for node in nodes]),
        groups=_table([[number[child] for child in tree[node]] for node in [*inner, top]], len(nodes)),
        leaves=_table([[number[leaf] for leaf in leaves(tree, node)] for node in inner], len(found.class_names)),
        sizes=torch.tensor([float(subtree_size(tree, node)) for node in nodes]),
        heights=torch.tensor([float(height(tree, node)) for node in nodes]),
    )


def _table(rows: Sequence[Sequence[int]], padding: int) -> Tensor:
    width = max((len(row) for row in rows), default=1)
    padded = [[*row, *[padding] * (width - len(row))] for row in rows]
    return torch.tensor(padded, dtype=torch.int64).reshape(len(rows), width)


def log_sums(log_probs: Tensor, members: Tensor) -> Tensor:
    """Log of the summed probabilities of each row of `members`: (batch, columns) to (batch, rows)."""
    return F.pad(log_probs, (0, 1), value=-torch.inf)[:, members].logsumexp(2)


def path_sums(values: Tensor, paths: Tensor) -> Tensor:
    """Sums along paths: (batch, nodes) to (batch, rows of `paths`)."""
    return F.pad(values, (0, 1))[:, paths].sum(2)
