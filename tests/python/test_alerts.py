"""Alerts from the `scanner` command to a webhook, verified as a receiver would: by the standard library's HMAC, after the specification."""

import base64
import hashlib
import hmac
import http.server
import json
import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from conftest import ROOT

SCANNER = Path(os.environ.get("STOCKSCAN_SCANNER", ROOT / "target" / "debug" / "scanner")).resolve()
SECRET = bytes(range(32))


class Receiver(http.server.ThreadingHTTPServer):
    """Answers 503 to the first request, 200 to all others, and keeps them."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.requests.append((dict(self.headers), body))
        self.send_response(503 if len(self.server.requests) == 1 else 200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def scanner(folder, *arguments):
    names = ("STOCKSCAN_DATABASE", "STOCKSCAN_CONFIG_FILE", "STOCKSCAN_STATE", "STOCKSCAN_SCANNERS_DIRECTORY")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment |= {"XDG_CONFIG_HOME": str(folder / "home"), "HOOK_SECRET": "whsec_" + base64.b64encode(SECRET).decode()}
    return subprocess.run([SCANNER, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def market(tmp_path):
    assert scanner(tmp_path, "-q", "demo", "--symbols", "40", "--sessions", "20").returncode == 0
    return tmp_path


def test_signatures_verify_and_a_second_run_tells_nothing(market):
    receiver = Receiver()
    rule = {
        "scanner_type": "breakout",
        "config": {"breakout_volume_ratio": 0, "resistance_break_pct": 0, "min_volume": 0, "min_probability_score": 0},
        "webhook": {"url": f"http://127.0.0.1:{receiver.server_port}/hook", "secret_env": "HOOK_SECRET"},
    }
    (market / "scanner_config.json").write_text(json.dumps({"alerts": {"morning": rule}}))
    before = time.time()
    first = scanner(market, "alerts", "watch", "--duration", "5")
    assert first.returncode == 0, first.stderr
    told = [line.split()[3] for line in first.stdout.splitlines()]
    assert told, first.stderr

    for headers, body in receiver.requests:
        assert headers["content-type"] == "application/json"
        # "The content to sign is the id, the timestamp and the payload, separated by a full stop."
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        expected = "v1," + base64.b64encode(hmac.digest(SECRET, signed, hashlib.sha256)).decode()
        assert headers["webhook-signature"] == expected
        assert before - 1 <= int(headers["webhook-timestamp"]) <= time.time() + 1
    bodies = [json.loads(body) for _, body in receiver.requests]
    assert len({headers["webhook-id"] for headers, _ in receiver.requests}) == len(told), "sent again under the same name"
    assert sorted({body["data"]["symbol"] for body in bodies}) == sorted(told)
    for body in bodies:
        assert body["data"]["evidence"]["symbol"] == body["data"]["symbol"]

    count = len(receiver.requests)
    assert count == len(told) + 1, "one was refused at first"
    second = scanner(market, "alerts", "watch", "--duration", "1")
    assert (second.returncode, second.stdout) == (0, "")
    assert len(receiver.requests) == count
    history = scanner(market, "alerts", "history", "--format", "json")
    assert {row["symbol"]: row["message"] for row in json.loads(history.stdout)} == dict.fromkeys(told, "delivered")
