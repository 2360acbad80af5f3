"""Samplers by name: one module each; importing it registers it in :data:`evomerge.search.samplers.base.SAMPLERS`."""

from evomerge.search.samplers.base import SAMPLERS, SamplerKind, SamplerSetup

__all__ = ["SAMPLERS", "SamplerKind", "SamplerSetup"]
