"""A class tree as tensors of indices, and the paths, groups and sums that a hierarchical loss needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lossbench.trees import ClassTree, depth, height, leaves, path, root, subtree_size


class TreeIndex(NamedTuple):
    """The nodes of a tree without its root: first the leaves in target order, then the inner nodes from the root down.

    As the leaves come first, a target is also the number of its node.

    Attributes:
        num_classes: how many leaves there are.
        paths: (nodes, depth) the nodes from below the root to this node, itself included; rows are padded with the
            number of nodes.
        parents: (nodes,) the parent; the number of nodes stands for the root.
        leaves: (pairs,) with `above`, every pair of a leaf and an inner node that it lies below.
        above: (pairs,) the inner node of the pair, counted from the first inner node.
        sizes: (nodes,) how many nodes its subtree has.
        heights: (nodes,) edges to the farthest leaf below.
    """

    num_classes: int
    paths: Tensor
    parents: Tensor
    leaves: Tensor
    above: Tensor
    sizes: Tensor
    heights: Tensor

    @property
    def num_nodes(self) -> int:
        """How many nodes there are, the root left out."""
        return self.paths.shape[0]

    @property
    def num_inner(self) -> int:
        """How many of them are no leaves."""
        return self.num_nodes - self.num_classes


def index_tree(found: ClassTree) -> TreeIndex:
    """Number the nodes of a checked tree and tabulate what lies above and below each."""
    tree, top = found.children, root(found.children)
    inner = sorted((node for node in tree if node != top), key=lambda node: depth(tree, node))
    nodes = [*found.class_names, *inner]
    number = {node: place for place, node in enumerate([*nodes, top])}
    paths = [path(tree, node) for node in nodes]
    longest = max(len(steps) - 1 for steps in paths)
    pairs = [(number[leaf], place) for place, node in enumerate(inner) for leaf in leaves(tree, node)]
    pair_table = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)
    return TreeIndex(
        num_classes=len(found.class_names),
        paths=torch.tensor([_padded([number[step] for step in steps[1:]], longest, len(nodes)) for steps in paths]),
        parents=torch.tensor([number[steps[-2]] for steps in paths]),
        leaves=pair_table[:, 0],
        above=pair_table[:, 1],
        sizes=torch.tensor([float(subtree_size(tree, node)) for node in nodes]),
        heights=torch.tensor([float(height(tree, node)) for node in nodes]),
    )


def _padded(row: Sequence[int], width: int, padding: int) -> list[int]:
    return [*row, *[padding] * (width - len(row))]


def pick(values: Tensor, columns: Tensor) -> Tensor:
    """The named columns of every row; as values[:, columns], whose gradient takes several times as long."""
    return values.gather(1, columns.expand(len(values), -1))


def group_log_sums(log_probs: Tensor, group: Tensor, count: int) -> Tensor:
    """Log of the summed probabilities of each group of columns.

    Args:
        log_probs: (batch, columns).
        group: (columns,) the group of each, in 0..count - 1; none may be empty.
        count: number of groups.

    Returns: (batch, count).
    """
    groups, fixed = group.expand(len(log_probs), -1), log_probs.detach()
    largest = fixed.new_full((len(fixed), count), -torch.inf).scatter_reduce(1, groups, fixed, "amax")
    ratios = (log_probs - pick(largest, group)).exp()
    return largest + torch.zeros_like(largest).scatter_add(1, groups, ratios).log()


def path_sums(values: Tensor, paths: Tensor) -> Tensor:
    """Sums along paths: (batch, nodes) to (batch, rows of `paths`)."""
    return pick(F.pad(values, (0, 1)), paths.flatten()).view(len(values), *paths.shape).sum(2)


def target_path_sums(values: Tensor, paths: Tensor, target: Tensor) -> Tensor:
    """Sums along the path of each sample's class, or their mean over a target of class probabilities: (batch,)."""
    if target.dim() == 2:
        return (target * path_sums(values, paths[: target.shape[1]])).sum(1)
    return F.pad(values, (0, 1)).gather(1, paths[target]).sum(1)
