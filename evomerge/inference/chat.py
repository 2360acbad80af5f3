"""Apply a model's chat template: messages in, prompt text out."""

from __future__ import annotations

from pathlib import Path

import jinja2
from transformers import AutoTokenizer

from evomerge.errors import UserError

Messages = list[dict[str, str]]


class ChatTemplate:
    """Renders messages by the chat template of a model folder's tokenizer, as lm-eval's own transformers model does.

    Args:
        folder: the model's folder.

    Raises:
        UserError: the tokenizer has no chat template.
    """

    def __init__(self, folder: Path) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        if not self._tokenizer.chat_template:
            raise UserError(
                f"the tokenizer of {folder} has no chat template: leave chat_template and style=chat of the tasks out, "
                "or give a model that was trained to chat"
            )

    def __call__(self, messages: Messages, add_generation_prompt: bool = True) -> str:
        try:
            return self._render(messages, add_generation_prompt)
        except jinja2.TemplateError:
            # Some formats know no system messages.
            return self._render([m for m in messages if m["role"] != "system"], add_generation_prompt)

    def _render(self, messages: Messages, add_generation_prompt: bool) -> str:
        text = self._tokenizer.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )
        assert isinstance(text, str)
        return text
