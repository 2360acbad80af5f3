"""``job=merge`` with a combination of adapters writes an adapter that peft loads."""

from __future__ import annotations

import json

import pytest
import torch
import yaml
from peft import PeftModel
from transformers import AutoModelForCausalLM

from evomerge.errors import UserError
from evomerge.jobs import merge
from evomerge.jobs.steps import combine_adapters
from evomerge.weights.adapters.adapter import Adapter


def write(path, recipe) -> str:
    path.write_text(yaml.safe_dump(recipe))
    return str(path)


def dense(folder) -> dict[str, torch.Tensor]:
    return {module: factor.dense() for module, factor in Adapter(folder).factors.items()}


def test_the_merge_job_combines(pico_model, pico_adapter, tmp_path, capsys):
    """svd in one step; and cat, then svd of what was written: the same model, loaded by peft."""
    folders = [pico_adapter(seed=i, r=r) for i, r in ((1, 4), (2, 4), (3, 6))]
    adapters = [{"model": str(f), "weight": w, "name": f"a{w}"} for f, w in zip(folders, (0.5, -0.3, 0.9), strict=True)]
    recipe = write(
        tmp_path / "one.yaml", {"combine": "svd", "adapters": adapters, "rank": 5, "base": str(pico_model())}
    )
    merge.run(merge.Settings(recipe=recipe, out=str(tmp_path / "one")))
    assert "svd of 3 adapters, rank 5, written to" in capsys.readouterr().out

    first = write(tmp_path / "cat.yaml", {"combine": "cat", "adapters": adapters[:2]})
    combine_adapters.run(first, str(tmp_path / "pair"))
    pair = {"model": "pair", "weight": 1.0}
    second = write(tmp_path / "two.yaml", {"combine": "svd", "adapters": [pair, adapters[2]], "rank": 5})
    combine_adapters.run(second, str(tmp_path / "two"))
    for module, expected in dense(tmp_path / "one").items():
        torch.testing.assert_close(dense(tmp_path / "two")[module], expected, rtol=1e-4, atol=1e-5)

    config = json.loads((tmp_path / "one" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(pico_model().resolve())
    assert "q_proj" in config["target_modules"]  # short names, because the base is known and every such module is there
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(pico_model()), tmp_path / "one")
    module = loaded.base_model.model.model.layers[0].mlp.up_proj
    expected = dense(tmp_path / "one")["model.layers.0.mlp.up_proj"]
    torch.testing.assert_close(module.get_delta_weight("default").float(), expected, rtol=1e-3, atol=1e-3)


def test_the_same_recipe_gives_the_same_file(pico_adapter, tmp_path):
    adapters = [{"model": str(pico_adapter(seed=i)), "weight": 1.0, "name": f"a{i}"} for i in (1, 2)]
    recipe = write(tmp_path / "r.yaml", {"combine": "dare_ties_svd", "adapters": adapters, "density": 0.4})
    for out in ("one", "two"):
        combine_adapters.run(recipe, str(tmp_path / out))
    one, two = ((tmp_path / out / "adapter_model.safetensors").read_bytes() for out in ("one", "two"))
    assert one == two


def test_embeddings_stay_embeddings(pico_model, pico_adapter, tmp_path):
    base = pico_model(tied=False)
    folders = [pico_adapter(seed=i, base=base, target_modules=["embed_tokens", "q_proj"]) for i in (6, 7)]
    adapters = [{"model": str(f), "weight": 0.5, "name": f.parent.name} for f in folders]
    recipe = write(tmp_path / "r.yaml", {"combine": "cat", "adapters": adapters, "base": str(base)})
    combine_adapters.run(recipe, str(tmp_path / "out"))
    found = Adapter(tmp_path / "out").embeddings["model.embed_tokens"].dense()
    torch.testing.assert_close(found, sum(0.5 * Adapter(f).embeddings["model.embed_tokens"].dense() for f in folders))
    merged = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base).float(), tmp_path / "out")
    before = merged.base_model.model.model.embed_tokens.weight.clone()
    after = merged.merge_and_unload().model.embed_tokens.weight
    torch.testing.assert_close(after - before, found, rtol=1e-4, atol=1e-4)


def test_different_bases_are_named(pico_model, pico_adapter, tmp_path):
    folders = [pico_adapter(seed=1), pico_adapter(seed=1, base=pico_model(seed=5))]
    adapters = [{"model": str(f), "weight": 1.0, "name": f.parent.name} for f in folders]
    recipe = write(tmp_path / "r.yaml", {"combine": "cat", "adapters": adapters})
    with pytest.raises(UserError, match=r"the adapters name different bases, .* give the key 'base'") as caught:
        combine_adapters.run(recipe, str(tmp_path / "out"))
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("settings", [{"use_dora": True}, {"modules_to_save": ["lm_head"]}])
def test_more_than_lora_factors_is_refused(pico_model, pico_adapter, tmp_path, settings):
    folder = pico_adapter(base=pico_model(tied=False), target_modules=["q_proj"], **settings)
    recipe = write(tmp_path / "r.yaml", {"combine": "cat", "adapters": [{"model": str(folder), "weight": 1.0}]})
    with pytest.raises(UserError, match=r"holds more than LoRA factors for '.*no combination type") as caught:
        combine_adapters.run(recipe, str(tmp_path / "out"))
    assert "\n" not in str(caught.value)
