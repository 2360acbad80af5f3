"""Weighted layers are the merge, and the gradient of the loss is right."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM

from evomerge.engine.export import export_model
from evomerge.engine.live_model import LiveModel
from evomerge.errors import UserError
from evomerge.inference.learning.answer_loss import AnswerLoss, differentiable
from evomerge.inference.learning.tokens import TokenTarget
from evomerge.inference.learning.weighted_layers import WeightedLayers

WEIGHTS = ((0.9, 0.4), (0.3, 1.2))
TOKENS = torch.arange(5, 45).reshape(2, 20)
TARGETS = [
    [TokenTarget("a", (5, 9, 30, 7), (20, 21, 22), (0, 12)), TokenTarget("a", (8, 4), (17,), (0,))],
    [TokenTarget("b", (31, 32, 33, 34, 35, 36, 37), (40, 41))],
]


def layers_of(live, merger, recipe) -> WeightedLayers:
    return WeightedLayers(live, merger.core_space(recipe), recipe)


@pytest.mark.parametrize(
    ("method", "tied", "more"),
    [
        ("core_tsv", True, {}),
        ("core_task_arithmetic", True, {}),
        ("core_tsv", False, {"target_modules": ["lm_head", "down_proj"]}),
    ],
)
@torch.no_grad()
def test_the_weighted_model_is_the_exported_recipe(merged_pair, pico_model, tmp_path, method, tied, more):
    live, merger, recipe = merged_pair(method, WEIGHTS, pico_model(dtype="float32", tied=tied), **more)
    base = live.model(TOKENS).logits
    with layers_of(live, merger, recipe).weighted(torch.tensor(WEIGHTS)):
        found = live.model(TOKENS).logits
    assert torch.equal(live.model(TOKENS).logits, base), "a hook was left behind"
    saved = AutoModelForCausalLM.from_pretrained(export_model(merger, recipe, tmp_path / "model"))
    torch.testing.assert_close(found, saved(TOKENS).logits, rtol=1e-4, atol=1e-4)
    assert (found - base).abs().max() > 0.1


def test_layers_that_may_do_more_than_multiply_are_refused(merged_pair):
    live, merger, recipe = merged_pair("core_tsv", WEIGHTS)
    live.model.model.layers[1].mlp.up_proj.__class__ = type("ScaledLinear", (torch.nn.Linear,), {})
    with pytest.raises(UserError, match=r"'model.layers.1.mlp.up_proj.weight' is the weight of ScaledLinear"):
        layers_of(live, merger, recipe)


@pytest.mark.parametrize(
    "change", [{"method": "core_ties"}, {"parameters": {"scale": 0.5}}, {"modifiers": {"svc": {"alpha": 1.0}}}]
)
def test_recipes_without_parts_are_refused(merged_pair, change):
    live, merger, recipe = merged_pair("core_tsv")
    if "method" in change:
        change = change | {"expert_parameters": {"density": (0.5, 0.5)}, "parameters": {}}
    with pytest.raises(UserError, match="has no parts whose weighted sum is the merge"):
        layers_of(live, merger, replace(recipe, **change))


@pytest.mark.parametrize("tokens", [1, 512])
def test_the_gradient_is_that_of_finite_differences(merged_pair, tokens):
    live, merger, recipe = merged_pair("core_tsv", WEIGHTS)
    loss = AnswerLoss(live.model, layers_of(live, merger, recipe), tokens=tokens)
    weights = torch.tensor(WEIGHTS, requires_grad=True)
    value = loss(weights, TARGETS)
    assert value == pytest.approx(loss(weights.detach(), TARGETS, gradient=False), rel=1e-5)
    assert all(parameter.grad is None for parameter in live.model.parameters())
    step = 1e-3
    for layer, expert in itertools.product(range(2), range(2)):
        moved = torch.zeros(2, 2)
        moved[layer, expert] = step
        up, down = (loss(weights.detach() + sign * moved, TARGETS, gradient=False) for sign in (1, -1))
        assert float(weights.grad[layer, expert]) == pytest.approx((up - down) / (2 * step), rel=0.02, abs=0.01)
    assert weights.grad.abs().max() > 0.1


def test_a_base_in_bfloat16_gives_nearly_the_same_gradient(merged_pair):
    gradients = []
    for dtype in ("float32", "bfloat16"):
        live, merger, recipe = merged_pair("core_tsv", WEIGHTS)
        weights = torch.tensor(WEIGHTS, requires_grad=True)
        live = LiveModel(merger.base.folder, dtype)
        AnswerLoss(live.model, layers_of(live, merger, recipe))(weights, TARGETS)
        gradients.append(weights.grad)
    assert gradients[1].dtype == torch.float32
    assert torch.cosine_similarity(*(g.flatten() for g in gradients), dim=0) > 0.98


def test_the_loss_is_the_mean_of_tasks_of_the_nats_of_answers(merged_pair):
    live, merger, recipe = merged_pair("core_tsv", WEIGHTS)
    loss = AnswerLoss(live.model, layers_of(live, merger, recipe))
    weights = torch.tensor(WEIGHTS)

    def nats(target: TokenTarget) -> float:
        text = torch.tensor([target.before + target.new])
        with layers_of(live, merger, recipe).weighted(weights), torch.no_grad():
            logs = live.model(text).logits[0].log_softmax(-1)
        found = -sum(float(logs[len(target.before) - 1 + n, token]) for n, token in enumerate(target.new))
        return found - (float(logs[-1, list(target.ends)].logsumexp(0)) if target.ends else 0.0)

    wanted = ((nats(TARGETS[0][0]) + nats(TARGETS[0][1])) / 2 + nats(TARGETS[1][0])) / 2
    assert loss(weights, TARGETS, gradient=False) == pytest.approx(wanted, rel=1e-4)
    assert loss(weights, [[], TARGETS[1]], gradient=False) == pytest.approx(nats(TARGETS[1][0]), rel=1e-4)


@pytest.mark.parametrize("padding", [True, False])
def test_checkpoints_and_padding_change_no_gradient(merged_pair, padding):
    live, merger, recipe = merged_pair("core_tsv", WEIGHTS)
    layers = layers_of(live, merger, recipe)
    gradients = []
    for checkpoints, pads in ((False, True), (True, padding)):
        weights = torch.tensor(WEIGHTS, requires_grad=True)
        with differentiable(live.model, checkpoints):
            AnswerLoss(live.model, layers, pads)(weights, TARGETS)
        gradients.append(weights.grad)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-5)
    assert not any(module.training for module in live.model.modules())
    assert not live.model.is_gradient_checkpointing


def test_checkpoints_compute_layers_again(merged_pair):
    live, merger, recipe = merged_pair("core_tsv", WEIGHTS)
    calls = []
    handle = live.model.model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    weights = torch.tensor(WEIGHTS, requires_grad=True)
    with differentiable(live.model, checkpoints=True):
        AnswerLoss(live.model, layers_of(live, merger, recipe))(weights, TARGETS)
    handle.remove()
    assert len(calls) == 2
