"""How long ten thousand runs take to plan, to skip and to read: `python -m benchmarks.many_runs [--runs 10000]`.

The records are invented and have the form of real ones (result, config, five epochs), without predictions. Times are
of one process; each is repeated, and the fastest and the median are given, since other work can only slow a round,
and the least time on the processor, which other work hardly changes. For `first` there is no cache yet, but the
system holds the files in memory, as it does just after a study.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lossbench.config import RunConfig
from lossbench.records import Record, tables
from lossbench.records.tables import NAME
from lossbench.stats.metrics import SCORES
from lossbench.studies import plan_study

EPOCHS = 5
COLUMNS = ("lr", "train_loss", "train_accuracy", "val_loss", "val_nll", "val_accuracy")


def plan(runs: int) -> list[RunConfig]:
    """The thesis study with as many seeds as give at least `runs` runs, cut there."""
    return plan_study("thesis", ["fashion-mini"], math.ceil(runs / 15), {"epochs": EPOCHS})[:runs]


def write_invented(config: RunConfig, output: Path) -> None:
    """Write a record's three small files; unlike `Record.write` without waiting for the disk."""
    draw = random.Random(config.run_id)
    result: dict[str, Any] = {
        "run_id": config.run_id,
        "label": config.label,
        "loss_params": config.full_loss_params,
        "probability_params": config.full_probability_params,
        "status": "finished",
        "epochs": EPOCHS,
        "epochs_done": EPOCHS,
        "best_epoch": draw.randint(1, EPOCHS),
        **{f"test_{name}": draw.random() for name in SCORES},
        "test_false_positives": [draw.randint(0, 200) for _ in range(10)],
        "val_accuracy": draw.random(),
        "seconds": round(10 * draw.random(), 3),
        "epoch_seconds": [round(2 * draw.random(), 4) for _ in range(EPOCHS)],
        "train_images": 4500,
        "test_images": 2000,
        "num_parameters": 20_490,
        "dataset_fingerprint": "ab" * 32,
        "class_names": [f"class {place}" for place in range(10)],
        "events": {},
        "device": "cpu",
        "threads": 1,
        "peak_memory_mb": round(600 * draw.random(), 1),
        "commit": "0123456789ab",
        "versions": {"lossbench": "0.1.0", "python": "3.11.7", "torch": "2.15.0", "numpy": "2.4.6"},
    }
    rows = [[str(epoch + 1), *(repr(draw.random()) for _ in COLUMNS)] for epoch in range(EPOCHS)]
    folder = Record.of(config, output).path
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config.to_dict(), indent=2))
    (folder / "history.csv").write_text("\n".join(",".join(row) for row in [["epoch", *COLUMNS], *rows]) + "\n")
    (folder / "result.json").write_text(json.dumps(result, indent=2))


def time_rounds(name: str, rounds: int, work: Callable[[], object], before: Callable[[], object] = int) -> None:
    """Print the seconds that `work` takes; `before` is done ahead of each round and not counted."""
    wall, processor = [], []
    for _ in range(rounds):
        before()
        began = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - began[0])
        processor.append(time.process_time() - began[1])
    fastest, median = min(wall), statistics.median(wall)
    print(f"{name:32} fastest {fastest:6.2f} s  median {median:6.2f} s  processor {min(processor):5.2f} s  n {rounds}")


def main() -> None:
    """Write the records into a temporary folder and time everything that reads them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    configs = plan(asked.runs + asked.rounds)
    known, later = configs[: asked.runs], iter(configs[asked.runs :])
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder)
        for config in known:
            write_invented(config, output)
        time_rounds("plan", asked.rounds, lambda: plan(asked.runs))
        time_rounds(
            "plan and skip what is finished",
            asked.rounds,
            lambda: [config for config in plan(asked.runs) if not Record.of(config, output).finished],
        )
        forget = (output / NAME).unlink
        time_rounds("load_runs, first", asked.rounds, lambda: tables.load_runs(output), lambda: forget(True))
        time_rounds("load_runs, again", asked.rounds, lambda: tables.load_runs(output))
        time_rounds(
            "load_runs after one more run",
            asked.rounds,
            lambda: tables.load_runs(output),
            lambda: write_invented(next(later), output),
        )
        time_rounds("load_history", asked.rounds, lambda: tables.load_history(output))
        print(f"cache: {(output / NAME).stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
