"""What a run computes: a flat, frozen, validated description with a stable, readable name."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache, cached_property
from importlib import import_module
from typing import Annotated, Any, get_type_hints

from lossbench.registry import (
    Check,
    Registry,
    above,
    at_least,
    boolean,
    unknown,
    whole,
)

SCHEDULERS = ("cosine", "constant", "step", "one_cycle")
CLASS_WEIGHTS = ("none", "inverse", "class_balanced")
SAMPLERS = ("shuffled", "balanced")
SELECTIONS = ("validation", "best_test")
PRECISIONS = ("float32", "bfloat16", "auto")
DECAYS = ("all", "convolutions")
NOISES = ("symmetric", "asymmetric")
TRAINABLE = ("all", "head", "last5")
REGISTRIES = {  # field -> where its names are
    "dataset": ("lossbench.data", "DATASETS"),
    "model": ("lossbench.models", "MODELS"),
    "loss": ("lossbench.losses", "LOSSES"),
    "probability": ("lossbench.losses.probabilities", "PROBABILITIES"),
    "optimizer": ("lossbench.training.loop", "OPTIMIZERS"),
    "augmentation": ("lossbench.data.augmentation", "AUGMENTATIONS"),
    "metrics": ("lossbench.stats.metrics", "METRICS"),
}
SCORING = ("metrics",)  # fields that say what is scored after the training, and change nothing of it


def _registry(name: str) -> Registry[Any]:
    """The registry of a field, imported only when a config is made: `--help` must not wait for torch."""
    return getattr(import_module(REGISTRIES[name][0]), REGISTRIES[name][1])  # type: ignore[no-any-return]


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a name, got {value!r}")
    return value


@dataclass(frozen=True)
class _NameIn:
    """A name of the registry of this field."""

    field: str

    def __str__(self) -> str:
        kinds = {"probability": "probabilities", "loss": "losses"}
        return f"see `lossbench list {kinds.get(self.field, f'{self.field}s')}`"

    def __call__(self, name: str, value: object) -> str:
        text, registry = _text(name, value), _registry(self.field)
        if self.field == "dataset" and text not in registry:  # perhaps one that was imported: search the folders
            from lossbench.data.loading import find_spec

            return find_spec(text).name
        registry[text]  # says what there is
        return text


@dataclass(frozen=True)
class _Metrics:
    """Names in `METRICS`, each once: a sequence of them, or text with commas as typed on the command line."""

    def __call__(self, name: str, value: object) -> tuple[str, ...]:
        names = value.split(",") if isinstance(value, str) else value
        if not isinstance(names, Sequence) or not all(isinstance(each, str) for each in names):
            raise TypeError(f"{name} must be names such as ('balanced_accuracy',), got {value!r}")
        for each in names:
            _registry("metrics")[each]  # says what there is
        return tuple(dict.fromkeys(names))

    def __str__(self) -> str:
        return "names with commas, see `lossbench list metrics`"


@dataclass(frozen=True)
class _OneOf:
    """One of these words."""

    kind: str
    allowed: tuple[str, ...]

    def __call__(self, name: str, value: object) -> str:
        if _text(name, value) not in self.allowed:
            raise ValueError(unknown(self.kind, value, self.allowed))
        return str(value)

    def __str__(self) -> str:
        return ", ".join(self.allowed)


@dataclass(frozen=True)
class _Optional:
    """What the check allows, or None."""

    check: Check

    def __call__(self, name: str, value: object) -> Any:
        return None if value is None else self.check(name, value)

    def __str__(self) -> str:
        return f"{self.check}, or null"


@dataclass(frozen=True)
class _Fraction:
    """A number in [0, 1)."""

    def __call__(self, name: str, value: object) -> float:
        if (number := at_least(0)(name, value)) >= 1:
            raise ValueError(f"{name} must be at least 0 and below 1, got {value!r}")
        return float(number)

    def __str__(self) -> str:
        return "a number >= 0 and < 1"


@dataclass(frozen=True)
class RunConfig:
    """Everything that changes what one run computes, and nothing that does not.

    Two configs that compute the same thing are equal and share a `run_id`. Device, threads and folders are
    arguments of `run`. Every field has a default, and a default never changes.

    Args:
        dataset: a name in `DATASETS`.
        model: a name in `MODELS`.
        loss: a name in `LOSSES`; `loss_params` are its keyword arguments.
        probability: a name in `PROBABILITIES`; `probability_params` are its keyword arguments.
        label_smoothing: the share of each training target that all classes get alike, in [0, 1]; only for losses that
            take class probabilities.
        class_weight: `none`, or weights of the classes in the loss by their training images: `inverse` (1/n) or
            `class_balanced` (see `lossbench.losses.criterion.class_weights`); not for losses on embeddings.
        sampler: which images an epoch shows: `shuffled`, each one once, or `balanced`, as many draws, each of a class
            that is drawn evenly, so that images of rare classes come several times.
        optimizer: a name in `OPTIMIZERS`; `sgd` has Nesterov momentum 0.9, `sgd_momentum` plain momentum 0.9, and
            `sgd_plain` none.
        lr: learning rate, > 0.
        weight_decay: L2 penalty of the optimizer, >= 0; of `adamw` the decay beside the gradient.
        weight_decay_on: `all` parameters, or the weights of the `convolutions` only, as in paper 001.
        clip_norm: largest norm of the gradient, > 0; a longer one is shortened to it. None leaves it alone.
        scheduler: how `lr` goes over the epochs: `cosine` to zero, `constant`, `step` (a tenth at 1/2 and 3/4), or
            `one_cycle`: with every step, up from lr/25 to `lr` in 30 % of them and down to nearly zero.
        warmup_epochs: epochs in which the learning rate first rises to `lr`, evenly with every step, before the
            scheduler begins; >= 0 and below `epochs`.
        batch_size: images a step, >= 2.
        epochs: passes over the training images, >= 1.
        patience: stop after so many epochs without a better score, >= 1; None never stops early.
        seed: fixes the validation split, the first weights, the order of the images and the augmentation.
        train_size: images to train on, drawn evenly from each class; None takes all.
        label_noise: fraction of training targets replaced by another class, in [0, 1); `noise_kind` says by which:
            `symmetric` any other class, `asymmetric` the next one.
        imbalance: how many times more images the largest class has than the smallest, >= 1.
        augmentation: a name in `AUGMENTATIONS`.
        pretrained: start from published weights; only for models that have some.
        trainable: `all` weights, only the `head`, or the `last5` layers (see `Classifier.set_trainable`).
        selection: `validation` picks the epoch on validation images, the data set's own or else a tenth of the
            training images, and scores the test images once; `best_test` picks the epoch
            on the test images, as paper 000 did: optimistic, kept to show its bias.
        precision: `float32`, or `bfloat16` for the model's forward and backward pass (losses stay in float32). `auto`
            becomes one of the two at once, before the run has a name: bfloat16 where half a second's measurement shows
            that this machine trains faster with it (see `lossbench.training.precision.choose_precision`).
        metrics: names in `METRICS`, scored on the test images beside the scores that every run has. They change nothing
            that is trained, so configs that differ in them only are equal, and a finished run gets a new metric from
            its predictions.
        embedding_scores: score the embeddings of the test images too (NMI, recall@k, nearest class mean), which takes
            all training images once more and scikit-learn.
        transfer: another data set, on which the network's features are judged after the training: the test accuracy of
            a linear classifier on its frozen embeddings (see `lossbench.training.transfer`). None leaves it out.

    Raises:
        ValueError: a name or value that is not allowed, quoted together with what is.
        TypeError: a value of the wrong type, or a parameter that the loss or probability function does not have.
    """

    dataset: Annotated[str, _NameIn("dataset")] = "fashion-mini"
    model: Annotated[str, _NameIn("model")] = "small_cnn"
    loss: Annotated[str, _NameIn("loss")] = "cross_entropy"
    loss_params: Mapping[str, Any] = field(default_factory=dict)
    probability: Annotated[str, _NameIn("probability")] = "softmax"
    probability_params: Mapping[str, Any] = field(default_factory=dict)
    label_smoothing: Annotated[float, at_least(0, up_to=1)] = 0.0
    class_weight: Annotated[str, _OneOf("class weight", CLASS_WEIGHTS)] = "none"
    sampler: Annotated[str, _OneOf("sampler", SAMPLERS)] = "shuffled"
    optimizer: Annotated[str, _NameIn("optimizer")] = "adam"
    lr: Annotated[float, above(0)] = 1e-3
    weight_decay: Annotated[float, at_least(0)] = 0.0
    weight_decay_on: Annotated[str, _OneOf("choice of decayed weights", DECAYS)] = "all"
    clip_norm: Annotated[float | None, _Optional(above(0))] = None
    scheduler: Annotated[str, _OneOf("scheduler", SCHEDULERS)] = "cosine"
    warmup_epochs: Annotated[int, whole(0)] = 0
    batch_size: Annotated[int, whole(2)] = 32
    epochs: Annotated[int, whole(1)] = 10
    patience: Annotated[int | None, _Optional(whole(1))] = None
    seed: Annotated[int, whole(0, up_to=2**63 - 2)] = 0  # the augmentation takes the next one
    train_size: Annotated[int | None, _Optional(whole(1))] = None
    label_noise: Annotated[float, _Fraction()] = 0.0
    noise_kind: Annotated[str, _OneOf("kind of label noise", NOISES)] = "symmetric"
    imbalance: Annotated[float, at_least(1)] = 1.0
    augmentation: Annotated[str, _NameIn("augmentation")] = "none"
    pretrained: Annotated[bool, boolean()] = False
    trainable: Annotated[str, _OneOf("choice of trainable weights", TRAINABLE)] = "all"
    selection: Annotated[str, _OneOf("selection", SELECTIONS)] = "validation"
    precision: Annotated[str, _OneOf("precision", PRECISIONS)] = "float32"
    embedding_scores: Annotated[bool, boolean()] = True
    transfer: Annotated[str | None, _Optional(_NameIn("dataset"))] = None
    metrics: Annotated[tuple[str, ...], _Metrics()] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        for name, check in _checks().items():
            object.__setattr__(self, name, check(name, getattr(self, name)))
        if self.precision == "auto":  # one precision for all runs of a plan, also on other machines
            chosen = import_module("lossbench.training.precision").choose_precision()
            object.__setattr__(self, "precision", chosen)
        if self.pretrained and not _registry("model")[self.model].pretrained:
            raise ValueError(f"model {self.model!r} has no published weights; set pretrained=False")
        if self.trainable == "head" and self._loss.takes == "embeddings":
            raise ValueError(
                f"trainable='head' leaves {self.loss} nothing to train: it works on embeddings, not on logits"
            )
        if self.label_smoothing and self._loss.soft_target == "no":
            smooth = [name for name, entry in _registry("loss").items() if entry.soft_target != "no"]
            raise ValueError(
                f"label_smoothing={self.label_smoothing:g} needs a loss that takes class probabilities as target, and "
                f"{self.loss} takes none; choose from {', '.join(smooth)}, or set label_smoothing=0"
            )
        if self.class_weight != "none" and self._loss.takes == "embeddings":
            raise ValueError(
                f"class_weight={self.class_weight!r} is for losses on logits; {self.loss} compares embeddings with "
                "each other: set class_weight=none"
            )
        self._check_schedule()
        self._check_transfer()
        for name, entry in (("loss", self._loss), ("probability", self._probability)):
            given = getattr(self, f"{name}_params")
            if not isinstance(given, Mapping):
                raise TypeError(f"{name}_params must be a mapping such as {{'gamma': 2.0}}, got {given!r}")
            # A parameter left at its default is dropped, so that focal and focal(gamma=2) are one run.
            checked = entry.check(given)
            kept = {key: value for key, value in sorted(checked.items()) if value != entry.defaults[key]}
            object.__setattr__(self, f"{name}_params", kept)

    def _check_schedule(self) -> None:
        if self.warmup_epochs >= self.epochs and self.warmup_epochs:
            raise ValueError(f"warmup_epochs must be below epochs={self.epochs}, got {self.warmup_epochs}")
        if self.warmup_epochs and self.scheduler == "one_cycle":
            raise ValueError("scheduler 'one_cycle' warms up by itself; set warmup_epochs=0")

    def _check_transfer(self) -> None:
        if self.transfer is None:
            return
        if self.transfer == self.dataset:
            raise ValueError(f"transfer={self.transfer!r} is what the network is trained on; name another data set")
        if self.pretrained and self.trainable == "head":
            raise ValueError(
                f"transfer={self.transfer!r} needs features that the loss trains; trainable='head' leaves them "
                "as they were published; set trainable=all"
            )

    def __hash__(self) -> int:
        return hash(self.run_id)

    @property
    def _loss(self) -> Any:
        return _registry("loss")[self.loss]

    @property
    def _probability(self) -> Any:
        return _registry("probability")[self.probability]

    def require_in_files(self) -> None:
        """Refuse a loss, network and so on that other processes could not find; see `Registry.require_in_file`."""
        for field_name in REGISTRIES:
            value, registry = getattr(self, field_name), _registry(field_name)
            for name in [value] if isinstance(value, str) else value:
                if name in registry:
                    registry.require_in_file(name)

    @cached_property
    def versions(self) -> dict[str, str]:
        """What tells versions of the user's own apart: of functions in files, and of a data set that was imported."""
        versions: dict[str, str | None] = {}
        named = {name: name for name in REGISTRIES if name not in SCORING} | {"transfer": "dataset"}
        for field_name, kind in named.items():
            registry, name = _registry(kind), getattr(self, field_name)
            if name is None:
                continue
            if name in registry:
                versions[f"{field_name}_source"] = registry.version(name)
            if kind == "dataset" and (name not in registry or registry[name].generate):
                from lossbench.data.loading import find_spec

                versions[f"{field_name}_fingerprint"] = find_spec(name).fingerprint
        return {name: version for name, version in versions.items() if version}

    @cached_property
    def run_id(self) -> str:
        """`dataset-model-loss-probability-s<seed>-<hash>`; the hash covers what differs from the defaults.

        It also covers the user's own files and data, then with 16 digits instead of 6: see `versions`.
        """
        return self._name(16 if self.versions else 6)

    @property
    def long_run_id(self) -> str:
        """The id with 16 digits of hash, for where the shorter one is taken by another config."""
        return self._name(16)

    def _name(self, digits: int) -> str:
        parts = [self.dataset, self.model, self.loss, *_shown(self._loss, self.loss_params)]
        parts += [self.probability, *_shown(self._probability, self.probability_params), f"s{self.seed}"]
        slug = re.sub(r"[^A-Za-z0-9._-]+", "_", "-".join(parts))[:92].lstrip("._-")
        plain = self.defaults()
        changed = {name: getattr(self, name) for name in plain if getattr(self, name) != plain[name]}
        changed |= self.versions
        text = json.dumps(changed, sort_keys=True, separators=(",", ":"))
        return f"{slug}-{hashlib.sha256(text.encode()).hexdigest()[:digits]}"

    @property
    def label(self) -> str:
        """The loss as figures name it, such as `focal γ=2`."""
        return str(self._loss.label(self.loss_params))

    @property
    def full_loss_params(self) -> dict[str, Any]:
        """The loss's parameters with its defaults filled in."""
        return {**self._loss.defaults, **self.loss_params}

    @property
    def full_probability_params(self) -> dict[str, Any]:
        """The probability function's parameters with its defaults filled in."""
        return {**self._probability.defaults, **self.probability_params}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; `RunConfig.from_dict` reads them back."""
        return asdict(self) | {"metrics": list(self.metrics)}

    def trained(self) -> dict[str, Any]:
        """The fields that decide what is trained, in plain JSON types: what makes a run the same run."""
        return {name: value for name, value in self.to_dict().items() if name not in SCORING}

    @staticmethod
    def defaults() -> dict[str, Any]:
        """The fields that decide what is trained, each with its default."""
        return {f.name: _default(f) for f in fields(RunConfig) if f.name not in SCORING}

    @staticmethod
    def check_stored(values: Mapping[str, Any]) -> None:
        """Refuse values that no config can have; a name need not be registered here. Errors are those of a config."""
        for name, check in _checks().items():
            if name in values:
                (_text if isinstance(check, _NameIn) else check)(name, values[name])

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunConfig:
        """Build a config from names and values; an unknown name is a TypeError with the nearest match."""
        names = [f.name for f in fields(cls)]
        for name in values:
            if name not in names:
                raise TypeError(unknown("RunConfig field", name, names))
        return cls(**values)


@cache
def _checks() -> dict[str, Check]:
    """Each field's own check."""
    hints = get_type_hints(RunConfig, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items() if hasattr(hint, "__metadata__")}


def describe_fields() -> list[tuple[str, ...]]:
    """For each field its name, default, what it may be, and what it means."""
    meanings = _meanings()
    own = {name: f"see `lossbench list {kind}`" for name, kind in _PARAMETERS.items()}
    allowed = own | {name: str(check) for name, check in _checks().items()}
    rows: list[tuple[str, ...]] = []
    for item in fields(RunConfig):
        default = [] if item.name in SCORING else _default(item)
        rows.append((item.name, json.dumps(default), allowed[item.name], meanings.get(item.name, "")))
    return rows


_PARAMETERS = {"loss_params": "losses", "probability_params": "probabilities"}  # field -> where its names are listed


def _meanings() -> dict[str, str]:
    """What the docstring of RunConfig says of each field, its own paragraph or the one that names it."""
    arguments = (RunConfig.__doc__ or "").partition("Args:")[2].partition("Raises:")[0]
    paragraphs = dict(re.findall(r"^ {8}(\w+): (.*(?:\n {9,}.*)*)", arguments, re.MULTILINE))
    texts = {name: " ".join(text.split()) for name, text in paragraphs.items()}
    named = {f.name: text for f in fields(RunConfig) for text in texts.values() if f"`{f.name}`" in text}
    return named | texts


def grid(**axes: Sequence[Any]) -> list[RunConfig]:
    """Every combination of the values given for each field, the last field varying fastest.

    >>> [c.seed for c in grid(loss=["focal"], seed=[0, 1])]
    [0, 1]
    """
    return [RunConfig.from_dict(dict(zip(axes, row, strict=True))) for row in itertools.product(*axes.values())]


def _default(item: Any) -> Any:
    return {} if item.name.endswith("_params") else item.default


def _shown(entry: Any, params: Mapping[str, Any]) -> Iterator[str]:
    """The parameters that a run id names: always the entry's `shown`, and any other that was changed."""
    full = {**entry.defaults, **params}
    for key in [*entry.shown, *(k for k in params if k not in entry.shown)]:
        value = full[key]
        if isinstance(value, bool | int | float | str):
            yield f"{key}{value:g}" if isinstance(value, float) else f"{key}{value}"
