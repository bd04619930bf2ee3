"""Figures say what their tables say."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scipy.stats
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from lossbench import LOSSES, PROBABILITIES, metrics, plots, stats
from lossbench.data.trees import TREES, leaves, path
from lossbench.plots.losses import loss_curves, loss_simplex, weight_contours, weight_curves, weight_surface
from lossbench.plots.style import BLUE, VERMILLION, fold
from lossbench.records import tables

mpl.use("Agg")


@pytest.fixture
def ax():
    return Figure().subplots()


@pytest.fixture
def runs(study_folder):
    return plots.in_order(tables.load_runs(study_folder(probabilities=("taylor_softmax",))))


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
    assert ax.get_xlabel().endswith("(band: too small to matter)")
    for text, row in zip(texts, judged.to_dict("records"), strict=True):
        assert text.startswith(f"{row['verdict']}\nn={row['n']}")
        assert ("needs" in text) == (row["needed"] > 0)
    pairs = stats.paired_differences(runs)
    drawn = np.concatenate(xs(ax, "^"))
    np.testing.assert_allclose(sorted(drawn), sorted(100 * pairs["difference"]))


def test_learning_curve_is_the_mean_over_seeds_in_its_t_interval(study_folder, ax):
    history = tables.load_history(study_folder(losses=[("focal", {})], probabilities=["softmax"]))
    plots.learning_curves(history, ax)
    by_epoch = history.groupby("epoch")["val_accuracy"]
    np.testing.assert_allclose(ax.lines[0].get_ydata(), 100 * by_epoch.mean())
    ends = [scipy.stats.t.interval(0.95, 2, x.mean(), scipy.stats.sem(x)) for _, x in by_epoch]
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx(100 * max(high for _, high in ends))
    assert band.min() == pytest.approx(100 * min(low for low, _ in ends))


def test_two_seeds_are_two_lines_and_stay_among_possible_accuracies(study_folder, ax):
    losses = [("focal", {}), ("cross_entropy", {}), ("mse", {})]
    history = tables.load_history(study_folder(losses=losses, probabilities=["softmax"], seeds=[0, 1]))
    plots.learning_curves(history, ax)
    assert len(ax.lines) == 6
    assert not ax.collections
    low, high = ax.get_ylim()
    reached = 100 * history["val_accuracy"]
    assert reached.min() - 10 < low < reached.min() < reached.max() < high < reached.max() + 10


def test_one_epoch_is_drawn_as_points(study_folder, ax):
    history = tables.load_history(study_folder(probabilities=["softmax"], epochs=1))
    plots.learning_curves(history, ax)
    assert {line.get_linestyle() for line in ax.lines} == {"None"}
    assert all(line.get_marker() != "None" for line in ax.lines)
    assert ax.get_ylim()[0] < 100 * history["val_accuracy"].min()


def test_differences_over_the_epochs_are_paired_by_seed(study_folder, ax):
    losses = [("cross_entropy", {}), ("focal", {}), ("js_divergence", {})]
    history = tables.load_history(study_folder(losses=losses, probabilities=["softmax"]))
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
    table = tables.load_history(study_folder(losses=[("focal", {})], probabilities=["softmax"], seeds=[0]))
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
    assert list(plots.style.loss_colours()) == list(LOSSES)
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


# Differences in several settings at once: the marks are paired means, the lines their t intervals.

ACCURACIES = {
    ("d", "cross_entropy"): [0.80, 0.82, 0.81], ("d", "mse"): [0.79, 0.80, 0.80], ("d", "adma"): [0.83, 0.83, 0.82],
    ("e", "cross_entropy"): [0.50, 0.56, 0.53], ("e", "mse"): [0.20, 0.25, 0.26],
}  # fmt: skip


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
    assert [text.get_text() for text in ax.texts] == ["n=3", "n=2, 1 div."]
    assert "band: too small to matter" in ax.get_xlabel()


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


# Comparisons by data set, and rows of single numbers.


def detail(*rows):
    names = ["against", "dataset", "n", "estimate", "low", "high", "margin"]
    return pd.DataFrame(rows, columns=names).assign(unit="points")


def test_contrasts_draw_a_mark_and_its_interval_at_the_numbers_of_the_table(ax):
    plots.contrasts(
        detail(("js minus ce", "shapes", 5, -1.5, -2.0, -1.0, 0.5), ("js minus ce", "mnist", 4, 0.2, -0.1, 0.5, 0.5)),
        ax,
    )
    marks = [line.get_xdata().tolist() for line in ax.lines if len(line.get_xdata()) == 1]
    assert marks == [[-1.5], [-1.5], [0.2], [0.2]]
    spans = [collection.get_segments()[0][:, 0].tolist() for collection in ax.collections]
    assert spans == [[-2.0, -1.0], [-0.1, 0.5]]
    (band,) = ax.patches
    assert band.get_extents().transformed(ax.transData.inverted()).intervalx.tolist() == pytest.approx([-0.5, 0.5])
    assert [text.get_text() for text in ax.texts] == ["n=5", "n=4"]
    assert ax.get_xlabel() == "difference, points\n(band: too small to matter)"


def test_contrasts_tell_data_sets_apart_without_colour_and_group_comparisons(ax):
    rows = [
        (against, place, 5, 0.0, -1.0, 1.0, 0.5) for against in ("a minus b", "focal gamma=2 minus b") for place in "xy"
    ]
    plots.contrasts(detail(*rows), ax)
    first, second = (line for line in ax.lines if not line.get_label().startswith("_"))
    assert first.get_marker() != second.get_marker()
    assert first.get_color() != second.get_color()
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a minus b", "focal γ=2 minus b"]
    drawn = [line for line in ax.lines if len(line.get_ydata()) == 2 and line.get_marker() == first.get_marker()]
    assert [round(y) for y in drawn[0].get_ydata()] == [0, 1]


def test_contrasts_without_an_interval_still_show_the_mark(ax):
    plots.contrasts(detail(("a minus b", "x", 1, 0.3, np.nan, np.nan, np.nan)), ax)
    assert [0.3] in [list(line.get_xdata()) for line in ax.lines]
    assert not ax.patches


def test_contrasts_of_nothing_are_refused(ax):
    with pytest.raises(ValueError, match="no comparison to draw"):
        plots.contrasts(detail(), ax)


def test_strips_draw_every_number_and_mark_published_rows_as_such(ax):
    plots.strips({"thesis": [0.1, 0.1, -0.4], "ours": [0.0, 0.2]}, ax, unit="points", published=["thesis"])
    theirs, ours = ax.lines[:2]
    assert theirs.get_xdata().tolist() == [0.1, 0.1, -0.4]
    assert ours.get_xdata().tolist() == [0.0, 0.2]
    assert len(set(theirs.get_ydata())) == 3  # equal numbers do not hide each other
    assert (theirs.get_marker(), ours.get_marker()) == ("D", "o")
    assert (theirs.get_color(), to_hex(ours.get_color())) == (VERMILLION, BLUE)
    assert [text.get_text() for text in ax.texts] == ["n=3", "n=2"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first row is on top


# Embeddings on a plane: every image stands at its place, under the number of its class.


def test_each_image_stands_at_its_place_under_the_number_of_its_class():
    points, target = np.arange(10.0).reshape(5, 2), np.array([1, 0, 1, 1, 0])
    ax = Figure().subplots()
    assert plots.embedding(points, target, ["shoe", "bag", "coat"], ax, title="t") is ax
    assert [line.get_label() for line in ax.lines] == ["0 shoe", "1 bag", "2 coat"]
    for number, line in enumerate(ax.lines):
        assert line.get_marker() == f"${number}$"
        np.testing.assert_array_equal(np.column_stack(line.get_data()), points[target == number])
    assert len({line.get_color() for line in ax.lines}) == 3


@pytest.mark.parametrize("shape", [(4, 3), (4,), (5, 2)])
def test_shapes_that_do_not_fit_are_refused(shape):
    with pytest.raises(ValueError, match="do not fit"):
        plots.embedding(np.zeros(shape), np.zeros(4, dtype=int), ["a"])


# Pictures in one axes: how many, in which order, with which captions.

PICTURES = np.arange(6 * 4, dtype=np.uint8).reshape(6, 1, 2, 2)
NAMES = ("cat", "dog", "fox")


def captions(ax):
    return [text.get_text() for text in ax.texts]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_every_picture_is_drawn_once_under_its_caption(channels, kind):
    stack = np.repeat(PICTURES, channels, axis=1).astype(kind)
    ax = plots.images(stack, list("abcdef"), columns=4)
    assert len(ax.images) == 6
    assert captions(ax) == list("abcdef")
    places = {(round(image.get_extent()[0], 3), round(image.get_extent()[2], 3)) for image in ax.images}
    assert len(places) == 6


def test_numbers_are_stretched_and_bytes_are_not():
    ax = plots.images(np.array([[[[0.0, 5.0]]]]))
    assert ax.images[0].get_array().tolist() == [[0.0, 1.0]]
    ax = plots.images(np.array([[[[0, 51]]]], dtype=np.uint8))
    assert ax.images[0].get_array().tolist() == [[0.0, 0.2]]
    assert plots.images(np.zeros((1, 1, 2, 2))).images[0].get_array().max() == 0


@pytest.mark.parametrize(
    ("shape", "names"), [((6, 2, 2), ()), ((6, 2, 2, 2), ()), ((0, 1, 2, 2), ()), ((2, 1, 2, 2), "a")]
)
def test_what_is_no_stack_of_pictures_is_refused(shape, names):
    with pytest.raises(ValueError, match="pictures"):
        plots.images(np.zeros(shape), names)


def test_mistakes_come_surest_first_and_right_answers_not_at_all():
    probabilities = np.array([[0.9, 0.1, 0], [0.6, 0.4, 0], [0.1, 0.8, 0.1], [0.0, 0.3, 0.7], [1, 0, 0], [0, 0, 1]])
    target = np.array([0, 1, 0, 1, 0, 2])
    with np.errstate(divide="ignore"):
        ax = plots.mistakes(PICTURES, np.log(probabilities), target, NAMES, count=2)
    assert captions(ax) == ["is cat\ndog? 80 %", "is dog\nfox? 70 %"]
    assert ax.images[0].get_array()[0, 0] == pytest.approx(PICTURES[2, 0, 0, 0] / 255)


def test_a_model_without_mistakes_has_an_empty_picture_that_says_so():
    ax = plots.mistakes(PICTURES, np.log(np.full((6, 3), 1 / 3)), np.zeros(6, dtype=int), NAMES)
    assert ax.get_title(loc="left") == "no mistakes"


def test_a_notebooks_own_figures_get_a_white_page_and_safe_colours():
    with mpl.rc_context():
        plots.use_style()
        figure, ax = plt.subplots()
        lines = [ax.plot([0, 1])[0].get_color() for _ in range(7)]
        assert mpl.colors.to_hex(figure.get_facecolor()) == "#ffffff"
    assert len(set(lines)) == 7
    assert set(lines) <= {
        value for name, value in vars(plots.style).items() if name.isupper() and isinstance(value, str)
    }


@pytest.mark.parametrize(("prefix", "name"), [("val", "validation images"), ("test", "test images")])
def test_history_shows_the_images_that_the_epoch_was_selected_on(prefix, name):
    table = pd.DataFrame({"epoch": [1, 2], "train_accuracy": [0.5, 0.6], f"{prefix}_accuracy": [0.4, 0.7]})
    drawn = plots.history(table).lines[1]
    assert drawn.get_label() == name
    assert drawn.get_ydata().tolist() == pytest.approx([40, 70])


# Heat maps, robustness, calibration, counts by class, and published beside measured: figures say what tables say.


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
    np.testing.assert_allclose(np.clip(mesh.norm(mesh.get_array().ravel()), 0, 1), [0, 0.75, 1])


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
        "test accuracy minus that\nof cross-entropy, points"
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


# The picture of a class tree says what the tree says.


def places(ax):
    return {text.get_text(): text.xy for text in ax.texts}


@pytest.mark.parametrize("name", ["cifar-10", "cifar-10-mammals", "fashion-mnist"])
def test_every_node_stands_in_the_column_of_its_depth_and_every_class_in_a_row_of_its_own(name, ax):
    tree = TREES[name].children
    assert plots.class_tree(tree, ax, title="t") is ax
    drawn = places(ax)
    assert {node: column for node, (column, _) in drawn.items()} == {n: len(path(tree, n)) - 1 for n in drawn}
    classes = leaves(tree)
    assert sorted(drawn[node][1] for node in classes) == list(range(len(classes)))
    assert set(drawn) == {*tree, *classes}


def test_the_classes_below_a_node_are_next_to_each_other_so_that_no_branches_cross(ax):
    tree = TREES["cifar-10-mammals"].children
    plots.class_tree(tree, ax)
    for node in tree:
        rows = sorted(places(ax)[leaf][1] for leaf in leaves(tree, node))
        assert rows == list(range(int(rows[0]), int(rows[0]) + len(rows))), node


def test_every_branch_goes_from_a_parent_to_its_child(ax):
    tree = TREES["fashion-mnist"].children
    plots.class_tree(tree, ax)
    drawn = places(ax)
    wanted = {(*drawn[parent], *drawn[child]) for parent, children in tree.items() for child in children}
    ends = [line.get_xydata()[[0, -1]].ravel() for line in ax.lines]
    assert {tuple(end) for end in ends} == wanted


def test_numbers_stand_behind_their_names_and_the_way_to_a_node_is_marked(ax):
    plots.class_tree(TREES["cifar-10"].children, ax, numbers={"animal": 10, "cat": 1}, digits=0, to="cat")
    names = {text.get_text(): text.get_fontweight() for text in ax.texts}
    assert {name for name, weight in names.items() if weight == "bold"} == {"root", "animal 10", "carnivore", "cat 1"}
    assert sum(line.get_linewidth() > 2 for line in ax.lines) == 3


def test_what_is_no_node_of_the_tree_is_refused(ax):
    tree = {"root": ["a", "b"]}
    with pytest.raises(ValueError, match=r"numbers has 'c', which the tree has not; it has a, b, root"):
        plots.class_tree(tree, ax, numbers={"c": 1.0})
    with pytest.raises(ValueError, match="node 'c'"):
        plots.class_tree(tree, ax, to="c")
    with pytest.raises(ValueError, match="single root"):
        plots.class_tree({"a": ["b"], "c": ["d"]}, ax)


# Figures of the space of weights say what their tables say.

STEPS = np.linspace(-1, 1, 5)


def test_curves_show_the_mean_over_directions_and_the_band_between_them(ax):
    lines = pd.concat([pd.DataFrame({"alpha": STEPS, "accuracy": value}) for value in (0.2, 0.5, 0.8)])
    weight_curves({"one": lines, "other": lines}, ax, "accuracy")
    np.testing.assert_allclose(ax.lines[0].get_data(), (STEPS, np.full(5, 50)))
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((20, 80))
    assert [line.get_linestyle() for line in ax.lines] == ["-", "--"], "readable in grey"
    assert ax.get_ylabel() == "accuracy, %"


def test_curves_take_the_styles_of_the_losses_and_name_the_path(ax):
    styles = plots.loss_styles([("cross_entropy", "cross_entropy"), ("focal", "focal γ=2")])
    table = pd.DataFrame({"t": [0.0, 1.0], "nll": [2.0, 1.0]})
    weight_curves({"focal γ=2": table}, ax, "nll", styles)
    assert ax.lines[0].get_color() == styles["focal γ=2"].colour
    assert ax.get_xlabel().startswith("$t$")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["focal γ=2"]
    assert weight_curves({"a": table}, Figure().subplots(), legend=False).get_legend() is None


@pytest.fixture
def plane():
    """Heights 1 + alpha^2 + 4 beta^2 in the form of a slice."""
    alpha, beta = (axis.ravel() for axis in np.meshgrid(STEPS, STEPS, indexing="ij"))
    return pd.DataFrame({"alpha": alpha, "beta": beta, "nll": 1 + alpha**2 + 4 * beta**2})


def test_contours_have_alpha_to_the_right_and_lie_where_the_heights_are(plane, ax):
    weight_contours(plane, [1.5, 2.0, 5.5], ax)
    (line,) = [path for path in ax.collections[1].get_paths() if len(path.vertices)][1:2]  # height 2
    assert line.vertices[:, 0].max() == pytest.approx(1, abs=0.02)
    assert line.vertices[:, 1].max() == pytest.approx(0.5, abs=0.02)
    assert ax.collections[0].levels.tolist() == [1.5, 2.0, 5.5]


def test_a_surface_has_the_heights_of_the_table_and_ends_where_it_is_told(plane):
    ax = weight_surface(plane)
    assert ax.get_zlim() == pytest.approx((0, 6))
    assert ax.get_zlabel() == "NLL, nats"
    assert ax.zz_dataLim.intervalx == pytest.approx((1, 6))
    assert weight_surface(plane, top=40).get_zlim() == pytest.approx((0, 40))
    mpl.pyplot.close("all")


# Figures of a loss's shape: what is drawn is what the loss says.

ON_LOGITS = [name for name, entry in LOSSES.items() if entry.takes == "logits"]
TREE = {"root": ["near", "C"], "near": ["target", "B"]}


@pytest.fixture(autouse=True)
def _close_figures():
    yield

    plt.close("all")


def params_of(name):
    return {"tree": TREE, "mode": "leaf"} if name == "hierarchical_cross_entropy" else {}


def drawn(ax, place=0):
    return ax.lines[place].get_data()


def test_cross_entropy_is_drawn_as_minus_log_p():
    p, value = drawn(loss_curves([("cross_entropy", {})]))
    np.testing.assert_allclose(value, -np.log(p), atol=1e-9)


def test_the_slope_on_the_logit_is_that_of_the_closed_forms():
    losses = [("cross_entropy", {}), ("adma", {"a": 0.4})]
    ax = loss_curves(losses, what="slope_z", num_classes=4)
    p, slope = drawn(ax)
    np.testing.assert_allclose(slope, p - 1, atol=1e-9)
    p, slope = drawn(ax, 1)
    np.testing.assert_allclose(slope, -0.4 * p**0.4 * np.exp(p**0.4) * (1 - p), atol=1e-9)


def test_over_the_logit_the_other_logits_are_zero():
    z, value = drawn(loss_curves([("cross_entropy", {})], axis="z", num_classes=3))
    np.testing.assert_allclose(value, np.log1p(2 * np.exp(-z)), atol=1e-9)


def test_each_curve_has_its_own_label_and_line_style():
    ax = loss_curves([("focal", {"gamma": g}) for g in (0.5, 1.0, 2.0)])
    assert len({line.get_label() for line in ax.lines}) == 3
    assert len({str(line.get_linestyle()) + str(line._unscaled_dash_pattern) for line in ax.lines}) == 3


@pytest.mark.parametrize("name", ON_LOGITS)
def test_every_loss_on_logits_has_a_triangle(name):
    ax = loss_simplex(name, params_of(name))
    texts = [text.get_text() for text in ax.texts]
    assert texts[-3:] == ["target", "B", "C"]
    assert all(float(text) > 0 for text in texts[:-3])  # the lines carry their values
    assert ax.get_title().startswith(LOSSES[name].title)
    assert len(ax.collections) > 0


def test_the_colours_of_cross_entropy_go_from_the_best_corner_to_the_lower_edge():
    levels = loss_simplex("cross_entropy").collections[0].levels
    low, high = np.exp(-levels[[0, -1]])  # back to the target's probability
    assert low == pytest.approx(1 - 2 * high, abs=1e-6)
    assert high < 0.01


def test_a_step_on_cross_entropy_goes_towards_the_target_and_no_point_is_given_up():
    ax = loss_simplex("cross_entropy")
    arrows = next(c for c in ax.collections if hasattr(c, "U"))
    assert (arrows.V > 0).all()
    assert drawn(ax)[0] == [0.5]  # the star, at the target's corner
    assert len(drawn(ax, 1)[0]) == 0


def test_what_the_sampling_free_loss_gives_up_is_marked():
    _, height = drawn(loss_simplex("sampling_free"), 1)
    assert len(height) > 0
    assert min(height) > 0.3 * 3**0.5 / 2  # only samples that are right already


@pytest.mark.parametrize("draw", [lambda n: loss_curves([(n, {})]), loss_simplex])
def test_a_loss_on_embeddings_has_no_such_figure(draw):
    with pytest.raises(ValueError, match=r"triplet.*compares embeddings"):
        draw("triplet")


def test_an_unknown_quantity_is_refused_with_what_there_is():
    with pytest.raises(ValueError, match="slope_p"):
        loss_curves([("focal", {})], what="slop_p")


# The map of losses.


@pytest.mark.parametrize("narrow", [False, True])
def test_the_map_of_losses_shows_every_loss_and_every_edge_inside_the_figure_and_links_each_box(tmp_path, narrow):
    from lossbench import LOSSES
    from lossbench.losses.relations import EDGES, describe
    from lossbench.plots.losses import loss_map

    ax = loss_map(narrow=narrow, link="#card-")
    shown = " ".join(" ".join(text.get_text().split()) for text in ax.texts)
    for name, entry in LOSSES.items():
        assert name == "cross_entropy" or " ".join(entry.title.split()) in shown
    for edge in EDGES:
        assert " ".join(describe(edge).split()) in shown
    renderer = ax.figure.canvas.get_renderer()
    for text in ax.texts:
        box = text.get_window_extent(renderer)
        assert box.x0 >= 0, text.get_text()
        assert box.x1 <= ax.figure.bbox.width, text.get_text()
    labels = [text.get_window_extent(renderer) for text in ax.texts]
    overlapping = sum(a.overlaps(b) for i, a in enumerate(labels) for b in labels[:i])
    assert overlapping == 0
    ax.figure.savefig(tmp_path / "map.svg")
    drawn = (tmp_path / "map.svg").read_text()
    assert all(f'"#card-{name}"' in drawn for name in LOSSES)


def test_an_edge_is_described_in_the_symbols_of_labels():
    from lossbench.losses.relations import EDGES, describe, describe_terms

    texts = {(describe(edge), describe_terms(edge)) for edge in EDGES}
    texts = {tuple(part.replace("\N{NO-BREAK SPACE}", " ") for part in pair) for pair in texts}
    assert {("q → 0", ""), ("n → ∞", ""), ("π → 1", ""), ("γ = 0", ""), ("ε = 2", "cross-entropy + 2 ×")} <= texts
    assert ("2 classes, ", "") not in texts
