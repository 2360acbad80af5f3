"""The command line: from words to a job, and from errors to exit codes.

In reading order:

- ``main``: run the job that the words ask for; the only place that exits.
- ``options``: words that begin with a dash.
- ``overrides``: settings as typed, turned into Hydra's overrides.
- ``choices``: what ``conf/`` offers.
- ``schema``: all settings of all jobs, and those of one job.
- ``compose``: Hydra.
- ``messages``: Hydra's errors in one line.
- ``help``: the text of ``--help``.
"""
