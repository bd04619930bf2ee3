"""Heat maps, robustness, calibration, counts by class, and published beside measured: figures say what tables say."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import scipy.stats
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from lossbench import plots, stats
from lossbench.plots.style import BLUE, VERMILLION, fold

mpl.use("Agg")


@pytest.fixture
def ax():
    return Figure().subplots()


def texts(ax):
    return [text.get_text() for text in ax.texts]


def runs_over(field, levels, accuracies):
    """Two losses whose accuracy at each level is given, over three seeds a hundredth apart."""
    return pd.DataFrame(
        [
            {
                "dataset": "d",
                "model": "m",
                "probability": "softmax",
                "loss": loss,
                "label": loss,
                "seed": seed,
                "status": "finished",
                field: level,
                "test_accuracy": accuracy + 0.01 * seed,
            }
            for loss, values in accuracies.items()
            for level, accuracy in zip(levels, values, strict=True)
            for seed in range(3)
        ]
    )


def test_heat_map_writes_each_number_and_leaves_a_missing_cell_empty(ax):
    table = pd.DataFrame([[1.0, np.nan], [2.5, 3.0]], index=["a", "b"], columns=["x", "y"])
    plots.heat_map(table, ax, digits=1)
    assert sorted(texts(ax)) == ["1.0", "2.5", "3.0", "–"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first row is on top


def test_heat_map_around_a_centre_is_blue_above_and_red_below_with_signs(ax):
    table = pd.DataFrame([[-2.0, 0.0, 2.0]], columns=list("xyz"))
    plots.heat_map(table, ax, centre=0.0, marks=pd.DataFrame([["*", "", ""]]))
    assert texts(ax) == ["−2.00*", "0.00", "+2.00"]
    (mesh,) = ax.collections
    below, middle, above = mesh.cmap(mesh.norm(mesh.get_array().ravel()))
    np.testing.assert_allclose(below[:3], to_rgb(VERMILLION), atol=0.01)
    np.testing.assert_allclose(above[:3], to_rgb(BLUE), atol=0.01)
    assert min(middle[:3]) > 0.9


def test_heat_map_shows_values_beyond_its_reach_in_full_colour_as_they_are(ax):
    plots.heat_map(pd.DataFrame([[-20.0, 1.0, 2.0]], columns=list("xyz")), ax, centre=0.0, reach=2.0, digits=0)
    assert texts(ax) == ["−20", "+1", "+2"]
    (mesh,) = ax.collections
    np.testing.assert_allclose(mesh.get_array().ravel(), [0, 0.75, 1])


def test_equal_values_and_an_empty_map_can_be_drawn(ax):
    plots.heat_map(pd.DataFrame([[1.0, 1.0]]), ax)
    plots.heat_map(pd.DataFrame([[np.nan]]), ax)
    assert texts(ax) == ["1.00", "1.00", "–"]


def test_robustness_shows_the_mean_at_each_level_and_its_t_interval(ax):
    runs = runs_over("label_noise", (0.0, 0.4), {"cross_entropy": (0.9, 0.6), "mse": (0.8, 0.7)})
    table = plots.robustness_table(runs, "label_noise")
    row = table[(table["label"] == "mse") & (table["label_noise"] == 0.4)].iloc[0]
    values = [0.70, 0.71, 0.72]
    low, high = scipy.stats.t.interval(0.95, 2, np.mean(values), scipy.stats.sem(values))
    assert (row["n"], row["mean"], row["low"], row["high"]) == pytest.approx((3, 0.71, low, high))
    plots.robustness(runs, "label_noise", ax)
    np.testing.assert_allclose([line.get_ydata() for line in ax.lines], [[91, 61], [81, 71]])
    np.testing.assert_allclose(ax.get_xticks(), [0, 40])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "40"]


def test_robustness_against_a_reference_is_paired_by_seed(ax):
    runs = runs_over("imbalance", (1.0, 100.0), {"cross_entropy": (0.9, 0.6), "mse": (0.8, 0.7)})
    table = plots.robustness_table(runs, "imbalance", reference="cross_entropy")
    assert table["mean"].tolist() == pytest.approx([-0.1, 0.1])
    assert table["high"].isna().all()  # constant differences, and nothing says how finely they are counted
    assert plots.robustness(runs, "imbalance", ax, reference="cross_entropy").get_ylabel() == (
        "test accuracy\nminus that of cross-entropy, points"
    )
    assert ax.get_xscale() == "log"  # 1 and 100


def test_a_numeric_parameter_stands_on_a_numeric_axis(ax):
    levels = (0.1, 0.2, 0.2622, 0.5)
    runs = runs_over("a", levels, {"cross_entropy": (0.8,) * 4, "adma": (0.6, 0.7, 0.7, 0.5)})
    plots.robustness(runs, "a", ax, reference="cross_entropy")
    line = next(line for line in ax.lines if len(line.get_xdata()) == 4)
    np.testing.assert_allclose(line.get_xdata(), levels)
    assert plots.robustness_table(runs, "a", reference="cross_entropy")["verdict"].isin(stats.VERDICTS).all()
    assert "Adma" in texts(ax)[0] or "adma" in texts(ax)[0]


def test_a_diverged_run_is_no_point_of_a_robustness_curve():
    runs = runs_over("label_noise", (0.0, 0.4), {"mse": (0.9, 0.6)})
    runs.loc[runs["label_noise"] == 0.4, "status"] = "diverged"
    assert plots.robustness_table(runs, "label_noise")["label_noise"].tolist() == [0.0]


def test_reliability_curves_leave_out_bins_with_few_images(ax):
    table = pd.DataFrame(
        {"loss": "mse", "label": "mse", "count": [5, 50], "confidence": [0.3, 0.9], "accuracy": [0.0, 0.8]}
    )
    plots.reliability_curves(table, ax)
    diagonal, line = ax.lines
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
    assert line.get_xydata().tolist() == [[0.9, 0.8]]


def test_by_class_draws_a_mark_a_class_and_loss(ax):
    table = pd.DataFrame(
        [("mse", "mse", "cat", 5.0, 4.0, 6.0), ("mse", "mse", "dog", 2.0, 1.0, 3.0)],
        columns=["loss", "label", "class", "mean", "low", "high"],
    )
    plots.by_class(table, ax)
    marks = next(line for line in ax.lines if line.get_marker() == "o")
    assert marks.get_xdata().tolist() == [5, 2]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["cat", "dog"]


def test_published_and_measured_have_different_marks_and_colours(ax):
    table = pd.DataFrame([{"name": "mse", "published": -0.01, "mean": 0.02, "low": 0.01, "high": 0.03, "n": 5}])
    plots.published_and_measured(table, ax)
    marks = {
        line.get_marker(): (line.get_xdata()[0], line.get_color()) for line in ax.lines if line.get_marker() in "oD"
    }
    assert marks == {"o": (2.0, BLUE), "D": (-1.0, VERMILLION)}
    assert "n=5" in texts(ax)


def test_score_draws_any_column_in_its_own_unit(ax):
    runs = runs_over("label_noise", (0.0,), {"mse": (0.5,)}).assign(test_tree_distance=[1.0, 2.0, 3.0])
    plots.score(runs, ax, "test_tree_distance", unit="edges")
    dots = next(line for line in ax.lines if line.get_marker() == "o")
    assert dots.get_xdata().tolist() == [1, 2, 3]
    assert ax.get_xlabel() == "edges"


def test_lines_carry_their_names_which_do_not_overlap():
    accuracies = {f"loss{i}": (0.5, 0.5 + 0.0001 * i) for i in range(8)}
    drawn = plots.robustness(runs_over("label_noise", (0.0, 0.4), accuracies), "label_noise", Figure().subplots())
    assert sorted(texts(drawn)) == sorted(accuracies)
    assert drawn.get_legend() is None
    bottom, top = drawn.get_ylim()
    heights = sorted(text.xyann[1] for text in drawn.texts)
    points = np.diff(heights) / (top - bottom) * drawn.get_window_extent().height * 72 / drawn.figure.dpi
    assert points.min() > 8


def test_long_names_are_folded():
    assert fold("hierarchical cross entropy mode=conditional").count("\n") == 1
