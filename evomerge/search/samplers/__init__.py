"""Samplers by name: one module each, registered in :data:`SAMPLERS` when it is imported.

- ``base``: what a sampler plug-in declares.
- ``gp``: Gaussian processes, the default.
- ``cmaes``, ``nsga2``, ``tpe``: evolution strategy, genetic algorithm, Parzen estimators.
- ``random``, ``qmc``: uniform draws, and a Sobol' sequence that covers the space evenly.
"""

from evomerge.search.samplers.base import SAMPLERS, SamplerKind, SamplerSetup

__all__ = ["SAMPLERS", "SamplerKind", "SamplerSetup"]
