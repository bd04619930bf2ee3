"""Differences in several settings at once: the marks are paired means, the lines their t intervals."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import scipy.stats
from matplotlib.figure import Figure

from lossbench import plots, stats

mpl.use("Agg")
ACCURACIES = {
    ("d", "cross_entropy"): [0.80, 0.82, 0.81], ("d", "mse"): [0.79, 0.80, 0.80], ("d", "adma"): [0.83, 0.83, 0.82],
    ("e", "cross_entropy"): [0.50, 0.56, 0.53], ("e", "mse"): [0.20, 0.25, 0.26],
}  # fmt: skip


@pytest.fixture
def ax():
    return Figure().subplots()


@pytest.fixture
def settings():
    rows = [
        {"dataset": dataset, "model": "m", "probability": "softmax", "loss": loss, "label": loss, "seed": seed,
         "status": "finished", "test_accuracy": value}
        for (dataset, loss), values in ACCURACIES.items() for seed, value in enumerate(values)
    ]  # fmt: skip
    return sorted(stats.settings(pd.DataFrame(rows)), key=lambda one: one.name)


def test_marks_are_paired_means_and_lines_their_t_intervals(settings, ax):
    assert plots.differences_by_setting(settings, ax, names=["first", "second"]) is ax
    assert [label.get_text() for label in ax.get_yticklabels()] == ["first", "second"]
    segments = [collection.get_segments() for collection in ax.collections]
    for (label, datasets), intervals in zip({"adma": ["d"], "mse": ["d", "e"]}.items(), segments, strict=True):
        for place, dataset in enumerate(datasets):
            found = scipy.stats.ttest_rel(ACCURACIES[dataset, label], ACCURACIES[dataset, "cross_entropy"])
            low, high = found.confidence_interval(0.95)
            assert intervals[place][:, 0] == pytest.approx([100 * low, 100 * high])
            gap = 100 * np.subtract(ACCURACIES[dataset, label], ACCURACIES[dataset, "cross_entropy"]).mean()
            marks = [x for line in ax.lines for x in line.get_xdata() if len(line.get_xdata()) == len(datasets)]
            assert gap == pytest.approx(min(marks, key=lambda x: abs(x - gap)))


def test_a_filled_mark_differs_and_an_open_one_does_not(settings, ax):
    plots.differences_by_setting(settings, ax)
    words = stats.compare(pd.concat([one.runs for one in settings])).set_index(["dataset", "label"])["verdict"]
    assert words["e", "mse"] == "worse"
    assert words["d", "mse"] == "undecided"
    hollow = [line for line in ax.lines if line.get_markerfacecolor() == "white"]
    filled = [
        line for line in ax.lines if line not in hollow and line.get_marker() != "None" and len(line.get_xdata()) == 2
    ]
    assert sorted(len(line.get_xdata()) for line in hollow) == [1, 2]
    (mse,) = filled
    assert np.isfinite(mse.get_xdata()).tolist() == [False, True]


def test_the_band_is_the_margin_and_n_counts_pairs_and_lost_runs(settings, ax):
    settings[1].runs.loc[3, "status"] = "diverged"
    plots.differences_by_setting(settings, ax)
    (band,) = ax.patches
    assert band.get_extents().transformed(ax.transData.inverted()).intervalx.tolist() == pytest.approx([-0.5, 0.5])
    assert [text.get_text() for text in ax.texts] == ["too small to matter", "n=3", "n=2, 1 div."]


def test_words_are_counted_by_loss(ax):
    table = pd.DataFrame({"loss": ["mse", "mse", "focal"], "label": ["mse", "mse", "focal γ=2"],
                          "verdict": ["worse", "undecided", "same function"]})  # fmt: skip
    plots.verdicts(table, ax)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["MSE"]
    assert [(bar.get_x(), bar.get_width()) for bar in ax.patches] == [(0, 1), (1, 1)]


def test_names_must_fit_the_settings(settings, ax):
    with pytest.raises(ValueError, match="1 names do not fit 2 settings"):
        plots.differences_by_setting(settings, ax, names=["one"])
    with pytest.raises(ValueError, match="0 settings"):
        plots.differences_by_setting([], ax)
