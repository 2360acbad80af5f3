"""Default device and dtype, from the processor's features and torch's devices."""

from __future__ import annotations

import platform

import pytest
import torch

from evomerge.inference.device import computes_bfloat16, default_dtype

PROCESSORS = {
    "Cascade Lake": ("flags\t\t: fpu vme sse4_2 avx2 avx512f avx512_vnni\nvmx flags\t: bf16\n", False),
    "Zen 4": ("processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16 avx512_vbmi2\n", True),
    "Sapphire Rapids": ("flags\t\t: avx512f amx_bf16 avx512_fp16 amx_tile\n", True),
    "Neoverse N1": ("processor\t: 0\nFeatures\t: fp asimd evtstrm aes asimddp\n", False),
    "Neoverse V1": ("processor\t: 0\nFeatures\t: fp asimd asimddp sve svebf16 i8mm bf16\n", True),
    "POWER": ("processor\t: 0\ncpu\t\t: POWER9\n", False),
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_the_processor_tells_whether_it_computes_bfloat16(name, tmp_path):
    cpuinfo, expected = PROCESSORS[name]
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert computes_bfloat16(tmp_path / "cpuinfo") is expected


def test_no_cpuinfo_means_no(tmp_path):
    assert not computes_bfloat16(tmp_path / "cpuinfo")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="torch tells this of x86_64 alone")
def test_torch_finds_the_same_here():
    assert computes_bfloat16() == (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def test_the_default_is_what_is_fast():
    assert default_dtype("cpu") == ("bfloat16" if computes_bfloat16() else "float32")
    assert default_dtype("xpu") == "bfloat16"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU, whose own dtype is taken")
def test_a_driver_without_gpu_takes_what_current_gpus_compute():
    assert default_dtype("cuda") == default_dtype("cuda:1") == "bfloat16"
