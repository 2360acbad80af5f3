"""Files on disk: written in one step, never over a stranger's. The lowest room: it knows nothing of models.

In reading order:

- ``atomic_output``: output folders and files that appear whole.
- ``overwrite_guard``: what an output may replace.
- ``swap_paths``: swap two paths in one step.
- ``small_files``: write small files in one step.
- ``json_files``: read JSON files of models.
- ``digests``: tell whether files have changed.
- ``package_data``: find conf, tasks and experts.
"""
