"""Where evaluations run: in this process, or on Ray actors.

In reading order:

- ``base``: a worker's exception becomes a recorded failure.
- ``serial``: the pool of one.
- ``machine``: cores and memory of this process.
- ``worker_count``: how many workers, with how many threads.
- ``ray_cluster``: start or join Ray.
- ``ray_pool``: the pool of actors.
"""

import os

# Before any import of ray, which reads them: no report to Ray's makers, no remark about device variables,
# none on standard output about workers that die: the pool says what is to be said.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
