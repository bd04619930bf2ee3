"""Pictures in one axes: how many, in which order, with which captions."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")
import matplotlib.pyplot as plt

from lossbench import plots

PICTURES = np.arange(6 * 4, dtype=np.uint8).reshape(6, 1, 2, 2)
NAMES = ("cat", "dog", "fox")


def captions(ax):
    return [text.get_text() for text in ax.texts]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_every_picture_is_drawn_once_under_its_caption(channels, kind):
    stack = np.repeat(PICTURES, channels, axis=1).astype(kind)
    ax = plots.images(stack, list("abcdef"), columns=4)
    assert len(ax.images) == 6
    assert captions(ax) == list("abcdef")
    places = {(round(image.get_extent()[0], 3), round(image.get_extent()[2], 3)) for image in ax.images}
    assert len(places) == 6


def test_numbers_are_stretched_and_bytes_are_not():
    ax = plots.images(np.array([[[[0.0, 5.0]]]]))
    assert ax.images[0].get_array().tolist() == [[0.0, 1.0]]
    ax = plots.images(np.array([[[[0, 51]]]], dtype=np.uint8))
    assert ax.images[0].get_array().tolist() == [[0.0, 0.2]]
    assert plots.images(np.zeros((1, 1, 2, 2))).images[0].get_array().max() == 0


@pytest.mark.parametrize(
    ("shape", "names"), [((6, 2, 2), ()), ((6, 2, 2, 2), ()), ((0, 1, 2, 2), ()), ((2, 1, 2, 2), "a")]
)
def test_what_is_no_stack_of_pictures_is_refused(shape, names):
    with pytest.raises(ValueError, match="pictures"):
        plots.images(np.zeros(shape), names)


def test_mistakes_come_surest_first_and_right_answers_not_at_all():
    probabilities = np.array([[0.9, 0.1, 0], [0.6, 0.4, 0], [0.1, 0.8, 0.1], [0.0, 0.3, 0.7], [1, 0, 0], [0, 0, 1]])
    target = np.array([0, 1, 0, 1, 0, 2])
    with np.errstate(divide="ignore"):
        ax = plots.mistakes(PICTURES, np.log(probabilities), target, NAMES, count=2)
    assert captions(ax) == ["is cat\ndog? 80 %", "is dog\nfox? 70 %"]
    assert ax.images[0].get_array()[0, 0] == pytest.approx(PICTURES[2, 0, 0, 0] / 255)


def test_a_model_without_mistakes_has_an_empty_picture_that_says_so():
    ax = plots.mistakes(PICTURES, np.log(np.full((6, 3), 1 / 3)), np.zeros(6, dtype=int), NAMES)
    assert ax.get_title(loc="left") == "no mistakes"


def test_a_notebooks_own_figures_get_a_white_page_and_safe_colours():
    with mpl.rc_context():
        plots.use_style()
        figure, ax = plt.subplots()
        lines = [ax.plot([0, 1])[0].get_color() for _ in range(7)]
        assert mpl.colors.to_hex(figure.get_facecolor()) == "#ffffff"
    assert len(set(lines)) == 7
    assert set(lines) <= {
        value for name, value in vars(plots.style).items() if name.isupper() and isinstance(value, str)
    }


@pytest.mark.parametrize(("prefix", "name"), [("val", "validation images"), ("test", "test images")])
def test_history_shows_the_images_that_the_epoch_was_selected_on(prefix, name):
    table = pd.DataFrame({"epoch": [1, 2], "train_accuracy": [0.5, 0.6], f"{prefix}_accuracy": [0.4, 0.7]})
    drawn = plots.history(table).lines[1]
    assert drawn.get_label() == name
    assert drawn.get_ydata().tolist() == pytest.approx([40, 70])
