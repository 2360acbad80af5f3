"""Where evaluations run: in this process, or on Ray actors.

In reading order:

- ``settings``: what a user sets of a pool.
- ``base``: a worker's exception becomes a recorded failure.
- ``serial``: the pool of one.
- ``machine``: cores and memory of this process.
- ``worker_count``: how many workers, with how many threads.
- ``ray_cluster``: start or join Ray.
- ``ray_pool``: the pool of actors.
"""

import os

# Set before ray is imported, which reads them: no usage reports, no warning about device variables, no lines on
# standard output about workers that die (the pool reports those).
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
