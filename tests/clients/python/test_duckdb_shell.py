"""What docs/clients/duckdb-shell.md says, with the shell of this environment: duckdb with DuckDB 1.5, haybarn with 2.0."""

import csv
import json
import sys
from pathlib import Path

import duckdb
import pytest


@pytest.fixture
def shell(project):
    """Runs the shell beside the page's files and a market."""
    folder = project("duckdb-shell")
    program = Path(sys.executable).parent / ("duckdb" if duckdb.__version__.startswith("1.") else "haybarn")
    return lambda *arguments, **options: folder.run(program, "-init", "stockscan.sql", "-readonly", "market.duckdb", *arguments, **options)


def test_its_duckdb_is_that_of_this_environment(shell):
    assert shell("-unsigned", "-csv", "-noheader", "-c", "SELECT version()").strip() == f"v{duckdb.__version__}"


def test_a_scan_as_json(shell, stockscan):
    hits = json.loads(shell("-unsigned", "-json", "-c", stockscan.in_place("FROM scan_gap('2025-01-15', min_gap_pct := 0.5)")))
    assert hits and all(hit["symbol"].startswith("DEMO") and abs(hit["gap_pct"]) >= 0.5 for hit in hits)


def test_the_script_of_the_page(shell, stockscan, tmp_path):
    shell("-unsigned", "-f", "evening.sql")
    with (tmp_path / "breakouts.csv").open() as file:
        hits = [(row["scan_date"], row["symbol"]) for row in csv.DictReader(file)]
    with stockscan.connect(tmp_path / "market.duckdb") as connection:
        scan = "SELECT CAST(scan_date AS VARCHAR), symbol FROM scan_breakout('2025-01-06', '09:50', end_date := '2025-01-15', max_results_per_day := 10)"
        assert hits == connection.execute(stockscan.in_place(scan)).fetchall()
    assert len(hits) > 10


def test_without_the_flag_it_ends_and_says_what_is_missing(shell):
    assert "-unsigned" in shell("-c", "SELECT 1", expected=1, output="stderr")
