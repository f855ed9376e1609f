"""A small runner for tests/sql/*.test: the part of DuckDB's sqllogictest dialect that those files use.

A file is a list of records, separated by empty lines:

    statement ok            SQL that must succeed
    statement error         SQL, ----, and a part of the error message (or <REGEX>: and a pattern that is found in it)
    query IRT [rowsort]     SQL, ----, and the rows, one line each, values separated by tabs
    loop i 0 3              the records up to endloop with ${i} = 0, 1, 2
    foreach x a b c         the records up to endloop with ${x} = a, b, c
    require stockscan       the extension is loaded before the file starts
    skipif duckdb-1.5       in front of a record: it is not for DuckDB 1.5, for the reason in the comment above
    onlyif duckdb-1.5       in front of a record: it is for DuckDB 1.5 only

A query has one type per column: R is compared as a number, to a relative 1e-9; I, T, B and D are compared as DuckDB's texts. NULL is written
NULL, an empty text (empty). Lines that start with # are comments. __TEST_DIR__ is an empty folder for the file's own use.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path

import duckdb

TYPES = "IRTBD"
CONDITIONS = ("skipif", "onlyif")


class Failure(AssertionError):
    """A record that did not do what it says, with its place and the line that starts it."""


@dataclass
class Record:
    path: Path
    line: int
    head: str
    sql: str
    expected: list[str] | None

    def failure(self, message: str) -> Failure:
        return Failure(f"{self.path}:{self.line}: {self.head}\n{self.sql}\n{message}")


def records(path: Path, folder: str) -> list[Record]:
    lines = [(number, line) for number, line in enumerate(path.read_text().splitlines(), 1) if not line.startswith("#")]
    lines = [(number, line.replace("__TEST_DIR__", folder)) for number, line in lines]
    return _parse(path, _expand(path, lines))


def _expand(path: Path, lines: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Writes loops out. They may be nested."""
    result = []
    position = 0
    while position < len(lines):
        number, line = lines[position]
        words = line.split()
        if words[:1] not in (["loop"], ["foreach"]):
            result.append((number, line))
            position += 1
            continue
        depth, end = 1, position
        while depth:
            end += 1
            if end == len(lines):
                raise Failure(f"{path}:{number}: no endloop for '{line}'")
            inner = lines[end][1].split()[:1]
            depth += (inner in (["loop"], ["foreach"])) - (inner == ["endloop"])
        name = words[1]
        values = [str(value) for value in range(int(words[2]), int(words[3]))] if words[0] == "loop" else words[2:]
        body = lines[position + 1 : end]
        for value in values:
            result += [(number, "")] + _expand(path, [(n, text.replace("${" + name + "}", value)) for n, text in body])
        position = end + 1
    return result + [(0, "")]


def _parse(path: Path, lines: list[tuple[int, str]]) -> list[Record]:
    result: list[Record] = []
    block: list[tuple[int, str]] = []
    for number, line in lines:
        if line.strip():
            block.append((number, line))
        elif block:
            is_for_this = True
            while block[0][1].split()[0] in CONDITIONS:
                place, text = block.pop(0)
                condition, version = text.split()
                if not re.fullmatch(r"duckdb-\d+\.\d+", version):
                    # Misspelt, it would be a record that never runs.
                    raise Failure(f"{path}:{place}: '{text}'; expected a version such as duckdb-1.5")
                is_for_this &= (condition == "onlyif") == duckdb.__version__.startswith(version.removeprefix("duckdb-"))
            if not is_for_this:
                block = []
                continue
            (first, head), texts = block[0], [text for _, text in block[1:]]
            divider = texts.index("----") if "----" in texts else None
            sql = "\n".join(texts[:divider])
            expected = None if divider is None else texts[divider + 1 :]
            result.append(Record(path, first, head.strip(), sql, expected))
            block = []
    return result


def run(path: Path, connection: duckdb.DuckDBPyConnection, folder: Path) -> int:
    """Runs a file on a connection; returns how many records there were."""
    # A table that does not exist must not be found among this module's variables.
    connection.execute("SET python_enable_replacements = false")
    all_records = records(path, str(folder))
    for record in all_records:
        match record.head.split():
            case ["require", "stockscan"]:
                pass
            case ["statement", "ok"] if record.expected is None:
                try:
                    connection.execute(record.sql)
                except duckdb.Error as error:
                    raise record.failure(f"expected success, got: {error}") from None
            case ["statement", "error"] if record.expected:
                _error(record, connection)
            case ["query", types, *order] if order in ([], ["rowsort"], ["nosort"]) and not types.strip(TYPES) and record.expected is not None:
                _query(record, connection, types, order == ["rowsort"])
            case _:
                raise record.failure("is no record of the dialect in sqllogic.py")
    return len(all_records)


def _error(record: Record, connection: duckdb.DuckDBPyConnection) -> None:
    expected = "\n".join(record.expected)
    try:
        connection.execute(record.sql).fetchall()
    except duckdb.Error as error:
        message = str(error)
    else:
        raise record.failure(f"expected an error with: {expected}")
    pattern = expected.removeprefix("<REGEX>:")
    found = re.search(pattern, message, re.DOTALL) if pattern != expected else expected in message
    if not found:
        raise record.failure(f"expected an error with: {expected}\ngot: {message}")


def _query(record: Record, connection: duckdb.DuckDBPyConnection, types: str, sort: bool) -> None:
    try:
        relation = connection.sql(record.sql)
        table = None if relation is None else relation.to_arrow_table()
    except duckdb.Error as error:
        raise record.failure(f"expected rows, got: {error}") from None
    if table is None:
        raise record.failure("expected rows, but the statement has none")
    if table.num_columns != len(types):
        raise record.failure(f"expected {len(types)} columns, got {table.num_columns}: {', '.join(table.column_names)}")
    answer = table.rename_columns([f"c{index}" for index in range(table.num_columns)])
    # DuckDB's own texts, so that every runner compares the same; a time of 24:00 has no Python value, for one.
    rows = duckdb.connect().execute("SELECT CAST(COLUMNS(*) AS VARCHAR) FROM answer").fetchall()
    actual = [["NULL" if value is None else value or "(empty)" for value in row] for row in rows]
    expected = [line.split("\t") for line in record.expected]
    if sort:
        actual, expected = sorted(actual), sorted(expected)
    same = len(actual) == len(expected) and all(
        len(want) == len(got) and all(map(_equal, types, want, got)) for want, got in zip(expected, actual)
    )
    if not same:
        show = lambda lines: "\n".join("\t".join(line) for line in lines) or "(no rows)"
        raise record.failure(f"expected:\n{show(expected)}\ngot:\n{show(actual)}")


def _equal(kind: str, expected: str, actual: str) -> bool:
    if kind != "R" or "NULL" in (expected, actual):
        return expected == actual
    # The absolute part is for results that should be 0 and are a rounding error away from it.
    return math.isclose(float(expected), float(actual), rel_tol=1e-9, abs_tol=1e-12)
