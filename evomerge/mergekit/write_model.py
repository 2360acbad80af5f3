"""Write the model of a planned mergekit merge: weights, configuration, tokenizer, chat template."""

from __future__ import annotations

import shutil
from pathlib import Path

from evomerge.engine.dense.write_tensors import Progress, write_tensors
from evomerge.files.json_files import read_json
from evomerge.mergekit.plan import MergePlan
from evomerge.weights.stream_writer import MAX_SHARD_BYTES, companions, write_json
from evomerge.weights.tokenizers.chat_templates import choose_chat_template


def write_plan(
    plan: MergePlan,
    target: Path,
    progress: Progress = lambda written, total: None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    threads: int | None = None,
) -> None:
    """Write a planned mergekit merge to a model folder or a raw file of weights.

    Raises:
        UserError: the output is a folder for raw weights, or a file for a model.
    """
    folder = plan.donor.checkpoint.folder

    def complete(work: Path) -> None:
        if plan.vocabulary is not None:
            plan.vocabulary.tokenizer.save(work)
            tokenizer, origin = plan.vocabulary.tokenizer, plan.vocabulary.origin.checkpoint
            for place in (origin.folder, folder):  # the generation configuration's end tokens depend on the tokenizer
                generation = place / "generation_config.json"
                if generation.is_file():
                    content = read_json(generation)
                    ids = content if place == origin.folder else origin.config
                    write_json(work / generation.name, tokenizer.configured(content, ids))
                    break
        elif plan.chat_template is not None:
            # imported late: transformers takes a second to load, and few merges need it
            from evomerge.weights.tokenizers.output_tokenizer import chat_template_of, write_chat_template

            template = choose_chat_template(plan.chat_template, [chat_template_of(model) for model in plan.folders])
            if template is not None:
                settings = folder / "tokenizer_config.json"
                if settings.is_file():  # copy, so that no old template stays in it
                    shutil.copyfile(settings, work / settings.name)
                write_chat_template(work, template)

    write_tensors(
        plan.tensors,
        target,
        config=plan.config,
        files=() if plan.config is None else companions(folder, tokenizer=plan.vocabulary is None),
        complete=complete,
        progress=progress,
        max_shard_bytes=max_shard_bytes,
        threads=threads,
    )
