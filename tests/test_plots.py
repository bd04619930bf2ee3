"""Figures say what their tables say."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import scipy.stats
from loss_problems import TAUGHT
from matplotlib.figure import Figure

from lossbench import PROBABILITIES, metrics, plots, records, stats

mpl.use("Agg")


@pytest.fixture
def ax():
    return Figure().subplots()


@pytest.fixture
def runs(study_folder):
    return plots.in_order(records.load_runs(study_folder(probabilities=("taylor_softmax",))))


def xs(ax, marker):
    return [line.get_xdata() for line in ax.lines if line.get_marker() == marker]


def names(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def test_accuracy_draws_every_run_in_percent_with_its_loss_and_probability(runs, ax):
    assert plots.accuracy(runs, ax, title="t") is ax
    assert names(ax) == ["cross-entropy", "KL divergence", "JS divergence", "focal γ=0.5", "focal γ=2"]
    dots = xs(ax, plots.style.marker_of("taylor_softmax"))
    for label, drawn in zip(runs["label"].unique(), dots, strict=True):
        np.testing.assert_allclose(drawn, 100 * runs[runs["label"] == label]["test_accuracy"].astype(float))
    assert {text.get_text() for text in ax.texts} == {"n=3"}


def test_accuracy_marks_a_diverged_run(runs, ax):
    runs.loc[runs["run_id"] == runs["run_id"].iloc[0], "status"] = "diverged"
    plots.accuracy(runs, ax)
    assert len(xs(ax, "x")) == 1
    assert ax.texts[0].get_text() == "n=2, 1 div."


def test_differences_draw_pairs_interval_margin_and_the_word_of_the_engine(runs, ax):
    judged = stats.compare(runs)
    plots.differences(runs, ax)
    (band,) = ax.patches
    assert band.get_extents().transformed(ax.transData.inverted()).intervalx.tolist() == pytest.approx([-0.5, 0.5])
    means = [line.get_xdata()[0] for line in ax.lines if line.get_linewidth() == 1.6]
    np.testing.assert_allclose(means, 100 * judged["mean"])
    texts = [text.get_text() for text in ax.texts]
    assert texts[0] == "too small to matter"
    for text, row in zip(texts[1:], judged.to_dict("records"), strict=True):
        assert text.startswith(f"{row['verdict']}\nn={row['n']}")
        assert ("needs" in text) == (row["needed"] > 0)
    pairs = stats.paired_differences(runs)
    drawn = np.concatenate(xs(ax, "^"))
    np.testing.assert_allclose(sorted(drawn), sorted(100 * pairs["difference"]))


def test_learning_curve_is_the_mean_over_seeds_in_its_t_interval(study_folder, ax):
    history = records.load_history(study_folder(losses=[("focal", {})], probabilities=["softmax"]))
    plots.learning_curves(history, ax)
    by_epoch = history.groupby("epoch")["val_accuracy"]
    np.testing.assert_allclose(ax.lines[0].get_ydata(), 100 * by_epoch.mean())
    ends = [scipy.stats.t.interval(0.95, 2, x.mean(), scipy.stats.sem(x)) for _, x in by_epoch]
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx(100 * max(high for _, high in ends))
    assert band.min() == pytest.approx(100 * min(low for low, _ in ends))


def test_two_seeds_are_two_lines_and_stay_among_possible_accuracies(study_folder, ax):
    losses = [("focal", {}), ("cross_entropy", {}), ("mse", {})]
    history = records.load_history(study_folder(losses=losses, probabilities=["softmax"], seeds=[0, 1]))
    plots.learning_curves(history, ax)
    assert len(ax.lines) == 6
    assert not ax.collections
    low, high = ax.get_ylim()
    reached = 100 * history["val_accuracy"]
    assert reached.min() - 10 < low < reached.min() < reached.max() < high < reached.max() + 10


def test_one_epoch_is_drawn_as_points(study_folder, ax):
    history = records.load_history(study_folder(probabilities=["softmax"], epochs=1))
    plots.learning_curves(history, ax)
    assert {line.get_linestyle() for line in ax.lines} == {"None"}
    assert all(line.get_marker() != "None" for line in ax.lines)
    assert ax.get_ylim()[0] < 100 * history["val_accuracy"].min()


def test_differences_over_the_epochs_are_paired_by_seed(study_folder, ax):
    losses = [("cross_entropy", {}), ("focal", {}), ("js_divergence", {})]
    history = records.load_history(study_folder(losses=losses, probabilities=["softmax"]))
    plots.learning_curves(history, ax, reference="cross_entropy")
    table = history.pivot_table(index="epoch", columns=["loss", "seed"], values="val_accuracy")
    gaps = 100 * (table["js_divergence"] - table["cross_entropy"])
    drawn = [line.get_ydata() for line in ax.lines if len(line.get_ydata()) == 8]
    assert any(np.allclose(line, gaps.mean(axis=1)) for line in drawn)
    last = gaps.loc[8]
    ends = scipy.stats.t.interval(0.95, 2, last.mean(), scipy.stats.sem(last))
    segments = [segment[:, 1] for bars in ax.collections for segment in bars.get_segments()]
    assert any(np.allclose(sorted(segment), ends) for segment in segments)


def test_history_of_one_run_needs_no_axes(study_folder):
    table = records.load_history(study_folder(losses=[("focal", {})], probabilities=["softmax"], seeds=[0]))
    drawn = plots.history(table)
    np.testing.assert_allclose(drawn.lines[1].get_ydata(), 100 * table["val_accuracy"])
    assert plots.history(table, what="loss").get_ylabel() == "loss"


def test_confusion_matrix_prints_row_percent_and_leaves_zeros_empty(ax):
    plots.confusion_matrix([[0.75, 0.25], [0.0, 1.0]], ["cat", "dog"], ax)
    assert [text.get_text() for text in ax.texts] == ["75", "25", "100"]
    assert names(ax) == ["cat", "dog"]
    assert ax.get_ylabel() == "true class"
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first class is on top
    with pytest.raises(ValueError, match="3 class names"):
        plots.confusion_matrix(np.eye(2), list("abc"), ax)


def test_reliability_bars_are_the_accuracies_of_the_bins(ax):
    log_probs = np.log([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    plots.reliability(metrics.reliability_table(log_probs, [0, 1, 0, 0], bins=10), ax)
    assert [bar.get_height() for bar in ax.patches] == [1.0, 0.5]


def test_every_loss_and_probability_function_has_a_look():
    assert list(plots.style.loss_colours()) == TAUGHT
    assert len({plots.style.marker_of(name) for name in PROBABILITIES}) == len(PROBABILITIES)


def test_styles_differ_without_colour_and_do_not_depend_on_the_order():
    pairs = [("focal", "focal γ=2"), ("cross_entropy", "cross_entropy"), ("focal", "focal γ=0.5"), ("new", "new")]
    styles = plots.loss_styles(pairs)
    assert styles == plots.loss_styles(pairs[::-1])
    assert next(iter(styles)) == "cross_entropy"
    assert len({(str(style.line), style.marker) for style in styles.values()}) == 4
    assert len({style.colour for style in styles.values()}) == 4


def test_in_order_puts_cross_entropy_and_softmax_first():
    rows = [("taylor_softmax", "focal"), ("softmax", "focal"), ("softmax", "cross_entropy")]
    table = pd.DataFrame(rows, columns=["probability", "loss"]).assign(label="x", seed=0)
    found = plots.in_order(table)[["probability", "loss"]]
    assert found.to_numpy().tolist() == [list(row) for row in rows[::-1]]
