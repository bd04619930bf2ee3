"""Runs that differ in their loss trained as one batched program: one forward and one backward pass for all of them.

Each member is an ordinary `Training`. For an epoch its weights, buffers and optimizer state are stacked with those of
the others; the losses are added up, so that one backward pass gives each member the gradient of its own loss, and the
optimizers, which work number by number, step all members at once. Then everything is handed back, and a member is
what it would be had it trained alone, but for rounding.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F

from lossbench.config import RunConfig
from lossbench.data import Split
from lossbench.data.sampling import epoch_order
from lossbench.models import Output
from lossbench.training.loop import (
    Diverged,
    Training,
    autocast,
    average,
    end_epoch,
    full_batches,
    step_factor,
    steps_of,
)

# A copy of a model that `torch.func.vmap` can run for many sets of weights at once, as each set would run alone.


def stackable(model: nn.Module) -> nn.Module:
    """Copy a model without its weights, with stand-ins for the layers that vmap treats otherwise or slowly."""
    copied = copy.deepcopy(model).to("meta")  # a weight that is not handed over shows as an error
    for layer in copied.modules():
        # The layers stay the objects that they are: the model may keep some of them in evaluation mode.
        layer.__class__ = _STAND_INS.get(type(layer), type(layer))
    return copied


class _Outside(torch.autograd.Function):
    """Leaves vmap for a moment; subclasses say what is done there, on inputs (members, batch, ...)."""

    @staticmethod
    def forward(*arguments: Any) -> Any:
        raise NotImplementedError("dropout or pooling before any layer with weights")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        raise NotImplementedError


class _OneMask(_Outside):
    """Dropout with one mask for all members, drawn as a model alone draws it: vmap would draw other numbers."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None], inputs: Tensor, probability: float) -> tuple[Tensor, int]:
        inputs = inputs.movedim(in_dims[0], 0)
        # The mask is drawn in the order of memory, which is channels_last for maps.
        layout = torch.channels_last if inputs.dim() == 5 else torch.contiguous_format
        ones = torch.empty(inputs.shape[1:], dtype=inputs.dtype, device=inputs.device, memory_format=layout).fill_(1)
        return inputs * F.dropout(ones, probability), 0


class _ByChannel(_Outside):
    """A layer that treats every channel by itself sees the members as more channels, without a copy in memory."""

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], maps: Tensor, call: Callable[..., Tensor], *weights: Tensor
    ) -> tuple[Tensor, int]:
        folded = maps.movedim(in_dims[0], 1).flatten(1, 2)
        # Running statistics are updated in place: flattened, they are still the stacked ones.
        result = call(folded, *(weight.flatten() for weight in weights))
        return torch.unflatten(result, 1, (info.batch_size, -1)), 1


class _Dropout(nn.Dropout):
    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return inputs
        dropped: Tensor = _OneMask.apply(inputs, self.p)
        return dropped


class _MaxPool(nn.MaxPool2d):
    def forward(self, maps: Tensor) -> Tensor:
        pooled: Tensor = _ByChannel.apply(maps, super().forward)
        return pooled


class _AveragePool(nn.AdaptiveAvgPool2d):
    def forward(self, maps: Tensor) -> Tensor:
        pooled: Tensor = _ByChannel.apply(maps, super().forward)
        return pooled


class _BatchNorm(nn.BatchNorm2d):
    def forward(self, maps: Tensor) -> Tensor:
        if self.momentum is None or self.weight is None or self.num_batches_tracked is None:
            return super().forward(maps)
        if self.training:
            self.num_batches_tracked.add_(1)

        def call(folded: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
            return F.batch_norm(folded, mean, variance, weight, bias, self.training, self.momentum or 0.0, self.eps)

        weights = (self.weight, self.bias, self.running_mean, self.running_var)
        normal: Tensor = _ByChannel.apply(maps, call, *weights)
        return normal


_STAND_INS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Dropout: _Dropout,
    nn.MaxPool2d: _MaxPool,
    nn.AdaptiveAvgPool2d: _AveragePool,
    nn.BatchNorm2d: _BatchNorm,
}


# What each member has of its own; all other fields of a config decide the images, their order or the model.
OWN = {
    *("loss", "loss_params", "probability", "probability_params", "label_smoothing", "class_weight"),
    *("optimizer", "lr", "weight_decay", "weight_decay_on", "clip_norm", "scheduler", "warmup_epochs"),
    *("epochs", "patience"),
}


def shared_settings(config: RunConfig) -> tuple[object, ...]:
    """What configs must have in common to be trained together."""
    return tuple(value for name, value in config.trained().items() if name not in OWN)


def shared_state(member: Training) -> tuple[object, ...]:
    """What members must have in common beyond that: where they stand, and what they compute with."""
    weights = [(name, tuple(value.shape)) for name, value in member.model.state_dict().items()]
    return (member.epoch, member.order.get_state().numpy().tobytes(), *weights)


def train_together(
    members: Sequence[Training], train_split: Split, scored: Split, prefix: str
) -> list[dict[str, float] | Diverged]:
    """Train all members for one epoch, in place.

    Args:
        members: with equal `shared_settings` and `shared_state`, none of them ended.
        train_split, scored, prefix: as in `train`.

    Returns: each member's row as `train` yields it, or Diverged for one whose loss is no longer finite; the others
        are unharmed, and a diverged one must not be trained further.
    """
    for member in members:
        member.begin_epoch()
    # Members with one optimizer have to be neighbours in the stack.
    ranked = sorted(members, key=lambda member: str(_optimizer_settings(member)))
    losses, logits, target = _train_epoch(ranked, train_split)
    answers: dict[int, dict[str, float] | Diverged] = {}
    for member, own_losses, own_logits in zip(ranked, losses.T, logits, strict=True):
        try:
            trained = average(member, own_losses, own_logits, target)
            answers[id(member)] = end_epoch(member, trained, train_split, scored, prefix)
        except Diverged as error:
            answers[id(member)] = error
    return [answers[id(member)] for member in members]


def _train_epoch(members: Sequence[Training], split: Split) -> tuple[Tensor, Tensor, Tensor]:
    """The batched `train_epoch`. Returns losses (steps, members), logits (members, images, outputs) and the target."""
    lead, stack = members[0], Stack(members)
    losses, logits = [], []
    order = epoch_order(split.target, lead.config.sampler, lead.order)
    steps = steps_of(lead, split)
    for step, index in enumerate(full_batches(order, lead.config.batch_size)):
        stack.set_rates(step, steps)
        loss, output = stack.step(split.images[index], split.target[index])
        losses.append(loss)
        logits.append(output)
    stack.hand_back()
    return torch.stack(losses), torch.cat(logits, dim=1), split.target[order]


class Stack:
    """The weights of all members, one tensor (members, ...) each, and optimizers over slices of them.

    Args:
        members: those with equal optimizer settings side by side.
    """

    def __init__(self, members: Sequence[Training]) -> None:
        self.members = members
        models: list[nn.Module] = [member.model for member in members]
        self.parameters, self.buffers = stack_module_state(models)
        self.model = stackable(models[0]).train()
        self.teams: list[_Team] = []
        start = 0
        for _, team in groupby(members, _optimizer_settings):
            self.teams.append(_Team(list(team), self.parameters, start))
            start += len(self.teams[-1].members)
        for member in members:
            member.criterion.train()

    def forward(self, images: Tensor) -> Output:
        """Turn images (batch, channels, height, width) into logits and embeddings (members, batch, ...)."""

        def call(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Any:
            return functional_call(self.model, (parameters, buffers), (images,))

        # Dropout takes the same units from all members, as runs of one seed do. Batch normalisation updates its
        # statistics in place, in the stacked buffers.
        output: Output = vmap(call, randomness="same")(self.parameters, self.buffers)
        return output

    def set_rates(self, step: int, steps: int) -> None:
        """The members' `set_rate`, also for the optimizers of their teams."""
        for member in self.members:
            member.set_rate(step, steps)
        for team in self.teams:
            for group in team.optimizer.param_groups:
                group["lr"] = team.members[0].optimizer.param_groups[0]["lr"]

    def step(self, images: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The batched `train_step`. Returns the losses (members,) and the logits (members, batch, outputs)."""
        lead = self.members[0]
        losses, logits = self.compute(lead.normalise(images, lead.augmentation), target)
        for parameter in self.parameters.values():
            parameter.grad = None
        torch.autograd.backward(losses.sum())  # to each member the gradient of its own: no other loss knows its weights
        for team in self.teams:
            team.step()
        return losses.detach(), logits.detach()

    def compute(self, images: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The losses (members,) and logits of images in the scale that the models see."""
        with autocast(self.members[0].config, images.device):
            output = self.forward(images)
        inputs = {"logits": output.logits.unbind(), "embeddings": output.embeddings.unbind()}
        losses = [m.criterion(inputs[m.criterion.takes][i], target) for i, m in enumerate(self.members)]
        return torch.stack(losses), output.logits

    @torch.no_grad()
    def hand_back(self) -> None:
        """Give each member its weights, buffers, optimizer state, and random streams where the lead's stand."""
        lead = self.members[0]
        for team in self.teams:
            team.hand_back()
        for i, member in enumerate(self.members):
            for name, buffer in member.model.named_buffers():
                buffer.copy_(self.buffers[name][i])
            member.order.set_state(lead.order.get_state())
            member.augmentation.set_state(lead.augmentation.get_state())


class _Team:
    """Neighbours in the stack with equal optimizer settings: one optimizer steps them all."""

    def __init__(self, members: list[Training], stacked: dict[str, Tensor], start: int) -> None:
        self.members, self.stacked = members, stacked
        self.where = slice(start, start + len(members))
        # A head that no gradient reaches is left alone; with one of zeros, weight decay would shrink it.
        untrained = "head." if members[0].criterion.takes == "embeddings" else None
        self.leaves = {
            name: nn.Parameter(value.detach()[self.where])
            for name, value in stacked.items()
            if value.requires_grad and not (untrained and name.startswith(untrained))
        }
        self.own = {id(p) for member in members for p in member.criterion.parameters()}
        self.optimizer = self._build_optimizer()
        self._take_over()

    def _build_optimizer(self) -> torch.optim.Optimizer:
        """An optimizer like the members' own, over the slices and over the parameters of their losses."""
        lead = self.members[0]
        names = {id(parameter): name for name, parameter in lead.model.named_parameters()}
        groups = []
        for number, group in enumerate(lead.optimizer.param_groups):
            params = [self.leaves[names[id(p)]] for p in group["params"] if names.get(id(p)) in self.leaves]
            for member in self.members:
                params += [p for p in member.optimizer.param_groups[number]["params"] if id(p) in self.own]
            groups.append({**group, "params": params})
        kind: Any = type(lead.optimizer)
        optimizer: torch.optim.Optimizer = kind([group for group in groups if group["params"]])
        return optimizer

    def _take_over(self) -> None:
        models = [dict(member.model.named_parameters()) for member in self.members]
        for name, leaf in self.leaves.items():
            states = [m.optimizer.state.get(own[name], {}) for m, own in zip(self.members, models, strict=True)]
            if states[0]:
                self.optimizer.state[leaf] = {
                    key: value.clone() if key == "step" else torch.stack([state[key] for state in states])
                    for key, value in states[0].items()
                }
        for member in self.members:
            for parameter in member.criterion.parameters():
                if parameter in member.optimizer.state:
                    self.optimizer.state[parameter] = member.optimizer.state[parameter]

    def step(self) -> None:
        """Update the members' weights and their losses' parameters from the stacked gradients."""
        for name, leaf in self.leaves.items():
            gradient = self.stacked[name].grad
            leaf.grad = None if gradient is None else gradient[self.where]
        limit = self.members[0].config.clip_norm
        if limit is not None:
            clip_each([leaf.grad for leaf in self.leaves.values() if leaf.grad is not None], limit)
        self.optimizer.step()
        for member in self.members:
            member.criterion.zero_grad(set_to_none=True)

    def hand_back(self) -> None:
        """Copy what was learned into the members."""
        for i, member in enumerate(self.members):
            for name, parameter in member.model.named_parameters():
                if name not in self.leaves:
                    continue
                parameter.copy_(self.leaves[name][i])
                if state := self.optimizer.state.get(self.leaves[name]):
                    # The fused optimizers want a state laid out in memory as its parameter is.
                    member.optimizer.state[parameter] = {
                        key: value.clone() if key == "step" else torch.empty_like(parameter).copy_(value[i])
                        for key, value in state.items()
                    }
            for parameter in member.criterion.parameters():
                if parameter in self.optimizer.state:
                    member.optimizer.state[parameter] = self.optimizer.state[parameter]
            member.optimizer.step()  # without gradients it changes nothing, but the scheduler wants to have seen one


def clip_each(gradients: Sequence[Tensor], limit: float) -> None:
    """Shorten each member's gradient, in place, to a norm of `limit` at most, as `clip_grad_norm_` does for one run.

    Args:
        gradients: (members, ...) each; a member's norm is taken over all of them.
        limit: the largest norm, > 0.
    """
    norms = torch.stack([torch.linalg.vector_norm(each.reshape(len(each), -1), dim=1) for each in gradients])
    factors = (limit / (torch.linalg.vector_norm(norms, dim=0) + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factors.view(-1, *[1] * (gradient.dim() - 1)))


def _optimizer_settings(member: Training) -> tuple[object, ...]:
    config, rate = member.config, member.optimizer.param_groups[0]["lr"]
    decay = (config.weight_decay, config.weight_decay_on)
    by_step = step_factor(config, max(0, member.epoch - 1), 0, 1) is not None
    schedule = (config.lr, config.scheduler, config.warmup_epochs, config.epochs) if by_step else ()
    return (config.optimizer, rate, *decay, config.clip_norm, member.criterion.takes, *schedule)
