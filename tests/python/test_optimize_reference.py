"""grid_trades() and what stands on it against the same asked one by one: each combination is a backtest() with its parameters, to the last
bit, whether its thresholds were joined to one scan or not. What is made of the trades is computed again with pandas, numpy and scipy."""

import datetime as dt
import itertools
import random

import duckdb
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from conftest import connect
from test_properties import ARGUMENTS, WIDE_OPEN, fetch, literal
from test_statistics_reference import cscv, expected_maximum_sharpe, probabilistic_sharpe_ratio

START, END = "2025-01-03", "2025-01-15"
COLUMNS = """
    scan_date, symbol, probability_score, rank, direction, entry_ts, entry_price, exit_ts, exit_price, exit_reason, gross_return_pct,
    net_return_pct, mfe_pct, mae_pct, minutes_held
"""
EXITS = {"stop_loss_pct": [0.3, None], "target_pct": [0.4, None], "exit_time": ["10:05", "15:15"], "hold_sessions": [0, 1], "cutoff_time": ["09:50", "10:00"]}


@pytest.fixture(scope="module")
def market():
    with connect() as connection:
        # The end of each session and its first hour are enough for scans and exits.
        connection.execute("CREATE TABLE bars AS FROM demo_bars(symbols := 36, sessions := 34) WHERE ts::TIME < '10:15' OR ts::TIME >= '15:10'")
        yield connection


def struct(values: dict) -> str:
    return "{" + ", ".join(f"{key}: {literal_of(value)}" for key, value in values.items()) + "}" if values else "NULL"


def literal_of(value) -> str:
    return "[" + ", ".join(map(literal_of, value)) + "]" if isinstance(value, list) else str(value).upper() if isinstance(value, bool) else literal(value)


def one_by_one(connection, scanner: str, parameters: dict, dates=(START, END)) -> list[tuple]:
    """The trades of a backtest, without its portfolio; sorted."""
    exits = {name: value for name, value in parameters.items() if name in EXITS}
    params = {name: value for name, value in parameters.items() if name not in EXITS}
    given = "".join(f", {name} := {literal(value)}" for name, value in exits.items())
    query = f"SELECT {COLUMNS} FROM backtest('{scanner}', '{dates[0]}', '{dates[1]}', params := {struct(params)}{given})"
    return sorted(connection.execute(query).fetchall(), key=str)


def by_combination(connection, scanner: str, grid: dict, params: dict, definition=None) -> list[tuple[dict, list[tuple]]]:
    """The parameters of each combination of a grid, in its order, and its trades; sorted."""
    query = f"""
        SELECT combination, parameters, {COLUMNS}
        FROM grid_trades('{scanner}', '{START}', '{END}', {struct(grid)}, params := {struct(params)}, definition := $1)
    """
    found = {}
    for number, parameters, *trade in connection.execute(query, [definition]).fetchall():
        known, trades = found.setdefault(number, (parameters, []))
        assert known == parameters
        if trade[1] is None:
            assert trade == [None] * len(trade)
        else:
            trades.append(tuple(trade))
    assert sorted(found) == list(range(len(found)))
    return [(found[number][0], sorted(found[number][1], key=str)) for number in range(len(found))]


def own_parameters(connection, scanner: str) -> list[dict]:
    """What is a scanner's own: what says which bars are read belongs to the grid's functions themselves."""
    (common,) = connection.execute("SELECT any_value(parameters) FROM duckdb_functions() WHERE function_name = 'session_bars'").fetchone()
    found = fetch(connection, "FROM scanner_parameters() WHERE scanner = ?", [scanner])
    return [parameter for parameter in found if parameter["parameter"] not in {*common, "scan_date", "end_date"}]


def some_values(connection, parameter, base) -> list:
    """Two or three values that a parameter may have, the one that it has anyway first."""
    if parameter["choices"]:
        return [base, *(choice for choice in parameter["choices"] if choice != base)][:3]
    least, most = parameter["min"], parameter["max"]
    usual = default_of(connection, parameter)
    start = float(next(value for value in (usual, base, 1) if value is not None))
    is_whole = parameter["type"] in ("INTEGER", "BIGINT")
    near = start if base is None else float(base)
    others = [near + 1, near - 1] if is_whole and start < 100 else [start * 3 + 0.25, start * 0.1]
    others = [min(max(value, least if least is not None else value), most if most is not None else value) for value in others]
    values = [base, *(round(value) if is_whole else value for value in others)]
    return [value for place, value in enumerate(values) if value not in values[:place]]


def arguments_of(scanner: str, own: list[dict]) -> dict:
    """Limits that let many stocks through, so that a parameter has something to change."""
    names = {parameter["parameter"] for parameter in own}
    given = {parameter["parameter"]: parameter["min"] for parameter in own if parameter["parameter"].startswith("min_") and parameter["min"] is not None}
    given |= {key: value for key, value in WIDE_OPEN.items() if key in names} | ARGUMENTS.get(scanner, {})
    return given | ({"max_results_per_day": 6} if "max_results_per_day" in given else {})


def plain(value):
    """A DECIMAL is the number that it was given as."""
    return value if value is None or isinstance(value, str) else float(value)


def default_of(connection, parameter):
    given = parameter["default"]
    return None if given is None or given == "NULL" else connection.execute(f"SELECT {given}").fetchone()[0]


def scanner_names() -> list[str]:
    with connect() as connection:
        return [name for (name,) in connection.execute("SELECT scanner FROM scanners() ORDER BY scanner").fetchall()]


@pytest.mark.parametrize("scanner", scanner_names())
def test_every_parameter_of_every_scanner(market, scanner):
    """One at a time. What cannot be, such as more sessions at least than are looked at, is the same error."""
    own = own_parameters(market, scanner)
    arguments = arguments_of(scanner, own)
    usual = one_by_one(market, scanner, arguments)
    assert len(usual) >= 12, f"scan_{scanner} finds too little for these tests"
    changed = set()
    for parameter in own:
        name = parameter["parameter"]
        rest = {key: value for key, value in arguments.items() if key != name}
        base = arguments.get(name, default_of(market, parameter))
        expected, values = [], []
        for value in some_values(market, parameter, base):
            try:
                trades = usual if value == base and type(value) is type(base) else one_by_one(market, scanner, rest | {name: value})
            except duckdb.Error as error:
                with pytest.raises(duckdb.Error) as other:
                    by_combination(market, scanner, {name: [base, value]}, rest)
                assert str(other.value).split("\n")[0] == str(error).split("\n")[0]
                continue
            expected.append(trades)
            values.append(value)
            changed |= {name} if trades != usual else set()
        assert len(values) > 1, name
        found = by_combination(market, scanner, {name: values}, rest)
        assert [trades for _, trades in found] == expected, (name, values)
        assert [plain(given[name]) for given, _ in found] == [plain(value) for value in values]
    # The counterpart: parameters that change nothing would pass.
    assert len(changed) >= 0.6 * len(own), {parameter["parameter"] for parameter in own} - changed


@pytest.mark.parametrize("scanner", scanner_names())
def test_several_parameters_and_exits_at_once(market, scanner):
    own = own_parameters(market, scanner)
    arguments = arguments_of(scanner, own)
    choice = random.Random(scanner)
    compared = 0
    for _ in range(3):
        grid = {}
        for parameter in choice.sample(own, 3):
            base = arguments.get(parameter["parameter"], default_of(market, parameter))
            grid[parameter["parameter"]] = some_values(market, parameter, base)[:2]
        grid |= {name: EXITS[name] for name in choice.sample(sorted(EXITS), 2)}
        names = choice.sample(sorted(grid), len(grid))
        grid = {name: grid[name] for name in names}
        rest = {key: value for key, value in arguments.items() if key not in grid}
        try:
            found = by_combination(market, scanner, grid, rest)
        except duckdb.Error as error:
            assert "must not exceed" in str(error)
            continue
        combinations = list(itertools.product(*grid.values()))
        assert len(found) == len(combinations) == 32
        for number in choice.sample(range(32), 3):
            given = dict(zip(grid, combinations[number]))
            assert found[number][1] == one_by_one(market, scanner, rest | given), given
            compared += len(found[number][1])
    assert compared


@pytest.mark.parametrize("sampling", ["random", "latin_hypercube"])
def test_a_sample_is_a_part_of_the_whole(market, sampling):
    grid = {"breakout_volume_ratio": [0.5, 1, 1.5, 2], "resistance_break_pct": [0, 0.2, 0.4], "exit_time": ["10:05", "15:15"]}
    call = f"SELECT * FROM grid_trades('breakout', '{START}', '{END}', {struct(grid)}, params := {struct(ARGUMENTS['breakout'] | {})}"
    call = call.replace("resistance_break_pct: 0, breakout_volume_ratio: 0, ", "")
    whole = market.execute(f"{call})").df()
    some = market.execute(f"{call}, samples := 9, sampling := '{sampling}', seed := 4)").df()
    assert list(some.combination.drop_duplicates().sort_values()) == list(range(some.combination.nunique()))
    assert 6 <= some.combination.nunique() <= 9
    key = lambda frame: [str(row) for row in frame.drop(columns="combination").astype(str).sort_values(list(frame.columns[1:])).values.tolist()]
    whole["parameters"], some["parameters"] = whole.parameters.astype(str), some.parameters.astype(str)
    assert key(whole[whole.parameters.isin(some.parameters)]) == key(some)


# Scanners of somebody's own, that say the same as a step, a join, a group … in every way that there is. S is sessions_as_of(), FOUND the sessions that
# are scanned, RANKED a rank by price. Beside each its grid, and the parameters that are thresholds there: for the others it is scanned for each value.
FOUND = "s.session_date >= CAST(scan_date AS DATE) AND s.bars > 0"
BASIC = "s.session_date AS scan_date, s.symbol, s.price, s.volume"
RANKED = "row_number() OVER (PARTITION BY s.session_date ORDER BY s.price DESC, s.symbol) AS rank"
LAST = f"SELECT {BASIC}, 50.0 AS probability_score, {RANKED} FROM last AS s"
ALL = f"a AS (SELECT s.* FROM S AS s WHERE {FOUND})"
T = {"t": [0, 150, 300]}
OWN = {
    "one step": (f"SELECT {BASIC}, s.price / 10 AS probability_score, {RANKED} FROM S AS s WHERE {FOUND} AND s.price >= t", T, "t"),
    "one step, through a guard": (f"SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM S AS s WHERE {FOUND} AND s.price >= number_in_range(t, 0, NULL, 'scan_mine', 't')", T, "t"),
    "row by row": (f"SELECT {BASIC}, 5 AS probability_score, 1 AS rank FROM S AS s WHERE {FOUND} AND s.price > t", T, "t"),
    "order by a name of the step": (f"SELECT {BASIC}, s.price / 10 AS probability_score, row_number() OVER (PARTITION BY s.session_date ORDER BY probability_score DESC, s.symbol) AS rank FROM S AS s WHERE {FOUND} AND s.price >= t", T, "t"),
    "a condition on a name of the step": (f"SELECT {BASIC}, s.price / 10 AS probability_score, {RANKED} FROM S AS s WHERE {FOUND} AND probability_score >= t", {"t": [0, 20]}, ""),
    "a condition on a name, later ranked": (f"WITH last AS (SELECT s.*, s.price * 2 AS double FROM S AS s WHERE {FOUND} AND double >= t) {LAST}", T, "t"),
    "unqualified": (f"WITH last AS (SELECT session_date, symbol, price, volume FROM S AS s WHERE {FOUND} AND price >= t) SELECT session_date AS scan_date, symbol, price, volume, 50 AS probability_score, row_number() OVER (PARTITION BY session_date ORDER BY price, symbol) AS rank FROM last", T, "t"),
    "in capitals": (f"SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM S AS s WHERE {FOUND} AND S.PRICE >= T", {"T": [0, 150]}, "T"),
    "names in quotes": (f"WITH \"A b\" AS (SELECT s.* FROM S AS s WHERE {FOUND} AND s.price > \"t\") SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM \"A b\" AS s", T, "t"),
    "an alias in quotes": (f"WITH last AS (SELECT s.* FROM S AS s WHERE {FOUND} AND s.price > t) SELECT \"x y\".session_date AS scan_date, \"x y\".symbol, \"x y\".price, \"x y\".volume, 5 AS probability_score, row_number() OVER (PARTITION BY \"x y\".session_date ORDER BY \"x y\".price, \"x y\".symbol) AS rank FROM last AS \"x y\"", T, ""),
    "called like a column": (f"WITH last AS (SELECT s.* FROM S AS s WHERE {FOUND} AND s.price > price) {LAST}", {"price": [0, 150]}, "price"),
    "called like its own column": (f"WITH last AS (SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM S AS s WHERE {FOUND}) SELECT last.* FROM last WHERE last.rank <= rank", {"rank": [1, 2, 5]}, "rank"),
    "group": (f"WITH last AS (SELECT s.session_date, s.symbol, max(s.price) AS price, sum(s.volume) AS volume FROM S AS s WHERE {FOUND} AND s.price >= t GROUP BY s.session_date, s.symbol) {LAST}", T, "t"),
    "group by places": (f"WITH last AS (SELECT s.session_date, s.symbol, max(s.price) AS price, sum(s.volume) AS volume FROM S AS s WHERE {FOUND} AND s.price >= t GROUP BY 1, 2) {LAST}", T, "t"),
    "group by all": (f"WITH last AS (SELECT s.session_date, s.symbol, max(s.price) AS price, sum(s.volume) AS volume FROM S AS s WHERE {FOUND} AND s.price >= t GROUP BY ALL) {LAST}", T, "t"),
    "group by all, and the threshold": (f"WITH last AS (SELECT s.session_date, s.symbol, max(s.price) + t AS price, sum(s.volume) AS volume FROM S AS s WHERE {FOUND} GROUP BY ALL) {LAST}", T, ""),
    "group by rollup": (f"WITH last AS (SELECT s.session_date, s.symbol, max(s.price) AS price, sum(s.volume) AS volume FROM S AS s WHERE {FOUND} AND s.price >= t GROUP BY ROLLUP (s.session_date, s.symbol)) {LAST} WHERE s.symbol IS NOT NULL", T, "t"),
    "group with the threshold beside it": (f"WITH last AS (SELECT s.session_date, s.symbol, max(s.price) / t AS price, sum(s.volume) AS volume FROM S AS s WHERE {FOUND} GROUP BY s.session_date, s.symbol) {LAST}", {"t": [1, 3]}, "t"),
    "group with a filter": (f"WITH last AS (SELECT s.session_date, s.symbol, max(s.price) AS price, count(*) FILTER (WHERE s.price > t) AS volume FROM S AS s WHERE {FOUND} GROUP BY s.session_date, s.symbol) SELECT {BASIC}, s.volume AS probability_score, {RANKED} FROM last AS s", T, "t"),
    "having": (f"WITH last AS (SELECT s.session_date, s.symbol, max(s.price) AS price, sum(s.volume) AS volume FROM S AS s WHERE {FOUND} GROUP BY s.session_date, s.symbol HAVING max(s.price) >= t) {LAST}", T, ""),
    "rank by an aggregate": (f"SELECT s.session_date AS scan_date, s.symbol, max(s.price) AS price, sum(s.volume) AS volume, 5 AS probability_score, row_number() OVER (PARTITION BY s.session_date ORDER BY max(s.price) DESC, s.symbol) AS rank FROM S AS s WHERE {FOUND} AND s.price >= t GROUP BY s.session_date, s.symbol", T, "t"),
    "one number of all": (f"WITH {ALL}, b AS (SELECT max(a.price) AS highest FROM a WHERE a.price < t) SELECT {BASIC}, CASE WHEN b.highest IS NULL THEN 1 ELSE 50 END AS probability_score, {RANKED} FROM a AS s JOIN b ON b.highest IS NULL OR s.price >= b.highest", T, ""),
    "distinct": (f"WITH last AS (SELECT DISTINCT s.session_date, s.symbol, s.price, s.volume FROM S AS s WHERE {FOUND} AND s.price >= t) {LAST}", T, "t"),
    "distinct on": (f"WITH last AS (SELECT DISTINCT ON (s.session_date) s.session_date, s.symbol, s.price, s.volume FROM S AS s WHERE {FOUND} AND s.price >= t ORDER BY s.session_date, s.price, s.symbol) {LAST}", T, "t"),
    "distinct on places": (f"WITH last AS (SELECT DISTINCT ON (1) s.session_date, s.symbol, s.price, s.volume FROM S AS s WHERE {FOUND} AND s.price >= t ORDER BY s.session_date, s.symbol) {LAST}", T, "t"),
    "limit": (f"WITH last AS (SELECT s.* FROM S AS s WHERE {FOUND} AND s.price >= t ORDER BY s.price, s.symbol, s.session_date LIMIT 5) {LAST}", T, ""),
    "limit by the threshold": (f"WITH last AS (SELECT s.* FROM S AS s WHERE {FOUND} ORDER BY s.price, s.symbol, s.session_date LIMIT t) {LAST}", {"t": [1, 5]}, ""),
    "limit at the end": (f"SELECT {BASIC}, 5 AS probability_score, 1 AS rank FROM S AS s WHERE {FOUND} AND s.price >= t ORDER BY s.price, s.symbol, s.session_date LIMIT 4", T, ""),
    "join of two filtered steps": (f"WITH {ALL}, p AS (SELECT a.* FROM a WHERE a.price >= t), v AS (SELECT a.session_date, a.symbol FROM a WHERE a.volume <= u) SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM p AS s JOIN v ON v.symbol = s.symbol AND v.session_date = s.session_date", {"t": [0, 150], "u": [20000, 90000]}, "t u"),
    "join by a comma": (f"WITH {ALL}, p AS (SELECT a.* FROM a WHERE a.price >= t), v AS (SELECT a.session_date, a.symbol FROM a WHERE a.volume <= u) SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM p AS s, v WHERE v.symbol = s.symbol AND v.session_date = s.session_date", {"t": [0, 150], "u": [20000, 90000]}, "t u"),
    "join by using": (f"WITH {ALL}, p AS (SELECT a.* FROM a WHERE a.price >= t), v AS (SELECT a.session_date, a.symbol FROM a WHERE a.volume <= u) SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM p AS s JOIN v USING (symbol, session_date)", {"t": [0, 150], "u": [20000, 90000]}, None),
    "join of a step with itself": (f"WITH p AS (SELECT s.* FROM S AS s WHERE {FOUND} AND s.price >= t) SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM p AS s JOIN p AS o ON o.symbol = s.symbol AND o.session_date = s.session_date", T, "t"),
    "left join": (f"WITH {ALL}, p AS (SELECT a.* FROM a WHERE a.price >= t), v AS (SELECT a.session_date, a.symbol FROM a WHERE a.volume <= u) SELECT {BASIC}, CASE WHEN v.symbol IS NULL THEN 1 ELSE 5 END AS probability_score, {RANKED} FROM p AS s LEFT JOIN v ON v.symbol = s.symbol AND v.session_date = s.session_date", {"t": [0, 150], "u": [20000, 90000]}, None),
    "left join of what is filtered": (f"WITH {ALL}, v AS (SELECT a.session_date, a.symbol FROM a WHERE a.volume <= t) SELECT {BASIC}, CASE WHEN v.symbol IS NULL THEN 1 ELSE 5 END AS probability_score, {RANKED} FROM a AS s LEFT JOIN v ON v.symbol = s.symbol AND v.session_date = s.session_date", {"t": [0, 50000]}, ""),
    "right join": (f"WITH {ALL}, v AS (SELECT a.session_date, a.symbol FROM a WHERE a.volume <= t) SELECT {BASIC}, CASE WHEN v.symbol IS NULL THEN 1 ELSE 5 END AS probability_score, {RANKED} FROM v RIGHT JOIN a AS s ON v.symbol = s.symbol AND v.session_date = s.session_date", {"t": [0, 50000]}, ""),
    "full join": (f"WITH {ALL}, v AS (SELECT a.session_date, a.symbol FROM a WHERE a.volume <= t) SELECT {BASIC}, CASE WHEN v.symbol IS NULL THEN 1 ELSE 5 END AS probability_score, {RANKED} FROM a AS s FULL JOIN v ON v.symbol = s.symbol AND v.session_date = s.session_date", {"t": [0, 50000]}, ""),
    "semi and anti join": (f"WITH {ALL}, v AS (SELECT a.session_date, a.symbol FROM a WHERE a.volume <= t), w AS (SELECT a.* FROM a SEMI JOIN v ON v.symbol = a.symbol) SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM w AS s ANTI JOIN v ON v.symbol = s.symbol AND v.session_date = s.session_date", {"t": [0, 50000]}, ""),
    "natural join": (f"WITH {ALL}, v AS (SELECT a.session_date, a.symbol FROM a WHERE a.volume <= t) SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM a AS s NATURAL JOIN v", {"t": [0, 50000]}, ""),
    "a threshold in a join's condition": (f"WITH {ALL} SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM a AS s JOIN a AS o ON o.symbol = s.symbol AND o.session_date = s.session_date AND o.price >= t", T, ""),
    "a threshold in a join's condition and before": (f"WITH {ALL}, f AS (SELECT a.*, row_number() OVER (PARTITION BY a.session_date ORDER BY a.symbol) AS n FROM a WHERE a.volume >= t) SELECT {BASIC}, f.n AS probability_score, {RANKED} FROM a AS s JOIN f ON f.symbol = s.symbol AND f.session_date = s.session_date AND f.n <= t", {"t": [1, 3]}, ""),
    "a subquery in its condition": (f"WITH {ALL} SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM a AS s WHERE s.symbol IN (SELECT o.symbol FROM a AS o WHERE o.price >= t)", T, ""),
    "a subquery of a filtered step": (f"WITH {ALL}, p AS (SELECT * FROM a WHERE price >= t) SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM a AS s WHERE EXISTS (SELECT 1 FROM p WHERE p.symbol = s.symbol)", T, ""),
    "a subquery beside": (f"WITH {ALL} SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM a AS s WHERE EXISTS (SELECT 1 FROM a AS o WHERE o.price > 100 AND o.symbol = s.symbol) AND s.price > t", T, "t"),
    "a number from a subquery": (f"WITH {ALL} SELECT {BASIC}, (SELECT count(*) FROM a AS o WHERE o.price >= t) AS probability_score, {RANKED} FROM a AS s", T, ""),
    "a derived table": (f"WITH {ALL} {LAST.replace('last', '(SELECT * FROM a WHERE price >= t)')}", T, ""),
    "a derived table beside a filtered step": (f"WITH {ALL}, p AS (SELECT a.* FROM a WHERE a.price >= t) SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM p AS s JOIN (SELECT * FROM a WHERE volume > t * 100) AS o ON o.symbol = s.symbol AND o.session_date = s.session_date", T, ""),
    "lateral": (f"WITH {ALL}, p AS (SELECT a.* FROM a WHERE a.price >= t) SELECT {BASIC}, l.n AS probability_score, {RANKED} FROM a AS s, LATERAL (SELECT count(*) AS n FROM p WHERE p.symbol = s.symbol) AS l", T, ""),
    "a union": (f"WITH {ALL}, last AS (SELECT * FROM a WHERE price >= t UNION ALL SELECT * FROM a WHERE price < 50) {LAST}", {"t": [60, 200]}, ""),
    "a union of a filtered step": (f"WITH {ALL}, h AS (SELECT * FROM a WHERE price >= t), last AS (SELECT * FROM h UNION SELECT * FROM a WHERE price < 50) {LAST}", {"t": [60, 200]}, ""),
    "except": (f"WITH {ALL}, h AS (SELECT * FROM a WHERE price >= t), last AS (SELECT * FROM a EXCEPT SELECT * FROM h) {LAST}", {"t": [60, 200]}, ""),
    "steps within a step": (f"WITH last AS (WITH z AS (SELECT s.* FROM S AS s WHERE {FOUND}) SELECT * FROM z WHERE price >= t) {LAST}", T, ""),
    "a step with names for its columns": (f"WITH last(session_date, symbol, price, volume) AS (SELECT s.session_date, s.symbol, s.price, s.volume FROM S AS s WHERE {FOUND} AND s.price >= t) {LAST}", T, ""),
    "recursive": (f"WITH RECURSIVE last AS (SELECT s.* FROM S AS s WHERE {FOUND} AND s.price > t) {LAST}", T, ""),
    "a step that is read by its name as a text": (f"WITH last AS (SELECT s.*, row_number() OVER (PARTITION BY s.session_date ORDER BY s.price DESC, s.symbol) AS n FROM S AS s WHERE {FOUND} AND s.price >= t), c AS (SELECT o.session_date, count(*) AS n FROM query_table('last') AS o GROUP BY o.session_date) SELECT {BASIC}, c.n AS probability_score, s.n AS rank FROM last AS s JOIN c ON c.session_date = s.session_date", T, ""),
    "from first": (f"WITH p AS (SELECT s.* FROM S AS s WHERE {FOUND} AND s.price > t), q AS (FROM p), last AS (FROM q SELECT q.session_date, q.symbol, q.price, q.volume) {LAST}", T, ""),
    "everything of a step": (f"WITH p AS (SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM S AS s WHERE {FOUND} AND s.price > t), q AS (SELECT * FROM p WHERE p.rank <= u) SELECT * FROM q", {"t": [0, 150], "u": [1, 3]}, None),
    "less of a step": (f"WITH last AS (SELECT s.* EXCLUDE (high) REPLACE (s.price * 2 AS price) FROM S AS s WHERE {FOUND} AND s.price >= t) {LAST}", T, "t"),
    "in CASE": (f"SELECT {BASIC}, CASE WHEN s.price > t THEN 70 ELSE 30 END AS probability_score, {RANKED} FROM S AS s WHERE {FOUND} AND CASE WHEN s.price > 200 THEN s.price >= t ELSE s.price < t * 2 END", T, "t"),
    "in a lambda of a condition": (f"SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM S AS s WHERE {FOUND} AND len(list_filter([s.price, s.open], lambda v: v >= t)) > 0", T, ""),
    "in a lambda of a column": (f"SELECT {BASIC}, len(list_filter([s.price, s.open], lambda v: v >= t)) AS probability_score, {RANKED} FROM S AS s WHERE {FOUND}", T, "t"),
    "beside a lambda": (f"SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM S AS s WHERE {FOUND} AND list_max(list_transform([s.price, s.open], lambda v: v * 2)) >= t", {"t": [0, 300]}, "t"),
    "a lambda's own parameter of the name": (f"SELECT {BASIC}, list_max(list_transform([1, 2], lambda t: t * 10)) AS probability_score, {RANKED} FROM S AS s WHERE {FOUND} AND s.price > t", T, ""),
    "two conditions in one": (f"SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM S AS s WHERE {FOUND} AND (s.price > t OR s.volume > u) AND NOT s.price > 9 * t + u", {"t": [100, 150], "u": [20000, 90000]}, "t u"),
    "between": (f"SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM S AS s WHERE {FOUND} AND s.price BETWEEN t AND u", {"t": [0, 150], "u": [200, 900]}, "t u"),
    "the other way round": (f"SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM S AS s WHERE {FOUND} AND t < s.price AND 1000 > t AND s.price - 200 > -t AND s.price > 100-t", {"t": [-20.5, 150]}, "t"),
    "NULL for no limit": (f"SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM S AS s WHERE {FOUND} AND (t IS NULL OR s.price > t)", {"t": [None, 150]}, "t"),
    "NULL for nothing": (f"SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM S AS s WHERE {FOUND} AND s.price > t", {"t": [None, 150]}, "t"),
    "true or false": (f"SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM S AS s WHERE {FOUND} AND (t OR s.price > 150)", {"t": [True, False]}, "t"),
    "of a list": (f"SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM S AS s WHERE {FOUND} AND list_contains(t, s.symbol)", {"t": [["DEMO0001"], ["DEMO0002", "DEMO0003"]]}, "t"),
    "a place of a list": (f"SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM S AS s WHERE {FOUND} AND s.price > t[1]", {"t": [[100], [150, 3]]}, ""),
    "texts": (f"SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM S AS s WHERE {FOUND} AND (t = 'all' OR s.symbol LIKE '%' || t)", {"t": ["all", "1", "01"]}, "t"),
    "texts that are numbers": (f"SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM S AS s WHERE {FOUND} AND s.price > t", {"t": ["100", "150"]}, "t"),
    "texts that are dates": (f"SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM S AS s WHERE {FOUND} AND s.session_date > t", {"t": ["2025-01-08", "2025-01-14"]}, "t"),
    "dates": (f"SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM S AS s WHERE {FOUND} AND s.session_date > t", {"t": [dt.date(2025, 1, 8), dt.date(2025, 1, 14)]}, "t"),
    "a choice, also as it is written": (f"SELECT {BASIC}, CASE t WHEN 'LONG' THEN 10 ELSE 20 END AS probability_score, {RANKED} FROM S AS s WHERE {FOUND} AND one_of(t, 'long, short', 'scan_mine', 't') = 'long'", {"t": ["LONG", "long", "short"]}, "t"),
    "two guards": (f"SELECT {BASIC}, coalesce(number_in_range_or_null(t, 0, 500, 'scan_mine', 't'), 7) AS probability_score, {RANKED} FROM S AS s WHERE {FOUND} AND s.price > coalesce(integer_in_range_or_null(t, NULL, NULL, 'scan_mine', 't'), 100)", {"t": [1, 150, None]}, "t"),
    "a guard of a row": (f"SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM S AS s WHERE {FOUND} AND least(t, s.price) = t AND concat(t, s.symbol, 't') > '' AND in_order(t, s.price + 1000, 'scan_mine', 't', 'price')", T, "t"),
    "a guard with another threshold": (f"SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM S AS s WHERE {FOUND} AND s.price > number_in_range(t, 0, u, 'scan_mine', 't') AND in_order(t, u, 'scan_mine', 't', 'u')", {"t": [1, 150], "u": [200, 300]}, "t u"),
    "windows by name": (f"SELECT {BASIC}, ntile(4) OVER (w ORDER BY s.volume, s.symbol) AS probability_score, row_number() OVER v AS rank FROM S AS s WHERE {FOUND} AND s.price > t WINDOW w AS (PARTITION BY s.session_date), v AS (PARTITION BY s.session_date ORDER BY s.price DESC, s.symbol)", T, "t"),
    "windows over all": (f"SELECT {BASIC}, (count(*) OVER ()) % 100 AS probability_score, row_number() OVER (ORDER BY s.price, s.symbol, s.session_date) AS rank FROM S AS s WHERE {FOUND} AND s.price > t", T, "t"),
    "windows by the threshold": (f"SELECT {BASIC}, 5 AS probability_score, row_number() OVER (PARTITION BY s.session_date, s.price > t ORDER BY abs(s.price - t), s.symbol) AS rank FROM S AS s WHERE {FOUND}", T, "t"),
    "windows with filters": (f"WITH last AS (SELECT s.session_date, s.symbol, s.price, s.volume, count(*) FILTER (WHERE s.price > t) OVER (PARTITION BY s.session_date) AS n FROM S AS s WHERE {FOUND}) SELECT {BASIC}, s.n AS probability_score, {RANKED} FROM last AS s", T, "t"),
    "windows that start so far back": (f"SELECT {BASIC}, least(100, sum(s.price) OVER (PARTITION BY s.symbol ORDER BY s.session_date ROWS BETWEEN t PRECEDING AND CURRENT ROW) / 1000) AS probability_score, {RANKED} FROM S AS s WHERE {FOUND}", {"t": [0, 2]}, ""),
    "running sums of doubles": (f"SELECT {BASIC}, least(100, sum(s.price) OVER (PARTITION BY s.session_date ORDER BY s.symbol) / 100) AS probability_score, {RANKED} FROM S AS s WHERE {FOUND} AND s.price >= t", T, "t"),
    "several orders": (f"SELECT {BASIC}, row_number() OVER (PARTITION BY s.session_date ORDER BY s.volume, s.symbol) AS probability_score, row_number() OVER (PARTITION BY s.session_date ORDER BY nullif(s.price, 100) DESC NULLS FIRST, lower(s.symbol)) AS rank FROM S AS s WHERE {FOUND} AND s.price > t", T, "t"),
    "qualify": (f"SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM S AS s WHERE {FOUND} AND s.price >= t QUALIFY row_number() OVER (PARTITION BY s.session_date ORDER BY s.price DESC, s.symbol) <= u", {"t": [0, 150], "u": [1, 3]}, "t u"),
    "qualify by a name": (f"SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM S AS s WHERE {FOUND} AND s.price >= t QUALIFY rank <= u", {"t": [0, 150], "u": [1, 3]}, "t u"),
    "unnest": (f"WITH last AS (SELECT s.*, unnest([1, 2]) AS k FROM S AS s WHERE {FOUND} AND s.price > t) {LAST} WHERE s.k = 1", T, "t"),
    "how long a list is": (f"SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM S AS s, range(t) AS u(n) WHERE {FOUND} AND u.n = 1", {"t": [1, 3]}, ""),
    "what would fail without what came before": (f"WITH {ALL}, b AS (SELECT a.* FROM a WHERE a.price - 150 > t), last AS (SELECT b.*, CASE WHEN b.price <= 150 THEN error('asked too early') END AS checked FROM b) {LAST}", {"t": [0, 20]}, "t"),
    "of another scanner": (f"SELECT s.scan_date, s.symbol, s.price, s.volume, s.probability_score, row_number() OVER (PARTITION BY s.scan_date ORDER BY s.rank) AS rank FROM scan_breakout(scan_date, cutoff_time := cutoff_time, end_date := end_date, source := source, consolidation_period := 2, breakout_volume_ratio := 0, resistance_break_pct := 0, min_price := 0, min_volume := 0) AS s WHERE s.breakout_pct > t", {"t": [0, 0.3]}, "t"),
    "handed on to another scanner": (f"SELECT s.scan_date, s.symbol, s.price, s.volume, s.probability_score, row_number() OVER (PARTITION BY s.scan_date ORDER BY s.rank) AS rank FROM scan_breakout(scan_date, cutoff_time := cutoff_time, end_date := end_date, source := source, consolidation_period := 2, breakout_volume_ratio := 0, resistance_break_pct := t, min_price := 0, min_volume := 0) AS s", {"t": [0, 0.3]}, ""),
    "names like those of the query around it": (f"WITH stockscan_combinations AS (SELECT combination.*, 1 AS stockscan_scan FROM S AS combination WHERE combination.session_date >= CAST(scan_date AS DATE) AND combination.bars > 0 AND combination.price > t), signal AS (SELECT o.* FROM stockscan_combinations AS o) {LAST.replace('last', 'signal')}", T, "t"),
    "never read": (f"SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM S AS s WHERE {FOUND}", T, ""),
    "only in the order at the end": (f"SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM S AS s WHERE {FOUND} ORDER BY abs(s.price - t)", T, "t"),
}


@pytest.fixture(scope="module")
def small(market):
    with connect() as connection:
        some = market.execute("FROM bars WHERE symbol <= 'DEMO0008' AND ts >= '2025-01-02' AND (ts::TIME < '09:55' OR ts::TIME > '15:12')").df()
        connection.register("few", some)
        connection.execute("CREATE TABLE bars AS FROM few")
        yield connection


def define(connection, parameters, body: str) -> str:
    """Creates a scanner of one's own; returns its definition."""
    block = "sessions_as_of(scan_date, cutoff_time := cutoff_time, end_date := end_date, history_sessions := 1, source := source, called_by := 'scan_mine')"
    declared = "".join(f", {name} := NULL" for name in parameters)
    text = f"CREATE OR REPLACE MACRO scan_mine(scan_date, cutoff_time := '09:50', end_date := NULL, source := 'bars'{declared}) AS TABLE "
    text += body.replace(" S AS ", f" {block} AS ")
    connection.execute(text)
    return text


@pytest.mark.parametrize("shape", OWN)
def test_scanners_of_ones_own(small, shape):
    """By its definition and without it, each combination is what a call by itself gives."""
    body, grid, thresholds = OWN[shape]
    definition = define(small, grid, body)
    combinations = [dict(zip(grid, values)) for values in itertools.product(*grid.values())]
    expected = [one_by_one(small, "mine", combination) for combination in combinations]
    assert sum(map(len, expected)) > 3
    for text in (definition, None):
        assert [trades for _, trades in by_combination(small, "mine", grid, {}, text)] == expected
    if thresholds is not None:
        lifted = [name for name in grid if small.execute("SELECT is_threshold('mine', ?, ?)", [name, definition]).fetchone()[0]]
        assert lifted == thresholds.split()


def test_every_aggregate_of_duckdb_is_known_as_one(small):
    """Over all rows it has a row also where there is none, which no group has. A list of names that lacks one would fail here."""
    names = "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'aggregate' OR function_name IN ('geomean', 'wavg', 'weighted_avg')"
    for (name,) in small.execute(names).fetchall():
        definition = f"""
            CREATE MACRO scan_mine(scan_date, t := 1) AS TABLE
            WITH of_all AS (SELECT {name}(s.price) AS x FROM sessions_as_of(scan_date) AS s WHERE s.price > t)
            SELECT of_all.x FROM of_all
        """
        assert small.execute("SELECT is_threshold('mine', 't', ?)", [definition]).fetchone() == (False,), name


def test_a_parameter_without_a_default(small):
    body = f"SELECT {BASIC}, 5 AS probability_score, {RANKED} FROM S AS s WHERE {FOUND} AND s.price >= t"
    definition = define(small, [], body).replace("(scan_date,", "(scan_date, t,", 1)
    small.execute(definition)
    expected = [one_by_one(small, "mine", {"t": value}) for value in T["t"]]
    for text in (definition, None):
        assert [trades for _, trades in by_combination(small, "mine", T, {}, text)] == expected


# What grid_performance() and the rest make of the trades. Every session of 32, four folds of eight.
GRID = {"breakout_volume_ratio": [0.5, 1.2], "resistance_break_pct": [0, 0.4, 4]}
RANGE = ("2024-11-29", "2025-01-15")


@pytest.fixture(scope="module")
def months():
    with connect() as connection:
        # Drifting against the signal, so that neither all trades win nor all lose.
        connection.execute(
            """
            CREATE TABLE bars AS
            SELECT * REPLACE (close * CASE WHEN ts::TIME > '15:12' THEN 1 + 0.0002 * (hash(symbol, ts::DATE) % 301 - 240.0) ELSE 1 END AS close)
            FROM demo_bars(symbols := 30, sessions := 40)
            WHERE ts::TIME < '09:55' OR ts::TIME > '15:12'
            """
        )
        connection.execute("UPDATE bars SET high = greatest(open, high, close), low = least(open, low, close)")
        yield connection


def parts_of(days: list, folds: int) -> list[tuple]:
    """Name, fold, first and last day of each part. Folds of equal length, the longer ones spread."""
    fold_of = [1 + place * folds // len(days) for place in range(len(days))]
    parts = [("whole", 0, days[0], days[-1])]
    for fold in range(2, folds + 1):
        before, own = ([day for day, number in zip(days, fold_of) if is_in(number)] for is_in in (lambda n: n < fold, lambda n: n == fold))
        parts += [("train", fold, before[0], before[-1]), ("test", fold, own[0], own[-1])]
    return parts


def combinations() -> list[dict]:
    return [dict(zip(GRID, values)) for values in itertools.product(*GRID.values())]


FIXED = {"consolidation_period": 4, "min_price": 0, "max_price": 100000, "min_volume": 0, "max_results_per_day": 5}
CALL = f"params := {struct(FIXED)}, exit_time := '15:20', cost_bps := 4, max_positions := 2"
PORTFOLIO = "max_positions := 2"


@pytest.fixture(scope="module")
def summaries(months):
    """backtest_summary() of each combination over each part: what grid_performance() should give. Positions end within their session, so no
    trade lies over a border."""
    days = [day for (day,) in months.execute("SELECT DISTINCT ts::DATE FROM bars WHERE ts::DATE BETWEEN ? AND ? ORDER BY ALL", RANGE).fetchall()]
    rows = []
    for number, given in enumerate(combinations()):
        call = CALL.replace("{", "{" + struct(given)[1:-1] + ", ", 1)
        for part, fold, first, last in parts_of(days, 4):
            frame = months.execute(f"FROM backtest_summary('breakout', '{first}', '{last}', {call})").df()
            daily = months.execute(f"SELECT return_pct FROM backtest_daily('breakout', '{first}', '{last}', {call})").fetchall()
            returns = np.array([value for (value,) in daily])
            rows.append(frame.assign(combination=number, part=part, fold=fold, session_returns=[returns] * len(frame)))
    months.execute(f"CREATE TABLE trades AS FROM grid_trades('breakout', '{RANGE[0]}', '{RANGE[1]}', {struct(GRID)}, {CALL.replace(', max_positions := 2', '')})")
    result = pd.concat(rows, ignore_index=True)
    # They stand on there being wins and losses, enough trades in some and too few in others.
    whole = result[result.part == "whole"].set_index("combination")
    assert len(days) == 32 and whole.trades.max() > 40 and whole.trades.min() < 30 and whole.hit_rate_pct.between(20, 80).sum() >= 4, whole[["trades", "hit_rate_pct"]]
    assert whole.sharpe.dropna().round(9).nunique() >= 4
    return result


def assert_same(actual: pd.DataFrame, expected: pd.DataFrame):
    """Equal to 1e-9, lists and dates as well."""
    assert list(actual.columns) == list(expected.columns)
    assert len(actual) == len(expected)
    for column in actual.columns:
        for one, other in zip(actual[column], expected[column]):
            if isinstance(one, (list, np.ndarray)):
                np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12, err_msg=column)
            elif isinstance(one, str) or isinstance(one, (pd.Timestamp, dt.date)):
                assert one == other, column
            else:
                one, other = (float("nan") if value is None or value is pd.NA else float(value) for value in (one, other))
                assert one == pytest.approx(other, rel=1e-9, abs=1e-12, nan_ok=True), column


def test_parts_are_backtests_of_their_own(months, summaries):
    actual = months.execute(f"FROM grid_performance('trades', '{RANGE[0]}', '{RANGE[1]}', folds := 4, {PORTFOLIO})").df()
    keys = ["combination", "fold", "part"]
    given = combinations()
    for number, parameters in zip(actual.combination, actual.parameters):
        assert {name: float(value) for name, value in parameters.items()} == given[number]
    actual = actual.drop(columns="parameters").sort_values(keys).reset_index(drop=True)
    assert_same(actual, summaries[actual.columns].sort_values(keys).reset_index(drop=True))


OBJECTIVES = {
    "sharpe": lambda frame: frame.sharpe,
    "sharpe * ln(trades)": lambda frame: finite(frame.sharpe * np.log(frame.trades.where(frame.trades > 0))),
    "profit_factor - 0.01 * abs(max_drawdown_pct)": lambda frame: frame.profit_factor - 0.01 * frame.max_drawdown_pct.abs(),
    "CASE WHEN trades >= 5 THEN mean_return_pct END": lambda frame: frame.mean_return_pct.where(frame.trades >= 5),
    "round(mean_return_pct, 0)": lambda frame: frame.mean_return_pct.round(0),
}


def finite(values):
    return values.replace([np.inf, -np.inf], np.nan)


def best_of(frame, min_trades):
    """The first of those with the highest objective."""
    possible = frame[frame.objective.notna() & (frame.trades >= min_trades)].sort_values("combination")
    return None if possible.empty else possible.loc[possible.objective.idxmax()]


def chosen(judged, min_trades):
    """By fold the combination that was best before it."""
    return {fold: best_of(frame, min_trades) for fold, frame in judged[judged.part == "train"].groupby("fold")}


@pytest.mark.parametrize("min_trades", [1, 8, 30])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_results_walk_forward_and_parameters(months, summaries, objective, min_trades):
    judged = summaries.assign(objective=OBJECTIVES[objective](summaries).astype(float))
    call = f"('trades', '{RANGE[0]}', '{RANGE[1]}', objective := '{objective}', min_trades := {min_trades}, {PORTFOLIO})"
    best = chosen(judged, min_trades)
    tests, whole = judged[judged.part == "test"], judged[judged.part == "whole"].set_index("combination")

    # Results: too few trades last, then the highest objective, without one last, then the first of the grid.
    results = months.execute(f"FROM grid_results{call}").df()
    order = sorted(whole.index, key=lambda c: (whole.trades[c] < min_trades, pd.isna(whole.objective[c]), -np.nan_to_num(whole.objective[c]), c))
    assert list(results.combination) == order and list(results["rank"]) == list(range(1, len(order) + 1))
    daily = whole.sharpe / np.sqrt(252)
    luck = expected_maximum_sharpe(len(whole), daily.var(ddof=1))
    expected = whole.loc[order].reset_index()
    returns = [np.array(values) for values in expected.session_returns]
    expected["deflated_sharpe_ratio"] = [
        probabilistic_sharpe_ratio(values.mean() / values.std(ddof=1), luck, len(values), stats.skew(values), stats.kurtosis(values, fisher=False))
        if values.std() > 0
        else np.nan
        for values in returns
    ]
    expected["enough_trades"] = expected.trades >= min_trades
    expected["folds_chosen"] = [sum(row is not None and row.combination == number for row in best.values()) for number in order]
    expected["out_of_sample_objective"] = [tests[tests.combination == number].objective.mean() for number in order]
    assert_same(results.drop(columns=["rank", "parameters"]), expected[results.columns.drop(["rank", "parameters"])])

    # Walk-forward: the choice of each fold's past, or none.
    folds = months.execute(f"FROM grid_walk_forward{call}").df()
    assert list(folds.fold) == [2, 3, 4]
    for _, fold in folds.iterrows():
        own = tests[tests.fold == fold.fold].set_index("combination")
        past = judged[(judged.part == "train") & (judged.fold == fold.fold)].iloc[0]
        assert (fold.train_first_date, fold.train_last_date) == (past.first_date, past.last_date)
        assert (fold.first_date, fold.last_date) == (own.first_date.iloc[0], own.last_date.iloc[0])
        assert fold.median_objective == pytest.approx(own.objective.median(), nan_ok=True)
        choice = best[fold.fold]
        if choice is None:
            assert pd.isna(fold.combination) and pd.isna(fold.trades) and pd.isna(fold.parameters)
            continue
        then = own.loc[choice.combination]
        assert (fold.combination, fold.train_trades, fold.trades) == (choice.combination, choice.trades, then.trades)
        assert fold.train_objective == pytest.approx(choice.objective, rel=1e-9)
        for column in ("objective", "hit_rate_pct", "mean_return_pct", "total_return_pct", "max_drawdown_pct", "sharpe"):
            assert fold[column] == pytest.approx(then[column], rel=1e-9, abs=1e-12, nan_ok=True), column

    # Parameters: means over the combinations that have a value, in the order of the grid.
    values = months.execute(f"FROM grid_parameters{call}").df()
    assert [(name, float(value)) for name, value in zip(values.parameter, values.value)] == [(name, value) for name in GRID for value in GRID[name]]
    for _, row in values.iterrows():
        having = [number for number, given in enumerate(combinations()) if given[row.parameter] == float(row.value)]
        own = whole.loc[having].objective
        assert row.combinations == len(having)
        for column, value in (("mean_objective", own.mean()), ("median_objective", own.median()), ("best_objective", own.max())):
            assert row[column] == pytest.approx(value, rel=1e-9, nan_ok=True), column
        assert row.out_of_sample_objective == pytest.approx(tests[tests.combination.isin(having)].objective.mean(), rel=1e-9, nan_ok=True)
        assert row.folds_tested == sum(choice is not None for choice in best.values())
        assert row.folds_chosen == sum(choice is not None and choice.combination in having for choice in best.values())


@pytest.mark.parametrize("min_trades", [1, 8, 30])
@pytest.mark.parametrize("objective", list(OBJECTIVES)[:4])
def test_report(months, summaries, objective, min_trades):
    judged = summaries.assign(objective=OBJECTIVES[objective](summaries).astype(float))
    whole = judged[judged.part == "whole"].set_index("combination")
    report = months.execute(
        f"FROM grid_report('trades', '{RANGE[0]}', '{RANGE[1]}', objective := '{objective}', min_trades := {min_trades}, {PORTFOLIO})"
    ).df().iloc[0]

    # The best has enough trades if any has.
    order = sorted(whole.index[whole.objective.notna()], key=lambda c: (whole.trades[c] < min_trades, -whole.objective[c], c))
    best = whole.loc[order[0]]
    assert (report.combinations, report.sessions, report.combination, report.trades) == (len(whole), 32, order[0], best.trades)
    assert (report.objective, report.sharpe) == pytest.approx((best.objective, best.sharpe), rel=1e-9)
    daily = whole.sharpe / np.sqrt(252)
    luck = expected_maximum_sharpe(len(whole), daily.var(ddof=1))
    assert report.expected_maximum_sharpe == pytest.approx(luck * np.sqrt(252), rel=1e-9)
    returns = np.array(best.session_returns)
    deflated = probabilistic_sharpe_ratio(returns.mean() / returns.std(ddof=1), luck, 32, stats.skew(returns), stats.kurtosis(returns, fisher=False))
    assert report.deflated_sharpe_ratio == pytest.approx(deflated, rel=1e-8)
    overfitting = overfitting_of(tuple(map(tuple, whole.session_returns)))
    assert report.probability_of_backtest_overfitting == pytest.approx(overfitting, abs=1e-9)

    # Out of sample: what the choices of the folds made, one after the other. With equal weights a session's return does not depend on what there is.
    choices = chosen(judged, min_trades)
    tests = judged[judged.part == "test"].set_index(["fold", "combination"])
    picked = [None if choice is None else tests.loc[(fold, choice.combination)] for fold, choice in choices.items()]
    later = np.concatenate([np.zeros(8) if row is None else np.array(row.session_returns) for row in picked])
    equity = np.concatenate([[1], np.cumprod(1 + later / 100)])
    trades = sum(0 if row is None else row.trades for row in picked)
    assert report.out_of_sample_trades == trades
    assert report.out_of_sample_total_return_pct == pytest.approx(100 * (equity[-1] - 1), rel=1e-6, abs=1e-9)
    assert report.out_of_sample_max_drawdown_pct == pytest.approx(100 * (equity / np.maximum.accumulate(equity) - 1).min(), rel=1e-6, abs=1e-9)
    if trades:
        winners, returned = (sum(0 if row is None or not row.trades else row[column] * weight(row) for row in picked) for column, weight in (("winners", lambda row: 1), ("mean_return_pct", lambda row: row.trades)))
        assert report.out_of_sample_hit_rate_pct == pytest.approx(100 * winners / trades)
        assert report.out_of_sample_mean_return_pct == pytest.approx(returned / trades)
        assert report.out_of_sample_sharpe == pytest.approx(later.mean() / later.std(ddof=1) * np.sqrt(252), rel=1e-6)
    held = months.execute(f"SELECT benchmark_return_pct FROM backtest_summary('breakout', '{picked_first(judged)}', '{RANGE[1]}')").fetchone()[0]
    assert report.benchmark_return_pct == pytest.approx(held, rel=1e-9)

    # The verdict, by the rules of the header.
    against = best.trades < min_trades or not deflated >= 0.95 or equity[-1] <= 1
    but = overfitting > 0.2 or trades < min_trades
    assert report.verdict == ("no evidence" if against else "weak evidence" if but else "evidence")


def picked_first(judged):
    return judged[(judged.part == "test") & (judged.fold == 2)].first_date.iloc[0].date()


_known = {}


def overfitting_of(returns):
    """Sixteen blocks, every half of them."""
    if returns not in _known:
        _known[returns] = cscv(np.array(returns), 16)
    return _known[returns]


def test_a_trade_over_the_border_of_a_fold_is_known_after_it_has_ended(months):
    """Positions of a fixed amount, held for two sessions: a part's profit is the sum of its trades', those left out that end behind its training."""
    days = [day for (day,) in months.execute("SELECT DISTINCT ts::DATE FROM bars WHERE ts::DATE BETWEEN ? AND ? ORDER BY ALL", RANGE).fetchall()]
    given = f"params := {struct(FIXED | {'max_results_per_day': 2})}, hold_sessions := 2, stop_loss_pct := 3"
    months.execute(
        f"CREATE OR REPLACE TABLE held AS FROM grid_trades('breakout', '{RANGE[0]}', '{RANGE[1]}', {{resistance_break_pct: [0, 0.3]}}, {given})"
    )
    actual = months.execute(
        f"FROM grid_performance('held', '{RANGE[0]}', '{RANGE[1]}', folds := 4, position_size := 1000, max_positions := 1000, compounding := FALSE)"
    ).df().set_index(["combination", "part", "fold"])
    left_out = 0
    for number, lowest in enumerate([0, 0.3]):
        call = given.replace("{", "{" + f"resistance_break_pct: {lowest}, ", 1)
        trades = months.execute(f"FROM backtest('breakout', '{RANGE[0]}', '{RANGE[1]}', {call})").df()
        for part, fold, first, last in parts_of(days, 4):
            own = trades[trades.scan_date.between(pd.Timestamp(first), pd.Timestamp(last))]
            if part == "train":
                kept = own[~(own.exit_ts.dt.date > last)]
                left_out += len(own) - len(kept)
                own = kept
            row = actual.loc[(number, part, fold)]
            assert (row.signals, row.trades) == (len(own), own.entry_ts.notna().sum())
            assert row.total_profit == pytest.approx(10 * own.net_return_pct.sum(), abs=1e-5)
            # A test lasts until its last trade has ended.
            ends = max([last, *own.exit_ts.dropna().dt.date])
            assert row.last_date.date() == ends
    assert left_out >= 6


def test_optimize_is_backtest_summary_of_each_combination(months, summaries):
    call = f"'breakout', '{RANGE[0]}', '{RANGE[1]}', {struct(GRID)}, {CALL}"
    actual = months.execute(f"FROM optimize({call})").df()
    whole = summaries[summaries.part == "whole"].set_index("combination").loc[actual.combination].reset_index()
    columns = [column for column in actual.columns if column in whole.columns and column != "combination"]
    assert len(columns) > 35
    assert_same(actual[columns], whole[columns])
