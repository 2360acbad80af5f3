"""Extract a PEFT adapter from a model's difference to its base; each thread has one matrix in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from evomerge.engine.extract.deltas import Buffers, Deltas, energy
from evomerge.engine.extract.low_rank import energy_of, factored_svd, with_row_means
from evomerge.engine.extract.plan import ExtractOptions, Plan
from evomerge.engine.extract.rank_selection import Progress, decompose, spread_over_layers, threads_for
from evomerge.engine.extract.result import REPORT, Extraction, Part, report
from evomerge.engine.threads import in_order
from evomerge.errors import UserError
from evomerge.tensors.lazy import LazyMatrix, LowRank
from evomerge.weights.adapters.writer import AdapterWriter, new_adapter
from evomerge.weights.parameter_names import is_embedding, is_head


def extract(
    deltas: Deltas, folder: Path, base_name: str, options: ExtractOptions, progress: Progress | None = None
) -> Extraction:
    """Write the adapter; its ``extraction.json`` holds options, errors and energies.

    Args:
        deltas: the model as its difference to the base.
        folder: output folder; it appears complete or not at all, and replaces an existing one.
        base_name: model name that the adapter gets as its base.
        options: ranks, policies and accuracy.
        progress: function called with the number of finished parameters and of all.

    Raises:
        UserError: nothing differs in any linear layer, the budget is too small, or PEFT cannot express a policy.
    """
    plan = Plan(deltas.base, deltas.modules, options)
    ranks = spread_over_layers(deltas, plan, options, progress) if options.parameters is not None else None
    with new_adapter(folder, base_name, plan.in_base(), options.dtype) as writer:
        run = _Run(deltas, plan, options, writer, ranks)
        changes = in_order(run.look, deltas.read(), threads_for(options))
        for number, ((name, change), found) in enumerate(changes, start=1):
            run.take(name, change, found)
            if progress is not None:
                progress(number, len(deltas.names))
        run.finish_biases()
        if not writer.ranks:
            raise UserError(_nothing(run.parts))
        done = Extraction(folder, tuple(run.parts), writer.parameters, run.added)
        writer.text(REPORT, json.dumps(report(done, plan.described()), indent=1) + "\n")
    return done


@dataclass(frozen=True)
class _Found:
    """Result of :meth:`_Run.look`: the energy of a change and, for a layer in low rank, its factors and their squared
    error."""

    energy: float
    factor: LowRank | None = None
    lost: float = 0.0


class _Run:
    """One pass over the parameters: :meth:`look` at several at once, :meth:`take` one after another."""

    def __init__(
        self,
        deltas: Deltas,
        plan: Plan,
        options: ExtractOptions,
        writer: AdapterWriter,
        ranks: Mapping[str, int] | None,
    ) -> None:
        self.parts: list[Part] = []
        self.added = 0
        self._deltas, self._plan, self._options, self._writer, self._ranks = deltas, plan, options, writer, ranks
        self._buffers = Buffers()
        self._biases: dict[str, tuple[str, torch.Tensor]] = {}  # parameter name and change by module

    def look(self, named: tuple[str, LazyMatrix]) -> _Found | None:
        """Do the costly part, which depends on this parameter alone; None if :meth:`take` needs the change itself."""
        (name, change), options = named, self._options
        route = self._route(name)
        if route in ("linear", "embedding"):
            matrix = change if isinstance(change, LowRank) else self._buffers.dense(change).to(options.device)
            found = decompose(matrix, options, None if self._ranks is None else self._ranks[name])
            if not found.rank:
                return _Found(found.energy)
            factor, lost = found.factors(options.settings.distribute_scale), found.lost
            if options.settings.correct_mean:
                factor, lost = with_row_means(matrix, found.first(found.rank - 1), options.settings.distribute_scale)
            return _Found(found.energy, factor, lost)
        return _Found(_energy(change)) if isinstance(change, LowRank) or route == "skip" else None

    def take(self, name: str, change: LazyMatrix, found: _Found | None) -> None:
        """Write the adapter's part of a change, and record its error."""
        route, added = self._route(name), self._deltas.added_rows(name)
        if added is not None and route != "whole":
            self.added += len(added)
        if found is not None:
            self._factors(name, change, found, route)
            return
        delta = self._buffers.dense(change)
        if route == "bias" and delta.any():
            self._biases[self._plan.module(name)] = (name, delta.clone())
        elif route == "whole" and (added is not None or delta.any() or self._plan.module(name) in self._biases):
            self._whole(name, delta, added)

    def _route(self, name: str) -> str:
        full = self._options.settings.added_tokens == "full" and self._deltas.added_rows(name) is not None
        return "whole" if full else self._plan.route(name)

    def finish_biases(self) -> None:
        """Write changed biases of layers whose weights did not change."""
        for module, (name, _) in list(self._biases.items()):
            weight = f"{name.removesuffix('.bias')}.weight"
            shape = self._deltas.base.shape(weight)
            if self._options.settings.biases == "lora" and len(shape) == 2:
                self._write(weight, module, LowRank(torch.zeros(shape[0], 1), torch.zeros(1, shape[1])), "linear")
            else:
                self._whole(weight, torch.zeros(shape), None)

    def _factors(self, name: str, change: LazyMatrix, found: _Found, route: str) -> None:
        module = self._plan.module(name)
        if route in ("linear", "embedding") and self._options.settings.biases == "full" and module in self._biases:
            self._whole(name, self._buffers.dense(change), None)
        elif found.factor is None:
            self._leave(name, found.energy)
        else:
            self._write(name, module, found.factor, route)
            parameters = found.factor.left.numel() + found.factor.right.numel()
            self.parts.append(Part(name, "lora", found.factor.rank, parameters, found.energy, found.lost))

    def _write(self, name: str, module: str, factor: LowRank, route: str) -> None:
        if route == "embedding":
            self._writer.embedding(module, factor)
            return
        bias = None
        if self._options.settings.biases == "lora":
            key = f"{name.removesuffix('.weight')}.bias"
            if key not in self._deltas.base:
                raise UserError(
                    f"biases=lora: '{name}' has no bias, and PEFT needs one in every adapted layer: wanted skip or "
                    "full, or exclude=[...] the layers without a bias"
                )
            _, bias = self._biases.pop(module, (key, torch.zeros(self._deltas.base.shape(key))))
            if energy := energy_of(bias):
                self.parts.append(Part(key, "lora", 0, bias.numel(), energy, 0.0))
        if self._plan.transposed and not is_head(name):
            factor = LowRank(factor.right.mT, factor.left.mT)
        self._writer.linear(module, factor, bias, self._plan.transposed)

    def _whole(self, name: str, delta: torch.Tensor, added: torch.Tensor | None) -> None:
        """Write all parameters of a module: PEFT stores a second copy of the whole module."""
        base, module, prefix = self._deltas.base, self._plan.module(name), name.rpartition(".")[0]
        own = [n for n in (f"{prefix}.weight", f"{prefix}.bias") if n in base]
        tensors = {n.rpartition(".")[2]: base[n].float() for n in own}
        tensors[name.rpartition(".")[2]] = tensors[name.rpartition(".")[2]] + delta.cpu()
        if module in self._biases:
            key, bias = self._biases.pop(module)
            tensors["bias"] = tensors["bias"] + bias
            self.parts.append(Part(key, "full", 0, bias.numel(), energy_of(bias), 0.0))
        if added is not None:
            tensors["weight"] = torch.cat([tensors["weight"], added])
        before = self._writer.parameters
        self._writer.whole(module, tensors)
        if self._plan.tied and is_embedding(name):
            self._writer.whole("lm_head", tensors)  # PEFT unties modules that it stores a copy of
        self.parts.append(Part(name, "full", 0, self._writer.parameters - before, energy_of(delta), 0.0))

    def _leave(self, name: str, energy: float) -> None:
        if energy:
            self.parts.append(Part(name, "left out", 0, 0, energy, energy))


def _energy(change: LazyMatrix) -> float:
    return factored_svd(change).energy if isinstance(change, LowRank) else energy(change)


def _nothing(parts: Sequence[Part]) -> str:
    if not parts:
        return "the model does not differ from its base: there is no adapter to extract"
    names = ", ".join(part.name for part in parts[:3])
    return (
        f"no linear layer got a direction, only {names}{' ...' if len(parts) > 3 else ''} differ: check include, "
        "exclude, sv_epsilon, and the policies embeddings and norms"
    )
