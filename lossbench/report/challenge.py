"""The page of a verdict on a challenger, made from `verdict.json` alone."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from lossbench import plots
from lossbench.claims.wording import number
from lossbench.files import write_text
from lossbench.plots.style import title_of
from lossbench.report import page
from lossbench.report.drawing import PANEL_WIDTH, Figure, Panel
from lossbench.report.tables import Table
from lossbench.report.text import say
from lossbench.stats.paired import OUTCOMES

NAME = "verdict.html"


def build(verdict: Mapping[str, Any]) -> Path:
    """Write `verdict.html`, its figures and tables into the verdict's folder, and return its path."""
    folder = Path(verdict["folder"])
    shown: dict[str, Any] = {"v": verdict, "loss": title_of(verdict["loss"], verdict["loss"]), "lines": _lines(verdict)}
    if "judged" in verdict:
        judged = pd.DataFrame(verdict["judged"])
        shown |= {"outcomes": _outcomes(judged), "picture": _picture(judged), "winners": _winners(verdict)}
        shown["standing"] = _standing(verdict) if verdict["rank"]["table"] else None
    return write_text(folder / NAME, page.render(shown, folder, ["png", "svg"], "challenge.html"))


def _lines(verdict: Mapping[str, Any]) -> int:
    return sum(text.count("\n") for text in verdict["code"].values())


SHORT = {"test_accuracy": "accuracy", "test_macro_f1": "macro F1", "test_ece": "calibration error", "test_nll": "NLL"}


def _name(row: Mapping[str, Any]) -> str:
    outcome = str(row["outcome"])
    return f"{row['condition']}: {SHORT[outcome]}" + ("" if OUTCOMES[outcome].higher_is_better else " (less is better)")


def _outcomes(judged: pd.DataFrame) -> Table:
    rows = judged.to_dict("records")
    scales = [OUTCOMES[row["outcome"]].scale for row in rows]
    cells = [(row, scale, 2 if scale == 100 else 3) for row, scale in zip(rows, scales, strict=True)]
    shown = pd.DataFrame(
        {
            "condition": judged["condition"],
            "outcome": judged["outcome"].map(SHORT),
            "own": [number(scale * row["own"], digits) for row, scale, digits in cells],
            "CE": [number(scale * row["cross_entropy"], digits) for row, scale, digits in cells],
            "difference [95 %]": [
                "{} [{}, {}]".format(*(number(scale * row[key], digits, sign=True) for key in ("mean", "low", "high")))
                for row, scale, digits in cells
            ],
            "p": [number(row["p_holm"], 3) for row in rows],
            "word": judged["word"],
        }
    )
    return Table("challenge-outcomes", say("table_challenge_outcomes"), judged, shown)


def _picture(judged: pd.DataFrame) -> Figure:
    rows = judged[judged["outcome"].map(lambda name: OUTCOMES[name].unit == "points")]
    entries: list[dict[str, Any]] = [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]
    names = [_name(row) for row in entries]
    listed = "; ".join(
        f"{name} {number(100 * row['mean'], 2, sign=True)}, {row['word']}"
        for name, row in zip(names, entries, strict=True)
    )
    draw = partial(plots.intervals, rows.assign(name=names, note=rows["word"]), margin=float(rows["margin"].iloc[0]))
    panel = Panel(draw, f"The challenger minus cross-entropy: {listed}.")
    return Figure("challenge-differences", say("figure_challenge"), [panel], 1.5 + 0.4 * len(rows), PANEL_WIDTH + 2)


def _standing(verdict: Mapping[str, Any]) -> Figure:
    table = pd.DataFrame(verdict["rank"]["table"])
    names = [title_of(loss, loss) for loss in table["loss"]]
    marked = table["loss"] == verdict["loss"]
    notes = ["the challenger" if mark else "" for mark in marked]
    listed = ", ".join(
        f"{name} {number(100 * mean, 2, sign=True)}" for name, mean in zip(names, table["mean"], strict=True)
    )
    margin = float(verdict["protocol"]["margin"])
    draw = partial(plots.intervals, table.assign(name=names, note=notes, marked=marked), margin=margin)
    panel = Panel(draw, f"The challenger among the committed losses: {listed}.")
    return Figure("challenge-standing", say("figure_standing"), [panel], 1.5 + 0.27 * len(table), PANEL_WIDTH + 2)


def _winners(verdict: Mapping[str, Any]) -> Table:
    runs = pd.DataFrame(verdict["runs"])
    finals = runs[runs["role"] == "clean"]
    values = finals.groupby(["loss", "study"], as_index=False, sort=False).agg(
        {"loss_params": "first", "lr": "first", "weight_decay": "first", "test_accuracy": "mean", "seed": list}
    )
    shown = pd.DataFrame(
        {
            "loss": [title_of(loss, loss) for loss in values["loss"]],
            "study": (values["study"] + 1).astype(str),
            "parameters": [_parameters(given) for given in values["loss_params"]],
            "lr": [f"{x:g}" for x in values["lr"]],
            "weight decay": [f"{x:g}" for x in values["weight_decay"]],
            "test accuracy": [number(100 * x, 2) for x in values["test_accuracy"]],
        }
    )
    return Table("challenge-winners", say("table_challenge_winners"), values, shown)


def _parameters(given: object) -> str:
    if isinstance(given, Mapping):
        return ", ".join(
            f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}" for key, value in given.items()
        )
    return str(given or "").replace("=", " ").replace(";", ", ")
