"""What `lossbench list` prints."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping
from typing import Any


def describe(kind: str, *, long: bool = False) -> str:
    """A table of the entries of one kind, or with `long` all that is known about each."""
    headers, rows, pages = _LISTS[kind]()
    return "\n\n".join(pages) if long else table(headers, rows)


def table(headers: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Left-aligned columns; long cells are wrapped, the last column to the width of a terminal."""
    widths = [min(_WIDEST, max(len(row[i]) for row in [headers, *rows])) for i in range(len(headers))]
    widths[-1] = max(40, 110 - sum(widths[:-1]) - 2 * len(widths))
    lines = []
    for row in [headers, *rows]:
        cells = [textwrap.wrap(cell, width) or [""] for cell, width in zip(row, widths, strict=True)]
        for parts in itertools.zip_longest(*cells, fillvalue=""):
            lines.append("  ".join(f"{part:<{width}}" for part, width in zip(parts, widths, strict=True)).rstrip())
    return "\n".join(lines)


_WIDEST = 32
_Rows = list[tuple[str, ...]]
_Listing = tuple[tuple[str, ...], _Rows, list[str]]


def _functions(entries: Mapping[str, Any]) -> _Listing:
    rows: _Rows = []
    pages: list[str] = []
    for name, entry in entries.items():
        params = ", ".join(f"{key}={value!r}" for key, value in entry.defaults.items())
        mark = " (reconstruction)" if entry.reconstruction else ""
        rows.append((name, params, entry.card.summary + mark))
        pages.append(entry.card.text())
    return ("name", "parameters", "what it is"), rows, pages


def _losses() -> _Listing:
    from lossbench.losses import LOSSES

    return _functions(LOSSES)


def _probabilities() -> _Listing:
    from lossbench.probabilities import PROBABILITIES

    return _functions(PROBABILITIES)


def _models() -> _Listing:
    from lossbench.models import MODELS

    rows: _Rows = []
    pages: list[str] = []
    for name, entry in MODELS.items():
        parameters = f"{entry.num_parameters:,}"
        mark = " (reconstruction)" if entry.reconstruction else ""
        rows.append((name, parameters, entry.summary + mark))
        facts = [
            entry.summary + mark,
            f"source: {entry.source}",
            f"parameters: {parameters} (10 classes, 3 channels)",
            f"embeddings: {entry.embedding_dim}",
            f"images: at least {entry.min_size} x {entry.min_size} pixels",
            f"head: {entry.head}",
        ]
        if entry.stems:
            facts.append(f"stems: {', '.join(entry.stems)}, chosen by the size of the images")
        if entry.pretrained:
            facts.append(f"pretrained: {entry.pretrained.source}")
        pages.append("\n  ".join([name, *facts]))
    return ("name", "parameters", "what it is"), rows, pages


def _datasets() -> _Listing:
    from lossbench.data import DATASETS

    rows: _Rows = []
    pages: list[str] = []
    for name, spec in DATASETS.items():
        shape = " x ".join(str(side) for side in spec.image_shape)
        sizes = f"{spec.train_size:,} + {spec.test_size:,}"
        rows.append((name, sizes, shape, str(len(spec.class_names)), spec.source))
        pages.append(
            f"{name}\n  images: {sizes}, {shape} ({spec.split})\n  classes: {', '.join(spec.class_names)}\n"
            f"  licence: {spec.licence}\n  citation: {spec.citation}\n  source: {spec.source}"
        )
    return ("name", "train + test", "shape", "classes", "where it comes from"), rows, pages


def _studies() -> _Listing:
    from lossbench.study import SCALES, STUDIES, plan_study

    rows: _Rows = []
    pages: list[str] = []
    for name, study in STUDIES.items():
        configs = plan_study(name, seeds=1)
        rows.append((name, str(len(configs)), study.question))
        scales = [f"  {scale}: {_scale_text(study.scale(scale))}" for scale in SCALES]
        listed = [f"    {config.run_id}" for config in configs]
        pages.append("\n".join([name, f"  {study.question}", *scales, f"  {len(configs)} runs a seed:", *listed]))
    return ("name", "runs a seed", "question"), rows, pages


def _scale_text(scale: Any) -> str:
    settings = ", ".join(f"{name}={value}" for name, value in scale.settings.items()) or "defaults"
    return f"{', '.join(scale.datasets)}; {scale.seeds} seeds; {settings}"


_LISTS = {
    "losses": _losses,
    "probabilities": _probabilities,
    "models": _models,
    "datasets": _datasets,
    "studies": _studies,
}
