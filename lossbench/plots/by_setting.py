"""Each loss minus cross-entropy in several settings at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lossbench.plots.style import GREY, INK, axes, fold, legend, settle, styles_of
from lossbench.stats.paired import compare

if TYPE_CHECKING:
    from lossbench.stats.grouping import Setting


def differences_by_setting(
    settings: Sequence[Setting],
    ax: Any = None,
    metric: str = "test_accuracy",
    title: str = "",
    names: Sequence[str] | None = None,
) -> Any:
    """Draw a row a setting and a mark a loss: its mean difference to cross-entropy and the 95 % t interval.

    Pairs are formed by seed, in percentage points. The grey band of a row holds such a mean if the loss does not
    matter, judged from the runs of cross-entropy in that setting; n at the right counts the pairs of a mark.

    Args:
        settings: of one probability function, such as `stats.settings_with` gives them.
        names: of the rows; the settings' own by default.

    Raises: ValueError when there is no setting, or not one name a setting.
    """
    import pandas as pd

    names = [one.name for one in settings] if names is None else names
    if not settings or len(names) != len(settings):
        raise ValueError(f"{len(names)} names do not fit {len(settings)} settings; give one each, of one or more")
    ax = axes(ax)
    tables = [compare(one.runs, metric) for one in settings]
    styles = styles_of(pd.concat(tables))
    for row, table in enumerate(tables):
        _band(ax, row, float(table["floor"].max()))
        pairs = sorted(set(table["n"]))
        text = "n=" + "–".join(f"{n}" for n in dict.fromkeys((pairs[0], pairs[-1])))
        text += f", {lost} div." if (lost := int(table["diverged"].max())) else ""
        ax.annotate(text, (1.01, row), xycoords=ax.get_yaxis_transform(), fontsize=7, color=INK, va="center")
    for place, (label, style) in enumerate(styles.items()):
        found = [(row, one) for row, t in enumerate(tables) for one in t[t["label"] == label].to_dict("records")]
        at = np.array([row for row, _ in found]) + 0.7 * ((place + 0.5) / len(styles) - 0.5)
        mean, low, high = (100 * np.array([one[name] for _, one in found]) for name in ("mean", "low", "high"))
        ax.hlines(at, low, high, color=style.colour, linewidth=1.4)
        ax.plot(mean, at, style.marker, color=style.colour, markersize=4.2, label=label)
    ax.axvline(0, color=INK, linewidth=0.8)
    ax.set_yticks(range(len(settings)), [fold(name) for name in names])
    ax.set_ylim(len(settings) - 0.5, -0.5)
    ax.grid(axis="x", color=GREY, alpha=0.25, linewidth=0.6)
    legend(ax, len(styles), "below")
    return settle(ax, title, "minus cross-entropy, percentage points")


def _band(ax: Any, row: int, half: float) -> None:
    if np.isfinite(half):
        ax.barh(row, 200 * half, left=-100 * half, height=0.86, color=GREY, alpha=0.2, linewidth=0)
