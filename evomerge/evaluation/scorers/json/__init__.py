"""JSON answers, judged by strict parsing, the item's schema and its accepted values.

``scorer``        reads rows, and is the plug-in
``check_answer``  strict RFC 8259, then JSON Schema; runs in the judge
``exact_values``  whether a value is an accepted one; runs in the judge
"""

from evomerge.evaluation.scorers.json.scorer import JSON as JSON
