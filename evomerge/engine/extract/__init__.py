"""A LoRA adapter extracted from a model's difference to its base.

In reading order:

- ``settings``: what a user sets.
- ``deltas``: the difference, parameter by parameter.
- ``merge_into_deltas``: the difference that a merge makes.
- ``plan``: what becomes of each parameter.
- ``low_rank``: truncated singular value decompositions.
- ``rank_budget``: ranks by energy or by a budget.
- ``rank_selection``: the singular triplets to keep.
- ``extract``: the extraction itself.
- ``result``: errors and energies.
"""
