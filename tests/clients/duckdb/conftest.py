"""Databases that have Stockscan loaded. Everything in this folder runs with DuckDB 2.0 and with 1.5."""

import os
from pathlib import Path

import duckdb
import pytest

ROOT = Path(__file__).resolve().parents[3]
IS_1_5 = duckdb.__version__.startswith("1.")
# What stands before the name of a function.
P = "stockscan." if IS_1_5 else ""
VARIABLE, FILE = ("STOCKSCAN_EXTENSION_1_5", "dist/v1/stockscan.duckdb_extension") if IS_1_5 else ("STOCKSCAN_EXTENSION", "dist/stockscan.duckdb_extension")
EXTENSION = Path(os.environ.get(VARIABLE, ROOT / FILE)).resolve()


def connect(path=":memory:", **options) -> duckdb.DuckDBPyConnection:
    """A database with Stockscan loaded. A missing extension is a failure: tests that were not run prove nothing."""
    assert EXTENSION.is_file(), f"{EXTENSION} is missing; 'cargo xtask extension' builds it, {VARIABLE} names another"
    connection = duckdb.connect(path, config={"allow_unsigned_extensions": "true"} | options.pop("config", {}), **options)
    connection.execute(f"LOAD '{EXTENSION}'")
    return connection


@pytest.fixture
def database():
    """A fresh database in memory."""
    with connect() as connection:
        yield connection


@pytest.fixture(scope="session")
def demo_file(tmp_path_factory) -> Path:
    """A database file with a demo market in bars: 60 symbols, 80 sessions, with the late and the halted ones."""
    path = tmp_path_factory.mktemp("demo") / "market.db"
    with connect(path) as connection:
        connection.execute(f"CREATE TABLE bars AS FROM {P}demo_bars(symbols := 60, sessions := 80)")
    return path


@pytest.fixture(scope="module")
def demo(demo_file):
    """The demo market, read-only. Temporary tables and views are the test's own."""
    with connect(demo_file, read_only=True) as connection:
        yield connection
