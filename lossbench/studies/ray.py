"""Runs as Ray tasks, on this machine or on all nodes of a cluster that share the output folder.

A task tells its events to the study itself, as a generator whose values Ray brings home, so that no third process need
outlive a node. The study tells the tasks one thing, to stop after their epoch, by removing a file in the output folder.
A task that does not find it there either comes too late or runs on a node that does not share the folder.
"""

from __future__ import annotations

import math
import os
import platform
import socket
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any
from uuid import uuid4

from lossbench.config import RunConfig
from lossbench.registry import at_least
from lossbench.studies.execute import HELD_SECONDS, TRIES, Job
from lossbench.studies.process import SINGLE_THREAD
from lossbench.studies.reaper import watch_descendants
from lossbench.studies.worker import perform
from lossbench.training.machine import usable_cores

ANSWER_SECONDS = 3.0
STORE_BYTES = 80_000_000  # a little above Ray's least: runs pass each other nothing, and /dev/shm may be small

_QUIET = {"RAY_USAGE_STATS_ENABLED": "0"}
# Ray's ports run whatever they are sent (CVE-2023-48022). This setting, the default on macOS, binds them to 127.0.0.1;
# Ray reads it when it is imported.
_ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


@contextmanager
def joined(address: str | None, cpus: int) -> Iterator[None]:
    """Be connected to Ray: to the caller's own cluster, else the one at `address`, else one that lives for the block.

    Args:
        address: `host:port` of a cluster that this machine belongs to, or `auto` for the one that runs here; None takes
            the environment's RAY_ADDRESS, else starts a cluster of this machine alone.
        cpus: for the cluster that is started; its GPUs are found by Ray.

    Raises:
        ValueError: when Ray is not installed, or the address is of another form.
        ConnectionError: when no cluster answers there, or Ray does not start.
    """
    if find_spec("ray") is None:
        raise ValueError("ray is not installed; install it with pip install 'lossbench[ray]'")
    address = os.environ.get("RAY_ADDRESS") or address if address in (None, "auto") else address
    starts = address in (None, "local")
    with _environment(_QUIET | (_ON_LOOPBACK | SINGLE_THREAD if starts else {})):
        import ray

        if ray.is_initialized():
            _require_same(address)
            yield
            return
        if address not in (None, "local", "auto"):
            require_answer(str(address))
        reaper = None
        try:
            _connect("local" if starts else str(address), cpus)
            reaper = watch_descendants() if starts else None
            yield
        finally:
            ray.shutdown()  # stops what was started here, and only leaves what was joined
            if reaper is not None:
                reaper.kill()
                reaper.communicate()


def _connect(address: str, cpus: int) -> None:
    import ray

    if address == "local":
        settings: dict[str, Any] = {"num_cpus": cpus, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    else:
        settings = {"runtime_env": {"env_vars": SINGLE_THREAD}}
    try:
        ray.init(address, log_to_driver=False, logging_level="ERROR", **settings)
    except (Exception, SystemExit) as error:  # Ray raises bare Exception too, and leaves where no Ray answers
        reason = " ".join(str(error).split())
        if address == "local":
            raise ConnectionError(f"Ray did not start on this machine ({reason})") from error
        raise ConnectionError(
            f"cannot join a Ray cluster at {address} ({reason}); {_REMEDY}. Start the study on one of its nodes, which "
            f"`ray start --address=...` makes of this machine; where it asks for a token, set RAY_AUTH_MODE=token"
        ) from error


def require_answer(address: str) -> None:
    """Find out within seconds whether anything listens at `address`, other than `auto`; Ray itself tries for minutes.

    Raises: ValueError for an address of another form, ConnectionError when nothing listens.
    """
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal():
        raise ValueError(
            f"address must be host:port, such as 10.0.0.1:6379, or auto, got {address!r}; Ray Client carries no study"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(f"no Ray cluster at address {address!r} ({error}); {_REMEDY}") from error


_REMEDY = "start one with `ray start --head`, or leave the address out to use this machine alone"


def _require_same(address: str | None) -> None:
    import ray

    here = ray.get_runtime_context().gcs_address
    if address not in (None, "auto", "local", here):
        raise ValueError(f"this process is connected to Ray at {here} already; leave out address={address!r}")


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Add to the environment, which Ray's processes inherit, and undo it after, with what Ray itself adds."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def offered(demand: Mapping[str, float]) -> list[int]:
    """How many tasks of this demand each live node of the cluster takes at once, when nothing else runs there."""
    return [min(int(node.get(kind, 0) / amount) for kind, amount in demand.items()) for node in _live_nodes()]


def _live_nodes() -> list[dict[str, float]]:
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def require_room(demand: Mapping[str, float]) -> None:
    """Refuse what no node could ever take; Ray would wait for such a node for ever.

    Raises: ValueError that says what each node has.
    """
    if any(offered(demand)):
        return
    nodes = _live_nodes()
    have = "; ".join(dict.fromkeys(_describe({kind: node.get(kind, 0) for kind in demand}) for node in nodes))
    raise ValueError(
        f"a run asks for {_describe(demand)}, and no node of this Ray cluster has that "
        f"({len(nodes)} here, with {have}); ask for less, or add such a node"
    )


def _describe(resources: Mapping[str, float]) -> str:
    return " and ".join(f"{amount:g} {kind}" for kind, amount in resources.items())


LOOK_SECONDS = 0.2
FORGOTTEN_SECONDS = 60.0  # Ray loses a task now and then, and would wait for it for ever (its issues 62535, 63405)


def execute(job: Job) -> None:
    """Run each config in a Ray task with one CPU and, where the job says so, a GPU or a part of one.

    A run whose worker or node is lost goes on from its last whole epoch elsewhere, three tries in all.

    Raises, before any run starts:
        ValueError: when Ray is not installed, or no node has what a run asks for.
        ConnectionError: when no cluster answers at the address.
    And later, FileNotFoundError when a node does not share the output folder.
    """
    gpus = choose_gpus(job)
    demand = {"CPU": 1.0} | ({"GPU": gpus} if gpus else {})
    log_path = job.log("ray")
    cpus = min(job.workers or usable_cores(), len(job.todo))
    address = job.options.get("address")
    with log_path.open("a", encoding="utf-8", buffering=1) as log, redirect_stdout(log), joined(address, cpus):
        require_room(demand)
        with _sign_of_life(log_path.parent) as sign:
            _Study(job, demand, sign, log).execute()


def choose_gpus(job: Job) -> float:
    """The GPUs of one run: as the option says, else one when the device is a GPU. ValueError outside 0 to 1."""
    given = job.options.get("gpus")
    gpus = float(job.device != "cpu") if given is None else float(at_least(0)("gpus", given))
    if gpus > 1:
        raise ValueError(f"gpus must be from 0 to 1, a run uses no more than one GPU, got {given!r}")
    return gpus


def train(task: dict[str, Any], sign: str) -> Iterator[dict[str, Any]]:
    """The body of a Ray task: yield `began`, an event after each epoch, and last what `worker.perform` answers."""
    if not Path(sign).exists():
        yield {"event": "lone", "node": platform.node()}
        return
    yield {"event": "began"}
    epochs: SimpleQueue[int | None] = SimpleQueue()
    with ThreadPoolExecutor(1) as pool:  # training calls back, a generator is called: each needs a thread
        answer = pool.submit(perform, task, epochs.put, lambda: not Path(sign).exists())
        answer.add_done_callback(lambda _: epochs.put(None))
        for epoch in iter(epochs.get, None):
            yield {"event": "epoch", "epoch": epoch}
        yield answer.result()


@dataclass
class _Run:
    """A config on its way: how often its worker was lost, when to try it again, when it has begun."""

    config: RunConfig
    deaths: int = 0
    due: float = 0.0
    began: float | None = None


class _Study:
    """The driver: keeps the cluster supplied with tasks and reads what they say."""

    def __init__(self, job: Job, demand: Mapping[str, float], sign: Path, log: IO[str]) -> None:
        import ray

        self.ray, self.job, self.board, self.demand, self.sign, self.log = ray, job, job.board, demand, sign, log
        self.waiting = deque(_Run(config) for config in job.todo)
        self.streams: dict[Any, _Run] = {}
        self.has_room = True
        self.idle_since: float | None = None  # nothing but our runs takes room, and some of ours wait
        # Ray's own retries do not count a worker that ran out of memory, and would not tell.
        options = {"num_cpus": demand["CPU"], "num_gpus": demand.get("GPU", 0), "max_retries": 0}
        self.remote = ray.remote(**options)(train)
        self.device = {"device": "cuda"} if "GPU" in demand else {}  # Ray shows a task its own GPUs only

    def execute(self) -> None:
        try:
            while self.streams or (self.waiting and not self.board.stopping.is_set()):
                if self.board.stopping.is_set():
                    self._ask_to_stop()
                else:
                    self._submit_due()
                self._end_late()
                self._read()
        finally:
            for stream in self.streams:
                self.ray.cancel(stream, force=True)

    def _submit_due(self) -> None:
        """Keep twice as many tasks with Ray as the cluster takes, so that a node that joins has work at once."""
        slots = sum(offered(self.demand))
        if self.has_room and not slots:
            self.board.say("no node that is left takes a run; waiting for one that does")
        self.has_room = slots > 0
        limit = self.job.workers or max(1, 2 * slots)
        now = time.monotonic()
        for run in [run for run in self.waiting if run.due <= now][: max(0, limit - len(self.streams))]:
            self.waiting.remove(run)
            task = self.job.task(run.config) | self.device
            self.streams[self.remote.options(name=run.config.run_id).remote(task, str(self.sign))] = run

    def _ask_to_stop(self) -> None:
        self.sign.unlink(missing_ok=True)
        for stream in [stream for stream, run in self.streams.items() if run.began is None]:
            self.ray.cancel(stream, force=True)
            del self.streams[stream]

    def _end_late(self) -> None:
        """End the tasks that have taken longer than the job allows."""
        timeout = math.inf if self.job.timeout is None else self.job.timeout
        for stream, run in list(self.streams.items()):
            if run.began is not None and time.monotonic() - run.began > timeout:
                self.ray.cancel(stream, force=True)
                del self.streams[stream]
                self._fail(run, self.job.out_of_time)

    def _read(self) -> None:
        if not self.streams:
            time.sleep(LOOK_SECONDS)
            return
        ready, _ = self.ray.wait(list(self.streams), num_returns=1, timeout=LOOK_SECONDS)
        if not ready:
            self._ask_again()
        for stream in ready:
            run = self.streams[stream]
            try:
                event = self.ray.get(next(stream))
            except self.ray.exceptions.RayTaskError as error:
                raise ConnectionError(
                    f"a node of the cluster cannot run lossbench ({error.cause!r}); install the same version there"
                ) from error
            except (self.ray.exceptions.RayError, StopIteration) as error:
                event = {"event": "lost", "error": type(error).__name__}
            if event["event"] == "epoch":
                self.board.epoch(run.config, event["epoch"])
            elif event["event"] == "began":
                run.began = time.monotonic()
            else:
                del self.streams[stream]
                self._settle(run, event)

    def _ask_again(self) -> None:
        """Put back the runs whose tasks Ray has kept for a while though no node has anything to do for them."""
        waiting = [stream for stream, run in self.streams.items() if run.began is None]
        if not waiting:
            self.idle_since = None
            return
        begun = len(self.streams) - len(waiting)
        # A worker that starts counts as used from its start on, and so does the work of others.
        used = sum(node.get("CPU", 0) for node in _live_nodes()) - self.ray.available_resources().get("CPU", 0)
        if used > begun * self.demand["CPU"]:
            self.idle_since = None
        elif self.idle_since is None:
            self.idle_since = time.monotonic()
        elif time.monotonic() - self.idle_since > FORGOTTEN_SECONDS:
            self.idle_since = None
            self.board.say(f"Ray is idle and has not begun {len(waiting)} of its tasks: giving them out again")
            for stream in waiting:
                self.ray.cancel(stream, force=True)
                self.waiting.append(self.streams.pop(stream))

    def _settle(self, run: _Run, event: dict[str, Any]) -> None:
        """Report the end of a task, or put its run back."""
        match event["event"]:
            case "done":
                self.board.done(run.config, event)
            case "failed":
                with suppress(OSError):  # the log may be on the full disk
                    self.log.write(event["trace"])
                self._fail(run, event["error"], disk_full=event["disk_full"])
            case "held":
                self.waiting.append(_Run(run.config, run.deaths, time.monotonic() + HELD_SECONDS))
            case "lost" if not self.board.stopping.is_set():
                if run.deaths + 1 < TRIES:
                    self.waiting.appendleft(_Run(run.config, run.deaths + 1))
                else:
                    self._fail(run, f"worker ended {TRIES} times, last with {event['error']}")
            case "lone" if not self.board.stopping.is_set():
                raise FileNotFoundError(
                    f"node {event['node']!r} of the cluster does not see {str(self.job.output)!r}; "
                    "choose an --output that all nodes share under one path"
                )

    def _fail(self, run: _Run, why: str, *, disk_full: bool = False) -> None:
        self.board.failed(run.config, f"{why} (see {self.log.name})", disk_full=disk_full)


@contextmanager
def _sign_of_life(logs: Path) -> Iterator[Path]:
    """A file that is there while the study goes on."""
    path = logs / f"ray-{uuid4().hex[:12]}.going"
    path.touch()
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
