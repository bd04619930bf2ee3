"""The demo: a small study that shows a loss that matters, its first comparison drawn while the rest is trained."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lossbench import losses
from lossbench.config import RunConfig
from lossbench.files import SHIPPED
from lossbench.records.declaration import declare
from lossbench.records.record import Record, output_folder
from lossbench.records.tables import load_runs
from lossbench.stats import NOT_LEARNED, VERDICTS, compare, paired_differences
from lossbench.studies.decisions import read_margin
from lossbench.studies.execute import Summary, run_configs
from lossbench.studies.plans import plan_losses
from lossbench.studies.space import LossSpec

LOSSES: tuple[LossSpec, ...] = (
    ("js_divergence", {}),
    ("focal", {"gamma": 2.0}),
    ("label_smoothing", {}),
)
WRONG = 0.4  # share of wrong training targets in the setting that is trained first
SEEDS = 5
SETTINGS = {"dataset": "fashion-mini", "epochs": 5, "train_size": 3000, "embedding_scores": False}
COLUMNS = 41  # of the picture


def plan_demo() -> list[RunConfig]:
    """Two losses under wrong targets, then the others, then all under right targets; each over paired seeds."""
    wrong, right = (plan_losses(LOSSES, (), SEEDS, {**SETTINGS, "label_noise": noise}) for noise in (WRONG, 0.0))
    return [*sorted(wrong, key=lambda config: config.loss not in ("cross_entropy", LOSSES[0][0])), *right]


def describe_demo(output: Path) -> str:
    """What the demo does, for whoever starts it."""
    configs = plan_demo()
    names = [_title(name) for name, _ in LOSSES]
    images, epochs = configs[0].train_size, configs[0].epochs
    return (
        "Does the choice of loss function matter, and how would you know?\n"
        f"This trains one small network {len(configs)} times on {images:,} real images ({configs[0].dataset}), "
        f"{epochs} epochs each:\nwith cross-entropy, {', '.join(names)}, from {SEEDS} seeds that all losses share,\n"
        f"once with {_percent(WRONG)} of the training targets wrong and once with right ones.\n"
        "It takes about two minutes on two cores; nothing is downloaded. Ctrl-C stops it, the same command goes on.\n"
        f"The runs are kept in {output / 'runs'}, the report is {output / 'report.html'}.\n"
    )


def run_demo(
    output: str | os.PathLike[str] | None,
    write_report: Callable[[], object],
    say: Callable[[str], object],
    **how: Any,
) -> Summary:
    """Run the plan, say a line for each finished run, draw the first comparison and end with what was found.

    Args:
        output: folder for results; None takes LOSSBENCH_OUTPUT, else `outputs`.
        write_report: called when the first comparison is done, while the rest is trained, and at the end.
        say: called with what a reader should see.
        how: workers, device and so on, as `run_configs` takes them.
    """
    configs = plan_demo()
    declare(configs, output, margin=read_margin(None), study="demo")
    watch = _Watch(configs, output, write_report, say)
    watch.look()
    summary = run_configs(configs, output, show_progress=False, on_done=watch.done, **how)
    if summary.complete and not summary.failed:
        say(f"\n{conclude(_compare(configs, output), SEEDS)}\n")
    return summary


class _Watch:
    """Says what has ended; its methods are called from several threads."""

    def __init__(
        self, configs: list[RunConfig], output: Any, write_report: Callable[[], object], say: Callable[[str], object]
    ) -> None:
        self.output, self.write_report, self.say = output, write_report, say
        self.began, self.lock = time.monotonic(), threading.Lock()
        self.todo = {config for config in configs if not Record.of(config, output).has(config)}
        self.planned, self.due = len(configs), len(self.todo)
        self.first = [c for c in configs if c.label_noise == WRONG and c.loss in ("cross_entropy", LOSSES[0][0])]
        self.drawn = False

    def done(self, config: RunConfig, outcome: Mapping[str, Any]) -> None:
        """A run has its record: say so, and what is left."""
        with self.lock:
            self.todo.discard(config)
            elapsed = time.monotonic() - self.began
            left = elapsed / (self.due - len(self.todo)) * len(self.todo)
            score = outcome["test_accuracy"]
            self.say(
                f"{elapsed:4.0f} s  {self.planned - len(self.todo):>2} of {self.planned}  {_targets(config):<20}"
                f"{_title(config.loss):<27}seed {config.seed}  "
                + (f"{_percent(score, 1)} right" if score is not None else outcome["status"])
                + (f", about {left:.0f} s left" if self.todo else "")
            )
        self.look()

    def look(self) -> None:
        """Draw the first comparison as soon as all of its runs have ended, and begin the report."""
        with self.lock:
            if self.drawn or self.todo & set(self.first):
                return
            self.drawn, more = True, bool(self.todo)
        picture = draw_pairs(self.first, self.output)
        with self.lock:
            self.say(f"\n{picture}\n")
        if more:
            page = self.write_report()
            with self.lock:
                self.say(f"{time.monotonic() - self.began:4.0f} s  the report has begun, and grows at the end: {page}")


def draw_pairs(configs: Iterable[RunConfig], output: Any) -> str:
    """The paired differences of one loss to cross-entropy as text, a line a seed, with their mean and its interval."""
    configs = list(configs)
    runs = _runs_of(configs, output)
    row = _compare(configs, output).iloc[0]
    pairs = paired_differences(runs)
    values = {f"seed {pair['seed']}": 100 * pair["difference"] for pair in pairs.to_dict("records")}
    low, mean, high = (100 * float(row[name]) for name in ("low", "mean", "high"))
    reach = max(1.0, *map(abs, (*values.values(), low, high)))
    lines = [
        f"First comparison, {_targets(configs[0])}: {_title(row['loss'])} minus cross-entropy, in points of accuracy,",
        "seed by seed (right of the line: better than cross-entropy; [-----] holds the mean, 95 %)",
        *(_line(name, {value: "o"}, reach, f"{value:+.2f}") for name, value in values.items()),
        _line("mean", {low: "[", high: "]", mean: "x"}, reach, f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"),
        f"So far: {row['verdict']}, by {row['n']} pairs. All losses are judged together at the end.",
    ]
    return "\n".join(lines)


def _line(name: str, marks: Mapping[float, str], reach: float, text: str) -> str:
    middle = COLUMNS // 2
    places = {middle + round(value / reach * middle): mark for value, mark in marks.items()}
    inside = range(min(places), max(places))
    cells = [places.get(i, "|" if i == middle else "-" if i in inside else " ") for i in range(COLUMNS)]
    return f"  {name:>7} {''.join(cells)} {text}"


def conclude(comparison: pd.DataFrame, seeds: int) -> str:
    """What the engine's words come to, in three sentences, and three commands that lead on."""
    wrong, right = (comparison[comparison["label_noise"] == noise] for noise in (WRONG, 0.0))
    gains = set(wrong[wrong["verdict"].str.endswith("better")]["loss"])
    lost = set(right[right["verdict"].str.endswith("better")]["loss"])
    if gains - lost:
        lesson = (
            "the choice matters where targets are wrong, and what helps there was not shown to help with right ones"
        )
    elif gains:
        lesson = "some losses are better with wrong targets and with right ones"
    else:
        lesson = "no loss was shown to be better where targets are wrong"
    called = sys.argv[0] if Path(sys.argv[0]).stem == "lossbench" else "python -m lossbench"
    first = "notebooks/01_quickstart.ipynb"  # where there is no clone, there is no Makefile
    explore = f"{called} notebook copy && jupyter lab {first}" if SHIPPED.is_dir() else "make explore"
    shared = " ".join(
        f"--set {name}={str(SETTINGS[name]).lower()}" for name in ("epochs", "train_size", "embedding_scores")
    )
    return (
        f"1. With {_percent(WRONG)} wrong targets: {_words(wrong)}.\n"
        f"2. With right targets: {_words(right)}.\n"
        f"3. So {lesson} ({seeds} pairs, one small network, {SETTINGS['epochs']} epochs, no learning rate tuned).\n"
        "In brackets: difference to cross-entropy in points of test accuracy, with its 95 % interval.\n\n"
        "Next:\n"
        f"  {called} list losses\n"
        "      all losses to choose from\n"
        f"  {called} study --loss symmetric_cross_entropy --set label_noise={WRONG} {shared} --until decided\n"
        "      a loss of your choice, with as many pairs as it takes to decide\n"
        f"  {explore}\n"
        "      the notebooks in JupyterLab, from the first one on"
    )


def _words(rows: pd.DataFrame) -> str:
    """`better: this (+1.2 [+0.8, +1.6]) and that (...); undecided: ...`."""
    parts = []
    for word in (*VERDICTS, NOT_LEARNED):
        losses = [
            "{} ({:+.1f} [{:+.1f}, {:+.1f}])".format(
                _title(row["loss"]), *(100 * row[name] for name in ("mean", "low", "high"))
            )
            for row in rows[rows["verdict"] == word].to_dict("records")
        ]
        parts += [f"{word}: {', '.join(losses)}"] if losses else []
    return "; ".join(parts)


def _compare(configs: Iterable[RunConfig], output: Any) -> pd.DataFrame:
    return compare(_runs_of(configs, output))


def _runs_of(configs: Iterable[RunConfig], output: Any) -> pd.DataFrame:
    runs = load_runs(output_folder(output), damaged="skip")
    return runs[runs["run_id"].isin({config.run_id for config in configs})]


def _targets(config: RunConfig) -> str:
    return f"{_percent(config.label_noise)} wrong targets" if config.label_noise else "right targets"


def _title(loss: str) -> str:
    return losses.LOSSES[loss].title


def _percent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f} %"
