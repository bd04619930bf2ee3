"""Cards, labels and the registry's own rules."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import TAUGHT
from torch import Tensor

from lossbench.losses import LOSSES, register
from lossbench.losses.catalogue import SECTIONS, read_card
from lossbench.losses.probabilities import PROBABILITIES, log_probs, register_probability
from lossbench.registry import Registry, at_least

ENTRIES = [*LOSSES.values(), *PROBABILITIES.values()]


def test_losses_are_listed_in_the_order_in_which_they_are_taught():
    assert [name for name in LOSSES if name in TAUGHT] == TAUGHT
    assert list(PROBABILITIES) == [
        *("softmax", "soft_margin_softmax", "taylor_softmax"),
        *("tempered_softmax", "spherical_softmax", "sparsemax"),
    ]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_card_has_its_facts_and_both_forms(entry):
    text, markdown = entry.card.text(), entry.card._repr_markdown_()
    needed = ["Range", "Gradient", "Source", "Peers"]
    needed += ["Equals"] if getattr(entry, "takes", "logits") == "logits" else []
    needed += ["Origin", "Use when", "Avoid when"] if hasattr(entry, "takes") else []
    needed += ["At p -> 0", "At p -> 1"] if getattr(entry, "takes", "") == "logits" else []
    assert entry.card.summary
    assert entry.card.formula
    for heading in needed:
        assert getattr(entry.card, {**SECTIONS, "Origin": "origin"}[heading])
        assert re.search(rf"^  {heading} ", text, re.MULTILINE)
        assert f"- *{heading}*" in markdown
    assert entry.name in text.splitlines()[0]
    assert f"$$ {entry.card.formula} $$" in markdown


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_cards_for_the_terminal_hold_no_latex_and_fit_the_width(entry):
    text = entry.card.text(width=90)
    assert "\\" not in text
    assert ":math:" not in text
    assert "{" not in re.sub(r"\{parent: \[children\]\}", "", text)
    assert max(map(len, text.splitlines())) <= 90


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_cards_for_notebooks_have_balanced_formulas(entry):
    markdown = entry.card._repr_markdown_()
    assert ":math:" not in markdown
    for formula in re.findall(r"\$\$(.*?)\$\$|\$([^$]+)\$", markdown):
        joined = "".join(formula)
        assert joined.count("{") == joined.count("}")


def test_reconstructions_say_so_in_card_and_label():
    reconstructions = {entry.name for entry in ENTRIES if entry.reconstruction}
    assert reconstructions == {"sampling_free", "hierarchical_cross_entropy", "two_scale"}
    for name in reconstructions:
        assert "reconstruction" in LOSSES[name].card.text().splitlines()[0] + LOSSES[name].card.text()
        assert "reconstruction" in LOSSES[name].card._repr_markdown_()
        assert LOSSES[name].label().endswith("(reconstruction)")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_the_defaults_pass_their_own_checks_unchanged(entry):
    assert entry.check(entry.defaults) == entry.defaults
    assert entry.complete({}) == entry.defaults
    assert set(entry.shown) <= set(entry.defaults)


LABELS = [
    ("cross_entropy", {}, "cross_entropy"),
    ("focal", {}, "focal γ=2"),
    ("focal", {"gamma": 0.5}, "focal γ=0.5"),
    ("adma", {"a": 0.3, "normalize": True}, "adma a=0.3 normalize=True"),
    ("sampling_free", {"variant": "star"}, "sampling_free β=4 γ=5 variant=star (reconstruction)"),
    ("false_positive", {"alpha": [1, 2, 3]}, "false_positive α=custom[3]"),
    ("confidence_penalty", {"lam": 1}, "confidence_penalty λ=1"),
]


@pytest.mark.parametrize(("name", "params", "label"), LABELS)
def test_labels_show_what_matters_and_what_is_unusual(name: str, params: dict[str, object], label: str):
    assert LOSSES[name].label(params) == label


def test_check_returns_what_was_given_in_the_right_type_and_no_tensors():
    checked = LOSSES["focal"].check({"gamma": 2})
    assert checked == {"gamma": 2.0}
    assert isinstance(checked["gamma"], float)
    assert LOSSES["focal"].check({}) == {}
    alpha = LOSSES["false_positive"].check({"alpha": torch.tensor([1.0, 0.5]), "top_k": 2.0})
    assert alpha == {"alpha": (1.0, 0.5), "top_k": 2}


DOC = """A loss for this test.

    .. math:: L = 0

    Range: 0.
    Gradient: 0.
    At p -> 0: 0,
        as everywhere.
    At p -> 1: 0.
    Equals: nothing.
    Source: this file.
    Peers: none.

    Args:
        target: not a fact.
    """


def test_a_loss_of_ones_own_needs_no_docstring():
    card = read_card("mine", None, parameters="", reconstruction=False)
    assert card.text() == "mine"
    assert card._repr_markdown_() == "**mine**\n"


def make_loss(name: str, source: str) -> object:
    namespace: dict[str, object] = {"Tensor": Tensor, "Annotated": Annotated, "at_least": at_least}
    exec(f"def {name}({source}): ...", namespace)
    namespace[name].__doc__ = DOC
    return namespace[name]


BAD_LOSSES = [
    ("strange", "log_probs, target, proxies", {}, TypeError, "proxies is no known tensor"),
    ("aimless", "log_probs", {}, TypeError, "must take target"),
    ("torn", "log_probs, embeddings, target", {}, TypeError, "either embeddings or logits"),
    ("bare", "log_probs, target, *, gamma", {}, TypeError, "give the hyperparameter gamma a default"),
    ("bare", "log_probs, target, gamma", {}, TypeError, r"gamma is no known tensor .* give it a default and put a \*"),
    ("loose", "log_probs, target, **rest", {}, TypeError, "rest cannot be used here"),
    (
        "lost",
        "log_probs, target, *, gamma: 'Annotated[float, nowhere(0)]' = 1.0",
        {},
        TypeError,
        "cannot be read",
    ),
    ("focal", "log_probs, target", {}, ValueError, "'focal' is registered already"),
    ("off", "log_probs, target, *, gamma: Annotated[float, at_least(0)] = -1.0", {}, ValueError, "at least 0"),
    ("shy", "log_probs, target", {"shown": ("gamma",)}, TypeError, "are not its hyperparameters"),
]


@pytest.mark.parametrize(("name", "signature", "options", "error", "message"), BAD_LOSSES)
def test_a_loss_that_breaks_a_rule_is_refused_when_it_is_defined(name, signature, options, error, message):
    before = dict(LOSSES)
    with pytest.raises(error, match=message):
        register(**options)(make_loss(name, signature))
    assert before == LOSSES


def test_a_new_loss_works_by_its_name_at_once():
    from lossbench import Criterion

    def halved(log_probs: Tensor, target: Tensor) -> Tensor:
        return -log_probs.gather(1, target[:, None]).squeeze(1) / 2

    halved.__doc__ = DOC
    register()(halved)
    try:
        value = Criterion("halved")(torch.zeros(2, 4), torch.tensor([0, 1]))
        assert value.item() == pytest.approx(torch.log(torch.tensor(4.0)).item() / 2)
    finally:
        del LOSSES["halved"]


@pytest.fixture
def losses_as_they_are():
    before = dict(LOSSES)
    yield
    LOSSES.clear()
    LOSSES.update(before)


def test_a_loss_without_card_checks_stars_or_brackets_is_one(losses_as_they_are: None):
    from lossbench import Criterion

    @register
    def plain(log_probs, target, strength=2, twice: bool = False, word="a"):
        return -strength * log_probs.gather(1, target[:, None]).squeeze(1) * (2 if twice else 1)

    entry = LOSSES["plain"]
    assert entry.defaults == {"strength": 2, "twice": False, "word": "a"}
    assert (entry.title, entry.colour, entry.label({"strength": 3})) == ("plain", "", "plain strength=3")
    value = Criterion("plain:strength=3,twice=true")(torch.zeros(2, 4), torch.tensor([0, 1]))
    assert value.item() == pytest.approx(6 * torch.log(torch.tensor(4.0)).item())
    for bad, error in (({"strength": 1.5}, ValueError), ({"strength": "a"}, TypeError), ({"twice": 1}, TypeError)):
        with pytest.raises(error, match="plain: "):
            entry.check(bad)


def test_an_annotation_declares_check_slider_search_and_symbol():
    gamma = LOSSES["focal"].parameters["gamma"]
    assert (gamma.default, gamma.symbol, gamma.start) == (2.0, "γ", 2.0)
    assert (gamma.control.low, gamma.control.high, gamma.control.step) == (0.0, 5.0, 0.1)
    assert (gamma.search.low, gamma.search.high, gamma.search.log) == (0.5, 5.0, False)
    with pytest.raises(ValueError, match="must be at least 0, got -1"):
        gamma.check("gamma", -1)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_tuners_search_two_parameters_at_most_and_only_allowed_values(entry):
    searched = {name: parameter.search for name, parameter in entry.parameters.items() if parameter.search}
    assert len(searched) <= 2
    for name, bounds in searched.items():
        assert 0 < bounds.low <= entry.defaults[name] <= bounds.high or name == "top_k" or not bounds.log
        for value in (bounds.low, bounds.high):
            assert entry.check({name: value}) == {name: value}


def test_every_loss_of_lossbench_has_a_title_and_a_colour():
    from lossbench.plots.style import loss_colours

    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in loss_colours().values())
    assert len({entry.title for entry in ENTRIES}) == len(ENTRIES)
    assert LOSSES["js_divergence"].title == "JS divergence"


def test_a_registry_answers_an_unknown_name_with_the_nearest():
    table = Registry("colour", {"red": 1, "green": 2})
    with pytest.raises(ValueError, match=r"unknown colour 'gren'; did you mean 'green'\? choose from red, green"):
        table["gren"]
    assert table.get("gren") is None
    assert "gren" not in table


# Probability functions: proper distributions, their gradients, and what the papers' printed forms get wrong.

LOGITS = 2 * torch.randn(64, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGET = torch.randint(10, (64,), generator=torch.Generator().manual_seed(1))

# name, parameters, probabilities at logits (1, 0, -1) and target 0, worked by hand
E = math.e
CUBIC = 4 / math.sqrt(3) * math.cos(math.acos(3 * math.sqrt(3) / 8) / 3)  # Viète's formula
ROWS: list[tuple[str, dict[str, Any], list[float]]] = [
    ("softmax", {}, [x / (E + 1 + 1 / E) for x in (E, 1, 1 / E)]),
    ("soft_margin_softmax", {"margin": 1.0}, [x / (2 + 1 / E) for x in (1, 1, 1 / E)]),
    ("taylor_softmax", {}, [2.5 / 4, 1 / 4, 0.5 / 4]),
    ("taylor_softmax", {"order": 4}, [x / (65 / 24 + 1 + 9 / 24) for x in (65 / 24, 1, 9 / 24)]),
    ("tempered_softmax", {"t": 1.0}, [x / (E + 1 + 1 / E) for x in (E, 1, 1 / E)]),
    # 1 / s + 1 / (1 + s) + 1 / (2 + s) = 1 at the root of s^3 - 4 s - 2
    ("tempered_softmax", {"t": 2.0}, [1 / (CUBIC + x) for x in (0, 1, 2)]),
    ("spherical_softmax", {"epsilon": 0.5}, [x / 3.5 for x in (1.5, 0.5, 1.5)]),
    # the first leads by 1: the others get nothing but the floor
    ("sparsemax", {"floor": 0.03}, [0.97 + 0.01, 0.01, 0.01]),
]


def test_every_probability_function_has_a_row():
    assert {row[0] for row in ROWS} == set(PROBABILITIES)


@pytest.mark.parametrize(("name", "params", "expected"), ROWS)
def test_probabilities_are_those_worked_by_hand(name: str, params: dict[str, Any], expected: list[float]):
    logits = torch.tensor([[1.0, 0.0, -1.0]], dtype=torch.float64)
    result = log_probs(name, logits, torch.tensor([0]), **params).exp()
    torch.testing.assert_close(result, torch.tensor([expected], dtype=torch.float64), rtol=1e-12, atol=0)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 64), st.integers(2, 100), st.floats(0.01, 1e4), st.integers(0, 999))
@pytest.mark.parametrize(("name", "params"), [(row[0], row[1]) for row in ROWS] + [("taylor_softmax", {"order": 8})])
def test_probabilities_are_positive_and_sum_to_one(
    name: str, params: dict[str, Any], batch: int, classes: int, scale: float, seed: int
):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(batch, classes, generator=generator, dtype=torch.float64)
    target = torch.randint(classes, (batch,), generator=generator)
    result = log_probs(name, logits, target, **params)
    assert result.isfinite().all()
    assert (result <= 0).all()
    torch.testing.assert_close(result.exp().sum(1), torch.ones(batch, dtype=torch.float64), rtol=1e-9, atol=0)


@pytest.mark.parametrize(("name", "params"), [(row[0], row[1]) for row in ROWS] + [("taylor_softmax", {"order": 8})])
def test_log_probabilities_and_gradients_are_finite_at_extreme_logits(name: str, params: dict[str, Any]):
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4], [-1e4, -1e4, -1e4]], requires_grad=True)
    result = log_probs(name, logits, torch.tensor([0, 0, 0]), **params)
    assert result.isfinite().all()
    assert torch.autograd.grad(result.sum(), logits)[0].isfinite().all()


@pytest.mark.parametrize(("name", "params"), [(row[0], row[1]) for row in ROWS])
def test_gradients_agree_with_finite_differences(name: str, params: dict[str, Any]):
    logits = LOGITS[:4, :5].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: log_probs(name, z, TARGET[:4] % 5, **params), logits)


def test_softmax_is_scipys():
    expected = scipy.special.log_softmax(LOGITS.numpy(), axis=1)
    np.testing.assert_allclose(log_probs("softmax", LOGITS).numpy(), expected, rtol=1e-12)


def test_the_margin_is_taken_off_the_target_only_and_only_when_there_is_one():
    shifted = LOGITS - 0.3 * F.one_hot(TARGET, 10)
    torch.testing.assert_close(log_probs("soft_margin_softmax", LOGITS, TARGET), F.log_softmax(shifted, 1))
    torch.testing.assert_close(log_probs("soft_margin_softmax", LOGITS), F.log_softmax(LOGITS, 1))
    assert torch.equal(log_probs("soft_margin_softmax", LOGITS, TARGET, margin=0), F.log_softmax(LOGITS, 1))


def test_the_margin_of_class_probabilities_is_their_share_of_it():
    one_hot = F.one_hot(TARGET, 10).double()
    soft, hard = (log_probs("soft_margin_softmax", LOGITS, target) for target in (one_hot, TARGET))
    torch.testing.assert_close(soft, hard)


@pytest.mark.parametrize("order", [2, 4, 6, 8])
def test_taylor_softmax_normalises_the_taylor_polynomial(order: int):
    polynomial = sum(LOGITS**k / math.factorial(k) for k in range(order + 1))
    assert isinstance(polynomial, Tensor)
    expected = polynomial / polynomial.sum(1, keepdim=True)
    torch.testing.assert_close(log_probs("taylor_softmax", LOGITS, order=order).exp(), expected)


def test_taylor_softmax_approaches_softmax_with_its_order():
    gaps = [
        (log_probs("taylor_softmax", LOGITS / 4, order=order) - F.log_softmax(LOGITS / 4, 1)).abs().max().item()
        for order in (2, 4, 6, 8)
    ]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-3


def test_the_gradient_of_taylor_softmax_is_its_closed_form():
    logits = LOGITS.clone().requires_grad_()
    result = log_probs("taylor_softmax", logits)
    (gradient,) = torch.autograd.grad(result[:, 0].sum(), logits)
    rate = (1 + LOGITS) / (1 + LOGITS + LOGITS**2 / 2)
    delta = F.one_hot(torch.zeros(64, dtype=torch.int64), 10)
    torch.testing.assert_close(gradient, rate * (delta - result.detach().exp()), rtol=1e-10, atol=1e-10)
    assert rate.abs().max() <= 1


def test_taylor_softmax_is_not_monotone_so_the_largest_logit_need_not_win():
    logits = torch.tensor([[0.0, -4.0]])
    assert logits.argmax(1).item() == 0
    assert log_probs("taylor_softmax", logits).argmax(1).item() == 1


@pytest.mark.parametrize("order", [0, 1, 3, 5, -2, 2.5, 10])
def test_taylor_softmax_takes_even_orders_only(order: float):
    with pytest.raises(ValueError, match=f"order must be .* got {order}"):
        log_probs("taylor_softmax", LOGITS, order=order)


@pytest.mark.parametrize("t", [1.001, 1.2, 2.0, 4.0])
def test_tempered_softmax_solves_its_equation_as_scipys_root_finder_does(t: float):
    for row in (LOGITS[0], 50 * LOGITS[1]):
        behind = (row.max() - row).numpy()
        root = scipy.optimize.brentq(
            lambda s, d=behind: ((1 + (t - 1) * (s + d)) ** (-1 / (t - 1))).sum() - 1, 0, 1e4, xtol=1e-13, rtol=1e-14
        )
        expected = (1 + (t - 1) * (root + behind)) ** (-1 / (t - 1))
        np.testing.assert_allclose(log_probs("tempered_softmax", row[None], t=t).exp()[0].numpy(), expected, rtol=1e-9)


def test_tempered_softmax_approaches_softmax_and_is_twice_differentiable():
    close = log_probs("tempered_softmax", LOGITS, t=1 + 1e-7)
    torch.testing.assert_close(close, F.log_softmax(LOGITS, 1), rtol=1e-4, atol=1e-5)
    logits = LOGITS[:2, :4].clone().requires_grad_()
    for t in (1.3, 3.0):
        assert torch.autograd.gradgradcheck(lambda z, t=t: log_probs("tempered_softmax", z, t=t), logits)


def test_the_gradients_of_tempered_and_spherical_softmax_are_their_closed_forms():
    delta = F.one_hot(torch.zeros(64, dtype=torch.int64), 10)
    for name, params in (("tempered_softmax", {"t": 2.5}), ("spherical_softmax", {"epsilon": 0.2})):
        logits = LOGITS.clone().requires_grad_()
        result = log_probs(name, logits, **params)
        (gradient,) = torch.autograd.grad(result[:, 0].sum(), logits)
        p = result.detach().exp()
        if name == "tempered_softmax":
            expected = p[:, :1] ** 1.5 * (delta - p**2.5 / (p**2.5).sum(1, keepdim=True))
        else:
            expected = 2 * LOGITS / (LOGITS**2 + 0.2) * (delta - p)
        torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-11)


def test_a_heavier_tail_takes_less_back_from_a_class_far_behind():
    logits = torch.tensor([[10.0, 0.0, 0.0]], dtype=torch.float64)
    last = [log_probs("tempered_softmax", logits, t=t)[0, 2].item() for t in (1.0, 1.5, 2.0, 4.0)]
    assert last == sorted(last)


def test_spherical_softmax_ignores_signs_and_sees_ratios_only():
    torch.testing.assert_close(log_probs("spherical_softmax", -LOGITS), log_probs("spherical_softmax", LOGITS))
    scaled = log_probs("spherical_softmax", 3 * LOGITS, epsilon=0.9)
    torch.testing.assert_close(scaled, log_probs("spherical_softmax", LOGITS, epsilon=0.1))


def test_sparsemax_is_the_nearest_point_of_the_simplex():
    floor = 1e-9
    p = log_probs("sparsemax", LOGITS, floor=floor).exp()
    for row, ours in zip(LOGITS[:8].numpy(), p[:8].numpy(), strict=True):
        nearest = scipy.optimize.minimize(
            lambda q, z=row: ((q - z) ** 2).sum(), np.full(10, 0.1), jac=lambda q, z=row: 2 * (q - z), tol=1e-12,
            bounds=[(0, 1)] * 10, constraints={"type": "eq", "fun": lambda q: q.sum() - 1}, method="SLSQP",
        )  # fmt: skip
        np.testing.assert_allclose(ours, nearest.x, atol=1e-6)
    assert (p < 2e-10).sum() > 100  # most classes get nothing but the floor


def test_sparsemax_of_two_classes_is_a_clamped_line():
    lead = torch.linspace(-2, 2, 41, dtype=torch.float64)
    p = log_probs("sparsemax", torch.stack([lead, torch.zeros_like(lead)], dim=1), floor=0.01)[:, 0].exp()
    torch.testing.assert_close(p, 0.99 * ((1 + lead) / 2).clamp(0, 1) + 0.005)


def test_labels_show_the_margin_always_and_the_order_when_it_is_unusual():
    assert PROBABILITIES["soft_margin_softmax"].label() == "soft_margin_softmax m=0.3"
    assert PROBABILITIES["taylor_softmax"].label() == "taylor_softmax"
    assert PROBABILITIES["taylor_softmax"].label({"order": 4.0}) == "taylor_softmax order=4"


def test_a_probability_function_must_have_the_right_signature_and_a_new_name():
    def strange(scores: Tensor) -> Tensor:
        return scores

    with pytest.raises(TypeError, match="strange must take"):
        register_probability()(strange)
    with pytest.raises(ValueError, match="'softmax' is registered already"):
        register_probability()(PROBABILITIES["softmax"].function)
