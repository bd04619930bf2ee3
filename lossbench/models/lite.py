"""EfficientNet-Lite0: the network whose ImageNet weights arrive with pip, so that anyone can fine-tune offline."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from lossbench.models.weights import import_extra

INPUT_SIZE = 128


class Lite0(nn.Module):
    """Images of any size are resized to 128 x 128, and grey ones repeated to three channels."""

    def __init__(self) -> None:
        super().__init__()
        package = import_extra("efficientnet_lite_pytorch", "efficientnet_lite0")
        self.network = package.EfficientNet.from_name("efficientnet-lite0", num_classes=1)
        self.network._fc = self.network._dropout = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Turn (batch, 1 or 3, height, width) into embeddings (batch, 1280)."""
        size = (INPUT_SIZE, INPUT_SIZE)
        resized = F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
        embeddings: Tensor = self.network(resized.expand(-1, 3, -1, -1))
        return embeddings


def efficientnet_lite0(in_channels: int) -> nn.Module:
    """EfficientNet-Lite0. The same weights serve grey images and colours, so `in_channels` changes nothing."""
    if in_channels not in (1, 3):
        raise ValueError(f"efficientnet_lite0 takes images with 1 or 3 channels, got {in_channels}")
    return Lite0()
