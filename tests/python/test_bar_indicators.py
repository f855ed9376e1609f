"""series() against list(… ORDER BY …), and bar_indicators() against TA-Lib called symbol by symbol on a DataFrame. Both on a demo market."""

import datetime as dt

import duckdb
import numpy as np
import pandas
import pytest
import talib

from conftest import connect


@pytest.fixture(scope="module")
def market():
    with connect() as connection:
        connection.execute("CREATE TABLE bars AS FROM demo_bars(symbols := 12, sessions := 6)")
        # One of the symbols is not listed yet.
        assert connection.execute("SELECT count(DISTINCT symbol) FROM bars").fetchall() == [(11,)]
        connection.execute("CREATE TABLE shuffled AS FROM bars ORDER BY hash(symbol, ts)")
        yield connection


# series


def test_series_is_an_ordered_list(market):
    """Whatever the order of the rows; beside each other the series of a group stay one bar."""
    for source in (
        "bars",
        "shuffled",
        "(FROM bars ORDER BY ts DESC)",
        "(FROM bars ORDER BY symbol, ts)",
        "(FROM bars ORDER BY ts, symbol)",
    ):
        different = market.execute(
            f"""
            SELECT count(*), count(*) FILTER (
                WHERE actual.closes != expected.closes OR actual.volumes != expected.volumes OR actual.times != expected.times
            )
            FROM (SELECT symbol, series(close, ts) AS closes, series(volume, ts) AS volumes, series_times(ts) AS times FROM {source} GROUP BY symbol) AS actual
            JOIN (
                SELECT symbol, list(close ORDER BY ts) AS closes, list(volume::DOUBLE ORDER BY ts) AS volumes, list(ts ORDER BY ts) AS times
                FROM bars
                GROUP BY symbol
            ) AS expected USING (symbol)
            """
        ).fetchall()
        assert different == [(11, 0)], source


def test_series_of_many_groups_on_any_number_of_threads(market):
    """Half a million rows in a hundred thousand groups and in three; with NULLs and times that occur twice."""
    market.execute(
        """
        CREATE TEMP TABLE points AS
        SELECT
            hash(row.range) % 100000 AS small,
            row.range % 3 AS large,
            CASE WHEN hash(row.range, 1) % 50 > 0 THEN TIMESTAMP '2025-01-01' + INTERVAL 1 MINUTE * CAST(hash(row.range, 2) % 200000 AS INTEGER) END AS ts,
            CASE WHEN hash(row.range, 3) % 20 > 0 THEN hash(row.range, 4) % 7 END::DOUBLE AS value
        FROM range(500000) AS row
        """
    )
    for key in ("small", "large"):
        expected = market.execute(
            f"""
            SELECT bit_xor(hash({key}, list)), count(*)
            FROM (SELECT {key}, list(value ORDER BY ts, value NULLS LAST) AS list FROM points WHERE ts IS NOT NULL GROUP BY {key})
            """
        ).fetchall()
        for threads in (1, 4):
            market.execute(f"SET threads = {threads}")
            for source in ("points", "(FROM points ORDER BY ts)"):
                actual = market.execute(
                    f"SELECT bit_xor(hash({key}, list)), count(*) FROM (SELECT {key}, series(value, ts) AS list FROM {source} GROUP BY {key}) WHERE list IS NOT NULL"
                ).fetchall()
                assert actual == expected, (key, threads, source)
        market.execute("RESET threads")
    # A group of no times has none.
    assert market.execute("SELECT series(value, ts), series_times(ts) FROM points WHERE ts IS NULL").fetchall() == [(None, None)]


def test_series_in_a_window(market):
    different = market.execute(
        """
        SELECT count(*), count(*) FILTER (WHERE actual != expected)
        FROM (
            SELECT
                series(close, ts) OVER latest AS actual,
                list(close) OVER latest AS expected
            FROM shuffled
            WHERE symbol < 'DEMO0004'
            WINDOW latest AS (PARTITION BY symbol ORDER BY ts ROWS BETWEEN 5 PRECEDING AND 2 FOLLOWING)
        )
        """
    ).fetchall()
    assert different[0][0] > 4000 and different[0][1] == 0


def test_series_of_other_types(market):
    """Numbers become DOUBLE; a time in other units, or a DATE, is a time."""
    for kind in ("TINYINT", "HUGEINT", "DECIMAL(9, 2)", "FLOAT", "UBIGINT"):
        assert market.execute(
            f"SELECT series(value::{kind}, ts) FROM (VALUES (2, DATE '2025-01-02'), (1, '2025-01-01')) AS row (value, ts)"
        ).fetchall() == [([1, 2],)]
    for kind in ("TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "DATE"):
        assert market.execute(
            f"SELECT series(value, ts::{kind}) FROM (VALUES (2, DATE '2025-01-02'), (1, '2025-01-01')) AS row (value, ts)"
        ).fetchall() == [([1, 2],)]


# bar_indicators


def expected_frame(bars: pandas.DataFrame) -> pandas.DataFrame:
    """TA-Lib over the bars of one symbol in order."""
    series = {name: bars[name].to_numpy(float) for name in ("open", "high", "low", "close", "volume")}
    upper, middle, lower = talib.BBANDS(series["close"], 20, 2, 2)
    macd, signal, histogram = talib.MACD(series["close"], 5, 35, 5)
    return bars[["symbol", "ts"]].assign(
        close=series["close"],
        rsi=talib.RSI(series["close"], 14),
        upper_band=upper,
        middle_band=middle,
        lower_band=lower,
        atr=talib.ATR(series["high"], series["low"], series["close"], 14),
        macd=macd,
        macd_signal=signal,
        macd_hist=histogram,
        doji=talib.CDLDOJI(series["open"], series["high"], series["low"], series["close"]).astype(float),
        mfi=talib.MFI(series["high"], series["low"], series["close"], series["volume"], 14),
    )


INDICATORS = """{
    close: close, rsi: ti_rsi(close), bands: ti_bbands(close, 20), atr: ti_atr(high, low, close), macd: ti_macd(close, 5, 35, 5),
    doji: ti_cdldoji(open, high, low, close)::DOUBLE[], mfi: ti_mfi(high, low, close, volume)
}"""


@pytest.fixture(scope="module")
def expected(market):
    bars = market.execute("FROM bars ORDER BY symbol, ts").df()
    frame = pandas.concat([expected_frame(group) for _, group in bars.groupby("symbol")], ignore_index=True)
    # It has no NULL: a pattern is 0 while it warms up, ten bars long.
    frame.loc[frame.groupby("symbol").cumcount() < 10, "doji"] = np.nan
    return frame


def assert_same(actual: pandas.DataFrame, expected: pandas.DataFrame):
    actual = actual.sort_values(["symbol", "ts"], ignore_index=True)
    assert list(actual.columns) == list(expected.columns)
    pandas.testing.assert_frame_equal(actual, expected, check_dtype=False, rtol=1e-9, atol=1e-9)


def test_each_symbol_has_what_talib_says_of_it(market, expected):
    assert len(expected) > 20_000 and expected["rsi"].isna().sum() == 11 * 14
    for source in ("bars", "shuffled"):
        assert_same(market.execute(f"FROM bar_indicators({INDICATORS}, source := '{source}')").df(), expected)


def test_any_number_of_threads_gives_the_same(market, expected):
    for threads in (1, 5):
        market.execute(f"SET threads = {threads}")
        assert_same(market.execute(f"FROM bar_indicators({INDICATORS}, source := 'shuffled')").df(), expected)
    market.execute("RESET threads")


def test_it_is_joined_and_filtered_like_a_table(market, expected):
    rows = market.execute(
        """
        SELECT bar.symbol, bar.ts, bar.volume, indicator.rsi
        FROM bars AS bar
        JOIN bar_indicators({rsi: ti_rsi(close)}) AS indicator USING (symbol, ts)
        WHERE bar.symbol = 'DEMO0003' AND indicator.rsi < 30
        ORDER BY bar.ts
        """
    ).fetchall()
    # A filter on the result does not shorten the series.
    want = expected[(expected["symbol"] == "DEMO0003") & (expected["rsi"] < 30)]
    assert len(rows) > 10 and [row[1] for row in rows] == [time.to_pydatetime() for time in want["ts"]]
    some = market.execute(f"FROM bar_indicators({INDICATORS}, symbols := ['DEMO0002', 'DEMO0005', 'NONE'])").df()
    assert_same(some, expected[expected["symbol"].isin(["DEMO0002", "DEMO0005"])].reset_index(drop=True))
    (name,) = market.execute("SELECT symbol FROM bar_indicators({x: close}, symbols := ?) LIMIT 1", [["DEMO0002"]]).fetchall()[0]
    assert name == "DEMO0002"


def test_sources_of_all_kinds(market, expected, tmp_path):
    market.execute(f"COPY (FROM shuffled) TO '{tmp_path}/bars.parquet'")
    frame = market.execute("FROM shuffled").df()
    assert len(frame) == len(expected)
    market.execute("CREATE OR REPLACE VIEW seen AS FROM shuffled")
    market.execute("CREATE OR REPLACE TEMP VIEW texts AS SELECT symbol, ts, COLUMNS('open|high|low|close|volume')::VARCHAR FROM shuffled")
    for source in (f"'{tmp_path}/bars.parquet'", "'frame'", "'seen'", "seen", "'texts'", "['seen']"):
        assert_same(market.execute(f"FROM bar_indicators({INDICATORS}, source := {source})").df(), expected)
    with_query = f"WITH mine AS (FROM shuffled) FROM bar_indicators({INDICATORS}, source := 'mine')"
    assert_same(market.execute(with_query).df(), expected)
    # Names that its own steps might have.
    for name in ("series", "results", "bar", "stockscan"):
        assert_same(market.execute(f"WITH {name} AS (FROM shuffled) FROM bar_indicators({INDICATORS}, source := '{name}')").df(), expected)
    halves = "WITH a AS (FROM shuffled WHERE ts < '2025-01-10'), b AS (FROM shuffled WHERE ts >= '2025-01-10')"
    assert_same(market.execute(f"{halves} FROM bar_indicators({INDICATORS}, source := ['a', 'b'])").df(), expected)


def test_bound_options(market):
    statement = "SELECT ts, x FROM bar_indicators({x: ti_sma(close, $period)}, symbols := ['DEMO0003']) ORDER BY ts"
    for period in (2, 5):
        assert [row[1] for row in market.execute(statement, {"period": period}).fetchall()].count(None) == period - 1
    with pytest.raises(duckdb.Error, match="ti_sma: time_period must be a whole number between 1 and 100000, got 0"):
        market.execute(statement, {"period": 0}).fetchall()


def test_daily_bars_with_a_date(market):
    market.execute(
        """
        CREATE OR REPLACE VIEW daily AS
        SELECT symbol, ts::DATE AS ts, arg_min(open, ts) AS open, max(high) AS high, min(low) AS low, arg_max(close, ts) AS close, sum(volume) AS volume
        FROM bars AS bar
        GROUP BY symbol, bar.ts::DATE
        """
    )
    rows = market.execute(
        "SELECT ts, average FROM bar_indicators({average: ti_sma(close, 6)}, source := 'daily') WHERE symbol = 'DEMO0003' ORDER BY ts"
    ).fetchall()
    assert len(rows) == 6 and all(isinstance(ts, dt.datetime) and ts.time() == dt.time() for ts, _ in rows)
    mean = market.execute("SELECT avg(close) FROM daily WHERE symbol = 'DEMO0003'").fetchall()[0][0]
    assert [average for _, average in rows[:5]] == [None] * 5 and rows[5][1] == pytest.approx(mean)


def test_setups_of_conditions(market, expected):
    """RSI rose above 30 within the last five bars, and the third close in a row is above the average: as in the documentation."""
    rows = market.execute(
        """
        SELECT symbol, ts
        FROM bar_indicators({
            reclaimed: within_last(crossed_above(ti_rsi(close), 30), 5),
            strong: in_a_row(above(close, ti_sma(close, 20)), 3)
        })
        WHERE reclaimed AND strong
        ORDER BY symbol, ts
        """
    ).fetchall()
    want = []
    for symbol, bars in expected.groupby("symbol"):
        rsi, close, average = (bars[name].to_numpy() for name in ("rsi", "close", "middle_band"))
        crossed = np.r_[False, (rsi[1:] > 30) & (rsi[:-1] <= 30)]
        over = close > average
        for place in range(len(bars)):
            if crossed[max(place - 4, 0) : place + 1].any() and place >= 2 and over[place - 2 : place + 1].all():
                want.append((symbol, bars["ts"].iloc[place].to_pydatetime()))
    assert len(want) > 5 and rows == want
