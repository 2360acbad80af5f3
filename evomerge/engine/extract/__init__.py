"""Extract an adapter from a fine-tuned model or a merge.

- ``settings``: what a user sets.
- ``extract``: the pass over all parameters that writes the adapter.
- ``plan``: options, and which parameter goes where in the adapter.
- ``deltas``: the difference to the base of a checkpoint or an adapter.
- ``merge_into_deltas``: the difference to the base of a merge.
- ``rank_selection``: which singular triplets the options ask for.
- ``rank_budget``: ranks by energy, or from a common budget of parameters.
- ``low_rank``: truncated singular value decompositions.
- ``result``: errors and energies of an extraction.
"""
