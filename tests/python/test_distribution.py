"""What users install: the package, its signed repository in DuckDB 2.0, its checksums, and the page that says how.

DuckDB itself is what judges the signatures: nothing here computes one.
"""

import gzip
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import tomllib
from pathlib import Path

import duckdb
import pytest

from conftest import EXTENSION, ROOT, connect

VERSION = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
PLATFORM = duckdb.execute("PRAGMA platform").fetchone()[0]
EXTENSION_1_5 = Path(os.environ.get("STOCKSCAN_EXTENSION_1_5", ROOT / "dist" / "v1" / "stockscan.duckdb_extension")).resolve()
PLACE = f"v{duckdb.__version__}/{PLATFORM}/stockscan.duckdb_extension.gz"
SCAN = "FROM scan_breakout('2024-10-01', end_date := '2025-01-15')"
# Of the footer's end, the last 256 bytes are the signature; before it, eight fields of 32 bytes, the last of which is the first.
SIGNATURE, FIELD = 256, 32
NO_VALID_SIGNATURE = "Attempting to install an extension file that doesn't have a valid signature"


def xtask(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run(["cargo", "xtask", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True)


def new_key(folder: Path, *command: str) -> Path:
    subprocess.run(["openssl", *(command or ("genrsa", "2048"))], stdout=(folder / "key.pem").open("w"), check=True)
    return folder / "key.pem"


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """The command as release builds are archived."""
    folder = tmp_path_factory.mktemp("archive")
    title = f"scanner-{VERSION}-{PLATFORM}"
    (folder / title).mkdir()
    (folder / title / "scanner").symlink_to(Path(os.environ["STOCKSCAN_SCANNER"]).resolve())
    # A debugging build is large, and is not what is measured here.
    subprocess.run(["tar", "-chf", folder / f"{title}.tar", "-C", folder, title], check=True)
    subprocess.run(["gzip", "-1", folder / f"{title}.tar"], check=True)
    return folder / f"{title}.tar.gz"


@pytest.fixture(scope="module")
def key(tmp_path_factory) -> Path:
    return new_key(tmp_path_factory.mktemp("key"))


@pytest.fixture(scope="module")
def package(tmp_path_factory, key, archive) -> Path:
    folder = tmp_path_factory.mktemp("package") / "stockscan"
    made = xtask("package", "--sign-with", key, "--output", folder, EXTENSION, EXTENSION_1_5, archive)
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture(scope="module")
def signed(package) -> bytes:
    """The extension file as DuckDB installs it."""
    return gzip.decompress((package / "repository" / PLACE).read_bytes())


@pytest.fixture(scope="module")
def public_key(package) -> str:
    (key,) = json.loads((package / "repository/.well-known/duckdb-extension-repo.json").read_text())["signature_keys"]
    return key


@pytest.fixture
def user(tmp_path):
    """Opens databases of one user with nothing installed, unsigned extensions refused."""

    def open_database(**config):
        folders = {"extension_directory": str(tmp_path / "extensions"), "extension_repository_directory": str(tmp_path / "repositories")}
        return duckdb.connect(config=folders | {"allow_extension_repositories": "allowed"} | config)

    return open_database


def add(connection, prefix, public_key=None, name="stockscan"):
    using = f" USING PUBLIC KEY '{public_key}'" if public_key else ""
    return connection.execute(f"CREATE EXTENSION REPOSITORY {name} WITH PREFIX '{prefix}'{using}").fetchone()


def with_file(repository: Path, content: bytes, folder: Path) -> Path:
    """The repository with another extension file in it."""
    changed = shutil.copytree(repository, folder / "changed", ignore=shutil.ignore_patterns("*.gz"))
    (changed / PLACE).write_bytes(content)
    return changed


def test_checksums_are_those_of_all_files(package):
    listed = dict(reversed(line.split("  ")) for line in (package / "SHA256SUMS").read_text().splitlines())
    files = {str(path.relative_to(package)): path for path in package.rglob("*") if path.is_file() and path.name != "SHA256SUMS"}
    assert listed == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    assert f"scanner-{VERSION}-{PLATFORM}.tar.gz" in listed and f"repository/{PLACE}" in listed
    checked = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=package, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_only_the_signature_is_added_to_the_file(signed):
    built = EXTENSION.read_bytes()
    assert signed[:-SIGNATURE] == built[:-SIGNATURE]
    assert built[-SIGNATURE:] == bytes(SIGNATURE) != signed[-SIGNATURE:]


def test_it_is_installed_and_loaded_without_unsigned(user, package, demo, demo_file):
    expected = demo.execute(SCAN).fetchall()
    assert expected
    with user() as connection:
        add(connection, package / "repository")
        connection.execute("INSTALL stockscan FROM stockscan")
        connection.execute("LOAD stockscan FROM stockscan")
        connection.execute(f"ATTACH '{demo_file}' AS market (READ_ONLY); USE market")
        assert connection.execute(SCAN).fetchall() == expected
        version = "SELECT extension_version FROM duckdb_extensions() WHERE loaded AND extension_name = 'stockscan'"
        assert connection.execute(version).fetchall() == [(f"v{VERSION}",)]
        with pytest.raises(duckdb.InvalidInputException, match="not installed"):
            connection.execute("UPDATE EXTENSIONS (stockscan)")
    # Later sessions need no permission to load it, and a bare LOAD is not enough.
    with user(allow_extension_repositories="undecided") as connection:
        with pytest.raises(duckdb.IOException, match=r'stockscan.duckdb_extension" not found'):
            connection.execute("LOAD stockscan")
        connection.execute("LOAD stockscan FROM stockscan")
        assert connection.execute("SELECT count(*) > 0 FROM scanners()").fetchone() == (True,)
        with pytest.raises(duckdb.PermissionException, match="allow_extension_repositories='allowed'"):
            connection.execute("FORCE INSTALL stockscan FROM stockscan")
    with user(allow_extension_repositories="forbidden") as connection, pytest.raises(duckdb.IOException, match="signature"):
        connection.execute("LOAD stockscan FROM stockscan")


def test_the_fingerprint_is_the_one_that_duckdb_shows(user, package, key, tmp_path):
    made = xtask("package", "--sign-with", key, "--output", tmp_path / "again", EXTENSION)
    with user() as connection:
        _, _, fingerprints = add(connection, package / "repository")
    assert fingerprints == re.findall(r"sha256:\w+", made.stderr) and len(fingerprints) == 1


# A byte in the code, one in a field of the footer (DuckDB's version, the extension's), the first and the last of the signature.
@pytest.mark.parametrize("place", [1_000_000, -SIGNATURE - 3 * FIELD + 1, -SIGNATURE - 4 * FIELD + 1, -SIGNATURE, -1])
def test_a_flipped_bit_is_refused(user, package, signed, tmp_path, place):
    changed = bytearray(signed)
    changed[place] ^= 1
    with user() as connection:
        add(connection, with_file(package / "repository", changed, tmp_path))
        with pytest.raises(duckdb.Error, match=f"{NO_VALID_SIGNATURE}|was built"):
            connection.execute("INSTALL stockscan FROM stockscan")
            pytest.fail(f"a file with another byte at {place} was installed")


def test_a_file_signed_by_another_key_is_refused(user, package, tmp_path):
    made = xtask("package", "--sign-with", new_key(tmp_path), "--output", tmp_path / "other", EXTENSION)
    assert made.returncode == 0, made.stderr
    theirs = (tmp_path / "other" / "repository" / PLACE).read_bytes()
    with user() as connection:
        add(connection, with_file(package / "repository", theirs, tmp_path))
        with pytest.raises(duckdb.IOException, match=NO_VALID_SIGNATURE):
            connection.execute("INSTALL stockscan FROM stockscan")
        # It is the key, not the file.
        add(connection, tmp_path / "other" / "repository", name="theirs")
        connection.execute("INSTALL AND LOAD stockscan FROM theirs")


def test_an_installed_file_that_was_changed_is_not_loaded(user, package, tmp_path):
    with user() as connection:
        add(connection, package / "repository")
        connection.execute("INSTALL stockscan FROM stockscan")
    (installed,) = (tmp_path / "extensions").rglob("stockscan.duckdb_extension")
    content = bytearray(installed.read_bytes())
    content[1_000_000] ^= 1
    installed.write_bytes(content)
    with user() as connection, pytest.raises(duckdb.IOException, match="its signature is either missing or invalid"):
        connection.execute("LOAD stockscan FROM stockscan")


def test_a_repository_without_a_key_serves_those_who_allow_unsigned_extensions(user, tmp_path, public_key):
    made = xtask("package", "--output", tmp_path / "unsigned", EXTENSION)
    assert made.returncode == 0 and "not signed" in made.stderr, made.stderr
    repository = tmp_path / "unsigned" / "repository"
    assert not (repository / ".well-known").exists()
    with user() as connection:
        add(connection, repository, public_key)
        with pytest.raises(duckdb.IOException, match=NO_VALID_SIGNATURE):
            connection.execute("INSTALL stockscan FROM stockscan")
    with user(allow_unsigned_extensions="true") as connection:
        connection.execute(f"INSTALL stockscan FROM '{repository}'")
        connection.execute("LOAD stockscan")
        assert connection.execute("SELECT count(*) > 0 FROM scanners()").fetchone() == (True,)


def test_duckdb_1_5_installs_from_the_same_repository(package, tmp_path):
    """It has no repositories of one's own, so it is told to allow unsigned extensions; the signature does not disturb it."""
    script = f"""
import duckdb
config = {{"allow_unsigned_extensions": "true", "extension_directory": {str(tmp_path)!r}}}
with duckdb.connect(config=config) as connection:
    connection.execute("INSTALL stockscan FROM {str(package / "repository")!r}")
with duckdb.connect(config=config) as connection:
    connection.execute("LOAD stockscan")
    connection.execute("CREATE TABLE bars AS FROM stockscan.demo_bars()")
    print(duckdb.__version__, connection.execute("FROM stockscan.scan_breakout('2025-01-15')").fetchall())
"""
    done = subprocess.run([os.environ["STOCKSCAN_PYTHON_1_5"], "-c", script], capture_output=True, text=True)
    assert done.stdout.startswith("1.5.") and "DEMO" in done.stdout, done.stderr


def test_a_repository_is_served_over_http(user, package, public_key, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = (tmp_path / "http.log").open("w")
    server = subprocess.Popen(
        [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", package / "repository"], stdout=log, stderr=log
    )
    try:
        deadline = time.monotonic() + 30
        while socket.socket().connect_ex(("127.0.0.1", port)) != 0:
            assert time.monotonic() < deadline and server.poll() is None, (tmp_path / "http.log").read_text()
            time.sleep(0.05)
        # The key is given: to read it, DuckDB would fetch the extension httpfs.
        with user() as connection:
            add(connection, f"http://127.0.0.1:{port}", public_key)
            connection.execute("INSTALL AND LOAD stockscan FROM stockscan")
            assert connection.execute("SELECT count(*) > 0 FROM scanners()").fetchone() == (True,)
    finally:
        server.kill()
        server.wait()
    assert f"GET /{PLACE} " in (tmp_path / "http.log").read_text()


@pytest.fixture
def shell(tmp_path) -> Path:
    """A folder with a DuckDB 2.0 shell under the name that users type, and a home folder with nothing in it."""
    shell = shutil.which("haybarn", path=sysconfig.get_path("scripts"))
    assert shell, "the package haybarn-cli has no command 'haybarn'"
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "duckdb").write_text(f'#!/bin/sh\nexec "{shell}" -no-init -no-agent -json "$@"\n')
    (folder / "duckdb").chmod(0o755)
    return folder


def run_with(shell: Path, *command, **options):
    (home := shell.parent / "home").mkdir(exist_ok=True)
    environment = os.environ | {"PATH": f"{shell}:{os.environ['PATH']}", "HOME": str(home)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, **options)


def test_the_shell_installs_and_loads_it_in_the_home_folder(shell, package, public_key, signed, tmp_path):
    create = f"CREATE EXTENSION REPOSITORY stockscan WITH PREFIX '{{}}' USING PUBLIC KEY '{public_key}'"
    allow, install, load = "SET allow_extension_repositories = 'allowed'", "INSTALL stockscan FROM stockscan", "LOAD stockscan FROM stockscan"
    commands = [allow, create.format(package / "repository"), install, load, "CREATE TABLE bars AS FROM demo_bars()", SCAN]
    done = run_with(shell, "duckdb", *(part for command in commands for part in ("-c", command)), cwd=tmp_path)
    assert done.returncode == 0 and "DEMO" in done.stdout, done.stderr
    again = run_with(shell, "duckdb", "-c", load, "-c", "SELECT count(*) AS scanners FROM scanners()", cwd=tmp_path)
    assert json.loads(again.stdout)[0]["scanners"] >= 12, again.stderr

    changed = bytearray(signed)
    changed[1_000_000] ^= 1
    tampered = create.format(with_file(package / "repository", changed, tmp_path)).replace("CREATE", "CREATE OR REPLACE", 1)
    done = run_with(shell, "duckdb", "-c", allow, "-c", tampered, "-c", f"FORCE {install}", cwd=tmp_path)
    assert done.returncode != 0 and NO_VALID_SIGNATURE in done.stderr, done.stderr


def test_the_page_on_installing_runs(shell, package, public_key, tmp_path):
    """Its blocks in order, with the package in the place where the page has it, for one user."""
    page = (ROOT / "docs" / "installing.md").read_text()
    place = shutil.copytree(package, tmp_path / "stockscan")
    connection, asked = None, []
    blocks = re.findall(r"^```(\w+) install\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert {language for language, _ in blocks} == {"sql", "python", "bash"}
    config = {"extension_directory": str(tmp_path / "extensions"), "extension_repository_directory": str(tmp_path / "repositories")}
    for language, block in blocks:
        block = block.replace("/srv/stockscan", str(place)).replace("linux_amd64", PLATFORM)
        if language == "sql":
            # Each is a session of its own.
            with duckdb.connect(config=config) as connection:
                for statement in connection.extract_statements(block):
                    rows = connection.execute(statement).fetchall()
                    asked.append((statement.query.strip(), rows))
        else:
            command = {"python": [sys.executable, "-c"], "bash": ["bash", "-euo", "pipefail", "-c"]}[language]
            done = run_with(shell, *command, block, cwd=tmp_path)
            assert done.returncode == 0 and done.stdout.strip(), f"{block}\n{done.stdout}\n{done.stderr}"
            assert language == "bash" or "DEMO" in done.stdout, done.stdout
    answers = dict(asked)
    assert answers["FROM scan_breakout('2025-01-15', '09:50');"], "the scan finds something"
    fences = re.findall(r"^```(\w.*)$", page, re.MULTILINE)
    assert all(fence == "text" or fence.endswith(" install") for fence in fences), f"blocks that no test runs: {fences}"


def test_the_platforms_and_the_versions_of_the_page_are_those_that_are_built(package):
    page = (ROOT / "docs" / "installing.md").read_text()
    matrix = set(re.findall(r"platform: (\w+)", (ROOT / ".github/workflows/release.yml").read_text()))
    assert set(re.findall(r"`((?:linux|osx|windows)_\w+)`", page)) == matrix and len(matrix) == 5
    assert set(re.findall(r"scanner-(\d+\.\d+\.\d+)-", page)) == {VERSION}
    duckdb_version = (ROOT / "extension" / "duckdb-version").read_text().strip()
    assert set(re.findall(r"/(v2[\d.]+)/", page)) == {duckdb_version}
    # The file for 1.5 is served to the release that it is tested with.
    tested = re.search(r"^duckdb==(.*)$", (ROOT / "tests/python/requirements-1.5.txt").read_text(), re.MULTILINE)[1]
    assert set(re.findall(r"/(v1[\d.]+)/", page)) == {f"v{tested}"}
    assert {path.name for path in (package / "repository").glob("v*")} == {f"v{tested}", duckdb_version}


@pytest.mark.parametrize(
    ("key_command", "message"),
    [(("genrsa", "3072"), "RSA keys of 2048 bits"), (("genpkey", "-algorithm", "ed25519"), "RSA keys of 2048 bits"), (("version",), "pkey")],
)
def test_a_key_that_duckdb_would_not_take_is_an_error(tmp_path, key_command, message):
    made = xtask("package", "--sign-with", new_key(tmp_path, *key_command), "--output", tmp_path / "package", EXTENSION)
    assert made.returncode != 0 and message in made.stderr, made.stderr
    assert not (tmp_path / "package").exists()


def test_what_is_no_part_of_a_package_is_an_error(tmp_path):
    (archive := tmp_path / "scanner-1.tar.gz").write_bytes(gzip.compress(b"small"))

    def refused(content: bytes, name="stockscan.duckdb_extension") -> str:
        (tmp_path / name).write_bytes(content)
        made = xtask("package", "--output", tmp_path / "package", tmp_path / name)
        assert made.returncode != 0 and not (tmp_path / "package").exists()
        return made.stderr

    built = EXTENSION.read_bytes()
    assert "it has no footer" in refused(b"short") and "it has no footer" in refused(built[:-1])
    assert "version v9.1.0, expected" in refused(built.replace(f"\0v{VERSION}\0".encode(), b"\0v9.1.0\0"))
    assert "expected stockscan.duckdb_extension" in refused(built, "other.duckdb_extension")
    made = xtask("package", "--output", tmp_path / "package", archive, archive)
    assert "there is another file for scanner-" in made.stderr
    # What stands there already is replaced only if it is a package.
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "mine.txt").write_text("mine")
    made = xtask("package", "--output", tmp_path / "work", archive)
    assert "no package" in made.stderr and (tmp_path / "work" / "mine.txt").exists()
    for _ in range(2):
        assert xtask("package", "--output", tmp_path / "package", archive).returncode == 0


def test_release_notes_are_the_section_of_the_version(tmp_path):
    unreleased = xtask("release-notes", "Unreleased")
    assert unreleased.stdout.strip() in (ROOT / "CHANGELOG.md").read_text() and unreleased.stdout.strip()
    missing = xtask("release-notes", "v99.0.0")
    assert missing.returncode != 0 and "nothing under '## 99.0.0'" in missing.stderr and "renames" in missing.stderr
