"""The explorer's script: its numbers in node against Python's, its words and code, and the page in a real Chromium."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from importlib.resources import files
from importlib.util import find_spec

import numpy as np
import pytest
from browsing import CHROMIUM, STEPS, Watched, browser

from lossbench import LOSSES, PROBABILITIES
from lossbench.entry import Choices
from lossbench.explorer import PRESETS, Comparison, crossings, curves, explore_in_page, pull_on_batch, side
from lossbench.explorer import setup as page_setup
from lossbench.explorer.in_page import InPage
from lossbench.explorer.setup import opening, state_of
from lossbench.explorer.tables import TOLERANCE, combinations, make_table
from lossbench.losses.curves import drawable_losses

NODE = shutil.which("node")
P = np.array([0.002, 0.03, 0.1, 0.27, 0.5, 0.77, 0.9, 0.998])
Z = np.array([-7.3, -2.9, -1.3, 0.4, 2.2, 6.1])
QUANTITIES = ("loss", "slope_z", "curvature_z", "slope_p", "curvature_p")

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
            probability = dice.choice(list(PROBABILITIES))
            params = moved_at_random(PROBABILITIES[probability], dice)
            try:
                moved = moved_at_random(LOSSES[loss], dice)
                sides.append(side(loss, probability=probability, probability_params=params, **moved))
            except ValueError:
                continue
    return sides


@needs_node
@pytest.mark.parametrize(("axis", "at"), [("p", P), ("z", Z)])
def test_the_page_draws_what_python_computes_wherever_the_sliders_stand(axis, at, tmp_path):
    asked = [(one, 10) for one in random_sides(4)]
    asked += [(side("mse"), 2), (side("focal", gamma=1.3), 37), (side("js_divergence"), 300)]
    data = [
        {
            "tables": {kind: make_table(kind, one, classes) for kind in ("loss", "probability")},
            "side": state_of(Comparison(left=one))["left"],
            "classes": classes,
        }
        for one, classes in asked
    ]
    code = f"""data.map(one => {{
        Object.values(one.tables).forEach(it.decode);
        const along = it.curveOf(one.tables, one.side, one.classes).along("{axis}");
        return {at.tolist()}.map(along).map(point => {json.dumps(QUANTITIES)}.map(quantity => point[quantity]));
    }})"""
    for (one, classes), got in zip(asked, run_node(tmp_path, code, data), strict=True):
        expected = curves(one, at, axis=axis, num_classes=classes)
        whole = curves(one, axis=axis, num_classes=classes)
        for quantity, values in zip(QUANTITIES, np.array(got, dtype=float).T, strict=True):
            wanted = expected.quantity(quantity)
            known = np.isfinite(wanted)
            if quantity == "curvature_p":
                known &= expected.p >= 5e-4
            assert (np.isfinite(values) == known).all(), (one, quantity)
            largest = np.nanmax(np.abs(whole.quantity(quantity)))
            scale = np.abs(wanted[known]) + 1e-2 * largest + 1e-9
            tolerance = {"curvature_z": 1e-2, "curvature_p": 1e-2}.get(quantity, 10 * TOLERANCE)
            assert (np.abs(values[known] - wanted[known]) / scale).max() < tolerance, (one, quantity)


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


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """A page with the tables of five losses and of every probability function."""
    patch = pytest.MonkeyPatch()
    patch.setattr(page_setup, "drawable_losses", lambda: ["cross_entropy", "focal", "adma", "mse", "sampling_free"])
    patch.setattr(page_setup, "NOISES", (0.1,))
    patch.setattr(page_setup, "SHARES", (0.0, 1.0))
    patch.setattr(page_setup, "PRESETS", {"adma": PRESETS["sampling_free_gamma"]})
    page_setup.everything.cache_clear()
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(
        "<!doctype html><meta charset='utf-8'><style>:root{color-scheme:light dark} body{background:Canvas;"
        f"color:CanvasText;margin:8px 14px}}</style><body>{InPage(Comparison()).to_html()}</body>"
    )
    patch.undo()
    page_setup.everything.cache_clear()
    return path


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
        assert np.median(work) <= 16

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

    def test_a_preset_says_what_to_look_at_and_leaves_with_its_loss(self, opened):
        opened.locator(".lb-preset select").select_option("1")
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
