"""The claims of a folder or a notebook, and their verdicts in words."""

import re

import pandas as pd
import pytest

from lossbench import archive, claims
from lossbench.claims.wording import TITLES, quantity

REFERENCE = archive.reference_folder()


@pytest.fixture(scope="module")
def tables():
    return archive.load_tables(REFERENCE / "layers")


@pytest.fixture(scope="module")
def decided(tables):
    return claims.decide(tables)


def test_a_folder_and_its_tables_give_the_same_verdicts(tables, decided):
    expected = claims.evaluate(tables.runs, confusion=tables.confusion, folds=tables.folds, history=tables.history)
    pd.testing.assert_frame_equal(decided, expected)


def test_a_notebook_shows_its_claims_with_the_verdicts_that_they_have_among_all(decided):
    shown = claims.decide(REFERENCE / "layers", notebook="12_hierarchical_loss")
    wanted = decided[decided["notebook"] == "12_hierarchical_loss"].reset_index(drop=True)
    pd.testing.assert_frame_equal(shown, wanted)
    assert len(shown) > 5


def test_a_notebook_without_claims_is_refused_with_those_that_have_some():
    with pytest.raises(ValueError, match=r"unknown notebook with claims '12_hierarchical'; did you mean '?12_hier"):
        claims.decide(REFERENCE, notebook="12_hierarchical")


def test_tables_in_markdown_stand_apart_by_group_and_link_each_claim_to_its_figure(decided):
    markdown = claims.as_markdown(decided)
    titles = [line.strip("*") for line in markdown.splitlines() if line.startswith("**")]
    assert titles == list(TITLES.values())
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in rows}) == 1
    in_order = sorted(decided.to_dict("records"), key=lambda row: claims.GROUPS.index(row["group"]))
    assert re.findall(r"\]\(#(.+?)\)", markdown) == [row["figure"] for row in in_order]
    (line,) = (line for line in rows if "scores about as cross-entropy" in line)
    row = decided.set_index("claim").loc["layers-penalty-equals-ce"]
    assert "✓ supported here" in line
    assert f"{row['estimate']:.3f} points (95 %: {row['low']:.3f} to {row['high']:.3f})" in line
    assert f"test accuracy: confidence_penalty minus cross_entropy* | {row['n']} |" in line


QUANTITIES = [
    (3.0, "data sets", "3 data sets"),
    (0.0, "nats", "0 nats"),
    (2.5, "images", "2.5 images"),
    (-0.2, "points", "−0.2 points"),
    (92.6446, "% of runs below", "92.6 % of runs below"),
    (0.00123, "", "0.0012"),
    (float("nan"), "points", "–"),
]


@pytest.mark.parametrize(("value", "unit", "text"), QUANTITIES)
def test_counts_print_as_counts(value, unit, text):
    assert quantity(value, unit) == text
