"""`lossbench challenge my_loss.py`: a verdict on a loss that nobody knows yet, under rules that it cannot bend.

The rules are fixed and hashed, and the seeds of the finals come from the hash of the code and of the rules, so they are
known to nobody before the code is final. The code runs behind a lock, see `lossbench.training.locked`. What comes out
is plain values: `verdict.json` holds the code, the rules, every run and every number, and `check` computes them again.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from lossbench.claims.wording import number
from lossbench.config import RunConfig
from lossbench.data.loading import find_spec
from lossbench.files import SHIPPED, write_text
from lossbench.losses.criterion import BadLoss
from lossbench.models import MODELS
from lossbench.records.declaration import TunedDeclaration, declared_tuned, finals_table, trials_table
from lossbench.records.lease import hold
from lossbench.records.packed import packed_folders
from lossbench.records.record import Record, output_folder
from lossbench.records.tables import load_runs
from lossbench.registry import Extension, extend, imported_names, unknown
from lossbench.stats.paired import OUTCOMES, judge
from lossbench.stats.runs import REFERENCE
from lossbench.stats.tuning import choose, final_differences, judge_finals
from lossbench.studies.space import DECAY, RATES, LossSpec
from lossbench.studies.tuned import TunedPlan, run_tuned
from lossbench.training.locked import ALLOWED, MOST_BYTES, describe, seconds_a_step
from lossbench.training.machine import describe_machine

NAME = "verdict.json"
MARGIN = 0.005
RUN_SECONDS = 600.0
STEPS = 200  # that are timed
PRIMARY = ("clean", "test_accuracy")
SETTINGS: dict[str, dict[str, Any]] = {
    "features": {
        **{"dataset": "fashion-mini", "model": "efficientnet_lite0", "pretrained": True, "trainable": "head"},
        **{"epochs": 10, "batch_size": 64, "train_size": 2000},
    },
    "small_cnn": {"dataset": "fashion-mini", "model": "small_cnn", "epochs": 5, "batch_size": 64, "train_size": 2000},
}
BUDGETS = {"standard": (16, 3, 5), "small": (2, 3, 1)}  # trials a loss and study, studies, finals of each winner
CONDITIONS: dict[str, dict[str, Any]] = {
    "clean": {},
    "wrong targets": {"label_noise": 0.4},
    "rare classes": {"imbalance": 50.0, "train_size": 1000},
}
JUDGED = {
    "clean": ("test_accuracy", "test_macro_f1", "test_ece", "test_nll"),
    "wrong targets": ("test_accuracy", "test_ece"),
    "rare classes": ("test_accuracy", "test_macro_f1", "test_ece"),
}
RULE = (
    "paired differences of finals, averaged within each study; t test over the studies; test accuracy on clean data is "
    "the verdict, every other outcome a family of its own with Holm over its conditions; the seed of final i of study "
    "k is the first 12 hexadecimal digits of sha256('CODE PROTOCOL k i')"
)
PLAIN = '''"""Cross-entropy as a challenger, whose steps are timed beside those of another."""

from lossbench.losses import register


@register
def plain(log_probs, target):
    return -log_probs.gather(1, target[:, None]).squeeze(1)
'''
PROXY = '''"""The challenger {name}: its code lies in `code` and runs behind a lock."""

from pathlib import Path

from lossbench.training.locked import register_locked

register_locked(Path(__file__).parent / "code", "{digest}", "{name}", {searched!r})
'''

Say = Callable[[str], object]


@dataclass(frozen=True)
class Challenger:
    """A loss as it was handed in: its name, the hash and texts of its code, and where a copy lies."""

    name: str
    digest: str
    code: dict[str, str]
    folder: Path
    searched: dict[str, tuple[float, float, float, bool]]


@dataclass(frozen=True)
class ChallengePlan(TunedPlan):
    """A tuned study of one challenger and cross-entropy whose finals have seeds from the hashes."""

    code: str = ""
    protocol: str = ""

    def finals_of(self, config: RunConfig, study: int) -> list[RunConfig]:
        """The finals of a study's winner, on seeds from the hashes."""
        return [replace(config, seed=seed) for seed in seeds(self.code, self.protocol, study, self.finals)]

    def declaration(self) -> TunedDeclaration:
        """What is written down before the first run, with the hashes in its rule."""
        return replace(super().declaration(), rule=f"{RULE}; CODE is {self.code}, PROTOCOL {self.protocol}")


def seeds(code: str, protocol: str, study: int, count: int) -> list[int]:
    """The seeds of a study's finals.

    >>> seeds("code", "protocol", 0, 1)
    [154858289373217]
    """
    texts = (f"{code} {protocol} {study} {i}" for i in range(count))
    return [int(hashlib.sha256(text.encode()).hexdigest()[:12], 16) for text in texts]


def _all_seeds(digests: Mapping[str, str], rules: Mapping[str, Any]) -> dict[str, list[int]]:
    """Study -> seeds of its finals."""
    code, protocol = digests["code"], digests["protocol"]
    return {str(study): seeds(code, protocol, study, rules["finals"]) for study in range(rules["studies"])}


def protocol(setting: str, budget: str, salt: str = "") -> dict[str, Any]:
    """Everything that is fixed before the code is read; `salt` is a word of whoever asks for the verdict."""
    return {
        "setting": SETTINGS[setting],
        **dict(zip(("trials", "studies", "finals"), BUDGETS[budget], strict=True)),
        "margin": MARGIN,
        "conditions": CONDITIONS,
        "judged": {name: list(outcomes) for name, outcomes in JUDGED.items()},
        "space": {"lr": asdict(RATES["adam"]), "weight_decay": asdict(DECAY)},
        "rule": RULE,
        "salt": salt,
    }


@dataclass(frozen=True)
class Challenge:
    """A challenger, its plan, and what is known of the verdict before any run; `refusal` where there will be none."""

    plan: ChallengePlan
    challenger: Challenger
    facts: dict[str, Any]

    def judge(self, say: Say = lambda text: None, **how: Any) -> dict[str, Any]:
        """Tune, judge and time the loss beside cross-entropy; returns what `verdict.json` in its `folder` holds.

        Args:
            say: called with a line after each phase.
            how: workers, device and so on, as `run_configs` takes them.
        """
        verdict, folder = dict(self.facts), self.challenger.folder
        if "refusal" not in verdict:
            with hold(folder.parent):  # the trials of cross-entropy serve every challenger of this folder
                result = run_tuned(self.plan, folder.parent, say=say, **{"timeout": RUN_SECONDS, **how})
            if result.summary.interrupted:
                raise KeyboardInterrupt
            digest = self.plan.declaration().plan
            declaration = next(entry for entry in declared_tuned(folder.parent) if entry.plan == digest)
            verdict |= _measured(self.plan, declaration, folder.parent, result.summary.failed)
            if "judged" in verdict:
                say("timing the loss beside cross-entropy")
                verdict["cost"] = _cost(self.challenger, verdict)
                verdict["rank"] = _rank(verdict, declaration)
        verdict["word"], verdict["sentence"] = _word(verdict)
        write_text(folder / NAME, json.dumps(verdict, indent=1, ensure_ascii=False) + "\n")
        return verdict

    def expect(self) -> tuple[str, list[RunConfig]]:
        """How many runs a verdict takes, and runs that cost as much as those that are left."""
        if "refusal" in self.facts:
            return _word(self.facts)[1], []
        points = self.plan.points()
        trials = [config for config in points if not Record.of(config, self.challenger.folder.parent).finished]
        winners = {(place["loss"], place["study"]): config for config, place in points.items()}  # which, is not known
        finals = [final for (_, study), config in winners.items() for final in self.plan.finals_of(config, study)]
        text = f"{len(points)} trials ({len(points) - len(trials)} finished), {len(finals)} finals"
        others = [replace(final, **changes) for changes in self.plan.conditions for final in finals]
        text = f"{self.challenger.name}: {text}, and as many under each of {len(self.plan.conditions)} other conditions"
        return text, [*trials, *finals, *others]


def prepare(
    file: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    loss: str | None = None,
    setting: str | None = None,
    budget: str = "standard",
    salt: str = "",
) -> Challenge:
    """Copy, hash and try the code behind its lock, and plan its tuning beside cross-entropy's.

    Args:
        file: a Python file that registers a loss on logits or log_probs.
        output: folder for results; None takes LOSSBENCH_OUTPUT, else `outputs`.
        loss: which one, where the file registers several.
        setting: a name in `SETTINGS`; None takes `features`, or `small_cnn` where the published network is missing.
        budget: a name in `BUDGETS`.
        salt: a word of whoever asks, chosen when the code is final; it changes the seeds.

    Raises: ValueError for a file that cannot be a challenger; what it does wrong once it runs is a verdict.
    """
    if not hasattr(os, "fork"):
        raise ValueError("challenge locks the code up with fork and setrlimit, which this system lacks: use Linux")
    for kind, name, allowed in (("setting", setting, SETTINGS), ("budget", budget, BUDGETS)):
        if name is not None and name not in allowed:
            raise ValueError(unknown(kind, name, allowed))
    instrument = source_digest()
    home = output_folder(output).resolve() / "challenges" / instrument[:12]
    setting = setting or _possible_setting()
    rules, base = protocol(setting, budget, salt), RunConfig.from_dict(SETTINGS[setting])
    data = _data(base)
    losses: list[LossSpec] = [(REFERENCE, {})]
    verdict: dict[str, Any] = {}
    try:
        challenger = submit(Path(file), home, loss)
        losses.append((challenger.name, {}))
    except BadLoss as error:
        challenger, verdict["refusal"] = _copy_code(Path(file), home), str(error)
    digests = {"code": challenger.digest, "protocol": _digest(rules), "lossbench": instrument, "data": _digest(data)}
    plan = ChallengePlan(
        base,
        tuple(losses),
        *BUDGETS[budget],
        widen=False,
        margin=MARGIN,
        conditions=tuple(changes for changes in CONDITIONS.values() if changes),
        code=digests["code"],
        protocol=digests["protocol"],
    )
    verdict |= {
        "loss": challenger.name,
        "folder": str(challenger.folder),
        "budget": budget,
        "protocol": rules,
        "data": data,
        "code": challenger.code,
        "digests": digests,
        "machine": {"system": platform.system(), "processor": platform.machine()}
        | describe_machine(torch.device("cpu"))["versions"],
        "seeds": _all_seeds(digests, rules),
    }
    if "refusal" not in verdict:
        proxy = challenger.folder / f"{challenger.name}_proxy.py"
        write_text(proxy, PROXY.format(**vars(challenger)))
        extend(proxy)
    return Challenge(plan, challenger, verdict)


def submit(file: Path, home: Path, loss: str | None = None) -> Challenger:
    """Copy the code, hash it, and try it behind the lock.

    Raises:
        ValueError, FileNotFoundError: a file that is none, holds too much, imports what is not allowed, or registers
            no loss that could be challenged.
        BadLoss: code that asks for a file or cannot be executed, or a loss with what `lossbench check` calls wrong.
    """
    copied = _copy_code(file, home)
    registered = describe(copied.folder / "code", copied.digest)
    if loss is not None and loss not in registered:
        raise ValueError(unknown("loss of this file", loss, list(registered)))
    if not registered:
        raise ValueError(f"{file} registers no loss: put @register over one, as in docs/your_own.md")
    if loss is None and len(registered) > 1:
        raise ValueError(f"{file} registers {', '.join(registered)}; choose one with --loss")
    name = loss or next(iter(registered))
    facts = registered[name]
    if facts["refusal"]:
        raise ValueError(f"{name} {facts['refusal']}")
    if facts["wrong"]:
        raise BadLoss(f"{name} {facts['wrong'][0]} (lossbench check {file.name} says all that is wrong)")
    searched = {key: (start, low, high, log) for key, (start, low, high, log) in facts["searched"].items()}
    folder = home / f"{name}-{copied.digest[:12]}"
    if not folder.exists():
        copied.folder.rename(folder)
    return replace(copied, name=name, folder=folder, searched=searched)


def _copy_code(file: Path, home: Path) -> Challenger:
    """Copy the code, under the name of its file, before anything of it is executed."""
    if file.suffix != ".py" or not file.is_file():
        raise FileNotFoundError(f"there is no Python file {str(file)!r}; a challenger is a file such as my_loss.py")
    path = file.resolve()
    extension = Extension(path)
    try:
        extension.read()
    except SyntaxError as error:
        raise ValueError(f"{file}:{error.lineno}: SyntaxError: {error.msg}") from None
    texts = dict(extension.texts.values())
    if (size := sum(map(len, texts.values()))) > MOST_BYTES:
        raise ValueError(f"{file} and what it imports have {size:,} bytes; a challenger has at most {MOST_BYTES:,}")
    for where, text in texts.items():
        for name in imported_names(where, text, ""):
            beside = any(name == module or name.startswith(f"{module}.") for module in extension.texts)
            if not beside and name.partition(".")[0] not in ALLOWED:
                reason = "a challenger imports torch, numpy, scipy and Python's own"
                raise ValueError(f"{where.name} imports {name}; {reason}")
    names = {where: where.relative_to(path.parent).as_posix() for where in texts} | {path: "challenger.py"}
    code = {names[where]: text.decode() for where, text in texts.items()}
    digest = digest_of(code)
    folder = home / f"{path.stem}-{digest[:12]}"
    for name, source in code.items():
        write_text(folder / "code" / name, source)
    return Challenger(path.stem, digest, code, folder, {})


def digest_of(code: Mapping[str, str]) -> str:
    """The hash of a challenger's code, as `Extension.seal` computes it for the copy."""
    hashed = hashlib.sha256()
    for name, text in sorted((name, text.encode()) for name, text in code.items()):
        hashed.update(f"{name} {len(text)} ".encode() + text)
    return hashed.hexdigest()


def source_digest() -> str:
    """The hash of lossbench's own code and of the versions that it computes with: who agrees in it, computes alike."""
    root = Path(__file__).resolve().parents[1]
    hashed = hashlib.sha256(f"{platform.python_version()} {torch.__version__} {np.__version__}".encode())
    for path in sorted(root.rglob("*.py")):
        hashed.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return hashed.hexdigest()


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _possible_setting() -> str:
    """The features of a published network where its package is installed."""
    published = MODELS["efficientnet_lite0"].pretrained
    try:
        assert published is not None
        published.find("efficientnet_lite0")
    except (ValueError, FileNotFoundError):
        return "small_cnn"
    return "features"


def _data(base: RunConfig) -> dict[str, str]:
    """The fingerprint of the images, and the hash of the published weights that look at them."""
    facts = {"dataset": base.dataset, "fingerprint": find_spec(base.dataset).fingerprint}
    published = MODELS[base.model].pretrained
    if base.pretrained and published is not None:
        facts["weights"] = hashlib.sha256(published.find(base.model).read_bytes()).hexdigest()
    return facts


# From runs to words.


def _measured(
    plan: ChallengePlan, declaration: TunedDeclaration, folder: Path, failed: Mapping[str, str]
) -> dict[str, Any]:
    """The runs as plain rows, and what is judged from them; `refusal` where the code failed in some."""
    if failed:
        text = next(iter(failed.values())).partition(" (see ")[0]
        return {"refusal": f"{len(failed)} runs failed: {text}", "declared": declaration.time}
    runs = load_runs(folder, damaged="skip")
    tables = {"trial": trials_table(runs, declaration)}
    for name, changes in CONDITIONS.items():
        entry = next((entry for entry in declaration.conditions if entry["changes"] == changes), None)
        if entry is not None or not changes:
            tables[name] = finals_table(runs, declaration, entry)
    rows = [row for role, table in tables.items() for row in _rows(role, table)]
    facts = {"declared": declaration.time, "plan": declaration.digest, "runs": rows}
    loss = plan.losses[1][0]
    if not any(row["role"] == "clean" and row["loss"] == loss for row in rows):
        return {**facts, "refusal": "every trial of some study diverged, so there is nothing to compare"}
    return {**facts, "judged": judge_rows(rows, loss)}


WINNER = ["loss", "study", "lr", "weight_decay"]  # what its finals share with a winner
COLUMNS = (
    *("run_id", "study", "point", "loss", "loss_params", "lr", "weight_decay", "seed", "status", "seconds"),
    *("val_accuracy", "test_accuracy", "test_macro_f1", "test_ece", "test_nll", "test_brier", "test_images"),
)


def _rows(role: str, table: pd.DataFrame) -> list[dict[str, Any]]:
    text = table[[name for name in COLUMNS if name in table]].to_json(orient="records", double_precision=15)
    return [{"role": role, **row} for row in json.loads(text)]


def judge_rows(rows: Sequence[Mapping[str, Any]], loss: str) -> list[dict[str, Any]]:
    """Every outcome under every condition, by the rule of the protocol; the verdict's comes first."""
    table = pd.DataFrame(rows)
    roles = {name: table[table["role"] == name] for name in JUDGED if (table["role"] == name).any()}
    cells = [(name, metric) for name in roles for metric in JUDGED[name]]
    metrics = dict.fromkeys(metric for _, metric in cells)
    families = [[PRIMARY], *([cell for cell in cells if cell[1] == metric and cell != PRIMARY] for metric in metrics)]
    judged = []
    for family in filter(None, families):
        metric = family[0][1]
        outcome = OUTCOMES[metric]
        pairs = [final_differences(roles[name], metric) for name, _ in family]
        means = [part.groupby("study")["difference"].mean().to_numpy() for part in pairs]
        each = max(1, min(len(part) // max(1, part["study"].nunique()) for part in pairs))
        resolution = 1 / (float(table["test_images"].min()) * each) if outcome.counts_images else 0.0
        judgements = judge(
            means, margin=outcome.margin, resolution=resolution, higher_is_better=outcome.higher_is_better
        )
        for (name, _), part, row in zip(family, pairs, judgements, strict=True):
            own, reference = (roles[name][roles[name]["loss"] == which] for which in (loss, REFERENCE))
            diverged = int((own["status"] != "finished").sum())
            scores = {"own": float(own[metric].mean()), "cross_entropy": float(reference[metric].mean())}
            numbers = {key: getattr(row, key) for key in ("mean", "low", "high", "p", "p_holm", "p_equivalence")}
            counts = {"pairs": len(part), "studies": row.n, "diverged": diverged, "margin": outcome.margin}
            word = "undecided" if diverged else row.verdict
            judged.append({"condition": name, "outcome": metric, **scores, **numbers, **counts, "word": word})
    return judged


def _cost(challenger: Challenger, verdict: Mapping[str, Any]) -> dict[str, Any]:
    """Milliseconds of a step's loss and gradient beside those of cross-entropy, both locked, and of whole runs.

    The fastest of many calls is what the code takes; the median also holds what else the machine did.
    """
    rules = verdict["protocol"]["setting"]
    shape = rules["batch_size"], len(find_spec(rules["dataset"]).class_names)
    plain = write_text(challenger.folder / "plain" / "challenger.py", PLAIN).parent
    codes = {
        challenger.name: (challenger.folder / "code", challenger.digest),
        "plain": (plain, digest_of({"challenger.py": PLAIN})),
    }
    times = seconds_a_step(codes, shape, STEPS)
    # The first half may be for show.
    milliseconds = [[1000 * value for value in calls[len(calls) // 2 :]] for calls in times]
    runs = pd.DataFrame(verdict["runs"])
    run_seconds = runs[runs["role"] == "clean"].groupby("loss")["seconds"].mean()
    steps = rules["epochs"] * -(-rules["train_size"] // rules["batch_size"])
    return {
        "batch": list(shape),
        "steps_timed": STEPS,
        "own_ms": min(milliseconds[0]),
        "cross_entropy_ms": min(milliseconds[1]),
        "medians_ms": [statistics.median(calls) for calls in milliseconds],
        "steps_a_run": steps,
        "own_run_seconds": float(run_seconds[challenger.name]),
        "cross_entropy_run_seconds": float(run_seconds[REFERENCE]),
    }


def committed_tables(setting: Mapping[str, Any]) -> list[tuple[pd.DataFrame, TunedDeclaration]]:
    """The committed tuned studies of a setting: all runs of each, and its declaration."""
    beside = Path(__file__).resolve().parents[2] / "outputs" / "tuned"
    return [
        (load_runs(folder), plan)
        for folder in packed_folders(beside) or packed_folders(SHIPPED / "tuned")
        for plan in declared_tuned(folder)
        if plan.setting == {key: value for key, value in setting.items() if key in plan.setting}
    ]


def _rank(verdict: Mapping[str, Any], declaration: TunedDeclaration) -> dict[str, Any]:
    """Where the loss would stand among committed ones that were tuned in the same setting."""
    rules = verdict["protocol"]
    budget = [rules[name] for name in ("trials", "studies", "finals")]
    tables = committed_tables(declaration.setting)
    if not tables:
        return {"table": [], "why": "no committed study has this setting"}
    rows: dict[str, dict[str, Any]] = {REFERENCE: {"loss": REFERENCE, "mean": 0.0, "low": 0.0, "high": 0.0}}
    accuracies: dict[str, float] = {}
    for runs, plan in tables:
        for row in judge_finals(finals_table(runs, plan), margin=plan.margin).to_dict("records"):
            rows.setdefault(str(row["loss"]), {key: row[key] for key in ("loss", "mean", "low", "high")})
        accuracies |= dict(zip(runs["run_id"], runs["val_accuracy"].astype(float), strict=True))
    first = verdict["judged"][0]
    own = {"loss": verdict["loss"], **{key: first[key] for key in ("mean", "low", "high")}}
    table = sorted([*rows.values(), own], key=lambda row: -row["mean"])
    again = [row for row in verdict["runs"] if row["role"] == "trial" and row["run_id"] in accuracies]
    same = sum(abs(row["val_accuracy"] - accuracies[row["run_id"]]) < 1e-9 for row in again)
    return {
        "table": table,
        "place": 1 + next(i for i, row in enumerate(table) if row is own),
        "of": len(table),
        "trials": tables[0][1].trials,
        "same_budget": [[plan.trials, plan.studies, plan.finals] for _, plan in tables] == [budget] * len(tables),
        "within": [row["loss"] for row in table if row is not own and first["low"] <= row["mean"] <= first["high"]],
        "trials_again": len(again),
        "trials_identical": same,
    }


def _word(verdict: Mapping[str, Any]) -> tuple[str, str]:
    """The word and the sentence of the page."""
    if "refusal" in verdict:
        refused = "asked for" in verdict["refusal"] or "took longer than" in verdict["refusal"]
        word = "refused" if refused else "failed"
        return word, f"{verdict['loss']} is {word}: {verdict['refusal']}"
    first = verdict["judged"][0]
    mean, low, high = (number(100 * first[key], 2, sign=True) for key in ("mean", "low", "high"))
    where = f"{first['pairs']} pairs in {first['studies']} studies"
    points = f"{verdict['loss']} minus cross-entropy, both tuned alike: {mean} [{low}, {high}] points of test accuracy"
    return first["word"], f"{first['word']}: {points}, {where}"


def check(path: str | os.PathLike[str]) -> list[str]:
    """What of a `verdict.json` does not follow from what it holds; empty for one that is whole.

    Hashes, seeds, the choice of the winners, every judged number and the word are computed again from the code, the
    protocol and the runs that the file holds. That the runs are true only a run of the same command shows.
    """
    try:
        verdict = json.loads(Path(path).read_text(encoding="utf-8"))
        digests, rules, loss = verdict["digests"], verdict["protocol"], verdict["loss"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no verdict of lossbench ({error}); name a {NAME}") from error
    wrong = []
    if digest_of(verdict["code"]) != digests["code"]:
        wrong.append("the code has another hash")
    if _digest(rules) != digests["protocol"] or _digest(verdict["data"]) != digests["data"]:
        wrong.append("the protocol or the data have another hash")
    expected = _all_seeds(digests, rules)
    if verdict["seeds"] != expected:
        wrong.append("the seeds do not come from the hashes")
    if "judged" in verdict:
        table = pd.DataFrame(verdict["runs"])
        finals = table[table["role"] != "trial"]
        if any(row["seed"] not in expected[str(row["study"])] for row in finals.to_dict("records")):
            wrong.append("a final has a seed that does not come from the hashes")
        chosen = choose(table[table["role"] == "trial"].reset_index(drop=True))
        ran, won = (set(part[WINNER].itertuples(index=False, name=None)) for part in (finals, chosen))
        if ran != won:
            wrong.append("the finals are not those of the trials with the best validation accuracy")
        again = judge_rows(verdict["runs"], loss)
        for row, stored in zip(again, verdict["judged"], strict=True):
            if row["word"] != stored["word"] or not math.isclose(row["mean"], stored["mean"], abs_tol=1e-12):
                wrong.append(f"{stored['outcome']} ({stored['condition']}) does not follow from the runs")
    if (verdict["word"], verdict["sentence"]) != _word(verdict):
        wrong.append("the word does not follow from the numbers")
    return wrong
