"""Members trained together become what they become alone: weights, statistics, optimizer states and histories."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch
from torch import nn

from lossbench import MODELS, RunConfig
from lossbench.data import Split, load
from lossbench.ensemble import clip_each, shared_settings, shared_state, train_together
from lossbench.models import ModelEntry
from lossbench.runner import Splits, prepare, start
from lossbench.train import Diverged, Training, train

TINY = RunConfig(dataset="shapes", epochs=2, batch_size=16, train_size=40)
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def build(config: RunConfig, splits: Splits) -> Training:
    """A run in float64, in which separate and batched arithmetic differ by 1e-16 a step."""
    training = start(config, load(config.dataset), splits.train, splits.train.images.device)
    training.model.double()
    training.criterion.double()
    training.normalise.mean, training.normalise.std = training.normalise.mean.double(), training.normalise.std.double()
    return training


def few(config: RunConfig, device: str = "cpu", scored: int = 40) -> Splits:
    splits = prepare(config, load(config.dataset), torch.device(device))
    return replace(splits, scored=Split(splits.scored.images[:scored], splits.scored.target[:scored]))


def train_alone(configs: Sequence[RunConfig], splits: Splits) -> list[Training]:
    trainings = []
    for config in configs:
        trainings.append(build(config, splits))
        for _ in train(trainings[-1], splits.train, splits.scored, splits.prefix):
            pass
    return trainings


def train_all_together(members: list[Training], splits: Splits, epochs: int = 2) -> list[Training]:
    for _ in range(epochs):
        for answer in train_together(members, splits.train, splits.scored, splits.prefix):
            assert isinstance(answer, dict), answer
    return members


def numbers(training: Training) -> Iterator[tuple[str, torch.Tensor]]:
    """Everything that a run has after training, by name."""
    for part in ("model", "criterion"):
        for name, value in getattr(training, part).state_dict().items():
            yield f"{part}.{name}", value
        for name, value in training.best_state[part].items():
            yield f"best {part}.{name}", value
    for index, state in training.optimizer.state_dict()["state"].items():
        for key, value in state.items():
            yield f"optimizer.{index}.{key}", value
    for row in training.history:
        for key, value in row.items():
            yield f"{key} of epoch {row['epoch']}", torch.tensor(value, dtype=torch.float64)
    yield "order", training.order.get_state()
    yield "augmentation", training.augmentation.get_state()
    yield "rate", torch.tensor(training.optimizer.param_groups[0]["lr"])


def assert_equal(alone: Training, together: Training, tolerance: float = 1e-8) -> None:
    theirs, ours = dict(numbers(alone)), dict(numbers(together))
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name].dtype == value.dtype
        gap = (ours[name].double() - value.double()).abs().max().item()
        assert gap <= tolerance, f"{alone.config.run_id}: {name} differs by {gap:.1e}"


EVERY_KIND = [
    {"loss": "cross_entropy"},
    {"loss": "focal", "loss_params": {"gamma": 0.5}, "probability": "taylor_softmax"},
    {"loss": "mse", "probability": "soft_margin_softmax"},
    {"loss": "adma", "loss_params": {"learnable": True}, "weight_decay": 1e-2},
    {"loss": "proxy_nca"},
    {"loss": "triplet", "weight_decay": 1e-2},
    {"loss": "margin", "loss_params": {"learn_b": True}, "clip_norm": 0.5},
    {"loss": "false_positive", "loss_params": {"alpha": "dataset"}, "optimizer": "sgd", "lr": 0.01, "clip_norm": 0.1},
    {"loss": "js_divergence", "optimizer": "adadelta", "weight_decay": 0.1, "weight_decay_on": "convolutions"},
    {"loss": "squared_hinge", "scheduler": "step", "lr": 1e-2},
]  # fmt: skip


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("augmentation", ["none", "thesis"])
def test_every_kind_of_loss_and_optimizer_learns_what_it_learns_alone(device: str, augmentation: str) -> None:
    configs = [replace(TINY, augmentation=augmentation, **options) for options in EVERY_KIND]
    splits = few(configs[0], device)
    together = train_all_together([build(config, splits) for config in configs], splits)
    for alone, member in zip(train_alone(configs, splits), together, strict=True):
        assert_equal(alone, member)


def without_batch_norm(in_channels: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(in_channels, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(392, 16))


@pytest.fixture
def plain_model(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = ModelEntry("plain", without_batch_norm, 16, 0, "no batch normalisation", "here", dropout=0.3)
    monkeypatch.setitem(MODELS, "plain", entry)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("plain", {"train_size": 40}),
        ("convnet", {"train_size": 32}),  # dropout on maps and before the head
        ("convnet", {"train_size": 32, "trainable": "last5"}),  # what is frozen drops and counts nothing
        ("small_cnn_cosine", {"train_size": 40, "trainable": "head"}),
        ("resnet18", {"train_size": 8, "batch_size": 4}),
    ],
    ids=str,
)
@pytest.mark.usefixtures("plain_model")
def test_every_kind_of_model_learns_what_it_learns_alone(model: str, options: dict[str, object], device: str) -> None:
    config = replace(TINY, model=model, **options)
    configs = [config, replace(config, loss="mse")]
    splits = few(config, device, scored=8)
    together = train_all_together([build(config, splits) for config in configs], splits)
    for alone, member in zip(train_alone(configs, splits), together, strict=True):
        assert_equal(alone, member)


def test_batch_statistics_are_each_members_own() -> None:
    configs = [TINY, replace(TINY, loss="mse")]
    splits = few(TINY)
    first, second = train_all_together([build(config, splits) for config in configs], splits)
    layers = [layer for layer in first.model.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert [int(layer.num_batches_tracked) for layer in layers] == [6, 6], "three batches in two epochs"
    ours, theirs = first.model.state_dict(), second.model.state_dict()
    deep = [name for name in ours if name.endswith("running_mean")][1]
    assert not torch.equal(ours[deep], theirs[deep])


def test_a_member_that_diverges_leaves_the_others_as_they_are() -> None:
    wild = replace(TINY, optimizer="sgd", lr=1e200)
    configs = [TINY, wild, replace(TINY, loss="focal")]
    splits = few(TINY)
    members = [build(config, splits) for config in configs]
    answers = train_together(members, splits.train, splits.scored, splits.prefix)
    assert [type(answer) for answer in answers] == [dict, Diverged, dict]
    assert not members[1].history
    with pytest.raises(Diverged) as alone:
        train_alone([wild], splits)
    assert str(answers[1]) == str(alone.value)
    rest = train_all_together([members[0], members[2]], splits, epochs=1)
    for single, member in zip(train_alone([configs[0], configs[2]], splits), rest, strict=True):
        assert_equal(single, member)


def test_a_state_taken_after_an_epoch_goes_on_alone_or_together() -> None:
    config = replace(TINY, model="convnet_plain", loss="proxy_nca", train_size=32)
    configs = [config, replace(config, loss="margin")]
    splits = few(config, scored=8)
    members = train_all_together([build(config, splits) for config in configs], splits, epochs=1)
    states = copy.deepcopy([member.state_dict() for member in members])
    alone = train_alone(configs, splits)
    again = [build(config, splits) for config in configs]
    for member, state in zip(again, states, strict=True):
        member.load_state_dict(copy.deepcopy(state))
    for single, member in zip(alone, train_all_together(again, splits, epochs=1), strict=True):
        assert_equal(single, member)
    single = build(config, splits)
    single.load_state_dict(copy.deepcopy(states[0]))
    for _ in train(single, splits.train, splits.scored, splits.prefix):
        pass
    assert_equal(alone[0], single)


def test_what_is_handed_back_lies_in_memory_as_the_weights_do() -> None:
    """The fused optimizers go through memory, not through indices: another order would mix up a kernel's numbers."""
    splits = few(TINY)
    (member,) = train_all_together([build(TINY, splits)], splits, epochs=1)
    kernel = member.model.get_parameter("body.0.weight")
    assert member.optimizer.state[kernel]["exp_avg"].stride() == kernel.stride()


def test_training_together_warns_of_nothing() -> None:
    splits = few(TINY)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train_all_together([build(replace(TINY, loss=loss), splits) for loss in ("focal", "triplet")], splits)


def test_each_members_gradient_is_shortened_as_torch_does_it() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 4, 2), (3,), (3, 5)]
    gradients = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    gradients[0][1] *= 1e-3  # a member whose gradient is short enough
    gradients[1][1] = gradients[2][1] = 1e-3
    expected = []
    for member in range(3):
        parameters = [torch.zeros_like(gradient[member], requires_grad=True) for gradient in gradients]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient[member].clone()
        nn.utils.clip_grad_norm_(parameters, 0.7)
        expected.append([parameter.grad for parameter in parameters])
    clip_each(gradients, 0.7)
    for member, parts in enumerate(expected):
        for gradient, part in zip(gradients, parts, strict=True):
            torch.testing.assert_close(gradient[member], part, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("options", "together"),
    [
        ({"loss": "adma"}, True),
        ({"probability": "taylor_softmax"}, True),
        ({"optimizer": "sgd", "lr": 0.1, "clip_norm": 1.0, "patience": 3}, True),
        ({"seed": 1}, False),
        ({"batch_size": 8}, False),
        ({"label_noise": 0.1}, False),
        ({"model": "small_cnn_cosine"}, False),
        ({"trainable": "head"}, False),
        ({"selection": "best_test"}, False),
    ],
    ids=str,
)
def test_only_runs_on_the_same_images_and_model_are_trained_together(
    options: dict[str, object], together: bool
) -> None:
    assert (shared_settings(TINY) == shared_settings(replace(TINY, **options))) == together


def test_members_with_other_outputs_or_at_another_epoch_are_kept_apart() -> None:
    tree = {"root": ["round", "straight"], "round": ["disc", "ring"], "straight": ["square", "cross"]}
    losses = [("cross_entropy", {}), ("focal", {}), ("hierarchical_cross_entropy", {"tree": tree})]
    splits = few(TINY)
    members = [build(replace(TINY, loss=loss, loss_params=params), splits) for loss, params in losses]
    states = [shared_state(member) for member in members]
    assert states[0] == states[1] != states[2]
    train_together(members[:1], splits.train, splits.scored, splits.prefix)
    assert shared_state(members[0]) != states[1]
