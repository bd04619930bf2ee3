"""The explorer without a kernel: in an exported notebook, on the site, alone on a page, and as a still picture."""

from __future__ import annotations

import base64
import html
import io
import json
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lossbench.explorer.comparison import PRESETS, Comparison
from lossbench.explorer.measure import ACROSS, UP, Surface, pull_on_batch, train_on_moons
from lossbench.explorer.setup import (
    CLASSES,
    TAUGHT,
    everything,
    opening,
    points_key,
    state_of,
    surface,
    write_side,
)
from lossbench.losses.curves import Array, Curves, Side, crossings, curves, larger_throughout, side
from lossbench.plots.style import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, SKY, VERMILLION, settle

CROSSED = {"loss": "loss", "slope_z": "pull on the logit"}
TITLES = {
    "loss": "L: the loss",
    "slope_z": "dL/dz: pull on the logit",
    "slope_p": "dL/dp: slope in p",
    "curvature_z": "d²L/dz²: curvature in z",
    "curvature_p": "d²L/dp²: curvature in p",
    "p": "p: probability of the target",
}
COVERAGE = {"loss": 0.96, "slope_z": 0.98, "slope_p": 0.7, "curvature_p": 0.6, "curvature_z": 0.98}
LABELS = {"p": "p, probability of the target", "z": "z, logit of the target (others 0)"}
LOOKS: tuple[dict[str, Any], ...] = (
    {"color": BLUE, "lw": 2.0},
    {"color": VERMILLION, "lw": 2.0, "ls": (0, (5, 1.8))},
    {"color": GREEN, "lw": 1.4, "ls": (0, (1, 1.4))},
    {"color": PURPLE, "lw": 1.2, "ls": (0, (6, 1.6, 1, 1.6))},
    {"color": ORANGE, "lw": 1.2, "ls": (0, (2.5, 1.5))},
    {"color": SKY, "lw": 1.2, "ls": (0, (8, 1.6, 1, 1.6, 1, 1.6))},
    {"color": GREY, "lw": 1.2, "ls": (0, (10, 3))},
)
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>The explorer: two losses, side by side</title>
<style>:root {{ color-scheme: light dark }} body {{ margin: 8px 14px; background: Canvas; color: CanvasText }}</style>
</head><body>{body}</body></html>
"""


@dataclass(frozen=True)
class InPage:
    """A comparison for the page to draw by itself, and the losses on its menus; a notebook shows it as living HTML."""

    comparison: Comparison
    preset: str = ""
    losses: tuple[str, ...] = TAUGHT

    def to_html(self) -> str:
        """A block with its own script and tables; safe to repeat on a page."""
        return _block(everything(self.losses), self.comparison, self.preset, draw(self.comparison).to_html())

    def _repr_html_(self) -> str:
        return self.to_html()


@dataclass(frozen=True)
class Still:
    """One comparison, drawn once; a notebook shows it with its description."""

    comparison: Comparison
    png: bytes
    look: str = ""

    @property
    def description(self) -> str:
        """What the picture shows, in words: its alternative text."""
        shown = self.comparison
        words = "; ".join(sentence(shown, quantity) for quantity in CROSSED)
        return f"Left, solid: {shown.left.label}. Right, dashed: {shown.right.label}. {words[:1].upper()}{words[1:]}."

    def to_html(self) -> str:
        """A figure that carries its picture inside, with alternative text and a caption."""
        words = html.escape(self.description, quote=True)
        look = f"<i>{html.escape(self.look)}</i> " if self.look else ""
        data = base64.b64encode(self.png).decode("ascii")
        image = f'<img alt="{words}" src="data:image/png;base64,{data}" style="max-width: 100%; height: auto">'
        return f'<figure style="margin: 0">{image}<figcaption>{look}{words}</figcaption></figure>'

    def _repr_html_(self) -> str:
        return self.to_html()


def explore_in_page(
    left: Side | str = "focal",
    right: Side | str = "cross_entropy",
    num_classes: int = 10,
    *,
    preset: str = "",
    losses: Sequence[str] = TAUGHT,
) -> InPage:
    """Compare two losses in the page itself: every panel, without a kernel and without a network.

    Args:
        left, right: `side(...)` or the name of a loss.
        num_classes: 2, 10 or 100, for which the page carries tables.
        preset: a name in `PRESETS`, in place of the two sides.
        losses: what the menus offer, some 200 kB a loss; those of the papers unless said. What is shown is added.

    Raises: ValueError for a loss on embeddings, another number of classes, or a parameter the page has no control for.
    """
    if preset:
        comparison = PRESETS[preset].comparison
        return InPage(comparison, preset, _menu(losses, comparison))
    sides = [side(one) if isinstance(one, str) else one for one in (left, right)]
    if num_classes not in CLASSES:
        raise ValueError(f"a page without a kernel knows {', '.join(map(str, CLASSES))} classes, got {num_classes!r}")
    for one in sides:
        if write_side(one)["fixed"]["key"]:
            raise ValueError(f"{one!r}: a page without a kernel has no tables for it; `explore` has")
    comparison = Comparison(sides[0], sides[1], num_classes=num_classes)
    return InPage(comparison, losses=_menu(losses, comparison))


def _menu(losses: Sequence[str], comparison: Comparison) -> tuple[str, ...]:
    names = [side(name).loss for name in losses]  # refuses what cannot be drawn
    return tuple(dict.fromkeys([*names, *(shown.loss for shown in comparison.sides)]))


def write_page(path: Path | str, preset: str = "", losses: Sequence[str] = TAUGHT) -> Path:
    """Write `explore_in_page` alone on a page, to be projected or sent; it needs no network. Returns its path."""
    path = Path(path)
    path.write_text(PAGE.format(body=explore_in_page(preset=preset, losses=losses).to_html()), encoding="utf-8")
    return path


def fallback(comparison: Comparison, preset: str) -> str:
    """What an exported page shows in a widget's place: the same two losses, moving, or a still picture."""
    setup = opening(comparison)
    names = {shown.loss for shown in comparison.sides}
    setup |= {
        "losses": {name: entry for name, entry in setup["losses"].items() if name in names},
        "presets": [one for one in setup["presets"] if one["name"] == preset],
        "classes": [comparison.num_classes],
        "noises": [comparison.noise],
        "seeds": [comparison.seed],
    }
    setup |= _surfaces_of(comparison)
    return _block(setup, comparison, preset, draw(comparison).to_html(), stands_in=True)


def draw(comparison: Comparison, look: str = "") -> Still:
    """Draw a comparison once; trains both networks on the moons.

    Raises: ValueError when a loss cannot have this number of classes.
    """
    sides = comparison.sides[: len(LOOKS)]
    drawn = [curves(one, axis=comparison.axis, num_classes=comparison.num_classes) for one in sides]
    figure = Figure(figsize=(7.8, 7.2), dpi=180, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(3, 3)
    third = "slope_p" if comparison.axis == "p" else "p"
    for ax, quantity in zip(axes.flat, ("loss", "slope_z", f"curvature_{comparison.curvature}", third), strict=False):
        _draw_panel(ax, comparison, drawn, quantity)
    _draw_batch(axes[1, 1], comparison)
    for ax, name in zip(axes[2, :2], ("left", "right"), strict=True):
        _draw_moons(ax, name, train_on_moons(getattr(comparison, name), noise=comparison.noise, seed=comparison.seed))
    for ax in axes[1:, 2]:
        ax.set_axis_off()
    names = ("left: ", "right: ", *[""] * len(LOOKS))
    for one, style, name in zip(sides, LOOKS, names, strict=False):
        axes[1, 2].plot([], [], label=textwrap.fill(name + one.label, 28), **style)
    axes[1, 2].plot([], [], "o", mfc="none", mec=INK, label="left and right cross")
    axes[1, 2].legend(loc="center left", frameon=False, fontsize=7.5, handlelength=3.4)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return Still(comparison, buffer.getvalue(), look)


def sentence(comparison: Comparison, quantity: str) -> str:
    """Say where a quantity of the two sides crosses, or which one is larger throughout."""
    axis, classes = comparison.axis, comparison.num_classes
    found = crossings(comparison.left, comparison.right, quantity, axis=axis, num_classes=classes)
    if found:
        places = (
            f"{one.larger_after} is larger from {axis} = {0.0 if abs(one.at) < 5e-5 else one.at:.4g}" for one in found
        )
        return f"{CROSSED[quantity]}: {', then '.join(places)}"
    left, right = (curves(one, axis=axis, num_classes=classes) for one in (comparison.left, comparison.right))
    verdict = larger_throughout(left, right, quantity)
    words = {"same": "the two are equal", "mixed": "no crossing"}
    return f"{CROSSED[quantity]}: {words.get(verdict, f'{verdict} is larger throughout')}"


def _block(setup: dict[str, Any], comparison: Comparison, preset: str, still: str, *, stands_in: bool = False) -> str:
    name = f"lossbench-{uuid4().hex[:12]}"
    here = files("lossbench.explorer")
    script, css = (here.joinpath(f"explorer.{kind}").read_text(encoding="utf-8") for kind in ("js", "css"))
    arguments = [name, setup, state_of(comparison, preset), stands_in]
    data = json.dumps(arguments, separators=(",", ":"), ensure_ascii=False).replace("</", "<\\/")
    holder = f'<div id="{name}" class="lossbench-in-page"></div><div class="lossbench-still">{still}</div>'
    return f'<div><style>{css}</style>{holder}<script type="module">{script}\nstart(...{data});</script></div>'


def _surfaces_of(comparison: Comparison) -> dict[str, Any]:
    """The two networks of the first view, in the form of `everything`."""
    surfaces, points = [], {}
    for shown in (comparison.left, comparison.right):
        trained = surface(shown, comparison.noise, comparison.seed)
        points = trained.pop("points")
        surfaces.append(trained | {"side": write_side(shown), "noise": comparison.noise, "seed": comparison.seed})
    return {"surfaces": surfaces, "points": {points_key(comparison.noise, comparison.seed): points}}


def _draw_panel(ax: Any, comparison: Comparison, drawn: list[Curves], quantity: str) -> None:
    axis, log = comparison.axis, comparison.scale == "log" and quantity != "p"
    for one, style in list(zip(drawn, LOOKS, strict=False))[::-1]:
        values = getattr(one, quantity)
        ax.plot(getattr(one, axis), np.abs(values) if log else values, **style)
    pair: Array = np.concatenate([getattr(one, quantity) for one in drawn[:2]])
    tail = (1 - COVERAGE.get(quantity, 1.0)) / 2 if axis == "p" else 0.0
    low, high = np.quantile(pair[np.isfinite(pair)], (tail, 1 - tail))
    if log:
        top = np.abs(pair[np.isfinite(pair)]).max()
        ax.set(yscale="log", ylim=(max(np.abs(pair[pair != 0]).min(), top * 1e-6), 2 * top))
    else:
        ax.axhline(0, color=GREY, lw=0.6)
        room = 0.06 * (max(high, 0) - min(low, 0)) or 1.0
        ax.set_ylim(min(low, 0) - room, max(high, 0) + room)
    if axis == "p":
        ax.axvline(1 / comparison.num_classes, color=GREY, lw=0.8, ls=":")
    if quantity in CROSSED:
        found = crossings(comparison.left, comparison.right, quantity, axis=axis, num_classes=comparison.num_classes)
        heights = [abs(one.value) if log else one.value for one in found]
        ax.plot([one.at for one in found], heights, "o", ms=6, mfc="none", mec=INK)
    bars = "|" if log else ""
    symbol, _, words = TITLES[quantity].partition(": ")
    _settle(ax, f"{bars}{symbol}{bars}: {words}", LABELS[axis])


def _draw_batch(ax: Any, comparison: Comparison) -> None:
    for one, style, marker in ((comparison.right, LOOKS[1], "x"), (comparison.left, LOOKS[0], "o")):
        try:
            pull = pull_on_batch(one)
        except ValueError:
            continue
        ax.plot(pull.p, pull.size, marker, ms=3, mfc="none", mew=0.8, color=style["color"])
    ax.set_yscale("log")
    _settle(ax, "|dL/dz|: pull of 128 real images", "softmax p of the image's target")


def _draw_moons(ax: Any, name: str, trained: Surface) -> None:
    title = f"two moons, {name}"
    if trained.p is None:
        ax.text(0.5, 0.5, "not for two classes", ha="center", color=INK, transform=ax.transAxes)
    else:
        extent = (*ACROSS, *UP)
        ax.imshow(trained.p, extent=extent, origin="lower", cmap="RdYlBu_r", vmin=0, vmax=1, alpha=0.7, aspect="auto")
        if trained.p.min() < 0.5 < trained.p.max():
            ax.contour(trained.p, levels=[0.1, 0.5, 0.9], extent=extent, colors=INK, linewidths=[0.6, 1.6, 0.6])
        title += f", {trained.accuracy:.1%} right"
    _settle(ax, title, "first coordinate (up: second)")


def _settle(ax: Any, title: str, x: str) -> None:
    settle(ax, title, x)
    ax.title.set(fontsize=8, fontweight="bold")
    ax.xaxis.label.set_fontsize(7.5)
    ax.tick_params(labelsize=7)
