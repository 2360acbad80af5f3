"""Run lm-evaluation-harness on the model that a backend of evomerge holds."""

from __future__ import annotations

from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.models.utils import normalize_gen_kwargs

from evomerge.errors import UserError
from evomerge.inference.backend import Backend, GenerationRequest

_DEFAULT_NEW_TOKENS = 256  # lm-eval's own, for tasks that do not say


class BackendLM(LM):  # type: ignore[misc]
    """An ``lm_eval`` model, for example ``simple_evaluate(model=BackendLM(backend), tasks=[...])``."""

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self._backend = backend

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        return self._backend.generate([greedy_request(*instance.args) for instance in requests])

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        return self._backend.loglikelihood([instance.args for instance in requests])

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        return self._backend.loglikelihood_rolling([instance.args[0] for instance in requests])


def greedy_request(prompt: str, given: dict[str, Any]) -> GenerationRequest:
    """The request of an lm-eval instance.

    Raises:
        UserError: it asks for sampling, which would make scores depend on a seed.
    """
    settings = dict(normalize_gen_kwargs(given, _DEFAULT_NEW_TOKENS))
    if settings.get("do_sample"):
        raise UserError("the task asks for sampling (do_sample or temperature > 0): only greedy answers are supported")
    until = settings.get("until") or []
    return GenerationRequest(prompt, tuple([until] if isinstance(until, str) else until), settings["max_gen_toks"])
