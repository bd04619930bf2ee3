"""The explorer in a real Chromium: in JupyterLab, and in the exported page. `pytest -s` prints the times."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import nbformat
import numpy as np
import pytest
from browsing import CHROMIUM, Watched, browser, lab

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "05_explorer.ipynb"
STEPS = 20
STRIPS = 3

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="needs Debian's chromium: apt-get install chromium"),
    pytest.mark.skipif(find_spec("playwright") is None, reason="needs the playwright package (extra: test)"),
]


@pytest.fixture(scope="module")
def chromium():
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def opened(chromium, tmp_path_factory):
    """The notebook in JupyterLab, its cells run; gives the page, the times and the folder."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copy(NOTEBOOK, folder)
    cells = nbformat.read(NOTEBOOK, 4).cells
    explore_cell = next(i for i, cell in enumerate(cells) if "explore(focal" in cell.source)
    with lab(folder) as address:
        watched = Watched(chromium)
        watched.open_notebook(address, NOTEBOOK.name)
        watched.run("run-all-above", explore_cell)
        start = watched.page.evaluate("performance.now()")
        watched.run("run-cell", explore_cell)
        first_plot = watched.wait_for_pictures(STRIPS, limit=60) - start
        print(f"\nfirst plot {first_plot:.0f} ms after the cell was started")  # noqa: T201
        yield watched, first_plot, folder
        watched.page.close()


def test_the_first_picture_comes_soon(opened):
    assert opened[1] < 10_000  # 2 s on an idle machine


def test_every_slider_step_changes_the_picture_quickly(opened):
    watched = opened[0]
    page = watched.page
    page.locator(".lossbench-explorer .widget-slider", has_text="gamma").first.locator(".noUi-handle").focus()
    page.wait_for_timeout(1500)  # the first retraining is over
    pixels, sources, times = [fingerprint(page)], [], []
    for step in range(STEPS):
        page.keyboard.press("ArrowRight" if step < STEPS // 2 else "ArrowLeft")
        times.append(watched.wait_for_pictures(STRIPS) - page.evaluate("window.pressed"))
        sources.append(page.evaluate("document.querySelector('.lossbench-explorer img').src"))
        if step in (STEPS // 2 - 1, STEPS - 1):
            pixels.append(fingerprint(page))
    print(f"\n{STEPS} steps: median {np.median(times):.0f} ms, 95th percentile {np.quantile(times, 0.95):.0f} ms")  # noqa: T201
    assert len(set(sources)) == STEPS
    assert pixels[0] == pixels[2] != pixels[1]  # there and back again
    assert np.quantile(times, 0.95) <= 250


def test_a_drag_with_the_mouse_ends_on_the_picture_of_its_last_value(opened):
    page = opened[0].page
    slider = page.locator(".lossbench-explorer .widget-slider", has_text="gamma").first
    box = slider.locator(".noUi-handle").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    for move in range(1, 21):
        page.mouse.move(x + 3 * move, y)
        page.wait_for_timeout(16)
    page.mouse.up()
    value = float(slider.locator(".widget-readout").inner_text())
    assert value > 2.5
    page.wait_for_function(
        f"document.querySelector('.lossbench-explorer textarea').value.includes('gamma={value:g}')", timeout=10_000
    )


def test_menus_and_presets_work_from_the_keyboard(opened):
    page = opened[0].page
    before = fingerprint(page)
    page.locator(".lossbench-explorer .widget-dropdown", has_text="preset").locator("select").focus()
    page.keyboard.press("p")  # the first that begins with it
    page.wait_for_function("document.querySelector('.lossbench-explorer textarea').value.includes('thesis_softmax')")
    page.wait_for_timeout(500)
    assert fingerprint(page) != before


def test_the_still_picture_hides_while_the_widget_lives_and_nothing_goes_wrong(opened):
    watched = opened[0]
    assert watched.page.locator("figure img").first.is_hidden()
    assert watched.errors == []
    assert watched.outside == []


def test_the_exported_page_shows_the_pictures_without_a_kernel_or_a_network(opened, chromium):
    watched, _, folder = opened
    watched.page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
    watched.page.wait_for_timeout(2000)
    page = export(folder / NOTEBOOK.name)
    for width in (1200, 420):
        shown = Watched(chromium, width=width)
        shown.page.goto(page.as_uri(), wait_until="load")
        picture = shown.page.locator("figure img").first
        assert picture.is_visible()
        assert picture.get_attribute("alt").startswith("Left, solid: focal")
        assert picture.evaluate("image => image.naturalWidth") > 900
        assert picture.bounding_box()["width"] <= width
        assert shown.outside == []
        assert shown.errors == []
        shown.page.close()


def fingerprint(page) -> str:
    """The pixels of the curves as text: decoded, so that it tells what a reader sees."""
    return page.evaluate(
        """() => [...document.querySelectorAll('.lossbench-explorer img')].slice(0, 3).map(image => {
            const canvas = document.createElement('canvas');
            canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
            canvas.getContext('2d').drawImage(image, 0, 0);
            return canvas.toDataURL();
        }).join('|')"""
    )


def export(notebook: Path) -> Path:
    """The notebook as one HTML file that asks nothing of other hosts."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(require_js_url="", mathjax_url="", jquery_url="", mermaid_js_url="")
    body, _ = exporter.from_filename(str(notebook))
    page = notebook.with_suffix(".html")
    page.write_text(body)
    return page
