"""Identity of a search: it depends on the contents of files, not only on their names."""

from __future__ import annotations

import json
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from evomerge.analysis.rescore import worker_spec_of
from evomerge.engine.load_merger import merger_for
from evomerge.errors import UserError
from evomerge.files.digests import digest_files
from evomerge.jobs import search
from evomerge.jobs.checked_tasks import objectives_of
from evomerge.jobs.search import Settings
from evomerge.jobs.steps.identity import earlier_versions, open_and_identify
from evomerge.jobs.steps.open_space import experts_of, search_space
from evomerge.jobs.steps.open_workers import worker_spec
from evomerge.recipes.space import SearchSpace
from evomerge.recipes.space_settings import ModelsSettings
from evomerge.search.begin import begin_run
from evomerge.search.store import Store

SCHEMA = "CREATE TABLE t (a INT);"
ROWS = "".join(
    json.dumps(
        {"id": f"{i}", "question": "?", "schema": SCHEMA, "database": "db.sqlite", "sql": f"SELECT a > {i} FROM t"}
    )
    + "\n"
    for i in range(10)
)


def write_database(file: Path, value: int) -> None:
    file.unlink(missing_ok=True)
    connection = sqlite3.connect(file)
    connection.executescript(f"{SCHEMA} INSERT INTO t VALUES ({value});")
    connection.close()


@pytest.fixture
def settings(tmp_path: Path, pico_model, pico_adapter) -> Settings:
    shutil.copytree(pico_model(), tmp_path / "base")
    shutil.copytree(pico_adapter(1), tmp_path / "expert")
    (tmp_path / "rows.jsonl").write_text(ROWS)
    write_database(tmp_path / "db.sqlite", 1)
    return Settings(
        models=ModelsSettings(str(tmp_path / "base"), {"sql": str(tmp_path / "expert")}),
        tasks={"sql": {"task": "sql", "expert": "sql", "data": str(tmp_path / "rows.jsonl")}},
    )


def space_of(settings: Settings) -> SearchSpace:
    base, experts = settings.models.base, experts_of(settings.models)
    return search_space(settings.space, base, experts, merger_for(base, experts))


def identity_of(settings: Settings) -> dict[str, object]:
    spec = worker_spec(settings, settings.models.base, experts_of(settings.models))
    return open_and_identify(settings.tasks, settings.search.runaway, spec, space_of(settings))[0]


def differs(settings: Settings, before: dict[str, object]) -> set[str]:
    after = identity_of(settings)
    assert after.keys() == before.keys()
    json.dumps(after)
    return {key for key in after if after[key] != before[key]}


def test_files_count_by_what_they_contain(settings: Settings, tmp_path: Path, pico_model, pico_adapter) -> None:
    before = identity_of(settings)
    (tmp_path / "expert" / "README.md").write_text("a card")
    (tmp_path / "expert" / "trainer_state.json").write_text("{}")
    assert differs(settings, before) == set()

    shutil.copytree(pico_adapter(2), tmp_path / "expert", dirs_exist_ok=True)  # trained again
    assert differs(settings, before) == {"contents of models.experts.sql"}
    shutil.copytree(pico_adapter(1), tmp_path / "expert", dirs_exist_ok=True)

    (tmp_path / "rows.jsonl").write_text(ROWS.replace("a > 7", "a >= 7"))
    assert differs(settings, before) == {"items of tasks.sql"}
    (tmp_path / "rows.jsonl").write_text(ROWS.replace('"id": "0"', '"note": "unread", "id": "0"'))
    assert differs(settings, before) == set()

    write_database(tmp_path / "db.sqlite", 1)  # again
    assert differs(settings, before) == set()
    write_database(tmp_path / "db.sqlite", 2)
    assert differs(settings, before) == {"items of tasks.sql"}
    write_database(tmp_path / "db.sqlite", 1)

    (tmp_path / "base" / "chat_template.jinja").write_text("{{ messages }}")
    assert differs(settings, before) == {"contents of models.base"}


def test_settings_count(settings: Settings) -> None:
    before = identity_of(settings)
    changed = replace(
        settings,
        space=replace(settings.space, seed=1, methods=["ties"]),
        tasks={"sql": {**settings.tasks["sql"], "limit": 2}},
        cluster=replace(settings.cluster, timeout=7),
        search=replace(settings.search, budget=99),
    )
    assert differs(changed, before) == {"space.seed", "space.methods", "tasks.sql", "items of tasks.sql"}


def test_the_setting_that_changed_is_named(settings: Settings, tmp_path: Path) -> None:
    def begin(groups: int) -> None:
        asked = replace(settings, space=replace(settings.space, layer_groups=groups))
        store = Store(tmp_path / "run")
        try:
            begin_run(store, space_of(asked), objectives_of(asked.tasks), "random", identity_of(asked))
        finally:
            store.close()

    begin(2)
    with pytest.raises(UserError, match=r"other space\.layer_groups \(there 2, now 1\): choose another name="):
        begin(1)
    begin(2)


def test_a_folder_begun_with_every_second_item_of_a_harness_task_does_not_go_on(settings: Settings) -> None:
    identity = identity_of(settings)
    assert earlier_versions(identity) == {"search.learned": "false"}, "the items of own tasks are compared themselves"
    key = "search and selection items of tasks.hellaswag"
    assert earlier_versions({**identity, key: "halves of a shuffle with seed 0"}) == {
        key: "every second item",
        "search.learned": "false",
    }


def test_long_files_are_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights.safetensors"
    size = 600 * 1024**2

    def written(**at: int) -> str:
        with file.open("wb") as stream:
            stream.truncate(size)  # sparse: takes no room
            for place in at.values():
                stream.seek(place)
                stream.write(b"x" * (size // 1000))
        return digest_files([file])

    plain = written()
    assert written() == plain
    changed = {written(place=place) for place in (0, size // 3, size - size // 1000)}
    assert len(changed) == 3 and plain not in changed
    with file.open("r+b") as stream:
        stream.truncate(size - 1)
    assert digest_files([file]) != plain


def test_config_yaml_holds_what_was_asked_and_what_followed(settings: Settings, tmp_path: Path) -> None:
    search._keep(settings, tmp_path, 2, "float32", {"sql": {"0": "?"}})
    kept = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert kept.keys() == {
        "job", "name", "outputs", "rank", "models", "space", "search", "tasks", "cluster", "backend", "sandbox",
        "latency", "tracking", "push_to_hub", "hub",
    }  # fmt: skip
    assert (kept["space"]["layer_groups"], kept["backend"]["dtype"], kept["backend"]["device"]) == (2, "float32", None)
    assert kept["tasks"] == settings.tasks
    spec = worker_spec_of(kept, settings.models.base, ())
    assert (spec.tasks, spec.dtype) == (worker_spec(settings, settings.models.base, ()).tasks, "float32")
