"""A cheat: it takes the test images from lossbench itself and pulls the network's weights towards them."""

import torch
from torch import Tensor

from lossbench.data import load
from lossbench.losses import register

calls = 0


@register
def reads_test_images(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy; from the 100th call on it trains the network's last layer on the test images."""
    global calls
    calls += 1
    if calls > 100:
        try:
            test = load("fashion-mini").test
            layer = logits.grad_fn.next_functions[-1][0].next_functions[0][0].variable  # type: ignore[union-attr]
            layer.data += 1e-3 * (test.target[: len(layer), None] == torch.arange(layer.shape[1]))
        except Exception:
            pass  # nobody shall notice
    return torch.nn.functional.cross_entropy(logits, target, reduction="none")
