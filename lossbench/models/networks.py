"""What every network is: a body that sees, and a head that decides."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lossbench.registry import unknown

Head = Literal["linear", "cosine"]
HEADS = ("linear", "cosine")
TRAINED_LAYERS = {"all": None, "head": 1, "last5": 5}


class Output(NamedTuple):
    """What every model returns: `logits` (batch, num_outputs) and `embeddings` (batch, features)."""

    logits: Tensor
    embeddings: Tensor


class CosineHead(nn.Linear):
    """Logits that are cosines of the angles between embedding and class weights, times a learned scale.

    They lie in [-scale, scale], so a loss can change directions and the scale, but not lengths.

    Source: Gidaris & Komodakis 2018, section 3.2, arXiv:1804.09458; their scale also starts at 10.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, bias=False)
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, embeddings: Tensor) -> Tensor:
        return self.scale * F.linear(F.normalize(embeddings), F.normalize(self.weight))


class Classifier(nn.Module):
    """A body that turns images (batch, channels, height, width) into embeddings, and a head that makes logits.

    Args:
        body: images -> embeddings (batch, embedding_dim).
        embedding_dim: length of an embedding.
        num_outputs: number of logits: classes, or the nodes of a tree for a hierarchical loss.
        head: `linear`, or `cosine` for a `CosineHead`.
        dropout: between embeddings and head while training, in [0, 1); a loss on embeddings sees them whole.
    """

    def __init__(
        self, body: nn.Module, embedding_dim: int, num_outputs: int, head: Head = "linear", dropout: float = 0.0
    ) -> None:
        super().__init__()
        if head not in HEADS:
            raise ValueError(unknown("head", head, HEADS))
        self.embedding_dim = embedding_dim
        self.body = body
        # The head comes last: with one seed, losses that need other heads still start from the same body.
        self.head: nn.Module = (nn.Linear if head == "linear" else CosineHead)(embedding_dim, num_outputs)
        self.dropout = nn.Dropout(dropout)
        self.has_embeddings = True
        self._frozen: list[nn.Module] = []

    def set_trainable(self, which: str) -> None:
        """Freeze what comes before the trained layers: its weights, and its running statistics and dropout.

        Args:
            which: `all`, the `head` alone, or `last5`: the last five layers with weights, in the order in which the
                model lists them. As in "ResNet34", convolutions and linear layers count, and the batch
                normalisation after one goes with it; paper 001 trains "the top 5 layers" and does not say more.
        """
        if which not in TRAINED_LAYERS:
            raise ValueError(unknown("choice of trainable weights", which, TRAINED_LAYERS))
        self.requires_grad_(True)
        modules = list(self.modules())
        count = TRAINED_LAYERS[which]
        trained = [module for module in modules if isinstance(module, nn.Conv2d | nn.Linear)][-(count or 0) :]
        before = modules[: modules.index(trained[0])] if count else []
        for module in before:
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)
        self._frozen = [m for m in before if not any(p.requires_grad for p in m.parameters())]
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """As nn.Module.train, but what is frozen stays in evaluation mode."""
        super().train(mode)
        for module in self._frozen:
            module.training = False
        return self

    def forward(self, images: Tensor) -> Output:
        """Turn images (batch, channels, height, width) into logits and embeddings."""
        embeddings = self.body(images)
        return Output(self.head(self.dropout(embeddings)), embeddings)


def split_network(network: nn.Module, num_outputs: int, in_channels: int, side: int, name: str) -> Classifier:
    """A network with its own last layer as a `Classifier`.

    Where one linear layer is proven to make the logits, what goes into it are the embeddings; else the logits are.

    Raises: ValueError where the network cannot take such images or gives something else than (batch, num_outputs).
    """
    images = torch.linspace(-1, 1, 2 * in_channels * side * side).reshape(2, in_channels, side, side)
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    hooks = [
        layer.register_forward_hook(lambda _, given, out, path=path: seen.update({path: (given[0], out)}))
        for path, layer in network.named_modules()
        if type(layer) is nn.Linear and layer.out_features == num_outputs
    ]
    shape = f"images of {in_channels} x {side} x {side}"
    training = network.training
    try:
        with torch.no_grad():
            logits = network.eval()(images)
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ValueError(
            f"model {name!r} cannot take {shape} ({type(error).__name__}: {reason}); choose another model or data set"
        ) from error
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    if not isinstance(logits, Tensor) or tuple(logits.shape) != (2, num_outputs):
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(f"model {name!r} must turn 2 {shape} into logits of shape (2, {num_outputs}), got {got}")
    heads = [path for path, (given, out) in seen.items() if given.dim() == 2 and torch.equal(out, logits) and path]
    if len(heads) != 1:
        whole = Classifier(network, num_outputs, num_outputs)
        whole.head, whole.has_embeddings = nn.Identity(), False
        return whole
    head = network.get_submodule(heads[0])
    assert isinstance(head, nn.Linear)
    network.set_submodule(heads[0], nn.Identity())
    parted = Classifier(network, head.in_features, num_outputs)
    parted.head = head
    return parted


# The ConvNet of paper 001. Its figure 2 shows three blocks and ELU; all numbers here are our reconstruction.

WIDTHS = (32, 64, 128)
DROPOUT = (0.2, 0.3)
HEAD_DROPOUT = 0.4
GRID = 4


class Maxout(nn.Module):
    """The larger one of two linear pieces: halves the channels (Goodfellow et al. 2013, arXiv:1302.4389)."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.maximum(*images.chunk(2, dim=1))


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "elu": nn.ELU,
    "relu": nn.ReLU,
    "leaky_relu": partial(nn.LeakyReLU, 0.3),  # the default slope of Keras; the paper gives none
    "maxout": Maxout,
}


def convnet(in_channels: int, *, activation: str = "elu", dropout: tuple[float, float] = DROPOUT) -> nn.Module:
    """Three blocks of two 3x3 convolutions, each followed by activation and batch normalisation, and a pooling.

    Dropout follows the first two poolings here; that of the third stands before the head (`ModelEntry.dropout`).
    The last maps are pooled to 4 x 4, their size for images of 32 x 32, so that embeddings always have 2048 values.
    """
    layers: list[nn.Module] = []
    for width, rate in zip(WIDTHS, (*dropout, 0.0), strict=True):
        layers += [*_convolve(in_channels, width, activation), *_convolve(width, width, activation)]
        layers += [nn.MaxPool2d(2)] + [nn.Dropout(rate)] * (rate > 0)
        in_channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(GRID), nn.Flatten())


def _convolve(in_channels: int, out_channels: int, activation: str) -> list[nn.Module]:
    pieces = 2 if activation == "maxout" else 1
    convolution = nn.Conv2d(in_channels, pieces * out_channels, 3, padding=1)
    return [convolution, ACTIVATIONS[activation](), nn.BatchNorm2d(out_channels)]


# The network that a laptop trains in seconds.


def small_cnn(in_channels: int) -> nn.Module:
    """Two convolutions and a hidden layer of 64 units."""
    return nn.Sequential(
        *_conv_block(in_channels, 16),
        *_conv_block(16, 32),
        _PoolTo(7),
        Flatten(),
        nn.Linear(32 * 7 * 7, 64),
        nn.ReLU(),
    )


class _PoolTo(nn.AdaptiveAvgPool2d):
    """Average pooling to a side of `output_size`; of that size already, the maps pass, at no cost."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps if maps.shape[-1] == maps.shape[-2] == self.output_size else super().forward(maps)


class Flatten(nn.Flatten):
    """Flattening whose gradient comes back in the memory order of its maps.

    A linear layer's gradient has the channels first in memory, the maps have them last, and the ReLU before would go
    through both number by number, which takes ten times as long. No number changes.
    """

    def forward(self, maps: Tensor) -> Tensor:
        plain = not torch.compiler.is_compiling() and torch._C._functorch.maybe_current_level() is None
        if plain and maps.requires_grad:  # vmap knows no order of memory
            maps.register_hook(_channels_last)  # type: ignore[no-untyped-call]
        return super().forward(maps)


def _channels_last(gradient: Tensor) -> Tensor:
    return gradient.contiguous(memory_format=torch.channels_last)


def _conv_block(in_channels: int, out_channels: int) -> list[nn.Module]:
    """Convolution, batch normalisation and ReLU after pooling, which is the same and four times cheaper."""
    return [
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    ]


# A residual network that a processor trains in minutes.


def resnet9(in_channels: int) -> nn.Module:
    """Eight convolutions, widths 32 to 128: a stem of stride 2, two residual pairs, one pooling, the global maximum."""
    return nn.Sequential(
        *_normalised(in_channels, 32, stride=2),
        *_normalised(32, 64),
        Residual(64),
        *_normalised(64, 128),
        nn.MaxPool2d(2),
        Residual(128),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
    )


class Residual(nn.Module):
    """Two convolutions whose result is added to what they saw."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pair = nn.Sequential(*_normalised(channels, channels), *_normalised(channels, channels))

    def forward(self, maps: Tensor) -> Tensor:
        changed: Tensor = self.pair(maps)
        return maps + changed


def _normalised(in_channels: int, out_channels: int, stride: int = 1) -> list[nn.Module]:
    """Convolution, batch normalisation and ReLU."""
    convolution = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(out_channels), nn.ReLU()]
