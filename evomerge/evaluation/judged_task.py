"""Score judged tasks: lm-eval tasks whose YAML file names a scorer, which judges their answers in the sandbox.

Prompts, stops and filters are lm-eval's own, so that a score equals what its ``simple_evaluate`` gives; only messages
of chats are not cut by stops.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask

from evomerge.errors import UserError, nearest
from evomerge.evaluation.judging.judge import Judge
from evomerge.evaluation.scorers.base import Scorer
from evomerge.evaluation.task_base import Answer, Item, Template
from evomerge.evaluation.task_settings import TaskSpec
from evomerge.types import SPLITS, ItemScore


class JudgedTask:
    """See :class:`evomerge.evaluation.task_base.EvalTask`.

    Args:
        spec: what is asked for, with the scorer's options.
        task: an lm-eval task whose documents are rows of :class:`evomerge.evaluation.documents.Document`.
        scorer: which its YAML file names.
        judge: judges the answers.
        template: the model's chat format, if the specification wants it.
    """

    judged = True

    def __init__(
        self, spec: TaskSpec, task: ConfigurableTask, scorer: Scorer, judge: Judge, template: Template | None
    ) -> None:
        self.spec = spec
        self._task = task
        self._scorer = scorer
        self._judge = judge
        self._template = template
        known = scorer.metric_names(spec.options)
        if spec.metric is not None and spec.metric not in known:
            raise UserError(f"tasks.{spec.name}.metric: no metric '{spec.metric}': {nearest(spec.metric, known)}")
        self._metric = spec.metric or known[0]
        documents = [
            dict(row) for table in ("validation", "test") if table in task.dataset for row in task.dataset[table]
        ]
        of_split = {split: [document for document in documents if document["split"] == split] for split in SPLITS}
        self._items = {
            split: tuple(map(self._item, spread_evenly(rows, spec.limit))) for split, rows in of_split.items()
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
        """Outcomes of answers; the judge gets them in one batch."""
        samples = [[answer] if isinstance(answer, str) else [str(text) for text in answer] for answer in answers]
        verdicts = iter(
            self._judge.judge(
                self._scorer.name,
                [
                    (item.document["item"], self._filtered(item, text))
                    for item, texts in zip(items, samples, strict=True)
                    for text in texts
                ],
            )
        )
        scores = []
        for item, texts in zip(items, samples, strict=True):
            metrics = self._scorer.combine([next(verdicts) for _ in texts], self.spec.options)
            # A metric that this item does not have, as json_exact without an expected value, is 0.
            scores.append(ItemScore(self.spec.name, item.id, metrics.get(self._metric, 0.0), texts[0], metrics))
        return scores

    def begin(self, item: Item, answer: str) -> None:
        """Let the judge begin while the model generates the next answers."""
        self._judge.begin(self._scorer.name, [(item.document["item"], self._filtered(item, answer))])

    def gold(self, item: Item) -> tuple[str, str] | None:
        gold = str(item.document["gold"])
        delimiter = "" if self._template is not None else str(self._task.config.target_delimiter)
        return (item.prompt, delimiter + gold) if gold else None

    def _item(self, document: dict[str, Any]) -> Item:
        prompt, arguments = self._instance(document).args
        samples, temperature = self._scorer.sampling(self.spec.options)
        message = self._scorer.is_message(self.spec.options, chat=self._template is not None)
        return Item(
            self.spec.name,
            document["id"],
            prompt,
            # A message ends by itself: stops for bare answers would cut off what follows its first words.
            () if message else tuple(arguments["until"]),
            int(arguments["max_gen_toks"]),
            document,
            samples=samples,
            temperature=temperature,
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
        """The answer after the task's filters, which look at the answer alone."""
        instance = Instance("generate_until", item.document, (item.prompt, {}), 0, metadata=(self.spec.task, 0, 1))
        instance.resps = [answer]
        for ensemble in self._task._filters:
            ensemble.apply([instance])
        return str(instance.filtered_resps[self._task._filters[0].name])


def spread_evenly(documents: list[dict[str, Any]], limit: int | None) -> list[dict[str, Any]]:
    """At most ``limit`` of the documents, evenly spread.

    >>> spread_evenly([{"id": i} for i in range(5)], 2)
    [{'id': 0}, {'id': 2}]
    """
    if limit is None or limit >= len(documents):
        return documents
    return [documents[i * len(documents) // limit] for i in range(limit)]
