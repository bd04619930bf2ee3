"""Draw a figure once: for the page, panel by panel, and for its files."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from markupsafe import escape
from matplotlib.figure import Figure as Canvas

from lossbench.files import replacing
from lossbench.plots.style import FIGURE_FONT, GREY, INK

PANEL_WIDTH = 3.85  # inches: 370 pixels, the width of a phone, so that text keeps its size there


@dataclass(frozen=True)
class Panel:
    """One set of axes: `draw(ax=...)` fills it, `alt` says in words what it shows."""

    draw: Callable[..., Any]
    alt: str


@dataclass(frozen=True)
class Figure:
    """Panels side by side, with one caption; `name` is the name of its files."""

    name: str
    caption: str
    panels: list[Panel]
    height: float = 2.6
    width: float = PANEL_WIDTH


# No date in any file: equal runs give equal bytes.
METADATA: dict[str, Any] = {"png": None, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


def draw(figure: Figure, folder: Path, kinds: Sequence[str] = tuple(METADATA)) -> list[str]:
    """Write the figure's files, and return one inline SVG a panel in the page's own text and grid colours."""
    canvas = _canvas(figure)
    for kind in kinds:  # black on white
        with replacing(folder / f"{figure.name}.{kind}") as temporary, _fonts():
            canvas.savefig(temporary, format=kind, metadata=METADATA[kind], facecolor="white", dpi=160)
    svg = (folder / f"{figure.name}.svg").read_text(encoding="utf-8")
    return [_inline(_cut(svg, figure, i), f"{figure.name}-{i}", panel.alt) for i, panel in enumerate(figure.panels)]


def _fonts() -> Any:
    look: Any = {"font.size": FIGURE_FONT, "legend.fontsize": FIGURE_FONT - 1, "text.color": INK}
    return mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "lossbench", "pdf.fonttype": 42, **look})


def _canvas(figure: Figure) -> Any:
    # A Figure of its own, not pyplot's: a report changes nothing in the caller's session.
    with _fonts():
        count = len(figure.panels)
        canvas = Canvas(figsize=(figure.width * count, figure.height), layout="constrained")
        # Each panel is laid out in a column of its own, so that the page can cut there.
        columns = canvas.subfigures(1, count, squeeze=False)[0]
        for i, (column, panel) in enumerate(zip(columns, figure.panels, strict=True)):
            column.set_gid(f"panel{i}")
            column.set_facecolor("none")
            panel.draw(ax=column.subplots())
        # Lay out once; every file format would do it again.
        canvas.draw_without_rendering()
        canvas.set_layout_engine("none")
    return canvas


def _cut(svg: str, figure: Figure, i: int) -> str:
    """One panel out of the whole picture: its group, what all panels define, and its part of the plane."""
    if len(figure.panels) == 1:
        return svg
    starts = [svg.index(f'<g id="panel{j}">') for j in range(len(figure.panels))]
    # The groups of the panels stand one behind the other; behind the last come the figure's own end and definitions.
    end = starts[i + 1] if i + 1 < len(starts) else _closing(svg, starts[-1])
    rest = svg[_closing(svg, starts[-1]) :]
    width, height = 72 * figure.width, 72 * figure.height
    box = f'viewBox="{i * width:g} 0 {width:g} {height:g}"'
    return re.sub(r'viewBox="[^"]+"', box, svg[: starts[0]], count=1) + svg[starts[i] : end] + rest


def _closing(svg: str, start: int) -> int:
    """Where the group that opens at `start` has ended."""
    depth = 0
    for tag in re.finditer(r"</g>|<g\b[^>]*>", svg[start:]):
        depth += -1 if tag[0] == "</g>" else not tag[0].endswith("/>")
        if depth == 0:
            return start + tag.end()
    raise ValueError("a group of the picture is not closed")


def _inline(svg: str, name: str, alt: str) -> str:
    """Fit a matplotlib SVG into a page: no prologue, unique ids, page colours and fonts, a text for all."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="patch_1">.*?</g>', "", svg, count=1, flags=re.DOTALL)  # the white of the file
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", svg))
    svg = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", svg)
    svg = re.sub(r"(url\(#|href=\"#)", rf"\1{name}-", svg)
    svg = svg.replace(INK, "currentColor").replace(GREY, "var(--grey)")
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]+"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]+"', r"\1", svg))
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"', 1)
