"""Hierarchical cross-entropy on a tree of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lossbench.data.trees import (
    TREES,
    ClassTree,
    Tree,
    check_tree,
    depth,
    find_tree,
    height,
    leaves,
    path,
    root,
    subtree_size,
)
from lossbench.losses.catalogue import Context, LogProbs, LossState, fixed, register, search, slider, symbol
from lossbench.registry import any_number, at_least, one_of

# A class tree as tensors of indices, and the paths, groups and sums that a hierarchical loss needs.


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


MODES = ("conditional", "leaf", "flat_nodes")
NODE_WEIGHTS = ("path", "literal", "exp")
DEFAULT_TREE = "cifar-10"  # the poster's own; only where nothing says what the classes are


class TreeState(LossState):
    """The index tables of the tree, and how many logits its mode asks of the model."""

    num_classes: int

    def __init__(self, params: Mapping[str, Any], context: Context) -> None:
        super().__init__()
        self.mode: str = params["mode"]
        found = _find_tree(params["tree"], context)
        self.class_names = found.class_names
        self.num_classes = len(found.class_names)
        for name, table in zip(TreeIndex._fields[1:], index_tree(found)[1:], strict=True):
            self.register_buffer(name, table, persistent=False)

    @property
    def index(self) -> TreeIndex:
        """The tables, on the device of this module."""
        return TreeIndex(self.num_classes, *(self.get_buffer(name) for name in TreeIndex._fields[1:]))

    def forward(self) -> dict[str, Any]:
        """The tables, in one piece."""
        return {"index": self.index}

    def num_outputs(self, num_classes: int) -> int:
        """One logit a class in mode leaf, else one a node below the root.

        Raises:
            ValueError: the tree has another number of classes.
        """
        if num_classes != self.num_classes:
            raise ValueError(f"num_classes is {num_classes}, but the tree has {self.num_classes} classes")
        return num_classes if self.mode == "leaf" else self.index.num_nodes

    def training_log_probs(self, logits: Tensor, target: Tensor | None, log_probs: LogProbs) -> Tensor:
        """The probability function over all outputs; its margin, if any, is on the target's own leaf."""
        if target is not None and target.dim() == 2:
            target = F.pad(target, (0, logits.shape[1] - target.shape[1]))
        return log_probs(logits, target)

    def class_log_probs(self, logits: Tensor, log_probs: LogProbs) -> Tensor:
        """(batch, classes) log-probabilities of the leaves."""
        return leaf_log_probs(log_probs(logits, None), self.index, mode=self.mode)


def _find_tree(tree: str | Tree | None, context: Context) -> ClassTree:
    class_names = context.class_names
    if tree is None and class_names is None:
        tree = DEFAULT_TREE
    found = find_tree(tree, class_names)
    if context.num_classes not in (None, len(found.class_names)):
        raise ValueError(
            f"{context.loss}: num_classes is {context.num_classes}, but the tree has {len(found.class_names)} "
            "classes; pass tree=... or class_names=..."
        )
    return found


def node_log_terms(log_probs: Tensor, index: TreeIndex, *, mode: str) -> Tensor:
    """The quantity that the loss adds up along a path, for every node below the root.

    Args:
        log_probs: (batch, classes) in mode leaf, else (batch, nodes).
        index: tables of the tree.
        mode: `conditional` renormalises within each group of siblings; `leaf` adds leaves up and divides by the
            parent; `flat_nodes` takes the probabilities over all nodes as they are.

    Returns: (batch, nodes): log P(node | parent), or in `flat_nodes` log p(node).

    Raises:
        ValueError: `log_probs` has another number of columns.
    """
    columns = index.num_classes if mode == "leaf" else index.num_nodes
    if log_probs.shape[1] != columns:
        raise ValueError(f"mode {mode!r} of this tree needs {columns} columns, got {tuple(log_probs.shape)}")
    if mode == "conditional":
        group = index.parents - index.num_classes  # siblings are the group of their parent; the root's comes last
        return log_probs - pick(group_log_sums(log_probs, group, index.num_inner + 1), group)
    if mode == "leaf":
        inner = group_log_sums(pick(log_probs, index.leaves), index.above, index.num_inner)
        nodes = torch.cat([log_probs, inner], dim=1)
        return nodes - pick(F.pad(nodes, (0, 1)), index.parents)  # the padding is log P(root) = 0
    return log_probs


def leaf_log_probs(log_probs: Tensor, index: TreeIndex, *, mode: str) -> Tensor:
    """Log-probabilities of the classes, to predict and score with; each row of probabilities sums to one.

    Returns: (batch, classes); `flat_nodes` renormalises over the leaves, which keeps the order of its leaf outputs.
    """
    if mode == "conditional":
        return path_sums(node_log_terms(log_probs, index, mode=mode), index.paths[: index.num_classes])
    return log_probs if mode == "leaf" else log_probs[:, : index.num_classes].log_softmax(1)


def path_penalty(terms: Tensor, index: TreeIndex) -> Tensor:
    """Sum over all inner nodes, the root included, of the product of the terms along the path to it: (batch,)."""
    return 1 + path_sums(terms, index.paths[index.num_classes :]).exp().sum(1)


def _weighted(terms: Tensor, index: TreeIndex, node_weight: str, alpha: float) -> Tensor:
    if node_weight == "path":
        return terms
    if node_weight == "literal":
        return terms * index.sizes
    return terms * (-alpha * index.heights.to(terms.dtype)).exp()


def _check_tree_argument(name: str, value: object) -> str | dict[str, list[str]] | None:
    if value is None or (isinstance(value, str) and TREES[value]):
        return value
    try:
        return check_tree(value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None


def _check_kappa(name: str, value: object) -> float | None:
    return None if value is None else float(at_least(0.0)(name, value))


@register(
    title="hierarchical cross-entropy",
    colour="purple",
    shown=("mode", "node_weight"),
    state=TreeState,
    soft_target="by_class",
    reconstruction=True,
    origin="likelihood",
)
def hierarchical_cross_entropy(
    log_probs: Tensor,
    target: Tensor,
    index: TreeIndex,
    *,
    tree: Annotated[str | Mapping[str, list[str]] | None, _check_tree_argument, fixed("cifar-10")] = None,
    mode: Annotated[str, one_of(*MODES), fixed("leaf")] = "conditional",
    node_weight: Annotated[str, one_of(*NODE_WEIGHTS)] = "path",
    alpha: Annotated[float, any_number(), slider(0.0, 1.0, 0.05), search(0.05, 1.0, log=True), symbol("α")] = 0.1,
    kappa: Annotated[float | None, _check_kappa, fixed(None), symbol("κ")] = None,
) -> Tensor:
    r"""Cross-entropy at every node on the way from the root to the class, and a price on paths to inner nodes.

    .. math:: L = -\sum_{j \in path(t)} w_j c_j + \kappa \sum_{i} \exp \sum_{j \in path(i)} c_j

    c is log P(node | parent) with the node's own output in mode conditional, with sums of leaf probabilities in mode
    leaf; in mode flat_nodes it is the log-probability among all nodes. Of the root c = 0. The second sum is over the
    inner nodes, the root included. The weight w is 1 (path),
    the number of nodes in the subtree (literal) or :math:`e^{-\alpha h}`, h the height above the farthest leaf (exp).

    Use when: classes form a tree and a mistake within a branch is a smaller one.
    Avoid when: the tree is not about what the images show: it then pulls classes together that look different.
    Range: [0, ∞) at κ = 0; the second sum is between the smallest and the largest number of inner nodes above a class
        in modes conditional and leaf, and at least 1 in flat_nodes.
    Gradient: at κ = 0 and w = 1, :math:`P_j - Y_j` within each group of siblings on the path (conditional), or
        :math:`p_j - Y_j` on the classes (leaf).
    At p -> 0: grows without bound, as -log of each conditional probability on the path.
    At p -> 1: falls to 0 at κ = 0 (in flat_nodes p is shared along the path and cannot reach 1).
    Equals: with w = 1 and κ = 0 it is cross_entropy on the classes: exactly in mode leaf, and of a softmax built along
        the tree in mode conditional. Only other weights bring the hierarchy in.
    Note: printed with node probabilities of no stated kind and a sum that counts a node once for each node below it
        (literal). In modes conditional and leaf the second sum is the expected depth of the class: constant where all
        classes are equally deep, and a pull towards shallow classes elsewhere. It acts as meant in flat_nodes only,
        hence the default κ: 1 there, 0 in the other modes. For exp the code of Bertinetto et al. takes the distance
        from the root where we take the height, as their text says: where all classes are equally deep, theirs is ours
        with the sign of α turned, up to a factor.
    Source: paper 004, whose tree is a picture and whose formula leaves the above open; exp weights: Bertinetto et al.
        2020, Making Better Mistakes, arXiv:1912.09393.
    Peers: making-better-mistakes (HierarchicalCrossEntropyLoss: leaf with exp, see the note).

    Args:
        log_probs: (batch, classes) in mode leaf, else (batch, nodes): classes first, then inner nodes.
        target: (batch,) class indices, or (batch, classes) class probabilities.
        index: tables of the tree, from `index_tree`.
        tree: a name in `lossbench.data.trees.TREES` or {parent: [children]}, read when the criterion is built; None
        finds
            the tree of the class names, and without those takes the one of CIFAR-10.
        mode: what c is; conditional and flat_nodes need a model with an output for each node.
        node_weight: what w is.
        alpha: for exp, how fast the weight falls with the height of a node; below 0 it grows, and mistakes across
            branches cost more than mistakes among siblings.
        kappa: weight of the second sum, >= 0; None is 1 for flat_nodes and 0 otherwise.

    Returns: (batch,) loss in nats.
    """
    terms = node_log_terms(log_probs, index, mode=mode)
    loss = -target_path_sums(_weighted(terms, index, node_weight, alpha), index.paths, target)
    if kappa is None:
        kappa = 1.0 if mode == "flat_nodes" else 0.0
    if kappa:
        penalty = kappa * path_penalty(terms, index)
        loss = loss + (penalty * target.sum(1) if target.dim() == 2 else penalty)  # the sum is 1 but for class weights
    return loss
