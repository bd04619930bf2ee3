"""The answer is what the committed studies say, and every page that gives it uses one word for each comparison."""

import ast
import re

import nbformat
import pandas as pd
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from scipy.stats import ttest_rel
from statsmodels.stats.multitest import multipletests

from benchmarks import answer, answer_picture
from lossbench import LOSSES, archive, report, stats

NOTEBOOK = answer.ROOT / "notebooks" / "14_your_own_loss.ipynb"


@pytest.fixture(scope="module")
def evidence():
    return answer.gather()


@pytest.fixture(scope="module")
def blocks(evidence):
    return answer.make_blocks(evidence)


@pytest.fixture(scope="module")
def judged():
    """Every comparison of the committed studies by the engine alone."""
    return stats.compare(archive.load_tables(archive.reference_folder()).runs)


def block(text, name="answer"):
    return re.search(rf"<!-- begin: {name} -->\n(.*?)<!-- end -->", text, re.DOTALL)[1]


@pytest.mark.parametrize("page", answer.PAGES, ids=lambda path: path.name)
def test_the_page_says_what_the_committed_studies_say(page, blocks):
    text = page.read_text(encoding="utf-8")
    assert answer.BLOCK.search(text)
    assert text == answer.fill(text, blocks), "run python -m benchmarks.answer"


def test_readme_answer_and_front_page_give_one_answer(blocks):
    readme, page, front = (answer.ROOT / name for name in ("README.md", "docs/answer.md", "docs/index.md"))
    include = re.search(
        r'```\{include\} (\S+)\n:start-after: "(.+)"\n:end-before: "(.+)"\n```', front.read_text(encoding="utf-8")
    )
    included = (front.parent / include[1]).read_text(encoding="utf-8").partition(include[2])[2]
    answers = [block(path.read_text(encoding="utf-8")) for path in (readme, page)]
    assert {*answers, included.partition(include[3])[0].removeprefix("\n")} == {blocks["answer"]}


def test_the_answer_is_five_sentences_in_order(blocks):
    order = ["Clean, balanced data", "Wrong targets", "Rare classes", "Calibration", "Step size"]
    for name in ("answer", "details"):
        topics = re.findall(r"^\d\. \*\*(.+?):\*\* (.+)$", blocks[name], re.MULTILINE)
        assert [topic for topic, _ in topics] == order
        assert all(re.search(r"\d", sentence) for _, sentence in topics)
        assert name == "answer" or all("n = " in sentence for _, sentence in topics)
    assert "5 to 10 paired seeds" in blocks["answer"]


@pytest.mark.parametrize(("condition", "metric", "name"), [
    ({"label_noise": 0.4}, "test_accuracy", "Wrong targets"), ({"imbalance": 100.0}, "test_macro_f1", "Rare classes"),
])  # fmt: skip
def test_scipy_and_statsmodels_find_the_losses_that_a_sentence_calls_better_or_worse(
    evidence, blocks, condition, metric, name
):
    fields = {"study": "robustness", "label_noise": 0.0, "imbalance": 1.0, **condition}
    runs = answer.pick(evidence.runs, **fields).pivot(index="seed", columns="label", values=metric)
    losses = runs.drop(columns=["cross_entropy", "kl_divergence"])
    p = [ttest_rel(losses[label], runs["cross_entropy"]).pvalue for label in losses]
    differs = losses.columns[multipletests(p, method="holm")[0]]
    sentence = re.search(rf"\*\*{name}:\*\* (.+)", blocks["details"])[1]
    short = re.search(rf"\*\*{name}:\*\* (.+)", blocks["answer"])[1]
    assert all(LOSSES[label.partition(" ")[0]].title in short for label in differs)
    assert short.count("[") == len(differs)
    for label in differs:
        loss = label.partition(" ")[0]
        word = "better" if losses[label].mean() > runs["cross_entropy"].mean() else "worse"
        clause = next(part for part in re.split("; ", sentence) if re.search(rf"(is|are) {word} ", part))
        assert LOSSES[loss].title in clause
    assert sentence.partition("; ")[0].count("[") == len(differs)


def cells(text, header):
    """The rows of the Markdown tables that have this column, as dictionaries."""
    columns = None
    for line in text.splitlines():
        values = [value.strip() for value in line.strip("|").split("|")] if line.startswith("|") else None
        if values is None:
            columns = None
        elif columns is None:
            columns = values
        elif header in columns and set(line) - set("|- "):
            yield dict(zip(columns, values, strict=True))


def test_every_comparison_stands_on_the_page_with_the_word_of_the_engine(judged):
    page = (answer.ROOT / "docs" / "answer.md").read_text(encoding="utf-8")
    text = block(page, "defined") + block(page, "reconstructions")
    on_page = sorted(
        (row["study"], row["data set"], row["loss"].strip("`"), row["word"]) for row in cells(text, "word")
    )
    rows = judged[(judged["n"] > 0) & (judged["verdict"] != "same function")]
    rows = rows[[LOSSES[name].takes != "embeddings" or LOSSES[name].reconstruction for name in rows["loss"]]]
    expected = [
        (row.study, row.dataset, row.label.removesuffix(" (reconstruction)"), row.verdict) for row in rows.itertuples()
    ]
    matched = [row for row in on_page if row not in expected]
    assert {study for study, *_ in matched} <= {"adma"}  # learning rates of their own: compared with tuned=("lr",)
    assert len(on_page) == len(expected) + 9
    for row in set(expected):
        assert on_page.count(row) >= expected.count(row), row


def test_the_picture_shows_the_words_of_the_engine(evidence, judged):
    key = ["study", "setting", "probability", "label"]
    words = judged.set_index(key)["verdict"]
    panels = [panel for question in answer.questions(evidence) for panel in question.panels]
    assert len(panels) == 11
    for panel in panels:
        assert panel.rows["name"].is_unique
        assert set(panel.rows["verdict"]) <= set(answer_picture.MARKS)
        if panel.metric == "test_accuracy" and panel.rows["lr"].notna().all():
            assert list(words.loc[list(map(tuple, panel.rows[key].to_numpy()))]) == list(panel.rows["verdict"])


@pytest.mark.parametrize("layout", answer_picture.LAYOUTS)
def test_no_two_texts_of_the_picture_touch_and_none_is_cut(evidence, layout):
    import matplotlib.pyplot as plt
    from matplotlib.text import Text

    figure = answer_picture.draw_layout(answer.questions(evidence), answer_picture.LAYOUTS[layout])
    figure.canvas.draw()
    texts = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    width, height = figure.get_size_inches() * figure.dpi
    plt.close(figure)
    cut = [text for text, box in boxes if box.x0 < 0 or box.y0 < 0 or box.x1 > width or box.y1 > height]
    touching = [
        (a, b)
        for i, (a, first) in enumerate(boxes)
        for b, second in boxes[:i]
        if min(first.x1, second.x1) - max(first.x0, second.x0) > 0.5
        and min(first.y1, second.y1) - max(first.y0, second.y0) > 2  # rows are closer than the boxes of their fonts
    ]
    assert (cut, touching) == ([], [])


@pytest.mark.slow
def test_the_report_has_the_same_word_for_every_comparison(judged, tmp_path):
    report.build(archive.reference_folder(), tmp_path)
    table = pd.read_csv(tmp_path / "tables" / "comparisons.csv")
    key = ["study", "probability", "label", "n", "mean"]

    def words(rows):
        paired = rows[rows["n"] > 0]
        means = paired.assign(mean=paired["mean"].round(9) + 0.0)
        return sorted(map(tuple, means[[*key, "verdict"]].to_numpy().tolist()))

    assert words(table) == words(judged)


def test_the_notebook_on_a_loss_of_ones_own_judges_by_the_engine_and_gives_its_words(evidence, judged):
    code = [cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    source = "\n".join(map(TransformerManager().transform_cell, code))
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    engine = [call for call in calls if ast.unparse(call.func) in ("stats.compare", "stats.judge", "stats.sequential")]
    assert any(ast.unparse(call.func) == "stats.compare" for call in engine)
    for call in engine:
        if ast.unparse(call.func) == "stats.compare":
            options = {option.arg: ast.literal_eval(option.value) for option in call.keywords}
            words = stats.compare(evidence.runs, *map(ast.literal_eval, call.args[1:]), **options)["verdict"]
            assert list(words) == list(judged["verdict"])
    assert not re.search(r"noise.floor|\b(above|below|within|unclear)\b\"", source)


def test_every_comparison_has_a_word_of_the_rule_before(evidence):
    table = answer.compare_words(evidence)
    assert table[["compare", "page"]].notna().all().all()
    assert set(table["compare"]) <= {"above", "unclear", "within", "below", "same function"}


def test_a_marker_that_nobody_fills_is_an_error():
    with pytest.raises(KeyError, match="nothing"):
        answer.fill("<!-- begin: nothing -->\n<!-- end -->", {})
