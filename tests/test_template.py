"""A process that forks workers: they are ready at once, tell how they end, and outlive neither it nor the study."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from killing import still_there

import lossbench
from lossbench import RunConfig
from lossbench.records.record import Record
from lossbench.studies import process
from lossbench.studies.template import Forked, Template, forks_safely

pytestmark = pytest.mark.skipif(not forks_safely(), reason="this system forks no process that has loaded torch")

CONFIG = RunConfig(dataset="shapes", epochs=2, train_size=60)


@pytest.fixture(scope="module")
def template() -> Iterator[Template]:
    with process.prepared(2) as prepared:
        assert prepared is not None
        yield prepared


def order(worker: Forked, config: RunConfig, output: Path) -> dict[str, object]:
    task = {"output": str(output), "device": "cpu", "data": None, "tensorboard": False, "extensions": {}}
    worker.stdin.write(json.dumps({**task, "config": config.to_dict(), "run_id": config.run_id}) + "\n")
    return next(answer for line in worker.stdout if (answer := json.loads(line))["event"] not in ("ready", "epoch"))


def test_a_worker_after_the_first_is_ready_within_a_fraction_of_a_full_start(template: Template) -> None:
    seconds = []
    for _ in range(4):
        began = time.perf_counter()
        worker = template.fork()
        assert isinstance(worker, Forked)
        assert json.loads(worker.stdout.readline()) == {"event": "ready"}
        seconds.append(time.perf_counter() - began)
        assert worker.poll() is None
        worker.stdin.close()
        assert worker.wait() == 0
    assert min(seconds[1:]) < 0.3, "a full start takes seconds"


def test_a_forked_worker_has_one_thread_and_gives_what_a_run_here_gives(template: Template, tmp_path: Path) -> None:
    worker = template.fork()
    assert worker is not None
    assert order(worker, CONFIG, tmp_path / "forked")["event"] == "done"
    here = lossbench.run(CONFIG, tmp_path / "here")
    forked = Record.of(CONFIG, tmp_path / "forked")
    assert forked.result["threads"] == 1
    for name in ("config.json", "history.csv", "predictions.npz"):
        assert (forked.path / name).read_bytes() == (here.path / name).read_bytes()
    worker.kill()
    assert worker.wait() == -signal.SIGKILL
    assert list(worker.stdout) == [], "its end is seen"


def test_workers_go_on_without_their_template_and_leave_with_the_study() -> None:
    with process.prepared(2) as template:
        assert template is not None
        worker = template.fork()
        assert worker is not None
        template.process.kill()
        template.process.wait()
        assert json.loads(worker.stdout.readline()) == {"event": "ready"}
        assert worker.poll() is None
        assert template.fork() is None, "then a worker is started in full"
        worker.stdin.close()
        assert still_there([psutil.Process(worker.pid)]) == []


def test_what_is_no_template_is_put_away() -> None:
    other = Template([process.sys.executable, "-c", "print('hello')"], os.environ)
    assert other.fork() is None
    assert other.process.poll() is not None
