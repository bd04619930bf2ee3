"""The scores of a finished run, from its test predictions and embeddings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lossbench import metrics
from lossbench.trees import find_tree, top_groups, tree_distance_matrix

SCORES = (
    *("accuracy", "nll", "top5", "macro_f1", "ece", "brier", "false_positives"),
    *("nmi", "recall_at_1", "recall_at_8", "class_mean_accuracy"),
    *("tree_distance", "mistake_distance", "critical_error"),
)


def score(
    target: np.ndarray,
    log_probs: np.ndarray,
    embeddings: np.ndarray,
    class_means: np.ndarray,
    class_names: Sequence[str],
) -> dict[str, Any]:
    """All scores of a set of images.

    Args:
        target: (images,) class indices.
        log_probs: (images, classes).
        embeddings: (images, features), compared by angle.
        class_means: (classes, features), the mean directions of the training images; `class_mean_accuracy` is the
            share of images whose own class has the nearest one.
        class_names: the classes in target order; they decide whether a class tree is known.

    Returns: `SCORES`; `false_positives` is a list with a count a class, the others are numbers. The tree's are
        missing where no tree is known for the classes. A score that is not finite is None, as JSON wants it.
    """
    length = np.linalg.norm(embeddings, axis=1, keepdims=True)
    directions = embeddings / np.maximum(length, 1e-12)
    recall_at_1, recall_at_8 = metrics.recalls_at(directions, target, (1, 8))
    scores: dict[str, Any] = {
        "accuracy": metrics.accuracy(log_probs, target),
        "nll": metrics.nll(log_probs, target),
        "top5": metrics.top_k(log_probs, target, min(5, log_probs.shape[1])),
        "macro_f1": metrics.macro_f1(log_probs, target),
        "ece": metrics.ece(log_probs, target),
        "brier": metrics.brier(log_probs, target),
        "nmi": metrics.nmi(directions, target),
        "recall_at_1": recall_at_1,
        "recall_at_8": recall_at_8,
        "class_mean_accuracy": float(((directions @ class_means.T).argmax(axis=1) == target).mean()),
        **score_mistakes(target, log_probs.argmax(axis=1), class_names),
    }
    finite = {name: value if math.isfinite(value) else None for name, value in scores.items()}
    return {**finite, "false_positives": metrics.false_positives(log_probs, target).tolist()}


def score_mistakes(target: np.ndarray, predicted: np.ndarray, class_names: Sequence[str]) -> dict[str, float]:
    """How bad the mistakes are on the tree of these classes; empty where no tree is known.

    `tree_distance` is the mean number of edges between the true and the predicted class over all images,
    `mistake_distance` the same over the wrong ones, `critical_error` the share of images taken for a class of
    another main branch, such as an animal for a vehicle.
    """
    try:
        tree = find_tree(None, class_names).children
    except ValueError:
        return {}
    edges = tree_distance_matrix(tree, class_names)[target, predicted]
    branches = top_groups(tree, class_names)
    wrong = target != predicted
    return {
        "tree_distance": float(edges.mean()),
        "mistake_distance": float(edges[wrong].mean()) if wrong.any() else 0.0,
        "critical_error": float((branches[target] != branches[predicted]).mean()),
    }
