"""Figures of a loss's shape: what is drawn is what the loss says."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")

from lossbench import LOSSES
from lossbench.plots.landscape import loss_curves, loss_simplex

ON_LOGITS = [name for name, entry in LOSSES.items() if entry.takes == "logits"]
TREE = {"root": ["near", "C"], "near": ["target", "B"]}


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    import matplotlib.pyplot as plt

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
    assert {text.get_text() for text in ax.texts} == {"target", "B", "C"}
    assert ax.get_title().startswith(name)
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
    assert len(drawn(ax)[0]) == 0


def test_what_the_sampling_free_loss_gives_up_is_marked():
    _, height = drawn(loss_simplex("sampling_free"))
    assert len(height) > 0
    assert min(height) > 0.3 * 3**0.5 / 2  # only samples that are right already


@pytest.mark.parametrize("draw", [lambda n: loss_curves([(n, {})]), loss_simplex])
def test_a_loss_on_embeddings_has_no_such_figure(draw):
    with pytest.raises(ValueError, match=r"triplet.*compares embeddings"):
        draw("triplet")


def test_an_unknown_quantity_is_refused_with_what_there_is():
    with pytest.raises(ValueError, match="slope_p"):
        loss_curves([("focal", {})], what="slop_p")
