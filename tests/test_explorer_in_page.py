"""The explorer that the page computes itself: its JavaScript against Python, and in a real Chromium."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.resources import files
from importlib.util import find_spec

import numpy as np
import pytest
from browsing import CHROMIUM, Watched, browser

from lossbench.explorer import curves, explore_in_page, side
from lossbench.explorer.in_page import IN_PAGE
from lossbench.explorer.ranges import Slider, find_controls
from lossbench.losses import LOSSES

NODE = shutil.which("node")
P = [0.002, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.999]


def settings_of(loss):
    """The default, and every slider at a low, middle and high value."""
    sliders = {name: one for name, one in find_controls(LOSSES[loss]).items() if isinstance(one, Slider)}
    for share in (0.15, 0.5, 0.9):
        yield {name: one.low + share * (one.high - one.low) for name, one in sliders.items()}


@pytest.fixture(scope="module")
def computed():
    """What the page's script gives for every loss, setting and number of classes, in one run of node."""
    if NODE is None:
        pytest.skip("needs node to run the page's script")
    asked = [(loss, params, number) for loss in IN_PAGE for params in settings_of(loss) for number in (2, 10, 37)]
    code = f"""const {{curve}} = require({json.dumps(str(files("lossbench.explorer") / "in_page.js"))});
        console.log(JSON.stringify({json.dumps(asked)}.map(([loss, params, C]) => curve(loss, params, C, {P}))))"""
    answers = json.loads(subprocess.check_output([NODE, "-e", code]))
    return list(zip(asked, answers, strict=True))


@pytest.mark.parametrize("loss", IN_PAGE)
def test_the_page_computes_what_python_computes(loss, computed):
    mine = [(params, number, answer) for (name, params, number), answer in computed if name == loss]
    assert len(mine) == 9
    for params, number, answer in mine:
        expected = curves(side(loss, **params), P, num_classes=number)
        np.testing.assert_allclose(answer["loss"], expected.loss, rtol=1e-9, atol=1e-13)
        np.testing.assert_allclose(answer["pull"], expected.slope_z, rtol=1e-8, atol=1e-13)


@pytest.mark.parametrize(
    ("left", "words"),
    [
        ("triplet", "compares embeddings"),
        ("kl_divergence", "unknown loss in the page"),
        (side("focal", probability="taylor_softmax"), "softmax and plain variants only"),
        (side("sampling_free", variant="star"), "softmax and plain variants only"),
    ],
)
def test_what_the_page_does_not_know_is_refused(left, words):
    with pytest.raises(ValueError, match=words):
        explore_in_page(left)


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="needs Debian's chromium: apt-get install chromium")
@pytest.mark.skipif(find_spec("playwright") is None, reason="needs the playwright package (extra: test)")
def test_a_page_without_a_kernel_moves_within_a_frame(tmp_path):
    page_file = tmp_path / "page.html"
    twice = explore_in_page().to_html() + explore_in_page("adma", "mse").to_html()
    page_file.write_text(f"<!doctype html><meta charset='utf-8'><body>{twice}</body>")
    with browser() as chromium:
        watched = Watched(chromium, width=800)
        page = watched.page
        page.goto(page_file.as_uri())
        page.evaluate("""() => {
            window.times = [];
            document.addEventListener('input', () => { window.start = performance.now(); }, true);
            document.addEventListener('input', () => { window.times.push(performance.now() - window.start); });
        }""")
        curve = page.locator(".lossbench-in-page path.curve").first
        page.locator(".lossbench-in-page input[type=range]").first.focus()
        seen = {curve.get_attribute("d")}
        for _ in range(20):
            page.keyboard.press("ArrowRight")
            seen.add(curve.get_attribute("d"))
        times = page.evaluate("window.times")
        print(f"\n{len(times)} steps: median {np.median(times):.1f} ms, worst {max(times):.1f} ms")  # noqa: T201
        assert len(seen) == 21
        assert np.median(times) <= 16
        page.locator(".lossbench-in-page select").first.select_option("mse")
        assert page.locator(".lossbench-in-page").first.locator("input[type=range]").count() == 0
        assert watched.errors == []
        assert watched.outside == []
