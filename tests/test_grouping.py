"""Settings of many studies at once: fields without effect, runs that two studies share, losses that must be there."""

import pandas as pd
import pytest

from lossbench import RunConfig, stats


def table(*rows):
    """Rows as `load_runs` gives them, from what differs from the defaults."""
    plain = {**RunConfig.defaults(), "loss_params": "", "probability_params": ""}
    return pd.DataFrame([{"run_id": f"run-{place}", **plain, **row} for place, row in enumerate(rows)])


ADMA = {"loss": "adma", "weight_decay_on": "convolutions"}


def test_a_field_that_is_switched_off_does_not_keep_runs_apart():
    runs = table({}, ADMA, {**ADMA, "weight_decay": 1e-4})
    first, second = stats.settings(stats.merge_idle(runs))
    assert list(first.runs["run_id"]) == ["run-0", "run-1"]
    assert second.fields["weight_decay_on"] == "convolutions"


def test_of_two_runs_that_are_the_same_but_for_an_idle_field_one_is_kept():
    runs = table({}, {"weight_decay_on": "convolutions"}, {"noise_kind": "asymmetric"}, {"seed": 1})
    assert list(stats.merge_idle(runs)["run_id"]) == ["run-0", "run-3"]


def test_an_idle_field_counts_once_it_is_switched_on():
    runs = table({"label_noise": 0.2}, {"label_noise": 0.2, "noise_kind": "asymmetric"})
    assert len(stats.merge_idle(runs)) == 2


def test_settings_with_a_loss_also_hold_cross_entropy_and_count_a_shared_run_once():
    runs = table({}, ADMA, {"epochs": 3}, {"loss": "mse", "epochs": 5}).assign(study="one")
    both = pd.concat([runs, runs.head(1).assign(study="two")])
    (found,) = stats.settings_with(both, ["adma"])
    assert list(found.runs["run_id"]) == ["run-0", "run-1"]
    assert found.name == "fashion-mini, small_cnn", "named beside the settings found, not beside all there are"


def test_where_no_setting_has_the_losses_the_error_says_what_there_is():
    with pytest.raises(ValueError, match=r"no setting has runs of adma, cross_entropy, mse together.*runs of adma, cr"):
        stats.settings_with(table({}, ADMA), ["mse", "adma"])
    with pytest.raises(ValueError, match="no run at all"):
        stats.settings_with(table({}).head(0), ["mse"])


def test_the_judged_accuracy_is_that_of_validation_where_there_is_one():
    history = pd.DataFrame({"val_accuracy": [0.5, None], "test_accuracy": [0.9, 0.7]})
    assert stats.judged_accuracy(history).tolist() == [0.5, 0.7]
    assert stats.judged_accuracy(history[[]]).isna().all()
