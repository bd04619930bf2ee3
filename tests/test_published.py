"""The papers' tables as data, and paper 000's analyses re-derived from its Table 4.1."""

import numpy as np
import pandas as pd
import pytest

from lossbench import LOSSES, PROBABILITIES, published, stats


@pytest.fixture(scope="module")
def runs():
    return published.runs("thesis_table_4_1")


def pick(table, **values):
    for column, value in values.items():
        table = table[table[column] == value]
    assert len(table) == 1, values
    return table.iloc[0]


@pytest.mark.parametrize("name", published.NAMES)
def test_every_table_loads_with_the_same_columns_and_a_value_a_row(name):
    table = published.load(name)
    assert list(table.columns) == list(published.load("thesis_table_4_1").columns)
    assert (table["value"] != "").all()
    assert (table["source_table"] != "").all()


@pytest.mark.parametrize("name", published.WITH_RUNS)
def test_published_runs_have_the_shape_of_measured_ones_and_our_names(name):
    table = published.runs(name)
    needed = "run_id dataset model loss loss_params probability seed status epochs best_epoch test_accuracy"
    assert {*needed.split(), "val_accuracy", "seconds", "label"} <= set(table)
    assert set(table["loss"]) <= set(LOSSES)
    assert set(table["probability"]) <= set(PROBABILITIES)
    scores = table[["test_accuracy", "val_accuracy"]].stack().dropna()
    assert len(scores) == len(table)
    assert scores.between(0, 1).all()
    assert set(table["origin"]) == {"published"}


def test_table_4_1_has_one_row_a_configuration(runs):
    assert len(runs) == 45
    row = pick(runs, dataset="fashion-mnist", label="focal γ=2", probability="taylor_softmax")
    source = published.load("thesis_table_4_1")
    source = source[(source["dataset"] == "Fashion-MNIST") & (source["loss_params"] == "gamma=2")]
    values = source[source["prob_fn"] == "taylor_softmax"].set_index("metric")["value"].astype(float)
    assert row["test_accuracy"] == values["best_test_accuracy"]
    assert row["best_epoch"] == values["best_accuracy_epoch"]


def test_accuracies_implied_by_false_positives_are_those_of_the_formula_sheet():
    table = published.runs("fpl_tables_2_3")
    found = table[table["model"].isin(["EfficientNet-V2", "ResNet18"])].set_index(["model", "loss"])["test_accuracy"]
    assert found["EfficientNet-V2", "false_positive"] == pytest.approx(0.5575)
    assert found["EfficientNet-V2", "cross_entropy"] == pytest.approx(0.5536)
    assert found["ResNet18", "false_positive"] == pytest.approx(0.6469)
    assert found["ResNet18", "cross_entropy"] == pytest.approx(0.6464)


def test_unknown_tables_and_tables_without_runs_are_refused():
    with pytest.raises(ValueError, match="did you mean 'thesis_table_4_1'"):
        published.load("thesis_table_41")
    with pytest.raises(ValueError, match="'thesis_table_4_2' holds no runs; choose from adma"):
        published.runs("thesis_table_4_2")


def count_wins(runs):
    return stats.probability_wins(runs).groupby(["metric", "probability"])["wins"].sum().reset_index()


DERIVATIONS = [
    ("thesis_table_4_2", 45, stats.placement_points, "points", 0),
    ("thesis_table_4_3", 30, stats.probability_wins, "wins", 0),
    ("thesis_table_4_4", 6, count_wins, "wins", 0),
    ("thesis_table_4_5", 18, stats.paired_t_tests, "p_one_tailed", 5.1e-10),
]


@pytest.mark.parametrize(("name", "values", "derive", "column", "tolerance"), DERIVATIONS)
def test_a_derived_table_follows_to_all_printed_digits(runs, name, values, derive, column, tolerance):
    both = published.cells(name).merge(derive(runs), validate="one_to_one")
    assert len(both) == values
    np.testing.assert_allclose(both[column], both["printed"], rtol=0, atol=tolerance)


def test_the_paired_tests_are_those_of_five_losses_one_or_two_tailed(runs):
    table = stats.paired_t_tests(runs)
    assert set(table["n"]) == {5}
    np.testing.assert_allclose(table["p_two_tailed"], 2 * table["p_one_tailed"])


def test_points_of_a_dataset_sum_to_n_times_n_plus_one_over_two(runs):
    points = stats.placement_points(runs)
    sums = points[points["dataset"] != "all"].groupby(["metric", "dataset"])["points"].sum()
    assert sums.tolist() == [15.0] * 6


def test_ties_share_a_win(runs):
    flat = runs.assign(test_accuracy=0.9)
    wins = stats.probability_wins(flat)
    np.testing.assert_allclose(wins[wins["metric"] == "test_accuracy"]["wins"], 1.0)  # 3 datasets, a third each


def test_table_4_6_follows_within_5e_4_with_the_one_named_outlier(runs):
    both = published.cells("thesis_table_4_6").merge(stats.population_p_values(runs), validate="one_to_one")
    assert len(both) == 30
    gap = (both["p"] - both["printed"]).abs()
    (outlier,) = both[gap > 5e-4].index
    assert tuple(both.loc[outlier, ["metric", "dataset", "label"]]) == ("test_accuracy", "fashion-mnist", "focal γ=0.5")
    assert gap[outlier] == pytest.approx(8e-4, abs=1e-4)
    assert (gap[both["metric"] == "test_accuracy"] < 1e-4).sum() == 12


def test_corrected_population_p_is_the_one_of_the_formula_sheet(runs):
    row = pick(
        stats.population_p_values(runs, "se", 2), metric="test_accuracy", dataset="kmnist", label="js_divergence"
    )
    assert row["z"] == pytest.approx(-2.98, abs=0.005)
    assert row["p"] == pytest.approx(0.0029, abs=5e-5)
    with pytest.raises(ValueError, match="variant 'sd'"):
        stats.population_p_values(runs, "sd")
    with pytest.raises(ValueError, match="tails=3"):
        stats.population_p_values(runs, tails=3)


def fold_accuracies(*rates, images=1000):
    """Accuracies of made-up losses, a row a fold, and their accuracies on all images."""
    rng, target = np.random.default_rng(0), np.arange(images) % 10
    folds, wholes = {}, {}
    for name, rate in zip("abc", rates, strict=False):
        wrong = rng.random(images) > rate
        log_probs = np.log(0.9 * np.eye(10)[(target + wrong) % 10] + 0.01)
        folds[name] = [
            row["accuracy"] for row in stats.score_folds(target, log_probs, [f"class {i}" for i in range(10)])
        ]
        wholes[name] = 1 - wrong.mean()
    return pd.DataFrame(folds), wholes


def test_folds_average_to_the_whole():
    folds, wholes = fold_accuracies(0.9, 0.8)
    assert len(folds) == 10
    assert folds.mean().to_dict() == pytest.approx(wholes)


@pytest.mark.parametrize(("name", "values"), list(zip(published.DERIVED, (45, 30, 6, 18, 30), strict=True)))
def test_cells_of_a_derived_table_are_its_values_in_our_names(name, values):
    table = published.cells(name)
    assert table["printed"].tolist() == published.load(name)["value"].astype(float).tolist()
    assert len(table) == values
    assert set(table["metric"]) <= {"test_accuracy", "best_epoch", "overall"}
    assert set(table["loss"]) - {""} <= set(LOSSES)
    assert (set(table["probability"]) | set(table["first"]) | set(table["second"])) - {""} <= set(PROBABILITIES)


def test_cells_of_a_table_that_was_measured_are_refused():
    with pytest.raises(ValueError, match=r"derived table 'thesis_table_4_1'.*thesis_table_4_2"):
        published.cells("thesis_table_4_1")
