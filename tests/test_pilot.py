"""What a difference costs, from a pilot's spread: against statsmodels' power, and simulated studies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.power import TTestPower

from conftest import Command, write_run
from lossbench import load_runs, stats
from lossbench.studies.plans import plan_losses

DIFFERENCE = 0.02


def pilot(n: int = 6, losses: tuple[str, ...] = ("mse", "js_divergence"), sd: float = 0.015) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    seeds = np.arange(n)
    base = 0.8 + 0.02 * rng.normal(size=n)
    tables = []
    for k, loss in enumerate(("cross_entropy", *losses)):
        scores = base + (0 if k == 0 else 0.01 + k * sd * rng.normal(size=n))
        fields: dict[str, object] = {
            "dataset": "shapes",
            "model": "small_cnn",
            "loss": loss,
            "label": loss,
            "probability": "softmax",
        }
        tables.append(
            pd.DataFrame(
                {**fields, "seed": seeds, "status": "finished", "test_accuracy": scores, "seconds": 10.0 * (k + 1)}
            )
        )
    return pd.concat(tables, ignore_index=True)


def test_the_pairs_are_the_fewest_that_reach_the_power() -> None:
    runs = pilot()
    for row in stats.plan(runs, DIFFERENCE).to_dict("records"):
        differences = stats.paired_differences(runs).query(f"loss == '{row['loss']}'")["difference"]
        assert row["sd"] == pytest.approx(np.std(differences, ddof=1))
        solver, n = TTestPower(), row["pairs_difference"]
        reached, less = (solver.power(DIFFERENCE / row["sd"], k, 0.05 / 2) for k in (n, n - 1))
        assert less < 0.8 <= reached, "two losses are corrected for"
        assert row["pairs"] == max(row["pairs_difference"], row["pairs_equivalence"]) <= row["pairs_high"]


def test_studies_with_so_many_pairs_find_the_difference_and_exclude_it_in_eighty_of_a_hundred() -> None:
    (row,) = stats.plan(pilot(losses=("mse",)), DIFFERENCE).to_dict("records")
    rng = np.random.default_rng(8)

    def share(true: float, n: int, words: tuple[str, ...]) -> float:
        samples = rng.normal(true, row["sd"], size=(600, n))
        judged = [stats.judge([sample], margin=DIFFERENCE)[0] for sample in samples]
        return float(np.mean([judgement.verdict in words for judgement in judged]))

    assert share(DIFFERENCE, int(row["pairs_difference"]), ("better", "slightly better")) == pytest.approx(
        0.8, abs=0.08
    )
    same = ("equivalent", "slightly better", "slightly worse")
    assert share(0.0, int(row["pairs_equivalence"]), same) == pytest.approx(0.8, abs=0.08)


def test_the_cost_is_that_of_both_runs_of_all_pairs() -> None:
    runs = pilot().assign(threads=2)
    row = stats.plan(runs, DIFFERENCE, price=0.5).set_index("loss").loc["mse"]
    assert row["seconds"] == 2 * (10 + 20)
    assert row["hours"] == pytest.approx(row["pairs"] * 60 / 3600)
    assert row["cost"] == pytest.approx(0.5 * row["hours"])


def test_two_pairs_are_no_pilot_and_a_difference_of_none_is_refused() -> None:
    assert stats.plan(pilot(2), DIFFERENCE)[["pairs", "hours"]].isna().all(axis=None)
    with pytest.raises(ValueError, match="difference=0 must be greater than 0"):
        stats.plan(pilot(), 0)


def test_the_command_line_reads_the_pilot_and_says_when_there_is_none(tmp_path: Path, command: Command) -> None:
    line = "study --loss mse --loss kl_divergence --epochs 2 --plan --margin 1 --price 0.1"
    words = [*line.split(), "--output", tmp_path]
    code, _, said = command(*words)
    assert code == 2
    assert "holds no pilot of this study: its spread needs three pairs" in said
    for config in plan_losses([("mse", {}), ("kl_divergence", {})], (), 4, {"epochs": 2}):
        write_run(tmp_path, config)
    before = sorted(tmp_path.rglob("*"))
    code, said, _ = command(*words)
    assert code == 0
    (row,) = stats.plan(load_runs(tmp_path), 0.01).to_dict("records")
    (line,) = [line for line in said.splitlines() if line.startswith("fashion-mini")]
    assert line.split()[3:5] == ["mse", "4"], "no row for the function that is cross-entropy itself"
    assert line.split()[6:9] == [f"{row[name]:.0f}" for name in ("pairs_difference", "pairs_equivalence", "pairs_high")]
    assert "12 s for a run of cross_entropy" in said
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before and "cache" not in path.name] == []
