"""What the tests of clients share. They run with DuckDB 2.0, with 1.5, or with both: each version has its file of the extension, and its own way to
name a scanner."""

import os
import re
import shutil
import subprocess
import sys
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

    def in_place(self, text: str, market: Path | None = None) -> str:
        """What a page says, with the real paths, and with the names that this DuckDB has for scanners."""
        text = text.replace("/path/to/stockscan.duckdb_extension", str(self.extension)).replace("/path/to/market.duckdb", str(market))
        assert "/path/to/" not in text, text
        return re.sub(r"\b(?<!\.)(?=(scan_\w+|demo_bars|outcomes|sessions|backtest\w*)\()", self.prefix, text)

    def connect(self, path=":memory:") -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(path, config={"allow_unsigned_extensions": "true"})
        connection.execute(f"LOAD '{self.extension}'")
        return connection


@dataclass
class Project:
    """The files that a page of docs/clients shows, in a folder: blocks that begin with a comment with the file's name."""

    folder: Path

    def run(self, *command, expected=0, output="stdout") -> str:
        """Runs a program in the folder, with a home of its own, and returns what it prints."""
        environment = os.environ | {"HOME": str(self.folder), "DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "NO_COLOR": "1"}
        done = subprocess.run([str(word) for word in command], cwd=self.folder, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == expected, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return getattr(done, output)

    def python(self, *arguments, **options) -> str:
        return self.run(sys.executable, *arguments, **options)


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


@pytest.fixture
def project(stockscan, market, tmp_path):
    """Writes the files of a page, beside a market of their own."""

    def make(page: str) -> Project:
        own = shutil.copy(market, tmp_path / "market.duckdb")
        text = (ROOT / "docs/clients" / f"{page}.md").read_text()
        files = re.findall(r"^```\w+\n((?:#|--|//) ([\w./-]*\.\w+)\n.*?)^```", text, re.MULTILINE | re.DOTALL)
        assert files, f"{page}.md shows no files"
        for content, name in files:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(stockscan.in_place(content, own))
        return Project(tmp_path)

    return make
