"""Each loss minus cross-entropy in several settings at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lossbench.plots.intervals import difference_label, draw_margin, name_rows, outcome_of
from lossbench.plots.style import FIGURE_FONT, GREY, axes, legend, settle, styles_of, titles_of
from lossbench.stats.paired import LEAST_PAIRS, VERDICTS, compare

if TYPE_CHECKING:
    import pandas as pd

    from lossbench.stats.grouping import Setting

DIFFERENT = tuple(word for word in VERDICTS if word.endswith(("better", "worse")))
WORD_COLOURS = dict(zip(VERDICTS, ("#0072b2", "#7fb3d5", "#b9b9b9", "#ececea", "#f2a97a", "#d55e00"), strict=True))


def differences_by_setting(
    settings: Sequence[Setting],
    ax: Any = None,
    metric: str = "test_accuracy",
    title: str = "",
    names: Sequence[str] | None = None,
    *,
    tuned: Sequence[str] = (),
) -> Any:
    """Draw a row a setting and a mark a loss: its mean difference to cross-entropy and the 95 % t interval.

    A filled mark differs from cross-entropy, an open one does not or is undecided (`stats.compare`, corrected for the
    losses of its setting). The band holds what is too small to matter; n at the right counts the pairs of a mark.

    Args:
        settings: of one probability function, such as `stats.settings_with` gives them.
        names: of the rows; the settings' own by default.
        tuned: fields that each loss may have its own value of, such as `("lr",)`.

    Raises: ValueError when there is no setting, or not one name a setting.
    """
    import pandas as pd

    names = [setting.name for setting in settings] if names is None else names
    if not settings or len(names) != len(settings):
        raise ValueError(f"{len(names)} names do not fit {len(settings)} settings; give one each, of one or more")
    ax = axes(ax)
    tables = [compare(setting.runs, metric, tuned=tuned) for setting in settings]
    whole = pd.concat([table.assign(row=row) for row, table in enumerate(tables)])
    styles, titles, scale = styles_of(whole), titles_of(whole), outcome_of(metric).scale
    draw_margin(ax, scale * float(whole["margin"].max()))
    for place, (label, style) in enumerate(styles.items()):
        rows = whole[whole["label"] == label]
        draw_marks(ax, rows, rows["row"] + 0.7 * ((place + 0.5) / len(styles) - 0.5), style, titles[label], scale)
    name_rows(ax, names, [_pairs(table) for table in tables])
    legend(ax, len(styles), "below")
    return settle(ax, title, difference_label(metric), pad=14)


def draw_marks(ax: Any, rows: pd.DataFrame, at: Any, style: Any, name: str, scale: float) -> None:
    """A mark and its interval a row, filled where its `verdict` says that there is a difference."""
    mean, low, high = (scale * rows[column].to_numpy(dtype=float) for column in ("mean", "low", "high"))
    at, known = np.asarray(at), rows["n"].to_numpy() >= LEAST_PAIRS
    differs = rows["verdict"].isin(DIFFERENT).to_numpy() if "verdict" in rows else np.ones(len(rows), dtype=bool)
    ax.hlines(at[known], low[known], high[known], color=style.colour, linewidth=1.4)
    look = {"color": style.colour, "markersize": 4.4, "linestyle": "none", "marker": style.marker}
    ax.plot(mean, at, **look, markerfacecolor="white", label="_")
    ax.plot(np.where(differs, mean, np.nan), at, **look, label="_")
    ax.plot([], [], **look, label=name)


def _pairs(table: pd.DataFrame) -> str:
    counts = sorted(set(table["n"]))
    text = "n=" + "–".join(f"{n}" for n in dict.fromkeys((counts[0], counts[-1])))
    return text + (f", {lost} div." if (lost := int(table["diverged"].max())) else "")


def verdicts(table: pd.DataFrame, ax: Any = None, title: str = "") -> Any:
    """Draw how often each word of `stats.compare` was said of each loss: a bar a loss, a piece a word.

    Args:
        table: rows of `stats.compare`, of any number of settings; what is the same function is left out.
    """
    ax = axes(ax)
    judged = table[table["verdict"].isin(VERDICTS)]
    counts = judged.groupby(["loss", "verdict"]).size().unstack(fill_value=0).reindex(columns=VERDICTS, fill_value=0)
    weights = np.arange(len(VERDICTS), 0, -1)
    counts = counts.iloc[np.argsort(-(counts.to_numpy() @ weights) / counts.sum(axis=1).to_numpy(), kind="stable")]
    left = np.zeros(len(counts))
    for word in VERDICTS:
        width = counts[word].to_numpy()
        look = {"color": WORD_COLOURS[word], "edgecolor": GREY, "linewidth": 0.4, "label": word}
        if width.any():
            pieces = ax.barh(range(len(counts)), width, left=left, **look)
            ink = "white" if word in ("better", "worse") else "#141414"
            ax.bar_label(pieces, [n or "" for n in width], label_type="center", fontsize=FIGURE_FONT - 1.5, color=ink)
        left = left + width
    titles = titles_of(judged.assign(label=judged["loss"]))
    name_rows(ax, [titles[loss] for loss in counts.index], [])
    ax.grid(visible=False)
    place = {"loc": "lower left", "bbox_to_anchor": (-0.3, 1), "ncols": 3}
    ax.legend(**place, frameon=False, fontsize=FIGURE_FONT - 1, handlelength=1, columnspacing=1)
    return settle(ax, title, "comparisons with cross-entropy")
