"""Checkpoints: damaged ones are refused, hostile ones run nothing, those of another setting are not used silently."""

from __future__ import annotations

import builtins
import hashlib
import io
import os
import pickle
import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lossbench import RunConfig, run
from lossbench.records.record import Record
from lossbench.studies.worker import Stop
from lossbench.training.checkpoint import read_checkpoint, restore_streams, save_streams, write_checkpoint

CONFIG = RunConfig(dataset="shapes", epochs=4, train_size=64)
STATE = {"epoch": 1, "weights": torch.arange(500.0), "history": [{"epoch": 1, "loss": 0.5}]}


def stop_after(epoch: int) -> Callable[[dict[str, float]], None]:
    def progress(row: dict[str, float]) -> None:
        if row["epoch"] == epoch:
            raise Stop

    return progress


def interrupt(output: Path, epoch: int = 3, **arguments: Any) -> Path:
    """Run until after this epoch. The run's folder."""
    with pytest.raises(Stop):
        run(CONFIG, output, progress=stop_after(epoch), **arguments)
    return Record.of(CONFIG, output).path


def files(path: Path) -> list[bytes]:
    return [(path / name).read_bytes() for name in ("history.csv", "predictions.npz")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return files(run(CONFIG, tmp_path_factory.mktemp("whole")).path)


@pytest.mark.filterwarnings("ignore:.*damaged and not used")
def test_a_flipped_bit_or_a_cut_anywhere_is_refused_and_the_one_before_is_used(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, STATE)
    write_checkpoint(tmp_path, {**STATE, "epoch": 2})
    path = tmp_path / "checkpoint.pt"
    good = path.read_bytes()
    rng = random.Random(0)
    flips = [(rng.randrange(len(good)), 1 << rng.randrange(8)) for _ in range(200)]
    damaged = [good[:at] + bytes([good[at] ^ bit]) + good[at + 1 :] for at, bit in flips]
    damaged += [good[: rng.randrange(len(good))] for _ in range(50)]
    epochs = []
    for content in damaged:
        path.write_bytes(content)
        epochs.append(read_checkpoint(tmp_path)["epoch"])  # type: ignore[index]
    assert epochs == [1] * 250
    path.write_bytes(good)
    assert read_checkpoint(tmp_path)["epoch"] == 2  # type: ignore[index]


def test_two_damaged_ones_leave_nothing_and_each_is_named(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, STATE)
    write_checkpoint(tmp_path, STATE)
    for name in ("checkpoint.pt", "checkpoint.previous.pt"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.warns(UserWarning, match="damaged") as said:
        assert read_checkpoint(tmp_path) is None
    named = [str(warning.message).split(" is ")[0] for warning in said]
    assert named == [str(tmp_path / name) for name in ("checkpoint.pt", "checkpoint.previous.pt")]


def test_a_run_whose_checkpoint_is_damaged_goes_on_from_the_one_before(tmp_path: Path, whole: list[bytes]) -> None:
    path = interrupt(tmp_path) / "checkpoint.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    seen: list[float] = []
    with pytest.warns(UserWarning, match=rf"{re.escape(str(path))} is damaged and not used"):
        record = run(CONFIG, tmp_path, progress=lambda row: seen.append(row["epoch"]))
    assert seen == [3, 4]
    assert files(record.path) == whole


def test_what_the_disk_returns_wrongly_never_replaces_a_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path, STATE)
    monkeypatch.setattr("lossbench.training.checkpoint._read_payload", lambda path: None)
    with pytest.raises(OSError, match=r"returned something else than was written.*checkpoint\.pt"):
        write_checkpoint(tmp_path, {**STATE, "epoch": 2})
    monkeypatch.undo()
    assert read_checkpoint(tmp_path)["epoch"] == 1  # type: ignore[index]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


class Hostile:
    """Unpickled, it calls something."""

    def __init__(self, call: Callable[..., object], *arguments: object) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call, self.arguments


def hostile(marker: Path) -> dict[str, object]:
    """Five forms of a pickle that writes to `marker`."""
    python, shell = f"open({str(marker)!r}, 'w').close()", f"touch {marker}"
    return {
        "os.system": Hostile(os.system, shell),
        "eval": Hostile(builtins.eval, python),
        "exec": Hostile(builtins.exec, python),
        "inside a state": {"epoch": 1, "history": [(Hostile(os.system, shell),)]},
        "as an argument": Hostile(str, Hostile(os.system, shell)),
    }


def as_torch(value: object, protocol: int) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, pickle_protocol=protocol)
    return buffer.getvalue()


FORMS = {
    "torch": lambda value: as_torch(value, 2),
    "torch protocol 4": lambda value: as_torch(value, 4),
    "pickle": lambda value: pickle.dumps(value, 2),
}


@pytest.mark.parametrize("kind", list(hostile(Path())))
def test_a_hostile_checkpoint_runs_nothing_and_the_run_starts_over(
    tmp_path: Path, kind: str, whole: list[bytes]
) -> None:
    marker = tmp_path / "marker"
    value = hostile(marker)[kind]
    path = interrupt(tmp_path / "out", 1)
    for form in FORMS.values():
        payload = form(value)
        for content in (payload, hashlib.sha256(payload).digest() + payload):  # an attacker can compute a digest
            (path / "checkpoint.pt").write_bytes(content)
            with pytest.warns(UserWarning, match="is damaged and not used"):
                assert read_checkpoint(path) is None
    with pytest.warns(UserWarning, match="is damaged and not used"):
        record = run(CONFIG, tmp_path / "out")
    assert files(record.path) == whole
    assert not marker.exists()
    pickle.loads(pickle.dumps(value))
    assert marker.exists(), "the pickle is a hostile one indeed"


def test_hostile_predictions_run_nothing(tmp_path: Path) -> None:
    record = run(replace(CONFIG, epochs=1), tmp_path / "out")
    marker = tmp_path / "marker"
    array = np.array([Hostile(os.system, f"touch {marker}")], dtype=object)
    np.savez(record.path / "predictions.npz", target=array, log_probs=array)
    with pytest.raises(ValueError, match="its checksum is another"):
        _ = record.predictions
    (record.path / "result.json").write_text("{}", encoding="utf-8")  # of a version without checksums
    with pytest.raises(ValueError, match="allow_pickle=False"):
        _ = record.predictions
    assert not marker.exists()


def test_another_number_of_threads_is_refused_unless_told_otherwise(tmp_path: Path) -> None:
    path = interrupt(tmp_path, threads=2)
    with pytest.raises(ValueError, match=r"checkpoint\.pt was written under threads 2 \(now 1\).*--resume anyway"):
        run(CONFIG, tmp_path)
    assert (path / "checkpoint.pt").exists()
    assert not (path / "lease.json").exists()
    seen: list[float] = []
    run(CONFIG, tmp_path, resume="anyway", progress=lambda row: seen.append(row["epoch"]))
    assert seen == [4]


def test_another_torch_is_refused_and_never_starts_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: list[bytes]
) -> None:
    interrupt(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "1.0")
        with pytest.raises(ValueError, match=r"was written under torch .* \(now 1\.0\)"):
            run(CONFIG, tmp_path)
    seen: list[float] = []
    record = run(CONFIG, tmp_path, resume="never", progress=lambda row: seen.append(row["epoch"]))
    assert seen == [1, 2, 3, 4]
    assert files(record.path) == whole
    with pytest.raises(ValueError, match="unknown choice of resume 'alway'; did you mean 'anyway'"):
        run(replace(CONFIG, seed=1), tmp_path, resume="alway")


def test_a_checkpoint_of_another_config_is_not_used(tmp_path: Path) -> None:
    other = replace(CONFIG, seed=1)
    expected = files(run(other, tmp_path / "whole").path)
    checkpoint = (interrupt(tmp_path) / "checkpoint.pt").read_bytes()
    folder = Record.of(other, tmp_path).path
    folder.mkdir(parents=True)
    (folder / "checkpoint.pt").write_bytes(checkpoint)
    with pytest.warns(UserWarning, match="belongs to another config and is not used"):
        assert files(run(other, tmp_path).path) == expected


def test_the_global_streams_of_python_and_numpy_go_on_where_they_were(tmp_path: Path) -> None:
    def draw() -> list[float]:
        return [random.random(), random.gauss(0, 1), np.random.normal(), np.random.rand()]  # noqa: NPY002

    draw()  # leaves a second normal number of each in store
    write_checkpoint(tmp_path, {"streams": save_streams()})
    expected = draw()
    restore_streams(read_checkpoint(tmp_path)["streams"])  # type: ignore[index]
    assert draw() == expected
