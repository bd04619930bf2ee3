"""The state of an unfinished run: whole, checked and readable without running any code; and the one before it."""

from __future__ import annotations

import errno
import hashlib
import io
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lossbench.config import RunConfig
from lossbench.files import replacing
from lossbench.registry import unknown
from lossbench.training.machine import describe_machine

RESUMES = ("same", "anyway", "never")

_NAME, _PREVIOUS = "checkpoint.pt", "checkpoint.previous.pt"
_DIGEST_BYTES = 32


def write_checkpoint(folder: Path, state: Mapping[str, Any]) -> None:
    """Make `state` the folder's checkpoint: a sha256 digest, then what torch saves. The one before it is kept.

    The new file is read back before it counts. Raises: DiskFull, or OSError when it was not written as it should be;
    the checkpoint of before then stands.
    """
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    payload = buffer.getbuffer()
    path = folder / _NAME
    with replacing(path) as temporary:
        with temporary.open("wb") as file:
            file.write(hashlib.sha256(payload).digest())
            file.write(payload)
        if _read_payload(temporary) is None:
            raise OSError(errno.EIO, "the disk returned something else than was written", str(path))
        if path.exists():
            path.replace(folder / _PREVIOUS)


def read_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The newest state that is undamaged, or None where there is none. Warns of each damaged file that it passes over.

    A file that holds more than tensors and plain values is damaged too: no code in it is run.
    """
    for name in (_NAME, _PREVIOUS):
        path = folder / name
        if not path.exists():
            continue
        if (payload := _read_payload(path)) is not None:
            try:
                state = torch.load(io.BytesIO(payload), weights_only=True, map_location="cpu")
            except Exception:  # whatever torch says of a file that it did not write
                state = None
            if isinstance(state, dict):
                return state
        warnings.warn(f"{path} is damaged and not used; the run goes on from what was before it", stacklevel=2)
    return None


def remove_checkpoint(folder: Path) -> None:
    """Delete the checkpoints, if there are any."""
    for name in (_PREVIOUS, _NAME):
        (folder / name).unlink(missing_ok=True)


def describe_origin(config: RunConfig, device: torch.device, fingerprint: str) -> dict[str, Any]:
    """What a state belongs to and what its next epoch's exact bits depend on; `fingerprint` is the data set's."""
    machine = describe_machine(device)
    versions = {name: str(machine["versions"][name]) for name in ("torch", "lossbench")}
    belongs = {"config": config.trained(), "data": fingerprint}
    return {**belongs, "threads": machine["threads"], "device": machine["device"], **versions}


def find_resumable(folder: Path, origin: Mapping[str, Any], resume: str) -> dict[str, Any] | None:
    """The state in `folder` to go on from, or None to start from the first epoch.

    A state of another config is never used, which is said in a warning.

    Args:
        folder: the run's.
        origin: `describe_origin` of the run to come.
        resume: `same` goes on only where the outcome will be bit-identical to an unbroken run's, `anyway` also after
            a change of threads, device or versions, `never` starts over.

    Raises: ValueError for another `resume`, or under `same` when threads, device or versions have changed.
    """
    if resume not in RESUMES:
        raise ValueError(unknown("choice of resume", resume, RESUMES))
    state = None if resume == "never" else read_checkpoint(folder)
    if state is None:
        return None
    before = state.get("origin", {})
    before = {**before, "config": RunConfig.defaults() | before.get("config", {})}  # of a version with fewer fields
    before.setdefault("data", origin["data"])
    for key, what in (("config", "config"), ("data", "version of its data set")):
        if before[key] != origin[key]:
            warnings.warn(f"{folder / _NAME} belongs to another {what} and is not used", stacklevel=2)
            return None
    changed = [f"{key} {before.get(key)} (now {now})" for key, now in origin.items() if before.get(key) != now]
    if changed and resume == "same":
        raise ValueError(
            f"{folder / _NAME} was written under {', '.join(changed)}: what follows would not be bit-identical to an "
            "unbroken run. Go back to that, or give `lossbench run` --resume anyway, or delete the folder to start over"
        )
    return state


def save_streams() -> dict[str, Any]:
    """The global random streams of Python and numpy, which a loss may draw from, as plain values."""
    version, numbers, gauss = random.getstate()
    name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002  the global stream is what is meant
    assert isinstance(keys, np.ndarray)
    return {"python": [version, list(numbers), gauss], "numpy": [name, keys.tolist(), *rest]}


def restore_streams(streams: Mapping[str, Any]) -> None:
    """Put the streams back to where `save_streams` found them."""
    version, numbers, gauss = streams["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = streams["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))  # noqa: NPY002


@contextmanager
def undisturbed(threads: int | None = None) -> Iterator[None]:
    """Start a run from the settings that its numbers depend on, and put back what it or a user's loss has changed.

    Random streams, too, stand afterwards where they stood before; `threads` None leaves torch's own number.
    """
    before = [read() for read, _, _ in _SETTINGS]
    streams, torch_stream = save_streams(), torch.get_rng_state()
    cuda_streams = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    for (_, write, wanted), value in zip(_SETTINGS, before, strict=True):
        if wanted is not None and value != wanted:
            write(wanted)
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        for (read, write, _), value in zip(_SETTINGS, before, strict=True):
            if read() != value:
                write(value)
        restore_streams(streams)
        torch.set_rng_state(torch_stream)
        if cuda_streams:
            torch.cuda.set_rng_state_all(cuda_streams)


def _set_device(device: torch.device) -> None:
    torch.set_default_device(None if device == torch.device("cpu") else device)  # "cpu" would slow every call down


_SETTINGS: tuple[tuple[Callable[[], Any], Callable[[Any], object], Any], ...] = (  # how to read, to write; for a run
    (torch.get_default_device, _set_device, torch.device("cpu")),
    (torch.get_default_dtype, torch.set_default_dtype, torch.float32),
    (torch.is_grad_enabled, torch.set_grad_enabled, True),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest"),
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode, None),
    (torch.is_anomaly_enabled, torch.set_anomaly_enabled, None),
    (torch.get_num_threads, torch.set_num_threads, None),
    (np.geterr, lambda errors: np.seterr(**errors), None),
)


def _read_payload(path: Path) -> bytes | None:
    content = path.read_bytes()
    digest, payload = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    return payload if hashlib.sha256(payload).digest() == digest else None
