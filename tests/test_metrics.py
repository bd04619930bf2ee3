"""Every score against scikit-learn or a case worked by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle
from sklearn.neighbors import KNeighborsClassifier

from lossbench import metrics


def draw(seed, samples=60, classes=5):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(samples, classes)) * 3
    log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return log_probs, rng.integers(0, classes, samples)


seeds = given(st.integers(0, 10_000))
law = settings(deadline=None, derandomize=True, max_examples=30)
BY_SKLEARN = {
    "accuracy": lambda p, t: oracle.accuracy_score(t, p.argmax(1)),
    "top_k": lambda p, t: oracle.top_k_accuracy_score(t, p, k=2, labels=range(5)),
    "nll": lambda p, t: oracle.log_loss(t, np.exp(p), labels=range(5)),
    "brier": lambda p, t: oracle.brier_score_loss(t, np.exp(p), labels=range(5), scale_by_half=False),
    "confusion_matrix": lambda p, t: oracle.confusion_matrix(t, p.argmax(1), labels=range(5)),
    "precision": lambda p, t: oracle.precision_score(
        t, p.argmax(1), labels=range(5), average=None, zero_division=np.nan
    ),
    "recall": lambda p, t: oracle.recall_score(t, p.argmax(1), labels=range(5), average=None, zero_division=np.nan),
    "f1": lambda p, t: oracle.f1_score(t, p.argmax(1), labels=range(5), average=None, zero_division=0),
    "macro_f1": lambda p, t: oracle.f1_score(t, p.argmax(1), labels=range(5), average="macro", zero_division=0),
}


@pytest.mark.parametrize("name", BY_SKLEARN)
@law
@seeds
def test_score_agrees_with_scikit_learn(name, seed):
    log_probs, target = draw(seed, samples=12)  # few samples, so that classes are missing now and then
    extra = {"k": 2} if name == "top_k" else {}
    ours = getattr(metrics, name)(log_probs, target, **extra)
    np.testing.assert_allclose(ours, BY_SKLEARN[name](log_probs, target), rtol=1e-12, equal_nan=True)


@pytest.mark.parametrize("normalize", ["true", "pred"])
def test_normalised_confusion_matrix_agrees_with_scikit_learn(normalize):
    log_probs, target = draw(1, samples=400)
    expected = oracle.confusion_matrix(target, log_probs.argmax(1), normalize=normalize)
    np.testing.assert_allclose(metrics.confusion_matrix(log_probs, target, normalize), expected)


def test_confusion_matrix_rows_are_the_true_classes():
    log_probs = np.log([[0.1, 0.9], [0.2, 0.8], [0.3, 0.7]])
    np.testing.assert_array_equal(metrics.confusion_matrix(log_probs, [0, 0, 1]), [[0, 2], [0, 1]])


@law
@seeds
def test_false_positives_sum_to_the_number_of_errors(seed):
    log_probs, target = draw(seed)
    errors = (log_probs.argmax(1) != target).sum()
    assert metrics.false_positives(log_probs, target).sum() == errors
    assert metrics.accuracy(log_probs, target) == pytest.approx(1 - errors / len(target))


def test_calibration_error_worked_by_hand():
    # confidences .9 .9 .6 .6; right, wrong, right, right: gaps |.9 - .5| and |.6 - 1|, half the samples each
    log_probs = np.log([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    assert metrics.ece(log_probs, [0, 1, 0, 0], bins=10) == pytest.approx(0.4)
    table = metrics.reliability_table(log_probs, [0, 1, 0, 0], bins=10)
    assert table["count"].tolist() == [0, 0, 0, 0, 0, 2, 0, 0, 2, 0]
    assert table["accuracy"].dropna().tolist() == [1.0, 0.5]


@law
@seeds
def test_one_calibration_bin_gives_the_gap_of_the_means(seed):
    log_probs, target = draw(seed)
    gap = abs(np.exp(log_probs).max(1).mean() - metrics.accuracy(log_probs, target))
    assert metrics.ece(log_probs, target, bins=1) == pytest.approx(gap)


def test_a_confidence_on_the_edge_belongs_to_the_bin_below():
    table = metrics.reliability_table(np.log([[0.5, 0.5], [1 - 1e-9, 1e-9]]), [0, 0], bins=2)
    assert table["count"].tolist() == [1, 1]


def test_separated_clusters_have_nmi_one_and_constant_target_too():
    rng = np.random.default_rng(0)
    target = np.repeat([0, 1, 2], 20)
    points = rng.normal(size=(60, 4)) + 50 * target[:, None]
    assert metrics.nmi(points, target) == pytest.approx(1.0)
    assert metrics.nmi(points, np.zeros(60, dtype=int)) == pytest.approx(1.0)  # both entropies 0


def test_recall_at_one_is_leave_one_out_nearest_neighbour_accuracy():
    rng = np.random.default_rng(3)
    points, target = rng.normal(size=(80, 3)), rng.integers(0, 4, 80)
    hits = []
    for i in range(80):
        others = KNeighborsClassifier(1).fit(np.delete(points, i, 0), np.delete(target, i))
        hits.append(others.predict(points[i : i + 1])[0] == target[i])
    expected = np.mean(hits)
    assert metrics.recall_at_k(points, target, 1) == pytest.approx(expected)


def test_recall_at_k_counts_a_twin_but_never_the_sample_itself():
    points = np.array([[0.0], [0.0], [5.0], [5.1]])
    assert metrics.recall_at_k(points, [0, 1, 2, 2], 1) == pytest.approx(0.5)


def test_epochs_count_from_one_and_the_first_of_equals_wins():
    assert metrics.best_epoch([0.1, 0.8, 0.8, 0.7]) == 2
    assert metrics.epochs_to_reach([0.1, 0.5, 0.76, 0.8], 0.95) == 3
    assert metrics.epochs_to_reach([0.8, 0.9, 0.8], 1.0) == 1


def test_a_diverged_curve_reaches_nothing():
    assert np.isnan(metrics.epochs_to_reach([0.4, np.nan]))
    assert np.isnan(metrics.best_epoch([np.nan, np.nan]))
    assert metrics.best_epoch([0.4, np.nan]) == 1


GOOD = np.log(np.full((2, 4), 0.25))
BAD_CALLS = [
    (lambda: metrics.accuracy(GOOD, [0]), ValueError, r"\(2, 4\).*\(1,\)"),
    (lambda: metrics.accuracy(GOOD[:0], np.zeros(0, int)), ValueError, "at least one sample"),
    (lambda: metrics.accuracy(GOOD, [0, 4]), ValueError, "0..4, but there are 4"),
    (lambda: metrics.accuracy(GOOD, [0, -1]), ValueError, "-1..0"),
    (lambda: metrics.accuracy(GOOD, [0.0, 1.0]), TypeError, "float64"),
    (lambda: metrics.nll(GOOD * np.nan, [0, 1]), ValueError, "nan in 2 of 2"),
    (lambda: metrics.top_k(GOOD, [0, 1], k=5), ValueError, "k=5"),
    (lambda: metrics.ece(GOOD, [0, 1], bins=0), ValueError, "bins=0"),
    (lambda: metrics.confusion_matrix(GOOD, [0, 1], "rows"), ValueError, "'rows'"),
    (lambda: metrics.recall_at_k([[0.0], [1.0]], [0, 1], k=2), ValueError, "k=2"),
    (lambda: metrics.nmi([[0.0], [np.inf]], [0, 1]), ValueError, "nan or inf"),
    (lambda: metrics.nmi([0.0, 1.0], [0, 1]), ValueError, r"\(2,\)"),
    (lambda: metrics.epochs_to_reach([], 0.5), ValueError, r"\(0,\)"),
    (lambda: metrics.epochs_to_reach([0.5], 1.5), ValueError, "fraction=1.5"),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD_CALLS)
def test_a_bad_argument_is_refused_with_its_value(call, error, words):
    with pytest.raises(error, match=words):
        call()
