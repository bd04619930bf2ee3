"""The page of cards: each loss's facts, how hard it pulls, its code, and what the committed studies found of it."""

from __future__ import annotations

import ast
import html
import inspect
import io
import re
import textwrap
from functools import cache
from typing import Any

import numpy as np

from docs import answer
from lossbench import LOSSES, PROBABILITIES
from lossbench.losses.catalogue import Entry, LossEntry
from lossbench.losses.curves import curves, side
from lossbench.stats.paired import SAME_FUNCTION

ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5})")
WIDE, HIGH = 170, 84  # of a weight curve, in pixels
GRID = np.linspace(0.005, 0.995, 100)
INTRODUCTION = """# Cards: every loss and probability function

What each is, where it comes from, what it equals, and what we found. First
[the map](#the-map-of-losses), then [losses on logits](#losses-on-logits),
[losses on embeddings](#losses-on-embeddings), [probability functions](#probability-functions), and
[what was left out](left-out.md).

The small curve beside a loss says how hard it pulls at the target's logit compared with cross-entropy (the dashed line
at 1), from a target's probability of 0 on the left to 1 on the right; ten classes, the nine others alike.
"""
MAP = """## The map of losses

Lines say where two losses are the same function, tend to each other (→), or differ by a factor or a sum (×, +); every
line is a test of the package. The black posts are cross-entropy and the mean absolute error, which is generalised
cross-entropy at q = 1. A box leads to its card.
"""


def cards_page() -> str:
    """All losses and probability functions, a card each, as Markdown."""
    groups: dict[str, list[Entry]] = {
        "Losses on logits": [entry for entry in LOSSES.values() if entry.takes == "logits"],
        "Losses on embeddings": [entry for entry in LOSSES.values() if entry.takes == "embeddings"],
        "Probability functions": list(PROBABILITIES.values()),
    }
    parts = [INTRODUCTION, MAP, draw_map(narrow=False), draw_map(narrow=True)]
    for title, entries in groups.items():
        parts.append(f"## {title}")
        parts += [card_of(entry) for entry in entries]
    return "\n\n".join(parts) + "\n"


def card_of(entry: Entry) -> str:
    """One card: its title in words, the curve, the facts, what we found, the code."""
    facts = entry.card._repr_markdown_().partition("**: ")[2]
    facts = ARXIV.sub(r"[arXiv:\1](https://arxiv.org/abs/\1)", facts)
    parts = [f'<span id="card-{entry.name}"></span>', f"### {entry.title}", f"`{entry.name}`", facts]
    if isinstance(entry, LossEntry):
        parts.insert(3, weight_curve(entry))
        parts.append(findings(entry.name))
    parts.append(answer.fold("The code", f"```python\n{code_of(entry)}\n```\n"))
    return "\n\n".join(part for part in parts if part)


def weight_curve(entry: LossEntry) -> str:
    """How hard the loss pulls at the target's logit against its probability, cross-entropy's pull being 1, as SVG."""
    if not entry.curve:
        return ""
    curve = curves(side(entry.name), GRID)
    weight = np.abs(curve.slope_z) / (1 - curve.p)
    top = max(1.0, float(np.nanmax(weight))) * 1.05
    x, y = 6 + GRID * (WIDE - 12), HIGH - 16 - weight / top * (HIGH - 26)
    known = np.isfinite(weight)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x[known], y[known], strict=True))
    level = HIGH - 16 - (HIGH - 26) / top
    words = f"pull of {entry.title} compared with cross-entropy: {_read_curve(weight)}"
    return (
        f'<svg class="weight" viewBox="0 0 {WIDE} {HIGH}" width="{WIDE}" height="{HIGH}" role="img" '
        f'aria-label="{html.escape(words)}"><title>{html.escape(words)}</title>'
        f'<path d="M6 4V{HIGH - 16}H{WIDE - 6}" class="frame"/>'
        f'<path d="M6 {level:.1f}H{WIDE - 6}" class="reference"/><polyline points="{points}"/>'
        f'<text x="6" y="{HIGH - 4}">p = 0</text><text x="{WIDE - 6}" y="{HIGH - 4}" text-anchor="end">1</text>'
        f'<text x="{WIDE - 6}" y="10" text-anchor="end">highest {np.nanmax(weight):.2g}</text></svg>'
    )


def _read_curve(weight: np.ndarray) -> str:
    places = [int(np.abs(GRID - p).argmin()) for p in (0.1, 0.5, 0.9)]
    return ", ".join(f"{weight[i]:.2g} at p = {GRID[i]:.1f}" for i in places if np.isfinite(weight[i]))


def code_of(entry: Entry) -> str:
    """The lines of the function, without its decorator and its docstring."""
    source = textwrap.dedent(inspect.getsource(entry.function))
    function = ast.parse(source).body[0]
    assert isinstance(function, ast.FunctionDef)
    lines, body = source.splitlines(), function.body
    start = body[0].end_lineno or 0 if ast.get_docstring(function) else body[0].lineno - 1
    return "\n".join([*lines[function.lineno - 1 : body[0].lineno - 1], *lines[start:]])


@cache
def evidence() -> answer.Evidence:
    return answer.gather()


def findings(name: str) -> str:
    """What `outputs/reference` says of a loss's accuracy: the words of its comparisons, by data set and condition."""
    rows = evidence().accuracy
    rows = rows[(rows["loss"] == name) & (rows["n"] > 0)]
    if name == answer.REFERENCE:
        return "- *What we found*: this is the reference of every comparison."
    if not len(rows):
        return "- *What we found*: nothing yet; no committed study has run it."
    if (rows["verdict"] == SAME_FUNCTION).all():
        return "- *What we found*: nothing to find: it is the same function as cross-entropy."
    rows = rows.sort_values(["dataset", "label_noise", "imbalance"], kind="stable")
    rows = rows.assign(condition=[answer.condition(row) for row in answer.records(rows)])
    lines = []
    for (dataset, condition), part in rows.groupby(["dataset", "condition"], sort=False):
        lines.append([dataset, condition, answer.tally(part), _pairs(part["n"])])
    header = ["data set", "training data", "accuracy against cross-entropy", "pairs of runs each"]
    return f"*What we found*, over all parameters tried:\n\n{answer.markdown(header, lines)}"


def _pairs(n: Any) -> str:
    low, high = int(n.min()), int(n.max())
    return str(low) if low == high else f"{low} to {high}"


def draw_map(*, narrow: bool) -> str:
    """The map as SVG that stands in the page itself, so that its boxes are links."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    from lossbench.plots.losses import loss_map

    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "map of losses"}):
        figure = loss_map(narrow=narrow, link="#card-").figure
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
        plt.close(figure)
    drawing = file.getvalue().partition("<svg")[2]
    kind = "narrow" if narrow else "wide"
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'(id="|url\(#|href="#)(?!card-)', rf"\1{kind}-", drawing)  # two drawings in one page
    drawing = "\n".join(line for line in drawing.splitlines() if line.strip())
    return f'<div class="loss-map {kind}">\n<svg role="img" aria-label="The map of losses"{drawing}\n</div>'
