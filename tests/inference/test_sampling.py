"""Seeded samples: the softmax's frequencies, the same in any batch."""

from __future__ import annotations

import torch

from evomerge.inference.backend import GenerationRequest
from evomerge.inference.backends.hf import HFBackend
from evomerge.inference.next_token import sample


def test_frequencies_are_the_softmaxs():
    logits = torch.tensor([1.0, 0.0, -1.0, 2.0])
    drawn = [sample(logits, GenerationRequest("x", (), 1, temperature=0.5, seed=seed), 0) for seed in range(4000)]
    found = torch.bincount(torch.tensor(drawn), minlength=4) / len(drawn)
    assert torch.allclose(found, torch.softmax(logits / 0.5, -1), atol=0.03)


def test_a_sample_depends_on_its_seed_and_not_on_the_batch(pico_model):
    backend = HFBackend(pico_model(dtype="float32", initializer_range=0.3), dtype="float32", batch_size=3)
    prompts = ("SELECT name", "def add(a, b):", "Ada is", "salary")
    requests = [GenerationRequest(p, (), 8, temperature=1.0, seed=seed) for p in prompts for seed in (1, 2)]
    greedy = [GenerationRequest(p, (), 8) for p in prompts]
    together = backend.generate([*requests, *greedy])
    assert together[:8] == [backend.generate([request])[0] for request in requests]
    assert together[8:] == backend.generate(greedy)
    assert sum(a != b for a, b in zip(together[:8:2], together[1:8:2], strict=True)) >= 3
    assert backend.can_sample
