"""Sections of the report against numbers worked out elsewhere."""

import re

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from conftest import write_run
from lossbench import RunConfig, metrics, published, records
from lossbench.report import against, panels, predictions, study
from lossbench.report.evidence import gather
from lossbench.report.setting import gaps, page_of
from lossbench.report.tables import comparisons
from lossbench.report.text import say

CE, KL, JS, FOCAL = ("cross_entropy", {}), ("kl_divergence", {}), ("js_divergence", {}), ("focal", {"gamma": 2.0})


def write(folder, losses=(CE, JS), seeds=(0, 1, 2), **fields):
    for loss, params in losses:
        for seed in seeds:
            write_run(folder, RunConfig(loss=loss, loss_params=params, seed=seed, **{"epochs": 3, **fields}))
    return folder


def one(folder):
    (found,) = gather(folder)
    return found


def test_published_numbers_are_those_of_the_paper_and_measured_ones_those_of_the_runs(tmp_path):
    found = one(write(tmp_path))
    cells = against.shared_cells(found, against.SOURCES[0]).set_index("loss")
    runs = records.load_runs(tmp_path).set_index("loss")["test_accuracy"]
    printed = published.load("thesis_table_4_1")
    printed = printed[(printed["dataset"] == "Fashion-MNIST") & (printed["prob_fn"] == "softmax")]
    printed = printed[printed["metric"] == "best_test_accuracy"].set_index("loss")["value"].astype(float)
    row = cells.loc["JS divergence"]
    assert row["published"] == printed["JS"]
    assert row["published_difference"] == pytest.approx(printed["JS"] - printed["CCE"])
    assert row["measured"] == pytest.approx(runs["js_divergence"].mean())
    assert row["difference"] == pytest.approx(runs["js_divergence"].mean() - runs["cross_entropy"].mean())
    assert row["their table"] == "paper 000, Table 4.1"
    assert (row["their data"], row["data"]) == ("fashion-mnist", "fashion-mini")


def test_adma_meets_the_table_of_its_own_optimizer_and_penalty(tmp_path):
    losses = (CE, ("adma", {}))
    write(tmp_path, losses, optimizer="sgd", weight_decay=1e-4)
    cells = against.shared_cells(one(write(tmp_path, losses)), against.SOURCES[1])
    adma = cells[cells["loss"].str.startswith("Adma")]
    printed = published.load("adma_tables_1_4")
    printed = printed[(printed["dataset"] == "FASHION-MNIST") & (printed["loss"] == "Adma")].set_index("source_table")
    expected = {f"paper 001, {name}": float(printed["value"][name]) / 100 for name in ("Table 2", "Table 3")}
    assert dict(zip(adma["their table"], adma["published"], strict=True)) == pytest.approx(expected)
    assert len(adma) == 2


def test_noisy_targets_are_never_set_beside_published_numbers(tmp_path):
    assert against.shared_cells(one(write(tmp_path, label_noise=0.2)), against.SOURCES[0]).empty


def test_of_several_training_sizes_the_largest_is_set_beside_published_numbers(tmp_path):
    for size in (500, 1000):
        write(tmp_path, train_size=size)
    write(tmp_path, (JS,))  # all images, but nothing to compare with
    cells = against.shared_cells(one(tmp_path), against.SOURCES[0])
    assert set(cells["setting"]) == {"fashion-mini, small_cnn, train_size 1000"}
    assert len(cells) == 2


def test_published_and_measured_stand_in_different_columns(tmp_path):
    ((figure, table),) = against.compare(gather(write(tmp_path)))
    assert {"published %", "measured %", "their difference", "our difference"} <= set(table.shown.columns)
    assert "Open diamonds: paper 000" in figure.caption
    assert re.search(r"published [+−]\d\.\d\d, measured −\d", figure.panels[0].alt)


def test_false_positives_of_a_class_are_counted_from_the_predictions(tmp_path):
    found = one(write(tmp_path)).settings[0]
    table = predictions.false_positive_table(found, found.runs).set_index(["label", "class"])
    counts = []
    for run_id in found.runs[found.runs["loss"] == "js_divergence"]["run_id"]:
        target, log_probs = records.load_predictions(run_id, tmp_path)
        matrix = confusion_matrix(target, log_probs.argmax(1))
        counts.append(matrix.sum(axis=0) - np.diag(matrix))
    row = table.loc[("js_divergence", "Dress")]
    assert row["mean"] == pytest.approx(np.mean(counts, axis=0)[3])
    assert row["n"] == 3


def test_pooled_reliability_is_that_of_all_images_together(tmp_path):
    found = one(write(tmp_path, losses=(CE,))).settings[0]
    pooled = predictions.pool_reliability(found.reliability, found.runs)
    parts = [records.load_predictions(run_id, tmp_path) for run_id in found.runs["run_id"]]
    table = metrics.reliability_table(np.concatenate([p for _, p in parts]), np.concatenate([t for t, _ in parts]))
    expected = table[table["count"] > 0]
    assert pooled["count"].tolist() == expected["count"].tolist()
    np.testing.assert_allclose(pooled["accuracy"], expected["accuracy"])
    np.testing.assert_allclose(pooled["confidence"], expected["confidence"])


def test_heat_map_of_a_setting_is_paired_with_cross_entropy_under_softmax(study_folder):
    found = one(study_folder(losses=(CE, JS))).settings[0]
    figure = panels.by_loss_and_probability(found)
    runs = found.runs.set_index(["loss", "probability", "seed"])["test_accuracy"].sort_index()
    apart = 100 * (runs["js_divergence", "taylor_softmax"] - runs["cross_entropy", "softmax"]).mean()
    assert f"Taylor softmax order=2 {apart:+.2f}".replace("-", "−") in figure.panels[1].alt
    assert "at least 3 pairs a cell" in figure.caption


def test_ranks_use_the_losses_that_the_settings_share(tmp_path):
    write(tmp_path, (CE, JS, FOCAL, ("mse", {})), epochs=3)
    found = one(write(tmp_path, (CE, JS, FOCAL), epochs=4))
    runs = study.comparable(found)
    assert set(runs["loss"]) == {"cross_entropy", "js_divergence", "focal"}
    figure = study.ranking(found)
    assert "6 blocks (2 settings" in figure.caption


def test_a_field_without_effect_makes_no_setting_of_its_own(tmp_path):
    write(tmp_path, (CE, JS))
    write(tmp_path, (JS, FOCAL), weight_decay_on="convolutions")
    (setting,) = one(tmp_path).settings
    assert setting.comparison.set_index("label")["n"].to_dict() == {"js_divergence": 3, "focal γ=2": 3}
    write(tmp_path, (FOCAL,), weight_decay_on="convolutions", weight_decay=0.1)
    assert len(one(tmp_path).settings) == 2


def test_two_losses_have_no_ranks(tmp_path):
    write(tmp_path, epochs=4)
    assert study.ranking(one(write(tmp_path))) is None


def test_noise_curves_join_settings_that_differ_in_nothing_else(tmp_path):
    write(tmp_path, label_noise=0.0)
    write(tmp_path, label_noise=0.4, lr=0.01)
    found = one(write(tmp_path, label_noise=0.2))
    (figure,) = study.robustness(found, "label_noise")
    runs = records.load_runs(tmp_path)
    chosen = runs[(runs["label_noise"] == 0.2) & (runs["loss"] == "js_divergence")]["test_accuracy"]
    assert f"{100 * chosen.mean():.1f} at 0.2" in figure.panels[0].alt
    assert "at 0.4" not in figure.panels[0].alt
    assert [*study.robustness(found, "imbalance")] == []


def test_overview_marks_what_differs_from_cross_entropy(tmp_path):
    write(tmp_path, (CE, KL, JS), epochs=3, seeds=range(5))
    found = one(write(tmp_path, (CE, KL, JS), epochs=4, seeds=range(5)))
    assert [s.comparison.set_index("label").loc["js_divergence", "verdict"] for s in found.settings] == ["worse"] * 2
    assert "2 cells differ" in study.differences(found).panels[0].alt


def test_the_front_counts_comparisons_of_all_settings(tmp_path):
    write(tmp_path, (CE, KL, JS), seeds=range(5), epochs=3)
    studies = gather(write(tmp_path, (CE, KL, JS), seeds=range(5), epochs=4))
    front = study.front(studies, comparisons(studies))
    text = say("answer", f=front)
    assert (
        "in 2 settings, 5 pairs of runs a comparison, 2 of 2 comparisons with cross-entropy find a difference" in text
    )
    assert [(group["word"], group["count"]) for group in front["words"]] == [("worse", 2)]
    assert front["picture"].panels[0].alt.endswith("js_divergence: 2 worse.")


def test_beyond_a_few_settings_the_others_are_folded(tmp_path):
    for epochs in range(2, 10):
        write(tmp_path, (CE,), (0,), epochs=epochs)
    studies = gather(tmp_path)
    shown = study.page_of_study(studies[0], study.shown_in_full(studies))["settings"]
    assert [setting["brief"] for setting in shown] == [False] + [True] * 7
    assert [("curves" in setting) for setting in shown] == [True] + [False] * 7
    few = study.shown_in_full([type(studies[0])("across", "", "", studies[0].settings[:6])])
    assert few == {f"setting-{number}" for number in range(1, 7)}


def test_a_run_without_any_extra_score_has_a_page(tmp_path):
    """Records of the first version hold fewer scores."""
    found = one(write(tmp_path, (CE, ("mse", {})), (0,))).settings[0]
    lean = found.setting.runs.drop(columns=["num_parameters", "train_images", "threads", "commit"])
    bare = type(found)(found.slug, "", type(found.setting)("x", found.setting.fields, lean), found.history,
                       found.confusion.iloc[:0], found.reliability.iloc[:0])  # fmt: skip
    shown = page_of(bare, brief=False)
    assert shown["accuracy"].panels
    assert (shown["reliability"], shown["confusion"], shown["classes"]) == (None, None, None)
    assert gaps(bare)["unpredicted"] == 2


def test_one_epoch_has_no_learning_curves(tmp_path):
    assert page_of(one(write(tmp_path, epochs=1)).settings[0], brief=False)["curves"] is None


def test_severity_needs_a_class_tree(tmp_path):
    found = one(write(tmp_path)).settings[0]
    assert predictions.severity(found) is None
    runs = found.runs.assign(test_tree_distance=0.5, test_critical_error=[0.1] * 3 + [0.2] * 3)
    known = type(found)(found.slug, "", type(found.setting)("x", found.setting.fields, runs), found.history,
                        found.confusion, found.reliability)  # fmt: skip
    figure = predictions.severity(known)
    assert "cross-entropy 10.00 (n=3), JS divergence 20.00 (n=3)" in figure.panels[1].alt
    assert "reconstructions" in figure.caption


def test_facts_are_read_from_the_runs(tmp_path):
    found = one(write(tmp_path)).settings[0]
    facts = page_of(found, brief=True)["facts"]
    assert (facts["model"], facts["parameters"]) == ("small_cnn", "20,000")
    assert (facts["dataset"], facts["train_images"], facts["test_images"]) == ("fashion-mini", "4,500", "500")
