"""DATASETS: every dataset the papers used, one row each, in the order they are taught."""

from __future__ import annotations

from lossbench.data.dataset import DatasetSpec
from lossbench.data.idx import IDX_FILES, read_idx_dataset
from lossbench.data.shapes import read_shapes

FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
FASHION_CITATION = "Xiao, Rasul, Vollgraf 2017, Fashion-MNIST, arXiv:1708.07747"


def _idx(*digests: str) -> dict[str, str]:
    return dict(zip(IDX_FILES, digests, strict=True))


_ROWS = (
    DatasetSpec(
        "fashion-mini",
        read_idx_dataset,
        class_names=FASHION,
        image_shape=(1, 28, 28),
        train_size=5_000,
        test_size=2_000,
        split="500 + 200 a class out of the official split, those with the smallest sha256",
        licence="MIT",
        citation=FASHION_CITATION,
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
        "fashion-mnist",
        read_idx_dataset,
        class_names=FASHION,
        image_shape=(1, 28, 28),
        train_size=60_000,
        test_size=10_000,
        licence="MIT",
        citation=FASHION_CITATION,
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
    ),
    DatasetSpec(
        "shapes",
        read_shapes,
        class_names=("square", "disc", "cross", "ring"),
        image_shape=(1, 16, 16),
        train_size=400,
        test_size=200,
        split="generated",
        licence="MIT",
        citation="lossbench",
        source="generated",
        fingerprint="734b2d4c7d68d756c34b9838a0be0ac8496f1af6337be90a74b922433103b7d2",
        mean=(0.2146128599877451,),
        std=(0.29561536018419754,),
        embedded=".",
    ),
)

DATASETS: dict[str, DatasetSpec] = {row.name: row for row in _ROWS}
