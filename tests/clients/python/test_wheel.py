"""The Python package: one wheel has the file for each DuckDB, and load() picks it."""

import os
import re
import subprocess
import sys
import zipfile

import pytest

from conftest import ROOT


@pytest.fixture(scope="module")
def wheel():
    wheels = sorted((ROOT / "dist").glob("stockscan-*.whl"))
    assert len(wheels) == 1, f"expected one wheel in {ROOT / 'dist'}, found {wheels}; 'cargo xtask wheel' builds it"
    return wheels[0]


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, wheel], check=True)
    return folder


def run(site, script):
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(site)})


def test_it_has_both_files_and_says_for_which_platform(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert [name for name in names if name.endswith("duckdb_extension")] == ["stockscan/v1/stockscan.duckdb_extension", "stockscan/v2.0.0/stockscan.duckdb_extension"]
    # With "any" pip would install it where its files cannot be loaded.
    assert "-py3-none-any" not in wheel.name


def test_load_is_all_there_is(site, stockscan):
    done = run(
        site,
        f"""
import duckdb, stockscan
con = duckdb.connect(config={{"allow_unsigned_extensions": "true"}})
stockscan.load(con)
stockscan.load(con)
con.execute("CREATE TABLE bars AS FROM {stockscan.prefix}demo_bars()")
print(con.sql("SELECT symbol FROM {stockscan.prefix}scan_breakout('2025-01-15')").fetchall())
""",
    )
    assert "DEMO" in done.stdout, done.stderr


def test_it_says_how_the_database_has_to_be_opened(site):
    done = run(site, "import duckdb, stockscan; stockscan.load(duckdb.connect())")
    assert 'RuntimeError: ' in done.stderr and 'config={"allow_unsigned_extensions": "true"}' in done.stderr


@pytest.mark.parametrize("version", ["v1.4.4", "v2.0.1", "v3.0.0"])
def test_it_says_which_duckdb_it_is_for(site, version):
    # Another version's file would be refused by DuckDB in words about a footer.
    done = run(
        site,
        f"""
import stockscan
class Other:
    def execute(self, sql): return self
    def fetchone(self): return ({version!r},)
stockscan.load(Other())
""",
    )
    assert f"stockscan has no extension for DuckDB {version[1:]}; it has them for 2.0.0 and for 1.5" in done.stderr


def test_the_readme_is_of_the_duckdb_that_pip_installs(site, stockscan):
    (block,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "python/README.md").read_text(), re.MULTILINE | re.DOTALL)
    done = run(site, stockscan.in_place(block))
    assert "DEMO" in done.stdout, done.stderr


def test_pip_installs_no_duckdb_that_load_refuses():
    newest = (ROOT / "extension/duckdb-version").read_text().strip().removeprefix("v")
    assert f'"duckdb>=1.5,<={newest}"' in (ROOT / "python/pyproject.toml").read_text()


def test_the_version_is_one(wheel):
    assert f'version = "{wheel.name.split("-")[1]}"' in (ROOT / "Cargo.toml").read_text()
