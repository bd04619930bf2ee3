"""From numbers, tables and figures to one HTML text; figures and tables are numbered and written as files."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lossbench.report import drawing, tables
from lossbench.report.drawing import Figure
from lossbench.report.tables import Table
from lossbench.report.text import environment, source

# Pixels an inch of a wide figure: fewer are not readable, so a narrow screen scrolls; more only make it loud.
SMALLEST, LARGEST = 72, 108
MANY_COLUMNS = 7


def render(contents: dict[str, Any], folder: Path, kinds: Sequence[str], template: str = "template.html") -> str:
    """The whole page; `figures/` and `tables/` in `folder` get what the template shows, in the order of the page."""
    figure_numbers, table_numbers = itertools.count(1), itertools.count(1)

    def show(block: Figure | Table) -> dict[str, Any]:
        if isinstance(block, Figure):
            return {"number": next(figure_numbers), **_figure(block, folder / "figures", kinds)}
        tables.save(block, folder / "tables")
        return {"number": next(table_numbers), **_table(block)}

    files = {"show": show, "css": source("style.css"), "kinds": kinds}
    return str(environment().get_template(template).render(**contents, **files))


def figures_of(contents: Any) -> Iterator[Figure]:
    """All figures in what a template is given."""
    if isinstance(contents, Figure):
        yield contents
    elif isinstance(contents, dict | list | tuple):
        for part in contents.values() if isinstance(contents, dict) else contents:
            yield from figures_of(part)


def _figure(figure: Figure, folder: Path, kinds: Sequence[str]) -> dict[str, Any]:
    wide = figure.width > drawing.PANEL_WIDTH + 0.2
    return {
        "name": figure.name,
        "caption": figure.caption,
        "panels": drawing.draw(figure, folder, kinds),
        "large": wide and len(figure.panels) == 1,
        "least": round(figure.width * SMALLEST) if wide else 0,
        "most": round(figure.width * LARGEST),
    }


def _table(table: Table) -> dict[str, Any]:
    grouped = table.shown.columns[0] == tables.GROUP
    rows = [row if grouped else ["", *row] for row in table.shown.astype(str).to_numpy().tolist()]
    heads = list(table.shown.columns[1:] if grouped else table.shown.columns)
    words = [head in (*tables.WORDS, *table.text) for head in heads]
    wide = len(heads) > MANY_COLUMNS
    return {"name": table.name, "title": table.title, "heads": heads, "rows": rows, "words": words, "wide": wide}
