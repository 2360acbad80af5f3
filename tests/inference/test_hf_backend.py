from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, AutoTokenizer

from evomerge.engine.merger import Merger
from evomerge.errors import UserError
from evomerge.evaluation.lm_eval_adapter import BackendLM
from evomerge.inference.backend import BACKENDS, GenerationRequest
from evomerge.inference.backends.hf import HFBackend
from evomerge.types import Artifact, Expert, Recipe
from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.task_vector import open_task_vector

PROMPTS = (
    "CREATE TABLE employees (id INTEGER, name TEXT, salary REAL);\n\nQuestion: How many earn more than 100?\nSQL:",
    "CREATE TABLE employees (id INTEGER, name TEXT, salary REAL);\n\nQuestion: Who is the oldest?\nSQL:",
    "CREATE TABLE employees (id INTEGER, name TEXT, salary REAL);\n\nQuestion: List all names.\nSQL:",
    "def add(a, b):",
    "Ada",
)


@pytest.fixture(scope="module")
def base(pico_model: Callable[..., Path]) -> Path:
    return pico_model(dtype="float32", initializer_range=0.3)


@pytest.fixture(scope="module")
def adapters(base: Path, pico_adapter: Callable[..., Path]) -> dict[str, Path]:
    return {"a": pico_adapter(seed=1, base=base), "b": pico_adapter(seed=2, base=base)}


@pytest.fixture
def backend(base: Path, adapters: dict[str, Path]) -> HFBackend:
    checkpoint = Checkpoint(base)
    vectors = {name: open_task_vector(checkpoint, str(folder)) for name, folder in adapters.items()}
    return HFBackend(base, Merger(checkpoint, vectors), dtype="float32", batch_size=4)


def recipe(base: Path, adapters: dict[str, Path], *weights: float, method: str = "task_arithmetic") -> Recipe:
    experts = tuple(Expert(name, str(folder)) for name, folder in adapters.items())
    density = {"expert_parameters": {"density": (0.5, 0.5)}} if method == "ties" else {}
    return Recipe(str(base), experts, method, (weights,), dtype="float32", **density)


def requests() -> list[GenerationRequest]:
    return [GenerationRequest(prompt, ("\n\n", ";"), 24) for prompt in PROMPTS]


def harness(folder: Path) -> HFLM:
    model = AutoModelForCausalLM.from_pretrained(folder)
    return HFLM(pretrained=model, tokenizer=AutoTokenizer.from_pretrained(folder), batch_size=2)


def instances(kind: str, arguments: list[tuple[Any, ...]]) -> list[Instance]:
    return [Instance(kind, {}, given, number) for number, given in enumerate(arguments)]


def test_generate_until_equals_the_harness(base: Path, backend: HFBackend) -> None:
    found = []
    for until, length in ((["\n\n", ";"], 24), (["e", "a "], 40), ([], 16)):
        arguments = [(prompt, {"until": list(until), "max_gen_toks": length, "do_sample": False}) for prompt in PROMPTS]
        expected = harness(base).generate_until(instances("generate_until", arguments), disable_tqdm=True)
        assert BackendLM(backend).generate_until(instances("generate_until", arguments)) == expected
        found += expected
    assert len(set(found)) > 5


def test_a_prompt_longer_than_the_context_is_cut_as_by_the_harness(pico_model: Callable[..., Path]) -> None:
    folder = pico_model(dtype="float32", initializer_range=0.3, max_position_embeddings=40)
    arguments = [(prompt, {"until": [], "max_gen_toks": 24, "do_sample": False}) for prompt in PROMPTS]
    expected = harness(folder).generate_until(instances("generate_until", arguments), disable_tqdm=True)
    backend = HFBackend(folder, dtype="float32", batch_size=4)
    assert BackendLM(backend).generate_until(instances("generate_until", arguments)) == expected
    pairs = [(prompt, " SELECT") for prompt in PROMPTS]
    scores = harness(folder).loglikelihood(instances("loglikelihood", pairs), disable_tqdm=True)
    found = BackendLM(backend).loglikelihood(instances("loglikelihood", pairs))
    assert [value for value, _ in found] == pytest.approx([value for value, _ in scores], abs=1e-4)


def test_loglikelihood_equals_the_harness(base: Path, backend: HFBackend) -> None:
    greedy = backend.generate([GenerationRequest(PROMPTS[0], (), 3)])[0]
    pairs = [
        *((prompt, " SELECT") for prompt in PROMPTS),
        (PROMPTS[0], greedy),
        ("", "employees"),
        ("salary  ", "REAL"),
        ("x", " 100 100 100"),
    ]
    expected = harness(base).loglikelihood(instances("loglikelihood", pairs), disable_tqdm=True)
    found = BackendLM(backend).loglikelihood(instances("loglikelihood", pairs))
    assert [is_greedy for _, is_greedy in found] == [is_greedy for _, is_greedy in expected]
    assert [value for value, _ in found] == pytest.approx([value for value, _ in expected], abs=1e-4)


def adding_bos(folder: Path, source: Path) -> Path:
    """The model with a tokenizer that begins every text with a token of its own, as Llama's do."""
    shutil.copytree(source, folder)
    tokenizer = AutoTokenizer.from_pretrained(source)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="A $A", special_tokens=[("A", 5)])
    tokenizer.bos_token = tokenizer.convert_ids_to_tokens(5)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("bos", [False, True])
def test_rolling_loglikelihood_equals_the_harness(
    bos: bool, base: Path, pico_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = pico_model(dtype="float32", initializer_range=0.3, max_position_embeddings=16)
    folder = adding_bos(tmp_path / "bos", folder) if bos else folder
    texts = [("Ada",), (PROMPTS[0] * 3,), (PROMPTS[1],)]
    expected = harness(folder).loglikelihood_rolling(instances("loglikelihood_rolling", texts), disable_tqdm=True)
    backend = HFBackend(folder, dtype="float32", batch_size=4)
    found = BackendLM(backend).loglikelihood_rolling(instances("loglikelihood_rolling", texts))
    assert found == pytest.approx(expected, abs=1e-4)
    assert AutoTokenizer.from_pretrained(folder)("x")["input_ids"][0] == 5 or not bos


def test_loglikelihoods_that_the_harness_cannot_give(pico_model: Callable[..., Path]) -> None:
    """The chain rule holds whatever is empty, merges with its neighbour or is longer than the window."""
    folder = pico_model(dtype="float32", initializer_range=0.3, max_position_embeddings=16)
    backend = HFBackend(folder, dtype="float32", batch_size=4)
    assert backend.loglikelihood([("Ada", ""), ("", "")]) == [(0.0, True), (0.0, True)]
    # a context of blanks is the beginning of the continuation
    assert backend.loglikelihood([("  ", "REAL")]) == backend.loglikelihood([("", "  REAL")])
    # "REA" is one token, as "RE" is: nothing of the continuation is left after the context's tokens
    [(merged, _)] = backend.loglikelihood([("RE", "A")])
    assert merged < -0.1
    # longer than the window of 16 tokens, alone and after a context: what rolls over the whole text
    text = "é".join("how many x" for _ in range(4))
    [(long, _)] = backend.loglikelihood([("", text)])
    assert long == pytest.approx(backend.loglikelihood_rolling([text])[0], abs=1e-4)
    [(after, _)] = backend.loglikelihood([("Ada", " " + text)])
    assert after < long / 2


def test_a_gpu_without_memory_is_one_line(base: Path, backend: HFBackend) -> None:
    """Of a GPU's allocator only the exception can be had here; the CPU's is real."""

    def full(*args: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore")

    before = backend.generate(requests())
    handle = backend._base.model.register_forward_pre_hook(full)
    said = r"^no memory on cpu for the answers \(CUDA out of memory.*\): set backend.batch_size lower, it is 4$"
    for ask in (
        lambda: backend.generate(requests()),
        lambda: backend.loglikelihood([("x", "y")]),
        lambda: backend.loglikelihood_rolling(["x"]),
    ):
        with pytest.raises(UserError, match=said):
            ask()
    handle.remove()
    handle = backend._base.model.register_forward_pre_hook(
        lambda *args: torch.empty(1 << 60, dtype=torch.uint8) and None
    )
    with pytest.raises(UserError, match=r"no memory on cpu for the answers .*can't allocate memory"):
        backend.generate(requests())
    handle.remove()
    assert backend.generate(requests()) == before


def test_a_harness_task_scores_alike(base: Path, backend: HFBackend, tmp_path: Path) -> None:
    data = tmp_path / "items.jsonl"
    data.write_text("".join(json.dumps({"q": prompt, "a": "x"}) + "\n" for prompt in PROMPTS))
    task = {
        "task": "toy",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": str(tmp_path)},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{q}}",
        "doc_to_target": "{{a}}",
        "generation_kwargs": {"until": [";"], "max_gen_toks": 12, "do_sample": False},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }
    manager = TaskManager(include_defaults=False)
    runs = [
        simple_evaluate(model, tasks=[task], task_manager=manager, bootstrap_iters=0, log_samples=True)
        for model in (harness(base), BackendLM(backend))
    ]
    answers = [[sample["resps"] for sample in run["samples"]["toy"]] for run in runs]
    assert answers[0] == answers[1]


def test_candidates_do_not_depend_on_those_before(base: Path, adapters: dict[str, Path], backend: HFBackend) -> None:
    recipes = [recipe(base, adapters, 1.0, 0.2), recipe(base, adapters, 0.1, 0.9), recipe(base, adapters, 0.0, 0.0)]
    recipes.append(recipe(base, adapters, 1.0, 1.0, method="ties"))
    alone = []
    for one in recipes:
        backend.restore()
        backend.apply(one)
        alone.append(backend.generate(requests()))
    for number in (2, 3, 0, 1):
        backend.apply(recipes[number])
        assert backend.generate(requests()) == alone[number]
    assert len(set(map(tuple, alone[:3]))) == 3, "the candidates must differ"


def test_restore_and_load(base: Path, adapters: dict[str, Path], backend: HFBackend) -> None:
    before = backend.generate(requests())
    backend.load(Artifact(str(base), str(adapters["a"])))
    loaded = backend.generate(requests())
    assert loaded != before
    backend.apply(recipe(base, adapters, 1.0, 0.0))
    assert backend.generate(requests()) == loaded
    backend.restore()
    assert backend.generate(requests()) == before


def test_errors_are_one_line(backend: HFBackend, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot load .*give the folder"):
        backend.load(Artifact(str(tmp_path)))
    with pytest.raises(UserError, match="no room for a prompt"):
        backend.generate([GenerationRequest("x", (), 5000)])
    with pytest.raises(UserError, match="empty prompt"):
        backend.generate([GenerationRequest("", (), 5)])
    sampled = instances("generate_until", [("x", {"until": [], "do_sample": True, "temperature": 0.7})])
    with pytest.raises(UserError, match="asks for sampling"):
        BackendLM(backend).generate_until(sampled)


def test_registered() -> None:
    assert BACKENDS["hf"] is HFBackend


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_cuda_answers_equal_cpu(base: Path, backend: HFBackend) -> None:
    on_gpu = HFBackend(base, None, dtype="float32", device="cuda", batch_size=4)
    assert on_gpu.generate(requests()) == backend.generate(requests())
