"""Studies in real worker processes, killed and interrupted for real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

import lossbench
from lossbench import RunConfig
from lossbench.config import grid
from lossbench.engines import run_configs
from lossbench.records import find_records
from lossbench.study import plan_study

QUICK = {"dataset": ["shapes"], "epochs": [2]}


def workers_of(pid: int) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.Error):  # it has just ended
            found += [child] if "lossbench.worker" in child.cmdline() else []
    return found


def test_a_study_runs_once_and_a_second_call_finds_it_done(tmp_path: Path) -> None:
    configs = grid(**QUICK, loss=["cross_entropy", "focal"], seed=[0, 1])
    first = run_configs(configs, tmp_path, workers=2, show_progress=False)
    assert (first.finished, first.skipped, first.exit_code) == (4, 0, 0)
    stamps = {record.path: (record.path / "result.json").stat().st_mtime_ns for record in find_records(tmp_path)}
    assert len(stamps) == 4
    second = run_configs([*configs, *configs], tmp_path, workers=2, show_progress=False)
    assert (second.planned, second.finished, second.skipped) == (4, 0, 4)
    assert stamps == {path: (path / "result.json").stat().st_mtime_ns for path in stamps}
    assert "4 of 4 runs finished, 4 of them earlier" in str(second)


def test_a_worker_gives_what_a_run_in_this_process_gives(tmp_path: Path) -> None:
    config = RunConfig(dataset="shapes", epochs=2, loss="js_divergence")
    run_configs([config], tmp_path / "worker", show_progress=False)
    record = lossbench.run(config, tmp_path / "here")
    (other,) = find_records(tmp_path / "worker")
    for name in ("config.json", "history.csv", "predictions.npz"):
        assert (record.path / name).read_bytes() == (other.path / name).read_bytes()


def test_a_worker_stays_small(tmp_path: Path) -> None:
    run_configs([RunConfig(epochs=1, train_size=1000)], tmp_path, show_progress=False)
    (record,) = find_records(tmp_path)
    assert 100 < record.result["peak_memory_mb"] < 1200


def test_a_killed_worker_is_replaced_and_its_run_goes_on(tmp_path: Path) -> None:
    config = RunConfig(dataset="fashion-mini", epochs=4, train_size=1000)
    killed: list[int] = []

    def kill_after_the_first_epoch() -> None:
        checkpoint = tmp_path / "runs" / config.run_id / "checkpoint.pt"
        while not checkpoint.exists():
            time.sleep(0.01)
        for worker in workers_of(os.getpid()):
            worker.kill()
            killed.append(worker.pid)

    killer = threading.Thread(target=kill_after_the_first_epoch, daemon=True)
    killer.start()
    summary = run_configs([config], tmp_path, show_progress=False)
    killer.join(timeout=60)
    assert killed
    assert (summary.finished, summary.failed) == (1, {})
    unbroken = lossbench.run(config, tmp_path / "unbroken")
    (record,) = find_records(tmp_path)
    assert (record.path / "history.csv").read_bytes() == (unbroken.path / "history.csv").read_bytes()


def test_a_run_that_cannot_work_fails_alone_and_is_named(tmp_path: Path) -> None:
    too_many = RunConfig(dataset="shapes", epochs=1, train_size=10**6)
    good = RunConfig(dataset="shapes", epochs=1)
    summary = run_configs([too_many, good], tmp_path, workers=1, show_progress=False)
    assert (summary.finished, list(summary.failed), summary.exit_code) == (1, [too_many.run_id], 1)
    assert "train_size must lie between 1 and" in summary.failed[too_many.run_id]
    assert too_many.run_id in str(summary)


def test_a_diverged_run_is_counted_and_is_no_failure(tmp_path: Path) -> None:
    bad = RunConfig(dataset="shapes", epochs=1, lr=1e30, optimizer="sgd")
    summary = run_configs([bad, RunConfig(dataset="shapes", epochs=1)], tmp_path, show_progress=False)
    assert (summary.finished, summary.diverged, summary.exit_code) == (1, 1, 0)
    assert "1 diverged" in str(summary)


def test_missing_data_stop_a_study_before_it_starts(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    configs = [RunConfig(dataset="shapes"), RunConfig(dataset="fashion-mnist")]
    with pytest.raises(FileNotFoundError):
        run_configs(configs, tmp_path / "out", data=tmp_path / "empty", show_progress=False)
    assert not (tmp_path / "out" / "runs").exists()


@pytest.fixture
def long_study(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A study of 15 slow runs in a process of its own, with its first record written."""
    command = [sys.executable, "-m", "lossbench", "study", "thesis", "--dataset", "shapes", "--seeds", "1"]
    command += ["--epochs", "8", "--workers", "2", "--output", str(tmp_path)]
    study = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    limit = time.monotonic() + 60
    while not list(find_records(tmp_path)) and time.monotonic() < limit:
        assert study.poll() is None, study.communicate()
        time.sleep(0.02)
    yield study
    study.kill()
    study.communicate()


def wait_until_gone(processes: list[psutil.Process]) -> list[psutil.Process]:
    return psutil.wait_procs(processes, timeout=5)[1]


def test_ctrl_c_keeps_every_finished_record_and_a_second_call_ends_the_study(
    long_study: subprocess.Popen[str], tmp_path: Path
) -> None:
    workers = workers_of(long_study.pid)
    long_study.send_signal(signal.SIGINT)
    output, _ = long_study.communicate(timeout=30)
    assert long_study.returncode == 130
    assert "interrupted, the same command finishes the rest" in output
    assert not wait_until_gone(workers), "no worker outlives the study"
    done = {record.path.name: (record.path / "history.csv").read_bytes() for record in find_records(tmp_path)}
    assert 1 <= len(done) < 15
    configs = plan_study("thesis", ["shapes"], 1, {"epochs": 8})
    assert run_configs(configs, tmp_path, workers=2, show_progress=False).finished == 15 - len(done)
    records = {record.path.name: (record.path / "history.csv").read_bytes() for record in find_records(tmp_path)}
    assert len(records) == 15
    assert done.items() <= records.items()


def test_no_worker_outlives_a_killed_study(long_study: subprocess.Popen[str]) -> None:
    workers = workers_of(long_study.pid)
    assert workers
    long_study.kill()
    long_study.wait()
    assert not wait_until_gone(workers)
