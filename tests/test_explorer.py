"""The explorer's numbers, against formulas worked by hand and against finite differences."""

from __future__ import annotations

import ast
import gc
import io
import itertools
import json
import math
import random
import shutil
import subprocess
from dataclasses import replace
from importlib.resources import files
from importlib.util import find_spec

import numpy as np
import pytest
from browsing import CHROMIUM, STEPS, Watched, browser
from hypothesis import given, settings
from hypothesis import strategies as st
from ipywidgets.widgets.widget import _instances
from PIL import Image
from scipy.optimize import brentq

from lossbench import LOSSES, PROBABILITIES
from lossbench.explorer import (
    PRESETS,
    Comparison,
    crossings,
    curves,
    draw,
    explore,
    explore_in_page,
    pull_on_batch,
    real_batch,
    side,
    train_on_moons,
    write_page,
)
from lossbench.explorer import setup as page_setup
from lossbench.explorer.measure import make_moons
from lossbench.explorer.setup import comparison_of, opening, read_side, state_of
from lossbench.explorer.tables import combinations, key_of, make_table
from lossbench.losses import register
from lossbench.losses.catalogue import Choices, Slider
from lossbench.losses.curves import QUANTITIES, drawable_losses, drawable_probabilities, sign_changes

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


@pytest.mark.parametrize("probability", drawable_probabilities())
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
    st.sampled_from(drawable_probabilities()),
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


# The explorer's widget without a browser: its state, the tables it answers with, and what it leaves behind.


class Listening:
    """An explorer whose messages to the page are kept."""

    def __init__(self, explorer):
        self.explorer, self.sent = explorer, []
        explorer.send = self.sent.append

    def ask(self, kind, shown, **more):
        message = {"kind": kind, "key": key_of("loss", shown, 10), "wanted": "w", "num_classes": 10, "free": ""}
        self.explorer.answer({**message, "side": state_of(Comparison(left=shown))["left"], **more})
        return self.sent[-1]


@pytest.fixture
def listening():
    explorer = explore()
    yield Listening(explorer)
    explorer.close()


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_comes_back_from_its_state_and_its_line_of_code(name):
    explorer = explore(preset=name)
    assert read_code(explorer.code) == explorer.comparison == PRESETS[name].comparison
    assert comparison_of(explorer.state) == PRESETS[name].comparison
    explorer.close()


def test_what_was_moved_in_the_page_comes_back_from_the_line_of_code(listening):
    explorer = listening.explorer
    moved = Comparison(
        side("sampling_free", variant="star"),
        side("cross_entropy", probability="soft_margin_softmax", probability_params={"margin": 1.2}),
        axis="z", scale="log", curvature="p", num_classes=7, noise=0.25, seed=4,
    )  # fmt: skip
    explorer.set_trait("state", state_of(moved))
    assert read_code(explorer.code) == explorer.comparison == moved


def test_whole_numbers_of_the_page_are_read_as_the_loss_has_them():
    kept = state_of(Comparison(left=side("focal", gamma=3.0)))["left"]
    kept["params"]["gamma"] = 3  # JavaScript writes 3.0 so
    assert repr(read_side(kept)) == 'side("focal", gamma=3.0)'


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


def test_explore_opens_what_it_is_told_to():
    opened = explore("mse", side("focal", gamma=7.5), others=[side("adma")], num_classes=3, noise=0.0)
    expected = Comparison(side("mse"), side("focal", gamma=7.5), (side("adma"),), num_classes=3, noise=0)
    assert opened.comparison == expected
    key = key_of("loss", side("focal", gamma=7.5), 3)
    (place,) = opened.setup["tables"][key]
    assert opened.setup["distinct"][place]["sliders"][0]["high"] == 7.5  # the table made room
    opened.close()


def test_the_kernel_answers_with_tables_and_says_what_cannot_be(listening):
    assert listening.ask("loss", side("adma"))["table"]["sliders"][0]["name"] == "a"
    assert listening.ask("batch", side("adma"))["table"]["rows"] == 1
    answer = listening.ask("loss", side("hierarchical_cross_entropy"), num_classes=7)
    assert "10 classes" in answer["table"]["error"]


def test_where_sliders_need_too_many_nodes_the_one_that_moves_is_free(listening):
    star = side("sampling_free", variant="star", beta=2.0, gamma=3.0)
    for free, held in (("beta", {"gamma": 3.0}), ("gamma", {"beta": 2.0})):
        table = listening.ask("loss", star, free=free)["table"]
        assert [one["name"] for one in table["sliders"]] == [free]
        assert table["held"] == held


def test_the_kernel_trains_both_networks_and_says_why_one_cannot_be(listening):
    first = listening.ask("moons", side("focal"), noise=0.1, seed=0)
    other = listening.ask("moons", side("focal"), noise=0.4, seed=0)
    assert first["values"] != other["values"]
    assert first["accuracy"] > 0.9
    refused = listening.ask("moons", side("hierarchical_cross_entropy"), noise=0.1, seed=0)
    assert refused["values"] is None
    assert "two classes" in refused["message"]


def test_a_loss_of_ones_own_is_drawn_with_sliders_from_its_defaults():
    import torch

    from lossbench.explorer.tables import loss_table
    from lossbench.losses import LOSSES
    from lossbench.losses.curves import curves

    @register
    def own_power(log_probs, target, power=2.0):
        return (1 - log_probs.exp().gather(1, target[:, None])[:, 0]) ** power

    try:
        table = loss_table(side("own_power"), 10)
        assert [one["name"] for one in table["sliders"]] == ["power"]
        assert torch.isfinite(torch.from_numpy(curves(side("own_power")).curvature_z)).all()
    finally:
        del LOSSES["own_power"]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"preset": "adama"}, ValueError, "did you mean 'adma'"),
        ({"left": "focl"}, ValueError, "did you mean 'focal'"),
        ({"left": 3}, TypeError, "a side is written"),
        ({"axis": "x"}, ValueError, "choose from p, z"),
        ({"scale": "ln"}, ValueError, "choose from linear, log"),
        ({"curvature": "q"}, ValueError, "unknown curvature"),
        ({"num_classes": 1}, ValueError, "num_classes must be 2 to 1000, got 1"),
        ({"num_classes": 2.5}, TypeError, "whole number"),
        ({"noise": 0.8}, ValueError, "noise must be 0 to 0.5"),
    ],
)
def test_explore_names_mistakes_before_anything_is_drawn(arguments, error, words):
    with pytest.raises(error, match=words):
        explore(**arguments)


@pytest.mark.parametrize("name", ["sampling_free_beta", "tree"])
def test_the_still_picture_is_drawn_and_says_in_words_what_it_shows(name):
    comparison = PRESETS[name].comparison
    still = draw(comparison, look="Look <here>.")
    pixels = np.asarray(Image.open(io.BytesIO(still.png)).convert("RGB")).astype(int)
    blue = (abs(pixels - [0, 114, 178]).sum(2) < 40).sum()
    assert blue > 500
    page = still.to_html()
    assert page.count('<img alt="Left, solid: ') == 1
    assert comparison.left.label in page
    assert "Look &lt;here&gt;." in page
    assert "http" not in page


def test_the_description_reads_the_crossing_out():
    assert "right is larger from p = 0.2976" in draw(Comparison()).description


def test_answers_leave_no_widgets_and_figures_behind(listening):
    import matplotlib.pyplot as plt

    gc.collect()
    before = len(_instances), plt.get_fignums()
    for step in range(10):
        listening.ask("loss", side("focal", gamma=0.1 * step))
    draw(Comparison())
    gc.collect()
    assert (len(_instances), plt.get_fignums()) == before


# The explorer's script: its numbers in node against Python's, its words and code, and the page in a real Chromium.

NODE = shutil.which("node")
POINTS = np.array([0.002, 0.03, 0.1, 0.27, 0.5, 0.77, 0.9, 0.998])
Z = np.array([-7.3, -2.9, -1.3, 0.4, 2.2, 6.1])
PAGE_QUANTITIES = ("loss", "slope_z", "curvature_z", "slope_p", "curvature_p")

needs_node = pytest.mark.skipif(NODE is None, reason="needs node to run the page's script")
in_chromium = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="needs Debian's chromium: apt-get install chromium"),
    pytest.mark.skipif(find_spec("playwright") is None, reason="needs the playwright package (extra: test)"),
]


def run_node(folder, code, data):
    """What `code` prints as JSON, with the script's functions and `data` at hand."""
    shutil.copy(files("lossbench.explorer") / "explorer.js", folder / "explorer.mjs")
    (folder / "data.json").write_text(json.dumps(data))
    head = "import {readFileSync} from 'fs'; import * as it from './explorer.mjs';"
    head += "const data = JSON.parse(readFileSync('data.json', 'utf8'));"
    (folder / "run.mjs").write_text(f"{head} console.log(JSON.stringify({code}));")
    return json.loads(subprocess.check_output([NODE, "run.mjs"], cwd=folder))


def moved_at_random(entry, dice):
    """Every control somewhere: a stop of its slider, or one of its choices."""
    values = {}
    for name, control in entry.controls.items():
        if isinstance(control, Choices):
            values[name] = dice.choice(control.values)
        else:
            steps = round((control.high - control.low) / control.step)
            values[name] = min(control.low + control.step * dice.randint(0, steps), control.high)
            values[name] = round(values[name], 10) if isinstance(control.step, float) else values[name]
    return values


def random_sides(count):
    """Sides with every loss, at settings that go together."""
    dice = random.Random(5)
    sides = []
    for loss in drawable_losses():
        while sum(one.loss == loss for one in sides) < count:
            probability = dice.choice(drawable_probabilities())
            params = moved_at_random(PROBABILITIES[probability], dice)
            try:
                moved = moved_at_random(LOSSES[loss], dice)
                sides.append(side(loss, probability=probability, probability_params=params, **moved))
            except ValueError:
                continue
    return sides


@needs_node
def test_the_page_draws_what_python_computes_wherever_the_sliders_stand(tmp_path):
    asked = [(one, 10) for one in random_sides(3)]
    asked += [(side("mse"), 2), (side("focal", gamma=1.3), 37), (side("js_divergence"), 300)]
    data = [
        {
            "tables": {kind: make_table(kind, one, classes) for kind in ("loss", "probability")},
            "side": state_of(Comparison(left=one))["left"],
            "classes": classes,
        }
        for one, classes in asked
    ]
    axes = {"p": POINTS, "z": Z}
    code = f"""data.map(one => {{
        Object.values(one.tables).forEach(it.decode);
        const curve = it.curveOf(one.tables, one.side, one.classes);
        return {json.dumps([[axis, at.tolist()] for axis, at in axes.items()])}.map(([axis, at]) => at
            .map(curve.along(axis)).map(point => {json.dumps(PAGE_QUANTITIES)}.map(quantity => point[quantity])));
    }})"""
    drawn = run_node(tmp_path, code, data)
    for ((one, classes), both), (place, axis) in itertools.product(zip(asked, drawn, strict=True), enumerate(axes)):
        got = both[place]
        expected = curves(one, axes[axis], axis=axis, num_classes=classes)
        whole = curves(one, axis=axis, num_classes=classes)
        for quantity, values in zip(PAGE_QUANTITIES, np.array(got, dtype=float).T, strict=True):
            wanted = expected.quantity(quantity)
            known = np.isfinite(wanted)
            if quantity == "curvature_p":
                known &= expected.p >= 5e-4
            assert (np.isfinite(values) == known).all(), (one, quantity)
            largest = np.nanmax(np.abs(whole.quantity(quantity)))
            scale = np.abs(wanted[known]) + 1e-2 * largest + 1e-9
            # Divided by dp squared, what single precision leaves of a curvature in z is less near p = 0 and 1.
            coarse = (quantity == "curvature_p") & (np.abs(expected.p[known] - 0.5) > 0.49)
            assert (np.abs(values[known] - wanted[known]) / scale < np.where(coarse, 1e-2, 1e-3)).all(), (one, quantity)


@needs_node
def test_the_page_knows_the_pull_of_every_image(tmp_path):
    sides = random_sides(2)
    data = [{"table": make_table("batch", one), "side": state_of(Comparison(left=one))["left"]} for one in sides]
    code = """data.map(({table, side}) => Array.from(
        it.blend(it.decode(table), {...side.probability_params, ...side.params}), v => table.log ? 10 ** v : v))"""
    for one, got in zip(sides, run_node(tmp_path, code, data), strict=True):
        wanted = pull_on_batch(one).size
        assert (np.abs(np.array(got) - wanted) <= 0.01 * wanted + 1e-4 * wanted.max()).all(), one


@needs_node
@pytest.mark.parametrize("axis", ["p", "z"])
def test_the_page_reads_crossings_out_to_four_digits(axis, tmp_path):
    taylor = side("cross_entropy", probability="taylor_softmax")
    pairs = [(side("focal", gamma=2.0), side("cross_entropy")), (side("squared_hinge"), side("cross_entropy"))]
    pairs += [(side("sampling_free"), side("cross_entropy")), (taylor, side("cross_entropy"))]
    data = [
        [
            {"tables": {kind: make_table(kind, one) for kind in ("loss", "probability")}, "side": kept}
            for one, kept in zip(pair, [state_of(Comparison(*pair))[name] for name in ("left", "right")], strict=True)
        ]
        for pair in pairs
    ]
    code = f"""data.map(pair => {{
        const along = pair.map(one => {{
            Object.values(one.tables).forEach(it.decode);
            return it.curveOf(one.tables, one.side, 10).along("{axis}");
        }});
        const points = along.map(curve => it.GRIDS["{axis}"].map(curve));
        return ["loss", "slope_z"].map(q => it.crossings(points, along, it.GRIDS["{axis}"], q).map(one => one.at));
    }})"""
    for pair, found in zip(pairs, run_node(tmp_path, code, data), strict=True):
        for quantity, places in zip(("loss", "slope_z"), found, strict=True):
            wanted = [one.at for one in crossings(*pair, quantity, axis=axis)]
            assert places == [pytest.approx(place, rel=5e-5, abs=3e-4) for place in wanted], (pair, quantity)


@needs_node
def test_the_page_writes_labels_and_code_as_python_does(tmp_path):
    comparisons = [(preset.comparison, name) for name, preset in PRESETS.items()]
    comparisons += [
        (Comparison(one, other), "") for one, other in zip(random_sides(2), random_sides(1) * 2, strict=True)
    ]
    tree = side("hierarchical_cross_entropy", mode="leaf", kappa=2.0)
    comparisons.append((Comparison(tree, others=(side("mse"),), noise=0.25, curvature="p"), ""))
    data = {"setup": opening(Comparison()), "states": [state_of(*one) for one in comparisons]}
    code = """data.states.map(state => {
        const known = data.setup.presets.find(one => one.name === state.preset);
        const start = known ? known.state : data.setup.start;
        return [it.codeOf(data.setup, state, start), it.labelOf(data.setup, state.left)];
    })"""
    for (comparison, preset), (line, label) in zip(comparisons, run_node(tmp_path, code, data), strict=True):
        assert line == comparison.code(preset, PRESETS[preset].comparison if preset else None)
        assert label == comparison.left.label


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("triplet",), "compares embeddings"),
        (("focal", "mse", 7), "knows 2, 10, 100 classes"),
        ((side("hierarchical_cross_entropy", kappa=2.0),), "has no tables for it"),
    ],
)
def test_what_the_page_has_no_tables_for_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        explore_in_page(*arguments)


@pytest.mark.parametrize("name", drawable_losses())
def test_every_menu_of_every_loss_has_a_table_or_says_why_not(name):
    for menus in combinations(LOSSES[name]):
        table = make_table("loss", side(name, **menus))
        assert "error" not in table
        assert {one["name"] for one in table["sliders"]} | set(table["held"]) <= set(LOSSES[name].starts)


FIVE = ("cross_entropy", "focal", "adma", "mse", "sampling_free")


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """A page with the tables of five losses and of every probability function."""
    return write_page(tmp_path_factory.mktemp("page") / "page.html", losses=FIVE)


def test_a_page_offers_the_losses_it_is_given_and_the_presets_that_these_allow(page_file):
    setup = page_setup.everything(FIVE)
    assert list(setup["losses"]) == list(FIVE)
    assert {one["name"] for one in setup["presets"]} == {"probabilities", "sampling_free_beta", "sampling_free_gamma"}
    assert {json.loads(key)[1] for key in setup["tables"] if key.startswith('["loss"')} == set(FIVE)
    assert page_file.stat().st_size < 3e6


@pytest.fixture(scope="module")
def chromium():
    with browser() as started:
        yield started


@pytest.fixture
def opened(page_file, chromium):
    """The page on a projector's screen; nothing may go wrong on it."""
    watched = Watched(chromium, width=1280, height=720)
    watched.page.goto(page_file.as_uri())
    watched.page.wait_for_selector(".lossbench-explorer path.lb-left[d]", state="attached")
    yield watched.page
    assert watched.errors == []
    assert watched.outside == []
    watched.page.close()


class TestInChromium:
    pytestmark = in_chromium

    def test_a_step_is_computed_within_a_frame_and_changes_the_picture(self, opened):
        opened.evaluate(STEPS)
        opened.locator("input[type=range]").first.focus()
        seen = set()
        for step in range(100):
            opened.keyboard.press("ArrowRight" if step % 40 < 20 else "ArrowLeft")
            seen.add(opened.locator("path.lb-left").first.get_attribute("d"))
        work, painted = opened.evaluate("[window.work, window.painted]")
        print(f"\n{len(work)} steps: {np.median(work):.1f} ms of script, p95 {np.quantile(work, 0.95):.1f} ms; ")  # noqa: T201
        print(f"painted after {np.median(painted):.1f} ms, p95 {np.quantile(painted, 0.95):.1f} ms")  # noqa: T201
        assert len(work) == 100
        assert len(seen) == 21
        assert np.quantile(work, 0.1) <= 16  # other programs lengthen many steps, but not the quickest

    def test_controls_and_pictures_share_one_screen(self, opened):
        assert opened.evaluate("document.documentElement.scrollHeight") <= 720
        assert opened.evaluate("document.documentElement.scrollWidth") <= 1280

    def test_everything_is_reached_and_moved_by_the_keyboard(self, opened):
        names = []
        opened.locator("select").first.focus()
        for _ in range(12):
            names.append(opened.evaluate("document.activeElement.closest('label').textContent.trim()"))
            opened.keyboard.press("Tab")
        assert names[0].startswith("preset")
        assert any(name.startswith("gamma γ") for name in names)
        assert any(name.startswith("curvature") for name in names)

    def test_every_picture_tells_a_screen_reader_what_it_shows(self, opened):
        labels = [svg.get_attribute("aria-label") for svg in opened.locator("svg[role=img]").all()]
        assert len(labels) == 7
        assert "Left, solid: focal γ=2. Right, dashed: cross_entropy. They cross at p = 0.2976." in labels[1]
        assert all(labels)
        assert opened.locator("[role=status] li").all_inner_texts()[1] == (
            "pull on the logit: right is larger from p = 0.2976"
        )

    def test_curvature_is_what_an_optimiser_sees_unless_asked(self, opened):
        title = opened.locator(".lb-title").nth(2)
        assert title.inner_html() == "d²L/dz²: curvature"
        opened.locator(".lb-curvature select").select_option("1")
        assert title.inner_html() == "d²L/dp²: curvature"
        assert 'curvature="p"' in opened.locator(".lb-code").input_value()

    def test_an_impossible_combination_greys_the_picture_out(self, opened):
        left = opened.locator(".lb-of-left")
        left.locator(".lb-loss select").select_option(label="sampling_free")
        left.locator("select").nth(1).select_option(label="star")
        slider = left.locator("input[type=range]").nth(1)
        slider.focus()
        slider.press("Home")
        assert opened.get_by_role("alert").inner_text() == (
            "Not drawn: left: sampling_free: gamma must be above 0 with variant='star', got 0"
        )
        assert float(opened.locator(".lb-pictures").evaluate("e => getComputedStyle(e).opacity")) < 0.5
        assert opened.locator(".lb-code").input_value() == ""
        slider.press("ArrowRight")
        assert opened.get_by_role("alert").count() == 0
        assert float(opened.locator(".lb-pictures").evaluate("e => getComputedStyle(e).opacity")) == 1

    def test_a_batch_that_cannot_be_drawn_leaves_no_dots_of_another(self, opened):
        panel = opened.locator("svg[role=img]").nth(4)
        assert panel.locator("path.lb-dots-left").get_attribute("d")
        left = opened.locator(".lb-of-left")
        left.locator("select").filter(has_text="taylor_softmax").select_option(label="taylor_softmax")
        left.locator("select").last.select_option(index=1)
        assert opened.get_by_text("without a kernel this page has no table for it").count() == 1
        assert not panel.locator("path.lb-dots-left").get_attribute("d")

    def test_a_preset_says_what_to_look_at_and_leaves_with_its_loss(self, opened):
        opened.locator(".lb-preset select").select_option("3")
        assert "counts as done" in opened.locator(".lb-look").inner_text()
        assert opened.locator(".lb-legend .lb-key span").all_inner_texts()[:2] == [
            "left: sampling_free β=4 γ=5 (reconstruction)",
            "right: cross_entropy",
        ]
        opened.locator(".lb-of-left .lb-loss select").select_option(label="mse")
        assert opened.locator(".lb-preset select").evaluate("e => e.selectedOptions[0].text") == "no preset"
        assert opened.locator(".lb-look").inner_text() == ""

    def test_on_a_phone_nothing_hangs_over(self, page_file, chromium):
        watched = Watched(chromium, width=400, height=800)
        watched.page.goto(page_file.as_uri())
        watched.page.wait_for_selector("path.lb-left[d]", state="attached")
        assert watched.page.evaluate("document.documentElement.scrollWidth") <= 400
        assert watched.page.locator("svg[role=img]").first.bounding_box()["width"] > 300
        watched.page.close()

    def test_lines_are_lighter_on_a_dark_page_and_sharp_at_two_pixels_a_point(self, page_file, chromium):
        colours = []
        for scheme in ("light", "dark"):
            page = chromium.new_page(color_scheme=scheme, device_scale_factor=2)
            page.goto(page_file.as_uri())
            line = page.wait_for_selector("path.lb-left[d]", state="attached")
            colours.append(line.evaluate("e => getComputedStyle(e).stroke"))
            assert page.locator(".lossbench-explorer img").count() == 0  # drawn by lines, not by pixels
            page.close()
        assert colours == ["rgb(0, 114, 178)", "rgb(86, 180, 233)"]

    def test_a_still_picture_stands_where_no_script_runs(self, page_file, chromium):
        context = chromium.new_context(java_script_enabled=False)
        page = context.new_page()
        page.goto(page_file.as_uri())
        image = page.locator("figure img")
        assert image.is_visible()
        assert "right is larger from p = 0.2976" in image.get_attribute("alt")
        context.close()
