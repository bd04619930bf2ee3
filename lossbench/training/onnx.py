"""A run's network as an ONNX file, which takes uint8 images and gives log-probabilities, scaled as in training."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from lossbench.files import replacing
from lossbench.records.export import require_extra
from lossbench.training.loop import Normalise, log_probs
from lossbench.training.trained import Trained

EXAMPLES = 2  # images to trace with; the file takes any number


class _Pipeline(nn.Module):
    """Images (N, C, H, W) uint8 -> log-probabilities (N, classes)."""

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.model, self.criterion = trained.model, trained.criterion
        scale = trained.training.normalise
        assert isinstance(scale, Normalise)
        self.register_buffer("mean", scale.mean)
        self.register_buffer("std", scale.std)

    def forward(self, images: Tensor) -> Tensor:
        scaled = (images.float() / 255 - self.get_buffer("mean")) / self.get_buffer("std")
        return log_probs(self.criterion, self.model(scaled).logits)


def export_onnx(path: Path, trained: Trained) -> Path:
    """Write the network of a run; class names and the run's id are in the file's metadata. Float32 throughout.

    Raises: ValueError when the extra `onnx` is not installed.
    """
    require_extra("onnx")
    import onnx

    images = torch.zeros((EXAMPLES, *trained.task.image_shape), dtype=torch.uint8)
    batch = torch.export.Dim("images", min=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's exporter, about itself
        program = torch.onnx.export(
            _Pipeline(trained).eval().cpu(),
            (images,),
            dynamo=True,
            input_names=["images"],
            output_names=["log_probs"],
            dynamic_shapes=({0: batch},),
            verbose=False,
        )
    if program is None:
        raise ValueError(f"torch cannot express {trained.record.path.name} in ONNX")
    model = program.model_proto
    facts = {"run_id": trained.record.path.name, "class_names": json.dumps(trained.class_names)}
    onnx.helper.set_model_props(model, facts)
    with replacing(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
    return path
