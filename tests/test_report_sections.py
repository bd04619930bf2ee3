"""Sections of the report against numbers worked out elsewhere."""

import re

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from conftest import write_run
from lossbench import RunConfig, metrics, published, records
from lossbench.report import against, heat, predictions, study
from lossbench.report.evidence import gather
from lossbench.report.findings import answer
from lossbench.report.limits import limitations
from lossbench.report.setting import setting_part

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
    figure, table = against.compare(gather(write(tmp_path)))
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
    row = table.loc[("JS divergence", "Dress")]
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
    figure = heat.by_loss_and_probability(found)
    runs = found.runs.set_index(["loss", "probability", "seed"])["test_accuracy"].sort_index()
    apart = 100 * (runs["js_divergence", "taylor_softmax"] - runs["cross_entropy", "softmax"]).mean()
    assert f"Taylor softmax order=2 {apart:+.2f}".replace("-", "−") in figure.panels[1].alt
    assert "at least 3 pairs a cell" in figure.caption


def test_ranks_use_the_losses_that_the_settings_share(tmp_path):
    write(tmp_path, (CE, JS, FOCAL, ("mse", {})), epochs=3)
    found = one(write(tmp_path, (CE, JS, FOCAL), epochs=4))
    runs = study.comparable(found)
    assert set(runs["label"]) == {"cross-entropy", "JS divergence", "focal γ=2"}
    (figure,) = study.ranking(found)
    assert "6 blocks (2 settings" in figure.caption


def test_a_field_without_effect_makes_no_setting_of_its_own(tmp_path):
    write(tmp_path, (CE, JS))
    write(tmp_path, (JS, FOCAL), weight_decay_on="convolutions")
    (setting,) = one(tmp_path).settings
    assert setting.comparison.set_index("label")["n"].to_dict() == {"JS divergence": 3, "focal γ=2": 3}
    write(tmp_path, (FOCAL,), weight_decay_on="convolutions", weight_decay=0.1)
    assert len(one(tmp_path).settings) == 2


def test_two_losses_have_no_ranks(tmp_path):
    assert [*study.ranking(one(write(tmp_path)))] == []


def test_noise_curves_join_settings_that_differ_in_nothing_else(tmp_path):
    write(tmp_path, label_noise=0.0)
    write(tmp_path, label_noise=0.4, lr=0.01)
    found = one(write(tmp_path, label_noise=0.2))
    (figure,) = study.noise(found)
    runs = records.load_runs(tmp_path)
    chosen = runs[(runs["label_noise"] == 0.2) & (runs["loss"] == "js_divergence")]["test_accuracy"]
    assert f"{100 * chosen.mean():.1f} at 0.2" in figure.panels[0].alt
    assert "at 0.4" not in figure.panels[0].alt
    assert [*study.imbalance(found)] == []


def test_overview_marks_what_lies_beyond_the_noise_floor(tmp_path):
    write(tmp_path, (CE, KL, JS), epochs=3, seeds=range(5))
    found = one(write(tmp_path, (CE, KL, JS), epochs=4, seeds=range(5)))
    beyond = sum(int(s.comparison["verdict"].isin(["above", "below"]).sum()) for s in found.settings)
    figure = heat.differences(found)
    assert beyond > 0
    assert f"{beyond} cells lie beyond the noise floor" in figure.panels[0].alt


def test_the_answer_counts_comparisons_of_all_settings(tmp_path):
    write(tmp_path, (CE, KL, JS), seeds=range(5), epochs=3)
    text = answer(gather(write(tmp_path, (CE, KL, JS), seeds=range(5), epochs=4)))
    assert text.startswith(
        "In 2 settings, 2 comparisons with cross-entropy could be judged: 2 lie below it and 0 above"
    )
    assert "The worst is JS divergence with softmax" in text


def test_one_seed_everywhere_is_answered_with_a_refusal(tmp_path):
    assert answer(gather(write(tmp_path, seeds=(0,)))).startswith("These runs cannot tell")


def test_beyond_a_few_settings_the_others_are_folded(tmp_path):
    for epochs in range(2, 10):
        write(tmp_path, (CE,), (0,), epochs=epochs)
    studies = gather(tmp_path)
    part = study.study_part(studies[0], study.shown_in_full(studies))
    assert [inner.folded for inner in part.parts] == [False] + [True] * 7
    assert "Learning" in {section.title for section in part.parts[0].sections}
    assert "Learning" not in {section.title for section in part.parts[1].sections}
    few = study.shown_in_full([type(studies[0])("across", "", "", studies[0].settings[:6])])
    assert few == {f"setting-{number}" for number in range(1, 7)}


def test_a_run_without_any_extra_score_has_a_page(tmp_path):
    """Records of the first version hold fewer scores."""
    found = one(write(tmp_path, (CE, ("mse", {})), (0,))).settings[0]
    lean = found.setting.runs.drop(columns=["num_parameters", "train_images", "threads", "commit"])
    bare = type(found)(found.slug, type(found.setting)("x", found.setting.fields, lean), found.history,
                       found.confusion.iloc[:0], found.reliability.iloc[:0])  # fmt: skip
    titles = [section.title for section in setting_part(bare, alone=True, brief=False).sections]
    assert "Accuracy" in titles
    assert "Calibration" not in titles
    assert "No predictions" in dict(limitations(bare))


def test_severity_needs_a_class_tree(tmp_path):
    found = one(write(tmp_path)).settings[0]
    assert [*predictions.severity(found)] == []
    runs = found.runs.assign(test_tree_distance=0.5, test_critical_error=[0.1] * 3 + [0.2] * 3)
    known = type(found)(found.slug, type(found.setting)("x", found.setting.fields, runs), found.history,
                        found.confusion, found.reliability)  # fmt: skip
    (figure,) = predictions.severity(known)
    assert "cross-entropy 10.00 (n=3), JS divergence 20.00 (n=3)" in figure.panels[1].alt
    assert "reconstructions" in figure.caption


def test_facts_are_read_from_the_runs(tmp_path):
    found = one(write(tmp_path)).settings[0]
    (facts,) = next(
        s.blocks for s in setting_part(found, alone=True, brief=False).sections if s.title == "What was run"
    )
    assert dict(facts.pairs)["Model"] == "small_cnn, 20,000 parameters"
    assert dict(facts.pairs)["Data"].startswith("fashion-mini, 4,500 training and 500 test images")
