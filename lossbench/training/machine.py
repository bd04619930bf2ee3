"""Where a run is computed: device, cores, memory, versions."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

import lossbench

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def usable_cores() -> int:
    """Cores that this process may use, fewer than the machine has in a container or a Slurm job."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Where and with what a run was computed, without naming the machine."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "peak_memory_mb": peak_memory_mb(),
        "commit": _commit(),
        "versions": {
            "lossbench": lossbench.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
    }


@cache
def keep_freed_memory() -> bool:
    """Let the C library keep freed memory for the next step instead of giving it back. True where it could be asked.

    Otherwise every training step gets fresh pages for its activations, and the system clears each one first: a fifth
    of a step's time on a CPU. The process stays at its peak, which it reaches again at the next step anyway.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt  # glibc only
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, 1 << 28) and mallopt(_M_TRIM_THRESHOLD, 1 << 29))


def find_device(device: str | None) -> torch.device:
    """The device asked for, or the best there is. ValueError when it is not there."""
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.zeros(1, device=found).item()  # a number that can be read back, which "meta" has not
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        here = "cpu" + (", cuda" if torch.cuda.is_available() else "")
        raise ValueError(f"device {device!r} is not available; choose from {here}") from error
    return found


def warn_of_slow_precision(precision: str, device: torch.device) -> None:
    """Warn where bfloat16 is asked for and the device has to imitate it, which takes several times longer."""
    if precision == "bfloat16" and not computes_bfloat16(device):
        what = "processor" if device.type == "cpu" else "GPU"
        warnings.warn(
            f"this {what} has no instructions for bfloat16 and imitates them, several times slower than float32; "
            "leave precision at 'float32' here",
            stacklevel=3,
        )


def computes_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16; True where that cannot be told."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return True
    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16"))


def peak_memory_mb() -> float | None:
    """Largest resident memory of this process so far; None where the system does not tell."""
    try:
        # Linux's getrusage starts a child at its parent's peak, which says nothing about the child.
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return round(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 2**10, 1)
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


@cache
def _commit() -> str | None:
    """The commit of a source checkout; None when installed without one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
