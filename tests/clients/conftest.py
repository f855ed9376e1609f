"""What the tests of clients share. They run with DuckDB 2.0, with 1.5, or with both: each version has its file of the extension, and its own way to
name a scanner."""

import os
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Stockscan:
    """Stockscan for the DuckDB of this environment."""

    extension: Path
    """The file to load."""
    prefix: str
    """What stands before the name of a function."""

    def connect(self, path=":memory:") -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(path, config={"allow_unsigned_extensions": "true"})
        connection.execute(f"LOAD '{self.extension}'")
        return connection


@pytest.fixture(scope="session")
def stockscan() -> Stockscan:
    if duckdb.__version__.startswith("1."):
        variable, file, prefix = "STOCKSCAN_EXTENSION_1_5", "dist/v1/stockscan.duckdb_extension", "stockscan."
    else:
        variable, file, prefix = "STOCKSCAN_EXTENSION", "dist/stockscan.duckdb_extension", ""
    extension = Path(os.environ.get(variable, ROOT / file)).resolve()
    assert extension.is_file(), f"{extension} is missing; 'cargo xtask extension' builds it, {variable} names another"
    return Stockscan(extension, prefix)


@pytest.fixture(scope="module")
def market(stockscan, tmp_path_factory) -> Path:
    """A database file with the demo market, which nobody has open."""
    path = tmp_path_factory.mktemp("market") / "market.duckdb"
    with stockscan.connect(path) as connection:
        connection.execute(f"CREATE TABLE bars AS FROM {stockscan.prefix}demo_bars()")
    return path
