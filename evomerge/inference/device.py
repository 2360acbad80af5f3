"""Choose the device and dtype that a model computes in by default."""

from __future__ import annotations

import re
from pathlib import Path

import torch


def default_device() -> str:
    """``cuda`` if torch sees a GPU, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def default_dtype(device: str) -> str:
    """The half-precision dtype that ``device`` computes fast, else float32.

    bfloat16 in general; float16 on GPUs before Ampere, which do not compute bfloat16; float32 on processors without
    instructions for bfloat16: there, products of 64 rows took 3.2 times as long in bfloat16 (AVX-512, measured).
    """
    if device.startswith("cuda"):
        here = torch.cuda.is_available()  # a driver without a GPU decides for the cluster's GPUs
        return "float16" if here and not torch.cuda.is_bf16_supported(including_emulation=False) else "bfloat16"
    return "float32" if device == "cpu" and not computes_bfloat16() else "bfloat16"


def computes_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor has dot products of bfloat16: AVX-512 BF16, AMX or those of ARM, as Linux names them."""
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:  # not Linux
        return False
    flags = next((line for line in lines if re.match(r"(flags|Features)\s*:", line)), "")
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags.split())
