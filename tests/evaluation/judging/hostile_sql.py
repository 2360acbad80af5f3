"""Hostile SQL answers, each named after its attack; ``@CANARY@`` is a folder of the host with a file ``secret``."""

from __future__ import annotations

import json

GOLD = "SELECT name FROM people WHERE age > 30"
_SCRIPT = "CREATE TABLE people (name TEXT, age INT); INSERT INTO people VALUES ('Ada', 36), ('Bo', 7), ('Cy', 50);"
ITEM = json.dumps({"sql": [GOLD], "databases": [{"script": _SCRIPT}], "compare": "bag"})
RIGHT = GOLD

_NUMBERS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n{})"

ANSWERS = {
    "drop": "DROP TABLE people",
    "delete": "DELETE FROM people WHERE age > 30 RETURNING name",
    "update": "UPDATE people SET age = 99 RETURNING name",
    "insert": "INSERT INTO people SELECT * FROM people RETURNING name",
    "create a table": "CREATE TEMP TABLE t AS SELECT name FROM people WHERE age > 30",
    "create a trigger": "CREATE TRIGGER t AFTER INSERT ON people BEGIN DELETE FROM people; END",
    "begin": "BEGIN EXCLUSIVE",
    "attach": "ATTACH '@CANARY@/evil' AS e",
    "attach a secret": "ATTACH 'file:@CANARY@/secret?mode=ro' AS e",
    "vacuum into": "VACUUM INTO '@CANARY@/evil'",
    "load_extension": "SELECT load_extension('@CANARY@/secret')",
    "fts3_tokenizer": "SELECT fts3_tokenizer('simple', x'4141414141414141')",
    "pragma": "PRAGMA writable_schema = 1",
    "pragma function": "SELECT name FROM pragma_database_list",
    "readfile": "SELECT readfile('@CANARY@/secret')",
    "writefile": "SELECT writefile('@CANARY@/evil', 'x')",
    "edit": "SELECT edit('x', 'sh')",
    "virtual table": "CREATE VIRTUAL TABLE v USING csv(filename='@CANARY@/secret')",
    "drop, then the answer": f"DROP TABLE people; {GOLD}",
    "answer in a comment": f"/* {GOLD} */ DROP TABLE people",
    "condition in a comment": "SELECT name FROM people -- WHERE age > 30",
    "comment without end": "SELECT name FROM people /* WHERE age > 30",
    "zero-width space": "SELECT name FROM people WHERE age\u200b > 30",
    "zero-width space in the result": "SELECT name || char(8203) FROM people WHERE age > 30",
    "look-alike column": "SELECT n\u0430me FROM people WHERE age > 30",
    "null byte": "SELECT name FROM people\0 WHERE age > 30",
    "lone surrogate": "SELECT '\ud800'",
    "parameter": "SELECT name FROM people WHERE age > ?",
    "explain": f"EXPLAIN {GOLD}",
    "nothing": "",
    "not text": "SELECT CAST(x'ff00fe' AS TEXT) FROM people WHERE age > 30",
    "infinity": "SELECT 9e999 - 9e999 FROM people WHERE age > 30",
    "endless recursion": f"{_NUMBERS.format('')} SELECT x FROM n",
    "endless recursion, one row": f"{_NUMBERS.format('')} SELECT count(*) FROM n",
    "doubling text": "WITH RECURSIVE t(s) AS (SELECT 'x' UNION ALL SELECT s || s FROM t) SELECT s FROM t",
    "many large rows": f"{_NUMBERS.format(' LIMIT 9999')} SELECT zeroblob(1000000) FROM n",
    "cross join": "SELECT count(*) FROM " + ", ".join(f"people p{i}" for i in range(40)),
    "too many joins": "SELECT 1 FROM " + ", ".join(f"people p{i}" for i in range(100)),
    "sort bomb": f"{_NUMBERS.format(' LIMIT 100000000')} SELECT x FROM n ORDER BY random()",
    "printf bomb": "SELECT printf('%2000000000d', 1)",
    "zeroblob bomb": "SELECT zeroblob(2000000000)",
    "randomblob bomb": "SELECT hex(randomblob(2000000000))",
    "group_concat bomb": f"{_NUMBERS.format(' LIMIT 9999999')} SELECT group_concat(printf('%1000d', x)) FROM n",
    "replace bomb": "SELECT replace(hex(zeroblob(400000)), '0', hex(zeroblob(400000)))",
    "LIKE bomb": f"SELECT hex(zeroblob(400000)) LIKE '{'%0' * 40}%1'",
    "GLOB bomb": f"SELECT hex(zeroblob(400000)) GLOB '{'*0' * 40}*1'",
    "json bomb": "SELECT json_extract('" + "[" * 100_000 + "', '$')",
    "parentheses without end": "SELECT " + "(" * 100_000,
    "long chain of operators": "SELECT 1" + " + 1" * 100_000,
    "huge query": "SELECT '" + "x" * (2 << 20) + "'",
}
