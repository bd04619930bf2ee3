"""What a notebook may be given: the plain assignments of its `parameters` cell, and strict checks against them."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from lossbench.registry import unknown

TAG = "parameters"


def parameters_source(notebook: Any, name: str) -> str:
    """The text of the one cell tagged `parameters`; ValueError when there is none, or more than one."""
    cells = [cell for cell in notebook.cells if TAG in cell.metadata.get("tags", [])]
    if len(cells) != 1 or cells[0].cell_type != "code":
        raise ValueError(
            f"notebook {name!r} has {len(cells)} cells tagged {TAG!r} and needs exactly one, a code cell: without it "
            "parameters would be ignored silently; tag the cell that holds its settings"
        )
    return str(cells[0].source)


def read_parameters(notebook: Any, name: str) -> dict[str, Any]:
    """Names and defaults from the `parameters` cell, which holds `name = value` lines and nothing else.

    The cell is parsed, never run. ValueError when there is no such cell or it holds anything else: a value derived
    there would keep its old value when the parameter it comes from is changed.
    """
    source = parameters_source(notebook, name)
    try:
        lines = ast.parse(source).body
        return dict(_assignment(line) for line in lines)
    except (SyntaxError, ValueError) as error:
        raise ValueError(
            f"the cell tagged {TAG!r} of notebook {name!r} must hold plain lines such as `epochs = 3`: {error}"
        ) from error


def _assignment(line: ast.stmt) -> tuple[str, Any]:
    target = line.targets[0] if isinstance(line, ast.Assign) and len(line.targets) == 1 else None
    if not isinstance(line, ast.Assign) or not isinstance(target, ast.Name):
        raise ValueError(f"line {line.lineno} is no `name = value`")
    try:
        return target.id, ast.literal_eval(line.value)
    except ValueError:
        raise ValueError(f"the value of {target.id} in line {line.lineno} is computed") from None


def check_parameters(given: Mapping[str, Any], defaults: Mapping[str, Any], notebook: str) -> None:
    """Refuse a parameter that the notebook does not have, or a value that is not of its default's kind.

    A default of None admits anything. Parameters named like fields of `RunConfig` must make a valid `RunConfig`.

    Raises: TypeError for an unknown name or a wrong type; ValueError for a value that `RunConfig` refuses.
    """
    for name, value in given.items():
        if name not in defaults:
            raise TypeError(unknown(f"parameter of notebook {notebook!r}", name, defaults))
        if not _fits(value, defaults[name]):
            kind = _kind(defaults[name])
            raise TypeError(f"parameter {name} of notebook {notebook!r} must be {kind}, got {value!r}")
    if given:
        _check_run(given, defaults)


def _fits(value: Any, default: Any) -> bool:
    if default is None:
        return True
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, int | float)
    if isinstance(default, list | tuple):
        same = len({type(item) for item in default}) == 1
        return isinstance(value, list | tuple) and (not same or all(_fits(item, default[0]) for item in value))
    return isinstance(value, type(default))


def _kind(default: Any) -> str:
    kinds = {bool: "true or false", int: "a whole number", float: "a number", str: 'text (such as "a")'}
    kinds |= {list: "a list", tuple: "a list", dict: 'a mapping such as {"gamma": 2.0}'}
    return f"{kinds.get(type(default), type(default).__name__)} like its default {default!r}"


def _check_run(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Validate what will reach `RunConfig` before a kernel starts."""
    from lossbench.config import RunConfig

    names = {field.name for field in fields(RunConfig)}
    if names.isdisjoint(given):
        return
    standard = {name: value for name, value in defaults.items() if name in names}
    try:
        RunConfig.from_dict(standard)
    except (TypeError, ValueError):  # a notebook of the user's own, which means something else by these names
        return
    RunConfig.from_dict(standard | {name: value for name, value in given.items() if name in names})
