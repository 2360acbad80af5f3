"""Output tokenizers and permuted embeddings equal mergekit's, except for rows that only mergekit loses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, LlamaConfig, PreTrainedTokenizerFast

from evomerge.errors import UserError
from evomerge.tensors.lazy import InMemory
from evomerge.weights.tokenizers.chat_templates import CHAT_TEMPLATES, choose_chat_template
from evomerge.weights.tokenizers.output_tokenizer import (
    InputModel,
    OutputTokenizer,
    TokenizerSettings,
    build_tokenizer,
    chat_template_of,
    write_chat_template,
)
from evomerge.weights.tokenizers.vocabulary import PermutedRows, TokenRow, Vocabulary, align, gather, permuted

LINES = {
    "plain": ["the cat sat on the mat", "the dog ran"],
    "sql": ["SELECT name FROM people WHERE age", "SELECT count FROM cats"],
    "code": ["def add(a, b): return a + b", "SELECT the cat"],
}
TEXT = "the cat SELECT name FROM def return <|tool|> <|sep|>"


class Matrix(InMemory):
    """A matrix that is read within its bounds only."""

    def rows(self, start: int, stop: int) -> torch.Tensor:
        assert 0 <= start <= stop <= len(self.tensor)
        return super().rows(start, stop)


def make_folder(path: Path, kind: str, name: str, special: tuple[str, ...], rows: int | None = None) -> Path:
    """A folder with a tokenizer trained on LINES[name] and a config.json; ``rows``: embedding rows."""
    if kind == "bpe":
        inner = Tokenizer(models.BPE())
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=300,
            special_tokens=["<unk>", *special],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
    else:
        inner = Tokenizer(models.WordLevel(unk_token="<unk>"))
        inner.pre_tokenizer = pre_tokenizers.Whitespace()
        trainer = trainers.WordLevelTrainer(special_tokens=["<unk>", *special], show_progress=False)
    inner.train_from_iterator(LINES[name], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", eos_token="<unk>")
    tokenizer.save_pretrained(path)
    LlamaConfig(vocab_size=rows or len(tokenizer), architectures=["LlamaForCausalLM"]).save_pretrained(path)
    return path


@pytest.fixture(params=["bpe", "words"])
def trio(request, tmp_path) -> dict[str, Path]:
    """Three folders with different vocabularies; <|tool|> is in two of them, neither the base."""
    special = {"plain": (), "sql": ("<|tool|>", "<|sql|>"), "code": ("<|tool|>",)}
    return {name: make_folder(tmp_path / name, request.param, name, special[name]) for name in LINES}


def rows_of(folder: Path) -> int:
    return json.loads((folder / "config.json").read_text())["vocab_size"]


def embeddings(folders: dict[str, Path], width: int = 4) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(rows_of(folder), width, generator=generator) for name, folder in folders.items()}


def build(settings: TokenizerSettings, folders: dict[str, Path], base: str | None) -> OutputTokenizer:
    return build_tokenizer(settings, {n: InputModel(f, rows_of(f)) for n, f in folders.items()}, base)


def read_all(rows: PermutedRows, step: int = 7) -> torch.Tensor:
    return torch.cat([rows.rows(a, min(a + step, rows.shape[0])) for a in range(0, rows.shape[0], step)])


def theirs(settings: TokenizerSettings, folders: dict[str, Path], base: str | None, tensors):
    """mergekit's output vocabulary and embeddings, by the model's name."""
    from mergekit.common import ImmutableMap, ModelReference
    from mergekit.tokenizer import PermutedVocabulary
    from mergekit.tokenizer.build import build_tokenizer as mergekit_build
    from mergekit.tokenizer.config import TokenEmbeddingConfig

    refs = {name: ModelReference.model_validate(str(folder)) for name, folder in folders.items()}
    tokens = {}
    for token, row in settings.tokens.items():
        source = {"rule": None, "zero": {"kind": "zero"}, "model": None}[row.source]
        if row.source == "model" and row.token is None:
            source = refs[row.model]
        elif row.source == "model":
            key = "token" if isinstance(row.token, str) else "token_id"
            source = {"kind": "model_token", "model": refs[row.model], key: row.token}
        tokens[token] = TokenEmbeddingConfig(source=source, force=row.force)
    info = mergekit_build(
        refs[base] if base else None,
        list(refs.values()),
        refs.get(settings.source, settings.source),
        False,
        list(tokens),
    )
    task = PermutedVocabulary.model_construct(
        gather_tensors=None,
        tokenizer_task=None,
        tokens=ImmutableMap(tokens),
        pad_to_multiple_of=settings.pad_to_multiple_of,
        base_model=refs[base] if base else None,
        vocabulary_axis=0,
    )
    result = task.execute(info, {refs[n]: t for n, t in tensors.items()})
    return info.tokenizer, {name: result[ref] for name, ref in refs.items()}


OVERRIDES = {
    "the": TokenRow("model", "code", "<|tool|>", force=True),
    "cat": TokenRow("zero", force=True),
    "<|new|>": TokenRow("model", "sql", 3),
    "<|other|>": TokenRow("zero"),
    "<|tool|>": TokenRow("model", "sql", "<|sql|>"),
}
# mergekit stumbles over tokens that are new to a source of base
OLD = {token: TokenRow(row.source, row.model, 3, True) for token, row in OVERRIDES.items() if "<" not in token}


@pytest.mark.parametrize("base", ["plain", "code", None])
@pytest.mark.parametrize(
    "settings",
    [
        TokenizerSettings("base"),
        TokenizerSettings("union"),
        TokenizerSettings("sql"),
        TokenizerSettings("union", pad_to_multiple_of=64),
        TokenizerSettings("code", pad_to_multiple_of=16),
        TokenizerSettings("union", tokens=OVERRIDES),
        TokenizerSettings("base", tokens=OLD, pad_to_multiple_of=10),
        TokenizerSettings("sql", tokens=OVERRIDES),
    ],
    ids=[
        "base",
        "union",
        "model",
        "union-padded",
        "model-padded",
        "union-tokens",
        "base-tokens-padded",
        "model-tokens",
    ],
)
def test_equals_mergekit(trio, tmp_path, settings, base):
    tensors = embeddings(trio)
    tokenizer, expected = theirs(settings, trio, base, tensors)
    ours = build(settings, trio, base)
    merged = permuted(ours.align(tuple(trio)), {n: Matrix(t) for n, t in tensors.items()})

    vocabulary = tokenizer.get_vocab()
    assert set(ours.tokens) == set(vocabulary)
    assert {len(rows) for rows in expected.values()} == {ours.rows}
    # mergekit numbers a union's new tokens in the order of a hash table: compare by token, and padding by place
    places = [ours.tokens[token] for token in vocabulary] + list(range(len(vocabulary), ours.rows))
    their_places = [*vocabulary.values(), *range(len(vocabulary), ours.rows)]
    for name in trio:
        rows = read_all(merged[name])
        torch.testing.assert_close(rows[places], expected[name][their_places], rtol=1e-6, atol=1e-6)

    out = tmp_path / "out"
    out.mkdir()
    ours.save(out)
    saved = AutoTokenizer.from_pretrained(out)
    assert saved.get_vocab() == ours.tokens
    assert saved.tokenize(TEXT) == tokenizer.tokenize(TEXT)
    assert set(saved.all_special_tokens) == set(tokenizer.all_special_tokens)


def test_added_tokens_beyond_the_embedding_are_removed_like_mergekit_does(tmp_path):
    folders = {
        "plain": make_folder(tmp_path / "plain", "bpe", "plain", ()),
        "sql": make_folder(tmp_path / "sql", "bpe", "sql", ("<|tool|>",)),
    }
    late = AutoTokenizer.from_pretrained(folders["plain"])
    late.add_tokens(["<|tool|>", "<|late|>"])
    late.save_pretrained(folders["plain"])
    tensors = embeddings(folders)
    tokenizer, expected = theirs(TokenizerSettings("base"), folders, "plain", tensors)
    ours = build(TokenizerSettings("base"), folders, "plain")
    assert ours.tokens == tokenizer.get_vocab() and ours.rows == rows_of(folders["plain"])
    merged = permuted(ours.align(tuple(folders)), {n: Matrix(t) for n, t in tensors.items()})
    for name in folders:
        assert torch.equal(read_all(merged[name]), expected[name])
    ours.save(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path).tokenize("a <|late|>") == tokenizer.tokenize("a <|late|>")


@pytest.mark.parametrize("kind", ["bpe", "words"])
def test_tokens_of_the_model_itself_beyond_the_embedding_are_removed(tmp_path, kind):
    """mergekit fails on a BPE whose merges make such a token."""
    folder = make_folder(tmp_path / "plain", kind, "plain", ())
    full = AutoTokenizer.from_pretrained(folder)
    rows = len(full) - 3
    ours = build_tokenizer(TokenizerSettings("base"), {"plain": InputModel(folder, rows)})
    assert ours.tokens == {token: row for token, row in full.get_vocab().items() if row < rows}
    ours.save(tmp_path)
    assert max(AutoTokenizer.from_pretrained(tmp_path)(LINES["plain"][0]).input_ids) < rows


@pytest.mark.parametrize("source", ["base", "union"])
def test_rows_beyond_the_tokenizer_are_kept(tmp_path, source):
    """mergekit cuts them (its issue 425); they meet by place, and a model that lacks them gets the base's."""
    folders = {name: make_folder(tmp_path / name, "bpe", "plain", ()) for name in ("plain", "long", "short")}
    tokens = rows_of(folders["plain"])
    tensors = embeddings(folders)
    tensors["plain"] = torch.randn(tokens + 12, 4)
    tensors["long"] = torch.randn(tokens + 12, 4)
    inputs = {n: InputModel(f, len(tensors[n])) for n, f in folders.items()}
    output = build_tokenizer(TokenizerSettings(source), inputs, "plain")
    assert output.rows == tokens + 12
    alignment = output.align(tuple(folders))
    merged = permuted(alignment, {n: Matrix(t) for n, t in tensors.items()})
    assert [alignment.is_identity(name) for name in folders] == [True, True, False]
    assert torch.equal(read_all(merged["plain"]), tensors["plain"])
    assert torch.equal(read_all(merged["long"]), tensors["long"])
    assert torch.equal(read_all(merged["short"]), torch.cat([tensors["short"], tensors["plain"][tokens:]]))


def test_a_smaller_vocabulary_is_made_when_asked_for(tmp_path):
    folder = make_folder(tmp_path / "plain", "bpe", "plain", ())
    tokens = rows_of(folder)
    inputs = {"plain": InputModel(folder, tokens + 100)}
    output = build_tokenizer(TokenizerSettings("base", pad_to_multiple_of=8), inputs)
    assert output.rows == -(-tokens // 8) * 8 < tokens + 100


def test_a_folder_without_tokenizer_has_the_bases_tokens(trio):
    for file in trio["sql"].glob("token*.json"):
        file.unlink()
    output = build(TokenizerSettings("union"), trio, "plain")
    assert output.inputs["sql"].tokens == output.inputs["plain"].tokens


def test_tokens_may_be_new_to_the_base(trio):
    tensors = embeddings(trio)
    output = build(TokenizerSettings("base", tokens=OVERRIDES), trio, "plain")
    merged = permuted(output.align(tuple(trio)), {n: Matrix(t) for n, t in tensors.items()})
    for rows in map(read_all, merged.values()):
        assert torch.equal(rows[output.tokens["<|new|>"]], tensors["sql"][3])
        assert not rows[output.tokens["<|other|>"]].any()
    tool = output.tokens["<|tool|>"]
    assert torch.equal(read_all(merged["plain"])[tool], tensors["sql"][output.inputs["sql"].tokens["<|sql|>"]])
    assert torch.equal(read_all(merged["code"])[tool], tensors["code"][output.inputs["code"].tokens["<|tool|>"]])


def test_the_union_is_the_same_in_every_run(trio):
    first, second = (build(TokenizerSettings("union"), trio, "plain") for _ in range(2))
    assert first.tokens == second.tokens
    base = AutoTokenizer.from_pretrained(trio["plain"]).get_vocab()
    assert all(first.tokens[token] == row for token, row in base.items())
    sql = AutoTokenizer.from_pretrained(trio["sql"])
    new = [token for token, _ in sorted(sql.get_vocab().items(), key=lambda item: item[1]) if token not in base]
    plain = [token for token in new if token not in ("<|tool|>", "<|sql|>")]
    assert sorted(plain, key=first.tokens.__getitem__) == plain
    assert "<|tool|>" in sql.all_special_tokens or sql.added_tokens_decoder[sql.get_vocab()["<|tool|>"]].special


def test_averages_are_not_rounded():
    vocabularies = {n: Vocabulary(t, len(t)) for n, t in (("a", {"x": 0}), ("b", {"y": 0, "x": 1}), ("c", {"y": 0}))}
    alignment = align(vocabularies, {"x": 0, "y": 1}, rows=2)
    values = {"a": [[1.0]], "b": [[3.0], [1.0078125]], "c": [[2.0]]}
    merged = permuted(alignment, {n: Matrix(torch.tensor(v, dtype=torch.bfloat16)) for n, v in values.items()})
    assert merged["c"].rows(0, 2).tolist() == [[1.00390625], [2.0]]
    assert merged["a"].rows(0, 2).tolist() == [[1.0], [2.5]]


def test_rows_are_gathered_in_any_order():
    tensor = torch.randn(5000, 3)
    index = torch.randint(0, 5000, (3000,), generator=torch.Generator().manual_seed(1))
    for wanted in (index, index.sort().values, torch.arange(10, 4000), torch.tensor([7]), index[:0]):
        assert torch.equal(gather(Matrix(tensor), wanted), tensor[wanted])


def test_reads_only_what_a_block_needs():
    read = []

    class Counting(Matrix):
        def rows(self, start, stop):
            read.append(stop - start)
            return super().rows(start, stop)

    tokens = {f"t{i}": i for i in range(20_000)}
    shifted = {f"t{i}": (i + 77) % 20_000 for i in range(20_000)}
    alignment = align({"a": Vocabulary(tokens, 20_000), "b": Vocabulary(shifted, 20_000)}, tokens, 20_000)
    sources = {n: Counting(torch.randn(20_000, 2)) for n in "ab"}
    rows = permuted(alignment, sources)["b"]
    assert rows.shape == (20_000, 2)
    read.clear()
    rows.rows(100, 400)
    assert sum(read) <= 310


def test_large_vocabularies():
    tokens = {f"t{i}": i for i in range(150_000)}
    other = {f"t{i}": j for j, i in enumerate(torch.randperm(150_000).tolist())}
    del other["t5"]
    alignment = align({"a": Vocabulary(tokens, 150_016), "b": Vocabulary(other, 150_000)}, tokens, 150_016, base="a")
    sources = {n: Matrix(torch.randn(150_016, 4)) for n in "ab"}
    merged = read_all(permuted(alignment, sources)["b"], step=2000)
    assert torch.equal(merged[5], sources["a"].tensor[5])
    assert torch.equal(merged[6], sources["b"].tensor[other["t6"]])


def test_configuration_follows_the_tokens(trio):
    output = build(TokenizerSettings("union"), trio, "plain")
    row = output.inputs["sql"].tokens["<|sql|>"]
    config = {"vocab_size": 1, "eos_token_id": [row, 0], "bos_token_id": None, "pad_token_id": row, "hidden_size": row}
    moved = output.renumbered(config, "sql")
    assert moved == {
        "vocab_size": output.rows,
        "eos_token_id": [output.tokens["<|sql|>"], output.tokens["<unk>"]],
        "bos_token_id": None,
        "pad_token_id": output.tokens["<|sql|>"],
        "hidden_size": row,
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (TokenizerSettings("math"), "tokenizer source must be base, union or one of the merged models .*got math"),
        (TokenizerSettings(pad_to_multiple_of=0), "pad_to_multiple_of must be .*got 0"),
        (TokenizerSettings(chat_template="chatm"), "chat_template must be .*did you mean 'chatml'"),
    ],
)
def test_wrong_settings_are_named(trio, settings, message):
    with pytest.raises(UserError, match=message) as caught:
        build(settings, trio, "plain")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (TokenRow(force=True), "'<x>' has force but no source"),
        (TokenRow("model", "math"), "model math is not among the merged ones: plain, sql, code"),
        (TokenRow("model", "sql"), "sql has no token '<x>'"),
        (TokenRow("model", "sql", "nothing"), "sql has no token 'nothing'"),
        (TokenRow("model", "sql", 10**6), "sql has no row 1000000"),
    ],
)
def test_wrong_overrides_are_named(trio, row, message):
    output = build(TokenizerSettings(tokens={"<x>": row}), trio, "plain")
    with pytest.raises(UserError, match=message) as caught:
        output.align(tuple(trio))
    assert "\n" not in str(caught.value)


def test_unreadable_and_missing_tokenizers_are_named(trio):
    (trio["sql"] / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match=r"cannot read the tokenizer in .*sql"):
        build(TokenizerSettings(), trio, "plain")
    for file in trio["plain"].glob("token*.json"):
        file.unlink()
    with pytest.raises(UserError, match=r"plain has no tokenizer"):
        build(TokenizerSettings(), trio, "plain")


def test_embeddings_of_another_width_are_named():
    alignment = align({"a": Vocabulary({"x": 0}, 1), "b": Vocabulary({"x": 0}, 1)}, {"x": 0}, 1)
    rows = permuted(alignment, {"a": Matrix(torch.zeros(1, 2)), "b": Matrix(torch.zeros(1, 3))})["a"]
    with pytest.raises(UserError, match=r"same width, got \[2\] in a and \[3\] in b"):
        rows.rows(0, 1)


CHAT = [
    {"role": "user", "content": "How many cats? "},
    {"role": "assistant", "content": "Two."},
    {"role": "user", "content": "Dogs?"},
]
SYSTEM = {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize("system", [False, True])
@pytest.mark.parametrize("prompt", [False, True])
@pytest.mark.parametrize("name", sorted(CHAT_TEMPLATES))
def test_named_templates_render_like_mergekits(trio, name, prompt, system):
    from importlib.resources import files

    tokenizer = AutoTokenizer.from_pretrained(trio["plain"])
    tokenizer.bos_token = "<s>"
    chat = ([SYSTEM] if system else []) + CHAT
    ours, peer = (
        tokenizer.apply_chat_template(chat, chat_template=text, add_generation_prompt=prompt, tokenize=False)
        for text in (CHAT_TEMPLATES[name], (files("mergekit._data.chat_templates") / f"{name}.jinja").read_text())
    )
    if name not in ("chatml", "mistral"):  # line breaks and indentation of mergekit's files get into its texts
        ours, peer = "".join(ours.split()), "".join(peer.split())
    assert ours == peer


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "alpaca",
            "### Instruction:\nHow many cats?\n\n### Response:\nTwo.\n\n### Instruction:\nDogs?\n\n### Response:\n",
        ),
        (
            "llama3",
            "<s><|start_header_id|>user<|end_header_id|>\n\nHow many cats?<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nTwo.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nDogs?<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        (
            "exaone",
            "[|system|][|endofturn|]\n[|user|]How many cats? \n[|assistant|]Two.[|endofturn|]\n[|user|]Dogs?\n"
            "[|assistant|]",
        ),
    ],
)
def test_named_templates_have_their_models_form(trio, name, expected):
    tokenizer = AutoTokenizer.from_pretrained(trio["plain"])
    tokenizer.bos_token = "<s>"
    text = tokenizer.apply_chat_template(
        CHAT, chat_template=CHAT_TEMPLATES[name], add_generation_prompt=True, tokenize=False
    )
    assert text == expected


def test_auto_takes_the_most_common_template_and_of_equals_the_first():
    assert choose_chat_template("auto", [None, "b", "a", "a"]) == "a"
    assert choose_chat_template("auto", [None, "b", "a"]) == "b"
    assert choose_chat_template("auto", [None]) is None
    assert choose_chat_template("{{ messages }}", []) == "{{ messages }}"


def test_the_chosen_template_is_the_only_one(trio, tmp_path):
    for name, template in (("plain", "{{ 1 }}"), ("sql", "{{ 2 }}"), ("code", "{{ 2 }}")):
        write_chat_template(trio[name], template)
    config = json.loads((trio["plain"] / "tokenizer_config.json").read_text())
    (trio["plain"] / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": "{{ 3 }}"}))
    out = tmp_path / "out"
    out.mkdir()
    (out / "merges.txt").write_text("left over")
    for setting, expected in (("auto", "{{ 2 }}"), ("chatml", CHAT_TEMPLATES["chatml"]), ("{{ 4 }}", "{{ 4 }}")):
        build(TokenizerSettings("base", chat_template=setting), trio, "plain").save(out)
        assert chat_template_of(out).strip() == expected.strip()
        assert "chat_template" not in json.loads((out / "tokenizer_config.json").read_text())
    assert not (out / "merges.txt").exists()
