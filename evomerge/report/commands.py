"""Build the commands and lines of Python that a report offers to copy."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evomerge.evaluation.task_settings import setting_defaults
from evomerge.report.run_data import RunData


def shown(folder: Path) -> str:
    """The folder as a person would type it, relative to the working directory if it lies below."""
    whole = folder.resolve()
    if not whole.is_relative_to(Path.cwd()):
        return str(whole)
    below = str(whole.relative_to(Path.cwd()))
    return below if below[0].isalnum() else f"./{below}"  # names that need no quotes


def evomerge(*settings: str) -> str:
    """A command line of evomerge for a shell."""
    return " ".join(["python -m evomerge", *settings])


def setting(key: str, value: object) -> str:
    """``KEY=VALUE`` for a shell, with any text or number as value.

    >>> setting("run", "outputs/a b"), setting("search.budget", 40)
    ("'run=outputs/a b'", 'search.budget=40')
    """
    text = str(value)
    # texts that evomerge would read as something else
    special = isinstance(value, str) and (text != text.strip() or text in ("", "null") or text[0] in "'\"[~")
    return _assigned(key, _quoted(text) if special else text)


def listed(key: str, values: Sequence[object]) -> str:
    """The same for a list.

    >>> listed("ranks", [4, 8])
    "'ranks=[4,8]'"
    """
    plain = re.compile(r"(?!null$)[\w./-]+", re.ASCII)
    return _assigned(key, f"[{','.join(str(v) if plain.fullmatch(str(v)) else _quoted(str(v)) for v in values)}]")


def _assigned(key: str, text: str) -> str:
    return shlex.quote(f"{key}={text}".replace("${", "\\${"))


def _quoted(text: str) -> str:
    """The text in Hydra's quotes, where a backslash escapes only a quote."""
    return "'" + re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + (found[2] and "\\'"), text) + "'"


def task_settings(name: str, task: Mapping[str, Any]) -> list[str]:
    """Settings of a task, from a run's configuration, that differ from the defaults."""
    found = []
    defaults = setting_defaults()
    for key, value in task.items():
        value = tuple(value) if isinstance(value, list) else value
        if key not in ("task", "expert", "objective") and value != defaults.get(key):
            write = listed if isinstance(value, tuple) else setting
            found.append(write(f"tasks.{name}.{key}", value))
    return found


def again(run: RunData) -> str:
    """Command that scores the exported model again, on the same items in the same way."""
    own = [text for name in run.tasks for text in task_settings(name, run.config["tasks"][name])]
    model = setting("model", f"{shown(run.folder)}/best/model")
    dtype = run.config.get("backend", {}).get("dtype")
    own += [] if dtype is None else [setting("backend.dtype", dtype)]
    return evomerge("job=evaluate", model, listed("tasks", run.tasks), *own, "split=test")


def rebuild(*runs: RunData) -> str:
    """Command that writes the report, or the comparison of several runs."""
    folders = [shown(run.folder) for run in runs]
    return evomerge("job=report", setting("run", folders[0]) if len(runs) == 1 else listed("run", folders))


def of_candidate(run: RunData, number: int, recipe: str | None) -> str:
    """Command that writes a candidate's model, from its file ``recipe`` in the run folder if it has one."""
    out, folder = f"merged-{number:03d}", shown(run.folder)
    if recipe is not None:
        return evomerge("job=merge", setting("recipe", f"{folder}/{recipe}"), f"out={out}")
    line = f'from evomerge import Run; Run({_python(folder)}).materialize({number}, "{out}")'
    return f"python -c {shlex.quote(line)}"


def commands(run: RunData) -> list[dict[str, str]]:
    """Tabs of the report, each with a name, a description and the text to copy; empty while there is no winner."""
    if run.winner is None:
        return []
    best = f"{shown(run.folder)}/best"
    model, lora = _python(f"{best}/model"), _python(f"{best}/lora")
    found = [
        (
            "transformers",
            "The merged model, in Python",
            "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
            f"model = AutoModelForCausalLM.from_pretrained({model})\n"
            f"tokenizer = AutoTokenizer.from_pretrained({model})\n"
            'inputs = tokenizer("def add(a, b):", return_tensors="pt")\n'
            "print(tokenizer.decode(model.generate(**inputs, max_new_tokens=32)[0]))",
        ),
        (
            "peft",
            "The same as a LoRA on the base, in Python",
            "from peft import AutoPeftModelForCausalLM  # reads the base from the adapter's configuration\n"
            f"model = AutoPeftModelForCausalLM.from_pretrained({lora})",
        ),
        (
            "vLLM",
            "The merged model as a server with OpenAI's interface",
            f"vllm serve {shlex.quote(f'{best}/model')}",
        ),
        (
            "merge again",
            "The winner's recipe into a model folder of your choice",
            evomerge("job=merge", setting("recipe", f"{best}/recipe.yaml"), "out=merged"),
        ),
        ("score again", "The exported model on the test items", again(run)),
    ]
    return [{"tab": tab, "title": title, "text": text} for tab, title, text in found]


def _python(text: str) -> str:
    """The value as a Python literal."""
    return json.dumps(text, ensure_ascii=False)
