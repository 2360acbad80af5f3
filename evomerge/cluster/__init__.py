"""Where evaluations run: in this process, or on Ray actors."""

import os

# Before any import of ray, which reads them: no report to Ray's makers, no remark about device variables,
# none on standard output about workers that die: the pool says what is to be said.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
