"""JSON answers, judged by strict parsing, the item's schema and its accepted values.

In reading order:

- ``scorer``: the plug-in; it reads rows.
- ``check_answer``: strict RFC 8259, then JSON Schema; in the judge.
- ``exact_values``: whether a value is an accepted one; in the judge.
"""

from evomerge.evaluation.scorers.json.scorer import JSON as JSON
