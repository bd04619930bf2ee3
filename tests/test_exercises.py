"""What counts as an answer."""

import pytest
import torch

from lossbench.exercises import check


@pytest.mark.parametrize(
    ("answer", "solution"),
    [(1, 1.0), (0.3334, 1 / 3), ("focal", "focal"), (True, True), ([1, 2], torch.tensor([1, 2]))],
)
def test_a_right_answer_is_accepted(answer, solution):
    assert check(answer, solution) == "right"


@pytest.mark.parametrize(
    ("answer", "solution"),
    [(1.01, 1.0), ("Focal", "focal"), (1, "1"), (False, True), ([1, 2], [2, 1]), ([1], 1), ("x", 1.0), (None, 0.0)],
)
def test_a_wrong_answer_fails_and_shows_the_hint(answer, solution):
    with pytest.raises(AssertionError, match=r"not yet: .* look again"):
        check(answer, solution, hint="look again")


@pytest.mark.parametrize("answer", [..., [1.0, ...], (..., ...)])
def test_a_missing_answer_is_no_failure(answer):
    assert check(answer, [1.0, 2.0]) == "not answered yet"
