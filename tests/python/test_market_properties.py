"""What holds for the functions that look at a whole source: odd bars are no error, and neither the order of bars nor the number of threads
matters."""

import math

import pytest

from conftest import connect
from test_properties import ADVERSARIES

CALLS = {
    "check_bars": "check_bars({source})",
    "check_bars in regular hours": "check_bars({source}, session_start := '09:15', session_end := '15:30', gap_minutes := 1)",
    "likely_splits": "likely_splits({source})",
    "missing_bars": "missing_bars({source}, gap_minutes := 1)",
    "symbols": "symbols({source})",
    "adjusted_bars": "(SELECT count(*), bit_xor(hash(bar)) FROM adjusted_bars('splits', '2025-01-15', {source}) AS bar)",
}


@pytest.fixture(scope="module")
def market():
    with connect() as connection:
        connection.execute("CREATE TABLE bars AS FROM demo_bars(symbols := 20, sessions := 40)")
        connection.execute("CREATE TABLE splits AS SELECT DISTINCT symbol, DATE '2025-01-02' AS ex_date, 3 AS ratio FROM bars")
        # Prices that look as if they had been split, stale ones, a hole, and doubled bars, so that there is something to find.
        connection.execute(
            """
            CREATE TABLE dirty AS
            SELECT * REPLACE (
                if(symbol = 'DEMO0002' AND ts >= '2025-01-08', open / 2, open) AS open, if(symbol = 'DEMO0002' AND ts >= '2025-01-08', high / 2, high) AS high,
                if(symbol = 'DEMO0002' AND ts >= '2025-01-08', low / 2, low) AS low, if(symbol = 'DEMO0002' AND ts >= '2025-01-08', close / 2, close) AS close
            )
            FROM bars
            WHERE NOT (symbol = 'DEMO0003' AND ts::DATE = '2025-01-07') AND NOT (symbol = 'DEMO0004' AND ts BETWEEN '2025-01-07 10:00' AND '2025-01-07 11:00')
            UNION ALL
            FROM bars WHERE symbol = 'DEMO0005' AND ts::TIME = '09:15'
            """
        )
        yield connection


@pytest.mark.parametrize("name", ADVERSARIES)
def test_odd_bars_give_no_error_and_no_odd_numbers(market, name):
    market.execute(f"CREATE OR REPLACE TABLE adversary AS {ADVERSARIES[name]}")
    for function, call in CALLS.items():
        rows = market.execute(f"FROM {call.format(source='source := ' + repr('adversary'))}").fetchall()
        assert all(math.isfinite(value) for row in rows for value in row if isinstance(value, float)), function
        if name == "empty" and not function.startswith("check_bars"):
            assert rows in ([], [(0, None)]), function


def test_neither_the_order_of_bars_nor_the_number_of_threads_matters(market):
    market.execute("CREATE OR REPLACE TABLE shuffled AS FROM dirty ORDER BY hash(symbol, ts)")
    try:
        for function, call in CALLS.items():
            results = []
            for threads in (1, 2, 8):
                market.execute(f"SET threads = {threads}")
                results += [market.execute(f"FROM {call.format(source='source := ' + repr(source))}").fetchall() for source in ("dirty", "shuffled")]
            assert results[0] and all(rows == results[0] for rows in results), function
    finally:
        market.execute("RESET threads")


def test_each_defect_of_the_dirty_market_is_found(market):
    found = dict(market.execute("SELECT defect, details FROM check_bars('dirty') WHERE bars > 0").fetchall())
    assert found["likely_split"] == "DEMO0002 2025-01-08 2:1"
    assert "DEMO0003 2025-01-07" in found["missing_session"]
    assert found["gap"] == "DEMO0004 2025-01-07 10:00 to 11:00"
    assert found["duplicate"].startswith("DEMO0005 2024-11-19 09:15; ")
    assert set(found) == {"likely_split", "missing_session", "gap", "duplicate"}
    assert {defect for (defect,) in market.execute("SELECT defect FROM check_bars('bars') WHERE bars > 0").fetchall()} == {"missing_session"}
