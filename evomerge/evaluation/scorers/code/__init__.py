"""Code answers, judged by running tests on them.

``scorer``     the plug-ins: ``code`` in HumanEval's form, ``program`` in MBPP's
``data``       reads rows of both forms
``processes``  starts the processes that run answer and tests; in the judge
``run_tests``  what those processes run
``remote``     how the tests call the answer in another process
"""

from evomerge.evaluation.scorers.code.scorer import Code as Code
