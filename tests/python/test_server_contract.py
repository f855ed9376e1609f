"""The server does what its description says, and the description says what the server does."""

import gzip
import io
import json
import os
import re
import socket
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin

import jsonschema
import pyarrow
import pyarrow.parquet
import pytest

from conftest import connect
from server import PREFIX, Server, scanner

# Coverage of 40 operations, of which a dozen have the parameters of fifteen scanners, takes a minute of a slow machine; the other phases go on for as
# long as they are let.
SECONDS = {"examples,coverage": 90, "fuzzing,stateful": 45, "examples,fuzzing": 20}
MEDIA = {
    "ndjson": "application/x-ndjson",
    "csv": "text/csv",
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
}
PROBLEM = {"type", "title", "status", "detail", "error", "parameter", "scanner_type", "timestamp"}


def problem(answer, status: int) -> dict:
    """An answer's problem details, which have all their fields."""
    assert answer.status == status, (answer.status, answer.text)
    assert answer.headers["Content-Type"] == "application/problem+json", answer.headers
    document = answer.json()
    assert set(document) == PROBLEM, document
    assert document["status"] == status and document["type"] == "about:blank" and document["title"]
    assert document["detail"] and re.fullmatch(r"[a-z_]+", document["error"]), document
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", document["timestamp"])
    return document


@pytest.fixture(scope="module")
def description(server) -> dict:
    answer = server.get("/openapi.json")
    assert answer.status == 200
    return answer.json()


def operations(description: dict) -> list[tuple[str, str, dict]]:
    methods = ("get", "post", "delete", "put")
    return [(method, path, item[method]) for path, item in description["paths"].items() for method in methods if method in item]


# Schemathesis


SETTINGS = """
warnings = {{ fail-on = [] }}
request-timeout = 60
# Those of live scans have no end.
max-stream-events = 1

[checks.positive_data_acceptance]
# 400 and 422 too: 'refusals_say_why' looks at what they say.
expected-statuses = ["2xx", "3xx", "400", "401", "403", "404", "409", "422", "429"]

[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "406", "409", "413", "415", "422", "429"]

# To delete a job that runs is to cancel it: it is still there, and what ended just before that is done. A forgotten one is test_server_jobs' matter.
[[operations]]
include-path-regex = "/jobs/"
checks.use_after_free.enabled = false

[generation]
deterministic = true
database = "none"
{more}
"""


def schemathesis_run(server: Server, folder: Path, phases: str, *options, more="") -> str:
    """Runs it on all operations with all checks, and returns what it says."""
    (folder / "schemathesis.toml").write_text(SETTINGS.format(more=more))
    command = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"]
    command += ["--config-file", "schemathesis.toml", "run", f"{server.url}/openapi.json", "--checks", "all", "--seed", "1"]
    command += ["--phases", phases, "--max-time", str(SECONDS[phases]), *options]
    hooks = {"SCHEMATHESIS_HOOKS": "contract_hooks", "PYTHONPATH": str(Path(__file__).parent), "NO_COLOR": "1"}
    done = subprocess.run(command, cwd=folder, env=os.environ | hooks, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-5000:]
    return done.stdout


@pytest.mark.parametrize("phases", ["examples,coverage", "fuzzing,stateful"])
def test_schemathesis_finds_no_failure(market_folder, phases):
    # Its backtests are as long as they like, so that what it does not wait for is ended.
    with Server(market_folder, "--enable-query", "--job-timeout", 5, "--grace", 5) as server:
        count = len(operations(server.get("/openapi.json").json()))
        said = schemathesis_run(server, market_folder, phases, "--max-examples", "25")
        assert f"Operations: {count} selected / {count} total" in re.sub(r" +", " ", said), said
        assert int(re.search(r"(\d+) generated", said)[1]) > 10 * count, said
        assert server.get("/health").json()["status"] == "ok"


def test_schemathesis_finds_no_failure_where_keys_are_needed(market_folder):
    """With a key, and checked by it to be refused without one and with a wrong one."""
    key = scanner(market_folder, "key", "add", "fuzzer", "--role", "admin").stdout.strip()
    with Server(market_folder, "--job-timeout", 5, "--grace", 5) as server:
        described = server.get("/openapi.json", headers={"X-API-Key": key}).json()
        assert {} not in described["security"], "a key is needed, and the description must not say that one is not"
        said = schemathesis_run(server, market_folder, "examples,fuzzing", "--max-examples", "3", "-H", f"Authorization: Bearer {key}")
        assert "ignored_auth" not in said


# The description


def test_the_description_names_each_scanner_with_its_parameters(server, description, demo):
    """As the catalogue has them; a description that knows only 'object' would pass any other test here."""
    schemas = description["components"]["schemas"]
    mapping = schemas["ScanRequest"]["discriminator"]["mapping"]
    assert sorted(mapping) == sorted(server.get("/scanner-types").json())
    own = ("scan_date", "end_date", "source")
    listed = demo.execute("SELECT scanner, parameter, type, min, max FROM scanner_parameters()").fetchall()
    assert len(listed) > 100
    for name, reference in mapping.items():
        request = schemas[reference.rsplit("/", 1)[1]]
        assert request["properties"]["scanner_type"]["enum"] == [name]
        config = schemas[request["properties"]["config"]["oneOf"][0]["$ref"].rsplit("/", 1)[1]]
        expected = {parameter: limits for scanner_type, parameter, *limits in listed if scanner_type == name and parameter not in own}
        assert set(config["properties"]) == set(expected), name
        for parameter, (kind, least, most) in expected.items():
            schema = config["properties"][parameter]
            # Whole numbers end where BIGINT does.
            end = 2**63 - 1 if most is None and kind in ("INTEGER", "BIGINT") else most
            assert (schema.get("minimum"), schema.get("maximum")) == (least, end), (name, parameter)


def test_examples_of_the_description_are_answered(server, description):
    validator = jsonschema.Draft202012Validator
    for name, schema in description["components"]["schemas"].items():
        validator.check_schema(schema)
        assert schema.get("description") or schema.get("oneOf"), f"{name} says nothing"
    for method, path, operation in operations(description):
        assert operation["summary"], path
        assert all(parameter["description"] for parameter in operation.get("parameters", [])), path
        assert {"400", "401", "403", "429", "503", "504"} <= set(operation["responses"]), path


def test_a_scanner_of_ones_own_is_described(market_folder):
    """One that is made while the server runs, too, and only to those who may read the database."""
    macro = "CREATE MACRO scan_mine(scan_date, cutoff_time := '09:50', end_date := NULL) AS TABLE FROM scan_breakout(scan_date, end_date := end_date)"
    with Server(market_folder) as server:
        assert "mine" not in server.get("/openapi.json").json()["components"]["schemas"]["ScanRequest"]["discriminator"]["mapping"]
        scanner(market_folder, "sql", macro)
        assert "mine" in server.get("/openapi.json").json()["components"]["schemas"]["ScanRequest"]["discriminator"]["mapping"]
    key = scanner(market_folder, "key", "add", "reader").stdout.strip()
    with Server(market_folder) as server:
        known = server.get("/openapi.json", headers={"X-API-Key": key}).json()
        strange = server.get("/openapi.json").json()
        assert "MineConfig" in known["components"]["schemas"]
        assert "MineConfig" not in strange["components"]["schemas"] and "BreakoutConfig" in strange["components"]["schemas"]


class Assets(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.inline = [], []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.found += [attributes[name] for name in ("src", "href") if attributes.get(name)]
        if tag == "script" and not attributes.get("src"):
            self.inline.append(tag)
        self.inline += [name for name in attributes if name.startswith("on")]


def test_the_page_of_the_description_needs_nothing_but_the_server(server):
    first = server.get("/docs")
    assert first.status in (301, 302, 303, 307, 308) and first.headers["Location"] == f"{PREFIX}/docs/"
    page = server.get("/docs/")
    assert page.status == 200 and page.headers["Content-Type"].startswith("text/html")
    policy = {part.split()[0]: part.split()[1:] for part in page.headers["Content-Security-Policy"].split(";")}
    assert policy["default-src"] == ["'none'"] and policy["script-src"] == ["'self'"] and policy["connect-src"] == ["'self'"]
    assets = Assets()
    assets.feed(page.text)
    assert assets.inline == [], "the policy forbids scripts in the page"
    assert any(name.endswith(".css") for name in assets.found) and len([name for name in assets.found if name.endswith(".js")]) >= 2
    for name in assets.found:
        address = urljoin(f"{server.url}/docs/", name)
        assert address.startswith(f"{server.url}/docs/"), f"{name} is loaded from elsewhere"
        asset = server.get("/docs/" + address.rsplit("/", 1)[1])
        assert asset.status == 200 and asset.body, name
        if name.endswith((".js", ".css")):
            assert not re.search(rb"@import\s+url\(['\"]?https?:", asset.body), name
    start = server.get("/docs/swagger-initializer.js").text
    assert f'"url": "{PREFIX}/openapi.json"' in start
    assert '"validatorUrl": "none"' in start, "it would send the description to a stranger's validator"
    problem(server.get("/docs/no-such-file.js"), 404)


# Answers


def same(given, expected, path="answer"):
    """Equal, numbers to the last digit but one."""
    if isinstance(expected, float) and isinstance(given, (int, float)) and not isinstance(given, bool):
        assert given == pytest.approx(expected, rel=1e-12, abs=1e-12), path
    elif isinstance(expected, dict):
        assert list(given) == list(expected), path
        for name, value in expected.items():
            same(given[name], value, f"{path}.{name}")
    elif isinstance(expected, list):
        assert len(given) == len(expected), path
        for index, value in enumerate(expected):
            same(given[index], value, f"{path}[{index}]")
    else:
        assert given == expected, path


OUTCOME = ("eod_price", "price_change_pct", "day_range_pct", "breakout_successful")


def without_outcome(rows: list[dict]) -> list[dict]:
    return [{name: value for name, value in row.items() if name not in OUTCOME} for row in rows]


QUESTIONS = [
    ({"scanner_type": "breakout", "start_date": "2024-12-01", "end_date": "2025-01-15"}, []),
    ({"scanner_type": "breakout", "scan_date": "2025-01-15", "cutoff_time": "11:00", "config": {"max_results_per_day": 20, "min_price": 1}},
     ["--cutoff", "11:00", "--set", "max_results_per_day=20", "--set", "min_price=1"]),
    ({"scanner_type": "crp", "start_date": "2025-01-06", "end_date": "2025-01-10"}, []),
    ({"scanner_type": "technical", "start_date": "2025-01-06", "end_date": "2025-01-10", "symbols": ["DEMO0001", "DEMO0002", "DEMO0003"]},
     ["--symbols", "DEMO0001,DEMO0002,DEMO0003"]),
    ({"scanner_type": "gap", "start_date": "2024-12-01", "end_date": "2025-01-15"}, []),
    ({"scanner_type": "momentum", "scan_date": "2025-01-15", "config": {"lookback_sessions": 20}}, ["--set", "lookback_sessions=20"]),
]  # fmt: skip


@pytest.mark.parametrize("question, options", QUESTIONS, ids=lambda value: value.get("scanner_type") if isinstance(value, dict) else "")
def test_a_scan_answers_what_the_command_finds(server, question, options):
    days = ["--date", question.get("scan_date") or question["start_date"]]
    days += ["--end-date", question["end_date"]] if "end_date" in question else []
    words = ["run", "--scanner-type", question["scanner_type"], *days, *options, "--format", "json", "--no-cache", "--read-only"]
    expected = json.loads(scanner(server.folder, *words).stdout)
    answer = server.post("/scan", question).json()
    assert expected, "it finds nothing, so this proves nothing"
    same(without_outcome(answer["results"]), expected)
    assert answer["total_results"] == len(expected)
    same(answer["avg_probability_score"], sum(float(row["probability_score"]) for row in expected) / len(expected))


def test_what_became_of_hits_is_what_the_bars_say(server, market_file):
    """Worked out again from the bars: the last close by 15:15, the range of the session up to then, and whether the price rose."""
    answer = server.scan(start_date="2024-10-01", end_date="2025-01-15", end_of_day_time="15:15", config={"max_results_per_day": 20})
    assert len(answer["results"]) > 10
    with connect(market_file, read_only=True) as database:
        for hit in answer["results"]:
            after = database.execute(
                """
                SELECT arg_max(close, ts), 100 * (max(high) - min(low)) / min(low), count(*) FILTER (CAST(ts AS TIME) >= TIME '09:50')
                FROM bars
                WHERE symbol = ? AND CAST(ts AS DATE) = CAST(? AS DATE) AND CAST(ts AS TIME) < TIME '15:15'
                """,
                [hit["symbol"], hit["scan_date"]],
            ).fetchone()
            close, day_range, later = after
            if not later:
                assert [hit[name] for name in OUTCOME] == [None] * 4, hit
                continue
            assert hit["eod_price"] == pytest.approx(close), hit
            assert hit["price_change_pct"] == pytest.approx(100 * (close / hit["price"] - 1)), hit
            assert hit["day_range_pct"] == pytest.approx(day_range), hit
            assert hit["breakout_successful"] == (close > hit["price"]), hit
    known = [hit for hit in answer["results"] if hit["breakout_successful"] is not None]
    good = [hit for hit in known if hit["breakout_successful"]]
    assert 0 < len(good) < len(known), "all or none of them rose, so this proves little"
    assert answer["successful_breakouts"] == len(good)
    assert answer["success_rate"] == pytest.approx(100 * len(good) / len(known))
    assert answer["avg_price_change"] == pytest.approx(sum(hit["price_change_pct"] for hit in known) / len(known))


def test_later_bars_do_not_change_what_was_found(server, market_file, tmp_path):
    """The bars from the cutoff on taken away: the same hits, and nothing is known of what became of them."""
    with connect(tmp_path / "market.duckdb") as database:
        database.execute(f"ATTACH '{market_file}' AS whole (READ_ONLY)")
        database.execute("CREATE TABLE bars AS FROM whole.bars WHERE ts < TIMESTAMP '2025-01-15 10:30'")
    question = {"scan_date": "2025-01-15", "cutoff_time": "10:30", "config": {"max_results_per_day": 20}}
    with Server(tmp_path) as early:
        for scanner_type in ("breakout", "crp", "opening_range", "relative_volume"):
            then, later = (one.scan(scanner_type, **question) for one in (early, server))
            assert later["results"], scanner_type
            same(without_outcome(then["results"]), without_outcome(later["results"]))
            assert all(hit[name] is None for hit in then["results"] for name in OUTCOME)
            assert (then["successful_breakouts"], then["success_rate"], then["avg_price_change"]) == (None, None, None)
            assert any(hit["eod_price"] is not None for hit in later["results"])


def test_a_range_is_its_days(server, market_file):
    with connect(market_file, read_only=True) as database:
        days = [str(day) for (day,) in database.execute("SELECT session_date FROM sessions() ORDER BY 1 DESC LIMIT 12").fetchall()]
    for scanner_type in ("breakout", "crp", "opening_range"):
        whole = server.scan(scanner_type, start_date=days[-1], end_date=days[0])
        single = [row for day in reversed(days) for row in server.scan(scanner_type, scan_date=day)["results"]]
        assert len(single) > 5
        same(whole["results"], single)
        assert (whole["scan_date"], whole["start_date"], whole["end_date"]) == (None, days[-1], days[0])


def test_a_batch_is_its_scans(server):
    scans = [question for question, _ in QUESTIONS]
    wrong = {"scanner_type": "breakout", "config": {"min_price": -1}}
    batch = server.post("/batch-scan", {"scans": [*scans[:2], wrong, *scans[2:], {"scanner_type": "no_such"}], "max_concurrent": 2}).json()
    assert (batch["total"], batch["succeeded"], batch["failed"]) == (len(scans) + 2, len(scans), 2)
    assert batch["results"][2]["status"] == 400 and batch["results"][2]["parameter"] == "min_price"
    assert batch["results"][-1]["status"] == 404 and batch["results"][-1]["scanner_type"] == "no_such"
    for scan, result in zip(scans, batch["results"][:2] + batch["results"][3:-1], strict=True):
        single = server.post("/scan", scan).json()
        same(result["results"], single["results"])


def test_without_a_date_it_is_the_latest_session(server):
    latest = server.scan()
    assert latest["scan_date"] == "2025-01-15" and latest["results"] == server.scan(scan_date="2025-01-15")["results"]


def rows_of(answer, name: str) -> list[dict]:
    if name == "ndjson":
        return [json.loads(line) for line in answer.text.splitlines()]
    if name == "arrow":
        return pyarrow.ipc.open_stream(answer.body).read_all().to_pylist()
    return pyarrow.parquet.read_table(io.BytesIO(answer.body)).to_pylist()


def test_formats_have_the_same_rows(server):
    question = {"scanner_type": "breakout", "start_date": "2024-10-01", "end_date": "2025-01-15"}
    expected = server.post("/scan", question).json()["results"]
    assert len(expected) > 5
    for name, media in MEDIA.items():
        answer = server.post("/scan", question, headers={"Accept": media})
        assert answer.status == 200 and answer.headers["Content-Type"].split(";")[0] == media
        assert re.fullmatch(r"[0-9a-f-]{36}", answer.headers["Stockscan-Scan-Id"])
        if name == "csv":
            header, *lines = answer.text.splitlines()
            assert header.split(",") == list(expected[0])
            assert [line.split(",")[1] for line in lines] == [row["symbol"] for row in expected]
            continue
        rows = [row | {"scan_date": str(row["scan_date"])} for row in rows_of(answer, name)]
        same(rows, expected)


def test_what_is_accepted_first_is_sent(server):
    def sent(accept):
        return server.get("/bars/DEMO0001?limit=3", headers={"Accept": accept} if accept is not None else {})

    for accept, media in [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("text/*", "text/csv"),
        ("text/csv;q=0.5, application/x-ndjson", "application/x-ndjson"),
        ("text/html, application/json;q=0.9, */*;q=0.1", "application/json"),
        ("application/json;q=0, text/csv", "text/csv"),
        ("TEXT/CSV", "text/csv"),
    ]:
        answer = sent(accept)
        assert (answer.status, answer.headers["Content-Type"].split(";")[0]) == (200, media), accept
        assert "accept" in answer.headers["Vary"]
    for accept in ("text/html", "application/json;q=0", "image/*", "nonsense"):
        assert "text/csv" in problem(sent(accept), 406)["detail"], "what is to be had"


# What goes wrong


NASTY = [
    ("GET", "/no-such-path", None, 404, None),
    ("GET", "//no-such-path", None, 404, None),
    ("GET", "//etc/passwd", None, 404, None),
    ("GET", "/../../../etc/passwd", None, 404, None),
    ("GET", "/docs/../../../../etc/passwd", None, 404, None),
    ("GET", "/docs/%2e%2e/%2e%2e/etc/passwd", None, 404, None),
    ("GET", "/bars/%00", None, 404, None),
    ("GET", "/bars/..%2f..%2fetc%2fpasswd", None, 404, None),
    ("GET", "/bars/DEMO0001'%20OR%201=1--", None, 404, None),
    ("GET", "/bars/%ff", None, 400, None),
    ("GET", "/bars/DEMO0001?limit=0", None, 400, "limit"),
    ("GET", "/bars/DEMO0001?limit=x", None, 400, None),
    ("GET", "/bars/DEMO0001?from=yesterday", None, 400, "from"),
    ("GET", "/bars/DEMO0001?from=2025-01-15&to=2025-01-14", None, 400, "from"),
    ("GET", "/bars/DEMO0001?frm=2025-01-15", None, 400, None),
    ("GET", "/symbols?limit=1000001", None, 400, "limit"),
    ("GET", "/symbols?limit=1&limit=2", None, 400, None),
    ("GET", "/time-windows?scan_date=2025-02-30", None, 400, "scan_date"),
    ("GET", "/time-windows?scan_date=0001-01-01", None, 400, "scan_date"),
    ("GET", "/time-windows?scan_date=2024-12-25", None, 404, None),
    ("GET", "/market-overview?cutoff_time=25:00", None, 400, "cutoff_time"),
    ("GET", "/market-overview?cutoff_time=00:00", None, 400, "cutoff_time"),
    ("GET", "/market-overview?scan_date=2024-12-25", None, 404, None),
    ("POST", "/scan", {}, 400, None),
    ("POST", "/scan", [], 400, None),
    ("POST", "/scan", {"scanner_type": 7}, 400, None),
    ("POST", "/scan", {"scanner_type": "no_such_scanner"}, 404, "scanner_type"),
    ("POST", "/scan", {"scanner_type": ""}, 404, "scanner_type"),
    ("POST", "/scan", {"scanner_type": "breakout'; DROP TABLE bars; --"}, 404, "scanner_type"),
    ("POST", "/scan", {"scanner_type": "breakout(1) --"}, 404, "scanner_type"),
    ("POST", "/scan", {"scanner_type": "x" * 100_000}, 404, "scanner_type"),
    ("POST", "/scan", {"scanner_type": "breakout", "scandate": "2025-01-15"}, 400, None),
    ("POST", "/scan", {"scanner_type": "breakout", "scan_date": "15.01.2025"}, 400, "scan_date"),
    ("POST", "/scan", {"scanner_type": "breakout", "scan_date": "2025-01-15'; --"}, 400, "scan_date"),
    ("POST", "/scan", {"scanner_type": "breakout", "scan_date": "1677-01-01"}, 400, "scan_date"),
    ("POST", "/scan", {"scanner_type": "breakout", "scan_date": "2025-01-15", "start_date": "2025-01-15"}, 400, "scan_date"),
    ("POST", "/scan", {"scanner_type": "breakout", "end_date": "2025-01-15"}, 400, "start_date"),
    ("POST", "/scan", {"scanner_type": "breakout", "start_date": "2025-01-15", "end_date": "2025-01-14"}, 400, "start_date"),
    ("POST", "/scan", {"scanner_type": "breakout", "cutoff_time": "9.50"}, 400, "cutoff_time"),
    ("POST", "/scan", {"scanner_type": "breakout", "cutoff_time": "00:00"}, 400, "cutoff_time"),
    ("POST", "/scan", {"scanner_type": "breakout", "end_of_day_time": "noon"}, 400, "end_of_day_time"),
    ("POST", "/scan", {"scanner_type": "breakout", "symbols": []}, 400, "symbols"),
    ("POST", "/scan", {"scanner_type": "breakout", "symbols": "DEMO0001"}, 400, None),
    ("POST", "/scan", {"scanner_type": "breakout", "config": {"min_prise": 1}}, 400, "min_prise"),
    ("POST", "/scan", {"scanner_type": "breakout", "config": {"min_price": -1}}, 400, "min_price"),
    ("POST", "/scan", {"scanner_type": "breakout", "config": {"min_price": "1); DROP TABLE bars"}}, 400, "min_price"),
    ("POST", "/scan", {"scanner_type": "breakout", "config": {"min_price": 5, "max_price": 2}}, 400, "min_price"),
    ("POST", "/scan", {"scanner_type": "breakout", "config": {"consolidation_period": 1e300}}, 400, "consolidation_period"),
    ("POST", "/scan", {"scanner_type": "breakout", "config": {"source": "read_text('/etc/passwd')"}}, 400, "source"),
    ("POST", "/scan", {"scanner_type": "breakout", "config": {"scan_date": "2025-01-15"}}, 400, "scan_date"),
    ("POST", "/scan", {"scanner_type": "breakout", "config": {"direction": "both' OR 1"}}, 400, "direction"),
    ("POST", "/batch-scan", {"scans": []}, 400, "scans"),
    ("POST", "/batch-scan", {"scans": [{"scanner_type": "breakout"}] * 11}, 400, "scans"),
    ("POST", "/batch-scan", {"scans": [{"scanner_type": "breakout"}], "max_concurrent": 0}, 400, None),
    ("POST", "/config/validate", {"scanner_type": "no_such", "config": {}}, 404, "scanner_type"),
]  # fmt: skip


@pytest.mark.parametrize("method, path, body, status, parameter", NASTY, ids=lambda value: str(value)[:60])
def test_what_cannot_be_is_refused_and_nothing_leaks(server, method, path, body, status, parameter):
    answer = server.request(method, path, json_body=body)
    document = problem(answer, status)
    assert document["parameter"] == parameter, document
    if path == "/scan" and isinstance(body, dict) and isinstance(body.get("scanner_type"), str) and document["parameter"]:
        assert document["scanner_type"][:40] == body["scanner_type"][:40]
    leaks = [str(server.folder), "market.duckdb", "/root/", "/home/", "panicked", "SELECT", "CREATE", "Binder", "Parser", "INTERNAL", ".rs:"]
    assert not [leak for leak in leaks if leak in document["detail"]], document
    assert len(document["detail"]) < 4000, "an error is no echo"


def test_a_refusal_names_the_range(server):
    document = problem(server.post("/scan", {"scanner_type": "breakout", "config": {"consolidation_period": 0}}), 400)
    assert document["scanner_type"] == "breakout" and document["parameter"] == "consolidation_period"
    assert "1" in document["detail"] and "250" in document["detail"] and "0" in document["detail"], document["detail"]
    document = problem(server.post("/scan", {"scanner_type": "breakot"}), 404)
    assert "breakout" in document["detail"], "did you mean"


def test_bodies_that_are_none(server):
    def sent(body, media="application/json", **headers):
        return server.request("POST", "/scan", body=body, headers={"Content-Type": media} | headers)

    good = json.dumps({"scanner_type": "breakout", "scan_date": "2025-01-15"}).encode()
    assert sent(good, "application/json; charset=utf-8").status == 200
    for media in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonx", ""):
        problem(sent(good, media), 415)
    for body in (b"", b"{", b"null", good + b"x", b"\xff\xfe", b'{"scanner_type": "breakout", "scanner_type": "crp"}', b"[" * 100_000):
        problem(sent(body), 400)
    # Said before the body is sent, which then breaks off.
    head = f"POST {PREFIX}/scan HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {(1 << 20) + 1}\r\n\r\n"
    with socket.create_connection((server.host, server.port), timeout=30) as connection:
        connection.sendall(head.encode())
        said = connection.recv(65536)
    assert said.startswith(b"HTTP/1.1 413") and b"application/problem+json" in said


def test_methods(server, description):
    """Each path with each method that it does not have: 405 with those that it has."""
    for path, item in description["paths"].items():
        concrete = re.sub(r"\{\w+\}", "x", path)
        has = {method.upper() for method in item if method in ("get", "post", "put", "delete", "patch")}
        for method in {"GET", "POST", "PUT", "DELETE", "PATCH", "TRACE"} - has:
            answer = server.request(method, "/" + concrete, json_body={} if method == "POST" else None)
            problem(answer, 405)
            assert {name.strip() for name in answer.headers["Allow"].split(",")} >= has, (path, method, answer.headers["Allow"])


def test_heads_are_those_of_get(server):
    for path in ("/symbols", "/scanner-types", "/bars/DEMO0001?limit=3", "/health", "/docs/", "/openapi.json"):
        got, head = (server.request(method, path) for method in ("GET", "HEAD"))
        assert head.status == got.status == 200 and head.body == b""
        assert head.headers["Content-Type"] == got.headers["Content-Type"]
        assert head.headers["ETag"] == got.headers["ETag"]
    head = server.request("HEAD", "/no-such-path")
    assert head.status == 404 and head.body == b""


def test_every_answer_has_an_id_and_protects_the_browser(server):
    answers = [server.get(path) for path in ("/symbols", "/no-such-path", "/health", "/bars/DEMO0001?limit=1", "/docs/")]
    ids = {answer.headers["X-Request-Id"] for answer in answers}
    assert len(ids) == len(answers) and all(re.fullmatch(r"[0-9a-f-]{36}", given) for given in ids)
    for answer in answers:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY" and answer.headers["Referrer-Policy"] == "no-referrer"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert all(f"id={given}" in server.log() for given in ids), "the log tells each by its id"


def test_an_answer_that_is_known_is_not_sent_again(market_folder):
    with Server(market_folder) as server:
        for path in ("/symbols", "/scanners", "/market-overview", "/time-windows", "/config/default", "/openapi.json"):
            first = server.get(path)
            tag = first.headers["ETag"]
            assert re.fullmatch(r'"[0-9a-f]+"', tag), path
            for given in (tag, f'"other", {tag}', f"W/{tag}", "*"):
                again = server.get(path, headers={"If-None-Match": given})
                assert (again.status, again.body, again.headers["ETag"]) == (304, b"", tag), (path, given)
            other = server.get(path, headers={"If-None-Match": '"other"'})
            assert (other.status, other.body) == (200, first.body)
        before = server.get("/symbols")
        scanner(market_folder, "sql", "DELETE FROM bars WHERE symbol = 'DEMO0007'")
        after = server.get("/symbols", headers={"If-None-Match": before.headers["ETag"]})
        assert after.status == 200 and b"DEMO0007" in before.body and b"DEMO0007" not in after.body, "the data has changed"


def test_answers_are_compressed_for_those_who_take_it(server):
    plain = server.get("/bars/DEMO0001?limit=1000")
    packed = server.get("/bars/DEMO0001?limit=1000", headers={"Accept-Encoding": "gzip"})
    assert plain.headers["Content-Encoding"] is None and packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body and len(packed.body) * 2 < len(plain.body)
    assert "accept-encoding" in ",".join(plain.headers.get_all("Vary")).lower()


# Who may ask


def raw(server: Server, text: str) -> bytes:
    with socket.create_connection((server.host, server.port), timeout=30) as connection:
        connection.sendall(text.encode("latin-1"))
        connection.settimeout(30)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def test_without_keys_it_is_asked_by_a_name_of_this_machine_only(server):
    """A page of the web can have its own name lead to 127.0.0.1; it cannot have the browser say another name."""
    for host in ("localhost", "127.0.0.1", f"LOCALHOST:{server.port}", f"[::1]:{server.port}"):
        assert server.get("/symbols", headers={"Host": host}).status == 200, host
    for host in ("example.com", f"localhost.example.com:{server.port}", "192.168.0.1", "0.0.0.0", ""):
        problem(server.get("/symbols", headers={"Host": host}), 403)
        problem(server.post("/scan", {"scanner_type": "breakout"}, headers={"Host": host}), 403)
    assert b" 40" in raw(server, f"GET {PREFIX}/symbols HTTP/1.1\r\nConnection: close\r\n\r\n").split(b"\r\n")[0], "without any name"
    # The name of an absolute address is the one that counts.
    strange = raw(server, f"GET http://example.com{PREFIX}/symbols HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n")
    assert strange.startswith(b"HTTP/1.1 403")


def test_pages_of_strange_origins(market_folder):
    own = "https://charts.example.com"
    question = {"scanner_type": "breakout", "scan_date": "2025-01-15"}
    with Server(market_folder, "--allow-origin", own) as server:
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,x-api-key"}
        preflight = server.request("OPTIONS", "/scan", headers={"Origin": own} | asked)
        assert preflight.status in (200, 204) and preflight.headers["Access-Control-Allow-Origin"] == own
        assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
        assert {"content-type", "x-api-key"} <= set(preflight.headers["Access-Control-Allow-Headers"].lower().replace(" ", "").split(","))
        assert preflight.headers["Access-Control-Allow-Credentials"] is None
        answer = server.post("/scan", question, headers={"Origin": own})
        assert answer.status == 200 and answer.headers["Access-Control-Allow-Origin"] == own
        assert server.post("/scan", question, headers={"Origin": server.root}).status == 200, "its own pages"
        for strange in ("https://evil.example.com", "https://charts.example.com.evil.com", "http://charts.example.com", "null", f"{own}:8443"):
            preflight = server.request("OPTIONS", "/scan", headers={"Origin": strange} | asked)
            assert preflight.headers["Access-Control-Allow-Origin"] is None, strange
            refused = server.post("/scan", question, headers={"Origin": strange})
            problem(refused, 403)
            assert refused.headers["Access-Control-Allow-Origin"] is None
            assert server.get("/symbols", headers={"Origin": strange}).headers["Access-Control-Allow-Origin"] is None
        # Where the browser cannot read the answer, it can read why.
        missing = server.get("/no-such-path", headers={"Origin": own})
        assert missing.status == 404 and missing.headers["Access-Control-Allow-Origin"] == own
    (market_folder / "scanner_config.json").write_text('{"api": {"enable_cors": false}}')
    with Server(market_folder, "--allow-origin", own) as server:
        assert server.post("/scan", question, headers={"Origin": own}).status == 403, "api.enable_cors of the configuration is off"


def test_keys_and_what_they_allow(market_folder):
    keys = {role: scanner(market_folder, "key", "add", role, "--role", role).stdout.strip() for role in ("read", "ingest", "admin")}
    assert len(set(keys.values())) == 3
    question = {"scanner_type": "breakout", "scan_date": "2025-01-15"}
    with Server(market_folder) as server:
        for path in ("/health", "/ready", "/docs/", "/docs/swagger-ui.css", "/openapi.json"):
            assert server.get(path).status == 200, f"{path} needs no key"
        for path in ("/symbols", "/metrics", "/bars/DEMO0001", "/no-such-path", "/scanners"):
            refused = server.get(path)
            problem(refused, 401)
            assert refused.headers["WWW-Authenticate"], "RFC 9110: 401 says how to ask"
        problem(server.post("/scan", question), 401)
        for headers in (
            {"X-API-Key": "wrong"},
            {"Authorization": "Bearer wrong"},
            {"Authorization": f"Basic {keys['read']}"},
            {"Authorization": "Bearer"},
            {"X-API-Key": keys["read"] + "0"},
            {"X-API-Key": keys["read"][:-1]},
            {"X-API-Key": ""},
            {"Cookie": f"key={keys['read']}"},
            {"X-Forwarded-For": "127.0.0.1"},
        ):
            problem(server.get("/symbols", headers=headers), 401)
        problem(server.get(f"/symbols?key={keys['read']}"), 401)
        for role in ("read", "admin"):
            for headers in ({"X-API-Key": keys[role]}, {"Authorization": f"Bearer {keys[role]}"}, {"Authorization": f"bearer {keys[role]}"}):
                assert server.get("/symbols", headers=headers).status == 200, headers
                assert server.post("/scan", question, headers=headers).status == 200
                assert server.get("/symbols", headers=headers | {"Host": "scans.example.com"}).status == 200, "with a key any name will do"
        problem(server.get("/symbols", headers={"X-API-Key": keys["ingest"]}), 403)
        problem(server.post("/scan", question, headers={"X-API-Key": keys["ingest"]}), 403)
        log = server.log()
        assert not [key for key in keys.values() if key in log], "no key stands in the log"
        assert "client=read" in log.replace('"', "")


def test_listening_where_others_reach_it_needs_a_key(market_folder):
    refused = scanner(market_folder, "serve", "--host", "0.0.0.0", "--port", "0", check=False)
    assert refused.returncode == 2 and "scanner key add" in refused.stderr
    scanner(market_folder, "key", "add", "someone")
    with Server(market_folder, "--host", "0.0.0.0") as server:
        assert server.host == "0.0.0.0" and server.get("/symbols").status == 401


def test_a_client_that_asks_too_often_is_told_when_to_come_again(market_folder):
    keys = [scanner(market_folder, "key", "add", name).stdout.strip() for name in ("greedy", "modest")]
    with Server(market_folder, "--rate-limit", "5") as server:
        answers = [server.get("/scanner-types", headers={"X-API-Key": keys[0]}) for _ in range(40)]
        refused = [answer for answer in answers if answer.status == 429]
        assert {answer.status for answer in answers} == {200, 429} and len(refused) >= 20
        for answer in refused:
            assert problem(answer, 429)["error"] == "rate_limited" and int(answer.headers["Retry-After"]) >= 1
        assert server.get("/scanner-types", headers={"X-API-Key": keys[1]}).status == 200, "another key has its own limit"
        assert server.get("/health").status == 200, "those who look after it are not counted"
        # By trying wrong ones nobody gets further, whatever the headers say of where they are.
        tries = [server.get("/symbols", headers={"X-API-Key": f"wrong{count}", "X-Forwarded-For": f"10.0.0.{count}"}) for count in range(40)]
        assert {answer.status for answer in tries} == {401, 429}
