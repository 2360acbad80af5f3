"""Choose the device and dtype that a model computes in by default."""

from __future__ import annotations

import re
from pathlib import Path

import torch


def default_device() -> str:
    """cuda where there is one, else cpu."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def default_dtype(device: str) -> str:
    """The dtype of half precision that ``device`` is fast in, or float32.

    bfloat16; on processors without instructions for it float32, as products of 64 rows took 3.2 times as long in
    bfloat16 on an AVX-512 processor that has none; float16 on GPUs that compute it and not bfloat16 (before Ampere).
    """
    if device.startswith("cuda"):
        here = torch.cuda.is_available()  # a driver without one decides for the cluster's GPUs
        return "float16" if here and not torch.cuda.is_bf16_supported(including_emulation=False) else "bfloat16"
    return "float32" if device == "cpu" and not computes_bfloat16() else "bfloat16"


def computes_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor has dot products of bfloat16: AVX-512 BF16, AMX or those of ARM, as Linux names them."""
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:  # no Linux
        return False
    flags = next((line for line in lines if re.match(r"(flags|Features)\s*:", line)), "")
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags.split())
