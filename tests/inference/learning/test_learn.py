"""The learning finds planted weights, stops, is deterministic, and says what it lacks."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch

from evomerge.errors import UserError
from evomerge.inference.backend import GenerationRequest
from evomerge.inference.backends.hf import HFBackend
from evomerge.inference.learning.answer_loss import AnswerLoss
from evomerge.inference.learning.learn import learn
from evomerge.inference.learning.settings import LearnSettings
from evomerge.inference.learning.targets import Target
from evomerge.inference.learning.tokens import TokenTarget, hold_back
from evomerge.inference.learning.weighted_layers import WeightedLayers

SETTINGS = LearnSettings(steps=60, batch=4, rate=0.05)


def targets(**counts: int) -> list[TokenTarget]:
    return [TokenTarget(task, (n + 1,), (n,)) for task, count in counts.items() for n in range(count)]


def bowl(wanted: torch.Tensor, seen: list | None = None):
    """A loss that is smallest at ``wanted``."""

    def loss(weights, tasks, gradient=True):
        if seen is not None:
            seen.append((gradient, [[t.new[0] for t in own] for own in tasks]))
        with torch.set_grad_enabled(gradient):
            value = (weights - wanted).square().sum() + 1.0
            if gradient:
                value.backward()
        return float(value.detach())

    return loss


def test_it_finds_the_smallest_loss_inside_the_range():
    wanted = torch.tensor([[0.2, 1.3], [-0.1, 1.5]])
    learned = learn(bowl(wanted), (2, 2), targets(a=10), replace(SETTINGS, steps=200, patience=9, high=1.4))
    for found, best in zip(learned.weights, wanted.clamp(1e-3, 1.4).tolist(), strict=True):
        assert found == pytest.approx(best, abs=0.06)
    assert learned.loss_after < learned.loss_before
    assert all(round(w * 1000, 6) == round(w * 1000) for row in learned.weights for w in row)


def test_it_starts_from_the_best_constant_weight():
    assert learn(bowl(torch.full((2, 2), 0.45)), (2, 2), targets(a=10), SETTINGS).start == pytest.approx(0.5)


def test_it_stops_where_nothing_is_gained():
    def constant(weights, tasks, gradient=True):
        if gradient:
            weights.sum().backward()
        return 2.0

    learned = learn(constant, (2, 2), targets(a=10), SETTINGS)
    assert learned.steps == SETTINGS.patience * SETTINGS.every
    assert learned.loss_after == learned.loss_before == 2.0 and {w for row in learned.weights for w in row} == {1.0}


def test_held_back_targets_are_a_fifth_and_never_learned_from():
    own = targets(a=11, b=3, c=25)
    seen: list = []
    learn(bowl(torch.zeros(2, 2), seen), (2, 2), own, SETTINGS)
    _, held = hold_back(own, SETTINGS.seed)
    assert [len(part) for part in held] == [2, 0, 5]
    for gradient, parts in seen:
        if not gradient:
            assert parts == [[t.new[0] for t in part] for part in held]
            continue
        for part, kept in zip(parts, held, strict=True):
            assert not {t.new[0] for t in kept} & set(part)
            assert 0 < len(part) <= SETTINGS.batch and len(set(part)) == len(part)
    drawn = Counter(number for gradient, parts in seen if gradient for number in parts[2])
    assert len(drawn) == 20 and max(drawn.values()) - min(drawn.values()) <= 1, "each as often as the others"


def test_too_few_answers_are_refused():
    with pytest.raises(UserError, match=r"too few answers to learn from \(a 4, b 2\): one task must have 5"):
        learn(bowl(torch.zeros(2, 2)), (2, 2), targets(a=4, b=2), SETTINGS)
    with pytest.raises(UserError, match=r"\(none\)"):
        learn(bowl(torch.zeros(2, 2)), (2, 2), [], SETTINGS)


@pytest.fixture(scope="module")
def planted(merged_pair):
    """Live base, merger, recipe, and the next tokens of the merge in which expert 1 has no part in layer 1."""
    live, merger, recipe = merged_pair("core_tsv", size=0.2)
    live.apply(merger, replace(recipe, weights=((1.0, 1.0), (1.0, 0.001))))
    drawn = torch.randint(1, 300, (60, 6), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = live.model(drawn).logits[:, -1].argmax(-1)
    live.restore()
    pairs = zip(drawn.tolist(), wanted.tolist(), strict=True)
    return live, merger, recipe, [TokenTarget("t", tuple(before), (new,)) for before, new in pairs]


def test_it_finds_the_layer_in_which_an_expert_is_poison(planted):
    live, merger, recipe, own = planted
    layers = WeightedLayers(live, merger.core_space(recipe), recipe)
    settings = LearnSettings(steps=80, batch=12, patience=20, rate=0.05)
    learned = learn(AnswerLoss(live.model, layers), layers.shape, own, settings)
    assert learned.loss_after < learned.loss_before
    (_, good), (own_again, poison) = learned.weights
    assert poison < 0.25 and poison < good - 0.4 and poison < own_again - 0.4, learned.weights


@pytest.fixture(scope="module")
def backend(merged_pair):
    """A backend, a recipe, and answers to learn."""
    _, merger, recipe = merged_pair("core_tsv")
    own = [Target("t", f"{word} {n}", f" {word}", (), 8, ends=True) for n in range(9) for word in ("SELECT", "name")]
    return HFBackend(merger.base.folder, merger, dtype="float32", device="cpu", threads=1), recipe, own


def test_it_is_a_function_of_targets_settings_and_seed(backend):
    backend, recipe, own = backend
    settings = LearnSettings(steps=4, batch=4)
    first = backend.learn(recipe, own, settings)
    backend.apply(recipe)  # what the model held before does not count
    assert backend.learn(recipe, own, settings) == first
    assert backend.learn(recipe, own, replace(settings, seed=1)).weights != first.weights


def test_it_leaves_the_base_and_the_decoder_as_they_were(backend):
    backend, recipe, own = backend
    requests = [GenerationRequest(target.prompt, (), 8) for target in own[:4]]
    backend.restore()
    before = backend.generate(requests)
    backend.apply(recipe)
    merged = backend.generate(requests)
    threads = torch.get_num_threads()
    backend.learn(recipe, own, LearnSettings(steps=1), threads=2)
    assert torch.get_num_threads() == threads
    assert backend.generate(requests) == before != merged
    assert not any(parameter.requires_grad for parameter in backend._base.model.parameters())
