"""Put slow work off until the sliders rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Later:
    """Runs `work` once, `delay` seconds after the last call of `ask`; at once where no event loop runs."""

    def __init__(self, work: Callable[[], None], delay: float) -> None:
        self.work = work
        self.delay = delay
        self.waiting: asyncio.TimerHandle | None = None

    def ask(self) -> None:
        """Ask for the work; a request that still waits is replaced."""
        if self.waiting is not None:
            self.waiting.cancel()
            self.waiting = None
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.work()
            return
        self.waiting = loop.call_later(self.delay, self._run)

    def _run(self) -> None:
        self.waiting = None
        self.work()
