"""Criterion as a drop-in for nn.CrossEntropyLoss: weights, ignored samples, reductions, modes and messages."""

from __future__ import annotations

import copy
import dataclasses
import io
import multiprocessing
import pickle
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from loss_problems import ON_LOGITS, make_problem
from torch import Tensor, nn

from lossbench import Criterion as PublicCriterion
from lossbench.losses import LOSSES, Criterion
from lossbench.losses.adma import LearnableExponent
from lossbench.probabilities import PROBABILITIES

LOGITS = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))
TARGET = torch.tensor([0, 1, 2, 3, 3, 2, 1, 0])
FLAT = [name for name in ON_LOGITS if name != "hierarchical_cross_entropy"]


def test_the_public_name_is_the_criterion():
    assert PublicCriterion is Criterion


@pytest.mark.parametrize("name", ON_LOGITS)
def test_reductions_are_mean_sum_and_none_of_the_same_values(name: str):
    each, logits, target = make_problem(name, reduction="none")
    values = each(logits, target)
    assert values.shape == target.shape
    torch.testing.assert_close(Criterion(name)(logits, target), values.mean())
    torch.testing.assert_close(Criterion(name, reduction="sum")(logits, target), values.sum())


@pytest.mark.parametrize("ignore_index", [-100, -1, 1])
@pytest.mark.parametrize("name", ON_LOGITS)
def test_ignored_samples_count_nowhere(name: str, ignore_index: int):
    criterion, logits, target = make_problem(name, batch=12, ignore_index=ignore_index)
    kept = torch.arange(12) % 3 != 0
    target = torch.where(target == ignore_index, 0, target).masked_fill(~kept, ignore_index)
    without = criterion(logits[kept], target[kept])
    logits[~kept] = 50 * logits[~kept]
    logits.requires_grad_()
    loss = criterion(logits, target)
    torch.testing.assert_close(loss, without)
    gradient = torch.autograd.grad(loss, logits)[0]
    assert (gradient[~kept] == 0).all()
    assert (gradient[kept] != 0).any()


@pytest.mark.parametrize("name", FLAT)
def test_class_weights_multiply_values_and_divide_the_mean(name: str):
    weight = torch.tensor([0.5, 1.0, 2.0, 4.0], dtype=torch.float64)
    plain, logits, target = make_problem(name, classes=4, reduction="none")
    values = plain(logits, target)
    assert torch.equal(Criterion(name, weight=weight, reduction="none")(logits, target), values * weight[target])
    mean = (values * weight[target]).sum() / weight[target].sum()
    torch.testing.assert_close(Criterion(name, weight=weight)(logits, target), mean)


def test_a_mean_over_no_sample_is_nan_as_in_torch():
    target = torch.full((8,), -100)
    assert Criterion("focal")(LOGITS, target).isnan()
    assert F.cross_entropy(LOGITS, target).isnan()


def test_the_margin_counts_in_train_mode_only_and_never_in_log_probs():
    criterion = Criterion("cross_entropy", probability="soft_margin_softmax", probability_params={"margin": 1.0})
    plain = F.cross_entropy(LOGITS, TARGET)
    assert criterion.train()(LOGITS, TARGET) > plain + 0.1
    torch.testing.assert_close(criterion.eval()(LOGITS, TARGET), plain)
    for mode in (True, False):
        torch.testing.assert_close(criterion.train(mode).log_probs(LOGITS), F.log_softmax(LOGITS, 1))


def test_ignored_samples_get_no_margin_error():
    criterion = Criterion("cross_entropy", probability="soft_margin_softmax")
    target = TARGET.clone()
    target[0] = -100
    assert criterion(LOGITS, target).isfinite()


def test_log_probs_come_from_the_chosen_probability_function():
    log_probs = Criterion("focal", probability="taylor_softmax").log_probs(LOGITS)
    polynomial = 1 + LOGITS + LOGITS**2 / 2
    torch.testing.assert_close(log_probs.exp(), polynomial / polynomial.sum(1, keepdim=True))


def test_a_learnable_exponent_learns_within_its_interval_and_leaves_random_state_alone():
    before = torch.get_rng_state()
    criterion = Criterion("adma", learnable=True, a=0.3)
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(criterion.state, LearnableExponent)
    assert criterion.state.a.item() == pytest.approx(0.3)
    torch.testing.assert_close(criterion(LOGITS, TARGET), Criterion("adma", a=0.3)(LOGITS, TARGET))
    optimizer = torch.optim.SGD(criterion.parameters(), lr=10.0)
    path = []
    for _ in range(50):
        optimizer.zero_grad()
        criterion(LOGITS, TARGET).backward()
        optimizer.step()
        path.append(criterion.state.a.item())
    assert all(0 < a <= 0.5 for a in path)
    assert path == sorted(path, reverse=True)  # without normalize the loss falls with a


def test_a_learnable_exponent_grows_with_normalize_and_starts_at_most_just_below_its_bound():
    criterion = Criterion("adma", learnable=True, normalize=True)
    criterion(LOGITS, TARGET).backward()
    assert isinstance(criterion.state, LearnableExponent)
    assert criterion.state.raw.grad < 0
    assert Criterion("adma", learnable=True, a=0.5).state.a.item() == pytest.approx(0.4995)


@pytest.mark.parametrize("name", ON_LOGITS)
def test_a_criterion_without_learnable_parameters_has_none(name: str):
    assert list(Criterion(name).parameters()) == []


@pytest.mark.parametrize("name", ON_LOGITS)
def test_a_criterion_can_be_copied_and_saved_by_its_state(name: str):
    criterion, logits, target = make_problem(name)
    twin = copy.deepcopy(criterion)
    twin.load_state_dict(criterion.state_dict())
    assert torch.equal(twin(logits, target), criterion(logits, target))


def test_it_trains_a_model_in_place_of_torchs_loss():
    results = []
    for loss in (nn.CrossEntropyLoss(), Criterion("cross_entropy")):
        model = nn.Linear(4, 4)
        nn.init.eye_(model.weight), nn.init.zeros_(model.bias)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(20):
            optimizer.zero_grad()
            loss(model(LOGITS), TARGET).backward()
            optimizer.step()
        results.append(model.weight.detach())
    torch.testing.assert_close(*results)


def test_num_outputs_is_the_number_of_classes_for_flat_losses():
    assert all(Criterion(name).num_outputs(7) == 7 for name in FLAT)


def test_the_printed_form_names_loss_parameters_and_probability():
    assert repr(Criterion("focal", gamma=0.5)) == (
        "Criterion('focal', reduction='mean', gamma=0.5, probability='softmax')"
    )
    shown = repr(Criterion("cross_entropy", probability="soft_margin_softmax", ignore_index=3))
    assert "probability='soft_margin_softmax', margin=0.3, ignore_index=3" in shown


def test_integer_targets_of_any_width_are_class_indices():
    expected = Criterion("focal")(LOGITS, TARGET)
    for dtype in (torch.int32, torch.int16, torch.uint8):
        assert torch.equal(Criterion("focal")(LOGITS, TARGET.to(dtype)), expected)


BAD_ARGUMENTS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"name": "focl"}, ValueError, "unknown loss 'focl'; did you mean 'focal'"),
    ({"name": "focal", "probability": "taylor"}, ValueError, "unknown probability function 'taylor'"),
    ({"name": "focal", "gama": 1.0}, TypeError, "parameter of focal 'gama'; did you mean 'gamma'"),
    ({"name": "cross_entropy", "gamma": 1.0}, TypeError, "cross_entropy takes no parameters, got gamma=1.0"),
    ({"name": "focal", "gamma": -1}, ValueError, "gamma must be at least 0, got -1"),
    ({"name": "focal", "gamma": float("nan")}, ValueError, "gamma must be finite, got nan"),
    ({"name": "focal", "gamma": "2"}, TypeError, "gamma must be a number, got '2'"),
    ({"name": "focal", "gamma": True}, TypeError, "gamma must be a number, got True"),
    ({"name": "focal", "reduction": "avg"}, ValueError, "unknown reduction 'avg'"),
    ({"name": "adma", "a": 0}, ValueError, "a must be above 0 and at most 0.5, got 0"),
    ({"name": "adma", "a": -0.1}, ValueError, "a must be above 0 and at most 0.5, got -0.1"),
    ({"name": "adma", "a": 0.6}, ValueError, "a must be above 0 and at most 0.5, got 0.6"),
    ({"name": "adma", "normalize": 1}, TypeError, "normalize must be True or False, got 1"),
    ({"name": "squared_hinge", "on": "logit"}, ValueError, "'logit'; did you mean 'logits'"),
    ({"name": "squared_hinge", "on": 3}, TypeError, "on must be one of probs, logits, got 3"),
    ({"name": "sampling_free", "variant": "pow"}, ValueError, "'pow'"),
    ({"name": "sampling_free", "beta": 0.5}, ValueError, "beta must be at least 1 with variant='power', got 0.5"),
    ({"name": "sampling_free", "beta": 0, "variant": "inner"}, ValueError, "beta must be above 0"),
    ({"name": "sampling_free", "gamma": 0, "variant": "star"}, ValueError, "gamma must be above 0"),
    ({"name": "false_positive", "top_k": 0}, ValueError, "top_k must be at least 1, got 0"),
    ({"name": "false_positive", "top_k": 1.5}, ValueError, "top_k must be a whole number, got 1.5"),
    ({"name": "false_positive", "form": "mae"}, ValueError, "'mae'"),
    ({"name": "false_positive", "alpha": "batches"}, ValueError, "did you mean 'batch'"),
    ({"name": "false_positive", "alpha": 0.5}, TypeError, "a number for each class, got 0.5"),
    ({"name": "false_positive", "alpha": [1.0, -1.0]}, ValueError, "finite weight >= 0 for each class"),
    ({"name": "false_positive", "alpha": "dataset"}, ValueError, "needs class_counts: pass Criterion"),
    (
        {"name": "false_positive", "alpha": "dataset", "class_counts": [0, 0]},
        ValueError,
        r"class_counts must be \(classes,\) counts",
    ),
    ({"name": "confidence_penalty", "lam": -0.1}, ValueError, "lam must be at least 0, got -0.1"),
    (
        {"name": "focal", "probability": "soft_margin_softmax", "probability_params": {"margin": -1}},
        ValueError,
        "margin must be at least 0, got -1",
    ),
    (
        {"name": "focal", "probability": "taylor_softmax", "probability_params": {"order": 3}},
        ValueError,
        "order must be even .* got 3",
    ),
    ({"name": "focal", "probability_params": {"margin": 1}}, TypeError, "softmax takes no parameters"),
    ({"name": "focal", "weight": [1.0, 2.0]}, TypeError, "weight must be a floating-point tensor, got list"),
    ({"name": "focal", "weight": torch.ones(2, 2)}, ValueError, r"weight must have shape .* got \(2, 2\)"),
    ({"name": "focal", "weight": torch.ones(3), "num_classes": 4}, ValueError, r"shape \(4,\), got \(3,\)"),
    ({"name": "focal", "weight": torch.tensor([1.0, -1.0])}, ValueError, "weight must be finite and not negative"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD_ARGUMENTS, ids=lambda value: str(value)[:60])
def test_a_bad_argument_is_named_with_what_it_got(arguments: dict[str, Any], error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        Criterion(**arguments)


BAD_CALLS: list[tuple[Any, Any, type[Exception], str]] = [
    (LOGITS[0], TARGET, ValueError, r"logits must have shape \(batch, classes\), got \(4,\)"),
    (LOGITS[None], TARGET, ValueError, r"logits must have shape \(batch, classes\), got \(1, 8, 4\)"),
    (LOGITS[:, :1], TARGET, ValueError, r"logits must have at least 2 classes, got shape \(8, 1\)"),
    (TARGET[:, None].repeat(1, 4), TARGET, TypeError, "logits must be a floating-point tensor, got torch.int64"),
    ([[0.0, 1.0]], TARGET, TypeError, "logits must be a floating-point tensor, got list"),
    (LOGITS, TARGET[:3], ValueError, r"target must have shape \(8,\), got \(3,\)"),
    (LOGITS, TARGET[:, None], ValueError, r"target must have shape \(8,\), got \(8, 1\)"),
    (LOGITS, TARGET + 1, ValueError, r"target must be in 0..3 or ignore_index=-100, got 4"),
    (LOGITS, TARGET - 1, ValueError, r"target must be in 0..3 or ignore_index=-100, got -1"),
    (LOGITS, TARGET.bool(), TypeError, r"target must hold class indices \(int64\), got torch.bool"),
    (LOGITS, [0] * 8, TypeError, "target must be a tensor, got list"),
    (LOGITS, TARGET.float(), ValueError, r"must have shape \(8, 4\), got \(8,\)"),
    (LOGITS, torch.full((8, 4), 0.5), ValueError, "rows of class probabilities must sum to 1, got a row of 2"),
    (LOGITS, torch.tensor([[1.5, -0.5, 0, 0]]).repeat(8, 1), ValueError, "must not be negative or nan, got -0.5"),
    (LOGITS, torch.full((8, 4), float("nan")), ValueError, "must not be negative or nan, got nan"),
]


@pytest.mark.parametrize(("logits", "target", "error", "message"), BAD_CALLS)
def test_a_bad_call_is_named_with_what_it_got(logits: Any, target: Any, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        Criterion("cross_entropy")(logits, target)


def test_logits_must_match_the_number_of_classes_where_it_is_known():
    with pytest.raises(ValueError, match=r"logits must have 5 columns, got shape \(8, 4\)"):
        Criterion("focal", num_classes=5)(LOGITS, TARGET)


def test_fixed_alphas_must_match_the_classes():
    with pytest.raises(ValueError, match=r"alpha must have shape \(4,\), got \(3,\)"):
        Criterion("false_positive", alpha=[1, 1, 1])(LOGITS, TARGET)


def test_class_probabilities_do_not_go_with_an_ignored_class():
    with pytest.raises(ValueError, match="ignore_index=2 needs class indices"):
        Criterion("cross_entropy", ignore_index=2)(LOGITS, LOGITS.softmax(1))


@pytest.mark.parametrize("name", [name for name in ON_LOGITS if LOSSES[name].soft_target == "whole"])
def test_class_probabilities_do_not_go_with_weights_unless_the_loss_is_a_sum_over_classes(name: str):
    with pytest.raises(ValueError, match=f"{name}: weight needs class indices as target"):
        Criterion(name, weight=torch.ones(4))(LOGITS, LOGITS.softmax(1))


def test_values_of_targets_are_not_read_under_vmap_or_on_other_devices():
    bad = TARGET + 1
    meta = Criterion("cross_entropy")(LOGITS.to("meta"), bad.to("meta"))
    assert meta.device.type == "meta"
    with pytest.raises(ValueError, match="target must be in"):
        Criterion("cross_entropy")(LOGITS, bad)


def test_losses_run_outside_autocast_and_leave_it_as_it_was(monkeypatch: pytest.MonkeyPatch):
    seen: list[bool] = []

    def spy(log_probs: Tensor, target: Tensor) -> Tensor:
        seen.append(torch.is_autocast_enabled("cpu"))
        return -log_probs[:, 0]

    entry = dataclasses.replace(LOSSES["cross_entropy"], function=spy)
    monkeypatch.setitem(LOSSES, "cross_entropy", entry)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        Criterion("cross_entropy")(LOGITS, TARGET)
        assert torch.is_autocast_enabled("cpu")
    assert seen == [False]


# What a loss of the user's own may return, and what Criterion says of it.
RETURNS: list[tuple[str, Any, str]] = [
    ("column", lambda log_probs, target: -log_probs[:, :1], r"\(8,\), not .*\(8, 1\): take .*squeeze\(1\)"),
    ("scalar", lambda log_probs, target: -log_probs.mean(), r"of shape \(\): leave the mean to Criterion's reduction"),
    ("classes", lambda log_probs, target: -log_probs, r"of shape \(8, 4\): add up .*sum\(1\)"),
    ("nothing", lambda log_probs, target: None, r"not None: end the function with `return`"),
    ("listed", lambda log_probs, target: list(-log_probs[:, 0]), "not list: return one tensor"),
    ("counted", lambda log_probs, target: log_probs.argmax(1) != target, "torch.bool .* argmax has no gradient"),
    ("cut", lambda log_probs, target: -log_probs[:, 0].detach(), r"cut has no gradient: .*\(detach"),
    ("written", lambda log_probs, target: -log_probs.mul_(2)[:, 0], "written changes its log_probs in place"),
]


@pytest.fixture
def own_loss(monkeypatch: pytest.MonkeyPatch) -> Any:
    def define(name: str, function: Any) -> Criterion:
        entry = dataclasses.replace(LOSSES["cross_entropy"], name=name, function=function)
        monkeypatch.setitem(LOSSES, name, entry)
        return Criterion(name)

    return define


@pytest.mark.parametrize(("name", "function", "message"), RETURNS, ids=[row[0] for row in RETURNS])
def test_what_a_loss_returns_is_checked_and_named(name: str, function: Any, message: str, own_loss: Any):
    criterion = own_loss(name, function)
    logits = LOGITS.clone().requires_grad_()
    for target in (TARGET, LOGITS.softmax(1)):
        if name != "counted" or target.dim() == 1:
            with pytest.raises(TypeError, match=message):
                criterion(logits, target)


def test_a_loss_that_changes_the_logits_in_place_is_named(monkeypatch: pytest.MonkeyPatch):
    changes = {"name": "grab", "tensors": ("logits", "target"), "parameters": {}}
    entry = dataclasses.replace(
        LOSSES["squared_hinge"], function=lambda logits, target: logits.sub_(1)[:, 0], **changes
    )
    monkeypatch.setitem(LOSSES, "grab", entry)
    with pytest.raises(TypeError, match="grab changes its logits in place"):
        Criterion("grab")(LOGITS.clone(), TARGET)


def test_what_a_loss_returns_is_proven_once_for_each_shape(monkeypatch: pytest.MonkeyPatch):
    seen: list[int] = []
    monkeypatch.setattr("lossbench.losses.criterion.check_returned", lambda *a, **k: seen.append(a[2]))
    criterion = Criterion("focal")
    for size in (8, 8, 5, 8, 5, 5):
        criterion(LOGITS[:size], TARGET[:size])
    assert seen == [8, 5]


def test_a_criterion_can_be_written_as_on_the_command_line():
    assert repr(Criterion("focal:gamma=0.5")) == repr(Criterion("focal", gamma=0.5))
    assert Criterion("false_positive:alpha=none,top_k=3").loss_params["top_k"] == 3
    with pytest.raises(TypeError, match="focal: gamma is given twice"):
        Criterion("focal:gamma=2", gamma=1.0)
    with pytest.raises(TypeError, match=r"given by name, got \['focal'\]"):
        Criterion(["focal"])


def test_weights_of_another_length_than_the_classes_are_refused():
    for length in (3, 5):
        with pytest.raises(ValueError, match=rf"weight must have shape \(4,\), got \({length},\)"):
            Criterion("focal", weight=torch.ones(length))(LOGITS, TARGET)


KEPT = [(name, probability) for name in LOSSES for probability in PROBABILITIES]


def build(name: str, probability: str) -> Criterion:
    known = {"num_classes": 4, "embedding_dim": 4, "class_counts": [3, 1, 2, 2], "class_names": ("a", "b", "c", "d")}
    tree = {"tree": {"root": ["x", "y"], "x": ["a", "b"], "y": ["c", "d"]}, "mode": "leaf"}
    return Criterion(
        name, probability=probability, reduction="none", **known, **(tree if name.startswith("hier") else {})
    ).eval()


@pytest.mark.parametrize(("name", "probability"), KEPT)
def test_every_criterion_is_copied_pickled_and_saved_with_its_model(name: str, probability: str):
    criterion = build(name, probability)
    expected = criterion(LOGITS, TARGET)
    file = io.BytesIO()
    torch.save(nn.Sequential(criterion), file)
    file.seek(0)
    again = [copy.deepcopy(criterion), pickle.loads(pickle.dumps(criterion)), torch.load(file, weights_only=False)[0]]
    for other in again:
        assert torch.equal(other(LOGITS, TARGET), expected)
        assert other.entry is LOSSES[name]


def test_every_choice_of_every_parameter_is_pickled():
    for entry in (*LOSSES.values(), *PROBABILITIES.values()):
        for parameter in entry.parameters.values():
            assert pickle.loads(pickle.dumps(parameter)) == parameter


def test_a_spawned_process_gets_the_criterion():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        value = pool.apply(Criterion("focal:gamma=0.5"), (LOGITS, TARGET))
    assert torch.equal(value, Criterion("focal", gamma=0.5)(LOGITS, TARGET))


@pytest.mark.parametrize("name", LOSSES)
def test_torch_func_takes_the_gradient(name: str):
    criterion = build(name, "softmax")
    criterion.reduction = "mean"
    logits = LOGITS.clone().requires_grad_()
    (expected,) = torch.autograd.grad(criterion(logits, TARGET), logits)
    torch.testing.assert_close(torch.func.grad(criterion)(LOGITS, TARGET), expected)
    before = dict(criterion.events)
    torch.func.grad(criterion)(LOGITS, TARGET)
    assert criterion.events == before


@pytest.mark.parametrize("probability", ["softmax", "soft_margin_softmax"])
@pytest.mark.parametrize("name", FLAT)
def test_a_class_whose_logits_are_masked_counts_as_one_that_is_impossible(name: str, probability: str):
    masked, low = LOGITS.clone(), LOGITS.clone()
    masked[:, 3], low[:, 3] = -torch.inf, -1e4
    criterion, target = Criterion(name, probability=probability), TARGET.clamp(max=2)
    values = [criterion(logits.requires_grad_(), target) for logits in (masked, low)]
    torch.testing.assert_close(*values)
    gradients = [torch.autograd.grad(value, logits)[0] for value, logits in zip(values, (masked, low), strict=True)]
    torch.testing.assert_close(*gradients)
    if name == "cross_entropy" and probability == "softmax":
        torch.testing.assert_close(values[0], F.cross_entropy(masked, target))
