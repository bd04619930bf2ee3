"""The training loop: a generator that yields one row of metrics an epoch."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from lossbench.config import RunConfig
from lossbench.data import Dataset, Split
from lossbench.data.sampling import epoch_order
from lossbench.losses import Criterion
from lossbench.losses.classification import widen
from lossbench.models import Classifier, Output, Pretrained
from lossbench.registry import Registry

# Optimizers and learning-rate schedules by the names that a config gives them.

Kind = TypeVar("Kind", bound=torch.optim.Optimizer)


def _uncompiled(kind: type[Kind]) -> type[Kind]:
    """The optimizer itself, without the guards against torch.compile around its methods.

    At the first call these load the whole compiler, which takes two seconds of every process that trains, only to say
    that nothing is to be compiled here.
    """
    guarded = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    methods: dict[str, Any] = {name: inspect.unwrap(getattr(kind, name)) for name in guarded}
    methods["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return cast("type[Kind]", type(kind.__name__, (kind,), methods))


Adam = _uncompiled(torch.optim.Adam)
AdamW = _uncompiled(torch.optim.AdamW)
SGD = _uncompiled(torch.optim.SGD)
Adadelta = _uncompiled(torch.optim.Adadelta)


OPTIMIZERS: Registry[Callable[..., torch.optim.Optimizer]] = Registry(
    "optimizer",
    {
        "adam": partial(Adam, fused=True),
        "adamw": partial(AdamW, fused=True),
        "sgd": partial(SGD, momentum=0.9, nesterov=True, fused=True),
        "sgd_momentum": partial(SGD, momentum=0.9, fused=True),
        "sgd_plain": partial(SGD, fused=True),
        "adadelta": Adadelta,
    },
)


def describe_optimizer(name: str) -> str:
    """The class of an optimizer, and what it is set to beside the learning rate and the decay."""
    entry: Any = OPTIMIZERS[name]
    options = {key: value for key, value in getattr(entry, "keywords", {}).items() if key not in ("fused", "foreach")}
    kind = getattr(entry, "func", entry).__name__
    return " ".join([kind, *(f"{key}={value}" for key, value in options.items())])


def build_optimizer(model: nn.Module, criterion: nn.Module, config: RunConfig) -> torch.optim.Optimizer:
    """The optimizer that the config names, over the model's and the loss's own parameters that are not frozen."""
    kernels = {id(layer.weight) for layer in model.modules() if isinstance(layer, nn.Conv2d)}
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for parameter in (*model.parameters(), *criterion.parameters()):
        if parameter.requires_grad:
            decays = config.weight_decay_on == "all" or id(parameter) in kernels
            (decayed if decays else others).append(parameter)
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    return OPTIMIZERS[config.optimizer](groups, lr=config.lr)


def build_scheduler(optimizer: torch.optim.Optimizer, config: RunConfig) -> LambdaLR:
    """How the learning rate goes from epoch to epoch, as a factor of `config.lr`; `step_factor` comes first."""

    def factor(epoch: int) -> float:
        done = (epoch - config.warmup_epochs) / (config.epochs - config.warmup_epochs)
        if config.scheduler == "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        if config.scheduler == "step":
            return 1.0 if done < 0.5 else 0.1 if done < 0.75 else 0.01
        return 1.0

    return LambdaLR(optimizer, factor)


def step_factor(config: RunConfig, epoch: int, step: int, steps: int) -> float | None:
    """The factor of `config.lr` at one step where it changes with every step, else None; all counted from 0.

    `steps` is how many an epoch has. `one_cycle` is torch's OneCycleLR, its momentum left alone.
    """
    done = epoch * steps + step
    if epoch < config.warmup_epochs:
        return (done + 1) / (config.warmup_epochs * steps)
    if config.scheduler != "one_cycle":
        return None
    last = config.epochs * steps - 1
    peak = 0.3 * (last + 1) - 1
    rising = done <= peak
    part = done / peak if rising else (done - peak) / (last - peak)
    low = 1 / 25 if rising else 1 / 25e4
    return low + (1 - low) * 0.5 * (1 - math.cos(math.pi * part) if rising else 1 + math.cos(math.pi * part))


# A larger one is slower on a CPU, and 128 x 128 images would take gigabytes; a GPU wants more work at once.
EVALUATION_BATCH = {"cpu": 100, "cuda": 1000}


class Diverged(ArithmeticError):
    """The loss, a weight or a score stopped being a finite number."""

    def __init__(self, what: str, value: float, epoch: int, step: int) -> None:
        super().__init__(f"{what} became {value} at step {step} of epoch {epoch}")
        self.what, self.value, self.epoch, self.step = what, value, epoch, step


Augment = Callable[[Tensor, torch.Generator], Tensor]


@dataclass
class Normalise:
    """Bring uint8 images to the scale that the model sees.

    That is zero mean and unit variance on the training images, or what published weights were trained on: their mean
    has three channels, which turns grey images into three channels too.
    """

    mean: Tensor
    std: Tensor
    augment: Augment | None = None

    @classmethod
    def to(cls, scale: Dataset | Pretrained, device: torch.device, augment: Augment | None = None) -> Normalise:
        """The scale of a data set, or of published weights."""
        mean, std = (torch.tensor(values, device=device).reshape(1, -1, 1, 1) for values in (scale.mean, scale.std))
        return cls(mean, std, augment)

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Turn (batch, channels, height, width) uint8 into float32, augmented where a generator is given."""
        scaled = images.float() / 255
        if self.augment is not None and generator is not None:
            scaled = self.augment(scaled, generator)
        return ((scaled - self.mean) / self.std).contiguous(memory_format=torch.channels_last)


@dataclass
class Training:
    """Everything that changes while a run trains; `state_dict` is enough to go on as if nothing had happened."""

    model: Classifier
    criterion: Criterion
    normalise: Normalise
    config: RunConfig
    epoch: int = 0
    best_epoch: int = 0
    best_score: float = -math.inf
    best_state: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    frozen: nn.Module | None = None  # the body whose features stand in the place of images, see `features`

    def __post_init__(self) -> None:
        seed = self.config.seed
        # Three separate streams: a loss that draws random numbers cannot change the order of the images. These two
        # are on the CPU: a GPU gets the same images, and nothing has to be read back from it.
        self.order = torch.Generator().manual_seed(seed)
        self.augmentation = torch.Generator().manual_seed(seed + 1)
        self.optimizer = build_optimizer(self.model, self.criterion, self.config)
        self.scheduler = build_scheduler(self.optimizer, self.config)

    _PARTS = ("model", "criterion", "optimizer", "scheduler")
    _VALUES = ("epoch", "best_epoch", "best_score", "best_state", "history")

    def state_dict(self) -> dict[str, Any]:
        """Plain types and tensors only, so that it can be read back without running any code."""
        state = {part: getattr(self, part).state_dict() for part in self._PARTS}
        state |= {value: getattr(self, value) for value in self._VALUES}
        return state | {
            "order": self.order.get_state(),
            "augmentation": self.augmentation.get_state(),
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`."""
        for part in self._PARTS:
            getattr(self, part).load_state_dict(state[part])
        for value in self._VALUES:
            setattr(self, value, state[value])
        self.order.set_state(state["order"])
        self.augmentation.set_state(state["augmentation"])
        torch.set_rng_state(state["torch_rng"])
        if state["cuda_rng"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["cuda_rng"])

    @property
    def ended(self) -> bool:
        """Whether all epochs are done, or the score has not improved for `patience` epochs."""
        waited = self.epoch - self.best_epoch
        return self.epoch >= self.config.epochs or (
            self.config.patience is not None and self.epoch > 0 and waited >= self.config.patience
        )

    def begin_epoch(self) -> None:
        """Count the next epoch, and tell the loss, which may follow a schedule."""
        self.epoch += 1
        self.criterion.set_epoch(self.epoch, self.config.epochs)

    def set_rate(self, step: int, steps: int) -> None:
        """Set the learning rate of a step, counted from 0, of this epoch's `steps`, where each has its own."""
        first = max(0, self.epoch - 1)  # steps may be taken before the first epoch is counted, as an estimate does
        factor = step_factor(self.config, first, step, steps)
        if factor is not None:
            for group in self.optimizer.param_groups:
                group["lr"] = self.config.lr * factor

    def keep_best(self, score: float) -> None:
        """Remember the weights of the first epoch that attains the highest score."""
        if score > self.best_score:
            self.best_score, self.best_epoch = score, self.epoch
            self.best_state = {
                part: {name: value.detach().clone() for name, value in getattr(self, part).state_dict().items()}
                for part in ("model", "criterion")
            }

    def restore_best(self) -> None:
        """Put the selected epoch's weights back into the model and the criterion."""
        self.criterion.set_epoch(self.best_epoch, self.config.epochs)
        for part, state in self.best_state.items():
            getattr(self, part).load_state_dict(state)


def train(training: Training, train_split: Split, scored: Split, prefix: str) -> Iterator[dict[str, float]]:
    """Train in place and yield a row of metrics for each epoch that is left; the best epoch's weights are kept.

    Args:
        training: the model, loss, optimizer and random streams; continued from where they stand.
        train_split: the images to learn from.
        scored: the images to score after every epoch and to select the epoch on.
        prefix: of the scores' columns: `val` or `test`.

    Yields: `epoch lr train_loss train_accuracy <prefix>_loss <prefix>_nll <prefix>_accuracy`; `lr` is that of the
        epoch's last step.
    Raises: Diverged, in the step in which the loss or a weight, or after which a score, is no longer finite.
    """
    while not training.ended:
        training.begin_epoch()
        yield end_epoch(training, train_epoch(training, train_split), train_split, scored, prefix)


def end_epoch(
    training: Training, trained: dict[str, float], train_split: Split, scored: Split, prefix: str
) -> dict[str, float]:
    """What follows an epoch's steps: the next learning rate, the scores, the selection. Returns the epoch's row."""
    row = {"epoch": training.epoch, "lr": training.optimizer.param_groups[0]["lr"], **trained}
    last_step = steps_of(training, train_split)
    require_finite("a weight", float_state(training), training.epoch, last_step)
    training.scheduler.step()
    if training.criterion.takes == "embeddings":
        fit_head(training, train_split)
    scores = evaluate(training, scored)
    for name, value in scores.items():
        if not math.isfinite(value):
            raise Diverged(f"{prefix} {name}", value, training.epoch, last_step)
        row[f"{prefix}_{name}"] = value
    training.keep_best(scores["accuracy"])
    training.history.append(row)
    return row


def train_epoch(training: Training, split: Split) -> dict[str, float]:
    """One pass over the images in a new order. Returns the mean loss and accuracy while training."""
    training.model.train()
    training.criterion.train()
    losses, outputs = [], []
    weights = float_state(training)
    order = epoch_order(split.target, training.config.sampler, training.order)
    steps = steps_of(training, split)
    for step, index in enumerate(full_batches(order, training.config.batch_size), start=1):
        training.set_rate(step - 1, steps)
        loss, logits = train_step(training, split.images[index], split.target[index])
        losses.append(loss)
        outputs.append(logits)
        if loss.device.type == "cpu":  # waiting for a GPU here would stall it
            if not math.isfinite(loss.item()):
                raise Diverged("training loss", loss.item(), training.epoch, step)
            # One number is not finite as soon as a weight is not; it may also overflow, then the weights are looked at.
            if not math.isfinite(sum(value.sum() for value in weights)):
                require_finite("a weight", weights, training.epoch, step)
    return average(training, torch.stack(losses), torch.cat(outputs), split.target[order])


def train_step(
    training: Training,
    images: Tensor,
    target: Tensor,
) -> tuple[Tensor, Tensor]:
    """Learn from one batch of uint8 images, without waiting for a GPU.

    Returns: the loss and (batch, outputs) logits.
    """
    model, criterion, optimizer = training.model, training.criterion, training.optimizer
    images = training.normalise(images, training.augmentation)
    with autocast(training.config, images.device):
        output = model(images)
    loss = criterion(getattr(output, criterion.takes), target)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if training.config.clip_norm is not None:
        nn.utils.clip_grad_norm_(model.parameters(), training.config.clip_norm)
    optimizer.step()
    return loss.detach(), output.logits.detach()


def float_state(training: Training) -> list[Tensor]:
    """The weights and running statistics of the model, and what the loss has of them."""
    states = (part.state_dict().values() for part in (training.model, training.criterion))
    return [value for values in states for value in values if value.is_floating_point()]


def require_finite(what: str, tensors: Iterable[Tensor], epoch: int, step: int) -> None:
    """Raise Diverged at the first number that is not finite."""
    for values in tensors:
        if not (finite := values.isfinite()).all():
            raise Diverged(what, values[~finite][0].item(), epoch, step)


def average(training: Training, losses: Tensor, logits: Tensor, target: Tensor) -> dict[str, float]:
    """An epoch's means, from the losses (steps,) and all logits (images, outputs). Diverged if a loss is not finite."""
    if not losses.isfinite().all():
        first = int((~losses.isfinite()).nonzero()[0])
        raise Diverged("training loss", losses[first].item(), training.epoch, first + 1)
    right = log_probs(training.criterion, logits).argmax(1) == target
    return {"train_loss": losses.mean().item(), "train_accuracy": right.float().mean().item()}


def full_batches(order: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Split `order` into batches; a last batch of one joins the one before, since batch norm needs two images."""
    stops = [*range(batch_size, len(order), batch_size), len(order)]
    if len(stops) > 1 and stops[-1] - stops[-2] == 1:
        del stops[-2]
    yield from (order[start:stop] for start, stop in zip([0, *stops[:-1]], stops, strict=True))


def steps_of(training: Training, split: Split) -> int:
    """How many steps an epoch has."""
    return len(list(full_batches(torch.arange(len(split)), training.config.batch_size)))


@torch.no_grad()
def evaluate(training: Training, split: Split) -> dict[str, float]:
    """Score a split as at test time: no augmentation, no margin, running statistics.

    Returns `{"loss", "nll", "accuracy"}`. The loss is the training loss without its margin, in batches as in training
    where it compares images with each other; `nll` is the mean of -log p of the target and comparable between losses.
    """
    output, scores = predict(training, split)
    training.criterion.eval()
    if training.criterion.takes == "embeddings":
        loss = _batched_loss(training, output.embeddings, split.target)
    else:
        loss = training.criterion(output.logits, split.target)
    nll = -scores.gather(1, split.target[:, None]).mean()
    accuracy = (scores.argmax(1) == split.target).float().mean()
    return {"loss": loss.item(), "nll": nll.item(), "accuracy": accuracy.item()}


def _batched_loss(training: Training, embeddings: Tensor, target: Tensor) -> Tensor:
    """The mean loss of embeddings over the training's batches: all triplets of a split would fill any memory."""
    total = embeddings.new_zeros(())
    for index in full_batches(torch.arange(len(target), device=target.device), training.config.batch_size):
        total += training.criterion(embeddings[index], target[index]) * len(index)
    return total / len(target)


@torch.no_grad()
def predict(training: Training, split: Split) -> tuple[Output, Tensor]:
    """The model's outputs in evaluation mode, not in half precision, and the log-probabilities (images, classes)."""
    model = training.model.eval()
    outputs = []
    batch = EVALUATION_BATCH.get(split.images.device.type, 100)
    for start in range(0, len(split), batch):
        images = training.normalise(split.images[start : start + batch])
        with autocast(training.config, images.device):
            outputs.append(model(images))
    output = Output(*(widen(torch.cat(parts)) for parts in zip(*outputs, strict=True)))
    return output, log_probs(training.criterion, output.logits)


def log_probs(criterion: Criterion, logits: Tensor) -> Tensor:
    """(batch, classes) log-probabilities to predict from; a loss on embeddings has none, its head's softmax serves."""
    if criterion.takes == "embeddings":
        return torch.log_softmax(widen(logits), 1)
    return criterion.log_probs(logits)


def class_means(training: Training, split: Split, num_classes: int) -> Tensor:
    """The mean direction (classes, features) of each class's embeddings, of length 1; 0 for a class without images."""
    embeddings = nn.functional.normalize(predict(training, split)[0].embeddings)
    sums = embeddings.new_zeros(num_classes, embeddings.shape[1]).index_add_(0, split.target, embeddings)
    return nn.functional.normalize(sums)


@torch.no_grad()
def fit_head(training: Training, split: Split) -> None:
    """Make the head a nearest-class-mean classifier by cosine, since a loss on embeddings does not train it."""
    head = training.model.head
    assert isinstance(head, nn.Linear)
    head.weight.copy_(class_means(training, split, len(head.weight)))
    if head.bias is not None:
        head.bias.zero_()


def autocast(config: RunConfig, device: torch.device) -> torch.autocast:
    """bfloat16 for the model when the config asks for it; losses are computed outside, in float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.precision == "bfloat16")
