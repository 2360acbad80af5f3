"""Targets become the tokens that the decoder would have seen and made."""

from __future__ import annotations

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from evomerge.inference.answer_text import TextCodec
from evomerge.inference.learning.targets import Target
from evomerge.inference.learning.tokens import tokenize


@pytest.fixture(scope="module")
def model(pico_model):
    return AutoModelForCausalLM.from_pretrained(pico_model(max_position_embeddings=48))


@pytest.fixture(scope="module")
def codec(pico_model) -> TextCodec:
    return TextCodec(AutoTokenizer.from_pretrained(pico_model()))


def test_prompt_and_answer_are_tokens_of_the_whole_text(model, codec):
    (found,) = tokenize(model, codec, [Target("sql", "SQL:", " SELECT 1", (), 16)])
    assert codec.tokenizer.decode(found.before) == "SQL:" and codec.tokenizer.decode(found.new) == " SELECT 1"
    assert found.before + found.new == codec.encode("SQL: SELECT 1")
    assert found.task == "sql" and found.ends == () and found.length == len(found.before + found.new) - 1


def test_an_answer_may_end_as_its_item_lets_it(model, codec):
    (found,) = tokenize(model, codec, [Target("sql", "SQL:", " SELECT 1", ("\n\n", ";"), 16, ends=True)])
    pieces = {codec.tokenizer.decode([token]) for token in found.ends}
    assert {"<|im_end|>", "\n", ";"} <= pieces
    assert all(p == "<|im_end|>" or p.startswith(";") or "\n\n".startswith(p) or p.startswith("\n\n") for p in pieces)
    assert found.length == len(found.before + found.new), "the end is predicted from the last token"


def test_a_long_prompt_is_cut_on_the_left_as_for_the_answer(model, codec):
    prompt = "a b c d e f g h i j k l m n o p q r s t u v w x y z"
    (found,) = tokenize(model, codec, [Target("t", prompt, " 1", (), 20)])
    assert found.before == codec.encode(prompt)[-28:] and codec.tokenizer.decode(found.new) == " 1"


def test_what_the_context_cannot_hold_and_empty_answers_are_left_out(model, codec):
    kept = Target("t", "a", "b", (), 4)
    assert [
        t.before for t in tokenize(model, codec, [Target("t", "x " * 60, "y"), kept, Target("t", "a", "", (), 4)])
    ] == [codec.encode("a")]
