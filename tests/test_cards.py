"""Cards, labels and the registry's own rules."""

from __future__ import annotations

import re
from typing import Annotated

import pytest
import torch
from loss_problems import TAUGHT
from torch import Tensor

from lossbench.card import SECTIONS, plain_math, read_card
from lossbench.losses import LOSSES, register
from lossbench.probabilities import PROBABILITIES
from lossbench.registry import Registry, at_least

ENTRIES = [*LOSSES.values(), *PROBABILITIES.values()]


def test_losses_are_listed_in_the_order_in_which_they_are_taught():
    assert [name for name in LOSSES if name in TAUGHT] == TAUGHT
    assert list(PROBABILITIES) == ["softmax", "soft_margin_softmax", "taylor_softmax"]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_card_has_its_facts_and_both_forms(entry):
    text, markdown = entry.card.text(), entry.card._repr_markdown_()
    needed = ["Range", "Gradient", "Source", "Peers"]
    needed += ["Equals"] if getattr(entry, "takes", "logits") == "logits" else []
    needed += ["At p -> 0", "At p -> 1"] if getattr(entry, "takes", "") == "logits" else []
    assert entry.card.summary
    assert entry.card.formula
    for heading in needed:
        assert getattr(entry.card, SECTIONS[heading])
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
    assert reconstructions == {"sampling_free", "hierarchical_cross_entropy"}
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


def test_plain_math_reads_like_a_formula():
    assert plain_math(r"\frac{1}{C} \sum_k (p_k - Y_k)^2") == "1/C Σ_k (p_k - Y_k)^2"
    assert plain_math(r"\frac{p_F}{1 - p_F} \cdot e^{-\beta}") == "p_F/(1 - p_F) · e^(-β)"
    assert plain_math(r"\text{top k} \le \infty") == "top k ≤ ∞"


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


def test_a_card_is_read_from_the_docstring():
    card = read_card("nothing", DOC, parameters="", reconstruction=False)
    assert (card.summary, card.formula) == ("A loss for this test", "L = 0")
    assert (card.near_zero, card.peers) == ("0, as everywhere.", "none.")


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


def test_an_unknown_loss_is_an_error_with_the_nearest_name():
    with pytest.raises(ValueError, match="unknown loss 'crossentropy'; did you mean 'cross_entropy'"):
        LOSSES["crossentropy"]
