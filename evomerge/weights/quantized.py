"""Refuse checkpoints that store quantization codes instead of numbers."""

from __future__ import annotations

from pathlib import Path

from evomerge.errors import UserError
from evomerge.weights.checkpoint import Checkpoint

# Tensors that quantized checkpoints store beside or instead of a weight: GPTQ and AWQ, bitsandbytes, FP8, MXFP4, and
# compressed-tensors, in this order.
_PARTS = (
    ".qweight", ".qzeros", ".g_idx",
    ".SCB", ".absmax", ".quant_map",
    "_scale_inv", ".weight_scale", ".input_scale",
    "_blocks", "_scales",
    ".weight_packed",
)  # fmt: skip


def plain_checkpoint(path: Path) -> Checkpoint:
    """A checkpoint whose stored values are the model's parameters.

    Raises:
        UserError: the checkpoint is quantized, or there is none.
    """
    checkpoint = Checkpoint(path)
    found = _quantized(checkpoint)
    if found is not None:
        raise UserError(
            f"{path} is quantized ({found}), and codes cannot be merged: give the model that it was made from, or "
            "dequantize it once with transformers (model.dequantize(), then save_pretrained)"
        )
    return checkpoint


def _quantized(checkpoint: Checkpoint) -> str | None:
    """The sign that the checkpoint is quantized; None if there is none."""
    for config in (checkpoint.config, checkpoint.config.get("text_config")):
        stated = config.get("quantization_config") if isinstance(config, dict) else None
        if stated:
            return f"quant_method={stated.get('quant_method')}" if isinstance(stated, dict) else str(stated)
    for name in checkpoint:
        if name.endswith(_PARTS):
            return f"it stores '{name}'"
        dtype = checkpoint.dtype(name)
        if name.endswith(".weight") and (dtype.itemsize == 1 or not dtype.is_floating_point):
            return f"'{name}' is stored as {str(dtype).removeprefix('torch.')}"
    return None
