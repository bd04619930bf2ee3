"""Scores of one model on one set of images: numpy arrays in, floats or small tables out.

`log_probs` is (samples, classes), natural logarithms of probabilities; `target` is (samples,), class
indices. Rows of every matrix are the true classes, columns the predicted ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lossbench.data.trees import find_tree, top_groups, tree_distance_matrix
from lossbench.registry import Registry

if TYPE_CHECKING:
    import pandas as pd


FOLDS = 10
Floats = NDArray[np.float64]
Normalize = Literal["true", "pred"] | None


def _check(log_probs: ArrayLike, target: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    scores, truth = np.asarray(log_probs, dtype=np.float64), np.asarray(target)
    if scores.ndim != 2 or truth.shape != scores.shape[:1] or not len(truth):
        raise ValueError(
            f"log_probs {scores.shape} and target {truth.shape} do not fit: pass (samples, classes) and "
            "(samples,), at least one sample"
        )
    if not np.issubdtype(truth.dtype, np.integer):
        raise TypeError(f"target must hold class indices, got dtype {truth.dtype}")
    if truth.min() < 0 or truth.max() >= scores.shape[1]:
        raise ValueError(f"target spans {truth.min()}..{truth.max()}, but there are {scores.shape[1]} classes")
    if np.isnan(scores).any():
        raise ValueError(f"log_probs holds nan in {int(np.isnan(scores).any(axis=1).sum())} of {len(truth)} rows")
    return scores, truth.astype(np.int64)


def accuracy(log_probs: ArrayLike, target: ArrayLike) -> float:
    """Share of samples whose most probable class is the true one, in [0, 1]; the first class wins a tie."""
    scores, truth = _check(log_probs, target)
    return float((scores.argmax(axis=1) == truth).mean())


def top_k(log_probs: ArrayLike, target: ArrayLike, k: int = 5) -> float:
    """Share of samples whose true class is among the `k` most probable ones, in [0, 1]."""
    scores, truth = _check(log_probs, target)
    if not 1 <= k <= scores.shape[1]:
        raise ValueError(f"k={k!r} must lie in 1..{scores.shape[1]}, the number of classes")
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float((best == truth[:, None]).any(axis=1).mean())


def nll(log_probs: ArrayLike, target: ArrayLike) -> float:
    """Mean negative log-likelihood of the true class, in nats, >= 0."""
    scores, truth = _check(log_probs, target)
    return float(-scores[np.arange(len(truth)), truth].mean())


def brier(log_probs: ArrayLike, target: ArrayLike) -> float:
    """Mean squared distance between the probabilities and the one-hot target, summed over classes: [0, 2].

    Source: Brier 1950, Monthly Weather Review 78, eq. 2.
    """
    scores, truth = _check(log_probs, target)
    return float(((np.exp(scores) - np.eye(scores.shape[1])[truth]) ** 2).sum(axis=1).mean())


def reliability_table(log_probs: ArrayLike, target: ArrayLike, bins: int = 15) -> pd.DataFrame:
    """How often the model is right at each level of confidence.

    Returns: a row for each of `bins` equally wide bins of the largest probability, with columns `lower`,
    `upper` (a bin is (lower, upper], the first one includes 0), `count`, `confidence` and `accuracy`
    (nan in an empty bin).
    """
    import pandas as pd

    scores, truth = _check(log_probs, target)
    if bins < 1:
        raise ValueError(f"bins={bins!r} must be at least 1")
    confidence = np.exp(scores.max(axis=1))
    edges = np.linspace(0, 1, bins + 1)
    index = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(index, weights=confidence, minlength=bins) / count
        right = np.bincount(index, weights=(scores.argmax(axis=1) == truth), minlength=bins) / count
    columns = {"lower": edges[:-1], "upper": edges[1:], "count": count}
    return pd.DataFrame({**columns, "confidence": mean_confidence, "accuracy": right})


def ece(log_probs: ArrayLike, target: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error: mean gap between confidence and accuracy over bins, in [0, 1].

    Source: Guo et al. 2017, eq. 3, arXiv:1706.04599 (equally wide bins).
    """
    table = reliability_table(log_probs, target, bins)
    gap = (table["confidence"] - table["accuracy"]).abs().fillna(0.0)
    return float((gap * table["count"]).sum() / table["count"].sum())


def confusion_matrix(log_probs: ArrayLike, target: ArrayLike, normalize: Normalize = None) -> Floats:
    """Count samples by true class (rows) and predicted class (columns).

    Args:
        normalize: None for counts; "true" for P(predicted | true), rows sum to 1; "pred" for
            P(true | predicted), columns sum to 1. A class without samples gives nan.

    Returns: (classes, classes).
    """
    scores, truth = _check(log_probs, target)
    classes = scores.shape[1]
    flat = np.bincount(truth * classes + scores.argmax(axis=1), minlength=classes**2)
    matrix = flat.reshape(classes, classes).astype(np.float64)
    if normalize is None:
        return matrix
    if normalize not in ("true", "pred"):
        raise ValueError(f"unknown normalize {normalize!r}; choose from 'true', 'pred', None")
    return _divide(matrix, matrix.sum(axis=1 if normalize == "true" else 0, keepdims=True))


def _divide(numerator: Floats, denominator: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(numerator / denominator, dtype=np.float64)


def precision(log_probs: ArrayLike, target: ArrayLike) -> Floats:
    """TP / (TP + FP) for each class, (classes,); nan for a class never predicted."""
    matrix = confusion_matrix(log_probs, target)
    return _divide(np.diag(matrix), matrix.sum(axis=0))


def recall(log_probs: ArrayLike, target: ArrayLike) -> Floats:
    """TP / (TP + FN) for each class, (classes,); nan for a class without samples."""
    matrix = confusion_matrix(log_probs, target)
    return _divide(np.diag(matrix), matrix.sum(axis=1))


def f1(log_probs: ArrayLike, target: ArrayLike) -> Floats:
    """2 TP / (2 TP + FP + FN) for each class, (classes,); 0 for a class neither present nor predicted."""
    matrix = confusion_matrix(log_probs, target)
    return np.nan_to_num(_divide(2 * np.diag(matrix), matrix.sum(axis=0) + matrix.sum(axis=1)))


def macro_f1(log_probs: ArrayLike, target: ArrayLike) -> float:
    """Mean of the F1 scores of the classes (not the F1 of mean precision and recall), in [0, 1]."""
    return float(f1(log_probs, target).mean())


def false_positives(log_probs: ArrayLike, target: ArrayLike) -> NDArray[np.int64]:
    """Wrong samples assigned to each class, (classes,); they sum to the number of errors."""
    matrix = confusion_matrix(log_probs, target)
    return np.asarray(matrix.sum(axis=0) - np.diag(matrix), dtype=np.int64)


def _check_embeddings(embeddings: ArrayLike, target: ArrayLike) -> tuple[Floats, NDArray[Any]]:
    points, truth = np.asarray(embeddings, dtype=np.float64), np.asarray(target)
    if points.ndim != 2 or truth.shape != points.shape[:1] or len(truth) < 2:
        raise ValueError(
            f"embeddings {points.shape} and target {truth.shape} do not fit: pass (samples, dimensions) and "
            "(samples,), at least two samples"
        )
    if not np.isfinite(points).all():
        raise ValueError("embeddings hold nan or inf")
    return points, truth


def nmi(embeddings: ArrayLike, target: ArrayLike, seed: int = 0) -> float:
    """Agreement of k-means clusters (as many as classes, 10 starts) with the classes, in [0, 1].

    Normalised mutual information with the arithmetic mean of the entropies.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import normalized_mutual_info_score

    points, truth = _check_embeddings(embeddings, target)
    clusters = KMeans(len(np.unique(truth)), n_init=10, random_state=seed).fit_predict(points)
    return float(normalized_mutual_info_score(truth, clusters))


def recalls_at(embeddings: ArrayLike, target: ArrayLike, ks: Sequence[int]) -> list[float]:
    """Share of samples with one of their class among the k nearest others (Euclidean), in [0, 1], for each of `ks`."""
    from sklearn.neighbors import NearestNeighbors

    points, truth = _check_embeddings(embeddings, target)
    for k in ks:
        if not 1 <= k < len(truth):
            raise ValueError(f"k={k!r} must lie in 1..{len(truth) - 1}, the number of other samples")
    # kneighbors() without an argument leaves each sample out of its own neighbours.
    nearest = NearestNeighbors(n_neighbors=max(ks)).fit(points).kneighbors(return_distance=False)
    alike = truth[nearest] == truth[:, None]
    return [float(alike[:, :k].any(axis=1).mean()) for k in ks]


def _curve(accuracy_by_epoch: ArrayLike) -> Floats:
    curve = np.asarray(accuracy_by_epoch, dtype=np.float64)
    if curve.ndim != 1 or not len(curve):
        raise ValueError(f"pass one accuracy an epoch, (epochs,), at least one; got shape {curve.shape}")
    return curve


def epochs_to_reach(accuracy_by_epoch: ArrayLike, fraction: float = 0.95) -> float:
    """First epoch, counted from 1, whose accuracy is at least `fraction` of the last epoch's accuracy.

    nan when the last accuracy is nan, as after a divergence.
    """
    curve = _curve(accuracy_by_epoch)
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction={fraction!r} must lie in (0, 1]")
    return float(np.argmax(curve >= fraction * curve[-1]) + 1) if np.isfinite(curve[-1]) else float("nan")


def best_epoch(accuracy_by_epoch: ArrayLike) -> float:
    """First epoch, counted from 1, with the highest accuracy; nan if none is a number."""
    curve = _curve(accuracy_by_epoch)
    return float(np.nanargmax(curve) + 1) if np.isfinite(curve).any() else float("nan")


@lru_cache(maxsize=1)
def _retrieval(embeddings: bytes, kind: str, target: tuple[int, ...]) -> tuple[float, list[float]]:
    """NMI, and recall@1 and @8. Runs on one frozen network have the same embeddings, and k-means takes seconds."""
    points = np.frombuffer(embeddings, kind).reshape(len(target), -1)
    return nmi(points, target), recalls_at(points, target, (1, 8))


SCORES = (
    *("accuracy", "nll", "top5", "macro_f1", "ece", "brier", "false_positives"),
    *("nmi", "recall_at_1", "recall_at_8", "class_mean_accuracy"),
    *("tree_distance", "mistake_distance", "critical_error"),
    "transfer_accuracy",
)


def score(
    target: np.ndarray,
    log_probs: np.ndarray,
    embeddings: np.ndarray | None,
    class_means: np.ndarray | None,
    class_names: Sequence[str],
) -> dict[str, Any]:
    """All scores of a set of images.

    Args:
        target: (images,) class indices.
        log_probs: (images, classes).
        embeddings: (images, features), compared by angle; without them their scores are missing.
        class_means: (classes, features), the mean directions of the training images; `class_mean_accuracy` is the
            share of images whose own class has the nearest one.
        class_names: the classes in target order; they decide whether a class tree is known.

    Returns: `SCORES`; `false_positives` is a list with a count a class, the others are numbers. The tree's are
        missing where no tree is known for the classes. A score that is not finite is None, as JSON wants it.
    """
    scores: dict[str, Any] = {
        "accuracy": accuracy(log_probs, target),
        "nll": nll(log_probs, target),
        "top5": top_k(log_probs, target, min(5, log_probs.shape[1])),
        "macro_f1": macro_f1(log_probs, target),
        "ece": ece(log_probs, target),
        "brier": brier(log_probs, target),
        **(_score_embeddings(target, embeddings, class_means) if embeddings is not None else {}),
        **score_mistakes(target, log_probs.argmax(axis=1), class_names),
    }
    finite = {name: value if math.isfinite(value) else None for name, value in scores.items()}
    return {**finite, "false_positives": false_positives(log_probs, target).tolist()}


def _score_embeddings(target: np.ndarray, embeddings: np.ndarray, class_means: np.ndarray | None) -> dict[str, float]:
    length = np.linalg.norm(embeddings, axis=1, keepdims=True)
    directions = embeddings / np.maximum(length, 1e-12)
    nearest = (directions @ np.asarray(class_means).T).argmax(axis=1)
    clusters, (recall_at_1, recall_at_8) = _retrieval(
        directions.tobytes(), directions.dtype.str, tuple(target.tolist())
    )
    return {
        "nmi": clusters,
        "recall_at_1": recall_at_1,
        "recall_at_8": recall_at_8,
        "class_mean_accuracy": float((nearest == target).mean()),
    }


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


# Metrics that a config may ask for beside these; yours come from a file of your own.


@dataclass(frozen=True)
class Metric:
    """A registered metric: `function(log_probs, target)` gives one finite number for a set of images.

    Attributes:
        summary: a line for `lossbench list metrics`.
        higher_is_better: how `stats.compare` reads a difference.
    """

    name: str
    function: Callable[[Floats, NDArray[np.int64]], float]
    summary: str
    higher_is_better: bool = True


METRICS: Registry[Metric] = Registry("metric", function=lambda entry: entry.function)
MetricFunction = TypeVar("MetricFunction", bound=Callable[..., float])


@overload
def register_metric(function: MetricFunction, /) -> MetricFunction: ...


@overload
def register_metric(*, higher_is_better: bool = True) -> Callable[[MetricFunction], MetricFunction]: ...


def register_metric(function: Any = None, /, *, higher_is_better: bool = True) -> Any:
    """Add a metric to `METRICS` under the function's own name, with or without arguments.

    The function takes `log_probs` (images, classes) and `target` (images,) as numpy arrays and returns a number.
    Raises: ValueError for a name that is taken.
    """

    def add(function: MetricFunction) -> MetricFunction:
        name = function.__name__
        if name in METRICS or name in SCORES:
            raise ValueError(f"a metric named {name!r} is there already; choose another name")
        summary = (function.__doc__ or "").strip().partition("\n")[0].rstrip(".")
        METRICS[name] = Metric(name, function, summary, higher_is_better)
        return function

    return add if function is None else add(function)


@register_metric
def balanced_accuracy(log_probs: ArrayLike, target: ArrayLike) -> float:
    """Mean over the classes with images of the share that is recognised, in [0, 1]."""
    return float(np.nanmean(recall(log_probs, target)))


@register_metric
def auroc(log_probs: ArrayLike, target: ArrayLike) -> float:
    """Area under the ROC curve of each class against the rest, mean over the classes with images, in [0, 1]."""
    from scipy.stats import rankdata

    scores, truth = _check(log_probs, target)
    areas = []
    for label in np.unique(truth):
        positive = truth == label
        count, rest = int(positive.sum()), int((~positive).sum())
        if not rest:
            raise ValueError(f"all {count} images are of class {label}: there is nothing to rank them against")
        above = float(rankdata(scores[:, label])[positive].sum()) - count * (count + 1) / 2  # pairs in the right order
        areas.append(above / (count * rest))
    return float(np.mean(areas))


def measure(name: str, log_probs: NDArray[Any], target: NDArray[Any]) -> float:
    """A metric's value. ValueError that names the metric, and what it did instead of returning a finite number."""
    try:
        value = METRICS[name].function(log_probs.astype(np.float64), target.astype(np.int64))
        number = math.nan if np.ndim(value) else float(value)
    except Exception as error:
        raise ValueError(f"metric {name} raised {type(error).__name__}: {error}") from error
    if not math.isfinite(number):
        raise ValueError(f"metric {name} returned {value!r:.60}; it must return one finite number")
    return number


def measure_all(
    names: Iterable[str], log_probs: NDArray[Any], target: NDArray[Any]
) -> tuple[dict[str, float | None], dict[str, dict[str, str]]]:
    """The metrics of a set of images; one that fails has no value, and costs no other.

    Returns: `test_<name>` -> value, and name -> the `version` of a metric of the user's own, and why it is `missing`.
    """
    values: dict[str, float | None] = {}
    notes: dict[str, dict[str, str]] = {}
    for name in names:
        notes[name] = {"version": METRICS.version(name) or ""}
        try:
            values[f"test_{name}"] = measure(name, log_probs, target)
        except ValueError as error:
            values[f"test_{name}"] = None
            notes[name]["missing"] = str(error)
    return values, notes


def try_metrics(names: Iterable[str], num_classes: int) -> None:
    """Refuse metrics that fail on invented predictions, before anything is trained.

    Raises: ValueError as `measure`, with what to do.
    """
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(12 * num_classes, num_classes))
    log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    target = np.arange(len(logits), dtype=np.int64) % num_classes
    for name in names:
        try:
            measure(name, log_probs, target)
        except ValueError as error:
            raise ValueError(
                f"{error} (tried on log_probs {log_probs.shape} and target {target.shape}); mend it or leave it out of "
                "metrics"
            ) from error


def score_folds(
    target: ArrayLike, log_probs: ArrayLike, class_names: Sequence[str], folds: int = FOLDS, seed: int = 0
) -> list[dict[str, float]]:
    """Score one run on each stratified fold of its test images; equal targets give equal folds.

    Returns: for each fold `accuracy` and `macro_f1`, and where a class tree is known the scores of `score_mistakes`.
    """
    from sklearn.model_selection import StratifiedKFold

    truth, scores = np.asarray(target), np.asarray(log_probs)
    predicted = scores.argmax(axis=1)
    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return [
        {
            "accuracy": accuracy(scores[fold], truth[fold]),
            "macro_f1": macro_f1(scores[fold], truth[fold]),
            **score_mistakes(truth[fold], predicted[fold], class_names),
        }
        for _, fold in split.split(truth, truth)
    ]
