"""The command line: from words to a job, and from errors to exit codes.

In reading order:

- ``main``: run the command; the only place that exits.
- ``options``: words that begin with a dash.
- ``overrides``: settings as Hydra's overrides.
- ``choices``: groups and names in ``conf/``.
- ``schema``: all settings of all jobs.
- ``compose``: let Hydra compose them.
- ``messages``: Hydra's errors in one line.
- ``help``: the text of ``--help``.
"""
