"""Jobs: one module each, with the settings that it reads.

In reading order:

- ``registry``: what a job is.
- ``search``: search for a merge, choose the winner, deliver it.
- ``merge``: merge by one recipe.
- ``evaluate``: score a model on tasks.
- ``extract_lora``: write a LoRA adapter of a model.
- ``latency``: measure speed and memory.
- ``report``: rebuild reports, compare runs.
- ``methods``: list the merge methods.
- ``space``: print the search space.
- ``checked_tasks``: check the settings of a job's tasks.
- ``steps/``: what jobs are made of; loaded when a job runs.
"""
