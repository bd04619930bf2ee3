"""The scores that a record holds."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score, top_k_accuracy_score
from sklearn.neighbors import KNeighborsClassifier

from lossbench.scores import SCORES, score, score_mistakes

CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@pytest.fixture
def predictions() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    target = np.arange(200) % 10
    log_probs = np.log(rng.dirichlet(np.ones(10), 200))
    return target, log_probs, np.eye(10)[target] + 0.01 * rng.normal(size=(200, 10))


def test_all_scores_are_there_and_agree_with_scikit_learn(predictions: tuple[np.ndarray, ...]) -> None:
    target, log_probs, embeddings = predictions
    found = score(target, log_probs, embeddings, np.eye(10), CIFAR)
    assert set(found) == set(SCORES)
    assert found["accuracy"] == pytest.approx((log_probs.argmax(1) == target).mean())
    assert found["top5"] == pytest.approx(top_k_accuracy_score(target, log_probs, k=5))
    assert found["macro_f1"] == pytest.approx(f1_score(target, log_probs.argmax(1), average="macro"))
    assert sum(found["false_positives"]) == (log_probs.argmax(1) != target).sum()
    assert (found["nmi"], found["recall_at_1"], found["recall_at_8"]) == (pytest.approx(1), 1, 1), "separate clusters"
    nearest = KNeighborsClassifier(1).fit(np.eye(10), np.arange(10)).predict(embeddings)
    assert found["class_mean_accuracy"] == (nearest == target).mean() == 1
    shifted = score(target, log_probs, embeddings, np.roll(np.eye(10), 1, axis=0), CIFAR)
    assert shifted["class_mean_accuracy"] == 0


def test_classes_without_a_tree_have_no_tree_scores(predictions: tuple[np.ndarray, ...]) -> None:
    found = score(*predictions, np.eye(10), class_names=[f"class {i}" for i in range(10)])
    assert set(SCORES) - set(found) == {"tree_distance", "mistake_distance", "critical_error"}


def test_an_impossible_prediction_is_none_and_not_infinity(predictions: tuple[np.ndarray, ...]) -> None:
    target, log_probs, embeddings = predictions
    log_probs[0, target[0]] = -np.inf
    assert score(target, log_probs, embeddings, np.eye(10), CIFAR)["nll"] is None


def test_mistakes_are_measured_in_edges_of_the_tree() -> None:
    # cat taken for dog: 2 edges; airplane for cat: 6, and the only critical one; two images right.
    target, predicted = np.array([3, 0, 1, 9]), np.array([5, 3, 1, 9])
    found = score_mistakes(target, predicted, CIFAR)
    assert found == {"tree_distance": 2.0, "mistake_distance": 4.0, "critical_error": 0.25}


def test_no_mistake_has_no_distance() -> None:
    target = np.arange(10)
    assert score_mistakes(target, target, CIFAR) == dict.fromkeys(
        ("tree_distance", "mistake_distance", "critical_error"), 0.0
    )
