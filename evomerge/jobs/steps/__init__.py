"""Steps that jobs are made of; a job loads them when it runs.

In reading order:

- ``model_names``: model names as typed.
- ``open_workers``: workers from a job's settings.
- ``open_space``: the search space from its settings.
- ``identity``: what makes scores of a run comparable.
- ``terminal_view``: progress of a search.
- ``score_references``: score the experts that are no anchors.
- ``scored_once``: score models, each once, and keep the scores.
- ``learn_profile``: weights per layer, learned before the search.
- ``choose_winner``: the winner, and the better of two adapters.
- ``export_winner``: best/model and best/lora.
- ``random_control``: a random adapter of the winner's size.
- ``score_on_test_items``: the final table.
- ``phases``: seconds of each phase of a run.
- ``environment``: versions and machine.
- ``measure_latency``: times and sizes, as tables and JSON.
- ``push_winner``: upload to the hub.
- ``merge_models``: merge by a recipe or a mergekit file.
- ``merge_card``: model card of a merge.
- ``combine_adapters``: LoRA adapters into one adapter.
- ``bytes_progress``: progress of bytes written.
- ``extraction_origin``: base and model of an extraction.
- ``extract_adapter``: write one adapter, print a summary.
- ``rank_curve``: an adapter of each rank, scored.
"""
