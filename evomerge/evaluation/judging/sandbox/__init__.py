"""The sandbox of everything that a model wrote: one file a mechanism.

In reading order:

- ``settings``: levels and limits.
- ``assembly``: put a level together and test that it holds.
- ``bubblewrap``: the strongest level.
- ``namespaces``: the kernel's namespaces.
- ``landlock``: readable folders, enforced by the kernel.
- ``seccomp``: allowed system calls.
- ``limits``: limits of resources.
- ``readable_folders``: Python's own library.
- ``kernel``: system calls that Python lacks.
- ``remove_tree``: remove a folder that hostile code filled.
"""

from evomerge.evaluation.judging.sandbox.settings import LEVELS, SandboxSettings, SandboxUnavailable

__all__ = ["LEVELS", "SandboxSettings", "SandboxUnavailable"]
