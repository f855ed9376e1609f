"""Every file of tests/sql, found by folder. What is different with DuckDB 1.5 is marked there."""

import pytest

import sqllogic
from conftest import IS_1_5, ROOT

TESTS = sorted((ROOT / "tests" / "sql").glob("*.test"))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_file(path, database, tmp_path):
    if IS_1_5:
        # So that the files find the functions where they are in 2.0.
        database.execute("SET search_path = 'memory.main,stockscan.main'")
    assert sqllogic.run(path, database, tmp_path) > 0


def test_every_file_of_sql_has_a_test_of_its_name():
    functions = {path.stem for path in (ROOT / "sql").rglob("*.sql")}
    assert functions, "there are no files in sql/"
    assert functions - {path.stem for path in TESTS} == set()


@pytest.mark.parametrize(
    "record",
    [
        "query I\nSELECT 1\n----\n2",
        "query R\nSELECT 1.0\n----\n1.00000001",
        "query T\nSELECT NULL\n----\n(empty)",
        "query II\nSELECT 1\n----\n1",
        "query I\nSELECT 1 WHERE false\n----\n1",
        "query I\nSELECT unnest([2, 1])\n----\n1\n2",
        "statement ok\nSELECT nonsense",
        "statement error\nSELECT 1\n----\nerror",
        "statement error\nSELECT nonsense\n----\nanother message",
        "statement perhaps\nSELECT 1",
        "skipif duckdb-0.9\nquery I\nSELECT 1\n----\n2",
        "onlyif duckdb1.5\nquery I\nSELECT 1\n----\n1",
        "loop i 0 2\n\nquery I\nSELECT ${i}\n----\n0\n\nendloop",
    ],
)
def test_the_runner_notices(record, database, tmp_path):
    path = tmp_path / "wrong.test"
    path.write_text(record + "\n")
    with pytest.raises(sqllogic.Failure):
        sqllogic.run(path, database, tmp_path)
