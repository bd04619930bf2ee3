"""The critical-difference diagram."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lossbench.plots.style import GREY, INK, axes, fold, titles_of
from lossbench.stats.ranks import rank_losses

if TYPE_CHECKING:
    import pandas as pd


def critical_difference(runs: pd.DataFrame, ax: Any = None, metric: str = "test_accuracy") -> Any:
    """Draw mean ranks of the losses, 1 is best; a bar joins losses that Nemenyi's test cannot tell apart.

    The title gives Friedman's p and the number of blocks. Raises ValueError where `stats.rank_losses` does.
    """
    import scikit_posthocs

    ax = axes(ax)
    found = rank_losses(runs, metric)
    titles = titles_of(runs)
    short = {label: fold(titles[label], 30) for label in found.ranks.index}
    scikit_posthocs.critical_difference_diagram(
        found.ranks.rename(short),
        found.pairwise.rename(index=short, columns=short),
        ax=ax,
        label_props={"fontsize": 8.5},
        crossbar_props={"color": INK, "linewidth": 2.5},
        marker_props={"s": 14},
        elbow_props={"linewidth": 0.7},
        color_palette=dict.fromkeys(short.values(), INK),
    )
    ax.tick_params(color=GREY, labelcolor=INK, labelsize=8)
    for spine in ax.spines.values():
        spine.set_color(GREY)
    ax.set_title(
        f"mean rank over {found.blocks} blocks; Friedman p = {found.p:.2g}; "
        f"critical difference {found.critical_difference:.2f}",
        fontsize=8.5,
        color=INK,
        pad=18,
    )
    return ax
