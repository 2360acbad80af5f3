"""Translated mergekit parameters are those that evomerge's methods take."""

from __future__ import annotations

import pytest

from evomerge.mergekit.methods import METHODS
from evomerge.merging.registry import METHODS as EVOMERGE


@pytest.mark.parametrize("name", METHODS)
def test_evomerge_has_the_method_and_its_parameters(name: str) -> None:
    ours, theirs = EVOMERGE[name], METHODS[name]
    assert ours.space == "full"
    assert ours.min_experts <= max(theirs.least, 1)
    assert ours.max_experts is None or (theirs.most is not None and theirs.most <= ours.max_experts)
    if theirs.base in ("input", "first"):
        assert ours.inputs == "models" and not ours.needs_base
    for parameter in theirs.parameters:
        if parameter.to is not None:
            one_each = parameter.per_model and theirs.most != 1
            domain, _ = (ours.expert_parameters if one_each else ours.parameters)[parameter.to]
            if parameter.default is not None:
                domain.check(parameter.to, parameter.translated(parameter.default))
    for name, value in theirs.fixed.items():
        ours.parameters[name][0].check(name, value)
    emitted = {parameter.to for parameter in theirs.parameters} | set(theirs.fixed)
    assert set(ours.parameters) | set(ours.expert_parameters) <= emitted, "mergekit could not set it: spell it out"
