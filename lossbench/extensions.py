"""Losses and probability functions of the user's own: Python files that every process of a study loads.

The environment's LOSSBENCH_EXTENSIONS names the files. Worker processes and the kernels of notebooks inherit it, so
they know what the process that starts them knows.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
from collections.abc import Callable, Iterable
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType
from typing import Any

VARIABLE = "LOSSBENCH_EXTENSIONS"
OWN = __name__.partition(".")[0]

_loaded: dict[Path, str] = {}  # file -> the name of its module


def extend(*files: str | os.PathLike[str]) -> None:
    """Load Python files that register losses or probability functions, here and in every process started from here.

    A file that was loaded before is loaded anew, so that a notebook sees what has been changed in it.

    Raises:
        FileNotFoundError, ValueError: a file that is not there or is no Python file; nothing is loaded then.
        Whatever a file raises, with a note that names it; what was registered is then as it was before.
    """
    paths = [_check(file) for file in files]
    for path in paths:
        _load(path)


def extend_once(files: Iterable[str]) -> None:
    """Load those of the files that this process has not loaded."""
    extend(*[file for file in files if _check(file) not in _loaded])


def extend_inherited() -> None:
    """Load the files that this process was told of when it was started.

    Raises: what `extend` does.
    """
    try:
        extend_once(file for file in os.environ.get(VARIABLE, "").split(os.pathsep) if file)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}; the environment's {VARIABLE} asks for it") from None


def loaded() -> list[str]:
    """The files that this process has loaded, as absolute paths."""
    return [str(path) for path in _loaded]


def require_in_files(functions: Iterable[tuple[str, Callable[..., Any]]]) -> None:
    """Refuse functions, each with its kind such as "loss", that other processes could not find.

    Raises: ValueError for a function that neither lossbench nor a loaded file holds, such as one of a notebook's cell.
    """
    for kind, function in functions:
        if not _is_own(function) and function.__module__ not in _loaded.values():
            raise ValueError(
                f"{kind} {function.__name__!r} is known to this process only (it is defined in "
                f"{function.__module__!r}), and this engine trains in others; put it into a file of its own and load "
                "that with lossbench.extend('FILE.py'), or call lossbench.run for each config"
            )


@cache
def digest(function: Callable[..., Any]) -> str | None:
    """What tells one version of a user's function from another; None for lossbench's own functions.

    It becomes part of the run id, so that the record of an old formula is never taken for one of the new.
    """
    if _is_own(function):
        return None
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):  # typed into a plain interpreter
        code = function.__code__
        constants = [value for value in code.co_consts if not isinstance(value, CodeType)]  # those show an address
        source = repr((code.co_code, constants, code.co_names))
    return hashlib.sha256(source.encode()).hexdigest()[:12]


def _is_own(function: Callable[..., Any]) -> bool:
    return function.__module__.partition(".")[0] == OWN


def _check(file: str | os.PathLike[str]) -> Path:
    path = Path(file).resolve()
    if path.suffix != ".py":
        raise ValueError(
            f"an extension is a Python file that registers losses, such as my_losses.py, got {str(file)!r}"
        )
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(file)!r} to load losses from (looked for {str(path)!r})")
    return path


def _load(path: Path) -> None:
    from lossbench.losses.registry import LOSSES
    from lossbench.probabilities import PROBABILITIES

    name = f"{OWN}_extension_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:6]}"
    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    registries: tuple[dict[str, Any], ...] = (LOSSES, PROBABILITIES)
    before = [dict(registry) for registry in registries]
    for registry in registries:
        for key in [key for key, entry in registry.items() if entry.function.__module__ == name]:
            del registry[key]
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        for registry, entries in zip(registries, before, strict=True):
            registry.clear()
            registry.update(entries)
        error.add_note(f"while loading the extension {path}")
        raise
    sys.modules[name] = module
    _loaded[path] = name
    os.environ[VARIABLE] = os.pathsep.join(loaded())
