"""The data of the JSON task, and the JSON expert's training examples."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from jsonschema import Draft202012Validator

ROOT = Path(__file__).resolve().parents[2]
SPLITS = ("validation", "test")
MOST_PROMPT_CHARACTERS = 460  # about 140 tokens: the machine that searches has two cores
MOST_ANSWER_CHARACTERS = 150


def read(split: str) -> list[dict[str, Any]]:
    lines = (ROOT / "tasks" / "json" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def request(item: dict[str, Any]) -> str:
    """The words after the schema."""
    return str(item["instruction"]).rsplit("\n", 1)[1].split(": ", 1)[1]


def embedded_schema(text: str) -> dict[str, Any]:
    """The schema as the model reads it."""
    schema: dict[str, Any] = json.loads(text.split("\nSchema: ", 1)[1].split("\n", 1)[0])
    return schema


def canonical(schema: dict[str, Any]) -> str:
    return json.dumps(schema, sort_keys=True)


def key_set(schema: dict[str, Any]) -> frozenset[str]:
    return frozenset(schema["properties"])


def objects(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The object schemas below the top one."""
    for value in schema["properties"].values():
        inner = value.get("items", value)
        if inner.get("type") == "object":
            yield inner


@pytest.fixture(scope="module")
def expert() -> Iterator[ModuleType]:
    """experts/ is no package: the script is loaded from its path."""
    name = "evomerge_test_examples_json"
    spec = importlib.util.spec_from_file_location(name, ROOT / "experts" / "examples_json.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    yield module
    del sys.modules[name]


@pytest.fixture(scope="module")
def pairs(expert: ModuleType) -> list[dict[str, str]]:
    made: list[dict[str, str]] = expert.examples()
    return made


@pytest.mark.parametrize("split", SPLITS)
def test_counts_and_levels(split: str) -> None:
    items = read(split)
    assert Counter(item["level"] for item in items) == {"easy": 90, "medium": 70, "hard": 40}
    assert set(Counter(canonical(item["schema"]) for item in items).values()) == {5}
    assert all(set(item) == {"id", "instruction", "schema", "instance", "level"} for item in items)


def test_ids_and_requests_are_unique() -> None:
    items = read("validation") + read("test")
    assert len({item["id"] for item in items}) == len(items) == 400
    assert len({request(item) for item in items}) == 400


@pytest.mark.parametrize("split", SPLITS)
def test_gold_conforms_and_stands_in_schema_order(split: str) -> None:
    for item in read(split):
        Draft202012Validator.check_schema(item["schema"])
        schema, gold = item["schema"], item["instance"]
        errors = [error.message for error in Draft202012Validator(schema).iter_errors(gold)]
        assert not errors, (item["id"], errors)
        assert list(gold) == [key for key in schema["properties"] if key in gold]


@pytest.mark.parametrize("split", SPLITS)
def test_schema_refuses_trivial_and_renamed_answers(split: str) -> None:
    for item in read(split):
        validator = Draft202012Validator(item["schema"])
        assert not validator.is_valid({}), item["id"]
        assert not validator.is_valid([item["instance"]]), item["id"]
        for key in item["schema"]["required"]:
            renamed = {("_" + k if k == key else k): v for k, v in item["instance"].items()}
            assert not validator.is_valid(renamed), (item["id"], key)
        if any(value != {"type": "string"} for value in item["schema"]["properties"].values()):
            quoted = {key: f"{value}?" for key, value in item["instance"].items()}
            assert not validator.is_valid(quoted), item["id"]


@pytest.mark.parametrize("split", SPLITS)
def test_levels_mean_what_the_readme_says(split: str) -> None:
    for item in read(split):
        keys, inner = len(item["schema"]["properties"]), list(objects(item["schema"]))
        if item["level"] == "hard":
            assert inner, item["id"]
        else:
            assert not inner and (2 <= keys <= 3 if item["level"] == "easy" else 4 <= keys <= 5), item["id"]


@pytest.mark.parametrize("split", SPLITS)
def test_enum_values_are_rarely_the_words_of_the_request(split: str) -> None:
    """Copying a word of the request must not be a way to fill an enum."""
    copied = asked = 0
    for item in read(split):
        for key, value in item["schema"]["properties"].items():
            if "enum" in value:
                asked += 1
                copied += str(item["instance"][key]).lower() in request(item).lower()
    assert asked >= 90
    assert copied < asked / 2


@pytest.mark.parametrize("split", SPLITS)
def test_first_items_have_every_level_in_proportion(split: str) -> None:
    """A run that takes only the first items must not see the easy ones alone."""
    levels = Counter(item["level"] for item in read(split)[:60])
    assert 20 <= levels["easy"] <= 35 and 15 <= levels["medium"] <= 30 and 5 <= levels["hard"] <= 20


@pytest.mark.parametrize("split", SPLITS)
def test_prompts_are_short_and_share_their_prefix(split: str) -> None:
    prefixes = defaultdict(set)
    for item in read(split):
        assert len(item["instruction"]) <= MOST_PROMPT_CHARACTERS, item["id"]
        assert len(json.dumps(item["instance"])) <= MOST_ANSWER_CHARACTERS, item["id"]
        assert embedded_schema(item["instruction"]) == item["schema"], item["id"]
        prefixes[canonical(item["schema"])].add(item["instruction"].removesuffix(request(item)))
    assert all(len(prefix) == 1 for prefix in prefixes.values())


def test_splits_and_training_examples_share_no_schema(pairs: list[dict[str, str]]) -> None:
    """Stronger than different text: no set of top-level keys occurs twice."""
    validation, test = ({key_set(item["schema"]) for item in read(split)} for split in SPLITS)
    trained = {key_set(embedded_schema(pair["prompt"])) for pair in pairs}
    assert len(validation) == len(test) == 40
    assert not validation & test
    assert not (validation | test) & trained
    heard = {pair["prompt"] for pair in pairs}
    assert not any(request(item) in prompt for item in read("validation") + read("test") for prompt in heard)


def test_examples_are_deterministic_and_seeded(expert: ModuleType, pairs: list[dict[str, str]]) -> None:
    assert expert.examples(seed=0, count=50) == pairs[:50]
    assert expert.examples(seed=1, count=50) != pairs[:50]
    assert len(pairs) == len({pair["prompt"] for pair in pairs}) == 2500


def test_examples_conform_to_schema_and_format(expert: ModuleType, pairs: list[dict[str, str]]) -> None:
    assert len(expert.TOPICS) >= 40
    shapes: Counter[str] = Counter()
    for pair in pairs:
        assert set(pair) == {"prompt", "completion"}
        assert pair["prompt"].endswith("\n\nJSON:")
        schema, instance = embedded_schema(pair["prompt"]), json.loads(pair["completion"])
        assert pair["completion"] == " " + json.dumps(instance)
        validator = Draft202012Validator(schema)
        assert validator.is_valid(instance), pair
        assert not validator.is_valid({}), pair
        assert list(instance) == [key for key in schema["properties"] if key in instance]
        shapes["nested" if any(objects(schema)) else "flat"] += 1
    assert len({canonical(embedded_schema(pair["prompt"])) for pair in pairs}) > 2000
    assert shapes["nested"] > 400
