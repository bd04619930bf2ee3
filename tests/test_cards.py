"""Cards, labels and the registry's own rules."""

from __future__ import annotations

import re

import pytest
import torch
from loss_problems import TAUGHT
from torch import Tensor

from lossbench.card import SECTIONS, plain_math, read_card
from lossbench.losses import LOSSES, register
from lossbench.losses.registry import find_loss
from lossbench.parameters import at_least
from lossbench.probabilities import PROBABILITIES

ENTRIES = [*LOSSES.values(), *PROBABILITIES.values()]


def test_losses_are_listed_in_the_order_in_which_they_are_taught():
    assert [name for name in LOSSES if name in TAUGHT] == TAUGHT
    assert list(PROBABILITIES) == ["softmax", "soft_margin_softmax", "taylor_softmax"]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_card_has_its_facts_and_both_forms(entry):
    text, markdown = entry.card.text(), entry.card._repr_markdown_()
    for heading in ("Range", "Gradient", "Source", "Peers"):
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
    card = read_card("nothing", DOC, parameters="", reconstruction=False, required=("range",))
    assert (card.summary, card.formula) == ("A loss for this test", "L = 0")
    assert (card.near_zero, card.peers) == ("0, as everywhere.", "none.")


def test_a_docstring_that_lacks_a_fact_is_refused():
    with pytest.raises(TypeError, match="docstring of x lacks Range, Peers"):
        read_card(
            "x", DOC.replace("Range", "R").replace("Peers", "P"), parameters="", reconstruction=False,
            required=("range", "peers", "source"),
        )  # fmt: skip
    with pytest.raises(TypeError, match=r"lacks its \.\. math:: block"):
        read_card("x", DOC.replace(".. math::", ""), parameters="", reconstruction=False, required=())


def make_loss(name: str, source: str) -> object:
    namespace: dict[str, object] = {"Tensor": Tensor}
    exec(f"def {name}({source}): ...", namespace)
    namespace[name].__doc__ = DOC
    return namespace[name]


BAD_LOSSES = [
    ("strange", "log_probs, target, proxies", {}, TypeError, "proxies is no known tensor"),
    ("aimless", "log_probs", {}, TypeError, "must take target"),
    ("torn", "log_probs, embeddings, target", {}, TypeError, "either embeddings or logits"),
    ("bare", "log_probs, target, *, gamma", {}, TypeError, "has no default"),
    ("unchecked", "log_probs, target, *, gamma=1.0", {}, TypeError, "checks for"),
    ("focal", "log_probs, target", {}, ValueError, "'focal' is registered already"),
    ("off", "log_probs, target, *, gamma=-1.0", {"checks": {"gamma": at_least(0)}}, ValueError, "at least 0"),
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


def test_an_unknown_loss_is_an_error_with_the_nearest_name():
    with pytest.raises(ValueError, match="unknown loss 'crossentropy'; did you mean 'cross_entropy'"):
        find_loss("crossentropy")
