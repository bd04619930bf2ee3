"""What a record says about where it was computed."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from lossbench import machine
from lossbench.machine import (
    computes_bfloat16,
    describe_machine,
    find_device,
    peak_memory_mb,
    usable_cores,
    warn_of_slow_precision,
)

CPU = torch.device("cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not start a child at its parent's peak")
def test_a_childs_peak_memory_is_its_own_and_not_its_parents() -> None:
    ballast = torch.ones(1500 * 2**20, dtype=torch.uint8)
    code = "from lossbench.machine import peak_memory_mb; print(peak_memory_mb())"
    child = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert peak_memory_mb() > 1500 > child
    del ballast


def test_peak_memory_grows_with_what_is_held() -> None:
    before = peak_memory_mb()
    ballast = torch.ones((int(before) + 200) * 2**20, dtype=torch.uint8)
    assert peak_memory_mb() >= before + 150
    del ballast


def test_the_machine_is_described_without_its_name() -> None:
    import socket

    described = describe_machine(torch.device("cpu"))
    assert (described["device"], described["threads"]) == ("cpu", torch.get_num_threads())
    assert described["versions"]["torch"] == torch.__version__
    assert socket.gethostname() not in str(described)


def test_there_is_always_a_device_and_a_core() -> None:
    assert find_device(None).type in ("cpu", "cuda")
    assert usable_cores() >= 1


@pytest.mark.parametrize(
    ("able", "expected"),
    [
        ({"avx2": True}, False),
        ({"avx512_f": True, "avx512_bf16": False}, False),
        ({"avx512_f": True, "avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"neon": True, "bf16": True}, True),
    ],
)
def test_bfloat16_is_known_by_the_processors_instructions(
    able: dict[str, bool], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
    assert computes_bfloat16(CPU) is expected


def test_a_torch_that_cannot_tell_warns_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert computes_bfloat16(CPU)


def test_imitated_bfloat16_is_warned_of(monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder) -> None:
    monkeypatch.setattr(machine, "computes_bfloat16", lambda device: False)
    warn_of_slow_precision("float32", CPU)
    assert not recwarn.list
    with pytest.warns(UserWarning, match="several times slower"):
        warn_of_slow_precision("bfloat16", CPU)
