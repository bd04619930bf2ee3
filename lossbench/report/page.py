"""From parts, sections and blocks to one HTML text; figures and tables are numbered and written as files."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from lossbench.report import figures, tables
from lossbench.report.blocks import Block, Part, Section
from lossbench.report.figures import Figure
from lossbench.report.tables import Table


def render(title: str, subtitle: str, answer: str, top: Part, folder: Path) -> str:
    """The whole page.

    Args:
        answer: the one paragraph that is read first.
        top: all parts; its own sections come before them.
        folder: its `figures/` and `tables/` get the files.
    """
    from jinja2 import Environment

    here = resources.files("lossbench.report")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["capitalize_first"] = lambda text: text[:1].upper() + text[1:]
    template = environment.from_string((here / "template.html").read_text(encoding="utf-8"))
    return template.render(
        title=title,
        subtitle=subtitle,
        answer=answer,
        top=_Writer(folder).part(top, 2),
        css=(here / "style.css").read_text(encoding="utf-8"),
    )


def blocks_of(part: Part) -> Iterator[Block]:
    """All blocks in reading order."""
    for section in part.sections:
        yield from (*section.blocks, *section.more)
    for inner in part.parts:
        yield from blocks_of(inner)


class _Writer:
    """Turn blocks into what the template needs, counting figures and tables as they come."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.figures, self.tables = itertools.count(1), itertools.count(1)

    def part(self, part: Part, level: int) -> dict[str, Any]:
        """A part whose heading is of this level; without a heading its sections take that level."""
        below = level + 1 if part.title else level
        return {
            "slug": part.slug,
            "title": part.title,
            "note": part.note,
            "folded": part.folded,
            "level": level,
            "sections": [self.section(section, below) for section in part.sections],
            "parts": [self.part(inner, below) for inner in part.parts],
        }

    def section(self, section: Section, level: int) -> dict[str, Any]:
        return {
            "slug": section.slug,
            "title": section.title,
            "level": level,
            "blocks": self.blocks(section.blocks),
            "more": self.blocks(section.more),
            "fold": section.fold,
        }

    def blocks(self, blocks: Sequence[Block]) -> list[dict[str, Any]]:
        return [self.block(block) for block in blocks]

    def block(self, block: Block) -> dict[str, Any]:
        if isinstance(block, Figure):
            wide = block.width > figures.PANEL_WIDTH + 0.2
            return {
                "kind": block.kind,
                "name": block.name,
                "number": next(self.figures),
                "caption": block.caption,
                "panels": figures.draw(block, self.folder / "figures"),
                "large": wide and len(block.panels) == 1,
                "least": round(block.width * SMALLEST) if wide else 0,
                "most": round(block.width * LARGEST),
            }
        if isinstance(block, Table):
            tables.save(block, self.folder / "tables")
            return {"kind": block.kind, "name": block.name, "number": next(self.tables), **_rows(block)}
        return {"kind": block.kind, **vars(block)}


# Pixels an inch of a wide figure: fewer are not readable, so a narrow screen scrolls; more only make it loud.
SMALLEST, LARGEST = 72, 108
MANY_COLUMNS = 7


def _rows(table: Table) -> dict[str, Any]:
    grouped = table.shown.columns[0] == tables.GROUP
    rows = [row if grouped else ["", *row] for row in table.shown.astype(str).to_numpy().tolist()]
    heads = list(table.shown.columns[1:] if grouped else table.shown.columns)
    words = [head in tables.WORDS for head in heads]
    return {"title": table.title, "heads": heads, "rows": rows, "words": words, "wide": len(heads) > MANY_COLUMNS}
