"""The training loop, where a whole run does not show it."""

from __future__ import annotations

import pytest
import torch

from lossbench import RunConfig
from lossbench.data import load
from lossbench.runner import prepare, start
from lossbench.train import evaluate, predict


@pytest.mark.parametrize("loss", ["triplet", "contrastive", "n_pair"])
def test_a_loss_that_compares_images_is_scored_in_batches_of_the_training(loss: str) -> None:
    # All triplets of 5,000 images would take 500 GB.
    config = RunConfig(dataset="shapes", batch_size=16, loss=loss)
    dataset = load(config.dataset)
    splits = prepare(config, dataset, torch.device("cpu"))
    training = start(config, dataset, splits.train, torch.device("cpu"))
    embeddings, target = predict(training, splits.test)[0].embeddings, splits.test.target
    parts = list(zip(embeddings.split(16), target.split(16), strict=True))
    expected = [training.criterion(*part).item() * len(part[1]) for part in parts]
    sizes: list[int] = []
    training.criterion.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    assert evaluate(training, splits.test)["loss"] == pytest.approx(sum(expected) / len(target), rel=1e-5)
    assert max(sizes) <= 16
    assert sum(sizes) == len(target)
