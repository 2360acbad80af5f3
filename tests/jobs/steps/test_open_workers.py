"""Impossible requests fail before anything is written; a pool has as many workers as memory and work allow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from evomerge.command_line.compose import compose
from evomerge.command_line.schema import job_settings
from evomerge.engine.load_merger import merger_for
from evomerge.errors import UserError
from evomerge.evaluation.worker_memory import worker_memory
from evomerge.inference.device import default_dtype
from evomerge.jobs import search
from evomerge.jobs.steps.open_space import experts_of, search_space
from evomerge.jobs.steps.open_workers import dtype_of_run, open_pool, worker_spec
from evomerge.recipes.space import SearchSpace
from evomerge.weights.checkpoint import Checkpoint


def configured(pico_model: Callable[..., Path], pico_adapter: Callable[..., Path], *overrides: str) -> search.Settings:
    models = (f"models.base={pico_model()}", "models=own", f"++models.experts.sql={pico_adapter()}", "tasks=[sql]")
    return job_settings(compose((*models, "++tasks.sql.limit=2", *overrides)))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("search.sampler=gpp", r"unknown sampler 'gpp': did you mean 'gp'\?"),
        ("backend.kind=hff", r"unknown backend 'hff': did you mean 'hf'\?"),
        ("backend.dtype=float12", r"backend\.dtype must be one of bfloat16, float16, float32, got 'float12'"),
        ("space.dtype=float64", r"space\.dtype must be one of bfloat16, float16, float32, got 'float64'"),
        ("backend.device=cud", r"backend\.device must be cpu or cuda, got 'cud'"),
        ("backend.device=meta", r"backend\.device must be cpu or cuda, got 'meta'"),
        ("backend.device=xpu:9", r"backend\.device=xpu:9, but torch sees 0 GPUs here"),
        ("backend.device=cuda:99", r"backend\.device=cuda:99, but torch sees \d GPUs here"),
        ("backend.batch_size=0", r"backend\.batch_size must be at least 1, got 0"),
        ("cluster.kind=rya", r"unknown cluster\.kind 'rya': did you mean 'ray'\?"),
        ("cluster.workers=0", r"cluster\.workers must be at least 1, got 0"),
        ("cluster.threads=-1", r"cluster\.threads must be at least 1, got -1"),
        ("cluster.timeout=0", r"cluster\.timeout must be above 0 seconds, got 0"),
        ("space.methods=[tie]", r"unknown merge method 'tie'"),
    ],
)
def test_refused_before_a_folder_is_written(
    override: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pico_model, pico_adapter
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=said):
        search.run(configured(pico_model, pico_adapter, override))
    assert list(tmp_path.iterdir()) == []


def test_a_worker_takes_more_than_its_model(pico_model, pico_adapter) -> None:
    settings = configured(pico_model, pico_adapter)
    base, experts = settings.models.base, experts_of(settings.models)
    narrow, wide = (
        worker_memory(worker_spec(settings, base, experts, dtype=dtype)) for dtype in ("bfloat16", "float32")
    )
    parameters = sum(tensor.numel() for tensor in Checkpoint(pico_model()).values())
    cached = 2 * 2 * 2 * 8 * 65536  # keys and values, layers, heads of keys, their size, tokens
    assert wide - narrow == 2 * (2 * parameters + cached)
    assert narrow > wide - narrow


def test_one_task_has_one_worker_with_all_cores(pico_model, pico_adapter) -> None:
    from evomerge.cluster.machine import cores

    settings = configured(pico_model, pico_adapter)
    spec = worker_spec(settings, settings.models.base, ())
    assert spec.threads is None
    pool = open_pool(settings.cluster, spec, works=1)
    try:
        assert (pool.size, pool.threads) == (1, cores())
    finally:
        pool.close()


def space_of(settings: search.Settings) -> SearchSpace:
    base, experts = settings.models.base, experts_of(settings.models)
    return search_space(settings.space, base, experts, merger_for(base, experts))


def test_layer_groups_are_four_or_one_a_layer_or_as_asked(pico_model, pico_adapter):
    assert space_of(configured(pico_model, pico_adapter)).layer_groups == 2
    deep = pico_model(num_hidden_layers=6)
    models = (f"models.base={deep}", f"++models.experts.sql={pico_adapter(base=deep)}")
    assert space_of(configured(pico_model, pico_adapter, *models)).layer_groups == 4
    assert space_of(configured(pico_model, pico_adapter, "space.layer_groups=1")).layer_groups == 1
    with pytest.raises(UserError, match=r"space\.layer_groups must be at most 2, the layers of .*, got 99"):
        space_of(configured(pico_model, pico_adapter, "space.layer_groups=99"))


def dtype_of_recipes(settings: search.Settings) -> str:
    return space_of(settings).dtype


@pytest.mark.parametrize("stored", ["bfloat16", "float16", "float32"])
def test_merged_models_are_stored_as_their_base_is_whatever_they_compute_in(stored: str, pico_model, pico_adapter):
    base = f"models.base={pico_model(dtype=stored)}"
    assert dtype_of_recipes(configured(pico_model, pico_adapter, base, "backend.dtype=float32")) == stored
    assert dtype_of_recipes(configured(pico_model, pico_adapter, base, "space.dtype=float16")) == "float16"


def test_a_base_in_a_dtype_that_models_are_not_merged_to_gives_bfloat16(pico_model, pico_adapter):
    base = f"models.base={pico_model(dtype='float64')}"
    assert dtype_of_recipes(configured(pico_model, pico_adapter, base)) == "bfloat16"


def test_a_model_computes_as_asked_or_as_its_search_began_or_as_the_device_is_fast(pico_model, pico_adapter):
    settings = configured(pico_model, pico_adapter, "backend.device=cpu")
    asked = configured(pico_model, pico_adapter, "backend.dtype=float16").backend
    assert dtype_of_run(asked, {"dtype": "bfloat16"}) == "float16"
    begun = {dtype_of_run(settings.backend, {"dtype": dtype}) for dtype in ("bfloat16", "float32")}
    assert begun == {"bfloat16", "float32"}
    spec = worker_spec(settings, settings.models.base, ())
    assert dtype_of_run(settings.backend, {}) == default_dtype("cpu") == spec.dtype
