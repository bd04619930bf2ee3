"""The claims on the page: verdicts in words, signs and colours; one line where nothing is decided."""

import numpy as np
import pandas as pd
import pytest

from lossbench import claims
from lossbench.claims.wording import SIGNS
from lossbench.report.claims import FIGURES, LOSSES, claims_table, link_figures, page_of
from lossbench.report.evidence import gather


def row(claim, verdict, paper="000", group="runs", **values):
    facts = {
        "claim": claim, "paper": paper, "place": "Table 4.1", "says": f"It says {claim}.", "test": "a test",
        "verdict": verdict, "estimate": 1.234, "low": 0.5, "high": 1.9, "unit": "points", "n": 15,
        "needed": np.nan, "notebook": "08_thesis_analysis", "figure": "thesis-accuracy", "group": group,
        "against": "focal minus cross_entropy", "why": "because", "limits": "", "reconstruction": "",
    }  # fmt: skip
    return {**dict.fromkeys(claims.COLUMNS, ""), **facts, **values}


TABLE = pd.DataFrame(
    [
        row("a", "supported"),
        row("b", "undecided", "001", needed=212.0),
        row("c", "contradicted", "001"),
        row("d", "not tested", "002", estimate=np.nan, low=np.nan, high=np.nan, n=0),
    ]
)


def test_every_verdict_and_figure_of_the_claims_is_known_here():
    assert set(SIGNS) == set(claims.VERDICTS)
    assert set(FIGURES) <= set(claims.FIGURES)
    assert set(LOSSES) == set(claims.PAPERS)


def ids(group):
    return [(paper, [one["id"] for one in rows]) for paper, rows in group["papers"]]


def test_claims_of_runs_are_grouped_by_paper_and_counted_those_not_tested_apart():
    shown = page_of(TABLE)
    assert ids(shown["tested"]) == [("Paper 000: thesis", ["claim-a"]), ("Paper 001: Adma", ["claim-b", "claim-c"])]
    assert shown["tested"]["verdicts"] == [(1, "supported", "✓"), (1, "contradicted", "✗"), (1, "undecided", "?")]
    assert ids(shown["untested"]) == [("Paper 002: sampling-free loss", ["claim-d"])]


def test_what_mathematics_or_print_decides_is_never_added_to_what_runs_decide():
    others = [row("e", "contradicted", group=group) for group in claims.GROUPS if group != "runs"]
    shown = page_of(pd.concat([TABLE, pd.DataFrame(others)], ignore_index=True))
    assert shown["tested"] == page_of(TABLE)["tested"]
    assert {group: one["count"] for group, one in shown["others"].items()} == dict.fromkeys(claims.GROUPS[1:], 1)


def test_a_claim_shows_estimate_interval_n_and_what_would_decide_it():
    shown = page_of(TABLE)["tested"]["papers"][1][1][0]
    assert (shown["verdict"], shown["sign"]) == ("undecided", "?")
    assert shown["facts"] == {
        "against": "focal minus cross-entropy",
        "estimate": "1.23 points (95 %: 0.50 to 1.90)",
        "n": "15",
        "needed": "212",
    }


def test_a_claim_that_was_not_tested_shows_no_numbers():
    (paper,) = page_of(TABLE)["untested"]["papers"]
    assert not set(paper[1][0]["facts"]) & {"estimate", "n", "needed"}


@pytest.mark.parametrize("verdict", ["undecided", "not tested"])
def test_runs_that_decide_nothing_are_said_to_decide_nothing(verdict):
    table = pd.DataFrame([row("a", verdict), row("b", "supported", group="mathematics")])
    assert not page_of(table)["decided"]


def test_claims_have_a_table_for_files():
    table = claims_table(TABLE)
    assert table.shown["verdict"].tolist() == ["✓ supported", "? undecided", "✗ contradicted", "– not tested"]
    assert table.shown["estimate"].tolist()[-1] == "–"
    assert len(table.values) == 4


def test_a_figure_is_linked_to_the_study_that_has_the_papers_losses(study_folder):
    studies = gather(
        study_folder(losses=(("cross_entropy", {}), ("focal", {})), probabilities=("softmax",), seeds=(0,))
    )
    names = ["setting-1-differences", "published-000"]
    assert link_figures(TABLE, studies, names)["figure"].tolist()[0] == "setting-1-differences"
    assert link_figures(TABLE.assign(figure="thesis-tables"), studies, names)["figure"].tolist()[0] == "published-000"
    assert link_figures(TABLE, studies, [])["figure"].tolist()[0] == ""
    assert link_figures(TABLE.assign(figure="adma-curves"), studies, names)["figure"].tolist()[0] == ""
