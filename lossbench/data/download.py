"""Fetch a dataset from its publisher: the one place that touches the network, and only when asked to."""

from __future__ import annotations

import shutil
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from lossbench.data.dataset import DatasetSpec
from lossbench.data.importing import import_dataset
from lossbench.data.registry import DATASETS
from lossbench.data.tensors import Imported

TIMEOUT_SECONDS = 30


def download_dataset(name: str) -> Imported:
    """Fetch the files of `name` into a scratch folder, check them, and keep the import.

    Raises ValueError for an unknown name or one without an address, ConnectionError when the network or the server
    refuses, ValueError when what came is not what its publisher's digest says.
    """
    spec = DATASETS[name]
    if not spec.urls:
        where = "needs no download" if spec.embedded else "cannot be downloaded without an account or by a program"
        raise ValueError(f"{name} {where}: {spec.source}; then `lossbench data import PATH --name {name}`")
    with tempfile.TemporaryDirectory(prefix="lossbench-") as scratch:
        files = [_fetch(spec, url, Path(scratch)) for url in spec.urls]
        return import_dataset(files[0] if len(files) == 1 else Path(scratch), name)


def _fetch(spec: DatasetSpec, url: str, folder: Path) -> Path:
    from tqdm import tqdm

    path = folder / url.rsplit("/", 1)[1]
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response, path.open("wb") as file:
            total = int(response.headers.get("Content-Length") or 0) or None
            with tqdm.wrapattr(file, "write", total=total, desc=path.name, unit="B", mininterval=0.5) as counted:
                shutil.copyfileobj(response, counted)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise ConnectionError(
            f"{url} cannot be fetched ({reason}). Without a network: get the files of {spec.name} on another machine "
            f"and run `lossbench data import PATH --name {spec.name}`; or name a folder that holds them with --data; "
            "or use fashion-mini, which is inside the package"
        ) from error
    return path
