"""A study that goes on until each loss is decided: it looks after 5, 10, 20 and 40 pairs, and stops what is decided.

After each look the word of every loss is a function of the records alone, so a study that was killed goes on with the
same decisions, on any number of machines that share the folder.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from lossbench.config import RunConfig
from lossbench.files import write_text
from lossbench.records.declaration import declare
from lossbench.records.record import output_folder
from lossbench.records.tables import load_runs
from lossbench.stats import merge_idle, probability_labels, sequential, settings
from lossbench.stats.paired import COLUMNS, LOOK_LEVEL, LOOKS, OUTCOMES, UNDECIDED
from lossbench.stats.runs import REFERENCE, setting_fields
from lossbench.studies.execute import Summary, run_configs
from lossbench.studies.plans import table

NAME = "decisions.csv"
METRIC = "test_accuracy"


@dataclass(frozen=True)
class Decisions:
    """What a study that went on until each loss was decided has come to.

    `table` is that of `stats.sequential` after the last look that was taken, without rows before the first one.
    """

    table: pd.DataFrame
    summary: Summary

    def __str__(self) -> str:
        outcome = OUTCOMES[METRIC]
        rows = [
            (
                *(str(row[name]) for name in ("setting", "probability", "label")),
                "open" if pd.isna(row["look"]) else f"{row['look']:.0f} pairs",
                str(row["n"]),
                "{:+.2f} [{:+.2f}, {:+.2f}]".format(*(outcome.scale * row[name] for name in ("mean", "low", "high"))),
                str(row["verdict"]),
            )
            for row in self.table.to_dict("records")
        ]
        difference = f"{outcome.unit} [{1 - LOOK_LEVEL:.1%}]"
        headers = ("setting", "probability", "loss", "decided at", "pairs", difference, "word")
        return table(headers, rows) if rows else "no look was taken"


def run_until_decided(
    configs: Sequence[RunConfig],
    output: str | os.PathLike[str] | None = None,
    *,
    margin: float | None = None,
    looks: Sequence[int] | None = None,
    study: str | None = None,
    say: Callable[[str], object] = lambda text: None,
    **how: Any,
) -> Decisions:
    """Run the plan's first seeds, judge each loss by `stats.sequential`, and give more seeds only to what is open.

    Cross-entropy goes on where a loss is open beside it. A loss with a diverged or a failed run, or without runs of
    cross-entropy in its setting, gets no further seeds. `<output>/decisions.csv` holds the decisions after each look.

    Args:
        configs: the plan with all seeds that may be needed; no look is taken beyond them.
        output: folder for results; None takes LOSSBENCH_OUTPUT, else `outputs`.
        margin: smallest difference of accuracy that matters, as a fraction; None takes half a point.
        looks: numbers of pairs; None takes `stats.LOOKS`, for which the levels were chosen.
        study: its name, for the declaration.
        say: called with a line after each look.
        how: engine, workers, device and so on, as `run_configs` takes them.

    Raises: ValueError for a plan that cannot be judged so, and what `run_configs` does; before any run starts.
    """
    looks, margin = list(looks or LOOKS), read_margin(None) if margin is None else margin
    seeds = require_judgeable(configs, looks, margin, how.get("shard"))
    declare(configs, output, margin=margin, looks=looks, study=study)
    comparisons = {config: replace(config, seed=0) for config in configs}
    still_open, decisions, before = set(comparisons.values()), Decisions(_no_rows(), Summary(0)), 0
    planned: list[RunConfig] = []
    for look in (number for number in looks if number <= len(seeds)):
        due = [c for c in comparisons if c.seed in seeds[before:look] and comparisons[c] in still_open]
        planned += due
        total = decisions.summary + run_configs(due, output, **how)
        decisions = replace(decisions, summary=total)
        if not total.complete:
            break
        table, still_open = _judge(planned, comparisons, output_folder(output), margin, looks)
        decisions = Decisions(table, total)
        _write(output_folder(output) / NAME, table)
        decided = int(table["look"].notna().sum())
        say(f"after {look} pairs {decided} of {(table['verdict'] != 'same function').sum()} losses are decided")
        before = look
        if not still_open:
            break
    return decisions


def read_margin(points: float | None) -> float:
    """A margin in points of accuracy as a fraction, by default half a point. ValueError outside 0 to 100."""
    if points is None:
        return float(OUTCOMES[METRIC].margin or 0)
    if not 0 < points < 100:
        raise ValueError(f"margin must lie between 0 and 100 points of accuracy, got {points!r}")
    return points / 100


def require_judgeable(
    configs: Sequence[RunConfig], looks: Sequence[int], margin: float, shard: str | None = None
) -> list[int]:
    """The seeds of a plan, in order. ValueError that says what keeps it from being run until decided."""
    seeds = sorted({config.seed for config in configs})
    if shard is not None:
        raise ValueError(
            f"a study until decided cannot be cut into parts (shard {shard}), because its next runs depend on the "
            "results of all; give the same command without a shard on each machine, and they share the runs"
        )
    if len(seeds) < looks[0]:
        raise ValueError(f"{len(seeds)} seeds are fewer than the first look takes, {looks[0]} pairs; ask for more")
    if not 0 < margin < 1:
        raise ValueError(f"margin={margin!r} must lie between 0 and 1, a fraction of the test images")
    if any(config.selection == "best_test" for config in configs):
        raise ValueError(
            "selection='best_test' chooses the epoch by the test images, so their accuracy decides nothing; use "
            "selection=validation, or a fixed number of seeds"
        )
    losses = {config.loss for config in configs}
    if REFERENCE not in losses or len(losses) == 1:
        raise ValueError(f"losses are decided against {REFERENCE}; the plan has {', '.join(sorted(losses))}")
    return seeds


def _judge(
    planned: Sequence[RunConfig],
    comparisons: dict[RunConfig, RunConfig],
    output: Path,
    margin: float,
    looks: Sequence[int],
) -> tuple[pd.DataFrame, set[RunConfig]]:
    """The decisions so far and the comparisons (configs without their seed) that get more seeds."""
    by_id = {config.run_id: config for config in planned}
    runs = load_runs(output, damaged="skip")
    runs = runs[runs["run_id"].isin(by_id)]
    incomplete = {comparisons[config] for run_id, config in by_id.items() if run_id not in set(runs["run_id"])}
    tables: list[pd.DataFrame] = [_no_rows()]
    still_open: set[RunConfig] = set()
    for setting in settings(merge_idle(runs)):
        table = sequential(setting.runs, METRIC, margin=margin, looks=looks).assign(setting=setting.name)
        tables.append(table)
        names = zip(probability_labels(setting.runs), setting.runs["label"], strict=True)
        members = {key: comparisons[by_id[run]] for key, run in zip(names, setting.runs["run_id"], strict=True)}
        reference = {key[0]: config for key, config in members.items() if config.loss == REFERENCE}
        rows = table[(table["verdict"] == UNDECIDED) & (table["diverged"] == 0)]
        for key in zip(rows["probability"], rows["label"], strict=True):
            if key[0] in reference and not incomplete & (pair := {members[key], reference[key[0]]}):
                still_open |= pair
    return pd.concat([table for table in tables if len(table)] or tables), still_open


def _no_rows() -> pd.DataFrame:
    return pd.DataFrame(columns=[*COLUMNS, "look"])


def _write(path: Path, table: pd.DataFrame) -> None:
    """Put the rows into the file; those of other comparisons, of an earlier study in the same folder, stay."""
    rows = _text_rows(table.to_csv(index=False))
    fields = setting_fields(table)
    keys = {_key(row, fields) for row in rows}
    if path.exists():
        rows = [row for row in _text_rows(path.read_text(encoding="utf-8")) if _key(row, fields) not in keys] + rows
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _text_rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def _key(row: dict[str, str], fields: Sequence[str]) -> tuple[str | None, ...]:
    return tuple(row.get(name) for name in ("probability", "loss", "label", *fields))
