"""What a study says of itself where nobody watches."""

from __future__ import annotations

from lossbench.config import RunConfig
from lossbench.progress import StudyBar

CONFIGS = [RunConfig(epochs=2, seed=seed) for seed in range(40)]


def test_in_a_log_a_study_writes_a_line_now_and_then(capsys):
    with StudyBar(CONFIGS) as bar:
        bar.say("a message")
        for config in CONFIGS:
            bar.epoch(config, 1)
            bar.finish(config, {"test_accuracy": 0.5, "label": "focal", "probability": "softmax"})
    written = capsys.readouterr().err
    lines = written.splitlines()
    assert "\r" not in written
    assert len(lines) == 3  # its beginning, the message, its end
    assert lines[0].startswith("0/40 runs,   0%")
    assert lines[1] == "a message"
    assert lines[2].startswith("40/40 runs, 100%")
    assert lines[2].endswith("best 0.5000 focal, softmax")


def test_a_bar_that_is_not_asked_for_writes_nothing(capsys):
    with StudyBar(CONFIGS, disable=True) as bar:
        bar.finish(CONFIGS[0], None)
    assert capsys.readouterr().err == ""
