"""The dbt project of docs/clients/dbt.md, built and tested, and built again for other sessions."""

import sys
from pathlib import Path

import pytest


@pytest.fixture
def dbt(project):
    """Runs dbt on the page's project."""
    folder = project("dbt")
    return lambda *arguments, **options: folder.run(Path(sys.executable).parent / "dbt", "--no-use-colors", *arguments, **options)


def rows(stockscan, folder, statement):
    with stockscan.connect(folder / "market.duckdb") as connection:
        return connection.execute(stockscan.in_place(statement)).fetchall()


def test_the_project_builds_tables_of_a_scan_and_of_what_came_of_it(dbt, stockscan, tmp_path):
    dbt("build")
    hits = "FROM scan_breakout('2025-01-06', '09:50', end_date := '2025-01-15', max_results_per_day := 10) ORDER BY scan_date, rank"
    built = rows(stockscan, tmp_path, "FROM breakouts ORDER BY scan_date, rank")
    assert built == rows(stockscan, tmp_path, hits) and len(built) > 10
    trades = rows(stockscan, tmp_path, "FROM breakout_outcomes")
    assert len(trades) == len(built) and {trade[0] for trade in trades} == {hit[1] for hit in built}
    # Tables, so that tools without the extension can read them.
    assert rows(stockscan, tmp_path, "SELECT DISTINCT table_type FROM information_schema.tables WHERE table_name LIKE 'breakout%'") == [("BASE TABLE",)]

    dbt("build", "--vars", "{first: 2025-01-13, last: 2025-01-15}")
    assert rows(stockscan, tmp_path, "FROM breakouts ORDER BY scan_date, rank") == [hit for hit in built if hit[0].day >= 13]


def test_a_query_without_a_model(dbt, stockscan):
    assert "DEMO" in dbt("show", "--inline", stockscan.in_place("SELECT * FROM scan_breakout('2025-01-15')"))


def test_a_failing_test_of_a_model_fails_the_build(dbt, tmp_path):
    model = tmp_path / "models" / "breakouts.sql"
    model.write_text(model.read_text().replace("SELECT *", "SELECT * REPLACE (rank + 10 AS rank)"))
    assert "accepted_values_breakouts_rank" in dbt("build", expected=1)
