"""What the Ray engine refuses, how it settles what its tasks say, and studies on real clusters."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
from killing import hear_ctrl_c, still_there

import lossbench
from lossbench import RunConfig
from lossbench.config import grid
from lossbench.records.lease import hold
from lossbench.records.record import Record
from lossbench.records.tables import find_records
from lossbench.studies.execute import Board, Job, run_configs
from lossbench.studies.ray import FORGOTTEN_SECONDS, _Run, _Study, joined, require_answer, train

# What all tests of the Ray engine share: they need Ray, and keep it quiet and on this machine.

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray: pip install 'lossbench[ray]'")


def on_ray(test: Callable[..., None]) -> Callable[..., None]:
    """A test on Ray's own processes, which a busy machine starts late or not at all: three tries of a few minutes."""
    for mark in (needs_ray, pytest.mark.slow, pytest.mark.timeout(240, func_only=True), pytest.mark.flaky(reruns=2)):
        test = mark(test)
    return test


@pytest.fixture(scope="module", autouse=True)
def quiet_and_local() -> Iterator[None]:
    """Ray in this process keeps to 127.0.0.1 and sends nothing about its use."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # 15 else: workers starve beside the tests of another process
        patch.delenv("RAY_ADDRESS", raising=False)
        yield


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
def test_an_address_without_a_cluster_is_refused_within_seconds(tmp_path: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{server.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(ConnectionError, match=f"{address}.*ray start --head"):
            run_configs([RunConfig(dataset="shapes")], tmp_path, engine="ray", address=address, show_progress=False)
        assert time.monotonic() - began < 30
    assert not (tmp_path / "runs").exists()


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
from lossbench.studies.reaper import watch_descendants
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
def test_a_task_that_an_idle_cluster_keeps_is_given_out_again(study: _Study, monkeypatch: pytest.MonkeyPatch) -> None:
    free, ended = {"CPU": 1.0}, list[object]()
    monkeypatch.setattr(study.ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 1.0}}] * 2)
    monkeypatch.setattr(study.ray, "available_resources", lambda: free)
    monkeypatch.setattr(study.ray, "cancel", lambda stream, force: ended.append((stream, force)))
    run = study.waiting.popleft()
    study.streams = {"stream": run}
    study._ask_again()
    assert study.idle_since is None, "its worker may be starting, and others' work may last for hours"
    free["CPU"] = 2.0
    study._ask_again()
    study._ask_again()
    assert (ended, study.streams) == ([], {"stream": run}), "it may be about to start"
    assert study.idle_since is not None
    study.idle_since -= FORGOTTEN_SECONDS
    study._ask_again()
    assert (ended, study.streams, list(study.waiting)) == ([("stream", True)], {}, [run])


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


# Studies on real Ray clusters, with workers and nodes killed for real; most of them share one of two nodes.

PATIENCE = 120.0  # seconds, on a busy machine
MEMORY = 80_000_000  # a container's /dev/shm may be small


@pytest.fixture(scope="module")
def clusters() -> Iterator[list[Any]]:
    """The cluster that tests share, once there is one."""
    running: list[Any] = []
    yield running
    for cluster in running:
        cluster.shutdown()


@pytest.fixture
def cluster(clusters: list[Any], request: pytest.FixtureRequest) -> Any:
    """Two nodes with one CPU each; other ones for a test's next try."""
    if clusters and getattr(request.node, "execution_count", 1) > 1:
        clusters.pop().shutdown()
    if not clusters:
        clusters.append(start_cluster())
    return clusters[0]


def start_cluster() -> Any:
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "object_store_memory": MEMORY, "include_dashboard": False}
    two = Cluster()
    try:
        two.add_node(**head)
        two.add_node(num_cpus=1, object_store_memory=MEMORY)
    except Exception as error:
        two.shutdown()
        skip_where_ray_gave_up(str(error))
        raise
    return two


def skip_where_ray_gave_up(message: str) -> None:
    """Ray gives a node 30 seconds to start, which a machine that is busy with other work may not have."""
    if any(words in message for words in ("timed out during startup", "Ray did not start on this machine")):
        pytest.skip(f"Ray itself could not start here: {message.strip()[-300:]}")


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, int]]:
    """What a study is told by its tasks: run, event, epoch."""
    seen: list[tuple[str, str, int]] = []
    settle, epoch = _Study._settle, Board.epoch

    def spy_settle(self: Any, run: Any, event: dict[str, Any]) -> None:
        seen.append((run.config.run_id, event["event"], 0))
        settle(self, run, event)

    def spy_epoch(self: Any, config: RunConfig, number: int) -> None:
        seen.append((config.run_id, "epoch", number))
        epoch(self, config, number)

    monkeypatch.setattr(_Study, "_settle", spy_settle)
    monkeypatch.setattr(Board, "epoch", spy_epoch)
    return seen


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    limit = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < limit, f"waited in vain for {what}"
        time.sleep(0.02)
    return found


def same_bytes(one: Record, other: Record) -> bool:
    names = ("config.json", "history.csv", "predictions.npz")
    return all((one.path / name).read_bytes() == (other.path / name).read_bytes() for name in names)


@on_ray
def test_more_gpus_than_any_node_has_are_refused_before_any_run(cluster: Any, tmp_path: Path) -> None:
    asked = {"engine": "ray", "address": cluster.address, "gpus": 0.5}
    with pytest.raises(ValueError, match=r"1 CPU and 0\.5 GPU, and no node .*2 here, with 1 CPU and 0 GPU"):
        run_configs([RunConfig(dataset="shapes")], tmp_path, **asked, show_progress=False)
    assert not (tmp_path / "runs").exists()


@on_ray
def test_a_loss_of_the_users_own_comes_along(cluster: Any, tmp_path: Path, own_losses: Path) -> None:
    lossbench.extend(own_losses)
    config = RunConfig(dataset="shapes", epochs=1, train_size=40, loss="scaled")
    summary = run_configs([config], tmp_path, engine="ray", address=cluster.address, show_progress=False)
    assert (summary.finished, summary.failed) == (1, {})
    assert Record.of(config, tmp_path).result["label"] == "scaled scale=2"


@on_ray
def test_ray_leaves_the_records_that_worker_processes_leave(
    cluster: Any, tmp_path: Path, events: list[tuple[str, str, int]], leave_no_trace: None
) -> None:
    good = grid(dataset=["shapes"], epochs=[2], loss=["cross_entropy", "focal"], seed=[0, 1])
    diverging = RunConfig(dataset="shapes", epochs=1, lr=1e30, optimizer="sgd")
    breaks = tmp_path / "breaks.py"
    breaks.write_text(
        "import lossbench\n\n@lossbench.register\ndef breaks(log_probs, target):\n    raise OverflowError('no')\n"
    )
    lossbench.extend(breaks)
    failing = RunConfig(dataset="shapes", epochs=1, train_size=40, loss="breaks")
    held = Record.of(good[0], tmp_path / "ray").path

    def hold_the_first_run_for_a_while() -> None:
        with hold(held):
            claimed.set()
            wait_for(lambda: (held.name, "held", 0) in events, "the study to find the run held")

    claimed = threading.Event()
    holder = threading.Thread(target=hold_the_first_run_for_a_while)
    holder.start()
    claimed.wait()
    configs = [*good, diverging, failing]
    summary = run_configs(configs, tmp_path / "ray", engine="ray", address=cluster.address, show_progress=False)
    holder.join()

    assert (summary.finished, summary.diverged, list(summary.failed)) == (4, 1, [failing.run_id])
    assert "OverflowError: no" in summary.failed[failing.run_id]
    assert [event for event in events if event[0] == failing.run_id and event[1] != "epoch"] == [
        (failing.run_id, "failed", 0)
    ], "an exception repeats itself: no other try"
    assert all((config.run_id, "epoch", 1) in events for config in good), "epochs are told as they end"
    assert not list((tmp_path / "ray" / "logs").glob("*.going"))

    run_configs(good, tmp_path / "process", workers=1, show_progress=False)
    for record in find_records(tmp_path / "process"):
        other = Record(tmp_path / "ray" / "runs" / record.path.name)
        assert same_bytes(record, other)
        here, there = ({k: v for k, v in r.result.items() if k.startswith("test_")} for r in (record, other))
        assert here == there
        assert other.result["threads"] == 1


@on_ray
def test_ctrl_c_twice_stops_the_study_and_nothing_of_a_cluster_that_was_joined(cluster: Any, tmp_path: Path) -> None:
    study = start_study(tmp_path, "--address", cluster.address, epochs=200)
    try:
        wait_for_an_epoch(study, tmp_path)
        study.send_signal(signal.SIGINT)
        assert study.stderr is not None
        wait_for(lambda: "Ctrl-C again stops now" in study.stderr.readline(), "the answer to the first Ctrl-C")
        study.send_signal(signal.SIGINT)
        output, _ = study.communicate(timeout=PATIENCE)
    finally:
        study.kill()
    assert study.returncode == 130
    assert "interrupted, the same command finishes the rest" in output
    with joined(cluster.address, 1):
        import ray

        assert [node["Alive"] for node in ray.nodes()] == [True, True]


@on_ray
def test_a_killed_worker_and_a_killed_node_cost_no_run(
    cluster: Any, tmp_path: Path, events: list[tuple[str, str, int]]
) -> None:
    configs = grid(epochs=[8], train_size=[1000], loss=["cross_entropy", "focal"], seed=[0, 1])
    head, second = (node.all_processes["raylet"][0].process.pid for node in cluster.list_all_nodes())
    killed: list[str] = []

    def kill_a_worker_and_then_a_node() -> None:
        worker, run_id = wait_for(lambda: training(head, configs, tmp_path), "a run on the first node")
        worker.kill()
        killed.append(run_id)
        worker, run_id = wait_for(lambda: training(second, configs, tmp_path), "a run on the second node")
        cluster.remove_node(cluster.list_all_nodes()[1], allow_graceful=False)
        worker.kill()
        killed.append(run_id)

    killer = threading.Thread(target=kill_a_worker_and_then_a_node)
    killer.start()
    summary = run_configs(configs, tmp_path, engine="ray", address=cluster.address, show_progress=False)
    killer.join()
    assert (summary.finished, summary.failed) == (4, {})
    assert {(run_id, "lost", 0) for run_id in killed} <= set(events)
    assert len(set(killed)) == 2
    for config in configs:
        if config.run_id in killed:
            unbroken = lossbench.run(config, tmp_path / "unbroken")
            assert same_bytes(unbroken, Record.of(config, tmp_path))


def training(raylet: int, configs: list[RunConfig], output: Path) -> tuple[psutil.Process, str] | None:
    """A worker of a node that has ended an epoch of a run, and the run."""
    for worker in psutil.Process(raylet).children(recursive=True):
        try:
            title = " ".join(worker.cmdline())
        except psutil.Error:  # it has just ended
            continue
        for config in configs:
            if config.run_id in title and (Record.of(config, output).path / "checkpoint.pt").exists():
                return worker, config.run_id
    return None


@on_ray
def test_ctrl_c_ends_the_epoch_keeps_its_state_and_leaves_no_process_of_our_own_cluster(tmp_path: Path) -> None:
    study = start_study(tmp_path, "--workers", "1", epochs=20)
    try:
        checkpoint = wait_for_an_epoch(study, tmp_path)
        started = psutil.Process(study.pid).children(recursive=True)
        assert len(started) > 5, "Ray and its workers"
        assert open_to_others(started) == []
        os.killpg(study.pid, signal.SIGINT)  # a terminal sends Ctrl-C to all of them
        output, _ = study.communicate(timeout=PATIENCE)
    finally:
        study.kill()
    assert study.returncode == 130
    assert "interrupted" in output
    assert not still_there(started, 10)
    config = RunConfig.from_dict(json.loads((checkpoint.parent / "config.json").read_text()))
    assert checkpoint.exists()
    assert not Record.of(config, tmp_path).finished
    resumed, unbroken = lossbench.run(config, tmp_path), lossbench.run(config, tmp_path / "unbroken")
    assert same_bytes(resumed, unbroken)


@on_ray
def test_no_process_of_our_own_cluster_outlives_a_killed_study(tmp_path: Path) -> None:
    study = start_study(tmp_path, "--workers", "1", epochs=200)
    try:
        wait_for_an_epoch(study, tmp_path)
        started = psutil.Process(study.pid).children(recursive=True)
        assert len(started) > 5, "Ray and its workers"
    finally:
        study.kill()
    study.communicate()
    assert not still_there(started)


def start_study(output: Path, *options: str, epochs: int) -> subprocess.Popen[str]:
    """The command line as a terminal starts it, in a process group of its own."""
    command = [sys.executable, "-m", "lossbench", "study", "thesis", "--engine", "ray", "--output", str(output)]
    command += ["--seeds", "1", "--set", "train_size=500", "--epochs", str(epochs), *options]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **pipes, process_group=0, preexec_fn=hear_ctrl_c)


def wait_for_an_epoch(study: subprocess.Popen[str], output: Path) -> Path:
    def look() -> list[Path]:
        if study.poll() is not None:
            _, errors = study.communicate()
            skip_where_ray_gave_up(errors)
            raise AssertionError(errors)
        return list(output.glob("runs/*/checkpoint.pt"))

    return Path(wait_for(look, "a first epoch")[0])


def open_to_others(processes: list[psutil.Process]) -> list[str]:
    """Ports on which other machines could reach a process, apart from those that this one inherited."""
    own = {connection.laddr for connection in psutil.Process().net_connections("inet")}
    found = []
    for process in processes:
        for connection in process.net_connections("inet"):
            local = connection.laddr and connection.laddr.ip.removeprefix("::ffff:").startswith(("127.", "::1"))
            if connection.status == psutil.CONN_LISTEN and not local and connection.laddr not in own:
                found.append(f"{process.name()} {connection.laddr}")
    return found
