"""SQL answers, judged by their rows on SQLite.

``scorer``          the plug-in
``data``            reads rows: our own form, Spider's and BIRD's
``wikisql``         reads WikiSQL's rows, whose queries are numbers
``database_files``  finds, stamps and reads SQLite files
``queries``         runs gold and answer; in the judge
``query_text``      finds the query in an answer; in the judge
``compare_rows``    four definitions of when results agree; in the judge
"""

from evomerge.evaluation.scorers.sql.scorer import SQL as SQL
