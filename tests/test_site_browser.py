"""The built site in a real browser, from the disk: on a phone, without errors, without another host."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

HTML = Path(__file__).parents[1] / "docs" / "_build" / "html"
PAGES = sorted(path.relative_to(HTML) for path in HTML.rglob("*.html"))
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PHONE = {"width": 375, "height": 740}

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not PAGES, reason="no site is built: make site"),
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e .[test]")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser):
    """A page of phone width that remembers errors and requests."""
    opened = browser.new_page(viewport=PHONE)
    opened.errors, opened.requested = [], []
    opened.on("console", lambda message: message.type == "error" and opened.errors.append(message.text))
    opened.on("pageerror", lambda error: opened.errors.append(str(error)))
    opened.on("request", lambda request: opened.requested.append(request.url))
    yield opened
    opened.close()


@pytest.mark.parametrize("name", PAGES, ids=str)
def test_a_page_opens_on_a_phone_without_errors_or_another_host(page, name):
    page.goto((HTML / name).as_uri(), wait_until="load")
    page.wait_for_timeout(300)
    assert page.errors == []
    assert [url for url in page.requested if not url.startswith(("file:", "data:", "blob:"))] == []
    if name.name != "report_page.html":  # a table of its own, with a width of its own
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_formulas_are_drawn_without_a_network(page):
    page.goto((HTML / "losses.html").as_uri())
    page.wait_for_selector("mjx-container svg", timeout=30_000)
    assert page.locator("mjx-merror").count() == 0
    assert page.locator("mjx-container").count() > 40


def test_search_finds_a_loss(page):
    page.goto((HTML / "search.html").as_uri() + "?q=focal")
    page.wait_for_selector("ul.search li", timeout=30_000)
    assert "04_loss_functions" in page.locator("ul.search").inner_html()
