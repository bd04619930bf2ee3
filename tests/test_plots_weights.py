"""Figures of the space of weights say what their tables say."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from lossbench import plots
from lossbench.plots.weights import weight_contours, weight_curves, weight_surface

mpl.use("Agg")

STEPS = np.linspace(-1, 1, 5)


@pytest.fixture
def ax():
    return Figure().subplots()


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
