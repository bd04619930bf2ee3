"""ProxyNCA: samples are compared with one learned point a class instead of with each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from lossbench.entry import search
from lossbench.losses.distances import pairwise_distances, unit_vectors
from lossbench.losses.registry import register
from lossbench.losses.state import Context, LossState
from lossbench.registry import above, boolean


class Proxies(LossState):
    """One learnable point a class, drawn from a normal distribution; only its direction matters."""

    def __init__(self, params: Mapping[str, Any], context: Context) -> None:
        super().__init__()
        shape = (context.require("num_classes"), context.require("embedding_dim"))
        if shape[0] < 2:
            raise ValueError(f"{context.loss}: num_classes must be at least 2, got {shape[0]}")
        self.proxies = nn.Parameter(torch.randn(shape, generator=context.generator))
        self.num_classes = shape[0]

    def forward(self) -> dict[str, Tensor]:
        """(classes, dim) proxies."""
        return {"proxies": self.proxies}


@register(title="ProxyNCA", colour="purple", state=Proxies)
def proxy_nca(
    embeddings: Tensor,
    target: Tensor,
    proxies: Tensor,
    valid: Tensor | None = None,
    *,
    include_target: Annotated[bool, boolean()] = False,
    scale: Annotated[float, above(0.0), search(0.5, 32.0, log=True)] = 1.0,
) -> Tensor:
    r"""Ask each sample to be nearer to the proxy of its class than to the other proxies.

    .. math:: L = s D^2(f, c_t) + \log \sum_{z \ne t} e^{-s D^2(f, c_z)}

    D is the Euclidean distance of embedding and proxy, both brought to length 1. With include_target the sum has the
    target too, which makes it cross-entropy on the scaled cosines.

    Range: [log(C - 1) - 4s, log(C - 1) + 4s], so it can be negative; with include_target from
        :math:`\log(1 + (C - 1) e^{-4s})` to :math:`\log(1 + (C - 1) e^{4s})`.
    Gradient: :math:`2 s (\sum_z q_z c_z - c_t)` on the embedding brought to length 1, q the softmax over the proxies
        in the sum: descent moves it towards its proxy and away from the nearest others.
    Note: at scale 1 the softmax over cosines is nearly flat; later work (ProxyNCA++) takes a larger scale.
    Source: Movshovitz-Attias et al. 2017, No Fuss Distance Metric Learning using Proxies; scale as in
        ProxyNCA++ (Teh et al. 2020); named in paper 002, which gives no formula.
    Peers: pytorch-metric-learning (ProxyNCALoss, which includes the target).

    Args:
        embeddings: (batch, dim).
        target: (batch,) class indices.
        proxies: (classes, dim), at least two classes.
        valid: not used, as no sample looks at another.
        include_target: whether the target's proxy is in the sum.
        scale: s > 0, the inverse temperature.

    Returns: (batch,) loss in nats.

    Raises:
        ValueError: the proxies have another width than the embeddings.
    """
    if embeddings.shape[1] != proxies.shape[1]:
        raise ValueError(
            f"proxy_nca: embeddings must have {proxies.shape[1]} columns, as the proxies have, "
            f"got shape {tuple(embeddings.shape)}"
        )
    units = unit_vectors(embeddings)
    nearness = -scale * pairwise_distances(units, unit_vectors(proxies).to(units.dtype)).square()
    own = nearness.gather(1, target[:, None]).squeeze(1)
    if not include_target:
        is_target = target[:, None] == torch.arange(len(proxies), device=target.device)
        nearness = nearness.masked_fill(is_target, -torch.inf)
    return nearness.logsumexp(1) - own
