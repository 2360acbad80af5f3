"""Extract an adapter from a fine-tuned model or a merge.

- ``settings``: settings of the adapter's content.
- ``extract``: pass over all parameters and write the adapter.
- ``plan``: options, and the way of each parameter into the adapter.
- ``deltas``: read a checkpoint or an adapter as its difference to the base.
- ``merge_into_deltas``: read a merge as its difference to the base.
- ``rank_selection``: select singular triplets by the options.
- ``rank_budget``: choose ranks by energy, or from a common budget of parameters.
- ``low_rank``: truncated singular value decompositions.
- ``result``: errors and energies of an extraction.
"""
