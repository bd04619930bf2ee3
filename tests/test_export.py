"""What other programs get of the runs is what load_runs says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import lossbench
from conftest import Command, write_run
from lossbench import RunConfig, load_history, load_runs
from lossbench.data import load as load_dataset
from lossbench.records import export

CONFIGS = [RunConfig(loss=loss, epochs=3, seed=seed) for loss in ("cross_entropy", "focal") for seed in (0, 1)]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    for config in CONFIGS:
        write_run(tmp_path / "out", config)
    write_run(tmp_path / "out", RunConfig(loss="mse", epochs=3), "diverged")
    return tmp_path / "out"


def test_csv_holds_every_number_to_the_last_bit(output: Path, tmp_path: Path) -> None:
    assert export.export_csv(tmp_path / "runs.csv", output) == 5
    table = pd.read_csv(tmp_path / "runs.csv")
    runs = load_runs(output)
    assert list(table) == list(runs)
    assert table["run_id"].to_list() == runs["run_id"].to_list()
    np.testing.assert_array_equal(table["test_accuracy"], runs["test_accuracy"])
    with pytest.raises(ValueError, match="unknown table 'run'; did you mean 'runs'"):
        export.export_csv(tmp_path / "runs.csv", output, "run")
    with pytest.raises(ValueError, match="no rows of 'runs' in"):
        export.export_csv(tmp_path / "none.csv", tmp_path / "empty")
    assert not (tmp_path / "none.csv").exists()


def test_parquet_comes_back_as_the_same_table(output: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    for table, frame in (("runs", load_runs(output)), ("history", load_history(output))):
        export.export_parquet(tmp_path / f"{table}.parquet", output, table)
        read = pd.read_parquet(tmp_path / f"{table}.parquet")
        pd.testing.assert_frame_equal(read, frame, check_dtype=False)


def test_mlflow_reads_every_run_with_its_curve(output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    store = tmp_path / "mlruns"
    assert (export.export_mlflow(store, output), export.export_mlflow(store, output)) == (5, 0)
    client = mlflow.MlflowClient(tracking_uri=store.as_uri())
    experiment = client.get_experiment_by_name("lossbench")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    table, history = load_runs(output).set_index("run_id"), load_history(output)
    assert set(runs) == set(table.index)
    for run_id, run in runs.items():
        assert run.data.params["loss"] == table.loc[run_id, "loss"]
        assert run.info.status == ("FAILED" if run.data.tags["status"] == "diverged" else "FINISHED")
        curve = client.get_metric_history(run.info.run_id, "val_accuracy")
        points = [point.value for point in sorted(curve, key=lambda point: point.step)]
        assert points == history.loc[history["run_id"] == run_id, "val_accuracy"].to_list()
    run_id = CONFIGS[0].run_id
    assert runs[run_id].data.metrics["test_accuracy"] == table.loc[run_id, "test_accuracy"]


def test_wandb_gets_an_offline_run_for_each(output: Path, tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    leave = sys.exit
    assert (export.export_wandb(tmp_path, output), export.export_wandb(tmp_path, output)) == (5, 0)
    files = list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))
    assert {path.stem.removeprefix("run-") for path in files} == set(load_runs(output)["run_id"])
    assert all(b"test_accuracy" in path.read_bytes() for path in files if "mse" not in path.name)
    assert sys.exit is leave


def test_an_onnx_file_gives_the_runs_predictions(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    from lossbench.training.onnx import export_onnx

    config = RunConfig(dataset="shapes", epochs=1, train_size=40, probability="taylor_softmax")
    record = lossbench.run(config, tmp_path, keep="weights")
    trained = lossbench.load(record.path.name, tmp_path)
    session = onnxruntime.InferenceSession(export_onnx(tmp_path / "network.onnx", trained))
    images = load_dataset("shapes").test.images.numpy()
    log_probs = session.run(None, {"images": images})[0]
    np.testing.assert_allclose(log_probs, record.predictions[1], atol=1e-5)
    assert session.run(None, {"images": images[:1]})[0].shape == (1, len(trained.class_names)), "any number of images"
    facts = session.get_modelmeta().custom_metadata_map
    assert (facts["run_id"], json.loads(facts["class_names"])) == (record.path.name, list(trained.class_names))


@pytest.mark.parametrize(("extra", "package"), export.PACKAGES.items())
def test_what_is_not_installed_is_said_with_the_command(
    extra: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    done = command("export", extra, *(["some-run"] if extra == "onnx" else []), tmp_path / "file")
    message = f"error: {package} is not installed; install it with pip install 'lossbench[{extra}]'\n"
    assert (done.returncode, done.stderr) == (2, message)


def test_tables_are_written_without_torch(output: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from lossbench.records.export import export_csv\n"
        f"export_csv(Path({str(tmp_path / 'runs.csv')!r}), Path({str(output)!r})); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
