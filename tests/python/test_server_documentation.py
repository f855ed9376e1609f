"""The examples of docs/server.md, run in order against a live server, by bash, Python and Node."""

import re
import shutil
import subprocess
import sys

from server import ROOT, Server, environment

ADDRESS = "http://localhost:8000"
# What fails does so with an exit code, which readers of a terminal can do without.
CURL = 'set -euo pipefail\ncurl() { command curl --fail-with-body --show-error "$@"; }\n'
RUNS = {
    "bash": lambda block: ["bash", "-c", CURL + block],
    "python": lambda block: [sys.executable, "-c", block],
    "javascript": lambda block: ["node", "--input-type=module", "--eval", block],
}


def test_examples_run(market_folder):
    assert shutil.which("node") and shutil.which("curl"), "node and curl are needed (Debian: apt-get install nodejs curl)"
    page = (ROOT / "docs" / "server.md").read_text()
    blocks = re.findall(rf"^```({'|'.join(RUNS)})\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert {language for language, _ in blocks} == set(RUNS) and len(blocks) > 10
    with Server(market_folder, "--enable-query") as server:
        for language, block in blocks:
            assert ADDRESS in block, f"it asks nobody:\n{block}"
            command = RUNS[language](block.replace(ADDRESS, server.root))
            done = subprocess.run(command, cwd=market_folder, env=environment(market_folder), capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}\n{server.log()[-3000:]}"
            assert done.stdout.strip(), f"it prints nothing:\n{block}"
            assert '"total_results":0' not in done.stdout and '"results":[]' not in done.stdout, f"it finds nothing:\n{block}\n{done.stdout}"
    assert (market_folder / "hits.xlsx").read_bytes().startswith(b"PK"), "a spreadsheet"
    assert "DEMO" in (market_folder / "hits.csv").read_text()


def test_every_path_is_on_the_page(server):
    """Each of the description has its place in the table at the top, and what the table has is there."""
    page = (ROOT / "docs" / "server.md").read_text().split("## Scan")[0]
    described = {re.sub(r"\{\w+\}", "", path.removeprefix("/api/v1/scanner")).rstrip("/") for path in server.get("/openapi.json").json()["paths"]}
    named = {re.sub(r"\{\w+\}", "", path).rstrip("/") for path in re.findall(r"(?<=[ `])(/[a-z][\w/{}-]*)", page)}
    named = {re.sub(r"/$", "", path.replace("//", "/")) for path in named}
    described = {path.replace("//", "/") for path in described}
    assert described - named - {"/jobs", "/jobs/result"} == set(), "not on the page"
    assert named - described - {"/api/v1/scanner", "/docs", "/openapi", "/export"} == set(), "on the page only"
