"""A Ray cluster: one that is there is joined, or one is started on this machine and stopped again."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from lossbench.engines.process import SINGLE_THREAD
from lossbench.engines.reaper import watch_descendants

ANSWER_SECONDS = 3.0
STORE_BYTES = 80_000_000  # a little above Ray's least: runs pass each other nothing, and /dev/shm may be small

_QUIET = {"RAY_USAGE_STATS_ENABLED": "0"}
# Ray's ports run whatever they are sent (CVE-2023-48022). This setting, the default on macOS, binds them to 127.0.0.1;
# Ray reads it when it is imported.
_ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
_OPENING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))  # RFC 9113, with empty settings
_SETTINGS = 4


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
        if not starts:
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
    except Exception as error:  # Ray raises bare Exception, too
        reason = " ".join(str(error).split())
        if address == "local":
            raise ConnectionError(f"Ray did not start on this machine ({reason})") from error
        raise ConnectionError(
            f"cannot join the Ray cluster at {address} ({reason}); start the study on one of its nodes, which "
            f"`ray start --address=...` makes of this machine; where it asks for a token, set RAY_AUTH_MODE=token"
        ) from error


def require_answer(address: str) -> None:
    """Find out within seconds whether a cluster answers at `address`; Ray itself tries for minutes.

    Raises: ValueError for an address of another form, ConnectionError when nothing answers.
    """
    from ray._private.services import canonicalize_bootstrap_address  # what ray.init does first

    if "://" in address:
        raise ValueError(f"address must be host:port or auto, got {address!r}; Ray Client cannot carry a study")
    try:
        host, _, port = str(canonicalize_bootstrap_address(address)).rpartition(":")
        kind = _first_frame(host.strip("[]"), int(port))
    except ValueError as error:
        raise ValueError(f"address must be host:port, such as 10.0.0.1:6379, or auto, got {address!r}") from error
    except OSError as error:
        raise ConnectionError(f"no Ray cluster at address {address!r} ({error}); {_REMEDY}") from error
    if kind != _SETTINGS and not os.environ.get("RAY_USE_TLS"):
        raise ConnectionError(f"what answers at address {address!r} is no Ray cluster; {_REMEDY}")


_REMEDY = "start one with `ray start --head`, or leave the address out to use this machine alone"


def _first_frame(host: str, port: int) -> int | None:
    """The kind of the first HTTP/2 frame that a server sends, as Ray's head does; None when it sends none."""
    with socket.create_connection((host, port), timeout=ANSWER_SECONDS) as connection:
        if os.environ.get("RAY_USE_TLS"):
            return None
        connection.sendall(_OPENING)
        header = connection.recv(9)
    return header[3] if len(header) == 9 else None


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
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [min(int(node.get(kind, 0) / amount) for kind, amount in demand.items()) for node in nodes]


def require_room(demand: Mapping[str, float]) -> None:
    """Refuse what no node could ever take; Ray would wait for such a node for ever.

    Raises: ValueError that says what each node has.
    """
    import ray

    if any(offered(demand)):
        return
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    have = "; ".join(dict.fromkeys(_describe({kind: node.get(kind, 0) for kind in demand}) for node in nodes))
    raise ValueError(
        f"a run asks for {_describe(demand)}, and no node of this Ray cluster has that "
        f"({len(nodes)} here, with {have}); ask for less, or add such a node"
    )


def _describe(resources: Mapping[str, float]) -> str:
    return " and ".join(f"{amount:g} {kind}" for kind, amount in resources.items())
