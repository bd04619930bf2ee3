"""What all tests of the Ray engine share: they need Ray, and keep it quiet and on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray: pip install 'lossbench[ray]'")


@pytest.fixture(scope="module", autouse=True)
def quiet_and_local() -> Iterator[None]:
    """Ray in this process keeps to 127.0.0.1 and sends nothing about its use."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.delenv("RAY_ADDRESS", raising=False)
        yield
