"""The sandbox of everything a model wrote. One file a mechanism; :mod:`.walls` puts them together, level by level."""

from evomerge.evaluation.judging.sandbox.settings import LEVELS, SandboxSettings, SandboxUnavailable

__all__ = ["LEVELS", "SandboxSettings", "SandboxUnavailable"]
