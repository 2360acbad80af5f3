"""Refuse NaN and infinite values in a merge, and name the model that they come from."""

from __future__ import annotations

import torch

from evomerge.errors import UserError


def damaged(whose: str, name: str) -> UserError:
    """The error for a model with NaN or infinity in a parameter."""
    return UserError(
        f"{whose} holds NaN or infinity in '{name}': its training diverged or the file is damaged; use an earlier "
        "checkpoint or download it again"
    )


def overflow(name: str, dtype: torch.dtype) -> UserError:
    """The error for a merged parameter with NaN or infinity though its inputs are finite."""
    cure = "use smaller weights" + (" or dtype bfloat16" if dtype == torch.float16 else "")
    kind = str(dtype).removeprefix("torch.")
    return UserError(f"the merge gives NaN or infinity in '{name}', for its values leave the range of {kind}: {cure}")
