"""Steps of jobs, each loaded by the jobs that need it, when they run.

In reading order:

- ``model_names``: model names on the command line.
- ``open_space``: the search space from its settings.
- ``open_workers``: the workers from their settings.
- ``identity``: what makes scores of a run folder comparable.
- ``terminal_view``: what a person sees during a search.
- ``scored_once``: score outside the search loop, once.
- ``choose_winner``: choose the winner on the selection items.
- ``export_winner``: write the winner.
- ``score_on_test_items``: score it and the anchors on the test items.
- ``phases``: seconds of each phase.
- ``environment``: versions and machine.
- ``push_winner``: upload the winner.
- ``merge_models``: merge by a recipe or mergekit file.
- ``merge_card``: the model card of a merge.
- ``combine_adapters``: combine adapters into one.
- ``bytes_progress``: progress over bytes written.
- ``extraction_origin``: what an adapter is extracted from.
- ``extract_adapter``: write one adapter.
- ``rank_curve``: an adapter of each rank, scored.
- ``measure_latency``: speed and memory of a model.
"""
