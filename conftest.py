"""Tests and notebooks keep their results away from the source tree, and a notebook that passes keeps its outputs."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import nbformat
import pytest

if "LOSSBENCH_OUTPUT" not in os.environ:
    results = tempfile.mkdtemp(prefix="lossbench-")
    atexit.register(shutil.rmtree, results, ignore_errors=True)
    os.environ["LOSSBENCH_OUTPUT"] = results  # notebooks run in processes of their own, which inherit it


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Keep what nbval executed in `<LOSSBENCH_OUTPUT>/notebooks`, so that the site does not execute it again.

    A cell that fails gets no number, and a notebook with such a cell is not kept.
    """
    result = yield
    if type(item).__name__ == "IPyNbCell":
        item.cell.update(outputs=item.test_outputs, execution_count=item.cell_num + 1)
        notebook = item.parent.nb
        if all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code"):
            kept = Path(os.environ["LOSSBENCH_OUTPUT"]).resolve() / "notebooks" / item.path.name
            kept.parent.mkdir(parents=True, exist_ok=True)
            nbformat.write(notebook, kept)
    return result
