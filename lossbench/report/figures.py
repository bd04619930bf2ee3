"""Draw a figure once for the page, panel by panel, and once for the files."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from lossbench.files import replacing
from lossbench.plots.style import FIGURE_FONT, GREY, INK

PANEL_WIDTH = 3.85  # inches: 370 pixels, the width of a phone, so that text keeps its size there


@dataclass(frozen=True)
class Panel:
    """One set of axes: `draw(ax)` fills it, `alt` says in words what it shows."""

    draw: Callable[[Any], Any]
    alt: str


@dataclass(frozen=True)
class Figure:
    """Panels side by side, with one caption; `name` is the name of its files."""

    name: str
    title: str
    caption: str
    panels: list[Panel]
    height: float = 2.6
    width: float = PANEL_WIDTH
    kind: ClassVar[str] = "figure"


# No date in any file: equal runs give equal bytes.
METADATA: dict[str, Any] = {"png": None, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


def draw(figure: Figure, folder: Path) -> list[str]:
    """Write the figure's files, and return one inline SVG a panel in the page's own text and grid colours."""
    whole = _canvas(figure, figure.panels)
    save(whole, figure.name, folder)
    single = len(figure.panels) == 1  # drawing takes longer than writing, so one canvas serves both
    canvases = [whole] if single else (_canvas(figure, [panel]) for panel in figure.panels)
    return [
        _inline(_svg(canvas), f"{figure.name}-{place}", panel.alt)
        for place, (canvas, panel) in enumerate(zip(canvases, figure.panels, strict=True))
    ]


def save(canvas: Any, name: str, folder: Path) -> list[Path]:
    """Write `<name>.png`, `.svg` and `.pdf`, black on white."""
    paths = [folder / f"{name}.{kind}" for kind in METADATA]
    for path in paths:
        kind = path.suffix[1:]
        with replacing(path) as temporary, _fonts("path"):
            canvas.savefig(temporary, format=kind, metadata=METADATA[kind], facecolor="white", dpi=200)
    return paths


def _fonts(kind: str) -> Any:
    import matplotlib as mpl

    look: Any = {"font.size": FIGURE_FONT, "legend.fontsize": FIGURE_FONT - 1, "text.color": INK}
    return mpl.rc_context({"svg.fonttype": kind, "svg.hashsalt": "lossbench", "pdf.fonttype": 42, **look})


def _canvas(figure: Figure, panels: list[Panel]) -> Any:
    # A Figure of its own, not pyplot's: a report changes nothing in the caller's session.
    from matplotlib.figure import Figure as Canvas

    with _fonts("none"):
        canvas = Canvas(figsize=(figure.width * len(panels), figure.height), layout="constrained")
        for ax, panel in zip(canvas.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            panel.draw(ax)
        # Lay out once; every file format would do it again.
        canvas.draw_without_rendering()
        canvas.set_layout_engine("none")
    return canvas


def _svg(canvas: Any) -> str:
    buffer = io.StringIO()
    with _fonts("none"):
        canvas.savefig(buffer, format="svg", metadata=METADATA["svg"], transparent=True)
    return buffer.getvalue()


def _inline(svg: str, name: str, alt: str) -> str:
    """Fit a matplotlib SVG into a page: no prologue, unique ids, page colours and fonts, a text for all."""
    from markupsafe import escape

    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", svg))
    svg = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", svg)
    svg = re.sub(r"(url\(#|href=\"#)", rf"\1{name}-", svg)
    svg = svg.replace(INK, "currentColor").replace(GREY, "var(--grey)")
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]+"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]+"', r"\1", svg))
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"', 1)
