"""Read the rows of tasks and judge answers: one file or folder a scorer, found by itself.

In reading order:

- ``base``: what a scorer is, and the registry.
- ``chat_messages``: find the answer in a message that a model wrote.
- ``sql/``: queries, judged by their rows.
- ``json/``: JSON, judged by a schema and accepted values.
- ``code/``: programs, judged by running tests.
"""
