"""RunConfig: what is refused, what is equal, and ids that never change."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lossbench.config import RunConfig, grid


def test_ids_of_published_records_never_change() -> None:
    # Written down once: a change here orphans every record that people have on disk.
    assert RunConfig().run_id == "fashion-mini-small_cnn-cross_entropy-softmax-s0-44136f"
    focal = RunConfig(loss="focal", loss_params={"gamma": 0.5}, seed=3, epochs=5)
    assert focal.run_id == "fashion-mini-small_cnn-focal-gamma0.5-softmax-s3-1d9758"
    tuned = RunConfig(
        optimizer="adamw", warmup_epochs=2, label_smoothing=0.1, class_weight="inverse", metrics=["auroc"]
    )
    assert tuned.run_id == "fashion-mini-small_cnn-cross_entropy-softmax-s0-15a86b"


def test_a_parameter_at_its_default_does_not_change_the_run() -> None:
    assert RunConfig(loss="focal") == RunConfig(loss="focal", loss_params={"gamma": 2})
    assert RunConfig(loss="focal").run_id == RunConfig(loss="focal", loss_params={"gamma": 2.0}).run_id
    assert RunConfig(loss="focal").full_loss_params == {"gamma": 2.0}


def test_a_metric_is_asked_of_a_run_and_makes_no_other_of_it() -> None:
    asked, plain = RunConfig(metrics=("auroc", "balanced_accuracy", "auroc")), RunConfig()
    assert asked.metrics == ("auroc", "balanced_accuracy")
    assert (asked, asked.run_id, asked.trained()) == (plain, plain.run_id, plain.trained())
    assert {f.name for f in fields(RunConfig)} - plain.trained().keys() == {"metrics"}


@pytest.mark.parametrize("field", list(RunConfig.defaults()))
def test_every_field_changes_the_run_id(field: str) -> None:
    other = {
        "dataset": "shapes", "model": "convnet", "loss": "js_divergence", "loss_params": {"gamma": 0.5},
        "probability": "taylor_softmax", "probability_params": {"margin": 0.5}, "optimizer": "sgd", "lr": 0.1,
        "weight_decay": 1e-4, "scheduler": "step", "batch_size": 64, "epochs": 2, "seed": 1, "train_size": 100,
        "label_noise": 0.2, "imbalance": 10.0, "augmentation": "thesis", "pretrained": True, "trainable": "head",
        "selection": "best_test", "precision": "bfloat16", "weight_decay_on": "convolutions", "clip_norm": 1.0,
        "patience": 3, "noise_kind": "asymmetric", "label_smoothing": 0.1, "class_weight": "inverse",
        "sampler": "balanced", "warmup_epochs": 1, "embedding_scores": False, "transfer": "sign-digits-mini",
    }  # fmt: skip
    model = "resnet18" if field == "pretrained" else "small_cnn"
    base = RunConfig(model=model, loss="focal", probability="soft_margin_softmax")
    changed = replace(base, **{field: other[field]} | ({"loss_params": {}} if field == "loss" else {}))
    assert changed.run_id != base.run_id
    assert changed != base


BAD = [
    ({"transfer": "sign-digit"}, ValueError, r"unknown dataset 'sign-digit'; did you mean 'sign-digits-mini'"),
    ({"transfer": "fashion-mini"}, ValueError, r"'fashion-mini' is what the network is trained on; name another"),
    (
        {"transfer": "sign-digits-mini", "model": "resnet18", "pretrained": True, "trainable": "head"},
        ValueError,
        r"needs features that the loss trains; trainable='head' leaves them .* set trainable=all",
    ),
    ({"loss": "focl"}, ValueError, r"unknown loss 'focl'; did you mean 'focal'\? choose from cross_entropy"),
    ({"dataset": "fashion_mini"}, ValueError, r"unknown dataset 'fashion_mini'; did you mean 'fashion-mini'"),
    ({"model": "small-cnn"}, ValueError, r"did you mean 'small_cnn'"),
    ({"probability": "sofmax"}, ValueError, r"unknown probability function 'sofmax'; did you mean 'softmax'"),
    ({"optimizer": "adm"}, ValueError, r"did you mean 'adam'.*adadelta"),
    ({"selection": "test"}, ValueError, r"unknown selection 'test'"),
    ({"loss": "focal", "loss_params": {"gamma": -1}}, ValueError, r"gamma must be at least 0, got -1"),
    ({"loss": "focal", "loss_params": {"gama": 1}}, TypeError, r"'gama'; did you mean 'gamma'"),
    ({"loss": "focal", "loss_params": 2.0}, TypeError, r"loss_params must be a mapping.*got 2.0"),
    ({"loss_params": {"gamma": 1}}, TypeError, r"cross_entropy takes no parameters, got gamma=1"),
    ({"probability_params": {"margin": 1}}, TypeError, r"softmax takes no parameters"),
    ({"epochs": 0}, ValueError, r"epochs must be at least 1, got 0"),
    ({"epochs": 1.5}, ValueError, r"epochs must be a whole number, got 1.5"),
    ({"epochs": "many"}, TypeError, r"epochs must be a number, got 'many'"),
    ({"epochs": True}, TypeError, r"epochs must be a number, got True"),
    ({"lr": 0}, ValueError, r"lr must be above 0, got 0"),
    ({"lr": float("nan")}, ValueError, r"lr must be finite, got nan"),
    ({"batch_size": 1}, ValueError, r"batch_size must be at least 2"),
    ({"seed": -1}, ValueError, r"seed must be at least 0"),
    ({"label_noise": 1.0}, ValueError, r"label_noise must be at least 0 and below 1, got 1.0"),
    ({"imbalance": 0.5}, ValueError, r"imbalance must be at least 1"),
    ({"clip_norm": 0}, ValueError, r"clip_norm must be above 0, got 0"),
    ({"patience": 0}, ValueError, r"patience must be at least 1, got 0"),
    ({"noise_kind": "random"}, ValueError, r"unknown kind of label noise 'random'"),
    ({"weight_decay_on": "conv"}, ValueError, r"choose from all, convolutions"),
    ({"train_size": 0}, ValueError, r"train_size must be at least 1"),
    ({"pretrained": "yes"}, TypeError, r"pretrained must be True or False, got 'yes'"),
    ({"pretrained": True}, ValueError, r"model 'small_cnn' has no published weights"),
    ({"dataset": 3}, TypeError, r"dataset must be a name, got 3"),
    ({"label_smoothing": 1.1}, ValueError, r"label_smoothing must be at least 0 and at most 1, got 1.1"),
    ({"loss": "squared_hinge", "label_smoothing": 0.1}, ValueError, r"squared_hinge takes none; choose from cross_ent"),
    ({"class_weight": "balanced"}, ValueError, r"'class_balanced'\? choose from none, inverse, class_balanced"),
    ({"loss": "triplet", "class_weight": "inverse"}, ValueError, r"'inverse' is for losses on logits; triplet"),
    ({"warmup_epochs": 10}, ValueError, r"warmup_epochs must be below epochs=10, got 10"),
    ({"warmup_epochs": 1, "scheduler": "one_cycle"}, ValueError, r"'one_cycle' warms up by itself"),
    ({"metrics": ["aucroc"]}, ValueError, r"unknown metric 'aucroc'; did you mean 'auroc'\? choose from balanced"),
    ({"metrics": 3}, TypeError, r"metrics must be names such as \('balanced_accuracy',\), got 3"),
]


@pytest.mark.parametrize(("values", "kind", "message"), BAD, ids=[str(row[0]) for row in BAD])
def test_bad_values_are_refused_and_quoted(values: dict[str, object], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        RunConfig(**values)


def test_an_unknown_field_names_the_nearest_one() -> None:
    with pytest.raises(TypeError, match=r"unknown RunConfig field 'epoch'; did you mean 'epochs'"):
        RunConfig.from_dict({"epoch": 3})


@given(
    loss=st.sampled_from(["cross_entropy", "js_divergence"]),
    lr=st.floats(1e-6, 1.0),
    seed=st.integers(0, 2**40),
    epochs=st.integers(1, 500),
    noise=st.floats(0, 0.99),
)
def test_a_config_survives_json_and_its_id_is_a_safe_file_name(
    loss: str, lr: float, seed: int, epochs: int, noise: float
) -> None:
    config = RunConfig(loss=loss, lr=lr, seed=seed, epochs=epochs, label_noise=noise)
    again = RunConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert again.run_id == config.run_id
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", config.run_id)


def test_a_grid_varies_its_last_field_fastest() -> None:
    configs = grid(loss=["cross_entropy", "js_divergence"], seed=[0, 1])
    assert [(c.loss, c.seed) for c in configs] == [
        ("cross_entropy", 0), ("cross_entropy", 1), ("js_divergence", 0), ("js_divergence", 1),
    ]  # fmt: skip


def test_a_config_can_be_a_key() -> None:
    assert len({RunConfig(loss="focal"), RunConfig(loss="focal", loss_params={"gamma": 2.0}), RunConfig()}) == 2
