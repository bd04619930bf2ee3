"""torchvision's networks as bodies. With the cifar stem they halve images three times, not five."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

from torch import nn

from lossbench.models.entry import Stem


def resnet(in_channels: int, stem: Stem, *, depth: int) -> nn.Module:
    """Residual network. The cifar stem is a 3x3 convolution of stride 1 without pooling, as in the paper's 4.2."""
    network = _torchvision(f"resnet{depth}")
    network.set_submodule("fc", nn.Identity())
    if stem == "cifar":
        network.set_submodule("conv1", _convolution(in_channels, 64, kernel_size=3, stride=1))
        network.set_submodule("maxpool", nn.Identity())
    elif in_channels != 3:
        network.set_submodule("conv1", _convolution(in_channels, 64, kernel_size=7, stride=2))
    return network


resnet18, resnet34, resnet50 = (partial(resnet, depth=depth) for depth in (18, 34, 50))


def googlenet(in_channels: int, stem: Stem) -> nn.Module:
    """GoogLeNet with batch normalisation and without the two auxiliary classifiers."""
    network = _torchvision("googlenet", aux_logits=False, init_weights=True)
    network.set_submodule("dropout", nn.Identity())
    network.set_submodule("fc", nn.Identity())
    if stem == "cifar":
        network.set_submodule("conv1.conv", _convolution(in_channels, 64, kernel_size=3, stride=1))
        network.set_submodule("maxpool1", nn.Identity())
    elif in_channels != 3:
        network.set_submodule("conv1.conv", _convolution(in_channels, 64, kernel_size=7, stride=2))
    return network


def efficientnet_v2_s(in_channels: int, stem: Stem) -> nn.Module:
    """EfficientNetV2-S. The cifar stem takes the strides from the first convolution and the second stage."""
    network = _torchvision("efficientnet_v2_s")
    network.set_submodule("classifier", nn.Identity())
    if stem == "cifar":
        network.set_submodule("features.0.0", _convolution(in_channels, 24, kernel_size=3, stride=1))
        network.set_submodule("features.2.0.block.0.0", _convolution(24, 96, kernel_size=3, stride=1))
    elif in_channels != 3:
        network.set_submodule("features.0.0", _convolution(in_channels, 24, kernel_size=3, stride=2))
    return network


def _torchvision(name: str, **options: Any) -> nn.Module:
    network: nn.Module = import_module("torchvision.models").get_model(name, num_classes=1, **options)
    return network


def _convolution(in_channels: int, out_channels: int, kernel_size: int, stride: int) -> nn.Conv2d:
    """A convolution initialised as torchvision does for ResNet and EfficientNet."""
    layer = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer
