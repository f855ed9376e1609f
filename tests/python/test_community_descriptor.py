"""The descriptor for DuckDB's community extensions says what is true of the extension."""

import re
import tomllib

import pytest
import yaml

from conftest import ROOT, connect

FOLDER = ROOT / "packaging" / "community"


@pytest.fixture(scope="module")
def descriptor() -> dict:
    return yaml.safe_load((FOLDER / "description.yml").read_text())


def test_it_has_what_their_schema_requires(descriptor):
    extension, repository = descriptor["extension"], descriptor["repo"]
    assert extension["build"] == "cargo" and extension["maintainers"]
    assert {"name", "description", "version", "language", "license", "requires_toolchains"} <= set(extension)
    assert re.fullmatch(r"[\w-]+/[\w.-]+", repository["github"]) and re.fullmatch(r"v\d+\.\d+\.\d+", repository["ref"])


def test_name_version_and_licence_are_those_of_the_crate(descriptor):
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]
    crate = tomllib.loads((ROOT / "extension" / "Cargo.toml").read_text())["package"]
    extension = descriptor["extension"]
    assert (extension["name"], extension["version"], extension["license"]) == (crate["name"], workspace["version"], workspace["license"])
    assert descriptor["repo"]["ref"] == f"v{workspace['version']}"


def test_no_platform_of_a_release_is_left_out_that_they_build(descriptor):
    released = set(re.findall(r"platform: (\w+)", (ROOT / ".github/workflows/release.yml").read_text()))
    # Their builds have given up macOS on Intel with DuckDB 2.0.
    assert released & set(descriptor["extension"]["excluded_platforms"].split(";")) == {"osx_amd64"}


def test_its_example_runs_and_finds_something(descriptor):
    with connect() as connection:
        statements = connection.extract_statements(descriptor["docs"]["hello_world"])
        for statement in statements:
            assert connection.execute(statement).fetchall(), statement.query
        assert len(statements) >= 3


def test_every_function_that_it_names_is_there_and_no_scanner_is_missing(descriptor, demo):
    text = descriptor["docs"]["extended_description"]
    functions = {name for (name,) in demo.execute("SELECT DISTINCT function_name FROM duckdb_functions()").fetchall()}
    named = set(re.findall(r"`(\w+)(?:\(\))?`", text))
    assert len(named) > 20 and named - functions == set()
    scanners = {f"scan_{name}" for (name,) in demo.execute("SELECT scanner FROM scanners() WHERE is_built_in").fetchall()}
    assert scanners - named == set()


def test_their_builds_find_their_targets():
    """The names that duckdb/extension-ci-tools calls; `make` itself is needed there only."""
    targets = {name for names in re.findall(r"^([\w ]+):", (ROOT / "Makefile").read_text(), re.MULTILINE) for name in names.split()}
    assert {"configure_ci", "set_duckdb_version", "set_duckdb_tag", "release", "test_release"} <= targets
    assert "build/release/extension/stockscan/" in (ROOT / "Makefile").read_text()
