"""Make Llama folders with random bfloat16 weights, for benchmarks that need no skill of a model."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig

# vocabulary, width, inner width, layers
SIZES = {"160m": (32000, 1024, 2816, 8), "30m": (8000, 512, 1408, 6), "tiny": (500, 128, 352, 2)}
WEIGHT = 0.02  # standard deviation


def shapes_of(size: str) -> dict[str, tuple[int, ...]]:
    """Parameter name -> shape; embeddings and output head are two matrices."""
    vocabulary, width, inner, layers = SIZES[size]
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocabulary, width)}
    for layer in range(layers):
        at = f"model.layers.{layer}"
        shapes |= {f"{at}.self_attn.{name}_proj.weight": (width, width) for name in "qkvo"}
        shapes |= {f"{at}.mlp.{name}_proj.weight": (inner, width) for name in ("gate", "up")}
        shapes[f"{at}.mlp.down_proj.weight"] = (width, inner)
        shapes |= {f"{at}.{name}_layernorm.weight": (width,) for name in ("input", "post_attention")}
    shapes |= {"model.norm.weight": (width,), "lm_head.weight": (vocabulary, width)}
    return shapes


def write_llama(folder: Path, size: str, tensors: dict[str, torch.Tensor]) -> Path:
    """A model folder with these weights."""
    vocabulary, width, inner, layers = SIZES[size]
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        num_key_value_heads=width // 64,
        tie_word_embeddings=False,
        architectures=["LlamaForCausalLM"],
        dtype="bfloat16",
    )
    folder.mkdir(parents=True)
    config.save_pretrained(folder)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def random_weights(size: str, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Norms are ones, all else normal; bfloat16."""
    return {
        name: (torch.ones(shape) if len(shape) == 1 else WEIGHT * torch.randn(shape, generator=generator)).bfloat16()
        for name, shape in shapes_of(size).items()
    }
