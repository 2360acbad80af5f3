"""evomerge's own tasks: lm-eval tasks under tasks/ whose answers the judge runs.

Prompts, stops, filters and metrics are lm-eval's own, so that a score equals what its ``simple_evaluate`` gives; only
messages of chats are not cut by stops.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask

from evomerge.errors import UserError, nearest
from evomerge.evaluation.data import SPLITS
from evomerge.evaluation.judging import judge as judging
from evomerge.evaluation.judging.judge import Judge
from evomerge.evaluation.scorers.code.run_tests import pass_at_k
from evomerge.evaluation.task_base import Answer, Item, TaskSpec, Template
from evomerge.types import ItemScore


class OwnTask:
    """See :class:`evomerge.evaluation.task_base.EvalTask`.

    Args:
        task: an lm-eval task whose documents are :class:`evomerge.evaluation.documents.Document` rows.
        judge: judges the answers.
        template: the model's chat format, if the specification wants it.
    """

    def __init__(self, spec: TaskSpec, task: ConfigurableTask, judge: Judge, template: Template | None) -> None:
        self.spec = spec
        self._task = task
        self._judge = judge
        self._template = template
        self._kind: str = task.config.metadata["judge"]
        if self._kind != "code" and spec.samples > 1:
            raise UserError(
                f"tasks.{spec.name}.samples is for code tasks: '{spec.task}' is scored by one greedy answer"
            )
        known = [f"pass@{k}" for k in spec.k] if self._kind == "code" else list(task.aggregation())
        if spec.metric is not None and spec.metric not in known:
            raise UserError(f"tasks.{spec.name}.metric: no metric '{spec.metric}': {nearest(spec.metric, known)}")
        self._metric = spec.metric or known[0]
        documents = [
            dict(row) for table in ("validation", "test") if table in task.dataset for row in task.dataset[table]
        ]
        self._items = {
            split: tuple(
                self._item(document) for document in spread([d for d in documents if d["split"] == split], spec.limit)
            )
            for split in SPLITS
        }

    @property
    def metric(self) -> str:
        return self._metric

    def items(self, split: str) -> tuple[Item, ...]:
        if not self._items[split]:
            raise UserError(
                f"task '{self.spec.name}' ({self.spec.task}) has no {split} items: report it beside the searched "
                f"tasks, or give it a data file that can be cut by tasks.{self.spec.name}.data=FILE"
            )
        return self._items[split]

    def score(self, items: Sequence[Item], answers: Sequence[Answer | str]) -> list[ItemScore]:
        """Judged together; lm-eval's ``process_results`` then finds the verdicts."""
        samples = [[answer] if isinstance(answer, str) else [str(text) for text in answer] for answer in answers]
        filtered = [[self._filtered(item, text) for text in texts] for item, texts in zip(items, samples, strict=True)]
        self._judge.judge(
            self._kind,
            [(item.document["item"], text) for item, texts in zip(items, filtered, strict=True) for text in texts],
        )
        judging.use(self._judge)
        scores = []
        for item, texts, judged in zip(items, samples, filtered, strict=True):
            verdicts = [self._task.process_results(item.document, [text]) for text in judged]
            metrics = {name: float(value) for name, value in verdicts[0].items()}
            if self._kind == "code":
                metrics = self._pass_at_k([verdict["pass@1"] for verdict in verdicts])
            outcome = metrics.get(self._metric, metrics.get("pass@1", 0.0))
            scores.append(ItemScore(self.spec.name, item.id, outcome, texts[0], metrics))
        return scores

    def begin(self, item: Item, answer: str) -> None:
        """The judge begins while the model goes on."""
        self._judge.begin(self._kind, [(item.document["item"], self._filtered(item, answer))])

    def _pass_at_k(self, right: Sequence[float]) -> dict[str, float]:
        """Of one greedy answer only pass@1 is known."""
        counted = int(sum(right))
        return {f"pass@{k}": pass_at_k(len(right), counted, k) for k in self.spec.k if k <= len(right)} or {
            "pass@1": pass_at_k(len(right), counted, 1)
        }

    def _item(self, document: dict[str, Any]) -> Item:
        prompt, arguments = self._instance(document).args
        until = tuple(arguments["until"])
        return Item(
            self.spec.name,
            document["id"],
            prompt,
            # A message ends by itself: stops for bare answers would cut off what follows its first words.
            () if self.spec.options.style == "chat" or (self.spec.chat and self._kind != "code") else until,
            int(arguments["max_gen_toks"]),
            document,
            samples=self.spec.samples,
            temperature=self.spec.temperature if self.spec.samples > 1 else 0.0,
        )

    def _instance(self, document: dict[str, Any]) -> Instance:
        context = self._task.fewshot_context(
            document,
            num_fewshot=self.spec.num_fewshot or 0,
            system_instruction=self.spec.system_instruction,
            apply_chat_template=self._template is not None,
            fewshot_as_multiturn=True,
            chat_template=self._template,
        )
        instance = self._task.construct_requests(document, context, metadata=(self.spec.task, 0, 1))
        assert isinstance(instance, Instance)
        return instance

    def _filtered(self, item: Item, answer: str) -> str:
        """The answer after the task's filters; they look at nothing but the answer, so the prompt is not made anew."""
        instance = Instance("generate_until", item.document, (item.prompt, {}), 0, metadata=(self.spec.task, 0, 1))
        instance.resps = [answer]
        for ensemble in self._task._filters:
            ensemble.apply([instance])
        return str(instance.filtered_resps[self._task._filters[0].name])


def spread(documents: list[dict[str, Any]], limit: int | None) -> list[dict[str, Any]]:
    """At most ``limit`` of the documents, evenly spread.

    >>> spread([{"id": i} for i in range(5)], 2)
    [{'id': 0}, {'id': 2}]
    """
    if limit is None or limit >= len(documents):
        return documents
    return [documents[i * len(documents) // limit] for i in range(limit)]
