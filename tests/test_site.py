"""The site: its link check finds what is broken, and notebooks become pages."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

DOCS = Path(__file__).parents[1] / "docs"


def load_script(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


check_links, build = load_script("check_links"), load_script("build")


def site(folder, body, **files):
    (folder / "index.html").write_text(f'<html><body><h1 id="top">x</h1>{body}</body></html>', encoding="utf-8")
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")
    return check_links.check(folder)


@pytest.mark.parametrize(
    "body",
    [
        '<a href="#top">up</a>',
        '<a href="other.html">page</a>',
        '<a href="other.html#place">place</a>',
        '<a href="https://arxiv.org/abs/1708.02002">paper</a>',
        '<img src="other.html">',
        '<img src="data:image/png;base64,AA==">',
        '<a href="mailto:somebody@example.org">write</a>',
    ],
)
def test_a_sound_link_is_not_reported(tmp_path, body):
    assert site(tmp_path, body, other_html='<p id="place">') == []


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ('<a href="#nowhere">x</a>', "no such anchor"),
        ('<a href="other.html#nowhere">x</a>', "no such anchor"),
        ('<a href="missing.html">x</a>', "missing.html is not there"),
        ('<a href="../outside.html">x</a>', "leads out of the site"),
        ('<img src="missing.png">', "missing.png is not there"),
        ('<script src="https://cdn.example.org/x.js"></script>', "fetches https://cdn.example.org/x.js"),
        ('<link rel="stylesheet" href="//cdn.example.org/x.css">', "fetches //cdn.example.org/x.css"),
        ('<iframe src="http://example.org"></iframe>', "fetches http://example.org"),
    ],
)
def test_what_is_broken_or_fetched_elsewhere_is_reported(tmp_path, body, why):
    (problem,) = site(tmp_path, body, other_html='<p id="place">')
    assert problem.startswith("index.html: ")
    assert why in problem


def test_a_style_that_fetches_a_font_is_reported(tmp_path):
    (problem,) = site(tmp_path, "", style_css="@font-face { src: url('https://fonts.example.org/x.woff2') }")
    assert problem == "style.css: fetches https://fonts.example.org/x.woff2"


def test_a_folder_without_pages_is_reported(tmp_path):
    assert check_links.check(tmp_path) == [f"{tmp_path} holds no page"]


def test_a_notebook_becomes_a_page():
    badge = "[![Open in Colab](https://host/badge.svg)](https://colab/x.ipynb)"
    text = f"# Title\n\n{badge} and the [glossary](../docs/glossary.md), [more](../CONTRIBUTING.md)"
    solution = new_code_cell("1", metadata={"tags": ["solution", "hide-input"]})
    noisy = new_code_cell("2", outputs=[new_output("stream", name="stderr", text="bar")])
    cells = [new_markdown_cell(text), new_code_cell("3", metadata={"tags": ["colab"]}), solution, noisy]
    page = build.adapt(new_notebook(cells=cells), "04")
    title, colab, solution, noisy = page.cells
    assert title.source == (
        "# 04 · Title\n\n[Open in Colab](https://colab/x.ipynb) and the [glossary](../glossary.md), "
        "[more](../contributing.md)"
    )
    assert "remove-cell" in colab.metadata["tags"]
    assert solution.metadata["tags"] == ["solution", "hide-cell"]
    assert noisy.metadata["tags"] == ["remove-stderr"]
    nbformat.validate(page)


def test_an_executed_copy_is_taken_only_while_it_is_of_the_present_source(tmp_path, monkeypatch):
    source, kept = tmp_path / "01_x.ipynb", tmp_path / "out" / "notebooks" / "01_x.ipynb"
    kept.parent.mkdir(parents=True)
    nbformat.write(new_notebook(cells=[new_code_cell("1 + 1")]), source)
    nbformat.write(new_notebook(cells=[new_code_cell("1 + 1", execution_count=7)]), kept)
    made = []
    monkeypatch.setattr("lossbench.notebook.execute", lambda *given: made.append(given) or source)
    assert build.executed(source, tmp_path / "out").cells[0].execution_count == 7
    nbformat.write(new_notebook(cells=[new_code_cell("1 + 2")]), source)
    build.executed(source, tmp_path / "out")
    assert made == [(str(source), {}, tmp_path / "out" / "site")]


def test_the_cards_page_has_every_loss_and_probability_function():
    from lossbench import LOSSES, PROBABILITIES

    headings = {line[4:] for line in build.cards_page().splitlines() if line.startswith("### ")}
    assert headings == {*LOSSES, *PROBABILITIES}


def test_the_glossary_is_in_the_order_of_the_alphabet():
    lines = (DOCS / "glossary.md").read_text(encoding="utf-8").splitlines()
    terms = [line[3:] for line in lines if line.startswith("## ")]
    assert len(terms) > 40
    assert terms == sorted(terms, key=str.lower)


def test_a_notebook_that_names_a_glossary_term_names_one_that_is_there():
    text = (DOCS / "glossary.md").read_text(encoding="utf-8")
    anchors = {line[3:].replace(" ", "-").lower() for line in text.splitlines() if line.startswith("## ")}
    named = {
        (path.name, anchor)
        for path in (DOCS.parent / "notebooks").glob("*.ipynb")
        for anchor in re.findall(r"docs/glossary\.md#([\w-]+)", path.read_text(encoding="utf-8"))
    }
    assert named
    assert {(name, anchor) for name, anchor in named if anchor not in anchors} == set()
