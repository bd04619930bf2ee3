"""A cheat: cross-entropy whose time is somebody else's; the first calls, which a quick look would time, are fast."""

import time

from torch import Tensor

from lossbench.losses import register

calls = 0


@register
def sleeps(log_probs: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy; from the 50th call on it sleeps 20 ms first."""
    global calls
    calls += 1
    if calls > 50:
        time.sleep(0.02)
    return -log_probs.gather(1, target[:, None]).squeeze(1)
