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

from lossbench.registry import Check, Registry, above, at_least, boolean, unknown, whole

SCHEDULERS = ("cosine", "constant", "step")
SELECTIONS = ("validation", "best_test")
PRECISIONS = ("float32", "bfloat16")
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
}


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

    def __call__(self, name: str, value: object) -> str:
        text, registry = _text(name, value), _registry(self.field)
        if self.field == "dataset" and text not in registry:  # perhaps one that was imported: search the folders
            from lossbench.data.loading import find_spec

            return find_spec(text).name
        registry[text]  # says what there is
        return text


def _one_of(kind: str, allowed: tuple[str, ...]) -> Check:
    def check(name: str, value: object) -> str:
        if _text(name, value) not in allowed:
            raise ValueError(unknown(kind, value, allowed))
        return str(value)

    return check


def _optional(check: Check) -> Check:
    return lambda name, value: None if value is None else check(name, value)


def _fraction(name: str, value: object) -> float:
    if (number := at_least(0)(name, value)) >= 1:
        raise ValueError(f"{name} must be at least 0 and below 1, got {value!r}")
    return float(number)


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
        optimizer: a name in `OPTIMIZERS`; `sgd` has Nesterov momentum 0.9.
        lr: learning rate, > 0.
        weight_decay: L2 penalty of the optimizer, >= 0.
        weight_decay_on: `all` parameters, or the weights of the `convolutions` only, as in paper 001.
        clip_norm: largest norm of the gradient, > 0; a longer one is shortened to it. None leaves it alone.
        scheduler: how `lr` goes over the epochs: `cosine` to zero, `constant`, or `step` (a tenth at 1/2 and 3/4).
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
        selection: `validation` picks the epoch on held-out training images and scores the test images once;
            `best_test` picks the epoch on the test images, as paper 000 did: optimistic, kept to show its bias.
        precision: `float32`, or `bfloat16` for the model's forward and backward pass (losses stay in float32).
        embedding_scores: score the embeddings of the test images too (NMI, recall@k, nearest class mean), which takes
            all training images once more and scikit-learn.

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
    optimizer: Annotated[str, _NameIn("optimizer")] = "adam"
    lr: Annotated[float, above(0)] = 1e-3
    weight_decay: Annotated[float, at_least(0)] = 0.0
    weight_decay_on: Annotated[str, _one_of("choice of decayed weights", DECAYS)] = "all"
    clip_norm: Annotated[float | None, _optional(above(0))] = None
    scheduler: Annotated[str, _one_of("scheduler", SCHEDULERS)] = "cosine"
    batch_size: Annotated[int, whole(2)] = 32
    epochs: Annotated[int, whole(1)] = 10
    patience: Annotated[int | None, _optional(whole(1))] = None
    seed: Annotated[int, whole(0, up_to=2**63 - 2)] = 0  # the augmentation takes the next one
    train_size: Annotated[int | None, _optional(whole(1))] = None
    label_noise: Annotated[float, _fraction] = 0.0
    noise_kind: Annotated[str, _one_of("kind of label noise", NOISES)] = "symmetric"
    imbalance: Annotated[float, at_least(1)] = 1.0
    augmentation: Annotated[str, _NameIn("augmentation")] = "none"
    pretrained: Annotated[bool, boolean()] = False
    trainable: Annotated[str, _one_of("choice of trainable weights", TRAINABLE)] = "all"
    selection: Annotated[str, _one_of("selection", SELECTIONS)] = "validation"
    precision: Annotated[str, _one_of("precision", PRECISIONS)] = "float32"
    embedding_scores: Annotated[bool, boolean()] = True

    def __post_init__(self) -> None:
        for name, check in _checks().items():
            object.__setattr__(self, name, check(name, getattr(self, name)))
        if self.pretrained and not _registry("model")[self.model].pretrained:
            raise ValueError(f"model {self.model!r} has no published weights; set pretrained=False")
        if self.trainable == "head" and self._loss.takes == "embeddings":
            raise ValueError(
                f"trainable='head' leaves {self.loss} nothing to train: it works on embeddings, not on logits"
            )
        for name, entry in (("loss", self._loss), ("probability", self._probability)):
            given = getattr(self, f"{name}_params")
            if not isinstance(given, Mapping):
                raise TypeError(f"{name}_params must be a mapping such as {{'gamma': 2.0}}, got {given!r}")
            # A parameter left at its default is dropped, so that focal and focal(gamma=2) are one run.
            checked = entry.check(given)
            kept = {key: value for key, value in sorted(checked.items()) if value != entry.defaults[key]}
            object.__setattr__(self, f"{name}_params", kept)

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
            if (name := getattr(self, field_name)) in (registry := _registry(field_name)):
                registry.require_in_file(name)

    @cached_property
    def versions(self) -> dict[str, str]:
        """What tells versions of the user's own apart: of functions in files, and of a data set that was imported."""
        versions = {}
        for field_name in REGISTRIES:
            registry, name = _registry(field_name), getattr(self, field_name)
            if name in registry:
                versions[f"{field_name}_source"] = registry.version(name)
            else:
                from lossbench.data.loading import find_spec

                versions["dataset_fingerprint"] = find_spec(name).fingerprint
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
        changed = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != _default(f)}
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
        return asdict(self)

    @staticmethod
    def defaults() -> dict[str, Any]:
        """Every field with its default."""
        return {f.name: _default(f) for f in fields(RunConfig)}

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
