"""The programs of docs/clients/adbc.md: rows come as Arrow, and are those of DuckDB's own client."""

import sys

import pyarrow


def test_the_programs_of_the_page(project):
    adbc = project("adbc")
    assert "DEMO" in adbc.python("first.py")
    assert "rows from 2024-12-" in adbc.python("batches.py")


def test_a_scan_comes_as_arrow(project, stockscan, monkeypatch):
    adbc = project("adbc")
    monkeypatch.syspath_prepend(adbc.folder)
    monkeypatch.delitem(sys.modules, "market", raising=False)
    from market import connect

    statement = stockscan.in_place("FROM scan_breakout('2025-01-06', '09:50', end_date := '2025-01-15')")
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        table = cursor.fetch_arrow_table()
    assert table.schema.field("scan_date").type == pyarrow.date32()
    assert table.schema.field("price").type == pyarrow.float64()
    with stockscan.connect(adbc.folder / "market.duckdb") as connection:
        expected = connection.execute(statement).fetchall()
    assert [tuple(row.values()) for row in table.to_pylist()] == expected and len(expected) > 5
