"""What makes a run folder another search: not only names, but what the files contain."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from evomerge.config import Config, ModelsConfig
from evomerge.engine.load_merger import merger_for
from evomerge.errors import UserError
from evomerge.evaluation.judging.judge import Judge
from evomerge.evaluation.worker import open_tasks
from evomerge.files.digests import digest_files
from evomerge.jobs.steps.identity import identity
from evomerge.jobs.steps.open_workers import experts_of, objectives_of, search_space, worker_spec
from evomerge.search.loop import begin_run
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
def config(tmp_path: Path, pico_model, pico_adapter) -> Config:
    shutil.copytree(pico_model(), tmp_path / "base")
    shutil.copytree(pico_adapter(1), tmp_path / "expert")
    (tmp_path / "rows.jsonl").write_text(ROWS)
    write_database(tmp_path / "db.sqlite", 1)
    return Config(
        models=ModelsConfig(str(tmp_path / "base"), {"sql": str(tmp_path / "expert")}),
        tasks={"sql": {"task": "sql", "expert": "sql", "data": str(tmp_path / "rows.jsonl")}},
    )


def identity_of(config: Config) -> dict[str, object]:
    base, experts = config.models.base, experts_of(config)
    spec = worker_spec(config, base, experts)
    with Judge(spec.sandbox) as judge:
        space = search_space(config, base, experts, merger_for(base, experts))
        return identity(config, spec, space, open_tasks(spec, judge))


def differs(config: Config, before: dict[str, object]) -> set[str]:
    after = identity_of(config)
    assert after.keys() == before.keys()
    json.dumps(after)
    return {key for key in after if after[key] != before[key]}


def test_files_count_by_what_they_contain(config: Config, tmp_path: Path, pico_model, pico_adapter) -> None:
    before = identity_of(config)
    (tmp_path / "expert" / "README.md").write_text("a card")
    (tmp_path / "expert" / "trainer_state.json").write_text("{}")
    assert differs(config, before) == set()

    shutil.copytree(pico_adapter(2), tmp_path / "expert", dirs_exist_ok=True)  # trained again
    assert differs(config, before) == {"contents of models.experts.sql"}
    shutil.copytree(pico_adapter(1), tmp_path / "expert", dirs_exist_ok=True)

    (tmp_path / "rows.jsonl").write_text(ROWS.replace("a > 7", "a >= 7"))
    assert differs(config, before) == {"items of tasks.sql"}
    (tmp_path / "rows.jsonl").write_text(ROWS.replace('"id": "0"', '"note": "unread", "id": "0"'))
    assert differs(config, before) == set()

    write_database(tmp_path / "db.sqlite", 1)  # again
    assert differs(config, before) == set()
    write_database(tmp_path / "db.sqlite", 2)
    assert differs(config, before) == {"items of tasks.sql"}
    write_database(tmp_path / "db.sqlite", 1)

    (tmp_path / "base" / "chat_template.jinja").write_text("{{ messages }}")
    assert differs(config, before) == {"contents of models.base"}


def test_settings_count(config: Config) -> None:
    before = identity_of(config)
    config.space.seed = 1
    config.space.methods = ["ties"]
    config.tasks["sql"]["limit"] = 2
    config.cluster.timeout = 7
    config.search.budget = 99
    assert differs(config, before) == {"space.seed", "space.methods", "tasks.sql", "items of tasks.sql"}


def test_the_setting_that_changed_is_named(config: Config, tmp_path: Path) -> None:
    def begin() -> None:
        base, experts = config.models.base, experts_of(config)
        space = search_space(config, base, experts, merger_for(base, experts))
        store = Store(tmp_path / "run")
        try:
            begin_run(store, space, objectives_of(config), "random", identity_of(config))
        finally:
            store.close()

    config.space.layer_groups = 2
    begin()
    config.space.layer_groups = 1
    with pytest.raises(UserError, match=r"other space\.layer_groups \(there 2, now 1\): choose another name="):
        begin()
    config.space.layer_groups = 2
    begin()


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
