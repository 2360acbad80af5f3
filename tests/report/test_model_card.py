"""The model card: metadata for the hub, and required and forbidden statements."""

from __future__ import annotations

from dataclasses import replace

import pytest
from huggingface_hub import ModelCard

from evomerge.hub.model_card_facts import Licence, Parent
from evomerge.report.model_card import AdapterFacts, CardValues, common_licence, model_card
from evomerge.types import wilson

APACHE, LLAMA, OWN = Licence("apache-2.0"), Licence("llama3.1"), Licence("other", "own", "https://x")
BASE = Parent("base", "org/base", "org/base", APACHE, ("en",))
EXPERTS = (
    Parent("sql", "org/sql", "org/sql", APACHE, ("en", "de")),
    Parent("code", "/home/somebody/secret/code", None, APACHE, trained_on="org/base"),
)
MODEL = CardValues(
    name="mine",
    where="outputs/mine/best/model",
    base=BASE,
    experts=EXPERTS,
    method="ties",
    recipe="method: ties\n",
    origin="It was searched for.",
    results="| sql | 75.0 |",
    scores={"sql": wilson([1, 1, 0, 1]), "code": wilson([0, 1])},
    metrics={"sql": "sql_exec"},
    made=[("evomerge", "0.1.0"), ("odd", "a|b")],
)
LORA = replace(MODEL, adapter=AdapterFacts(24, "exact", 0.0), where="org/mine")


def test_the_hub_reads_the_metadata_of_a_model() -> None:
    data = ModelCard(model_card(MODEL)).data
    assert data.base_model == ["org/base", "org/sql"] and data.base_model_relation == "merge"
    assert (data.library_name, data.license, data.language) == ("transformers", "apache-2.0", ["en", "de"])
    assert {"merge", "evomerge", "ties"} <= set(data.tags)
    sql, code = data.eval_results
    assert (sql.dataset_type, sql.dataset_split, sql.metric_type, sql.metric_value) == ("sql", "test", "sql_exec", 0.75)
    assert sql.metric_name == "sql_exec, 4 items, 95 % interval 0.301 to 0.954"
    assert (code.dataset_type, code.metric_type) == ("code", "score")
    assert ModelCard(model_card(MODEL)).text.lstrip().startswith("# mine")


def test_an_adapter_has_one_base() -> None:
    text = model_card(LORA)
    data = ModelCard(text).data
    assert data.base_model == ["org/base"] and data.base_model_relation == "adapter"
    assert data.library_name == "peft" and "lora" in data.tags
    assert 'AutoPeftModelForCausalLM.from_pretrained("org/mine"' in text
    assert "vllm serve org/base --enable-lora --max-lora-rank 32 --lora-modules merge=org/mine" in text
    assert "rank 24, exact" in text


def test_without_hub_models_nothing_is_claimed() -> None:
    local = replace(MODEL, base=replace(BASE, source="/models/base", hub_id=None), experts=EXPERTS[1:], scores={})
    data = ModelCard(model_card(local)).data.to_dict()
    assert data.keys().isdisjoint({"base_model", "base_model_relation", "model-index"})


def test_folders_of_this_machine_are_not_told() -> None:
    text = model_card(MODEL)
    assert "secret" not in text and "| code | `code` | apache-2.0 |" in text


def test_a_line_per_fact_and_no_broken_table() -> None:
    text = model_card(MODEL)
    assert "| odd | a&#124;b |" in text
    assert "```yaml\nmethod: ties\n```" in text


@pytest.mark.parametrize(
    ("licences", "found", "said"),
    [
        ([APACHE, APACHE], APACHE, "All parents are under apache-2.0"),
        ([OWN, OWN], OWN, "other (own)"),
        ([APACHE, LLAMA], Licence("other", "conflicting-parent-licences"), "differ** (apache-2.0: p0; llama3.1: p1)"),
        ([APACHE, LLAMA, None], Licence("other", "conflicting-parent-licences"), "No licence is stated for p2."),
        ([APACHE, None], Licence("other", "unknown-parent-licences"), "No licence is stated for p1."),
        ([None, None], Licence("other", "unknown-parent-licences"), "No licence is stated for p0, p1."),
    ],
)  # fmt: skip
def test_licence_of_a_merge(licences: list[Licence | None], found: Licence, said: str) -> None:
    parents = [Parent(f"p{n}", f"org/p{n}", f"org/p{n}", licence) for n, licence in enumerate(licences)]
    licence, remark = common_licence(parents)
    assert licence == found
    assert said in remark
    card = model_card(replace(MODEL, base=parents[0], experts=tuple(parents[1:])))
    assert ModelCard(card).data.license == found.id and ModelCard(card).data.get("license_name") == found.name
    assert remark in card


def test_a_base_under_another_name_is_told() -> None:
    packaged = replace(BASE, source="pypi:a==1/b.gguf#sha256=" + "0" * 64)
    assert "The base was read from `pypi:a==1" in model_card(replace(MODEL, base=packaged))
    assert "The base was read from" not in model_card(MODEL)


def test_what_an_adapter_lacks_is_told() -> None:
    names = tuple(f"layer.{n}.norm" for n in range(7))
    text = model_card(replace(LORA, adapter=AdapterFacts(16, "truncated", 0.1234, names)))
    assert "rank 16, truncated, relative error 0.12, without 7 changed parameters that a LoRA cannot hold" in text
    assert "`layer.4.norm` and 2 more" in text
