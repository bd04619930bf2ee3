"""Embeddings on a plane: every image stands at its place, under the number of its class."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from lossbench import plots

mpl.use("Agg")


def test_each_image_stands_at_its_place_under_the_number_of_its_class():
    points, target = np.arange(10.0).reshape(5, 2), np.array([1, 0, 1, 1, 0])
    ax = Figure().subplots()
    assert plots.embedding(points, target, ["shoe", "bag", "coat"], ax, title="t") is ax
    assert [line.get_label() for line in ax.lines] == ["0 shoe", "1 bag", "2 coat"]
    for number, line in enumerate(ax.lines):
        assert line.get_marker() == f"${number}$"
        np.testing.assert_array_equal(np.column_stack(line.get_data()), points[target == number])
    assert len({line.get_color() for line in ax.lines}) == 3


@pytest.mark.parametrize("shape", [(4, 3), (4,), (5, 2)])
def test_shapes_that_do_not_fit_are_refused(shape):
    with pytest.raises(ValueError, match="do not fit"):
        plots.embedding(np.zeros(shape), np.zeros(4, dtype=int), ["a"])
