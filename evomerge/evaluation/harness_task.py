"""Score any task or group of lm-evaluation-harness item by item: choices, log-likelihoods, generations.

Contexts, few-shot examples, filters and metrics are lm-eval's own, in its order and with its few-shot seed, so that
test scores equal what ``simple_evaluate`` gives.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Real
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask

from evomerge.errors import UserError, nearest
from evomerge.evaluation.lm_eval_adapter import greedy_request
from evomerge.evaluation.task_base import Answer, Item, Template
from evomerge.evaluation.task_settings import TaskSpec
from evomerge.types import ItemScore

FEWSHOT_SEED = 1234  # lm-eval's own
SPLIT_SEED = 0  # of the shuffle that parts search and selection items
_MOST = 300  # search or selection items per subtask without a limit: training splits hold ten thousands
#: The score of a rolling log-likelihood: the geometric mean of the probabilities of the text's bytes. It lies in [0, 1]
#: and orders models as bits per byte do; perplexities follow from ``loglikelihood``, ``words`` and ``bytes``.
BYTE_PROBABILITY = "byte_probability"


class HarnessTask:
    """See :class:`evomerge.evaluation.task_base.EvalTask`.

    Test items are those that lm-eval scores. Search and selection items are the two halves of another split of the
    data, validation if the test split is scored, else training. A shuffle with a fixed seed parts the halves, in each
    subtask of a group by itself: neighbours in the data are often twins, such as a statement and its negation.

    Args:
        leaves: the task, or all tasks of a group, by name. A group's score is the mean over all items.
        template: the model's chat format, if the specification wants it.

    Raises:
        UserError: a task that cannot be run or scored item by item, or a setting that it does not allow.
    """

    judged = False

    def __init__(self, spec: TaskSpec, leaves: Mapping[str, ConfigurableTask], template: Template | None) -> None:
        self.spec = spec
        self._leaves = dict(leaves)
        self._template = template
        self._instances: dict[str, tuple[ConfigurableTask, list[Instance]]] = {}
        self._items: dict[str, tuple[Item, ...]] = {}
        for name, task in self._leaves.items():
            _check(name, task)
            own = task.get_config("num_fewshot")
            if spec.num_fewshot is not None and own == 0 and spec.num_fewshot != 0:
                raise UserError(f"tasks.{spec.name}.num_fewshot: '{name}' is defined without examples, leave it at 0")
            task.set_config("num_fewshot", (own or 0) if spec.num_fewshot is None else spec.num_fewshot)
            if spec.max_new_tokens is not None and task.OUTPUT_TYPE == "generate_until":
                task.set_config("generation_kwargs", {"max_gen_toks": spec.max_new_tokens}, update=True)
        names = [_metric_names(task) for task in self._leaves.values()]
        shared = [name for name in names[0] if all(name in other for other in names)]
        if not shared:
            raise UserError(f"the tasks of group '{spec.task}' share no metric: name single tasks instead")
        if spec.metric is not None and spec.metric not in shared:
            raise UserError(f"tasks.{spec.name}.metric: no metric '{spec.metric}': {nearest(spec.metric, shared)}")
        self._metric = spec.metric or shared[0]

    @property
    def metric(self) -> str:
        return self._metric

    def items(self, split: str) -> tuple[Item, ...]:
        if split not in self._items:
            self._items[split] = tuple(
                item for name, task in self._leaves.items() for item in self._leaf_items(name, task, split)
            )
        if not self._items[split]:
            raise UserError(
                f"task '{self.spec.name}' ({self.spec.task}) has no {split} items, its data has one split only: "
                f"report it beside the searched tasks by tasks.{self.spec.name}.objective=false"
            )
        return self._items[split]

    def score(self, items: Sequence[Item], answers: Sequence[Answer | str]) -> list[ItemScore]:
        groups: dict[int, list[Instance]] = {}
        tasks: dict[int, ConfigurableTask] = {}
        for item, answer in zip(items, answers, strict=True):
            task, instances = self._instances[item.id]
            for instance, response in zip(instances, [answer] if isinstance(answer, str) else answer, strict=True):
                instance.resps, instance.filtered_resps = [response], {}
            tasks[id(task)] = task
            groups.setdefault(id(task), []).extend(instances)
        for key, instances in groups.items():  # filters may look at all answers of a task
            for ensemble in tasks[key]._filters:
                ensemble.apply(instances)
        return [self._score(item, answer) for item, answer in zip(items, answers, strict=True)]

    def begin(self, item: Item, answer: str) -> None:
        """Do nothing: lm-eval's metrics take no time, and its filters may look at all answers of a task."""

    def gold(self, item: Item) -> tuple[str, str] | None:
        task, _ = self._instances[item.id]
        if item.text is not None:
            return None
        if len(item.pairs) == 1:
            return item.pairs[0]
        gold = task.doc_to_text(item.document) if task.multiple_input else task.doc_to_target(item.document)
        gold = gold[0] if isinstance(gold, list) and gold else gold
        if item.pairs:
            choices = list(task.doc_to_choice(item.document))
            number = choices.index(gold) if gold in choices else gold
            return item.pairs[number] if isinstance(number, int) and 0 <= number < len(item.pairs) else None
        delimiter = "" if self._template is not None else str(task.config.target_delimiter)
        return (item.prompt, f"{delimiter}{gold}") if str(gold) else None

    def _score(self, item: Item, answer: Answer | str) -> ItemScore:
        task, instances = self._instances[item.id]
        metrics: dict[str, float] = {}
        for ensemble in task._filters:
            found = task.process_results(item.document, [i.filtered_resps[ensemble.name] for i in instances])
            for name, value in found.items():
                if isinstance(value, Real):  # others, as F1's pairs, have no value per item
                    metrics[_full_name(task, name, ensemble.name)] = float(value)
        if item.text is not None:
            total, size = float(instances[0].resps[0]), len(item.text.encode())
            words = len(item.text.split())
            metrics |= {"loglikelihood": total, "bytes": float(size), "words": float(words)}
            metrics[BYTE_PROBABILITY] = math.exp(total / max(size, 1))
        outcome = metrics.get(self._metric)
        if outcome is None or not 0.0 <= outcome <= 1.0:
            named = [name for name, value in metrics.items() if 0.0 <= value <= 1.0]
            raise UserError(
                f"tasks.{self.spec.name}.metric={self._metric} gives item {item.id} {outcome}, which is no score in "
                f"[0, 1]: choose another" + (f" of {', '.join(named)}" if named else " task")
            )
        return ItemScore(self.spec.name, item.id, outcome, _shown(item, answer), metrics)

    def _leaf_items(self, name: str, task: ConfigurableTask, split: str) -> Iterator[Item]:
        numbered, posing = _documents(task, split, self.spec.limit)
        task.set_fewshot_seed(seed=FEWSHOT_SEED)
        with _as_test_split(task, posing):
            for number, document in numbered:
                item_id = f"{name}/{number}" if len(self._leaves) > 1 else str(number)
                if split != "test":
                    item_id = f"{split}/{item_id}"
                instances = self._requests(task, document, number)
                self._instances[item_id] = task, instances
                yield self._item(item_id, document, instances)

    def _requests(self, task: ConfigurableTask, document: dict[str, Any], number: int) -> list[Instance]:
        chat = self._template is not None
        context = task.fewshot_context(
            document,
            num_fewshot=task.get_config("num_fewshot"),
            system_instruction=self.spec.system_instruction,
            apply_chat_template=chat,
            fewshot_as_multiturn=True,
            chat_template=self._template,
            gen_prefix=task.doc_to_prefix(document),
        )
        made = task.construct_requests(
            doc=document,
            ctx=context,
            metadata=(task.config.task, number, 1),
            apply_chat_template=chat,
            chat_template=self._template,
        )
        return made if isinstance(made, list) else [made]

    def _item(self, item_id: str, document: dict[str, Any], instances: list[Instance]) -> Item:
        first = instances[0]
        if first.request_type == "loglikelihood":
            pairs = tuple((str(i.args[0]), str(i.args[1])) for i in instances)
            return Item(self.spec.name, item_id, pairs[0][0], document=document, pairs=pairs)
        if first.request_type == "loglikelihood_rolling":
            return Item(self.spec.name, item_id, "", document=document, text=str(first.args[0]))
        request = greedy_request(*first.args)
        return Item(self.spec.name, item_id, request.prompt, request.until, request.max_new_tokens, document)


def _check(name: str, task: ConfigurableTask) -> None:
    if getattr(task, "UNSAFE_CODE", False):
        raise UserError(f"task '{name}' runs model code outside the sandbox: use evomerge's own humaneval or mbpp")
    if getattr(task, "MULTIMODAL", False):
        raise UserError(f"task '{name}' shows pictures or sounds: choose a task of text")
    if task.config.process_results is None:
        missing = [metric for metric, function in task._metric_fn_list.items() if function is None]
        if missing:
            raise UserError(
                f"task '{name}' needs the metric '{missing[0]}' from the hub, which evomerge does not load: choose a "
                "task with metrics of lm-eval itself"
            )


def _metric_names(task: ConfigurableTask) -> list[str]:
    """Metrics that can be a score; those of the first filter go without its name."""
    if task.OUTPUT_TYPE == "loglikelihood_rolling":
        return [BYTE_PROBABILITY]
    better = task.higher_is_better()
    named = [name for name in task._metric_fn_list if better.get(name, True)]
    return [_full_name(task, name, ensemble.name) for ensemble in task._filters for name in named]


def _full_name(task: ConfigurableTask, metric: str, ensemble: str) -> str:
    return metric if ensemble == task._filters[0].name else f"{metric},{ensemble}"


def _documents(
    task: ConfigurableTask, split: str, limit: int | None
) -> tuple[list[tuple[int, dict[str, Any]]], str | None]:
    """(number, document) of a split, and the data's split that they come from when lm-eval does not score it."""
    if split == "test":
        documents = task.eval_docs
        return [(n, dict(documents[n])) for n in range(min(len(documents), limit or len(documents)))], None
    if task.has_test_docs() and task.has_validation_docs():
        documents, origin = task.validation_docs(), task.config.validation_split
    elif task.has_training_docs():
        documents, origin = task.training_docs(), task.config.training_split
    else:
        return [], None
    return [(n, dict(documents[n])) for n in _half(task.config.task, len(documents), split)[: limit or _MOST]], origin


def _half(task: str, count: int, split: str) -> list[int]:
    """Numbers of the search or of the selection items, in the order in which a limit takes them."""
    order = list(range(count))
    random.Random(f"{SPLIT_SEED} {task}").shuffle(order)
    return order[split == "selection" :: 2]


@contextmanager
def _as_test_split(task: ConfigurableTask, split: str | None) -> Iterator[None]:
    """Declare ``split`` the scored one to lm-eval, so that an item is never among its own few-shot examples."""
    scored = task.config.test_split
    if split is not None and split == task.fewshot_cfg.split:
        task.config.test_split = split
    try:
        yield
    finally:
        task.config.test_split = scored


def _shown(item: Item, answer: Answer | str) -> str:
    """The answer for reports: the text, or the likeliest choice."""
    if isinstance(answer, str):
        return answer
    if item.pairs:
        likely = max(range(len(item.pairs)), key=lambda i: answer[i][0])  # type: ignore[index]
        return item.pairs[likely][1]
    return "" if item.text is not None else str(answer[0])
