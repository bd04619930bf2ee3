"""The answer in the README and on its page is the one that the committed studies give."""

import pytest

from benchmarks import answer


@pytest.fixture(scope="module")
def made():
    return answer.make_blocks()


@pytest.mark.parametrize("page", answer.PAGES, ids=lambda path: path.name)
def test_the_page_says_what_the_committed_studies_say(page, made):
    blocks, _ = made
    text = page.read_text(encoding="utf-8")
    assert text == answer.fill(text, blocks), "run python -m benchmarks.answer"
    assert answer.BLOCK.search(text)


def test_every_loss_of_the_picture_has_a_row(made):
    _, table = made
    assert set(answer.DRAWN) <= set(table["loss"])
    assert (table.groupby(["loss", "dataset", "model"]).size() == 1).all()
    assert answer.PICTURE.exists()


def test_a_marker_that_nobody_fills_is_an_error():
    with pytest.raises(KeyError, match="nothing"):
        answer.fill("<!-- begin: nothing -->\n<!-- end -->", {})
