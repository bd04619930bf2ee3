"""The kernel of an executed notebook: this very Python, its environment, and a way to end it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Kernel:
    """How to start a kernel.

    Args:
        environment: variables beyond those of this process.
        log: file to append to what the kernel's process says outside of cells; None leaves it on this one's streams.
        started: called when the kernel runs, with a function that ends it at once, from any thread.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    log: Path | None = None
    started: Callable[[Callable[[], None]], object] = lambda end: None

    def manager(self, environment: Mapping[str, str]) -> type:
        """A class of kernel managers for nbclient, with more variables.

        It starts the Python that runs here: a `python3` kernel that the user registered may be another one.
        """
        import zmq
        from ipykernel.kernelspec import get_kernel_dict
        from jupyter_client.kernelspec import KernelSpec
        from jupyter_client.manager import AsyncKernelManager

        log, started = self.log, self.started
        # Jupyter fills in $names, so dollars are doubled.
        variables = {name: value.replace("$", "$$") for name, value in {**self.environment, **environment}.items()}

        class KernelHere(AsyncKernelManager):
            def __init__(self, **options: Any) -> None:
                super().__init__(**options)
                # On a shared machine others could listen in; jupyter_client before 8.9 cannot encrypt.
                if self.has_trait("transport_encryption") and zmq.has("curve"):
                    self.transport_encryption = "auto"

            @property
            def kernel_spec(self) -> Any:
                return KernelSpec(**get_kernel_dict(), env=variables)

            async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
                with log.open("ab") if log else nullcontext() as file:
                    streams = {"stdout": file, "stderr": file} if file else {}
                    await super().start_kernel(**options, **streams)
                started(self.end)

            def end(self) -> None:
                process = getattr(self.provisioner, "process", None)
                if process is not None:
                    process.kill()

        return KernelHere
