"""The explorer's widget without a browser: its state, the tables it answers with, and what it leaves behind."""

from __future__ import annotations

import ast
import gc
import io
from dataclasses import replace

import numpy as np
import pytest
from ipywidgets.widgets.widget import _instances
from PIL import Image

from lossbench.explorer import PRESETS, Comparison, draw, explore, side
from lossbench.explorer.setup import comparison_of, read_side, state_of
from lossbench.explorer.tables import key_of


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
    from lossbench.losses import LOSSES, register
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


@pytest.mark.parametrize("name", ["thesis_taylor", "sampling_free_beta", "tree"])
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
    for step in range(40):
        listening.ask("loss", side("focal", gamma=0.1 * step))
    draw(Comparison())
    gc.collect()
    assert (len(_instances), plt.get_fignums()) == before
