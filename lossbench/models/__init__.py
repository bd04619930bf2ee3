"""Networks: `MODELS["resnet18"](num_outputs, in_channels)` builds one; each returns `Output(logits, embeddings)`."""

from lossbench.models.classifier import TRAINED_LAYERS, Classifier, CosineHead, Output
from lossbench.models.entry import ModelEntry
from lossbench.models.registry import MODELS, download_weights
from lossbench.models.weights import Pretrained

__all__ = [
    "MODELS",
    "TRAINED_LAYERS",
    "Classifier",
    "CosineHead",
    "ModelEntry",
    "Output",
    "Pretrained",
    "download_weights",
]
