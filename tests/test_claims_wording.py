"""The claims of a folder or a notebook, and their verdicts in words."""

import re

import pandas as pd
import pytest

from lossbench import archive, claims

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
    one = claims.decide(REFERENCE / "layers", notebook="12_hierarchical_loss")
    wanted = decided[decided["notebook"] == "12_hierarchical_loss"].reset_index(drop=True)
    pd.testing.assert_frame_equal(one, wanted)
    assert len(one) > 5


def test_a_notebook_without_claims_is_refused_with_those_that_have_some():
    with pytest.raises(ValueError, match=r"unknown notebook with claims '12_hierarchical'; did you mean '?12_hier"):
        claims.decide(REFERENCE, notebook="12_hierarchical")


def test_a_table_in_markdown_links_each_claim_to_its_figure(decided):
    head, rule, *lines = claims.as_markdown(decided).splitlines()
    assert rule.count("|") == head.count("|")
    assert {line.count("|") for line in lines} == {head.count("|")}
    assert re.findall(r"\]\(#(.+?)\)", "\n".join(lines)) == list(decided["figure"])
    (found,) = (line for line in lines if "scores about as cross-entropy" in line)
    row = decided.set_index("claim").loc["layers-penalty-equals-ce"]
    assert "✓ supported" in found
    assert f"{row['estimate']:.3f} points (95 %: {row['low']:.3f} to {row['high']:.3f}) | {row['n']} |" in found
