"""Encode prompts, and cut answers at stop strings."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from evomerge.errors import UserError
from evomerge.inference.backend import GenerationRequest
from evomerge.inference.prefix import Tokens
from evomerge.types import KnownAnswer

# Tokenizers without a limit store a huge number.
_UNSET = 10**18


class TextCodec:
    """Tokenizer that remembers its prompts: each is tokenised once, however many candidates answer it."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self._prompts: dict[str, Tokens] = {}
        self._known: dict[tuple[str, str, int], Tokens] = {}
        self._pieces: dict[int, str] = {}

    def encode(self, text: str) -> Tokens:
        """Tokens of a text, with the tokenizer's special tokens; a text that already starts with BOS gets none."""
        if text not in self._prompts:
            self._prompts[text] = self._encoded(text)
        return self._prompts[text]

    def known(self, request: GenerationRequest, answer: KnownAnswer) -> Tokens:
        """Tokens that a known answer to the request most likely consisted of.

        Its text has lost the stop string. If its number of tokens tells that more than one of them is missing, they are
        those of the stop string that makes up the number: one token more comes with every forward pass anyway.
        """
        key = request.prompt, answer.text, answer.tokens
        if key not in self._known:
            tokens = self._continuation(request.prompt, answer.text)
            if answer.tokens > len(tokens) + 1:
                ended = (self._continuation(request.prompt, answer.text + stop) for stop in request.until)
                tokens = next((longer for longer in ended if len(longer) == answer.tokens), tokens)
            self._known[key] = tokens
        return self._known[key]

    def _continuation(self, prompt: str, text: str) -> Tokens:
        before, whole = self.encode(prompt), self._encoded(prompt + text)
        if whole[: len(before)] == before:
            return whole[len(before) :]
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _encoded(self, text: str) -> Tokens:
        bos = self.tokenizer.bos_token
        given = {"add_special_tokens": False} if bos and text.startswith(bos) else {}
        return tuple(self.tokenizer(text, **given)["input_ids"])

    def prompt(self, model: PreTrainedModel, request: GenerationRequest) -> Tokens:
        """Tokens of the request's prompt, cut on the left so that the answer fits the model's context."""
        room = context_length(model, self.tokenizer) - request.max_new_tokens
        if room <= 0:
            raise UserError(
                f"an answer of {request.max_new_tokens} tokens leaves no room for a prompt in the model's context of "
                f"{context_length(model, self.tokenizer)}: lower the task's max_gen_toks"
            )
        tokens = self.encode(request.prompt)[-room:]
        if not tokens:
            raise UserError("an empty prompt gives the model nothing to continue: give it at least one token")
        return tokens

    def stopped(self, tokens: Sequence[int], until: Sequence[str]) -> bool:
        """Whether the last of ``tokens`` completes a stop string (earlier ones did not)."""
        # Decoding the whole answer at every step is expensive. Only a token with the last character of a stop string
        # completes it. A character that is split over several tokens decodes to U+FFFD in each.
        piece = self._piece(tokens[-1])
        if not any(stop and (stop[-1] in piece or "\ufffd" in piece) for stop in until):
            return False
        text = self.tokenizer.decode(tokens, skip_special_tokens=False)
        return any(stop and stop in text for stop in until)

    def answer(self, tokens: Sequence[int], until: Sequence[str]) -> str:
        """Text of the generated ``tokens`` without special tokens, before the first stop string."""
        text: str = self.tokenizer.decode(tokens, skip_special_tokens=True)
        for stop in until:
            if stop:
                text = text.split(stop)[0]
        return text

    def _piece(self, token: int) -> str:
        if token not in self._pieces:
            self._pieces[token] = self.tokenizer.decode([token], skip_special_tokens=False)
        return self._pieces[token]


def context_length(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens that fit the model: from its config, else its tokenizer, else 2048 (as lm-evaluation-harness decides)."""
    config = model.config.get_text_config()
    for name in ("n_positions", "max_position_embeddings", "n_ctx"):
        if isinstance(found := getattr(config, name, None), int):
            return found
    return tokenizer.model_max_length if tokenizer.model_max_length < _UNSET else 2048


def end_tokens(model: PreTrainedModel, codec: TextCodec) -> frozenset[int]:
    """Token ids that end an answer, from the model's generation config and its tokenizer."""
    configured = model.generation_config.eos_token_id if model.generation_config is not None else None
    ids = configured if isinstance(configured, list) else [configured]
    return frozenset(i for i in [*ids, codec.tokenizer.eos_token_id] if i is not None)
