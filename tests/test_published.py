"""The papers' tables as data, and paper 000's analyses re-derived from its Table 4.1."""

import numpy as np
import pandas as pd
import pytest

from lossbench import LOSSES, PROBABILITIES, published, stats

METRIC = {"accuracy": "test_accuracy", "convergence": "best_epoch", "epoch": "best_epoch", "overall": "overall"}


@pytest.fixture(scope="module")
def runs():
    return published.runs("thesis_table_4_1")


def printed(name):
    """Rows of a published table with our names: (row, label, dataset)."""
    for row in published.load(name).to_dict("records"):
        label = f"{published.LOSSES.get(row['loss'], '')} {row['loss_params'].replace('gamma', 'γ')}".strip()
        yield row, label, row["dataset"].lower()


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


def test_table_4_2_follows_exactly(runs):
    points = stats.placement_points(runs)
    rows = list(printed("thesis_table_4_2"))
    assert len(rows) == 45
    for row, label, dataset in rows:
        metric = METRIC[row["metric"].removeprefix("placement_points_")]
        assert pick(points, metric=metric, dataset=dataset, label=label)["points"] == float(row["value"])


def test_points_of_a_dataset_sum_to_n_times_n_plus_one_over_two(runs):
    points = stats.placement_points(runs)
    sums = points[points["dataset"] != "all"].groupby(["metric", "dataset"])["points"].sum()
    assert sums.tolist() == [15.0] * 6


def test_table_4_3_follows_exactly(runs):
    wins = stats.probability_wins(runs)
    rows = list(printed("thesis_table_4_3"))
    assert len(rows) == 30
    for row, label, _ in rows:
        metric = "test_accuracy" if row["metric"] == "count_best_accuracy" else "best_epoch"
        assert pick(wins, metric=metric, label=label, probability=row["prob_fn"])["wins"] == float(row["value"])


def test_table_4_4_follows_exactly(runs):
    wins = stats.probability_wins(runs).groupby(["metric", "probability"])["wins"].sum()
    rows = list(printed("thesis_table_4_4"))
    assert len(rows) == 6
    for row, _, _ in rows:
        metric = "test_accuracy" if row["metric"] == "count_best_accuracy" else "best_epoch"
        assert wins[metric, row["prob_fn"]] == float(row["value"])


def test_ties_share_a_win(runs):
    flat = runs.assign(test_accuracy=0.9)
    wins = stats.probability_wins(flat)
    np.testing.assert_allclose(wins[wins["metric"] == "test_accuracy"]["wins"], 1.0)  # 3 datasets, a third each


def test_table_4_5_follows_to_all_printed_digits(runs):
    found = stats.paired_t_tests(runs)
    rows = list(printed("thesis_table_4_5"))
    assert len(rows) == 18
    for row, _, dataset in rows:
        first, second = row["qualifier"].split(" vs ")
        metric = METRIC[row["metric"].removeprefix("ttest_p_")]
        test = pick(found, metric=metric, dataset=dataset, first=first, second=second)
        assert test["p_one_tailed"] == pytest.approx(float(row["value"]), abs=5.1e-10)
        assert test["p_two_tailed"] == pytest.approx(2 * test["p_one_tailed"])
        assert test["n"] == 5


def test_table_4_6_follows_within_5e_4_with_the_one_named_outlier(runs):
    found = stats.population_p_values(runs)
    rows = list(printed("thesis_table_4_6"))
    assert len(rows) == 30
    off = {}
    for row, label, dataset in rows:
        metric = METRIC[row["metric"].removeprefix("ztest_p_")]
        p = pick(found, metric=metric, dataset=dataset, label=label)["p"]
        off[metric, dataset, label] = abs(p - float(row["value"]))
    outliers = {key for key, gap in off.items() if gap > 5e-4}
    assert outliers == {("test_accuracy", "fashion-mnist", "focal γ=0.5")}
    assert off["test_accuracy", "fashion-mnist", "focal γ=0.5"] == pytest.approx(8e-4, abs=1e-4)
    assert sum(gap < 1e-4 for (metric, _, _), gap in off.items() if metric == "test_accuracy") == 12


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


def test_separated_losses_get_the_largest_u_and_a_small_p():
    row = stats.compare_folds(fold_accuracies(1.0, 0.5)[0]).iloc[0]
    assert row["u"] == 100
    assert row["p_mann_whitney"] < 2e-4
    assert row["p_wilcoxon"] < 0.01


def test_equal_predictions_differ_in_no_fold():
    folds, _ = fold_accuracies(0.8)
    row = stats.compare_folds(folds.assign(b=folds["a"])).iloc[0]
    assert (row["difference"], row["p_wilcoxon"]) == (0.0, 1.0)


@pytest.mark.parametrize(("name", "values"), list(zip(published.DERIVED, (45, 30, 6, 18, 30), strict=True)))
def test_cells_of_a_derived_table_are_its_values_in_our_names(name, values):
    table = published.cells(name)
    assert table["printed"].tolist() == published.load(name)["value"].astype(float).tolist()
    assert len(table) == values
    assert set(table["metric"]) <= {"test_accuracy", "best_epoch", "overall"}
    assert set(table["loss"]) - {""} <= set(LOSSES)
    assert (set(table["probability"]) | set(table["first"]) | set(table["second"])) - {""} <= set(PROBABILITIES)


def test_cells_meet_what_is_derived_one_to_one(runs):
    both = published.cells("thesis_table_4_5").merge(stats.paired_t_tests(runs), validate="one_to_one")
    assert len(both) == 18
    np.testing.assert_allclose(both["p_one_tailed"], both["printed"], atol=5.1e-10)


def test_cells_of_a_table_that_was_measured_are_refused():
    with pytest.raises(ValueError, match=r"derived table 'thesis_table_4_1'.*thesis_table_4_2"):
        published.cells("thesis_table_4_1")
