"""The loop that a tutorial writes: DataLoader, one image at a time through torchvision's transforms, torch's own loss.

It does the same work as `lossbench.run`, so that the two can be timed side by side: same network, same images, same
epochs, same selection on held-out images.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T

from benchmarks.augmentation import THEIRS
from lossbench.config import RunConfig
from lossbench.data import Dataset as Images
from lossbench.data import Split
from lossbench.models import MODELS
from lossbench.training import prepare

Loader = DataLoader[tuple[Tensor, Tensor]]


class Pictures(Dataset[tuple[Tensor, Tensor]]):
    """PIL images, as torchvision's own data sets hold them."""

    def __init__(self, split: Split, transform: T.Compose) -> None:
        self.pictures = [Image.fromarray(image.permute(1, 2, 0).squeeze(-1).numpy()) for image in split.images]
        self.target, self.transform = split.target.tolist(), transform

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        return self.transform(self.pictures[place]), self.target[place]


class Tensors(Dataset[tuple[Tensor, Tensor]]):
    """The same with the images already scaled, as tensors; transforms, where there are any, work on one tensor."""

    def __init__(self, split: Split, mean: Sequence[float], std: Sequence[float], augment: list[Any]) -> None:
        self.images, self.target = split.images.float() / 255, split.target
        self.transform = T.Compose([*augment, T.Normalize(mean, std)]) if augment else None
        if self.transform is None:
            self.images = T.Normalize(mean, std)(self.images)

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        image = self.images[place]
        return (self.transform(image) if self.transform else image), self.target[place]


def make_loaders(
    config: RunConfig, dataset: Images, *, tensors: bool, loader_workers: int
) -> tuple[Loader, Loader, Loader]:
    """Loaders of the training, validation and test images."""
    splits = prepare(config, dataset, torch.device("cpu"))
    augment = [] if config.augmentation == "none" else THEIRS[config.augmentation]
    loaders = []
    for split, mine in ((splits.train, augment), (splits.scored, []), (splits.test, [])):
        if tensors:
            data: Dataset[Any] = Tensors(split, dataset.mean, dataset.std, mine)
        else:
            data = Pictures(split, T.Compose([*mine, T.ToTensor(), T.Normalize(dataset.mean, dataset.std)]))
        loaders.append(
            DataLoader(
                data,
                config.batch_size,
                shuffle=split is splits.train,
                num_workers=loader_workers,
                persistent_workers=loader_workers > 0,
            )
        )
    return loaders[0], loaders[1], loaders[2]


def train_plain(config: RunConfig, dataset: Images, loaders: tuple[Loader, Loader, Loader], device: str) -> float:
    """Train with cross-entropy and Adam, keep the weights of the best epoch, return the test accuracy."""
    torch.manual_seed(config.seed)
    channels, side = dataset.image_shape[0], min(dataset.image_shape[1:])
    model = MODELS[config.model](len(dataset.class_names), channels, image_size=side, pretrained=False).to(device)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.epochs)
    best, best_weights = -1.0, model.state_dict()
    train, validation, test = loaders
    for _ in range(config.epochs):
        model.train()
        running = 0.0
        for images, target in train:
            images, target = images.to(device), target.to(device)
            optimizer.zero_grad()
            loss = criterion(model(images).logits, target)
            loss.backward()
            optimizer.step()
            running += loss.item()
        scheduler.step()
        accuracy = score(model, validation, device)
        if accuracy > best:
            best, best_weights = accuracy, copy.deepcopy(model.state_dict())
    model.load_state_dict(best_weights)
    return score(model, test, device)


@torch.no_grad()
def score(model: nn.Module, loader: Loader, device: str) -> float:
    """Share of right answers."""
    model.eval()
    right = total = 0
    for images, target in loader:
        predicted = model(images.to(device)).logits.argmax(1)
        right += int((predicted == target.to(device)).sum())
        total += len(target)
    return right / total
