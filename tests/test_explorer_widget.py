"""The explorer's picture and widget, without a browser: what is drawn, what moves, what it costs in memory."""

from __future__ import annotations

import ast
import gc
import io
from dataclasses import replace

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ipywidgets.widgets.widget import _instances
from PIL import Image

from lossbench.explorer import PRESETS, Comparison, draw, explore, side
from lossbench.explorer.limits import choose_limits
from lossbench.explorer.measure import measure
from lossbench.explorer.picture import COLUMN, HEIGHT, CurvePicture
from lossbench.explorer.png import encode_png


@pytest.fixture(scope="module")
def explorer():
    shown = explore()
    shown.later.work = lambda: iter(())  # networks are trained where a test asks for it
    yield shown
    shown.close()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
@settings(deadline=None, derandomize=True, max_examples=30)
def test_our_png_decodes_to_the_same_pixels(height, width, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encode_png(pixels)))), pixels)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
@settings(deadline=None, derandomize=True, max_examples=100)
def test_limits_hold_zero_and_all_values_and_stay_while_they_serve(values):
    low, high = choose_limits(np.array(values), 1.0, "linear")
    assert low <= 0 <= high
    slack = 1e-9 * (high - low) + 1e-12
    assert low - slack <= min(values)
    assert max(values) <= high + slack
    if max(0.0, *values) - min(0.0, *values) > 0.41 * (high - low):
        assert choose_limits(0.999 * np.array(values), 1.0, "linear", (low, high)) == (low, high)


def test_moving_a_slider_gives_the_pixels_of_a_fresh_drawing():
    start = replace(PRESETS["adma"].comparison, left=side("adma", a=0.3))
    moved = replace(start, left=side("adma", a=0.31), right=side("kl_divergence"))
    lived, fresh = CurvePicture(), CurvePicture()
    lived.draw(start, measure(start))
    before = lived.pixels.copy()
    lived.draw(moved, measure(moved))
    fresh.draw(moved, measure(moved))
    np.testing.assert_array_equal(lived.pixels, fresh.pixels)
    assert (before != lived.pixels).any()


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_draws_in_every_panel(name):
    comparison = PRESETS[name].comparison
    picture = CurvePicture()
    picture.draw(comparison, measure(comparison))
    for column, row in ((0, 0), (0, 1), (1, 0), (1, 1), (2, 0)):
        cell = picture.pixels[row * HEIGHT // 2 :, column * COLUMN + 60 : (column + 1) * COLUMN - 20][
            30 : HEIGHT // 2 - 50
        ]
        blue = (cell[..., 2] > 150) & (cell[..., 0] < 60)
        assert blue.sum() > 20, (column, row)


def test_every_preset_comes_back_from_its_line_of_code(explorer):
    for name in PRESETS:
        explorer.preset.value = name
        assert read_code(explorer.code) == explorer.comparison == PRESETS[name].comparison


def test_what_was_moved_comes_back_from_the_line_of_code(explorer):
    explorer.preset.value = ""
    explorer.left.loss.value = "sampling_free"
    explorer.left.made["sampling_free", "variant"].value = "star"
    explorer.right.probability.value = "soft_margin_softmax"
    explorer.right.made["soft_margin_softmax", "margin"].value = 1.2
    explorer.axis.value, explorer.scale.value, explorer.num_classes.value = "z", "log", 7
    explorer.noise.value, explorer.seed.value = 0.25, 4
    assert read_code(explorer.line.value) == explorer.comparison
    assert explorer.comparison.left == side("sampling_free", variant="star")
    assert explorer.comparison.right.probability_params == {"margin": 1.2}


def read_code(code):
    """Do what a reader's pasted line does, from its syntax tree: no text is executed."""

    def value(node):
        if isinstance(node, ast.Call):
            keywords = {word.arg: value(word.value) for word in node.keywords}
            return {"side": side, "explore": dict}[node.func.id](*map(value, node.args), **keywords)
        return [value(item) for item in node.elts] if isinstance(node, ast.List) else ast.literal_eval(node)

    call = value(ast.parse(code, mode="eval").body)
    preset = call.pop("preset", "")
    if "others" in call:
        call["others"] = tuple(call["others"])
    return replace(PRESETS[preset].comparison if preset else Comparison(), **call)


def test_explore_opens_what_it_is_told_to(explorer):
    opened = explore("mse", side("focal", gamma=7.5), others=[side("adma")], num_classes=3, noise=0.0)
    assert opened.comparison == Comparison(
        side("mse"), side("focal", gamma=7.5), (side("adma"),), num_classes=3, noise=0
    )
    assert opened.right.made["focal", "gamma"].max == 7.5  # the slider made room
    opened.close()


def test_parameters_that_do_not_go_together_are_explained_and_the_picture_stays(explorer):
    explorer.preset.value = ""
    explorer.left.write(side("sampling_free", variant="star"))
    explorer.redraw()
    kept = explorer.pictures[0].value
    explorer.left.made["sampling_free", "gamma"].value = 0.0
    assert "Not drawn" in explorer.words.value
    assert "gamma" in explorer.words.value
    assert explorer.pictures[0].value == kept
    explorer.preset.value = "adma"
    assert "Not drawn" not in explorer.words.value


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"preset": "adama"}, ValueError, "did you mean 'adma'"),
        ({"left": "focl"}, ValueError, "did you mean 'focal'"),
        ({"left": 3}, TypeError, "a side is written"),
        ({"axis": "x"}, ValueError, "choose from p, z"),
        ({"scale": "ln"}, ValueError, "choose from linear, log"),
        ({"num_classes": 1}, ValueError, "num_classes must be 2 to 1000, got 1"),
        ({"num_classes": 2.5}, TypeError, "whole number"),
        ({"noise": 0.8}, ValueError, "noise must be 0 to 0.5"),
    ],
)
def test_explore_names_mistakes_before_anything_is_drawn(arguments, error, words):
    with pytest.raises(error, match=words):
        explore(**arguments)


def test_the_surfaces_follow_the_loss_and_the_noise(explorer):
    explorer.preset.value = ""
    explorer.retrain()
    first = [image.value for image in explorer.surfaces]
    explorer.left.loss.value = "js_divergence"
    explorer.retrain()
    assert explorer.surfaces[0].value != first[0]
    assert explorer.surfaces[1].value == first[1]
    explorer.noise.value = 0.4
    explorer.retrain()
    assert explorer.surfaces[1].value != first[1]


def test_the_still_picture_says_in_words_what_it_shows():
    still = draw(Comparison(), look="Look <here>.")
    page = still.to_html()
    assert page.count('<img alt="') == 2
    assert 'alt=""' not in page
    assert "Look &lt;here&gt;." in page
    assert "right is larger from p = 0.298" in still.description  # where focal's pull falls below cross-entropy's
    assert "http" not in page


def test_two_hundred_moves_leave_no_widgets_figures_or_memory_behind(explorer):
    import matplotlib.pyplot as plt

    explorer.preset.value = ""
    explorer.left.write(side("focal"))
    slider = explorer.left.made["focal", "gamma"]

    def move(times):
        for step in range(times):
            slider.value = 0.1 * (step % 50)
            if step % 25 == 0:
                explorer.retrain()

    move(60)
    gc.collect()
    figures, widgets = plt.get_fignums(), len(_instances)
    process = psutil.Process()
    before = process.memory_info().rss
    move(200)
    gc.collect()
    assert plt.get_fignums() == figures
    assert len(_instances) == widgets
    assert process.memory_info().rss < 1.05 * before
