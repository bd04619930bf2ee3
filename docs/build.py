"""Build the site: executed notebooks, cards, glossary, reference and report as static pages that work offline.

python docs/build.py [--output outputs]
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_markdown_cell

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
BUILD = DOCS / "_build"
SOURCE = BUILD / "source"
HTML = BUILD / "html"
MATHJAX = "static/mathjax/es5/tex-svg-full.js"  # inside the package `mathjax` of django-static-mathjax
ANCHOR = re.compile(r'<a id="([\w-]+)"></a>')
PAGE = re.compile(r'href="([\w-]+)\.ipynb')  # a link in HTML, which Sphinx passes on as it is
BADGE = re.compile(r"\[!\[([^\]]*)\]\([^)]*\)\]\(([^)]*)\)")
MOVED = {
    "docs/": "",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "README.md": "index.md",
}
REPORT = """# The report

All that the committed studies say, by `lossbench report --output outputs/reference`.
<a href="report_page.html">Open it alone</a>.

<iframe class="report" src="report_page.html" title="The report"></iframe>
"""
EXPLORER = """# The explorer

Two losses, side by side: every loss, with a slider for every parameter, computed by the package and drawn by this page.
<a href="explorer.html">Open it alone</a>, for a projector. The questions are in
[notebook 05](notebooks/05_explorer.ipynb).

<iframe class="report" src="explorer.html" title="The explorer"></iframe>
"""


def main() -> int:
    """Prepare the pages, run Sphinx with warnings as errors, check the links; 0 when all is well."""
    from sphinx.cmd.build import build_main

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default=ROOT / "outputs", type=Path, help="where executed notebooks are kept")
    output = parser.parse_args().output
    prepare(output)
    options = ["-b", "html", "-q", "-W", "--keep-going", "-d", str(BUILD / "doctrees")]
    failed = build_main([*options, str(SOURCE), str(HTML)])
    if failed:
        return int(failed)
    from check_links import check

    problems = check(HTML)
    say("\n".join(problems) or f"{HTML / 'index.html'}: no broken link, nothing from another host")
    return len(problems) > 0


def prepare(output: Path) -> None:
    """Write everything that Sphinx reads into `_build/source`."""
    from reference import write_reference

    sys.path.append(str(ROOT))  # the pages that docs/ writes are modules of a package in the checkout
    from docs.cards import cards_page
    from docs.handouts import write_handouts
    from docs.slides import write_slides
    from lossbench import archive, explorer, report
    from lossbench.training.machine import usable_cores

    for folder in (SOURCE, HTML, BUILD / "doctrees", BUILD / "report"):
        shutil.rmtree(folder, ignore_errors=True)
    (SOURCE / "notebooks").mkdir(parents=True)
    (SOURCE / "_extra").mkdir()
    shutil.copy(DOCS / "conf.py", SOURCE)
    for page in DOCS.glob("*.md"):
        text = page.read_text(encoding="utf-8").replace("](../notebooks/", "](notebooks/")
        (SOURCE / page.name).write_text(site_links(text, "../"), encoding="utf-8")
    shutil.copytree(DOCS / "_static", SOURCE / "_static")
    for folder in (SOURCE / "images", SOURCE / "_extra" / "images"):  # the second for <picture>, which Sphinx passes on
        shutil.copytree(DOCS / "images", folder)
    (SOURCE / "_static" / "mathjax").mkdir()
    shutil.copy(find_mathjax(), SOURCE / "_static" / "mathjax")
    for name in ("CONTRIBUTING", "CHANGELOG"):
        text = (ROOT / f"{name}.md").read_text(encoding="utf-8")
        (SOURCE / f"{name.lower()}.md").write_text(site_links(text, ""), encoding="utf-8")
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    with ThreadPoolExecutor(usable_cores()) as pool:
        results = dict(zip(notebooks, pool.map(partial(executed, output=output), notebooks), strict=True))
    by_name = {path.name: notebook for path, notebook in results.items()}
    sources = {path.name: nbformat.read(path, as_version=4) for path in notebooks}
    write_handouts(sources, by_name, SOURCE / "_extra" / "downloads")
    write_slides(by_name, SOURCE / "_extra" / "slides")
    for source, notebook in results.items():
        nbformat.write(adapt(notebook, source.name.partition("_")[0]), SOURCE / "notebooks" / source.name)
    (SOURCE / "losses.md").write_text(cards_page(), encoding="utf-8")
    say("building the report of the committed studies")
    page = report.build(archive.reference_folder(), BUILD / "report")
    shutil.copy(page, SOURCE / "_extra" / "report_page.html")
    (SOURCE / "report.md").write_text(REPORT, encoding="utf-8")
    say("tabulating every loss for the explorer")
    explorer.write_page(SOURCE / "_extra" / "explorer.html")
    (SOURCE / "two_losses.md").write_text(EXPLORER, encoding="utf-8")
    say("writing the reference of the package")
    (SOURCE / "reference.md").write_text(write_reference(SOURCE / "_extra"), encoding="utf-8")


def find_mathjax() -> Path:
    """The one file of MathJax that draws formulas without fetching anything."""
    found = find_spec("mathjax")
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError("MathJax is not installed: pip install -e .[site]")
    return Path(found.submodule_search_locations[0]) / MATHJAX


def executed(source: Path, output: Path) -> Any:
    """The executed copy of a notebook, made now unless there is one of the present source.

    `make notebooks` leaves copies in `<output>/test`. One made here goes to `<output>/site`, so that its runs do not
    mix with those of a study.
    """
    from lossbench.studies.notebooks import execute

    written = nbformat.read(source, as_version=4)
    for folder in (output, output / "site", output / "test"):
        kept = folder / "notebooks" / source.name
        if kept.exists() and _code(notebook := nbformat.read(kept, as_version=4)) == _code(written):
            return _with_prose_of(written, notebook)
    say(f"executing {source.name}")
    return _with_prose_of(written, nbformat.read(execute(str(source), {}, output / "site"), as_version=4))


def _own_cells(notebook: Any) -> list[Any]:
    """The cells without the parameters that an execution put in."""
    return [cell for cell in notebook.cells if "injected-parameters" not in cell.metadata.get("tags", [])]


def _code(notebook: Any) -> list[str | None]:
    """What is executed; a place for each cell of prose, which an execution changes: it mends links for its folder."""
    return [cell.source if cell.cell_type == "code" else None for cell in _own_cells(notebook)]


def _with_prose_of(written: Any, notebook: Any) -> Any:
    for cell, original in zip(_own_cells(notebook), written.cells, strict=True):
        if cell.cell_type == "markdown":
            cell.source = original.source
    return notebook


def adapt(notebook: Any, number: str) -> Any:
    """Make a notebook a page: numbered title, badges as words, answers and solutions folded, links to pages."""
    first = notebook.cells[0]
    first.source = re.sub(r"^# (?!\d)", f"# {number} · ", first.source)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if "colab" in tags:
            cell.metadata["tags"] = [*tags, "remove-cell"]
        if "solution" in tags:
            cell.metadata["tags"] = [*(tag for tag in tags if tag != "hide-input"), "hide-cell"]
        for tag in {"check", "solution"} & set(tags):
            prompts = {f"code_prompt_{verb}": f"{verb.title()} the {tag}" for verb in ("show", "hide")}
            cell.metadata["mystnb"] = {**cell.metadata.get("mystnb", {}), **prompts}
        if cell.cell_type == "markdown":
            cell.source = BADGE.sub(r"[\1](\2)", cell.source).replace(") [Open in", ") · [Open in")
            cell.source = ANCHOR.sub(r"(\1)=", cell.source)  # as Sphinx knows them, for the claims' links
            cell.source = PAGE.sub(r'href="\1.html', site_links(cell.source, "../", "../"))
        if cell.source.rstrip().endswith(";"):  # asks for no result, which nbval's way of executing does not hear
            cell.outputs = [o for o in cell.get("outputs", []) if o.output_type != "execute_result"]
        # A terminal's progress and warnings about the machine are no part of the page.
        if any(result.get("name") == "stderr" for result in cell.get("outputs", [])):
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), "remove-stderr"]
    notebook.cells = fold_answers(notebook.cells)
    return notebook


def fold_answers(cells: list[Any]) -> list[Any]:
    """Cells tagged `answer`, with those that follow each other in one fold that a reader opens after predicting."""
    folded: list[Any] = []
    for is_answer, group in groupby(cells, lambda cell: "answer" in cell.metadata.get("tags", [])):
        if is_answer:
            opening = new_markdown_cell("<details class=answer><summary>Show the answer</summary>")
            folded += [opening, *group, new_markdown_cell("</details>")]
        else:
            folded += group
    return folded


def site_links(text: str, root: str, site: str = "") -> str:
    """Links to files of the checkout as links to their pages; `root` and `site` lead from the text to either's top."""
    for before, after in MOVED.items():
        text = text.replace(f"]({root}{before}", f"]({site}{after}")
    return text


def say(text: str) -> None:
    """Tell whoever waits."""
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
