"""Backtests and optimisations over HTTP: jobs, against the command, which calls the same SQL, and against trades worked out by hand."""

import datetime
import json
import re
import shutil
import threading
import time

import duckdb
import pytest

import server as served
from conftest import connect
from server import PREFIX

TRADING = {"scanner_type": "breakout", "stop_loss_pct": 1.5, "target_pct": 3, "cost_bps": 3, "config": {"min_price": 60}}
AS_OPTIONS = ["-t", "breakout", "--stop-loss", "1.5", "--target", "3", "--cost-bps", "3", "--set", "min_price=60"]
# Each value of the period is scanned for: a part of its own, and there are so many that nobody waits for the end.
LONG = {"scanner_type": "breakout", "grid": {"consolidation_period": list(range(1, 251)), "stop_loss_pct": [0.5, 1, 2, None]}}
# A scanner that finds everything for which a condition holds.
FINDS_ALL = """
    CREATE MACRO scan_{name}(scan_date, cutoff_time := '09:50', end_date := NULL, source := 'bars') AS TABLE
    SELECT
        session.session_date AS scan_date, session.symbol, session.price, session.volume, 1.0 AS probability_score,
        row_number() OVER (PARTITION BY session.session_date ORDER BY session.symbol) AS rank
    FROM sessions_as_of(
        scan_date, cutoff_time := cutoff_time, end_date := end_date, history_sessions := 1, source := source, called_by := 'scan_{name}'
    ) AS session
    WHERE session.session_date >= CAST(scan_date AS DATE) AND session.bars > 0 AND {condition}
"""


class Server(served.Server):
    """A server, and what is asked of jobs."""

    def ask(self, method, path, body=None):
        """Status, headers, and the document or None."""
        answer = self.request(method, path, json_body=body)
        return answer.status, answer.headers, answer.json() if answer.body else None

    def submit(self, path, body, wait=0):
        status, _, document = self.ask("POST", f"{path}?wait={wait}", body)
        assert status in (200, 202), document
        return document

    def job(self, job_id):
        return self.ask("GET", f"/jobs/{job_id}")[2]

    def until(self, job_id, *statuses):
        """The job, as soon as it has one of these."""
        while True:
            document = self.job(job_id)
            if document["status"] in statuses:
                return document
            assert document["status"] in ("queued", "running"), document
            time.sleep(0.01)


def about(document):
    """The same but for the last digits of sums, which depend on the order in which threads are done."""
    if isinstance(document, dict):
        return {name: about(value) for name, value in document.items()}
    if isinstance(document, list):
        return [about(value) for value in document]
    return pytest.approx(document, rel=1e-9, abs=1e-9) if isinstance(document, float) else document


def rows_of_command(folder, *arguments):
    return json.loads(served.scanner(folder, *arguments, "--format", "json", "--quiet").stdout)


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    """A folder with a demo market, and in it scanners of the user's that fail, or never end."""
    folder = tmp_path_factory.mktemp("jobs")
    with connect(folder / "market.duckdb") as connection:
        connection.execute("CREATE TABLE bars AS FROM demo_bars(symbols := 40, sessions := 60)")
        endless = "(SELECT count(*) FROM range(1000000000000000) AS number (x) WHERE hash(number.x) % 2 = 0) > 0"
        connection.execute(FINDS_ALL.format(name="endless", condition=endless))
        connection.execute(FINDS_ALL.format(name="failing", condition="CAST('price ' || session.price AS DOUBLE) > 0"))
    return folder


@pytest.fixture(scope="module")
def server(market):
    with Server(market) as running:
        yield running


@pytest.fixture
def start(market, tmp_path):
    """Starts a server of the test's own, with a market and a state of its own, once or again."""
    shutil.copy(market / "market.duckdb", tmp_path)
    servers = []

    def start(*options):
        servers.append(Server(tmp_path, *options))
        return servers[-1]

    yield start
    for one in servers:
        one.kill()


def test_a_backtest_is_what_the_command_says(server, market):
    status, headers, job = server.ask("POST", "/backtest?wait=30", TRADING | {"by": "weekday"})
    assert (status, job["status"], job["kind"], job["progress"]) == (200, "done", "backtest", 1)
    assert job["request"] == TRADING | {"by": "weekday"}
    assert job["created_at"] <= job["started_at"] <= job["finished_at"]
    result = job["result"]
    (summary,) = rows_of_command(market, "backtest", *AS_OPTIONS)
    # A wrong version that forgets a value, such as the costs or the parameter of the scanner, has other numbers.
    assert result["summary"] == about(summary) and summary["trades"] > 20
    assert result["daily"] == about(rows_of_command(market, "backtest", *AS_OPTIONS, "--daily"))
    assert result["trades"] == about(rows_of_command(market, "backtest", *AS_OPTIONS, "--trades"))
    assert result["by"] == about(rows_of_command(market, "backtest", *AS_OPTIONS, "--by", "weekday"))
    assert (result["scanner_type"], result["start_date"], result["end_date"]) == ("breakout", summary["first_date"], summary["last_date"])
    assert result["remarks"] == [f"no dates given: all sessions in the data, {summary['first_date']} to {summary['last_date']}"]
    # What is offered to be pasted is what was run.
    assert rows_of_command(market, "sql", result["sql"]) == about([summary])
    # Asked for again, it is the same document; alone, the result.
    assert server.job(job["job_id"]) == job
    assert server.ask("GET", f"/jobs/{job['job_id']}/result")[2] == result


def test_trades_worked_out_by_hand(tmp_path):
    """Two symbols are found at 09:50 on each of two sessions. Entry is at the open of the 09:50 bar.

    UP enters at 100 and has its high at 103 before the end: with a target of 2 % it leaves at 102. On the second session, from 110, no level is
    touched: it leaves with the last bar that has ended by 15:15, at 111. DOWN enters at 50 and falls to 49 within a bar: with a stop of 1 % it
    leaves at 49.5. On the second session it opens at 48 and ends there.
    """
    day = {"2025-01-13": None, "2025-01-14": {"UP": (100, 103, 100), "DOWN": (50, 49, 49.2)}, "2025-01-15": {"UP": (110, 111, 111), "DOWN": (48, 48, 48)}}
    rows = []
    for date, prices in day.items():
        for symbol in ("UP", "DOWN"):
            entry, extreme, last = prices[symbol] if prices else (90, 90, 90)
            for clock, (opened, closed) in {"09:45": (entry, entry), "09:50": (entry, entry), "12:00": (entry, extreme), "15:14": (last, last)}.items():
                ts = datetime.datetime.fromisoformat(f"{date} {clock}")
                rows.append((symbol, ts, opened, max(opened, closed), min(opened, closed), closed, 1000))
    with connect(tmp_path / "market.duckdb") as connection:
        connection.execute("CREATE TABLE bars (symbol VARCHAR, ts TIMESTAMP, open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume BIGINT)")
        connection.executemany("INSERT INTO bars VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        connection.execute(FINDS_ALL.format(name="all", condition="true"))
    with Server(tmp_path) as server:
        asked = {
            "scanner_type": "all", "start_date": "2025-01-14", "end_date": "2025-01-15", "stop_loss_pct": 1, "target_pct": 2, "cost_bps": 0,
            "initial_capital": 1000, "max_positions": 2, "compounding": False,
        }  # fmt: skip
        job = server.submit("/backtest", asked, wait=30)
        assert job["status"] == "done", job
        trades = {(trade["scan_date"], trade["symbol"]): trade for trade in job["result"]["trades"]}
        told = {key: (trade["entry_price"], trade["exit_price"], trade["profit"]) for key, trade in trades.items()}
        # 500 go into each: 5 UP gain 2 each, 10 DOWN lose 0.5 each, 500 / 110 UP gain 1 each.
        assert told == {
            ("2025-01-14", "UP"): (100, 102, pytest.approx(10)),
            ("2025-01-14", "DOWN"): (50, 49.5, pytest.approx(-5)),
            ("2025-01-15", "UP"): (110, 111, pytest.approx(500 / 110)),
            ("2025-01-15", "DOWN"): (48, 48, pytest.approx(0)),
        }
        summary = job["result"]["summary"]
        assert (summary["trades"], summary["winners"], summary["hit_rate_pct"]) == (4, 2, 50)
        assert summary["total_profit"] == pytest.approx(5 + 500 / 110)
        assert [row["equity"] for row in job["result"]["daily"]] == pytest.approx([1005, 1005 + 500 / 110])
        # The other way round and without levels, 10 DOWN gain 0.8 each and 500 / 110 UP lose 1 each.
        short = server.submit("/backtest", asked | {"direction": "short", "stop_loss_pct": None, "target_pct": None}, wait=30)
        assert short["result"]["summary"]["total_profit"] == pytest.approx(10 * 0.8 - 500 / 110), short["result"]["trades"]


def test_an_optimisation_is_what_the_command_says(server, market):
    asked = TRADING | {"grid": {"breakout_volume_ratio": [1, 1.5, 2.0], "target_pct": [2, None]}, "folds": 3, "min_trades": 5}
    del asked["target_pct"]
    job = server.submit("/optimize", asked, wait=30)
    job = server.until(job["job_id"], "done")
    result = job["result"]
    options = [option for option in AS_OPTIONS if option not in ("--target", "3")]
    options.insert(options.index("--cost-bps") + 1, "3")
    grid = ["--grid", "breakout_volume_ratio=1,1.5,2", "--grid", "target_pct=2,NULL", "--folds", "3", "--min-trades", "5"]
    assert result["results"] == about(rows_of_command(market, "optimize", *options, *grid))
    assert (result["combinations"], result["combinations_tested"], len(result["results"])) == (6, 6, 6)
    assert result["objective"] == "sharpe"
    # The best is the first of those that may be chosen, and its numbers are those of its backtest.
    best = result["report"]["parameters"]
    assert best == result["results"][0]["parameters"]
    alone = asked | {"config": TRADING["config"] | {"breakout_volume_ratio": best["breakout_volume_ratio"]}, "target_pct": best["target_pct"]}
    alone = {name: value for name, value in alone.items() if name not in ("grid", "folds", "min_trades")}
    backtest = server.submit("/backtest", alone, wait=30)["result"]["summary"]
    for name in ("trades", "total_return_pct", "sharpe", "max_drawdown_pct"):
        assert result["results"][0][name] == pytest.approx(backtest[name]), name
    assert [fold["fold"] for fold in result["walk_forward"]] == [2, 3]
    assert {row["parameter"] for row in result["parameters"]} == {"breakout_volume_ratio", "target_pct"}
    assert rows_of_command(market, "sql", result["sql"]) == about(result["results"])
    few = server.submit("/optimize", asked | {"top": 2}, wait=30)
    assert server.until(few["job_id"], "done")["result"]["results"] == about(result["results"][:2])


def test_progress_grows_and_a_cancelled_job_makes_room_at_once(start):
    server = start()
    status, headers, long = server.ask("POST", "/optimize?wait=0", LONG)
    assert status == 202 and headers["location"] == f"{PREFIX}/jobs/{long['job_id']}" and int(headers["retry-after"]) >= 1
    assert "result" not in long and long["status"] in ("queued", "running")
    next_one = server.submit("/backtest", TRADING)
    seen = [server.until(long["job_id"], "running")["progress"]]
    while len(set(seen)) < 4 or seen[-1] < 0.06:
        seen.append(server.until(long["job_id"], "running")["progress"])
        time.sleep(0.05)
    assert seen == sorted(seen) and 0 <= seen[0] and seen[-1] < 0.9, seen
    assert server.job(next_one["job_id"])["status"] == "queued"
    _, _, listed = server.ask("GET", "/jobs")
    assert [job["job_id"] for job in listed["jobs"]] == [next_one["job_id"], long["job_id"]]
    assert (listed["running"], listed["queued"]) == (1, 1)
    assert server.ask("GET", "/health")[2]["running"] == 0, "jobs take nothing from those who scan"

    status, _, cancelled = server.ask("DELETE", f"/jobs/{long['job_id']}")
    assert (status, cancelled["status"]) == (200, "cancelled"), cancelled
    assert server.until(next_one["job_id"], "done")["started_at"] >= cancelled["finished_at"]
    assert server.job(long["job_id"])["status"] == "cancelled"
    assert server.ask("GET", f"/jobs/{long['job_id']}/result")[0] == 409

    assert server.ask("DELETE", f"/jobs/{long['job_id']}")[0] == 204
    status, _, problem = server.ask("GET", f"/jobs/{long['job_id']}")
    assert status == 404 and long["job_id"] in problem["detail"]
    assert server.ask("DELETE", f"/jobs/{long['job_id']}")[0] == 404


def test_cancelling_ends_a_query_that_would_not_end(start):
    """One that is stopped between two statements only would go on, and the answer would say so."""
    server = start()
    endless = server.submit("/backtest", {"scanner_type": "endless"}, wait=1)
    assert endless["status"] == "running"
    status, _, cancelled = server.ask("DELETE", f"/jobs/{endless['job_id']}")
    assert (status, cancelled["status"], cancelled["error"] if "error" in cancelled else None) == (200, "cancelled", None)
    assert server.submit("/backtest", TRADING, wait=30)["status"] == "done"


def test_the_time_allowed_ends_a_query_that_would_not_end(start):
    server = start("--job-timeout", "1")
    job = server.submit("/backtest", {"scanner_type": "endless"}, wait=30)
    assert (job["status"], job["error"]["error"]) == ("failed", "timeout"), job
    assert "stopped after 1 s" in job["error"]["detail"]


def test_a_job_gives_way_to_bars_that_come_in(start):
    """They need the file open to be written, which it cannot become while somebody reads; the job begins again, beside them, and is right."""
    server = start()
    asked = TRADING | {"start_date": "2025-01-06"}
    before = server.submit("/backtest", asked, wait=30)["result"]
    long = server.submit("/optimize", LONG)
    server.until(long["job_id"], "running")
    bar = {"symbol": "NEW", "ts": "2024-01-02 09:15:00", "open": 10, "high": 11, "low": 9, "close": 10, "volume": 5}
    for minute in range(15, 18):
        bars = json.dumps(bar | {"ts": f"2024-01-02 09:{minute}:00"})
        answer = server.request("POST", "/ingest/bars", body=bars, headers={"Content-Type": "application/x-ndjson"})
        assert answer.status == 200, answer.text
    assert server.job(long["job_id"])["status"] == "running"
    server.ask("DELETE", f"/jobs/{long['job_id']}")
    after = server.submit("/backtest", asked, wait=30)["result"]
    assert after["summary"] == about(before["summary"]), "the new bars are of another time"
    stored = rows_of_command(server.folder, "sql", "SELECT count(*) AS bars FROM bars WHERE symbol = 'NEW'")
    assert stored == [{"bars": 3}]


def test_a_job_that_waits_is_cancelled_without_having_run(start):
    server = start()
    long, waiting = server.submit("/optimize", LONG), server.submit("/backtest", TRADING)
    status, _, cancelled = server.ask("DELETE", f"/jobs/{waiting['job_id']}")
    assert (status, cancelled["status"], cancelled["started_at"]) == (200, "cancelled", None)
    assert server.job(long["job_id"])["status"] in ("queued", "running"), "only the one that was meant"


def test_nothing_that_was_acknowledged_is_missing_after_a_kill(start):
    server = start()
    done = server.submit("/backtest", TRADING, wait=30)
    running, waiting = server.submit("/optimize", LONG), server.submit("/backtest", TRADING)
    server.until(running["job_id"], "running")
    server.kill()

    server = start()
    assert server.job(done["job_id"]) == done, "a finished job with its result"
    for job in (running, waiting):
        assert server.job(job["job_id"])["status"] == "interrupted"
    assert [job["job_id"] for job in server.ask("GET", "/jobs?status=interrupted")[2]["jobs"]] == [waiting["job_id"], running["job_id"]]
    again = server.submit("/backtest", TRADING, wait=30)
    assert again["result"] == about(done["result"])


def test_an_orderly_end_does_not_wait_for_a_job(start):
    server = start()
    running = server.submit("/optimize", LONG)
    server.until(running["job_id"], "running")
    assert server.terminate() == 0
    assert start().job(running["job_id"])["status"] == "interrupted"


def test_the_line_has_an_end(start):
    server = start()
    server.until(server.submit("/optimize", LONG)["job_id"], "running")
    accepted = [server.submit("/backtest", TRADING)["job_id"] for _ in range(16)]
    status, headers, problem = server.ask("POST", "/backtest", TRADING)
    assert (status, problem["error"]) == (429, "queue_full") and int(headers["retry-after"]) >= 1
    listed = server.ask("GET", "/jobs?status=queued&limit=100")[2]
    assert sorted(job["job_id"] for job in listed["jobs"]) == sorted(accepted), "the one that was refused is not in the line, all others are"
    server.ask("DELETE", f"/jobs/{accepted[3]}")
    server.submit("/backtest", TRADING)


def test_many_at_once_are_all_done(start):
    server = start()
    documents = []
    threads = [threading.Thread(target=lambda: documents.append(server.submit("/backtest", TRADING))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = {document["job_id"] for document in documents}
    assert len(ids) == 8
    results = [server.until(job_id, "done")["result"] for job_id in ids]
    assert all(result == about(results[0]) for result in results)


BAD = [
    # path, what is different from a good request, status, parameter, words
    ("/backtest", {"scanner_type": "brekout"}, 404, "scanner_type", "did you mean 'breakout'"),
    ("/backtest", {"scanner_type": None}, 400, "scanner_type", "expected a string"),
    ("/backtest", {"target": 2}, 400, "target", "did you mean 'target_pct'"),
    ("/backtest", {"grid": {}}, 400, "grid", "there is no field 'grid'"),
    ("/backtest", {"config": {"min_prise": 1}}, 400, None, "min_price"),
    ("/backtest", {"config": {"min_price": -1}}, 400, None, "min_price"),
    ("/backtest", {"config": {"min_price": "cheap"}}, 400, None, "min_price"),
    ("/backtest", {"config": {"source": "/etc/passwd"}}, 400, None, "source"),
    ("/backtest", {"config": {"cutoff_time": "10:00"}}, 400, None, "cutoff_time"),
    ("/backtest", {"config": 3}, 400, "config", "expected an object"),
    ("/backtest", {"start_date": "soon"}, 400, "start_date", "soon"),
    ("/backtest", {"start_date": "2025-02-30"}, 400, "start_date", "2025-02-30"),
    ("/backtest", {"start_date": "2025-01-15", "end_date": "2025-01-10"}, 400, None, "start_date"),
    ("/backtest", {"start_date": "1999-01-01", "end_date": "1999-12-31"}, 404, None, "there is no session from 1999-01-01"),
    ("/backtest", {"cutoff_time": "25:00"}, 400, "cutoff_time", "a time of day such as 09:50"),
    ("/backtest", {"exit_time": "noon"}, 400, "exit_time", "a time of day such as 09:50"),
    ("/backtest", {"hold_sessions": 251}, 400, "hold_sessions", "between 0 and 250"),
    ("/backtest", {"hold_sessions": 1.5}, 400, "hold_sessions", "expected a whole number"),
    ("/backtest", {"stop_loss_pct": 0}, 400, "stop_loss_pct", "between 0.01 and 1000"),
    ("/backtest", {"target_pct": -2}, 400, "target_pct", "between 0.01 and 1000"),
    ("/backtest", {"target_pct": "2"}, 400, "target_pct", "expected a number"),
    ("/backtest", {"direction": "up"}, 400, "direction", "long, short"),
    ("/backtest", {"cost_bps": 1001}, 400, "cost_bps", "between 0 and 1000"),
    ("/backtest", {"slippage_bps": -1}, 400, "slippage_bps", "between 0 and 1000"),
    ("/backtest", {"initial_capital": 0}, 400, "initial_capital", "between 1 and"),
    ("/backtest", {"max_positions": 0}, 400, "max_positions", "between 1 and 10000"),
    ("/backtest", {"position_size": 0}, 400, "position_size", "at least 0.01"),
    ("/backtest", {"compounding": "no"}, 400, "compounding", "expected a boolean"),
    ("/backtest", {"symbols": []}, 400, "symbols", "at least one"),
    ("/backtest", {"symbols": ["NOBODY"]}, 400, None, "no bar of those symbols"),
    ("/backtest", {"by": "colour"}, 400, "bucket", "hour, weekday"),
    ("/optimize", {}, 400, "grid", "needs a value for 'grid'"),
    ("/optimize", {"grid": {}}, 400, None, "a list of values for each parameter"),
    ("/optimize", {"grid": {"min_price": 5}}, 400, None, "grid.min_price: expected a list"),
    ("/optimize", {"grid": {"min_price": []}}, 400, None, "grid.min_price: expected a list"),
    ("/optimize", {"grid": {"min_price": [1, "cheap"]}}, 400, None, "grid.min_price: 'cheap'"),
    ("/optimize", {"grid": {"min_price": [[1]]}}, 400, None, "grid.min_price: [1]"),
    ("/optimize", {"grid": {"min_prise": [1]}}, 400, "min_prise", "did you mean 'min_price'"),
    ("/optimize", {"grid": {"max_price": [100, -1, 200]}}, 400, "max_price", "must be"),
    ("/optimize", {"grid": {"max_price": [100, 200], "exit_time": ["12:00", "15:00", "noon"]}}, 400, "exit_time", "00:00 and 24:00"),
    ("/optimize", {"grid": {"source": ["/etc/passwd"]}}, 400, None, "source"),
    ("/optimize", {"grid": {"stop_loss_pct": [1, 2]}}, 400, None, "stop_loss_pct is given with stop_loss_pct and with grid"),
    ("/optimize", {"grid": {"min_price": [1, 2]}}, 400, None, "min_price is given with config.min_price and with grid"),
    ("/optimize", {"grid": {"max_price": [100]}, "objective": "sharp"}, 400, None, "did you mean 'sharpe'"),
    ("/optimize", {"grid": {"max_price": [100]}, "objective": "(SELECT 1)"}, 400, None, "is not allowed"),
    ("/optimize", {"grid": {"max_price": [100]}, "objective": "getenv('HOME')"}, 400, None, "getenv() is none of"),
    ("/optimize", {"grid": {"max_price": [100]}, "folds": 51}, 400, "folds", "between 2 and 50"),
    ("/optimize", {"grid": {"max_price": [100]}, "folds": 1}, 400, "folds", "between 2 and 50"),
    ("/optimize", {"grid": {"max_price": [100]}, "min_trades": 0}, 400, "min_trades", "at least 1"),
    ("/optimize", {"grid": {"max_price": [100]}, "samples": 0}, 400, "samples", "between 1 and 100000"),
    ("/optimize", {"grid": {"max_price": [100]}, "top": 0}, 400, "top", "between 1 and 100000"),
    ("/optimize", {"grid": {"max_price": [100]}, "seed": 2}, 400, "seed", "beside samples"),
    ("/optimize", {"grid": {"max_price": [100]}, "samples": 2, "sampling": "best"}, 400, "sampling", "latin_hypercube"),
    ("/optimize", {"grid": {"max_price": list(range(1, 1001)), "target_pct": list(range(1, 201))}}, 400, None, "more than 100000 combinations"),
    ("/backtest?wait=31", {}, 400, "wait", "between 0 and 30"),
    ("/backtest?wait=soon", {}, 400, None, "wait"),
    ("/backtest?weight=1", {}, 400, None, "weight"),
]


@pytest.mark.parametrize(("path", "changed", "expected", "parameter", "words"), BAD)
def test_what_cannot_be_done_is_refused_before_there_is_a_job(server, market, path, changed, expected, parameter, words):
    asked = {name: value for name, value in TRADING.items() if not (path == "/optimize" and name == "target_pct")} | changed
    status, headers, problem = server.ask("POST", path, asked)
    assert (status, headers["content-type"]) == (expected, "application/problem+json"), problem
    assert words in problem["detail"], problem
    assert parameter is None or problem["parameter"] == parameter, problem
    assert str(market) not in json.dumps(problem) and "--" not in problem["detail"].replace("--bar-minutes of", "").replace("--source of", "")
    assert not [job for job in server.ask("GET", "/jobs?limit=1000")[2]["jobs"] if job["request"] == asked]


@pytest.mark.parametrize(("method", "path", "expected", "words"), [
    ("GET", "/jobs/nothing", 404, "no job 'nothing'"),
    ("GET", "/jobs/00000000-0000-4000-8000-000000000000/result", 404, "no job"),
    ("DELETE", "/jobs/'; DROP TABLE jobs; --".replace(" ", "%20"), 404, "no job"),
    ("GET", "/jobs?limit=0", 400, "between 1 and 1000"),
    ("GET", "/jobs?limit=x", 400, "limit"),
    ("GET", "/jobs?status=lost", 400, "queued, running"),
    ("GET", "/jobs?kind=scan", 400, "backtest, optimize"),
])  # fmt: skip
def test_bad_questions_about_jobs(server, method, path, expected, words):
    status, _, problem = server.ask(method, path)
    assert status == expected and words in problem["detail"], problem


def test_a_scanner_with_a_mistake_fails_with_its_error_and_without_a_path(server, market):
    job = server.submit("/backtest", {"scanner_type": "failing"}, wait=30)
    assert (job["status"], job["error"]["error"]) == ("failed", "invalid"), job
    assert "scan_failing" in job["error"]["detail"] and "'price " in job["error"]["detail"], job["error"]
    assert str(market) not in json.dumps(job) and "SELECT" not in job["error"]["detail"]
    assert "result" not in job
    # And the next one is done.
    assert server.submit("/backtest", TRADING, wait=30)["status"] == "done"


@pytest.mark.parametrize(
    ("bars", "expected", "words"),
    [
        ("SELECT 1 AS x LIMIT 0", 422, "does not have a column"),
        ("SELECT symbol, ts, open, high, low, close FROM demo_bars(symbols := 2, sessions := 12)", 422, "volume"),
        ("FROM demo_bars(symbols := 2, sessions := 12) LIMIT 0", 400, "the database has no bars that can be scanned"),
        (None, 404, "no relation 'bars'"),
    ],
)
def test_a_table_that_holds_no_bars_is_told(tmp_path, bars, expected, words):
    with connect(tmp_path / "market.duckdb") as connection:
        connection.execute(f"CREATE TABLE bars AS {bars}" if bars else "CREATE TABLE other (x INTEGER)")
    with Server(tmp_path) as server:
        status, _, problem = server.ask("POST", "/backtest", {"scanner_type": "breakout"})
        assert status == expected and words in problem["detail"], problem
        assert str(tmp_path) not in json.dumps(problem)
        assert server.ask("GET", "/jobs")[2]["jobs"] == []


def test_the_time_allowed_is_told_with_what_was_done_by_then(market, tmp_path):
    shutil.copy(market / "market.duckdb", tmp_path)
    with Server(tmp_path, "--job-timeout", "4") as server:
        job = server.until(server.submit("/optimize", LONG)["job_id"], "failed")
        assert job["error"]["error"] == "timeout"
        assert re.search(r"stopped after 4s, the time allowed, after \d+ of \d+ parts, \d+ of 1,000 combinations", job["error"]["detail"]), job["error"]
        tested = job["result"]["combinations_tested"]
        assert 0 < tested < 1000 == job["result"]["combinations"]
        assert len(job["result"]["results"]) == tested


def test_a_database_that_another_process_holds_is_waited_for(market, tmp_path):
    shutil.copy(market / "market.duckdb", tmp_path)
    with Server(tmp_path) as server:
        assert server.submit("/backtest", TRADING, wait=30)["status"] == "done"
        while True:
            try:
                holder = duckdb.connect(tmp_path / "market.duckdb", config={"allow_unsigned_extensions": "true"})
                break
            except duckdb.IOException:
                time.sleep(0.05)
        answers = []
        thread = threading.Thread(target=lambda: answers.append(server.ask("POST", "/backtest?wait=30", TRADING)))
        thread.start()
        thread.join(0.5)
        assert not answers, "it has to wait"
        holder.close()
        thread.join()
        assert answers[0][2]["status"] == "done"


def test_the_ranges_in_the_description_are_those_of_the_functions(server):
    """At its end a range is right, and one step beyond it is not: for every field that has one."""
    document = server.ask("GET", "/openapi.json")[2]
    checked = 0
    for path, name in (("/backtest", "BreakoutBacktestRequest"), ("/optimize", "BreakoutOptimizeRequest")):
        schema = document["components"]["schemas"][name]
        for field, about in schema["properties"].items():
            for bound, beyond in (("minimum", -1), ("maximum", 1)):
                if bound not in about:
                    continue
                limit = about[bound]
                asked = {"scanner_type": "breakout", "start_date": "2025-01-14", "end_date": "2025-01-15"}
                if path == "/optimize":
                    asked |= {"grid": {"max_price": [1000]}} | ({"samples": 1} if field == "seed" else {})
                if field == "samples" or field == "top":
                    beyond_limit = limit + beyond
                else:
                    beyond_limit = limit + beyond if "integer" in str(about["type"]) else limit + beyond * abs(limit) * 0.5 if limit else -0.5
                status, _, answer = server.ask("POST", f"{path}?wait=0", asked | {field: limit})
                assert status in (200, 202), (path, field, limit, answer)
                server.ask("DELETE", f"/jobs/{answer['job_id']}")
                status, _, answer = server.ask("POST", f"{path}?wait=0", asked | {field: beyond_limit})
                assert status == 400, (path, field, beyond_limit, answer)
                checked += 1
    assert checked >= 25
