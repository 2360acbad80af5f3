"""Known answers make generation faster and change nothing."""

from __future__ import annotations

import copy
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from evomerge.inference.answer_text import TextCodec
from evomerge.inference.backend import GenerationRequest
from evomerge.inference.backends.hf import HFBackend
from evomerge.inference.deadline import Ended, Watch
from evomerge.inference.drafts import Drafts, Sources
from evomerge.inference.generation import GreedyDecoder
from evomerge.inference.memory_limits import Limits
from evomerge.inference.probe_model import prepare
from evomerge.types import Artifact, KnownAnswer

Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase]
LONGEST = 24


@pytest.fixture(scope="module")
def pico(pico_model: Callable[..., Path]) -> Loaded:
    """A random model that says plain letters only: other bytes are no text, and would not be the same tokens again."""
    folder = pico_model(dtype="float32", initializer_range=0.3)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    letters = [t for t in range(len(tokenizer)) if (text := tokenizer.decode([t])).isascii() and len(text.strip()) == 1]
    silent = torch.ones(model.get_output_embeddings().weight.shape[0], dtype=torch.bool)
    silent[letters] = False
    with torch.no_grad():
        model.get_output_embeddings().weight[silent] = 0.0
    assert prepare(model).drafts
    return model, tokenizer


def requests_of(seed: int, count: int = 16, until: tuple[str, ...] = ()) -> list[GenerationRequest]:
    rng = random.Random(seed)
    table = "CREATE TABLE t (a TEXT, b INT)\nQuestion: "
    return [
        GenerationRequest(table * (n % 2) + "".join(rng.choices("abcd 123", k=rng.randint(1, 30))), until, LONGEST)
        for n in range(count)
    ]


def generated(
    loaded: Loaded, requests: Sequence[GenerationRequest], drafts: bool = True, rows: int = 4
) -> tuple[list[str], list[Ended]]:
    ended: dict[int, Ended] = {}
    decoder = GreedyDecoder(loaded[0], TextCodec(loaded[1]), Limits(rows, 256), drafts)
    answers = decoder.generate(requests, Watch(lambda one: ended.update({one.index: one})))
    return answers, [ended[n] for n in range(len(requests))]


def with_known(
    requests: Sequence[GenerationRequest], known: Sequence[Sequence[KnownAnswer]]
) -> list[GenerationRequest]:
    return [replace(request, known=tuple(own)) for request, own in zip(requests, known, strict=True)]


def changed(loaded: Loaded, answer: str, place: int, longer: int = 0) -> str:
    """The answer with another token at ``place``, and ``longer`` more tokens."""
    tokens = loaded[1](answer, add_special_tokens=False)["input_ids"]
    tokens = [*tokens[: place % len(tokens)], 7, *tokens[place % len(tokens) + 1 :]] if tokens else [7]
    return str(loaded[1].decode([*tokens, *range(10, 10 + longer)]))


@pytest.mark.parametrize("until", [(), ("a", "3 "), ("b1",)])
def test_own_answers_come_back_in_a_fraction_of_the_passes(pico: Loaded, until: tuple[str, ...]) -> None:
    requests = requests_of(1, until=until)
    answers, plain = generated(pico, requests)
    known = [[KnownAnswer(e.text, e.tokens, (0,))] for e in plain]
    again, drafted = generated(pico, with_known(requests, known))
    assert again == answers
    assert [e.tokens for e in drafted] == [e.tokens for e in plain]
    assert [e.cut for e in drafted] == [False] * len(plain)
    assert sum(e.passes for e in plain) == sum(e.tokens for e in plain)
    assert sum(e.passes for e in drafted) <= 0.5 * sum(e.passes for e in plain)


def test_answers_that_differ_at_any_place_change_nothing(pico: Loaded) -> None:
    requests = requests_of(2, count=LONGEST)
    answers, plain = generated(pico, requests)
    for longer in (0, 40):
        known = [[KnownAnswer(changed(pico, a, n, longer), LONGEST, (0,))] for n, a in enumerate(answers)]
        again, drafted = generated(pico, with_known(requests, known))
        assert again == answers
        assert [e.tokens for e in drafted] == [e.tokens for e in plain]
        assert sum(e.passes for e in drafted) < sum(e.passes for e in plain)


def test_the_answer_that_fits_is_followed_after_one_that_does_not(pico: Loaded) -> None:
    requests = requests_of(3)
    answers, plain = generated(pico, requests)
    wrong = [[KnownAnswer(changed(pico, a, 3), LONGEST, (0, 1, 2))] for a in answers]
    both = [[*w, KnownAnswer(a, e.tokens, (3,))] for w, a, e in zip(wrong, answers, plain, strict=True)]
    misled = generated(pico, with_known(requests, wrong))
    followed = generated(pico, with_known(requests, both))
    assert misled[0] == followed[0] == answers
    assert sum(e.passes for e in followed[1]) < sum(e.passes for e in misled[1])


def test_empty_and_foreign_answers_change_nothing(pico: Loaded) -> None:
    requests = requests_of(4, until=("a",))
    foreign = [[KnownAnswer("", 1, (0,)), KnownAnswer("\ufffd\u00e9 zzz" * 30, 3, (1,))] for _ in requests]
    assert generated(pico, with_known(requests, foreign))[0] == generated(pico, requests)[0]


def test_a_known_answer_goes_on_after_the_end_token(pico: Loaded) -> None:
    """The answer ends at the model's end token, whatever an earlier model said after it."""
    model = copy.deepcopy(pico[0])
    requests = requests_of(5)
    answers, _ = generated(pico, requests)
    said = [token for answer in answers for token in pico[1](answer, add_special_tokens=False)["input_ids"]]
    model.generation_config.eos_token_id = statistics.mode(said)
    ending = model, pico[1]
    known = [[KnownAnswer(answer, LONGEST, (0,))] for answer in answers]
    ended, drafted = generated(ending, with_known(requests, known))
    assert ended == generated(ending, requests)[0]
    assert any(e.tokens < LONGEST for e in drafted)


def test_samples_and_penalties_take_no_drafts(pico: Loaded) -> None:
    requests = [replace(r, temperature=1.0, seed=n) for n, r in enumerate(requests_of(6, count=4))]
    answers, plain = generated(pico, requests)
    known = [[KnownAnswer(e.text, e.tokens, (0,))] for e in plain]
    again, drafted = generated(pico, with_known(requests, known))
    assert again == answers
    assert [e.passes for e in drafted] == [e.tokens for e in plain]

    model = copy.deepcopy(pico[0])
    model.generation_config.repetition_penalty = 1.3
    answers, plain = generated((model, pico[1]), requests_of(6))
    known = [[KnownAnswer(e.text, e.tokens, (0,))] for e in plain]
    again, drafted = generated((model, pico[1]), with_known(requests_of(6), known))
    assert again == answers
    assert [e.passes for e in drafted] == [e.tokens for e in plain]


def test_accepted_tokens_draw_on_the_allowance(pico: Loaded) -> None:
    requests = requests_of(7)
    _, plain = generated(pico, requests)
    known = with_known(requests, [[KnownAnswer(e.text, e.tokens, (0,))] for e in plain])
    for allowance in (0, 1, 50, 200):
        ended: dict[int, Ended] = {}
        watch = Watch(lambda one: ended.update({one.index: one}), ["a"] * len(requests), {"a": allowance})  # noqa: B023
        answers = GreedyDecoder(pico[0], TextCodec(pico[1]), Limits(4, 256)).generate(known, watch)
        spent = sum(one.tokens for one in ended.values())
        assert allowance <= spent <= allowance + 4, "the rows of one pass get a token each"
        assert all(whole.text.startswith(answer) for whole, answer in zip(plain, answers, strict=True))
        assert all(one.cut or one.text == plain[n].text for n, one in ended.items())


def test_the_setting_switches_drafts_off(pico: Loaded, tmp_path: Path) -> None:
    folder = str(tmp_path)
    pico[0].save_pretrained(folder)
    pico[1].save_pretrained(folder)
    request = requests_of(8, count=1)[0]
    passes = {}
    for drafts in (True, False):
        ended: list[Ended] = []
        backend = HFBackend(folder, dtype="float32", drafts=drafts)
        backend.load(Artifact(folder))
        [answer] = backend.generate([request])
        own = replace(request, known=(KnownAnswer(answer, LONGEST, (0,)),))
        assert backend.generate([own], Watch(ended.append)) == [answer]
        passes[drafts] = ended[0].passes
    assert passes[False] == LONGEST > passes[True]


def test_sources_that_agreed_are_followed_first_and_further() -> None:
    sources = Sources()
    good, bad = tuple(range(60)), (*range(3), *range(100, 157))
    for _ in range(5):
        told = Drafts([(good, (1,)), (bad, (0, 2))], sources)
        told.learn(list(range(60)))
    drafts = Drafts([(bad, (0, 2)), (good, (1,))], sources)
    assert drafts.after([], 99) == good
    assert drafts.after([], 10) == good[:10]
    assert drafts.after([0, 1, 2, 100], 99) == tuple(range(101, 109)), "not far: its sources went wrong before"
    assert drafts.after([7, 30, 31], 99)[:4] == (32, 33, 34, 35)
    assert drafts.after([7, 8, 30, 9], 99) == ()
    assert drafts.after([], 0) == ()


def test_a_place_that_misled_needs_more_tokens_in_common() -> None:
    drafts = Drafts([((1, 2, 3, 4, 5, 6), (0,))], Sources())
    assert drafts.after([9, 2, 3], 9) == (4, 5, 6)
    assert drafts.after([9, 2, 3, 8, 2, 3], 9) == ()
    assert drafts.after([9, 2, 3, 8, 1, 2, 3], 9) == (4, 5, 6)


def test_a_source_is_followed_further_as_its_answer_agrees() -> None:
    sources = Sources()
    drafts, other = (Drafts([(tuple(range(300)), (5,))], sources) for _ in range(2))
    first = drafts.after([], 999)
    second = drafts.after(range(len(first) + 1), 999)
    assert second[0] == len(first) + 1 and len(second) > 1.5 * len(first)
    assert len(other.after([], 999)) == len(second)
    drafts.learn([*range(len(first) + 1), 7])
    assert len(other.after([], 999)) < len(second)
