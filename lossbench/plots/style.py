"""One place for how a loss and a probability function look.

Colour tells the loss (Okabe and Ito's palette, safe for colour-blind readers), line style and marker tell it again in
grey, and variants of one loss are lighter and darker shades. Cross-entropy, the reference, has the colour of the text,
so that it stays readable on a dark page.
"""

from __future__ import annotations

import itertools
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt
from cycler import cycler
from matplotlib.transforms import ScaledTranslation

from lossbench.losses import LOSSES
from lossbench.losses.probabilities import PROBABILITIES

INK = "#1b1c1e"
GREY = "#8a8d91"
FIGURE_FONT = 8.5

ORANGE, SKY, GREEN, YELLOW = "#e69f00", "#56b4e9", "#009e73", "#f0e442"
BLUE, VERMILLION, PURPLE = "#0072b2", "#d55e00", "#cc79a7"

# The names that a loss's `colour` may be, where it is defined.
PALETTE = {
    "ink": INK,
    "orange": ORANGE,
    "sky": SKY,
    "green": GREEN,
    "yellow": YELLOW,
    "blue": BLUE,
    "vermillion": VERMILLION,
    "purple": PURPLE,
}
OTHER_COLOURS = (BLUE, ORANGE, PURPLE, YELLOW)
LINES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.3)), (0, (6, 2, 1, 2)), (0, (2.5, 1.2)))
LINES += ((0, (8, 2, 1, 2, 1, 2)), (0, (10, 3)))
MARKERS = "osD^vPX"
# Of the variants of a loss: shares of white, or of ink below 0; more of either would vanish on a light or a dark page.
SHADES = (0.0, -0.35, 0.3, -0.2, 0.15, -0.5)
INSIDE = 6  # names that find room inside a frame


class Style(NamedTuple):
    """How one loss is drawn: `colour`, `line` (a matplotlib line style) and `marker`."""

    colour: str
    line: Any
    marker: str


def loss_styles(names: Iterable[tuple[str, str]]) -> dict[str, Style]:
    """Give each (loss, label) pair its style; the same pairs always get the same styles.

    >>> loss_styles([("cross_entropy", "cross entropy")])["cross entropy"].line
    '-'
    """
    own = loss_colours()
    rank = {loss: index for index, loss in enumerate(own)}
    pairs = sorted(set(names), key=lambda pair: (rank.get(pair[0], len(rank)), pair))
    others = sorted({loss for loss, _ in pairs} - own.keys())
    fallback = {loss: OTHER_COLOURS[i % len(OTHER_COLOURS)] for i, loss in enumerate(others)}
    styles: dict[str, Style] = {}
    variants: Counter[str] = Counter()
    for i, (loss, label) in enumerate(pairs):
        shade = SHADES[variants[loss] % len(SHADES)]
        variants[loss] += 1
        colour = _mixed(own.get(loss) or fallback[loss], "#ffffff" if shade > 0 else INK, abs(shade))
        styles[label] = Style(colour, LINES[i % len(LINES)], MARKERS[i % len(MARKERS)])
    return styles


def loss_colours() -> dict[str, str]:
    """The losses that say their colour, as `#rrggbb`, in the order in which they are taught."""
    return {name: PALETTE.get(entry.colour, entry.colour) for name, entry in LOSSES.items() if entry.colour}


def marker_of(probability: str) -> str:
    """The marker of a probability function's points."""
    return (PROBABILITIES[probability].marker if probability in PROBABILITIES else "") or "o"


def _mixed(colour: str, other: str, share: float) -> str:
    channels = zip(bytes.fromhex(colour[1:]), bytes.fromhex(other[1:]), strict=True)
    return "#" + "".join(f"{round(a * (1 - share) + b * share):02x}" for a, b in channels)


def styles_of(table: Any) -> dict[str, Style]:
    """The styles of the losses in a table with columns `loss` and `label`, in taught order."""
    return loss_styles(zip(table["loss"], table["label"], strict=True))


def in_order(table: Any) -> Any:
    """Sort a table of runs by probability function, loss, label and seed, in the order they are taught."""
    losses, probabilities = list(loss_colours()), list(PROBABILITIES)
    ranked = table.assign(
        _loss=table["loss"].map(lambda name: losses.index(name) if name in losses else len(losses)),
        _probability=table["probability"].map(
            lambda name: probabilities.index(name) if name in probabilities else len(probabilities)
        ),
    )
    ranked = ranked.sort_values(["_probability", "probability", "_loss", "label", "seed"], kind="stable")
    return ranked.drop(columns=["_loss", "_probability"]).reset_index(drop=True)


def title_of(loss: str, label: str) -> str:
    """A label as readers see it: the loss's title in place of its name, no underscores."""
    title = LOSSES[loss].title if loss in LOSSES else loss
    name, *params = label.split(" ")
    return " ".join([title if name == loss else name, *params]).replace("_", " ")


def titles_of(table: Any) -> dict[str, str]:
    """The title of each label in a table with columns `loss` and `label`."""
    pairs = table[["loss", "label"]].drop_duplicates().itertuples(index=False)
    return {label: title_of(str(loss), str(label)) for loss, label in pairs}


def settle(ax: Any, title: str = "", x: str = "", y: str = "", pad: float = 6) -> Any:
    """Set the title at the left, `pad` points above, the axis labels, thin spines and a faint grid; return `ax`."""
    letters = max(46, round(11 * ax.get_window_extent().width / ax.figure.dpi))  # 11 fit into an inch
    ax.set_title(fold(title, letters), loc="left", fontsize=FIGURE_FONT + 0.5, color=INK, fontweight="bold", pad=pad)
    ax.set_xlabel(x, fontsize=FIGURE_FONT, color=INK)
    ax.set_ylabel(y, fontsize=FIGURE_FONT, color=INK)
    ax.tick_params(labelsize=FIGURE_FONT - 0.5, color=GREY, labelcolor=INK, length=3, width=0.6)
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set(color=GREY, linewidth=0.6)
    ax.set_facecolor("none")
    ax.set_axisbelow(True)
    return ax


def fold(label: object, width: int = 26) -> str:
    """A long label over several lines.

    >>> fold("focal γ=2")
    'focal γ=2'
    """
    return textwrap.fill(str(label), width, break_long_words=False, break_on_hyphens=False)


def legend(ax: Any, entries: int, place: str = "best") -> Any:
    """Name the lines: inside the frame if they are few and not asked to go below, where they cover nothing."""
    look = {"frameon": False, "fontsize": FIGURE_FONT - 1, "handlelength": 3.2}
    if entries <= INSIDE and place != "below":
        return ax.legend(loc=place, **look)
    handles, labels = ax.get_legend_handles_labels()
    names = [fold(name, 24) for name in labels]
    under = ax.transAxes + ScaledTranslation(0, -0.55, ax.figure.dpi_scale_trans)  # inches: one gap at any height
    return ax.legend(handles, names, loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=under, ncols=2, **look)


def name_ends(ax: Any, ends: Mapping[str, tuple[float, float]], styles: Mapping[str, Style]) -> None:
    """Write each line's name in its colour beside its last point, moved up or down so that names do not overlap.

    Args:
        ends: name -> last point, in data coordinates; the limits of the vertical axis must be final.
        styles: name -> style.
    """
    if not ends:
        return
    bottom, top = ax.get_ylim()
    height = ax.get_window_extent().height * 72 / ax.figure.dpi  # points, before the layout makes room
    gap = (top - bottom) * 1.35 * FIGURE_FONT / height
    right = max(x for x, _ in ends.values())
    order = sorted(ends, key=lambda name: ends[name][1])
    texts = [fold(name, 24) for name in order]  # a long name in one line would leave no room for the lines
    room = [gap * (text.count("\n") + 1) for text in texts]
    between = [(below + above) / 2 for below, above in itertools.pairwise(room)]
    heights: list[float] = []
    for name in order:
        heights.append(max(ends[name][1], heights[-1] + between[len(heights) - 1]) if heights else ends[name][1])
    above = max(0.0, heights[-1] - max(top, ends[order[-1]][1]) + gap / 4)
    for i in reversed(range(len(heights))):  # what was pushed above the frame comes down again
        limit = heights[i + 1] - between[i] if i + 1 < len(heights) else heights[-1] - above
        heights[i] = min(heights[i], limit)
    for name, text, y in zip(order, texts, heights, strict=True):
        line = {"color": INK, "linewidth": 0.4, "arrowstyle": "-", "shrinkA": 1, "shrinkB": 1, "relpos": (0, 0.5)}
        place = {"xytext": (1.03, y), "textcoords": ax.get_yaxis_transform(), "va": "center", "annotation_clip": False}
        look = {"fontsize": FIGURE_FONT - 1, "color": styles[name].colour}
        ax.annotate(text, (right, ends[name][1]), arrowprops=line, **place, **look)


def axes(ax: Any = None) -> Any:
    """The axes given, or new ones in a new pyplot figure."""
    if ax is not None:
        return ax
    return plt.subplots(figsize=(5.4, 3.6), layout="constrained")[1]


def use_style() -> None:
    """Give pyplot the colours and fonts of this package, for figures that a notebook draws itself.

    The page is white on purpose: a figure without one is unreadable where the reader's page is dark.
    """
    mpl.rcParams |= {
        "axes.prop_cycle": cycler(color=[BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, INK]),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": GREY,
        "axes.titlesize": FIGURE_FONT + 1,
        "figure.facecolor": "white",
        "font.size": FIGURE_FONT + 0.5,
        "legend.frameon": False,
    }
