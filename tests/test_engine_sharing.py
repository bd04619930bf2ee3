"""Studies that share a folder, and workers that keep dying."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil
from killing import Child, fork, quick_workers, wait_for

import lossbench.runner
from lossbench import RunConfig
from lossbench.config import grid
from lossbench.engines import run_configs
from lossbench.lease import hold
from lossbench.records import Record, find_records

TWELVE = grid(dataset=["shapes"], epochs=[2], train_size=[64], seed=range(12))


def start_study(configs: Sequence[RunConfig], output: Path, log: Path, workers: int = 2) -> Child:
    def study() -> None:
        quick_workers()
        finish = lossbench.runner.finish

        def finish_and_tell(record: Record, *rest: object) -> None:
            finish(record, *rest)  # type: ignore[arg-type]
            with (log.parent / "trained").open("a") as file:
                file.write(f"{record.path.name}\n")

        lossbench.runner.finish = finish_and_tell  # type: ignore[assignment]
        summary = run_configs(configs, output, workers=workers, show_progress=False)
        sys.stdout.write(str(summary))
        sys.exit(summary.exit_code)

    return fork(study, log)


def test_three_studies_on_one_folder_do_each_run_once_and_all_end(tmp_path: Path) -> None:
    logs = [tmp_path / f"log{i}" for i in range(3)]
    studies = [start_study(TWELVE, tmp_path / "out", log) for log in logs]
    assert [study.wait() for study in studies] == [0, 0, 0], [log.read_text() for log in logs]
    assert all("12 of 12 runs finished" in log.read_text() for log in logs), "each has seen every record"
    assert Counter((tmp_path / "trained").read_text().split()) == dict.fromkeys((c.run_id for c in TWELVE), 1)


def test_a_run_that_another_process_holds_is_left_to_it_and_waited_for(tmp_path: Path) -> None:
    held, others = TWELVE[0], TWELVE[1:3]
    log = tmp_path / "log"
    with hold(Record.of(held, tmp_path / "out").path):
        study = start_study([held, *others], tmp_path / "out", log, workers=1)
        wait_for(lambda: len(list(find_records(tmp_path / "out"))) == 2)
        assert study.poll() is None, log.read_text()
        assert not Record.of(held, tmp_path / "out").finished
    assert study.wait() == 0, log.read_text()
    assert Record.of(held, tmp_path / "out").finished


def test_a_run_waits_for_the_process_that_does_it(tmp_path: Path) -> None:
    config = TWELVE[0]
    log = tmp_path / "log"
    with hold(Record.of(config, tmp_path).path):
        child = fork(lambda: lossbench.run(config, tmp_path), log)
        wait_for(lambda: log.exists() and "waiting: " in log.read_text())
        assert f"worked on by process {os.getpid()} on" in log.read_text()
        assert child.poll() is None
    assert child.wait() == 0
    assert Record.of(config, tmp_path).finished


def test_a_run_whose_worker_dies_three_times_fails_with_the_exit_code_and_the_rest_goes_on(tmp_path: Path) -> None:
    deadly, good = RunConfig(dataset="shapes", epochs=1000), TWELVE[0]
    folder, log = Record.of(deadly, tmp_path).path, tmp_path / "log"
    study = start_study([deadly, good], tmp_path, log, workers=1)
    victims: set[int] = set()
    while len(victims) < 3:
        wait_for(lambda: workers_of(study) - victims)
        (victim,) = workers_of(study) - victims
        seen = stamp(folder)
        wait_for(lambda seen=seen: stamp(folder) > seen)  # it has gone on by an epoch
        os.kill(victim, signal.SIGKILL)
        victims.add(victim)
    assert study.wait() == 1, log.read_text()
    assert "1 of 2 runs finished, 1 failed" in log.read_text()
    assert f"{deadly.run_id}: worker ended 3 times, last with exit code -9" in log.read_text()


def workers_of(study: Child) -> set[int]:
    found = set()
    for child in psutil.Process(study.pid).children():
        with suppress(psutil.Error):  # it has just ended
            found |= {child.pid} if child.status() != psutil.STATUS_ZOMBIE else set()
    return found


def stamp(folder: Path) -> int:
    path = folder / "checkpoint.pt"
    return path.stat().st_mtime_ns if path.exists() else 0
