"""Our optimizers against torch's own."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lossbench import optimizers
from lossbench.config import RunConfig
from lossbench.losses import Criterion
from lossbench.optimizers import build_optimizer

THEIRS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "sgd": lambda groups, lr: torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True),
    "adadelta": torch.optim.Adadelta,
}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> Tensor:
    """A few steps on fixed images; all weights as one vector."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        images = torch.randn(8, 1, 8, 8, generator=generator)
        loss = nn.functional.cross_entropy(model(images), torch.arange(8) % 3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return nn.utils.parameters_to_vector(model.parameters()).detach()


@pytest.mark.parametrize("name", THEIRS)
def test_steps_are_those_of_torch(name: str) -> None:
    ours, theirs = network(), network()
    config = RunConfig(optimizer=name, lr=0.01, weight_decay=0.1)
    found = train(ours, build_optimizer(ours, Criterion("cross_entropy"), config), 5)
    groups = [
        {"params": [theirs[0].weight, theirs[3].weight], "weight_decay": 0.1},
        {"params": [theirs[0].bias, theirs[3].bias], "weight_decay": 0.1},
    ]
    expected = train(theirs, THEIRS[name](groups, lr=0.01), 5)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", [optimizers.Adam, optimizers.SGD, optimizers.Adadelta])
def test_nothing_records_gradients_while_stepping(kind: type[torch.optim.Optimizer]) -> None:
    model = network()
    optimizer = kind(model.parameters(), lr=0.1)
    train(model, optimizer, 1)
    state = [v for held in optimizer.state.values() for v in held.values() if isinstance(v, Tensor)]
    assert not any(tensor.requires_grad for tensor in state)
    assert all(p.grad_fn is None for p in model.parameters())


@pytest.mark.parametrize("name", THEIRS)
def test_torch_goes_on_from_our_state(name: str) -> None:
    config = RunConfig(optimizer=name, lr=0.01)
    ours, theirs = network(), network()
    optimizer = build_optimizer(ours, Criterion("cross_entropy"), config)
    train(ours, optimizer, 2)
    successor = THEIRS[name](theirs.parameters(), lr=0.01)
    successor.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(train(theirs, successor, 3), train(ours, optimizer, 3), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", [optimizers.Adam, optimizers.SGD, optimizers.Adadelta])
def test_hooks_are_called(kind: type[torch.optim.Optimizer]) -> None:
    model, called = network(), []
    optimizer = kind(model.parameters(), lr=0.1)
    optimizer.register_step_post_hook(lambda *_: called.append(1))
    train(model, optimizer, 2)
    assert called == [1, 1]
