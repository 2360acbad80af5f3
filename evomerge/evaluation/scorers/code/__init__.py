"""Code answers, judged by running tests on them.

In reading order:

- ``scorer``: the plug-ins: ``code`` in HumanEval's form, ``program`` in MBPP's.
- ``data``: read rows of both forms.
- ``processes``: start the processes that run answer and tests; in the judge.
- ``run_tests``: what those processes run.
- ``remote/``: how the tests call an answer in another process.
"""

from evomerge.evaluation.scorers.code.scorer import Code as Code
