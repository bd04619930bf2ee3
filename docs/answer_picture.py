"""The picture of the answer: outcome by condition in small panels, wide for a page and narrow for a telephone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from lossbench.plots.style import BLUE, GREY, INK, VERMILLION
from lossbench.stats import OUTCOMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
PICTURES = {"wide": IMAGES / "answer.png", "narrow": IMAGES / "answer-narrow.png"}
NEUTRAL = "#5b5e62"


class Mark(NamedTuple):
    """How a word is drawn: shape and filling tell it without colour."""

    shape: str
    colour: str
    filled: bool


MARKS = {
    "better": Mark("^", BLUE, True),
    "slightly better": Mark("^", BLUE, False),
    "equivalent": Mark("s", NEUTRAL, True),
    "undecided": Mark("o", NEUTRAL, False),
    "slightly worse": Mark("v", VERMILLION, False),
    "worse": Mark("v", VERMILLION, True),
}


@dataclass(frozen=True)
class Panel:
    """Comparisons of one outcome under one condition: a row of `rows` for each name in its column `title`."""

    title: str
    rows: pd.DataFrame
    metric: str = "test_accuracy"


@dataclass(frozen=True)
class Question:
    """Panels that share their rows, which the last panel sorts, the best first."""

    title: str
    panels: Sequence[Panel]

    @property
    def names(self) -> list[str]:
        best = {}
        for panel in self.panels:  # a later panel has the last word
            sign = 1 if OUTCOMES[panel.metric].higher_is_better else -1
            best |= dict(zip(panel.rows["title"], sign * panel.rows["mean"], strict=True))
        return sorted(best, key=lambda name: -best[name])


@dataclass(frozen=True)
class Layout:
    """Sizes in inches; the font is the same in all layouts, so that a narrow page does not shrink it."""

    columns: int
    width: float
    numbers: float = 0.43  # for the estimate at the right of a panel
    row: float = 0.185
    head: float = 0.54  # titles of question and panels
    foot: float = 0.32  # ticks of the axis, and room below
    top: float = 0.62  # what the marks mean


LAYOUTS = {"wide": Layout(2, 9.8), "narrow": Layout(1, 4.3, top=1.02)}
FONT = 8.6
LETTER = 0.0655  # inches, a little more than letters of this size take on average


def draw(questions: Sequence[Question]) -> None:
    """Write both pictures."""
    import matplotlib.pyplot as plt

    for name, layout in LAYOUTS.items():
        with plt.rc_context({"font.size": FONT, "figure.facecolor": "white", "axes.facecolor": "none"}):
            figure = draw_layout(questions, layout)
            figure.savefig(PICTURES[name], dpi=200, metadata={"Software": None})
            plt.close(figure)


def draw_layout(questions: Sequence[Question], layout: Layout) -> Figure:
    import matplotlib.pyplot as plt

    bands = [questions[i : i + layout.columns] for i in range(0, len(questions), layout.columns)]
    heights = [layout.head + layout.foot + layout.row * max(len(q.names) for q in band) for band in bands]
    figure = plt.figure(figsize=(layout.width, layout.top + sum(heights)))
    explain_marks(figure, layout)
    y = figure.get_figheight() - layout.top
    for band, height in zip(bands, heights, strict=True):
        for column, question in enumerate(band):
            draw_question(figure, question, layout, column * layout.width / layout.columns, y)
        y -= height
    return figure


def draw_question(figure: Figure, question: Question, layout: Layout, left: float, top: float) -> None:
    """Title, then the panels side by side; `left` and `top` in inches."""
    width, height = figure.get_size_inches()
    names = question.names
    figure.text(
        (left + 0.08) / width, (top - 0.13) / height, question.title, fontweight="bold", fontsize=FONT + 0.7, color=INK
    )
    labels = 0.16 + LETTER * max(map(len, names))
    room = layout.width / layout.columns - labels - 0.06
    each = room / len(question.panels)
    tall = layout.row * len(names)
    for i, panel in enumerate(question.panels):
        box = (left + labels + i * each, top - layout.head - tall + 0.1, each - layout.numbers, tall)
        ax = figure.add_axes((box[0] / width, box[1] / height, box[2] / width, box[3] / height))
        draw_panel(ax, panel, names)
        ax.set_yticks(range(len(names)), names if i == 0 else [""] * len(names))


def draw_panel(ax: Axes, panel: Panel, names: Sequence[str]) -> None:
    """Interval, mark and estimate of each row, on a band as wide as the margin."""
    from matplotlib.ticker import MaxNLocator

    outcome = OUTCOMES[panel.metric]
    rows = panel.rows.set_index("title")
    scaled = rows[["mean", "low", "high"]] * outcome.scale
    for place in range(0, len(names), 2):
        ax.axhspan(place - 0.5, place + 0.5, color=GREY, alpha=0.10, linewidth=0)
    margin = (outcome.margin or 0) * outcome.scale
    ax.axvspan(-margin, margin, color=GREY, alpha=0.38, linewidth=0)
    ax.axvline(0, color=INK, linewidth=0.8)
    for place, name in enumerate(names):
        if name not in rows.index:
            continue
        mean, low, high = scaled.loc[name]
        mark = MARKS[rows.loc[name, "verdict"]]
        ax.plot([low, high], [place, place], color=mark.colour, linewidth=1.5, solid_capstyle="butt")
        ax.plot(mean, place, **style(mark))
        estimate = f"{mean:+.1f}" if abs(mean) >= 10 else f"{mean:+.2f}"
        ax.annotate(estimate.replace("-", "−"), (1, place), (27, 0), ("axes fraction", "data"), "offset points",
                    ha="right", va="center", fontsize=FONT - 0.6, color=INK)  # fmt: skip
    low, high = min(scaled["low"].min(), -margin), max(scaled["high"].max(), margin)
    pad = 0.06 * (high - low)
    limits = (low - pad, high + pad)
    ax.set_xlim(*(limits if outcome.higher_is_better else limits[::-1]))
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_title(panel.title, loc="left", fontsize=FONT, color=INK, pad=3)
    ticks = MaxNLocator(3, steps=[1, 2, 5, 10]).tick_values(*limits)
    ax.set_xticks([tick for tick in ticks if limits[0] < tick < limits[1]])
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:+g}".replace("-", "−") if value else "0")
    ax.tick_params(axis="x", labelsize=FONT - 0.8, color=GREY, labelcolor=INK, length=2.5, pad=2)
    ax.tick_params(axis="y", labelsize=FONT, labelcolor=INK, length=0, pad=4)
    for side, spine in ax.spines.items():
        spine.set_visible(side == "bottom")
        spine.set(color=GREY, linewidth=0.6)


def style(mark: Mark) -> dict[str, Any]:
    inside = mark.colour if mark.filled else "white"
    return {
        "marker": mark.shape,
        "markersize": 5.6,
        "color": mark.colour,
        "markerfacecolor": inside,
        "markeredgewidth": 1.2,
    }


def explain_marks(figure: Figure, layout: Layout) -> None:
    """One line that says what is drawn, and the words with their marks."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], linestyle="none", label=word, **style(mark)) for word, mark in MARKS.items()]
    height = figure.get_figheight()
    say = "Difference to cross-entropy in points, 95 % interval;", "to the right is better. Band: too small to matter."
    wide = layout.columns > 1
    head = (" " if wide else "\n").join(say)
    figure.text(0.08 / layout.width, 1 - 0.07 / height, head, fontsize=FONT, color=INK, va="top")
    if not wide:  # a column holds a word and its opposite
        handles = [handles[i] for i in (0, 1, 5, 4, 2, 3)]
    look = {"frameon": False, "fontsize": FONT, "handletextpad": 0.2, "columnspacing": 1.4, "handlelength": 1.4}
    corner = (0.0, 1 - (0.25 if wide else 0.42) / height)
    columns = len(handles) if wide else 3
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=corner, ncols=columns, borderaxespad=0, **look)
