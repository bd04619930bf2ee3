"""What `precision="auto"` means on this machine."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from contextlib import suppress
from functools import cache

import torch
from torch import nn

from lossbench.data.loading import cache_folder
from lossbench.files import write_text
from lossbench.training.checkpoint import undisturbed
from lossbench.training.machine import computes_bfloat16, find_device

PAYS = 1.1  # times as fast as float32, from which on bfloat16 is taken
PROBE_SECONDS = 0.5


@cache
def choose_precision() -> str:
    """What `precision="auto"` means here: the faster one of `float32` and `bfloat16`; says once which, and why.

    What was measured is kept in the cache folder for this processor and version of torch, so that a study that is
    taken up again decides as before. Where there is a GPU it is the GPU that is measured.
    """
    device = find_device(None)
    if not computes_bfloat16(device):
        chosen, why = (
            "float32",
            f"this {'processor' if device.type == 'cpu' else 'GPU'} has no instructions for bfloat16",
        )
    else:
        ratio = _remembered_speedup(device)
        chosen = "bfloat16" if ratio >= PAYS else "float32"
        why = f"convolutions train {ratio:.2f} times as fast in bfloat16 as in float32 here; it pays from {PAYS:g}"
    sys.stderr.write(f"precision auto is {chosen}: {why}\n")
    return chosen


def _remembered_speedup(device: torch.device) -> float:
    abilities = getattr(torch.cpu, "get_capabilities", dict)
    known = str(abilities()) if device.type == "cpu" else torch.cuda.get_device_name(device)
    machine = repr((known, torch.__version__, os.environ.get("ONEDNN_MAX_CPU_ISA")))
    name = f"bfloat16-{hashlib.sha256(machine.encode()).hexdigest()[:16]}.txt"
    with suppress(OSError, RuntimeError, ValueError):  # not there, or no number
        if (ratio := float((cache_folder() / name).read_text(encoding="ascii"))) > 0:
            return ratio
    ratio = round(measure_bfloat16(device), 3)
    with suppress(OSError, RuntimeError):  # no folder to keep it in: measured each time
        cache_folder().mkdir(parents=True, exist_ok=True)
        write_text(cache_folder() / name, f"{ratio:.3f}\n")
    return ratio


def measure_bfloat16(device: torch.device) -> float:
    """How many times as fast as in float32 two convolutions train in bfloat16: the best of half a second."""
    clock = time.thread_time if device.type == "cpu" else time.perf_counter  # one thread, whatever else runs
    with undisturbed(threads=1):
        layers = nn.Sequential(nn.Conv2d(32, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3))
        layers = layers.to(device).to(memory_format=torch.channels_last)
        maps = torch.rand(32, 32, 14, 14, device=device).contiguous(memory_format=torch.channels_last)

        def step(half: bool) -> float:
            began = clock()
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
                total = layers(maps).float().sum()
            layers.zero_grad()
            total.backward()
            total.item()  # waits for a GPU
            return clock() - began

        seconds: dict[bool, list[float]] = {half: [step(half), step(half)][1:] for half in (False, True)}
        end = time.perf_counter() + PROBE_SECONDS
        while time.perf_counter() < end:
            for half, taken in seconds.items():
                taken.append(step(half))
    return min(seconds[False]) / min(seconds[True])
