"""Comparisons by data set, and rows of single numbers."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from lossbench import plots
from lossbench.plots.style import BLUE, VERMILLION

mpl.use("Agg")


@pytest.fixture
def ax():
    return Figure().subplots()


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
    assert [text.get_text() for text in ax.texts] == ["too small to matter", "n=5", "n=4"]
    assert ax.get_xlabel() == "difference, points"


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
