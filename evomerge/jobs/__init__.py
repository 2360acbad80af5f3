"""Jobs: one module each, with the settings that it reads.

In reading order:

- ``registry``: how a job is declared.
- ``search``: search for a merge, and deliver the winner.
- ``merge``: merge by one recipe or mergekit file.
- ``evaluate``: score a model.
- ``extract_lora``: extract an adapter from a model.
- ``latency``: measure speed and memory.
- ``report``: rebuild reports, compare runs.
- ``methods``: list the merge methods.
- ``checked_tasks``: check the settings of tasks.
- ``steps/``: what jobs are made of.
"""
