"""Class trees: plain dicts `{parent: [children]}` whose leaves are the classes, and what follows from them.

>>> tree = find_tree("cifar-10").children
>>> path(tree, "cat")
['root', 'animal', 'carnivore', 'cat']
>>> tree_distance(tree, "cat", "dog"), tree_distance(tree, "cat", "ship")
(2, 6)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lossbench.registry import Registry, unknown

# The class trees that come with the package, as plain data: `{parent: [children]}`.

# The poster (paper 004) shows its CIFAR-10 tree only as a picture. Both trees below are our reading of it.
CIFAR_10 = {
    "root": ["vehicle", "animal"],
    "vehicle": ["road", "craft"],
    "road": ["automobile", "truck"],
    "craft": ["airplane", "ship"],
    "animal": ["carnivore", "ungulate", "nonmammal"],
    "carnivore": ["cat", "dog"],
    "ungulate": ["deer", "horse"],
    "nonmammal": ["bird", "frog"],
}

CIFAR_10_MAMMALS = {
    **CIFAR_10,
    "animal": ["mammal", "nonmammal"],
    "mammal": ["carnivore", "ungulate"],
}

# Seo and Shin 2019 also have the groups bottoms, dresses, outers and accessories with one class each. A group
# of one child carries no information, so here its class hangs directly below the group above.
FASHION_MNIST = {
    "root": ["clothes", "goods"],
    "clothes": ["tops", "Trouser", "Dress", "Coat"],
    "tops": ["T-shirt/top", "Pullover", "Shirt"],
    "goods": ["shoes", "Bag"],
    "shoes": ["Sandal", "Sneaker", "Ankle boot"],
}

_CIFAR_100_GROUPS = {
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}

CIFAR_100 = {
    "root": list(_CIFAR_100_GROUPS),
    **{group: members.split() for group, members in _CIFAR_100_GROUPS.items()},
}

_ALPHABETS = {  # alphabet -> its characters
    "Balinese": 24, "Early_Aramaic": 22, "Greek": 24, "Japanese_(katakana)": 47, "Korean": 40, "Latin": 26,
    "Sanskrit": 42, "Tagalog": 17,
}  # fmt: skip
_OMNIGLOT = {
    alphabet: [f"{alphabet}/character{k:02}" for k in range(1, count + 1)] for alphabet, count in _ALPHABETS.items()
}
OMNIGLOT_CLASSES = tuple(name for characters in _OMNIGLOT.values() for name in characters)

CIFAR_10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip

FASHION_MNIST_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

CIFAR_100_CLASSES = tuple(sorted(" ".join(_CIFAR_100_GROUPS.values()).split()))  # the dataset's own order


Tree = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class ClassTree:
    """A tree together with the order of its classes.

    Args:
        children: `{parent: [children]}`; a node without an entry is a leaf.
        class_names: the leaves in the order of the target indices.
        reconstruction: True where no source gives the tree in words.
        source: where it comes from.
    """

    children: Tree
    class_names: tuple[str, ...]
    reconstruction: bool = True
    source: str = "given by the user"


_TREES = {
    "cifar-10": ClassTree(
        CIFAR_10,
        CIFAR_10_CLASSES,
        source="reading of the picture on the poster Loss in Layers (paper 004); every class at depth 3",
    ),
    "cifar-10-mammals": ClassTree(
        CIFAR_10_MAMMALS,
        CIFAR_10_CLASSES,
        source="as cifar-10, with a node for mammals: cat, dog, deer and horse at depth 4",
    ),
    "fashion-mnist": ClassTree(
        FASHION_MNIST,
        FASHION_MNIST_CLASSES,
        source="after Seo and Shin 2019, Expert Systems with Applications 116; groups of one class left out",
    ),
    "cifar-100": ClassTree(
        CIFAR_100,
        CIFAR_100_CLASSES,
        reconstruction=False,
        source="the 20 superclasses of Krizhevsky 2009, Learning Multiple Layers of Features",
    ),
    "omniglot-small": ClassTree(
        {"root": list(_OMNIGLOT), **_OMNIGLOT},
        OMNIGLOT_CLASSES,
        reconstruction=False,
        source="the eight alphabets of Omniglot's small background sets (Lake et al. 2015), a folder each",
    ),
}
TREES: Registry[ClassTree] = Registry("tree", _TREES)


def find_tree(tree: str | Tree | None = None, class_names: Sequence[str] | None = None) -> ClassTree:
    """Find the tree that is meant, checked, with its classes in the order of the target indices.

    Args:
        tree: a name in `TREES`, a dict `{parent: [children]}`, or None for the first of `TREES` with these classes.
        class_names: the classes in target order; may be left out where `tree` is a name.

    Raises ValueError or TypeError for what is no tree, has other leaves than the classes, or is not known.
    """
    if tree is None:
        return _tree_of_classes(class_names)
    if isinstance(tree, str):
        entry = TREES[tree]
        if class_names is None:
            return entry
        check_tree(entry.children, class_names)
        return ClassTree(entry.children, tuple(class_names), entry.reconstruction, entry.source)
    check_tree(tree, class_names)
    if class_names is None:
        raise ValueError(
            "tree is a dict, so class_names is needed: the classes in the order of the target indices; "
            f"its leaves are {', '.join(leaves(tree))}"
        )
    return ClassTree(tree, tuple(class_names))


def _tree_of_classes(class_names: Sequence[str] | None) -> ClassTree:
    hint = f"give tree a name ({', '.join(TREES)}) or a dict {{parent: [children]}}"
    if class_names is None:
        raise ValueError(f"neither tree nor class_names was given; {hint}")
    for entry in TREES.values():
        if set(entry.class_names) == set(class_names):
            return ClassTree(entry.children, tuple(class_names), entry.reconstruction, entry.source)
    raise ValueError(f"no tree is known for the classes {_quoted(class_names)}; {hint}")


def check_tree(tree: object, class_names: Sequence[str] | None = None) -> dict[str, list[str]]:
    """Check that `tree` has one root, one parent a node, no cycle, and exactly the classes as leaves; copy it."""
    tree = _checked_types(tree)
    parents = Counter(child for children in tree.values() for child in children)
    if twice := [child for child, count in parents.items() if count > 1]:
        raise ValueError(f"tree: each node needs one parent, but {_quoted(twice)} is listed more than once")
    if childless := [parent for parent, children in tree.items() if not children]:
        raise ValueError(f"tree: {_quoted(childless)} has an empty list of children; a leaf has no entry")
    roots = [parent for parent in tree if parent not in parents]
    if len(roots) > 1:
        raise ValueError(f"tree: needs a single root, but has {_quoted(roots)}")
    reached = _below(tree, roots[0]) if roots else []
    if cut_off := [node for node in tree if node not in reached]:
        raise ValueError(f"tree: has a cycle through {_quoted(cut_off)}")
    if class_names is not None:
        _check_leaves(leaves(tree), class_names)
    return {parent: list(children) for parent, children in tree.items()}


def _checked_types(tree: object) -> Tree:
    if not isinstance(tree, Mapping):
        raise TypeError(f"tree must be a name or a dict {{parent: [children]}}, got {tree!r}")
    if not tree:
        raise ValueError("tree: is empty")
    for parent, children in tree.items():
        if isinstance(children, str) or not isinstance(children, Sequence):
            raise TypeError(f"tree: the children of {parent!r} must be a list of names, got {children!r}")
        if wrong := [node for node in (parent, *children) if not isinstance(node, str)]:
            raise TypeError(f"tree: nodes must be names, got {wrong[0]!r}")
    return tree


def _check_leaves(leaf_names: Sequence[str], class_names: Sequence[str]) -> None:
    if len(set(class_names)) < len(class_names):
        raise ValueError(f"class_names must differ from each other, got {_quoted(class_names)}")
    problems = []
    if missing := [name for name in class_names if name not in leaf_names]:
        problems.append(f"the classes {_quoted(missing)} are no leaves")
    if extra := [name for name in leaf_names if name not in class_names]:
        problems.append(f"the leaves {_quoted(extra)} are no classes")
    if problems:
        raise ValueError(f"tree: its leaves must be the classes, but {' and '.join(problems)}")


def _quoted(names: Sequence[object], most: int = 12) -> str:
    quoted = ", ".join(repr(name) for name in names[:most])
    return quoted + (f" and {len(names) - most} more" if len(names) > most else "")


def _below(tree: Tree, node: str) -> list[str]:
    """`node` and all below it, parents first."""
    nodes = [node]
    for parent in nodes:
        nodes.extend(tree.get(parent, ()))
    return nodes


def root(tree: Tree) -> str:
    """The one node without a parent."""
    children = {child for group in tree.values() for child in group}
    return next(parent for parent in tree if parent not in children)


def leaves(tree: Tree, below: str | None = None) -> list[str]:
    """The leaves below a node (default: all), level by level."""
    return [node for node in _below(tree, below or root(tree)) if node not in tree]


def path(tree: Tree, node: str) -> list[str]:
    """The nodes from the root to `node`, both included."""
    parents = {child: parent for parent, children in tree.items() for child in children}
    if node not in parents and node not in tree:
        raise ValueError(unknown("node", node, _below(tree, root(tree))))
    upwards = [node]
    while upwards[-1] in parents:
        upwards.append(parents[upwards[-1]])
    return upwards[::-1]


def depth(tree: Tree, node: str) -> int:
    """How many edges lie between the root and `node`."""
    return len(path(tree, node)) - 1


def height(tree: Tree, node: str) -> int:
    """How many edges lie between `node` and the leaf farthest below it; 0 for a leaf."""
    return 1 + max(height(tree, child) for child in tree[node]) if node in tree else 0


def subtree_size(tree: Tree, node: str) -> int:
    """How many nodes there are in the subtree of `node`, itself included."""
    return len(_below(tree, node))


def lowest_common_ancestor(tree: Tree, first: str, second: str) -> str:
    """The deepest node that is above, or is, both nodes."""
    pairs = zip(path(tree, first), path(tree, second), strict=False)
    return [ancestor for ancestor, other in pairs if ancestor == other][-1]


def tree_distance(tree: Tree, first: str, second: str) -> int:
    """How many edges lie on the way from one node to the other."""
    shared = depth(tree, lowest_common_ancestor(tree, first, second))
    return depth(tree, first) + depth(tree, second) - 2 * shared


def tree_distance_matrix(tree: Tree, class_names: Sequence[str]) -> NDArray[np.int64]:
    """The tree distances between all classes.

    Returns: (classes, classes), symmetric, zero on the diagonal.
    """
    check_tree(tree, class_names)
    paths = [path(tree, name) for name in class_names]
    shared = np.array([[len(set(first) & set(second)) for second in paths] for first in paths], dtype=np.int64)
    lengths = shared.diagonal()
    return lengths[:, None] + lengths[None, :] - 2 * shared


def top_groups(tree: Tree, class_names: Sequence[str]) -> NDArray[np.int64]:
    """The branch below the root that each class is in; a mistake across branches is a critical one.

    Returns: (classes,) the place of the branch among the children of the root.
    """
    check_tree(tree, class_names)
    branches = list(tree[root(tree)])
    return np.array([branches.index(path(tree, name)[1]) for name in class_names], dtype=np.int64)
