"""The GPU benchmark runs in one call, on a CPU too, and its figures fit together."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import lossbench
from benchmarks import gpu, gpu_ways

QUICK = ["--device", "cpu", "--threads", "1", "--models", "small_cnn", "--batches", "8"]


def test_it_compares_the_three_ways_and_writes_their_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_ways, "LOSSES", 3)
    sizes = ["--precisions", "float32", "--steps", "1", "--rounds", "2", "--images", "grey", "--loader-workers", "0"]
    gpu.main([*QUICK, *sizes, "--output", str(tmp_path)])
    table = pd.read_csv(tmp_path / "gpu-cpu.csv").set_index("way")
    assert list(table.index) == ["plain loop", "one after the other", "ensemble"]
    assert table["failed"].isna().all()
    assert (table["lowest"] <= table["images_per_second"]).all()
    assert (table["images_per_second"] <= table["highest"]).all()
    assert table.loc["one after the other", "to one after the other"] == 1
    hours = 15 * 170_000 * 75 / table["images_per_second"] / 3600
    assert table["hours_paper_000"].to_list() == pytest.approx(hours.to_list())
    said = capsys.readouterr().out
    assert "n = 2 rounds of 1 steps" in said
    assert "CPU" in said


def test_what_cannot_run_is_a_finding_and_the_others_go_on() -> None:
    def breaks() -> gpu_ways.Way:
        raise RuntimeError("no room\nfor it")

    ready, failures = gpu.warm_up({("ensemble", "off"): breaks, ("plain loop", "off"): lambda: lambda: 7})
    assert list(ready) == [("plain loop", "off")]
    assert failures == {("ensemble", "off"): "RuntimeError: no room"}


def test_enlarged_images_have_three_equal_colours() -> None:
    dataset = gpu_ways.make_images("colour")
    assert dataset.image_shape == (3, 32, 32)
    assert (len(dataset.mean), len(dataset.std)) == (3, 3)
    assert (dataset.train.images[:, 0] == dataset.train.images[:, 2]).all()


def test_the_paper_is_trained_for_real_when_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "paper"
    options = ["--paper-000", str(folder), "--datasets", "shapes", "--epochs", "1", "--train-size", "16"]
    gpu.main([*QUICK, *options, "--precisions", "float32"])
    runs = lossbench.load_runs(folder)
    assert len(runs) == 15
    assert set(runs["selection"]) == {"best_test"}
    assert "15 of 15 runs finished" in capsys.readouterr().out
