"""adjusted_bars against a loop over bars and actions, and what it is for: a split that is adjusted for is as if it had never been."""

import random

import pytest

from test_properties import fetch


def bars_of(connection, source):
    return connection.execute(f"SELECT symbol, ts, open, high, low, close, volume FROM {source} ORDER BY symbol, ts").fetchall()


@pytest.fixture(scope="module")
def thin(demo):
    """A bar in 60 of the demo market, so that loops are quick."""
    demo.execute("CREATE OR REPLACE TEMP TABLE thin AS FROM bars WHERE minute(ts) = 15 AND symbol <= 'DEMO0030'")
    return bars_of(demo, "thin")


def test_agrees_with_the_definition(demo, thin):
    chance = random.Random(5)
    symbols, days = sorted({bar[0] for bar in thin}), sorted({bar[1].date() for bar in thin})
    adjusted_bars = 0
    for _ in range(6):
        keys = {(chance.choice(symbols[:20]), chance.choice(days)) for _ in range(40)}
        actions = [(symbol, day, chance.choice([2, 3, 1.5, 0.1, 7, 1])) for symbol, day in keys]
        of_symbol = {symbol: [(ex_date, ratio) for other, ex_date, ratio in actions if other == symbol] for symbol, _, _ in actions}
        as_of = chance.choice(days)
        demo.execute("CREATE OR REPLACE TEMP TABLE actions (symbol VARCHAR, ex_date DATE, ratio DOUBLE)")
        demo.executemany("INSERT INTO actions VALUES (?, ?, ?)", actions)
        actual = bars_of(demo, f"adjusted_bars('actions', '{as_of}', source := 'thin')")
        assert len(actual) == len(thin)
        for got, (symbol, ts, *prices, volume) in zip(actual, thin):
            factor = 1.0
            for ex_date, ratio in of_symbol.get(symbol, []):
                if ts.date() < ex_date <= as_of:
                    factor *= ratio
            # Python rounds half to even as well; ratios like 0.1 may put the product on either side of a half.
            assert abs(got[6] - volume * factor) <= 0.5 + 1e-9 * volume * factor, (got, factor)
            assert got[:2] == (symbol, ts) and got[2:6] == pytest.approx([price / factor for price in prices], rel=1e-12)
            adjusted_bars += factor != 1
    assert adjusted_bars > 5000


# Powers of two, which floating point divides by exactly: each symbol has one or two of these splits.
SPLITS = """
    SELECT symbol, ex_date, ratio
    FROM (SELECT DISTINCT symbol FROM bars) AS stock
    JOIN (VALUES (0, DATE '2024-12-30', 2.0), (1, DATE '2025-01-08', 4.0), (1, DATE '2024-12-16', 0.5), (2, DATE '2025-01-15', 2.0)) AS split (kind, ex_date, ratio)
        ON hash(symbol) % 4 = kind
"""


def test_a_split_that_is_adjusted_for_is_as_if_it_had_never_been(demo):
    demo.execute(f"CREATE OR REPLACE TEMP TABLE splits AS {SPLITS}")
    # What an exchange would have quoted: after a split each price is lower, and shares are more.
    factor = "coalesce((SELECT product(ratio) FROM splits WHERE splits.symbol = bars.symbol AND ex_date <= ts::DATE), 1)"
    total = "coalesce((SELECT product(ratio) FROM splits WHERE splits.symbol = bars.symbol), 1)"
    # Volumes are even, so that half of them is a whole number of shares.
    demo.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE quoted AS
        SELECT symbol, ts, open / {factor} AS open, high / {factor} AS high, low / {factor} AS low, close / {factor} AS close, 2 * volume * {factor} AS volume
        FROM bars WHERE ts >= '2024-12-01'
        """
    )
    demo.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE never AS
        SELECT symbol, ts, open / {total} AS open, high / {total} AS high, low / {total} AS low, close / {total} AS close, 2 * volume * {total} AS volume
        FROM bars WHERE ts >= '2024-12-01'
        """
    )
    adjusted = "adjusted_bars('splits', '2025-01-15', source := 'quoted')"
    assert demo.execute(f"FROM {adjusted} EXCEPT ALL FROM never").fetchall() == demo.execute(f"FROM never EXCEPT ALL FROM {adjusted}").fetchall() == []
    wide = "max_results_per_day := 1000, min_price := 0, max_price := 1000000, min_volume := 0, min_probability_score := 0"
    wide += ", consolidation_period := 4, resistance_break_pct := 0, breakout_volume_ratio := 0"

    def breakouts(source):
        return fetch(demo, f"{source} FROM scan_breakout('2025-01-09', end_date := '2025-01-15', source := 'found', {wide})")

    expected = breakouts("WITH found AS (FROM never)")
    assert len(expected) > 15
    assert breakouts("WITH found AS (FROM adjusted_bars('splits', '2025-01-15', source := 'quoted'))") == expected
    assert breakouts("WITH found AS (FROM quoted)") != expected


def test_a_split_to_come_changes_nothing(demo):
    demo.execute(f"CREATE OR REPLACE TEMP TABLE splits AS {SPLITS}")
    demo.execute("CREATE OR REPLACE TEMP TABLE known AS FROM splits WHERE ex_date <= '2025-01-08'")
    for as_of in ("2025-01-08", "2025-01-14"):
        assert demo.execute(f"SELECT count(*) FROM adjusted_bars('splits', '{as_of}')").fetchall() == demo.execute("SELECT count(*) FROM bars").fetchall()
        both = f"FROM adjusted_bars('splits', '{as_of}') EXCEPT ALL FROM adjusted_bars('known', '{as_of}')"
        assert demo.execute(both).fetchall() == []
