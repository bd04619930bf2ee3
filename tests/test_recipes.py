"""Every recipe of docs/recipes.md is executed as it is printed, where its package is installed."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from pathlib import Path

import pytest
import torch

PAGE = (Path(__file__).parents[1] / "docs" / "recipes.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"<!-- recipe: (\w+) -->\n```python\n(.*?)```", PAGE, re.DOTALL))
COMMON = PAGE.partition("```python\n")[2].partition("```")[0]
PROMISED = {"torch", "lightning", "skorch", "transformers", "timm", "fastai"}


def test_every_block_of_the_page_is_a_recipe_or_their_common_start() -> None:
    assert set(RECIPES) == PROMISED
    assert PAGE.count("```python") == len(RECIPES) + 1


@pytest.mark.parametrize("package", RECIPES)
def test_a_recipe_runs_as_printed_and_the_network_learns(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(package, reason=f"{package} is not installed; it comes with the extra recipes")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    torch.manual_seed(0)
    printed = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(printed), torch.random.fork_rng():
        warnings.simplefilter("ignore")  # of the other packages, about each other
        exec(compile(COMMON + RECIPES[package], f"{package} recipe", "exec"), {"__name__": f"recipe_{package}"})
    (accuracy,) = re.findall(r"^accuracy (\d\.\d{3})$", printed.getvalue(), re.MULTILINE)
    assert float(accuracy) > 0.6, "of ten classes"
