"""SQL answers, judged by their rows on SQLite.

In reading order:

- ``scorer``: the plug-in.
- ``data``: read rows: our own form, Spider's and BIRD's.
- ``wikisql``: read WikiSQL's rows, whose queries are numbers.
- ``database_files``: find, stamp and read SQLite files.
- ``queries``: run gold and answer; in the judge.
- ``query_text``: find the query in an answer; in the judge.
- ``compare_rows``: four definitions of when results agree; in the judge.
"""

from evomerge.evaluation.scorers.sql.scorer import SQL as SQL
