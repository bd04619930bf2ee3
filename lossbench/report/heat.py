"""Heat maps: losses by probability functions in one setting, losses by settings in a study."""

from __future__ import annotations

from functools import partial
from typing import Any

import pandas as pd

from lossbench import plots, stats
from lossbench.claims.wording import number
from lossbench.plots.style import fold
from lossbench.report.evidence import Evidence, Study
from lossbench.report.figures import PANEL_WIDTH, Figure, Panel

BEYOND = ("above", "below")
LETTERS = 44  # of a setting's name in one line


def by_loss_and_probability(evidence: Evidence) -> Figure | None:
    """Accuracy, and its difference to cross-entropy with plain softmax, of every loss under every function."""
    functions = [name for name, _ in evidence.by_probability()]
    if len(functions) < 2 or evidence.runs["label"].nunique() < 2:
        return None
    table = 100 * stats.summarise(evidence.runs).pivot_table(
        index="label", columns="probability", values="mean", sort=False, dropna=False
    ).reindex(list(dict.fromkeys(evidence.runs["label"])))
    table = table[[name for name in functions if name in table]]
    corner = _corner(evidence)
    apart = 100 * corner.pivot_table(index="label", columns="probability", values="mean", sort=False).reindex(
        index=table.index, columns=table.columns
    )
    n = int(corner["n"].min()) if len(corner) else 0
    panels = [Panel(partial(_map, table, "Test accuracy, %", None), _alt("Mean test accuracy in percent", table))]
    if apart.notna().any(axis=None):
        panels.append(
            Panel(
                partial(_map, apart, "Minus cross-entropy, softmax", 0.0),
                _alt("Difference in points", apart, sign=True),
            )
        )
    caption = (
        "Loss by probability function. Left: mean test accuracy over seeds, in percent, darker is higher. Right: its "
        "difference to cross-entropy with plain softmax, paired by seed, in percentage points, blue and + above, red "
        f"and − below; at least {n} pairs a cell. Means only: the intervals are in the figures and tables above."
    )
    height = 1.2 + 0.3 * len(table)
    return Figure(f"{evidence.slug}-heat", "Loss by probability function", caption, panels, height)


def _corner(evidence: Evidence) -> pd.DataFrame:
    """Mean difference of every cell to cross-entropy under the first function: `label probability mean n`."""
    done = stats.finished(evidence.runs).assign(probability=stats.probability_labels)
    first = evidence.by_probability()[0][0]
    base = done[(done["loss"] == "cross_entropy") & (done["probability"] == first)]
    pairs = done.merge(base[["seed", "test_accuracy"]], on="seed", suffixes=("", "_base"))
    pairs["difference"] = pairs["test_accuracy"].astype(float) - pairs["test_accuracy_base"].astype(float)
    cells = pairs.groupby(["label", "probability"], sort=False)["difference"].agg(["mean", "size"]).reset_index()
    return cells.rename(columns={"size": "n"})


def _map(table: pd.DataFrame, title: str, centre: float | None, ax: Any) -> Any:
    return plots.heat_map(table, ax, title, centre)


def _alt(what: str, table: pd.DataFrame, sign: bool = False) -> str:
    rows = [
        f"{label}: " + ", ".join(f"{column} {number(value, 2, sign=sign)}" for column, value in row.items())
        for label, row in table.iterrows()
    ]
    return f"{what}, a row a loss. " + "; ".join(rows) + "."


def differences(study: Study) -> Figure | None:
    """Every loss minus cross-entropy in every setting and under every probability function of a study."""
    rows: dict[str, dict[str, float]] = {}
    marks: dict[str, dict[str, str]] = {}
    several = len({name for one in study.settings for name, _ in one.by_probability()}) > 1
    for one in study.settings:
        for row in one.comparison.to_dict("records") if one.compared else ():
            key = one.setting.name + (f", {row['probability']}" if several else "")
            rows.setdefault(key, {})[row["label"]] = 100 * row["mean"]
            marks.setdefault(key, {})[row["label"]] = "*" if row["verdict"] in BEYOND else ""
    if len(rows) < 2:
        return None
    order = list(dict.fromkeys(plots.in_order(study.runs)["label"]))
    table = pd.DataFrame.from_dict(rows, orient="index")
    table = table[[label for label in order if label in table]]
    signs = pd.DataFrame.from_dict(marks, orient="index").reindex_like(table).fillna("")
    caption = (
        "Test accuracy minus that of cross-entropy under the same seed, mean over seeds, in percentage points: blue "
        "and + above, red and − below, empty where there are no pairs. Bold with * where the mean lies beyond the "
        "noise floor of its setting, a band wide enough for all comparisons of that setting together (Bonferroni, 95 "
        "%). Each row is one setting and is compared within itself; nothing is averaged over rows. Means only: the "
        "intervals are in the tables of the settings."
    )
    draw = partial(_overview, table, signs)
    beyond = int((signs == "*").to_numpy().sum())
    alt = f"{_alt('Difference to cross-entropy in points', table.T, True)} {beyond} cells lie beyond the noise floor."
    lines = max(fold(name, LETTERS).count("\n") + 1 for name in table.index)
    height = 1.6 + (0.16 + 0.13 * lines) * len(table)
    width = max(PANEL_WIDTH + 1, 3.6 + 0.55 * table.shape[1])
    return Figure(f"{study.slug}-differences", "Differences everywhere", caption, [Panel(draw, alt)], height, width)


def _overview(table: pd.DataFrame, marks: pd.DataFrame, ax: Any) -> Any:
    return plots.heat_map(table, ax, "", 0.0, marks=marks, letters=LETTERS)
