"""The page about studies in which every loss was tuned with the same budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from lossbench import plots, stats
from lossbench.claims.wording import number
from lossbench.files import write_text
from lossbench.plots.style import title_of
from lossbench.records.archive import AllTables
from lossbench.records.declaration import TunedDeclaration, finals_table, trials_table, widened_table
from lossbench.report import matrix, page
from lossbench.report.drawing import PANEL_WIDTH, Figure, Panel
from lossbench.report.tables import Table
from lossbench.report.text import say
from lossbench.stats.tuning import judge_finals, tuning_table

NAME = "tuned.html"


def run_ids(plans: Sequence[TunedDeclaration]) -> set[str]:
    """Every run of these studies."""
    trials = set[str]().union(*(plan.trial_ids for plan in plans))
    groups = [plan.winners for plan in plans]
    groups += [condition["winners"] for plan in plans for condition in plan.conditions]
    return trials | {final for winners in groups for row in winners for final in row["finals"]}


def build(
    plans: Sequence[TunedDeclaration], tables: AllTables, folder: Path, kinds: Sequence[str], claims: dict[str, Any]
) -> Path:
    """Write `tuned.html`, its figures and tables, with these claims if there are any, and return its path."""
    settings = matrix.settings_of(plans, tables.runs, tables.history)
    contents = {
        "settings": [answer(f"tuned-answer-{i}", setting) for i, setting in enumerate(settings, start=1)],
        "studies": [study(f"tuned-{i}", plan, tables.runs) for i, plan in enumerate(plans, start=1)],
        "claims": claims,
    }
    return write_text(folder / NAME, page.render(contents, folder, kinds, "tuned.html"))


def answer(slug: str, setting: matrix.TunedSetting) -> dict[str, Any]:
    """What the template shows of all plans of one setting together: loss by question, and what tuning left."""
    cells, fates, judged = matrix.cells(setting), matrix.fates(setting), setting.judged()
    words = list(judged[judged["question"] == setting.base]["verdict"])
    known = [word for word in (*stats.VERDICTS, stats.NOT_LEARNED) if word in words or word == "better"]
    left = stats.before_and_after(setting.trials, setting.finals, margin=setting.plans[0].margin)
    return {
        "name": setting.name,
        "setting": setting,
        "words": words,
        "tally": [f"{words.count(word)} {word}" for word in known],
        "reached": setting.reached(),
        "cells": Table(f"{slug}-questions", say("table_tuned_questions"), judged, cells, tuple(map(str, cells))),
        "fates": Table(f"{slug}-fates", say("table_tuned_fates"), left, fates, tuple(map(str, fates))[:-1]),
        "counts": [f"{count} {fate}" for fate, count in left["fate"].value_counts().items()],
    }


def study(slug: str, plan: TunedDeclaration, runs: pd.DataFrame) -> dict[str, Any]:
    """What the template shows of one tuned study."""
    trials, finals, widened = (table(runs, plan) for table in (trials_table, finals_table, widened_table))
    setting = plan.setting
    judged = judge_finals(finals, margin=plan.margin) if matrix.is_whole(plan.winners, finals) else pd.DataFrame()
    whole = len(trials) == len(plan.runs)
    factors = {loss: value for loss, value in plan.space["lr_factor"].items() if value != 1}
    shown = {
        "slug": slug,
        "name": f"{setting['dataset']}, {setting['model']}, {setting['optimizer']}",
        "plan": plan,
        "trials_done": len(trials),
        "finals_done": len(finals),
        "finals_planned": sum(len(row["finals"]) for row in plan.winners),
        "diverged": int((trials["status"] != "finished").sum() + (finals["status"] != "finished").sum()),
        "factors": [f"{number(value, 2)} for {title_of(loss, loss)}" for loss, value in factors.items()],
        "own": list(_own_ranges(plan)),
        "notes": [_note(row) for row in plan.winners if row["ends"]],
        "images": _images(trials),
        "widened": [f"{count} beyond {end}" for end, count in Counter(widened.get("end", ())).items()],
        "last": int(stats.is_last_best(trials).sum()),
        "last_finals": int(stats.is_last_best(finals).sum()),
        "hours": number(sum(table["seconds"].sum() for table in (trials, widened, finals)) / 3600, 1),
        "table": _differences_table(slug, judged) if len(judged) else None,
        "differences": _differences(slug, finals, judged) if len(judged) else None,
        "best": _best(slug, trials) if whole else None,
        "conditions": [*_conditions(slug, plan, runs)],
    }
    if whole:
        table = tuning_table(trials, finals)
        shown |= {"rates": _rates(slug, trials), "gains": _gains(slug, table)}
        shown["ranks"] = _ranks(slug, table) if table["rank_after"].notna().any() else None
    return shown


def _conditions(slug: str, plan: TunedDeclaration, runs: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The winners under other conditions, as far as all their runs are there."""
    for i, condition in enumerate(plan.conditions, start=1):
        finals = finals_table(runs, plan, condition)
        name = matrix.name_condition(condition["changes"])
        planned = sum(len(row["finals"]) for row in condition["winners"])
        if len(finals) < planned:
            yield {"name": name, "time": condition["time"], "done": len(finals), "planned": planned, "table": None}
            continue
        judged = judge_finals(finals, margin=plan.margin)
        own = finals[finals["loss"] == "cross_entropy"]["test_accuracy"]
        yield {
            "name": name,
            "time": condition["time"],
            "accuracy": float(own.mean()),
            "figure": _differences(f"{slug}-condition-{i}", finals, judged),
            "table": _differences_table(f"{slug}-condition-{i}", judged),
        }


def _own_ranges(plan: TunedDeclaration) -> list[str]:
    return [
        f"{title_of(loss, loss)} {name} {low:g} to {high:g}" + (" (logarithm)" if scale == "log" else "")
        for loss, ranges in plan.space["own"].items()
        for name, (low, high, scale) in ranges.items()
    ]


def _note(winner: dict[str, Any]) -> str:
    ends = " and ".join(winner["ends"]).replace("_", " ")
    return f"{title_of(winner['loss'], winner['label'])}, study {winner['study'] + 1}: {ends}"


def _images(trials: pd.DataFrame) -> str:
    if trials.empty:
        return "no run yet"
    first = trials.iloc[0]
    return f"{int(first['train_images']):,} training and {int(first['test_images']):,} test images"


def _differences_table(slug: str, judged: pd.DataFrame) -> Table:
    shown = pd.DataFrame(
        {
            "loss": [title_of(loss, loss) for loss in judged["loss"]],
            "difference": [number(100 * x, 2, sign=True) for x in judged["mean"]],
            "95 % interval": [
                f"[{number(100 * low, 2, sign=True)}, {number(100 * high, 2, sign=True)}]"
                for low, high in zip(judged["low"], judged["high"], strict=True)
            ],
            "pairs": judged["n"].astype(str),
            "studies": judged["draws"].astype(str),
            "p": [number(x, 3) for x in judged["p_holm"]],
            "word": judged["verdict"],
        }
    )
    return Table(f"{slug}-differences", say("table_tuned_differences"), judged, shown)


def _gains(slug: str, table: pd.DataFrame) -> Table:
    def percent(values: pd.Series) -> list[str]:
        return [number(100 * x, 2) if x == x else "" for x in values]

    def rank(values: pd.Series) -> list[str]:
        return [f"{x:g}" if x == x else "" for x in values]

    shown = pd.DataFrame(
        {
            "loss": [title_of(loss, loss) for loss in table["loss"]],
            "default": percent(table["default"]),
            "best of all": percent(table["tuned"]),
            "gain": [number(100 * x, 2, sign=True) for x in table["gain"]],
            "trials to pass": [
                "" if loss == "cross_entropy" else "never" if pd.isna(n) else str(n)
                for loss, n in zip(table["loss"], table["passes"], strict=True)
            ],
            "test, default": percent(table["before"].astype(float)),
            "test, tuned": percent(table["after"].astype(float)),
            "rank, default": rank(table["rank_before"].astype(float)),
            "rank, tuned": rank(table["rank_after"].astype(float)),
        }
    )
    return Table(f"{slug}-gains", say("table_tuned_gains"), table, shown)


def _differences(slug: str, finals: pd.DataFrame, judged: pd.DataFrame) -> Figure:
    listed = "; ".join(
        f"{title_of(row['loss'], row['loss'])} {number(100 * row['mean'], 2, sign=True)}, {row['verdict']}"
        for row in judged.to_dict("records")
    )
    panel = Panel(partial(plots.tuned_differences, finals, judged), f"Tuned losses minus cross-entropy: {listed}.")
    height = 1.7 + 0.4 * len(judged)
    return Figure(f"{slug}-differences", say("figure_tuned_differences"), [panel], height, PANEL_WIDTH + 2)


def _best(slug: str, trials: pd.DataFrame) -> Figure:
    curves = {loss: stats.best_of(scores) for loss, scores in stats.trial_scores(trials).items()}
    listed = "; ".join(
        f"{title_of(loss, loss)} {number(100 * line[0], 1)} to {number(100 * line[-1], 1)}"
        for loss, line in curves.items()
    )
    panel = Panel(partial(plots.best_of_trials, trials), f"Expected best validation accuracy by trials: {listed}.")
    return Figure(f"{slug}-best-of-n", say("figure_best_of"), [panel], 4.4, PANEL_WIDTH + 2)


def _rates(slug: str, trials: pd.DataFrame) -> Figure:
    best = trials.loc[trials.groupby("loss")["val_accuracy"].idxmax()]
    pairs = zip(map(str, best["loss"]), best["lr"], strict=True)
    listed = "; ".join(f"{title_of(loss, loss)} at {rate:g}" for loss, rate in pairs)
    panel = Panel(partial(plots.accuracy_by_rate, trials), f"Validation accuracy by learning rate; best: {listed}.")
    return Figure(f"{slug}-rates", say("figure_rates"), [panel], 4.4, PANEL_WIDTH + 2)


def _ranks(slug: str, table: pd.DataFrame) -> Figure:
    listed = "; ".join(
        f"{title_of(row['loss'], row['loss'])} {row['rank_before']:g} to {row['rank_after']:g}"
        for row in table.to_dict("records")
    )
    panel = Panel(partial(plots.ranks_before_and_after, table), f"Ranks before and after tuning: {listed}.")
    return Figure(f"{slug}-rank-change", say("figure_tuned_ranks"), [panel], 1.8 + 0.22 * len(table), PANEL_WIDTH + 0.6)
