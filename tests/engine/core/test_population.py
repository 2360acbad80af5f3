from __future__ import annotations

import pytest
import torch
from pico_recipes import FACTORED, WEIGHTS

from evomerge.engine.core.population import Population
from evomerge.engine.live_model import LiveModel

ROWS = {
    "equal runs": [0, 0, 1, 1, 2, 2, 3, 3],
    "shuffled": [3, 0, 2, 1, 0, 1, 3, 2],
    "uneven": [0, 0, 0, 0, 1, 2, 2, 3],
    "some left": [2, 2, 0],
}


def ids(rows: int) -> torch.Tensor:
    return torch.randint(1, 280, (rows, 7), generator=torch.Generator().manual_seed(0))


# float32: rounding of another order of sums; bfloat16: eight bits of mantissa through two layers
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("bfloat16", 0.06)])
@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_each_row_is_its_candidate(pico_model, make_merger, recipe_of, dtype, tolerance, rows):
    folder = pico_model(dtype=dtype)
    live, merger = LiveModel(folder, dtype=dtype), make_merger(folder)
    recipes = [recipe_of(method, dtype=dtype) for method in FACTORED]
    tokens = ids(len(rows))
    wanted = []
    for recipe in recipes:
        live.apply(merger, recipe)
        wanted.append(live.model(tokens).logits)
    wanted_rows = torch.stack([wanted[candidate][row] for row, candidate in enumerate(rows)])
    with Population(live, merger.core_space(recipe_of("core_tsv"))).installed(recipes) as population:
        population.set_rows(torch.tensor(rows))
        logits = live.model(tokens).logits
    scale = wanted_rows.float().std()
    assert (logits - wanted_rows).float().square().mean().sqrt() < tolerance * scale
    swapped = torch.stack([wanted[(candidate + 1) % 4][row] for row, candidate in enumerate(rows)])
    assert (logits - swapped).float().square().mean().sqrt() > 2 * tolerance * scale


def test_leaves_the_model_as_it_was(pico_model, merger, recipe_of):
    live = LiveModel(pico_model())
    pristine, tokens = live.checksum(), ids(2)
    before = live.model(tokens).logits
    population = Population(live, merger.core_space(recipe_of("core_tsv")))
    with pytest.raises(RuntimeError, match="stop"), population.installed([recipe_of("core_tsv")]):
        assert not torch.equal(live.model(tokens).logits, before)
        raise RuntimeError("stop")
    assert live.checksum() == pristine
    assert torch.equal(live.model(tokens).logits, before)


def test_one_recipe_needs_no_rows_and_may_follow_another(pico_model, make_merger, recipe_of):
    folder = pico_model(dtype="float32")
    live, merger = LiveModel(folder, dtype="float32"), make_merger(folder)
    population = Population(live, merger.core_space(recipe_of("core_tsv")))
    live.apply(merger, recipe_of("ties", dtype="float32"))  # must not leak in
    for weights in (WEIGHTS, ((0.1, 0.2, 0.3),)):
        recipe = recipe_of("core_task_arithmetic", weights=weights, dtype="float32")
        population.install([recipe])
        got = live.model(ids(5)).logits
        population.remove()
        live.apply(merger, recipe)
        torch.testing.assert_close(got, live.model(ids(5)).logits, rtol=1e-3, atol=1e-3)


def test_decoding_step_by_step_equals_the_whole(pico_model, make_merger, recipe_of):
    folder = pico_model(dtype="float32")
    live, merger = LiveModel(folder, dtype="float32"), make_merger(folder)
    recipes = [recipe_of("core_tsv"), recipe_of("core_task_arithmetic")]
    tokens = ids(4)
    with Population(live, merger.core_space(recipe_of("core_tsv"))).installed(recipes) as population:
        population.set_rows(torch.tensor([0, 0, 1, 1]))
        whole = live.model(tokens).logits[:, -1]
        first = live.model(tokens[:, :-1], use_cache=True)
        last = live.model(tokens[:, -1:], past_key_values=first.past_key_values).logits[:, -1]
    torch.testing.assert_close(last, whole, rtol=1e-4, atol=1e-4)
