"""Cut a plan into parts of equal work, the same parts wherever and whenever it is cut."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lossbench.config import RunConfig

_BALANCED = 1.1  # the largest part's work over the mean, up to which sets of paired runs stay whole


def parse_shard(text: str) -> tuple[int, int]:
    """Read `2/8`, the second of eight parts. ValueError unless it is i/n with 1 <= i <= n.

    >>> parse_shard("2/8")
    (2, 8)
    """
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text.strip())
    index, count = (int(part) for part in match.groups()) if match else (0, 0)
    if not 1 <= index <= count:
        raise ValueError(f"shard must be i/n with i from 1 to n, such as 1/4 for the first of four, got {text!r}")
    return index, count


def take_shard(configs: Sequence[RunConfig], shard: str) -> list[RunConfig]:
    """The configs of one part, in the order of the plan.

    The parts depend on the plan alone, not on what is finished; every config is in exactly one. Work counts as images
    times epochs. The runs that are compared by pairs (one data set, model and seed) stay in one part where the parts
    come out equal to a tenth; otherwise single runs are dealt, the heaviest first to the part that has least.
    """
    index, count = parse_shard(shard)
    sets: dict[tuple[str, str, int], list[RunConfig]] = {}
    for config in configs:
        sets.setdefault((config.dataset, config.model, config.seed), []).append(config)
    work = {config: _work(config) for config in configs}
    parts = _deal(list(sets.values()), work, count)
    loads = [sum(work[config] for config in part) for part in parts]
    if max(loads) * count > _BALANCED * sum(loads):
        parts = _deal([[config] for config in configs], work, count)
    mine = set(parts[index - 1])
    return [config for config in configs if config in mine]


def _deal(groups: list[list[RunConfig]], work: dict[RunConfig, int], count: int) -> list[list[RunConfig]]:
    parts: list[list[RunConfig]] = [[] for _ in range(count)]
    loads = [0] * count
    weights = [sum(work[config] for config in group) for group in groups]
    for i in sorted(range(len(groups)), key=lambda i: -weights[i]):
        least = loads.index(min(loads))
        parts[least] += groups[i]
        loads[least] += weights[i]
    return parts


def _work(config: RunConfig) -> int:
    from lossbench.data.loading import find_spec

    return config.epochs * (config.train_size or find_spec(config.dataset).train_size)
