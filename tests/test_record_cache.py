"""The cache of rows saves reading and changes nothing: whatever becomes of it, the table is that of the records."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from opened_files import opened_files

from conftest import write_run
from lossbench import RunConfig, load_runs, records
from lossbench.record_cache import NAME


@pytest.fixture
def output(study_folder: Callable[..., Path]) -> Path:
    return study_folder(seeds=(0, 1), epochs=2)


def without_cache(output: Path) -> pd.DataFrame:
    (output / NAME).unlink(missing_ok=True)
    return load_runs(output)


def change_result(record: records.Record, **values: object) -> None:
    """Write into the file as it lies, keeping its time of change."""
    path = record.path / "result.json"
    before = path.stat()
    path.write_text(json.dumps({**record.result, **values}))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_only_what_is_new_is_read(output: Path) -> None:
    with opened_files() as opened:
        first = load_runs(output)
    assert len(opened) == 2 * len(first), "a config and a result each"
    with opened_files() as opened:
        pd.testing.assert_frame_equal(load_runs(output), first, check_exact=True)
    assert opened == []
    new = write_run(output, RunConfig(seed=9, epochs=2))
    with opened_files() as opened:
        assert set(load_runs(output)["run_id"]) == {*first["run_id"], new.path.name}
    assert sorted(Path(name).name for name in opened) == ["config.json", "result.json"]


def test_a_changed_record_is_read_again(output: Path) -> None:
    record = next(records.find_records(output))
    load_runs(output)
    change_result(record, test_accuracy=0.125)
    with opened_files() as opened:
        runs = load_runs(output).set_index("run_id")
    assert runs.loc[record.path.name, "test_accuracy"] == 0.125
    assert {Path(name).parent.name for name in opened} == {record.path.name}


def test_a_record_that_is_gone_is_no_row(output: Path) -> None:
    record = next(records.find_records(output))
    before = load_runs(output)
    (record.path / "result.json").unlink()
    after = load_runs(output)
    assert set(before["run_id"]) - set(after["run_id"]) == {record.path.name}


@pytest.mark.parametrize("content", [b"", b"{}", b"\n", b"abc\n{}", bytes(range(256))])
def test_a_damaged_cache_is_made_anew(output: Path, content: bytes) -> None:
    expected = load_runs(output)
    (output / NAME).write_bytes(content)
    pd.testing.assert_frame_equal(load_runs(output), expected)
    with opened_files() as opened:
        load_runs(output)
    assert opened == [], "it serves again"


def test_a_flipped_digit_in_the_cache_is_no_score(output: Path) -> None:
    expected = load_runs(output)
    content = bytearray((output / NAME).read_bytes())
    place = content.index(b'"test_accuracy":0.') + len(b'"test_accuracy":0.')
    content[place] ^= 1
    (output / NAME).write_bytes(content)
    pd.testing.assert_frame_equal(load_runs(output), expected)


def test_a_cache_of_another_version_is_not_used(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_runs(output)
    monkeypatch.setattr(records, "_text", lambda params: "other")
    assert "other" not in set(load_runs(output)["loss_params"]), "the cache served"
    monkeypatch.setattr(records, "CACHE_FORM", records.CACHE_FORM + 1)
    assert set(load_runs(output)["loss_params"]) == {"other"}


def test_a_folder_that_takes_no_cache_is_read_all_the_same(output: Path) -> None:
    expected = load_runs(output)
    (output / NAME).unlink()
    (output / NAME).mkdir()
    pd.testing.assert_frame_equal(load_runs(output), expected)
    assert [path.name for path in output.glob(".*")] == [NAME], "no half-written file stays"


def test_a_skipped_record_is_looked_at_again(output: Path) -> None:
    record = next(records.find_records(output))
    whole = (record.path / "result.json").read_text()
    (record.path / "result.json").write_text("{")
    for _ in range(2):
        with pytest.warns(UserWarning, match=record.path.name):
            assert list(load_runs(output, damaged="skip").attrs["damaged"]) == [record.path.name]
    (record.path / "result.json").write_text(whole)
    assert record.path.name in set(load_runs(output)["run_id"])


def test_several_processes_read_and_write_while_runs_end(output: Path) -> None:
    code = (
        "import sys, lossbench\n"
        "sizes = [len(lossbench.load_runs(sys.argv[1])) for _ in range(30)]\n"
        "assert sizes == sorted(sizes), sizes"
    )
    readers = [subprocess.Popen([sys.executable, "-W", "error", "-c", code, str(output)]) for _ in range(3)]
    for seed in range(20, 40):
        write_run(output, RunConfig(seed=seed, epochs=1), images=50)
        (output / NAME).unlink(missing_ok=True)
        load_runs(output)
    assert [reader.wait(timeout=120) for reader in readers] == [0, 0, 0]
    kept = load_runs(output)
    assert len(kept) == 20 + 20
    pd.testing.assert_frame_equal(kept, without_cache(output))
