"""A deck of slides for each notebook: its formulas, predictions, results and quiz, without a network."""

from __future__ import annotations

import copy
import re
import shutil
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nbconvert import SlidesExporter
from nbformat.v4 import new_markdown_cell, new_notebook

SKIPPED_TAGS = {"colab", "parameters", "check", "solution", "timing"}
WHOLE = {"Takeaways", "What the evidence does not say", "Quiz"}  # sections that are shown as they are
LEFT_OUT = {"Exercises", "References"}
NOT_PROJECTED = ("[![", "You need", "This is an appendix", "**Notation")
REVEAL = "reveal"  # the folder of reveal.js beside the decks; their theme lies in it, where nbconvert looks
MOST_LINES = 14  # of code that a room can read
STUB = re.compile(r"\.\.\.\s*(#.*)?$")  # what a student shall write
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\([^)]*\)|<a href[^>]*>(.*?)</a>")
TEMPLATE = """
{%- extends "index.html.j2" -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block notebook_css -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}
<script>MathJax = {tex: {inlineMath: [["$", "$"], ["\\\\(", "\\\\)"]]}, options: {enableMenu: false}}</script>
<script src="../_static/mathjax/tex-svg-full.js"></script>
{%- endblock -%}
{%- block data_png scoped -%}
<img alt="{{ output.metadata.alt | escape_html }}" src="data:image/png;base64,{{ output.data['image/png'] }}">
{%- endblock -%}
{%- block footer_js -%}
<script src="{{ resources.reveal.url_prefix }}/dist/reveal.js"></script>
<script>Reveal.initialize({hash: true, slideNumber: "c/t", transition: "none", width: 1100, height: 700, margin: 0.03})
</script>
{%- endblock -%}
"""


def slide(source: str, kind: str) -> Any:
    """A cell of prose as a slide, a subslide, a fragment of the one before, or more of it ("-")."""
    text = LINK.sub(lambda match: match[1] or match[2], source)  # a projector is not clicked
    return new_markdown_cell(text, metadata={"slideshow": {"slide_type": kind}})


def paragraphs(source: str) -> list[str]:
    """The blocks of a cell of prose; a folded answer stays with its question."""
    folds = re.split(r"(<details>.*?</details>)", source, flags=re.DOTALL)
    return [
        block
        for part in folds
        for block in ([part] if part.startswith("<details>") else re.split(r"\n\s*\n", part.strip()))
        if block.strip()
    ]


def deck(notebook: Any, number: str) -> Any:
    """The cells of a notebook that a lecturer projects, tagged for nbconvert's slides."""
    first, *rest = notebook.cells
    opening = [block for block in paragraphs(first.source) if not block.startswith(NOT_PROJECTED)]
    opening[0] = re.sub("^# ", f"# {number} · ", opening[0])
    cells = [slide("\n\n".join(opening), "slide")]
    section = ""
    for cell in rest:
        bare = cells[-1].source.startswith("##")  # a heading with nothing below it yet
        tags = set(cell.metadata.get("tags", []))
        if cell.cell_type == "code":
            if not tags & SKIPPED_TAGS and section not in LEFT_OUT:
                cells += results(cell, tags, "-" if bare else "subslide")
            continue
        for i, block in enumerate(paragraphs(cell.source)):
            if heading := re.match(r"##+ (.+)", block):
                section = heading[1]
                cells += [] if section in LEFT_OUT else [slide(block, "slide")]
            elif section not in LEFT_OUT and (section in WHOLE or block.startswith("$$")):
                cells.append(slide(block, "-"))
            elif "**Predict" in block and section not in LEFT_OUT:
                cells.append(slide(block, "-" if cells[-1].source.startswith("##") else "subslide"))
            elif "answer" in tags and i == 0:
                cells.append(slide(f"> {block}", "fragment"))
    return new_notebook(cells=cells, metadata=notebook.metadata)


def results(cell: Any, tags: set[str], kind: str) -> Iterator[Any]:
    """A cell of code as a slide: what it shows, and its code where that is the lesson or the result is text."""
    cell = copy.deepcopy(cell)
    cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    rich = [output for output in cell.outputs if {"image/png", "text/html"} & set(output.get("data", {}))]
    cell.outputs = rich or cell.outputs  # beside a picture, its axes are no news
    for output in rich:
        output.metadata["alt"] = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
    defines = re.search(r"^(def|class) ", cell.source, re.MULTILINE) and "hide-input" not in tags
    short = len(cell.source.splitlines()) <= MOST_LINES
    if cell.outputs or (defines and short and not STUB.search(cell.source)):
        shown = short and (defines or (not rich and "hide-input" not in tags))
        cell.metadata["transient"] = {"remove_source": not shown}
        cell.metadata["slideshow"] = {"slide_type": kind}
        yield cell


def find_reveal() -> Path:
    """The folder of reveal.js, inside the package that carries it."""
    found = find_spec("sphinx_revealjs")
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError("reveal.js is not installed: pip install -e .[site]")
    return Path(found.submodule_search_locations[0]) / "_static" / "revealjs" / "dist"


def write_slides(executed: Mapping[str, Any], folder: Path) -> None:
    """Write a deck for each notebook with a quiz, and reveal.js beside them.

    Args:
        executed: file name -> notebook with its results.
    """
    (folder / REVEAL / "dist" / "theme").mkdir(parents=True)
    for name in ("reveal.js", "reveal.css"):
        shutil.copy(find_reveal() / name, folder / REVEAL / "dist")
    shutil.copy(Path(__file__).with_name("slides.css"), folder / REVEAL / "dist" / "theme")
    exporter = SlidesExporter(
        raw_template=TEMPLATE,
        reveal_url_prefix=REVEAL,
        reveal_theme="slides",
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )
    for name, notebook in executed.items():
        if any("## Quiz" in cell.source for cell in notebook.cells):
            cells = deck(notebook, name.partition("_")[0])
            page, _ = exporter.from_notebook_node(cells, {"metadata": {"name": Path(name).stem}})
            (folder / name).with_suffix(".html").write_text(page, encoding="utf-8")
