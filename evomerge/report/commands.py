"""What to run with the winner, to copy."""

from __future__ import annotations

from pathlib import Path

from evomerge.report.run import Run


def shown(folder: Path) -> str:
    """The folder as a person would type it: relative to the working directory where it lies below it."""
    whole = folder.resolve()
    return str(whole.relative_to(Path.cwd())) if whole.is_relative_to(Path.cwd()) else str(whole)


def again(run: Run) -> str:
    """Scores the exported model once more."""
    tasks = ",".join(run.tasks)
    return f"python -m evomerge job=evaluate model={shown(run.folder)}/best/model 'tasks=[{tasks}]' split=test"


def commands(run: Run) -> list[dict[str, str]]:
    """A tab of the report each: its name, what it does, the text to copy. None while there is no winner."""
    if run.winner is None:
        return []
    best = f"{shown(run.folder)}/best"
    found = [
        (
            "transformers",
            "The merged model, in Python",
            "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
            f'model = AutoModelForCausalLM.from_pretrained("{best}/model")\n'
            f'tokenizer = AutoTokenizer.from_pretrained("{best}/model")\n'
            'inputs = tokenizer("def add(a, b):", return_tensors="pt")\n'
            "print(tokenizer.decode(model.generate(**inputs, max_new_tokens=32)[0]))",
        ),
        (
            "peft",
            "The same as a LoRA on the base, in Python",
            "from peft import AutoPeftModelForCausalLM  # reads the base from the adapter's configuration\n"
            f'model = AutoPeftModelForCausalLM.from_pretrained("{best}/lora")',
        ),
        ("vLLM", "The merged model as a server with OpenAI's interface", f"vllm serve {best}/model"),
        (
            "merge again",
            "The winner's recipe into a model folder of your choice",
            f"python -m evomerge job=merge recipe={best}/recipe.yaml out=merged",
        ),
        ("score again", "The exported model on the test items", again(run)),
    ]
    return [{"tab": tab, "title": title, "text": text} for tab, title, text in found]
