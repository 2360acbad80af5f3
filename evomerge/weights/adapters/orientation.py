"""Find the weights that a model stores as (in, out), as GPT-2's Conv1D layers do."""

from __future__ import annotations

from evomerge.errors import UserError
from evomerge.weights.checkpoint import Checkpoint, find_name


def has_transposed_shapes(base: Checkpoint) -> bool:
    """Whether some bias has the length of its weight's second dimension: linear layers never look like that."""
    return bool(_transposed_by_shape(base))


def transposed_weights(base: Checkpoint) -> frozenset[str]:
    """Names of the base's weights that belong to Conv1D layers.

    Square weights look the same either way, and PEFT's ``fan_in_fan_out`` tells only about the last layer it adapted,
    so the model's class decides: it is built without memory for its weights.

    Raises:
        UserError: transformers does not know the class, or there is no configuration and a weight is square.
    """
    if base.raw:
        names = _transposed_by_shape(base)
        square = [name for name in base.names if len(shape := base.shape(name)) == 2 and shape[0] == shape[1]]
        if names and square:
            raise UserError(
                f"{base.path} stores some weights transposed, and without a config.json nobody can tell whether "
                f"'{square[0]}' is one: give the model folder instead of the file"
            )
        return names
    # imported here: it takes seconds, and few models need it
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.pytorch_utils import Conv1D

    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base.folder))
    except (ValueError, OSError, KeyError, ImportError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"cannot tell which layers of {base.folder} store transposed weights ({reason}): merge the adapter into "
            "its base with peft's merge_and_unload and give the resulting model folder instead"
        ) from error
    known = set(base.names)
    found = (find_name(f"{path}.weight", known) for path, layer in model.named_modules() if isinstance(layer, Conv1D))
    return frozenset(name for name in found if name is not None)


def _transposed_by_shape(base: Checkpoint) -> frozenset[str]:
    found = set()
    for name in base.names:
        bias = name.removesuffix(".weight") + ".bias"
        if name.endswith(".weight") and bias in base and len(base.shape(name)) == 2:
            rows, columns = base.shape(name)
            if rows != columns and base.shape(bias) == (columns,):
                found.add(name)
    return frozenset(found)
