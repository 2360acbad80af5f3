"""Build the tokenizer of a merge: the base's, a model's, or the union of all (mergekit's ``tokenizer``)."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer
from transformers import AutoTokenizer

from evomerge.errors import UserError
from evomerge.weights.tokenizers.chat_templates import choose_chat_template
from evomerge.weights.tokenizers.vocabulary import Alignment, TokenRow, Vocabulary, align

# All files of a tokenizer. Remove them before writing: transformers would read left-over files of another tokenizer.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "chat_template.jinja",
    "chat_template.json",
)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InputModel:
    """A model whose tokenizer takes part: its folder, and the number of its embedding's rows."""

    folder: Path
    rows: int


@dataclass(frozen=True)
class TokenizerSettings:
    """mergekit's ``tokenizer_source`` or ``tokenizer``, and ``chat_template``.

    Attributes:
        source: source of the vocabulary, ``base``, ``union``, or the name of a model.
        tokens: entries for single tokens; the vocabulary gets those that it lacks.
        pad_to_multiple_of: number whose multiple the number of tokens is rounded up to, for the embedding's number of
            rows. None: the embedding keeps all rows of the tokenizer's model, even beyond the last token (mergekit
            would cut them).
        chat_template: ``auto``, name of a bundled template, Jinja text, or None for the tokenizer's own template.
    """

    source: str = "union"
    tokens: Mapping[str, TokenRow] = field(default_factory=dict)
    pad_to_multiple_of: int | None = None
    chat_template: str | None = None


@dataclass(frozen=True)
class OutputTokenizer:
    """A merge's tokenizer, and the layout of its embedding.

    Attributes:
        origin: model that the tokenizer comes from, perhaps with more tokens.
        inputs: vocabulary of each model.
        tokens: row of the output by token.
        rows: length of the output embedding, ``vocab_size`` in ``config.json``.
        padding: first row of new padding.
    """

    origin: str
    inputs: Mapping[str, Vocabulary]
    tokens: Mapping[str, int]
    rows: int
    padding: int
    base: str | None
    overrides: Mapping[str, TokenRow]
    chat_template: str | None
    # the folder of an unchanged tokenizer, or a changed transformers tokenizer
    _tokenizer: Path | Any = field(repr=False)

    def align(self, models: Sequence[str]) -> Alignment:
        """Row of each model for each output row, for the models that have this embedding (or output head)."""
        inputs = {name: self.inputs[name] for name in models}
        return align(inputs, self.tokens, self.rows, self.padding, self.base, self.overrides)

    def configured(self, config: Mapping[str, Any], origin: Mapping[str, Any]) -> dict[str, Any]:
        """A merge's config.json or generation_config.json with this vocabulary and its special tokens.

        Args:
            config: configuration, perhaps of another model, with other end tokens than this tokenizer's template.
            origin: configuration of :attr:`origin`, or another mapping with the numbers of its special tokens.
        """
        return self.renumbered(_with_special_tokens(config, origin), self.origin)

    def renumbered(self, config: Mapping[str, Any], model: str) -> dict[str, Any]:
        """A config.json or generation_config.json of ``model``, with the output's ``vocab_size`` and ``*_token_id``."""
        texts = {row: token for token, row in self.inputs[model].tokens.items()}

        def moved(row: Any) -> Any:
            if isinstance(row, list):
                return [moved(each) for each in row]
            return self.tokens.get(texts.get(row, ""), row) if isinstance(row, int) else row

        return {
            key: self.renumbered(value, model)
            if key == "text_config"
            else self.rows
            if key == "vocab_size"
            else moved(value)
            if key.endswith("_token_id")
            else value
            for key, value in config.items()
        }

    def save(self, folder: Path) -> None:
        """Write the tokenizer into an existing folder, and replace any other there."""
        for name in TOKENIZER_FILES:
            (folder / name).unlink(missing_ok=True)
        if isinstance(self._tokenizer, Path):
            for name in TOKENIZER_FILES:
                if (self._tokenizer / name).is_file():
                    shutil.copyfile(self._tokenizer / name, folder / name)
        else:
            try:
                self._tokenizer.save_pretrained(folder)
            except Exception as error:  # the Rust writer raises no narrower class for a full disk
                number = re.search(r"\(os error (\d+)\)", str(error))
                if number is None:
                    raise
                raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
        if self.chat_template is not None:
            write_chat_template(folder, self.chat_template)


def build_tokenizer(
    settings: TokenizerSettings, models: Mapping[str, InputModel], base: str | None = None
) -> OutputTokenizer:
    """Build the output tokenizer of a merge. Models without tokenizer files use the base's.

    As in mergekit, the union is the base's tokenizer plus all tokens of the others, added at its end in the order of
    the models and of their token numbers. The tokenizer matches added tokens in a text before it applies the base's
    rules.

    Args:
        settings: settings of the tokenizer.
        models: models by name, in the order of the merge.
        base: name of the base; None: the first model's tokenizer serves as base, but its rows get no preference.

    Raises:
        UserError: a tokenizer cannot be read, or the settings name a missing model, token or row.
    """
    first = base or next(iter(models))
    loaded = {
        name: _load(models[name])
        for name in (first, *(name for name in models if name != first))
        if name in (first, settings.source) or _has_tokenizer(models[name].folder)
    }
    for name, model in models.items():
        if name not in loaded:
            _log.warning("%s has no tokenizer: taken to have the tokens of %s", model.folder, first)
    inputs = {
        name: Vocabulary(loaded.get(name, loaded[first]).get_vocab(), model.rows) for name, model in models.items()
    }
    origin = first if settings.source in ("base", "union") else settings.source
    if origin not in models:
        raise UserError(
            f"tokenizer source must be base, union or one of the merged models ({', '.join(models)}), got {origin}"
        )
    templates = [_template(tokenizer) for tokenizer in loaded.values()]
    tokenizer = loaded[origin]
    # as in mergekit, only a tokenizer chosen by its model's name keeps tokens without a row
    changed = settings.source in ("base", "union") and _strip(tokenizer, models[first].rows)
    if settings.source == "union":
        changed |= _add_all(tokenizer, loaded, models)
    known = tokenizer.get_vocab()
    changed |= bool(tokenizer.add_tokens([token for token in settings.tokens if token not in known]))
    tokens = tokenizer.get_vocab()
    length = max(tokens.values()) + 1
    rows, padding = _rows(settings.pad_to_multiple_of, length, models[origin].rows)
    return OutputTokenizer(
        origin,
        inputs,
        tokens,
        rows,
        padding,
        base,
        settings.tokens,
        None if settings.chat_template is None else choose_chat_template(settings.chat_template, templates),
        tokenizer if changed else models[origin].folder,
    )


def write_chat_template(folder: Path, template: str) -> None:
    """Give the tokenizer in ``folder`` this Jinja text as its only chat template."""
    (folder / "chat_template.json").unlink(missing_ok=True)
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    path = folder / "tokenizer_config.json"
    if path.is_file():
        config = json.loads(path.read_text(encoding="utf-8"))
        if config.pop("chat_template", None) is not None:
            path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def chat_template_of(folder: Path) -> str | None:
    """The chat template of the tokenizer in a model folder; None if there is no template or no tokenizer."""
    return _template(_read(folder)) if _has_tokenizer(folder) else None


def _with_special_tokens(config: Mapping[str, Any], origin: Mapping[str, Any]) -> dict[str, Any]:
    mixed = {key: value for key, value in config.items() if not key.endswith("_token_id")}
    mixed |= {key: value for key, value in origin.items() if key.endswith("_token_id")}
    inner, of_origin = config.get("text_config"), origin.get("text_config")
    if isinstance(inner, dict) and isinstance(of_origin, dict):
        mixed["text_config"] = _with_special_tokens(inner, of_origin)
    return mixed


def _rows(multiple: int | None, length: int, embedding: int) -> tuple[int, int]:
    """Length of the output embedding, and the first row of its padding."""
    if multiple is None:
        rows = max(length, embedding)
        return rows, rows
    if isinstance(multiple, bool) or not isinstance(multiple, int) or multiple < 1:
        raise UserError(f"pad_to_multiple_of must be a whole number above 0, got {multiple!r} (tokenizer)")
    return -(-length // multiple) * multiple, length


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in TOKENIZER_FILES if not name.startswith("chat_template"))


def _load(model: InputModel) -> Any:
    if not _has_tokenizer(model.folder):
        raise UserError(f"{model.folder} has no tokenizer: copy its tokenizer files there, or choose another source")
    return _read(model.folder)


def _read(folder: Path) -> Any:
    try:
        return AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # transformers passes on errors of any class from its parsers
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"cannot read the tokenizer in {folder} ({reason}): save it again with transformers") from error


def _template(tokenizer: Any) -> str | None:
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    return template.strip() or None if template else None


def _add_all(tokenizer: Any, loaded: Mapping[str, Any], models: Mapping[str, InputModel]) -> bool:
    """Add all tokens that have a row in some model, in one call, because each call rebuilds the tokenizer's matcher."""
    plain: dict[str, None] = {}
    special: dict[str, AddedToken] = {}
    for name, other in loaded.items():
        added = {row: token for row, token in other.added_tokens_decoder.items() if row < models[name].rows}
        for token in added.values():
            first = special.setdefault(token.content, token)
            if first != token:
                _log.warning("token %r is added with different settings: the first ones are used", token.content)
        vocabulary = sorted((row, token) for token, row in other.get_vocab().items() if row < models[name].rows)
        plain |= dict.fromkeys(token for row, token in vocabulary if row not in added)
    known = tokenizer.get_vocab()
    count = tokenizer.add_tokens([token for token in plain if token not in known and token not in special])
    old = {token.content: token for token in tokenizer.added_tokens_decoder.values()}
    fresh = [token for content, token in special.items() if old.get(content) != token]
    tokenizer.add_tokens(fresh)
    return bool(count or fresh)


def _strip(tokenizer: Any, rows: int) -> bool:
    """Remove tokens without a row in the model's embedding."""
    gone = {token for token, row in tokenizer.get_vocab().items() if row >= rows}
    if not gone:
        return False
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["id"] < rows]
    model = state["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {token: row for token, row in model["vocab"].items() if row < rows}
    else:
        model["vocab"] = model["vocab"][:rows]
    if "merges" in model:
        model["merges"] = [merge for merge in model["merges"] if not _mentions(merge, gone)]
    # private: transformers has no public way to replace the inner tokenizer
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(state))
    return True


def _mentions(merge: str | list[str], gone: Collection[str]) -> bool:
    left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
    return left in gone or right in gone or left + right in gone
