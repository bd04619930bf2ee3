"""The explorer in a real Chromium: in JupyterLab, and in the exported page. `pytest -s` prints the times."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import nbformat
import numpy as np
import pytest
from browsing import CHROMIUM, STEPS, Watched, browser, lab

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "05_explorer.ipynb"
STEPS_TAKEN = 100
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="needs Debian's chromium: apt-get install chromium"),
    pytest.mark.skipif(find_spec("playwright") is None, reason="needs the playwright package (extra: test)"),
]


@pytest.fixture(scope="module")
def chromium():
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def opened(chromium, tmp_path_factory):
    """The notebook in JupyterLab, the explorer's cell run; gives the page and the folder."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copy(NOTEBOOK, folder)
    cells = nbformat.read(NOTEBOOK, 4).cells
    explore_cell = next(i for i, cell in enumerate(cells) if "explore(focal" in cell.source)
    with lab(folder) as address:
        watched = Watched(chromium)
        watched.open_notebook(address, NOTEBOOK.name)
        watched.run("run-all-above", explore_cell)
        watched.run("run-cell", explore_cell)
        watched.page.wait_for_selector(".lossbench-explorer path.lb-left[d]", state="attached", timeout=120_000)
        yield watched, folder
        watched.page.close()


@pytest.mark.slow
def test_the_keys_move_a_slider_and_the_picture_within_a_frame(opened):
    page = opened[0].page
    page.evaluate(STEPS)
    page.locator(".lossbench-explorer input[type=range]").first.focus()
    line, seen = page.locator(".lossbench-explorer path.lb-left").first, set()
    for step in range(STEPS_TAKEN):
        page.keyboard.press("ArrowRight" if step < STEPS_TAKEN // 2 else "ArrowLeft")
        seen.add(line.get_attribute("d"))
    work, painted = page.evaluate("[window.work, window.painted]")
    print(f"\n{STEPS_TAKEN} steps: {np.median(work):.1f} ms of script, p95 {np.quantile(work, 0.95):.1f} ms; ")  # noqa: T201
    print(f"painted after {np.median(painted):.1f} ms, p95 {np.quantile(painted, 0.95):.1f} ms")  # noqa: T201
    assert len(seen) == STEPS_TAKEN // 2 + 1
    assert np.quantile(work, 0.1) <= 16  # other programs lengthen many steps, but not the quickest


@pytest.mark.slow
def test_another_loss_comes_from_the_kernel_and_the_code_follows(opened):
    page = opened[0].page
    page.locator(".lossbench-explorer .lb-of-left .lb-loss select").select_option(label="adma")
    page.wait_for_function(
        "document.querySelector('.lossbench-explorer .lb-legend').textContent.includes('left: adma')", timeout=30_000
    )
    assert 'left=side("adma", a=0.2622)' in page.locator(".lossbench-explorer .lb-code").input_value()
    page.wait_for_function("!document.querySelector('.lossbench-explorer .lb-waits')", timeout=30_000)  # both trained


@pytest.mark.slow
def test_the_page_of_its_own_sleeps_while_the_widget_lives_and_nothing_goes_wrong(opened):
    watched = opened[0]
    assert watched.page.locator("figure img").first.is_hidden()
    assert watched.page.locator(".lossbench-explorer").count() == 1
    assert watched.errors == []
    assert watched.outside == []


@pytest.mark.slow
def test_the_exported_page_moves_without_a_kernel_or_a_network(opened, chromium):
    watched, folder = opened
    watched.page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
    watched.page.wait_for_function("!document.querySelector('.jp-mod-dirty')", timeout=30_000)
    page = export(folder / NOTEBOOK.name)
    for width in (1200, 420):
        shown = Watched(chromium, width=width)
        shown.page.goto(page.as_uri(), wait_until="load")
        shown.page.wait_for_selector(".lossbench-explorer path.lb-left[d]", state="attached")
        line = shown.page.locator(".lossbench-explorer path.lb-left").first
        before = line.get_attribute("d")
        slider = shown.page.locator(".lossbench-explorer input[type=range]").first
        slider.press("ArrowRight")
        assert line.get_attribute("d") != before
        assert shown.page.locator(".lossbench-explorer").bounding_box()["width"] <= width
        assert shown.outside == []
        assert shown.errors == []
        shown.page.close()


def export(notebook: Path) -> Path:
    """The notebook as one HTML file that asks nothing of other hosts."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(require_js_url="", mathjax_url="", jquery_url="", mermaid_js_url="")
    body, _ = exporter.from_filename(str(notebook))
    page = notebook.with_suffix(".html")
    page.write_text(body)
    return page


# The built site in a real browser, from the disk: on a phone, without errors, without another host.

HTML = Path(__file__).parents[1] / "docs" / "_build" / "html"
PAGES = sorted(
    path.relative_to(HTML)
    for path in HTML.rglob("*.html")
    if 'http-equiv="refresh"' not in path.read_text(encoding="utf-8")  # leaves for another page while it is looked at
)
PHONE = {"width": 375, "height": 740}
needs_site = pytest.mark.skipif(not PAGES, reason="no site is built: make site")


@pytest.fixture
def page(chromium):
    """A page of phone width that remembers errors and requests."""
    opened = chromium.new_page(viewport=PHONE)
    opened.errors, opened.requested = [], []
    opened.on("console", lambda message: message.type == "error" and opened.errors.append(message.text))
    opened.on("pageerror", lambda error: opened.errors.append(str(error)))
    opened.on("request", lambda request: opened.requested.append(request.url))
    yield opened
    opened.close()


@needs_site
@pytest.mark.parametrize("name", PAGES, ids=str)
def test_a_page_opens_on_a_phone_without_errors_or_another_host(page, name):
    page.goto((HTML / name).as_uri(), wait_until="load")
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))")  # scripts have run
    assert page.errors == []
    assert [url for url in page.requested if not url.startswith(("file:", "data:", "blob:"))] == []
    if name.name != "report_page.html":  # a table of its own, with a width of its own
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


@needs_site
def test_formulas_are_drawn_without_a_network(page):
    page.goto((HTML / "losses.html").as_uri())
    page.wait_for_function("window.MathJax?.startup?.promise", timeout=30_000)
    page.evaluate("MathJax.startup.promise")  # all of the page, not its first formula
    assert page.locator("mjx-merror").count() == 0
    assert page.locator("mjx-container").count() > 40


@needs_site
def test_search_finds_a_loss(page):
    page.goto((HTML / "search.html").as_uri() + "?q=focal")
    page.wait_for_selector("ul.search li a[href*='04_loss_functions']", timeout=30_000)  # the list is filled bit by bit
