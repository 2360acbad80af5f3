"""Chat templates by name, with the names of mergekit's key ``chat_template``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from evomerge.errors import UserError, nearest

_CHATML = """\
{%- for message in messages -%}
{{ '<|im_start|>' ~ message.role ~ '\\n' ~ message.content ~ '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}
"""

# Llama 3's template writes the start-of-text token once, and trims messages.
_LLAMA3 = """\
{{- bos_token -}}
{%- for message in messages -%}
{{ '<|start_header_id|>' ~ message.role ~ '<|end_header_id|>\\n\\n' ~ message.content | trim ~ '<|eot_id|>' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif -%}
"""

# Mistral has no system turn: the first question starts with the system's text.
_MISTRAL = """\
{%- set ns = namespace(before='', turn='user') -%}
{{ bos_token }}
{%- for message in messages -%}
{%- if loop.first and message.role == 'system' -%}
{%- set ns.before = message.content ~ '\\n\\n' -%}
{%- elif message.role != ns.turn -%}
{{ raise_exception('after an optional system message, turns must go user, assistant, user, ...') }}
{%- elif message.role == 'user' -%}
{{ ' [INST] ' ~ ns.before ~ message.content ~ ' [/INST]' }}
{%- set ns.before = '' -%}
{%- set ns.turn = 'assistant' -%}
{%- else -%}
{{ ' ' ~ message.content ~ eos_token }}
{%- set ns.turn = 'user' -%}
{%- endif -%}
{%- endfor -%}
"""

# Exaone starts with a system turn, which may be empty; only turns of system and assistant have an end token.
_EXAONE = """\
{%- for message in messages -%}
{%- if loop.first and message.role != 'system' -%}{{ '[|system|][|endofturn|]\\n' }}{%- endif -%}
{{ '[|' ~ message.role ~ '|]' ~ message.content ~ ('\\n' if message.role == 'user' else '[|endofturn|]\\n') }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '[|assistant|]' }}{%- endif -%}
"""

_ALPACA = """\
{%- set titles = {'user': '### Instruction:\\n', 'assistant': '### Response:\\n', 'user_context': '### Input:\\n'} -%}
{%- for message in messages if message.role in titles or message.role == 'system' -%}
{{ titles.get(message.role, '') ~ message.content | trim ~ ('' if loop.last else '\\n\\n') }}
{%- endfor -%}
{%- if add_generation_prompt and messages[-1].role != 'assistant' -%}{{ '\\n\\n### Response:\\n' }}{%- endif -%}
"""

CHAT_TEMPLATES = {
    "alpaca": _ALPACA,
    "chatml": _CHATML,
    "exaone": _EXAONE,
    "llama3": _LLAMA3,
    "mistral": _MISTRAL,
}


def choose_chat_template(wanted: str, templates: Sequence[str | None]) -> str | None:
    """The Jinja text of a ``chat_template`` setting.

    Args:
        wanted: ``auto`` (the most common among ``templates``; of equally common ones the first), name of a bundled
            template, or Jinja text.
        templates: templates of the input models; None for models without one.

    Raises:
        UserError: ``wanted`` is neither a name nor a Jinja text.
    """
    if wanted == "auto":
        found = Counter(template for template in templates if template)
        return found.most_common(1)[0][0] if found else None  # a Counter keeps the order of first appearance
    if wanted in CHAT_TEMPLATES:
        return CHAT_TEMPLATES[wanted]
    if "{" not in wanted:
        raise UserError(
            f"chat_template must be auto, a known name or a Jinja text, got {wanted!r}: "
            f"{nearest(wanted, ['auto', *CHAT_TEMPLATES])}"
        )
    return wanted
