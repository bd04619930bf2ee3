"""The committed runs as a data set: Parquet and Croissant say what the packed studies say."""

from __future__ import annotations

import ast
import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import lossbench
from docs import make_dataset
from lossbench import RunConfig
from lossbench.records.packed import TABLES

FOLDER = make_dataset.FOLDER
DESCRIPTION: dict[str, Any] = json.loads((FOLDER / "croissant.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("table", TABLES)
def test_parquet_holds_what_the_studies_hold(table: str) -> None:
    pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    frame, written = lossbench.reference(table), pd.read_parquet(FOLDER / f"{table}.parquet")
    pd.testing.assert_frame_equal(written, frame[list(written)], check_dtype=False)
    newer = set(frame) - set(written)  # settings that did not exist then: all runs are at their defaults
    assert newer <= set(RunConfig.defaults())
    assert all(frame[name].nunique(dropna=False) == 1 for name in newer)


def test_the_description_is_of_the_files_that_lie_here() -> None:
    digests = {entry["contentUrl"]: entry["sha256"] for entry in DESCRIPTION["distribution"]}
    assert set(digests) == {f"{table}.parquet" for table in TABLES}
    for name, digest in digests.items():
        assert sha256((FOLDER / name).read_bytes()).hexdigest() == digest, "call python -m docs.make_dataset"


def test_the_description_is_what_would_be_written_now() -> None:
    now = make_dataset.describe()
    assert {**now, "recordSet": None} == {**DESCRIPTION, "recordSet": None}, "call python -m docs.make_dataset"
    for here, there in zip(now["recordSet"], DESCRIPTION["recordSet"], strict=True):
        fields = {field["@id"]: field for field in here["field"]}
        assert all(fields[field["@id"]] == field for field in there["field"])


def test_croissant_finds_nothing_wrong_and_reads_the_rows() -> None:
    mlcroissant = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed")
    dataset = mlcroissant.Dataset(jsonld=str(FOLDER / "croissant.json"))
    assert dataset.metadata.issues.errors == dataset.metadata.issues.warnings == set()
    first = next(iter(dataset.records("runs")))
    assert first["runs/run_id"].decode() == lossbench.reference()["run_id"].iloc[0]


def test_the_reference_table_is_load_runs_of_the_committed_studies() -> None:
    pd.testing.assert_frame_equal(lossbench.reference(), lossbench.load_runs(FOLDER))
    with pytest.raises(ValueError, match="unknown table 'run'; did you mean 'runs'"):
        lossbench.reference("run")


def test_the_questions_of_the_datasheet_are_answered_as_printed() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    start, *questions = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(questions) == 3
    namespace: dict[str, Any] = {}
    exec(start, namespace)
    answers = []
    for question in questions:
        *before, last = ast.parse(question).body
        assert isinstance(last, ast.Expr)
        exec("\n".join(ast.unparse(line) for line in before), namespace)
        answers.append(eval(ast.unparse(last), namespace))
    best, spread, pair = answers
    assert set(best["loss"]) == {"adma", "js_divergence"}, "as the README's answer says"
    assert 0 < spread["50%"] < 0.05
    assert pair in {(0, 6), (6, 0)}, "T-shirt and shirt"


def test_every_study_that_lies_here_is_in_it() -> None:
    names = {path.parent.name for path in Path(FOLDER).glob("*/study.json")}
    assert set(lossbench.reference()["study"]) == names
