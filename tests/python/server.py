"""A `scanner serve` of the test's own: on a database in a temporary folder, at a free port, ended and looked after at the end."""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCANNER = Path(os.environ.get("STOCKSCAN_SCANNER", ROOT / "target" / "debug" / "scanner")).resolve()
PREFIX = "/api/v1/scanner"


def environment(folder: Path) -> dict[str, str]:
    """Nothing of whoever runs the tests: no configuration, no variables of Stockscan."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("STOCKSCAN_", "RUST_"))}
    return kept | {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder / ".config"), "NO_COLOR": "1"}


def scanner(folder: Path, *arguments, check=True, **options) -> subprocess.CompletedProcess:
    """The command, run in a folder."""
    assert SCANNER.is_file(), f"{SCANNER} is missing; 'cargo build -p scanner' builds it, STOCKSCAN_SCANNER names another"
    words = [str(SCANNER), *map(str, arguments)]
    settings = {"cwd": folder, "env": environment(folder), "capture_output": True, "text": True, "timeout": 300} | options
    done = subprocess.run(words, **settings)
    assert not check or done.returncode == 0, f"{words}: {done.returncode}\n{done.stderr}"
    return done


@dataclass
class Answer:
    """What a request is answered with."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self):
        return json.loads(self.body)


class Server:
    """A running `scanner serve`.

    `with Server(folder) as server: server.get("/symbols")`. The database is `folder/market.duckdb` unless `database` says otherwise; options are
    those of `scanner serve`. At the end it is told to terminate, and must end well: exit code 0, no panic in its log.
    """

    def __init__(self, folder: Path, *options, database="market.duckdb", variables=None, around=()):
        assert SCANNER.is_file(), f"{SCANNER} is missing; 'cargo build -p scanner' builds it, STOCKSCAN_SCANNER names another"
        self.folder = Path(folder)
        self.log_file = self.folder / "server.log"
        port = [] if "--port" in options else ["--port", "0"]
        words = [*map(str, around), str(SCANNER), "serve", "--database", str(database), *port, *map(str, options)]
        with self.log_file.open("ab") as log:
            begin = log.tell()
            self.process = subprocess.Popen(
                words, cwd=self.folder, env=environment(self.folder) | (variables or {}), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 60
        while not (found := re.search(rb"\bat http://(\S+?):(\d+)/", self.log_file.read_bytes()[begin:])):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                raise AssertionError(f"{words}: ended with {self.process.wait()}\n{self.log()}")
            time.sleep(0.01)
        self.host, self.port = found[1].decode(), int(found[2])
        self.root = f"http://{self.host}:{self.port}"
        self.url = self.root + PREFIX

    def log(self) -> str:
        """What it has said so far, and those before it in the same folder."""
        return self.log_file.read_text(errors="replace")

    def connect(self, timeout=60) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout)

    def request(self, method: str, path: str, *, json_body=None, body=None, headers=None, timeout=60) -> Answer:
        """One request on a connection of its own. `path` is below /api/v1/scanner unless it begins with //, which stands for the root."""
        headers = dict(headers or {})
        if json_body is not None:
            body = json.dumps(json_body).encode()
            headers = {"Content-Type": "application/json"} | headers
        target = path[1:] if path.startswith("//") else PREFIX + path
        connection = self.connect(timeout)
        try:
            connection.request(method, target, body=body, headers=headers)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path: str, **options) -> Answer:
        return self.request("GET", path, **options)

    def post(self, path: str, json_body=None, **options) -> Answer:
        return self.request("POST", path, json_body=json_body, **options)

    def scan(self, scanner_type="breakout", **question) -> dict:
        """A scan's document; one that fails is a failure."""
        answer = self.post("/scan", {"scanner_type": scanner_type} | question)
        assert answer.status == 200, answer.text
        return answer.json()

    def terminate(self, within=30) -> int:
        """Tells it to end, and returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within)

    def kill(self):
        self.process.kill()
        self.process.wait(30)

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, kind, value, trace):
        try:
            code = self.terminate()
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"SIGTERM did not end it\n{self.log()[-5000:]}") from value
        if kind is None:
            # A test that kills it has its reasons.
            assert code in (0, -signal.SIGKILL), f"ended with {code}\n{self.log()[-5000:]}"
            assert "panic" not in self.log(), self.log()[-5000:]


@pytest.fixture(scope="session")
def market_file(tmp_path_factory) -> Path:
    """A database file as `scanner demo` makes it: 50 symbols, 80 sessions up to 2025-01-15. Copy it before writing to it."""
    folder = tmp_path_factory.mktemp("market")
    scanner(folder, "demo", "--symbols", 50, "--sessions", 80)
    return folder / "market.duckdb"


@pytest.fixture
def market_folder(market_file, tmp_path) -> Path:
    """A folder of the test's own with such a database in it."""
    shutil.copy(market_file, tmp_path / "market.duckdb")
    return tmp_path


@pytest.fixture(scope="module")
def server(market_file, tmp_path_factory):
    """A server that the tests of a module share. One that is to be treated badly is made by the test: `with Server(market_folder) as …`."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copy(market_file, folder / "market.duckdb")
    with Server(folder) as running:
        yield running
