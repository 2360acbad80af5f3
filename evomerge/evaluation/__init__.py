"""Evaluate models: a worker holds a model and tasks, and turns a recipe into scores of items.

In reading order:

- ``worker``: score one recipe or model folder after another.
- ``worker_settings``: make a worker's specification from plain settings.
- ``worker_memory``: estimate how much memory a worker takes.
- ``task_base``: what a task is, and asking a backend for answers.
- ``learning_targets``: answers that a merge can learn from.
- ``task_settings``: check the settings ``tasks.NAME.*``.
- ``task_files``: find the YAML files of tasks.
- ``tasks``: load tasks by name.
- ``judged_task``: tasks whose answers a scorer judges in the sandbox.
- ``documents``: read rows of data files.
- ``data``: cut documents into search, selection and test items.
- ``scorers/``: one file or folder a scorer.
- ``judging/``: the judge's process and its sandbox.
- ``harness_task``: any task of lm-evaluation-harness.
- ``harness_index``: find lm-eval's tasks and load them without its offline traps.
- ``lm_eval_functions``: what the YAML files of judged tasks call.
- ``lm_eval_adapter``: lm-eval on a backend of evomerge.
"""
