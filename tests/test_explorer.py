"""The explorer's numbers, against formulas worked by hand and against finite differences."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from lossbench import LOSSES, PROBABILITIES
from lossbench.entry import Choices, Slider
from lossbench.explorer import PRESETS, crossings, curves, pull_on_batch, real_batch, side, train_on_moons
from lossbench.explorer.measure import make_moons
from lossbench.losses import register
from lossbench.losses.curves import QUANTITIES, drawable_losses, sign_changes

ENTRIES = {name: LOSSES[name] for name in drawable_losses()} | dict(PROBABILITIES)
P = np.array([0.01, 0.1, 0.3, 0.5, 0.8, 0.99])


@pytest.mark.parametrize("name", ENTRIES)
def test_every_parameter_has_a_slider_or_a_reason_not_to(name):
    assert all(parameter.control for parameter in ENTRIES[name].parameters.values())


@pytest.mark.parametrize("name", ENTRIES)
def test_the_ends_of_every_slider_are_allowed_values(name):
    for parameter, control in ENTRIES[name].controls.items():
        ends = control.values if isinstance(control, Choices) else (control.low, control.high)
        start = ENTRIES[name].starts[parameter]
        assert start in ends if isinstance(control, Choices) else ends[0] <= start <= ends[1]
        for value in ends:
            assert ENTRIES[name].check({parameter: value})[parameter] == value


def test_a_loss_of_ones_own_gets_sliders_from_its_defaults():
    def own(logits, target, *, rate: float = 0.5, count: int = 3, flag: bool = False, word: str = "a"):
        return logits.gather(1, target[:, None]).squeeze(1)

    controls = register(own) and LOSSES.pop("own").controls
    assert controls["rate"] == Slider(0.05, 1.5, 0.025)
    assert controls["count"] == Slider(1, 10, 1)
    assert controls["flag"].values == (False, True)
    assert "word" not in controls


# Value, slope and curvature in p, slope and curvature in the target's logit on softmax with 10 classes, by hand.
BY_HAND = {
    "cross_entropy": (lambda p: -np.log(p), lambda p: -1 / p, lambda p: p**-2, lambda p: p - 1, lambda p: p * (1 - p)),
    "js_divergence": (
        lambda p: math.log(2) - (1 + p) * np.log1p(p) / 2 + p * np.log(p) / 2,
        lambda p: np.log(p / (1 + p)) / 2,
        lambda p: 1 / (2 * p * (1 + p)),
        lambda p: p * (1 - p) * np.log(p / (1 + p)) / 2,
        lambda p: p * (1 - p) * ((1 - 2 * p) * np.log(p / (1 + p)) + (1 - p) / (1 + p)) / 2,
    ),
    "mse": (  # the nine other classes hold (1 - p) / 9 each
        lambda p: ((1 - p) ** 2 + (1 - p) ** 2 / 9) / 10,
        lambda p: -2 * (1 - p) / 9,
        lambda p: np.full_like(p, 2 / 9),
        lambda p: -2 * (1 - p) ** 2 * p / 9,
        lambda p: 2 * p * (1 - p) ** 2 * (3 * p - 1) / 9,
    ),
}


@pytest.mark.parametrize("loss", BY_HAND)
def test_curves_are_the_formulas_worked_by_hand(loss):
    got = curves(side(loss), P)
    for name, formula in zip(("loss", "slope_p", "curvature_p", "slope_z", "curvature_z"), BY_HAND[loss], strict=True):
        np.testing.assert_allclose(got.quantity(name), formula(P), rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("probability", PROBABILITIES)
@pytest.mark.parametrize("loss", drawable_losses())
def test_slopes_and_curvatures_agree_with_finite_differences(loss, probability):
    one = side(loss, probability=probability)
    z, step = np.array([-3.1, -0.4, 0.3, 2.2, 5.0]), 1e-4
    low, middle, high = (curves(one, z + shift, axis="z") for shift in (-step, 0.0, step))
    np.testing.assert_allclose(middle.slope_z, (high.loss - low.loss) / (2 * step), rtol=2e-6, atol=1e-9)
    np.testing.assert_allclose(middle.curvature_z, (high.slope_z - low.slope_z) / (2 * step), rtol=2e-5, atol=1e-8)
    np.testing.assert_allclose(middle.slope_p, (high.loss - low.loss) / (high.p - low.p), rtol=1e-5, atol=1e-7)
    difference = (high.slope_p - low.slope_p) / (high.p - low.p)
    np.testing.assert_allclose(middle.curvature_p, difference, rtol=1e-4, atol=1e-5)


@given(
    st.lists(st.floats(0.001, 0.999), min_size=1, max_size=8),
    st.sampled_from(list(PROBABILITIES)),
    st.integers(2, 200),
)
@settings(deadline=None, derandomize=True, max_examples=60)
def test_curves_along_p_stand_at_the_p_asked_for_or_say_nan(p, probability, num_classes):
    got = curves(side("cross_entropy", probability=probability), p, num_classes=num_classes)
    lowest = 0.5 / (num_classes - 0.5) if probability == "taylor_softmax" else 0.0  # f(-1) = 1/2, f(0) = 1
    reached = np.array(p) > lowest + 1e-4
    np.testing.assert_allclose(got.p[reached], np.array(p)[reached], rtol=1e-7)
    assert np.isnan(got.p[np.array(p) < lowest - 1e-4]).all()


def test_a_margin_shows_as_the_loss_of_a_lower_probability():
    got = curves(side("cross_entropy", probability="soft_margin_softmax", probability_params={"margin": 0.7}), P)
    np.testing.assert_allclose(got.loss, np.log1p(np.exp(0.7) * (1 - P) / P), rtol=1e-12)


@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
def test_focal_overtakes_the_pull_of_cross_entropy_where_algebra_says(gamma):
    def gap(p):
        return (1 - p) ** gamma - gamma * p * (1 - p) ** (gamma - 1) * math.log(p) - 1

    found = crossings(side("focal", gamma=gamma), side("cross_entropy"), "slope_z")
    assert [one.larger_after for one in found] == ["right"]
    assert found[0].at == pytest.approx(brentq(gap, 1e-3, 0.9), abs=1e-7)
    assert found[0].value == pytest.approx(found[0].at - 1, abs=1e-6)


def test_squared_hinge_meets_cross_entropy_where_algebra_says():
    def gap(p):
        return ((1 - p) ** 2 + 9 * (1 + (1 - p) / 9) ** 2) / 10 + math.log(p)

    found = crossings(side("squared_hinge"), side("cross_entropy"))
    assert [(one.at, one.larger_after) for one in found] == [(pytest.approx(brentq(gap, 0.1, 0.9), abs=1e-7), "left")]


def test_crossings_along_the_logit_are_those_along_p():
    pair = (side("sampling_free"), side("cross_entropy"))
    (along_p,), (along_z,) = crossings(*pair), crossings(*pair, axis="z")
    assert along_z.at == pytest.approx(math.log(9 * along_p.at / (1 - along_p.at)), abs=1e-5)


def test_where_curves_meet_to_third_order_the_crossing_is_still_found_to_four_digits():
    taylor = side("cross_entropy", probability="taylor_softmax")  # its logarithm is z - z^3 / 6 + ...
    (only,) = crossings(taylor, side("cross_entropy"), axis="z")
    assert only.at == pytest.approx(0, abs=5e-5)


def test_a_label_tells_which_reading_is_drawn():
    tree = {name: side("hierarchical_cross_entropy", mode=name).label for name in ("leaf", "conditional")}
    assert "mode=leaf" in tree["leaf"]
    assert "mode=conditional" in tree["conditional"]
    assert "α=dataset" in side("false_positive").label


@pytest.mark.parametrize(
    ("difference", "brackets"),
    [
        ([2.0, 1.0, -1.0], [(1, 2)]),
        ([2.0, 0.0, 0.0, -1.0], [(0, 3)]),  # equal on grid points in between
        ([2.0, 0.0, 1.0], []),  # touches, does not cross
        ([2.0, np.nan, -1.0], []),  # nothing is known where the curves have a gap
        ([0.0, 0.0, 1.0, 2.0], []),
    ],
)
def test_a_crossing_is_bracketed_also_on_grid_points_and_never_across_gaps(difference, brackets):
    assert list(zip(*sign_changes(np.array(difference)), strict=True)) == brackets


def test_twins_never_cross():
    twins = side("kl_divergence"), side("cross_entropy")
    assert [crossings(*twins, quantity) for quantity in QUANTITIES] == [[]] * len(QUANTITIES)


def test_the_batch_is_real_and_cross_entropy_pulls_on_it_with_p_minus_y():
    logits, target = real_batch()
    assert logits.shape == (128, 10)
    z = logits.numpy()
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    gap = p - np.eye(10)[target.numpy()]
    pull = pull_on_batch(side("cross_entropy"))
    np.testing.assert_allclose(pull.size, np.sqrt((gap**2).sum(1)), rtol=1e-10)
    assert 0.6 < 1 - pull.wrong.mean() < 0.95
    assert pull.share_of_wrong == pytest.approx(pull.size[pull.wrong].sum() / pull.size.sum())


@pytest.mark.parametrize("noise", [0.0, 0.2, 0.5])
def test_moons_flip_the_share_of_points_asked_for(noise):
    moons = make_moons(noise, seed=3)
    assert (moons.target != moons.truth).sum() == round(noise * len(moons.truth))


def test_the_tiny_network_learns_the_moons_and_repeats_itself():
    first, again = (train_on_moons(side("cross_entropy"), seed=1) for _ in range(2))
    np.testing.assert_array_equal(first.p, again.p)
    assert first.accuracy > 0.95


def test_the_size_of_a_loss_does_not_change_what_the_tiny_network_learns():
    plain, scaled = (train_on_moons(side("adma", normalize=value), noise=0.1) for value in (False, True))
    np.testing.assert_allclose(plain.p, scaled.p, atol=0.02)


def test_a_loss_for_ten_classes_says_why_it_has_no_surface():
    surface = train_on_moons(side("hierarchical_cross_entropy"))
    assert surface.p is None
    assert "10 classes" in surface.message


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: side("focl"), ValueError, "did you mean 'focal'"),
        (lambda: side("triplet"), ValueError, "compares embeddings"),
        (lambda: side("focal", gama=1.0), TypeError, "gamma"),
        (lambda: side("false_positive", alpha="batch"), ValueError, "other samples"),
        (lambda: curves(side("mse"), axis="q"), ValueError, "unknown axis 'q'"),
        (lambda: curves(side("mse")).quantity("slope"), ValueError, "slope_p"),
        (lambda: curves(side("hierarchical_cross_entropy"), num_classes=7), ValueError, "10 classes"),
    ],
)
def test_mistakes_are_named_with_what_is_allowed(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_every_paper_has_a_preset_that_says_where_it_comes_from():
    sources = " ".join(preset.source for preset in PRESETS.values())
    assert all(f"paper {paper}" in sources for paper in ("000", "001", "002", "003", "004"))


def test_numbers_load_without_widgets_and_figures():
    heavy = "{'ipywidgets', 'anywidget', 'matplotlib', 'pandas', 'torchvision'}"
    code = f"import sys, lossbench.explorer; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
