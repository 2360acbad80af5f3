"""Measure the time to the first and to each further token, for several models side by side."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from evomerge.errors import UserError
from evomerge.inference.serving.latency_settings import LatencySettings
from evomerge.inference.serving.served_model import Answered, CannotMix, ServedModel, Serving

_WARM_UP = 4  # new tokens of the warm-up: enough to run every kernel


@dataclass(frozen=True)
class Spread:
    """Median over rounds, with a 95 % interval of the true median if there are 6 rounds or more."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class LatencyRow:
    """One model, one way of answering, one batch size.

    Attributes:
        first_token_ms: mean over the rows of the batch.
        ms_per_token: time in which every row of the batch gets one more token.
        tokens_per_second: of the whole batch, first tokens included.
        ratio: ``ms_per_token`` over that of the first row of this batch size, taken round by round.
    """

    name: str
    way: str
    batch: int
    first_token_ms: Spread
    ms_per_token: Spread
    tokens_per_second: Spread
    ratio: Spread


@dataclass(frozen=True)
class Latencies:
    """Rows by batch size, and within it in the order of the servings.

    Attributes:
        left_out: why a way of answering is missing, by ``name: way``.
    """

    rows: tuple[LatencyRow, ...]
    left_out: dict[str, str] = field(default_factory=dict)


def measure(
    servings: Sequence[Serving],
    settings: LatencySettings,
    said: Callable[[str, str, int, int], None] = lambda name, way, batch, round_: None,
    *,
    dtype: str = "bfloat16",
    device: str = "cpu",
) -> Latencies:
    """Hold all ``servings`` in memory and let them answer the same batches in turns, A B C A B C.

    So a disturbance of the machine hits all models alike; ratios are of rounds that are neighbours in time.

    Args:
        said: called before each timed batch with the serving's name, the way, the batch size and the round from 0 on.
        dtype: torch dtype name that the models compute in.
        device: torch device.

    Raises:
        UserError: a model that cannot be loaded, an adapter for another base, or a context that is too short.
    """
    models = [ServedModel(serving, dtype, device) for serving in servings]
    _check_context(servings, models, settings)
    contenders = [
        (serving, way, model) for serving, model in zip(servings, models, strict=True) for way in serving.ways
    ]
    left_out: dict[str, str] = {}
    rows: list[LatencyRow] = []
    for batch in settings.batch_sizes:
        prompts = _prompts(batch, min(model.vocabulary for model in models), settings.prompt_tokens).to(device)
        contenders = list(_warmed_up(contenders, prompts, settings.new_tokens, left_out))
        taken: list[list[Answered]] = [[] for _ in contenders]
        for round_ in range(settings.rounds):
            for answers, (serving, way, model) in zip(taken, contenders, strict=True):
                said(serving.name, way, batch, round_)
                answers.append(model.answer(prompts, settings.new_tokens, way, arrived=round_ * batch))
        for answers, (serving, way, _) in zip(taken, contenders, strict=True):
            rows.append(_row(serving.name, way, answers, taken[0]))
    return Latencies(tuple(rows), left_out)


def _check_context(servings: Sequence[Serving], models: Sequence[ServedModel], settings: LatencySettings) -> None:
    wanted = settings.prompt_tokens + settings.new_tokens
    for serving, model in zip(servings, models, strict=True):
        if model.context is not None and wanted > model.context:
            raise UserError(
                f"latency.prompt_tokens and latency.new_tokens make {wanted} tokens, and {serving.name} has a context "
                f"of {model.context}: ask for fewer"
            )


def _prompts(batch: int, vocabulary: int, tokens: int) -> torch.Tensor:
    """(batch, tokens) of arbitrary tokens, the same for all models."""
    return torch.randint(vocabulary, (batch, tokens), generator=torch.Generator().manual_seed(0))


def _warmed_up(
    contenders: Sequence[tuple[Serving, str, ServedModel]],
    prompts: torch.Tensor,
    new_tokens: int,
    left_out: dict[str, str],
) -> Iterator[tuple[Serving, str, ServedModel]]:
    """The servings that can answer, after a warm-up that allocates memory and fills caches."""
    for serving, way, model in contenders:
        try:
            model.answer(prompts, min(new_tokens, _WARM_UP), way)
        except CannotMix as error:
            left_out[f"{serving.name}: {way}"] = f"PEFT: {error}"
        else:
            yield serving, way, model


def _row(name: str, way: str, answers: Sequence[Answered], yardstick: Sequence[Answered]) -> LatencyRow:
    rows, new_tokens = answers[0].tokens.shape
    return LatencyRow(
        name=name,
        way=way,
        batch=rows,
        first_token_ms=median_interval([statistics.fmean(answer.first) * 1e3 for answer in answers]),
        ms_per_token=median_interval([answer.step * 1e3 for answer in answers]),
        tokens_per_second=median_interval([rows * new_tokens / answer.total for answer in answers]),
        ratio=median_interval([mine.step / its.step for mine, its in zip(answers, yardstick, strict=True)]),
    )


def median_interval(values: Sequence[float]) -> Spread:
    """Median, and the narrowest pair of order statistics that holds the true one with 95 %, whatever the distribution.

    The k-th smallest and k-th largest of n miss it with probability 2 P(Bin(n, 1/2) < k) (David and Nagaraja, Order
    Statistics, sec. 7.1). Fewer than 6 values cannot give 95 %: then their range, which holds it with 1 - 2^(1-n).

    >>> median_interval([3.0, 1.0, 2.0])
    Spread(median=2.0, low=1.0, high=3.0)
    >>> median_interval([float(value) for value in range(9)])
    Spread(median=4.0, low=1.0, high=7.0)
    """
    ordered = sorted(values)
    n = len(ordered)
    tails = itertools.accumulate(math.comb(n, k) / 2**n for k in range(n // 2))
    skipped = max(0, sum(2 * tail <= 0.05 for tail in tails) - 1)
    return Spread(statistics.median(ordered), ordered[skipped], ordered[n - 1 - skipped])
