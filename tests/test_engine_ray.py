"""What the Ray engine refuses, and how it settles what its tasks say; test_engine_ray_cluster.py has real clusters."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from ray_cases import needs_ray, quiet_and_local  # noqa: F401  a fixture that every test uses

from lossbench import RunConfig
from lossbench.engines import run_configs
from lossbench.engines.cluster import require_answer
from lossbench.engines.job import Board, Job
from lossbench.engines.ray import _Run, _Study, train


def test_without_ray_the_engine_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"pip install 'lossbench\[ray\]'"):
        run_configs([RunConfig(dataset="shapes")], tmp_path, engine="ray", show_progress=False)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("gpus", [-0.5, 2, float("nan")])
def test_a_run_takes_at_most_one_gpu(gpus: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="gpus must be"):
        run_configs([RunConfig(dataset="shapes")], tmp_path, engine="ray", gpus=gpus, show_progress=False)


@needs_ray
@pytest.mark.parametrize("address", ["nonsense", "host:many", "ray://127.0.0.1:10001", "127.0.0.1"])
def test_an_address_of_another_form_is_quoted(address: str) -> None:
    with pytest.raises(ValueError, match=f"address must be host:port.*{address}"):
        require_answer(address)


@needs_ray
@pytest.mark.parametrize("greeting", [None, b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_an_address_without_a_cluster_is_refused_within_seconds(greeting: bytes | None, tmp_path: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        visitors: list[socket.socket] = []
        if greeting is not None:
            server.listen()
            threading.Thread(target=greet, args=(server, greeting, visitors), daemon=True).start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(ConnectionError, match=f"{address}.*ray start --head"):
            run_configs([RunConfig(dataset="shapes")], tmp_path, engine="ray", address=address, show_progress=False)
        assert time.monotonic() - began < 30
    assert not (tmp_path / "runs").exists()


def greet(server: socket.socket, greeting: bytes, visitors: list[socket.socket]) -> None:
    visitor, _ = server.accept()
    visitor.sendall(greeting)
    visitors.append(visitor)  # and keep the line open


def test_a_task_that_does_not_see_the_output_folder_trains_nothing(tmp_path: Path) -> None:
    (event,) = train({"config": {}}, str(tmp_path / "not shared"))
    assert event["event"] == "lone"


@pytest.fixture
def study(tmp_path: Path) -> Iterator[_Study]:
    """A study of one run that has not asked anything of Ray yet."""
    config = RunConfig(dataset="shapes")
    job = Job((config,), tmp_path, "cpu", None, None, False, {}, Board((config,)))
    with (tmp_path / "ray.log").open("w") as log:
        yield _Study(job, {"CPU": 1.0}, tmp_path / "sign", log)


PARENT = """
import subprocess, sys, time
from lossbench.engines.reaper import watch_descendants
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
watch_descendants()
print(child.pid, flush=True)
time.sleep(600)
"""


def test_what_a_killed_process_has_started_is_ended(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    assert child.name() == "sleep"
    parent.kill()
    parent.communicate()
    assert psutil.wait_procs([child], timeout=30)[0], "a busy machine takes a while to start the reaper itself"


@needs_ray
def test_a_run_that_hangs_is_ended_and_named(study: _Study, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[object] = []
    monkeypatch.setattr(study.ray, "cancel", lambda stream, force: ended.append((stream, force)))
    study.job = replace(study.job, timeout=60.0)
    run = study.waiting.popleft()
    study.streams = {"stream": run}
    study._end_late()
    run.began = time.monotonic() - 59
    study._end_late()
    assert ended == [], "not begun, and not yet late"
    run.began = time.monotonic() - 61
    study._end_late()
    assert (ended, study.streams) == ([("stream", True)], {})
    (why,) = study.board.summary.failed.values()
    assert why.startswith("did not end within the timeout of 60 s")


@needs_ray
def test_a_run_is_failed_when_its_third_worker_dies(study: _Study) -> None:
    for told in range(3):
        assert len(study.board.summary.failed) == 0, told
        study._settle(study.waiting.popleft(), {"event": "lost", "error": "NodeDiedError"})
    assert not study.waiting
    (why,) = study.board.summary.failed.values()
    assert why.startswith("worker ended 3 times, last with NodeDiedError (see ")


@needs_ray
def test_a_node_that_does_not_share_the_output_folder_ends_the_study(study: _Study) -> None:
    with pytest.raises(FileNotFoundError, match=r"'far' .* does not see .* all nodes share"):
        study._settle(study.waiting.popleft(), {"event": "lone", "node": "far"})
    study.board.stopping.set()  # now the sign is gone because the study has removed it
    study._settle(_Run(RunConfig(dataset="shapes")), {"event": "lone", "node": "far"})
    assert study.board.summary.failed == {}
