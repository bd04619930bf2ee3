"""What `lossbench list` prints: for each kind of name a table, and a page an entry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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


def _fields() -> _Listing:
    from lossbench.config import describe_fields

    rows = describe_fields()
    pages = [f"{name}={default}\n  {meaning}\n  {allowed}" for name, default, allowed, meaning in rows]
    return ("field", "default", "allowed", "what it is"), rows, pages


def _augmentations() -> _Listing:
    from lossbench.data import AUGMENTATIONS
    from lossbench.registry import extend_inherited

    extend_inherited()
    rows: _Rows = [(name, _first_line(function)) for name, function in AUGMENTATIONS.items()]
    return ("name", "what it is"), rows, ["\n  ".join(row) for row in rows]


def _first_line(function: Any) -> str:
    return (function.__doc__ or "").strip().partition("\n")[0]


def _optimizers() -> _Listing:
    from lossbench.training.loop import OPTIMIZERS, describe_optimizer

    rows: _Rows = [(name, describe_optimizer(name)) for name in OPTIMIZERS]
    return ("name", "what it is"), rows, ["\n  ".join(row) for row in rows]


def _metrics() -> _Listing:
    from lossbench.registry import extend_inherited
    from lossbench.stats.metrics import METRICS, SCORES

    extend_inherited()
    rows: _Rows = [(name, "of every run") for name in SCORES]
    rows += [(name, f"{entry.summary}") for name, entry in METRICS.items()]
    return ("name", "what it is"), rows, ["\n  ".join(row) for row in rows]


def _losses() -> _Listing:
    from lossbench.losses import LOSSES

    heading, rows, pages = _functions(LOSSES)
    origins = [entry.origin or "" for entry in LOSSES.values()]
    wider = [(name, origin, *rest) for (name, *rest), origin in zip(rows, origins, strict=True)]
    return (heading[0], "origin", *heading[1:]), wider, pages


def _probabilities() -> _Listing:
    from lossbench.losses.probabilities import PROBABILITIES

    return _functions(PROBABILITIES)


def _models() -> _Listing:
    from lossbench.models import MODELS

    rows: _Rows = []
    pages: list[str] = []
    for name, entry in MODELS.items():
        parameters = f"{entry.num_parameters:,}" if entry.num_parameters else "?"
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
    from lossbench.data.datasets import DATASETS
    from lossbench.data.loading import find_spec, imported_names

    rows: _Rows = []
    pages: list[str] = []
    for name in (*DATASETS, *imported_names()):
        spec = find_spec(name)
        shape = " x ".join(str(side) for side in spec.image_shape)
        sizes = f"{spec.train_size:,} + {spec.test_size:,}"
        rows.append((name, sizes, shape, str(len(spec.class_names)), spec.source))
        pages.append(
            f"{name}\n  images: {sizes}, {shape} ({spec.split})\n  classes: {', '.join(spec.class_names)}\n"
            f"  licence: {spec.licence}\n  citation: {spec.citation}\n  source: {spec.source}"
        )
    return ("name", "train + test", "shape", "classes", "where it comes from"), rows, pages


def _studies() -> _Listing:
    from lossbench.studies.plans import SCALES, STUDIES, plan_study

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
    own = [f"; {dataset}: {', '.join(f'{k}={v}' for k, v in fields.items())}" for dataset, fields in scale.own.items()]
    differs = "".join(f"\n    not as in the paper: {line}" for line in scale.differs)
    return f"{', '.join(scale.datasets)}; {scale.seeds} seeds; {settings}{''.join(own)}{differs}"


LISTS = {  # kind -> headers, rows, and with --long a page an entry
    "losses": _losses,
    "probabilities": _probabilities,
    "models": _models,
    "datasets": _datasets,
    "studies": _studies,
    "fields": _fields,
    "augmentations": _augmentations,
    "optimizers": _optimizers,
    "metrics": _metrics,
}
