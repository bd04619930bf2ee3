"""The reference of the package: a page for each public module, from signatures and docstrings."""

from __future__ import annotations

import warnings
from importlib import import_module
from pathlib import Path
from types import ModuleType

PACKAGE = "lossbench"
MODULES = (
    "losses",
    "losses.probabilities",
    "data",
    "data.augmentation",
    "data.trees",
    "models",
    "training",
    "training.landscape",
    "records",
    "records.archive",
    "studies",
    "stats",
    "stats.metrics",
    "published",
    "claims",
    "plots",
    "plots.losses",
    "report",
    "explorer",
    "registry",
)
HEAD = f"""# Reference

`import lossbench` gives the names that most programs need: <a href="api/{PACKAGE}.html">run, RunConfig, Criterion and
others</a>. The rest is in modules:
"""


def write_reference(folder: Path) -> str:
    """Write the modules' pages into `<folder>/api` and return the page that lists them, in Markdown."""
    import pdoc

    modules = {name: _load(f"{PACKAGE}.{name}") for name in MODULES}
    _load(PACKAGE)
    pdoc.render.configure(docformat="google", footer_text=PACKAGE)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Error parsing type annotation")  # of names imported for the types only
        pdoc.pdoc(PACKAGE, *(f"{PACKAGE}.{name}" for name in MODULES), output_directory=folder / "api")
    rows = [
        f'- <a href="api/{PACKAGE}/{name.replace(".", "/")}.html">{name}</a>: {_summary(modules[name])}'
        for name in MODULES
    ]
    return HEAD + "\n" + "\n".join(rows) + "\n"


def _load(name: str) -> ModuleType:
    """Import a module, and what it would load on first use: pdoc looks only at what is there."""
    module = import_module(name)
    for public in getattr(module, "__all__", ()):
        setattr(module, public, getattr(module, public))
    return module


def _summary(module: ModuleType) -> str:
    line = (module.__doc__ or "").strip().splitlines()[0]
    return line[0].lower() + line[1:]
