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
    lines = {line.get_label(): line for line in ax.lines}
    ends = {
        label: sorted((y, *sorted(ends)) for ends, y in ((s[:, 0], s[0, 1]) for s in hlines.get_segments()))
        for label, hlines in zip(["adma", "mse"], ax.collections, strict=True)
    }
    for label, datasets in {"adma": ["d"], "mse": ["d", "e"]}.items():
        assert len(lines[label].get_xdata()) == len(datasets)
        for place, dataset in enumerate(datasets):
            found = scipy.stats.ttest_rel(ACCURACIES[dataset, label], ACCURACIES[dataset, "cross_entropy"])
            gap = np.subtract(ACCURACIES[dataset, label], ACCURACIES[dataset, "cross_entropy"]).mean()
            assert lines[label].get_xdata()[place] == pytest.approx(100 * gap)
            low, high = found.confidence_interval(0.95)
            assert ends[label][place][1:] == pytest.approx((100 * low, 100 * high))


def test_the_band_of_a_row_is_its_noise_floor(settings, ax):
    plots.differences_by_setting(settings, ax)
    halves = [bar.get_width() / 2 for bar in ax.patches]
    assert halves == pytest.approx([100 * stats.noise_floor(one.runs).half_width(3) for one in settings])
    assert [text.get_text() for text in ax.texts] == ["n=3", "n=3"]


def test_a_lost_run_is_counted(settings, ax):
    settings[1].runs.loc[0, "status"] = "diverged"
    plots.differences_by_setting(settings, ax)
    assert [text.get_text() for text in ax.texts] == ["n=3", "n=2, 1 div."]


def test_names_must_fit_the_settings(settings, ax):
    with pytest.raises(ValueError, match="1 names do not fit 2 settings"):
        plots.differences_by_setting(settings, ax, names=["one"])
    with pytest.raises(ValueError, match="0 settings"):
        plots.differences_by_setting([], ax)
