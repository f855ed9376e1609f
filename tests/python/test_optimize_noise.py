"""What optimisation says of a market in which there is nothing to find, and of the same with something in it."""

import numpy as np
import pandas as pd
import pytest

from conftest import connect

SYMBOLS, SESSIONS, SEEDS = 30, 120, range(20)
START, END = "2024-01-01", "2024-04-29"

# Picks at random: a, b and the score are dice, thrown for each symbol and session. Thresholds only choose among the picks.
SCANNER = """
    CREATE MACRO scan_dice(scan_date, cutoff_time := '09:50', end_date := NULL, source := 'bars', min_a := 0, min_b := 0) AS TABLE
    WITH thrown AS (
        SELECT
            session.session_date, session.symbol, session.price, session.volume,
            hash(session.symbol, session.session_date, 'a') % 100 AS a,
            hash(session.symbol, session.session_date, 'b') % 100 AS b,
            hash(session.symbol, session.session_date, 'score') % 100 AS score
        FROM sessions_as_of(
            scan_date, cutoff_time := cutoff_time, end_date := end_date, history_sessions := 1, source := source, called_by := 'scan_dice'
        ) AS session
        WHERE session.session_date >= CAST(scan_date AS DATE) AND session.bars > 0
    ),
    picked AS (
        SELECT thrown.*, row_number() OVER (PARTITION BY thrown.session_date ORDER BY thrown.score DESC, thrown.symbol) AS rank
        FROM thrown
        WHERE thrown.a >= min_a AND thrown.b >= min_b
    )
    SELECT
        picked.session_date AS scan_date, picked.symbol, picked.price, picked.volume, picked.score AS probability_score, picked.rank
    FROM picked
    WHERE picked.rank <= 3
"""
GRID = "{min_a: range(0, 100, 10), min_b: range(0, 100, 10)}"


def market(seed: int) -> pd.DataFrame:
    """Random walks of three bars a session, the last one 2 % away from the others. Session 0 is there to be the one before."""
    generator = np.random.default_rng(seed)
    nights = generator.normal(0, 0.01, (SYMBOLS, SESSIONS + 1))
    days = generator.normal(0, 0.02, (SYMBOLS, SESSIONS + 1))
    opens = 100 * np.exp(np.cumsum(nights + np.pad(days, ((0, 0), (1, 0)))[:, :-1], axis=1))
    rows = []
    for clock, prices in (("09:45", opens), ("09:50", opens), ("15:14", opens * np.exp(days))):
        dates = pd.date_range("2023-12-31", periods=SESSIONS + 1) + pd.Timedelta(clock + ":00")
        frame = pd.DataFrame(prices.T, index=dates, columns=[f"S{number:02d}" for number in range(SYMBOLS)])
        rows.append(frame.rename_axis("ts").melt(var_name="symbol", value_name="close", ignore_index=False).reset_index())
    bars = pd.concat(rows)
    return bars.assign(open=bars.close, high=bars.close, low=bars.close, volume=10_000)


def report(connection, bars: pd.DataFrame, effect="close") -> dict:
    """What grid_report() says of the dice, where a session's last close is what an expression makes of it, and the best Sharpe ratio."""
    connection.register("made", bars)
    connection.execute(
        f"""
        CREATE OR REPLACE TABLE bars AS
        SELECT * REPLACE (CASE WHEN ts::TIME > '12:00' THEN {effect} ELSE close END AS close)
        FROM (SELECT *, hash(symbol, ts::DATE, 'a') % 100 AS a FROM made)
        """
    )
    connection.execute("UPDATE bars SET open = close, high = close, low = close")
    connection.execute(f"CREATE OR REPLACE TABLE trades AS FROM grid_trades('dice', '{START}', '{END}', {GRID}, definition := $1)", [SCANNER])
    (answer,) = connection.execute(f"FROM grid_report('trades', '{START}', '{END}')").df().to_dict("records")
    return answer


@pytest.fixture(scope="module")
def database_with_dice():
    with connect() as connection:
        connection.execute(SCANNER)
        yield connection


@pytest.fixture(scope="module")
def noise(database_with_dice):
    return [report(database_with_dice, market(seed)) for seed in SEEDS]


def test_noise_looks_good(noise):
    """The best of a hundred combinations has a Sharpe ratio that people would show around, though each of them is worth nothing."""
    assert all(answer["combinations"] == 100 and answer["sessions"] == SESSIONS and answer["trades"] > 50 for answer in noise)
    assert sum(answer["sharpe"] > 1 for answer in noise) >= 16
    assert np.median([answer["sharpe"] for answer in noise]) > 1.5


def test_noise_is_no_evidence(noise):
    """By the probabilistic Sharpe ratio alone, that of one trial, more than one in ten would pass; deflated, at most one of twenty."""
    deflated = [answer["deflated_sharpe_ratio"] for answer in noise]
    assert sum(value < 0.95 for value in deflated) >= 19, deflated
    assert all(answer["verdict"] == "no evidence" for answer, value in zip(noise, deflated) if value < 0.95)
    assert sum(answer["verdict"] == "evidence" for answer in noise) == 0
    # What it would be without knowing of the other combinations.
    assert sum(answer["sharpe"] / np.sqrt(252) * np.sqrt(SESSIONS - 1) > 1.645 for answer in noise) >= 4


def test_what_noise_gains_is_lost_out_of_sample(noise):
    """In sample nearly all have won, out of sample half of them."""
    assert sum(answer["objective"] > 0 for answer in noise) == len(noise)
    assert 4 <= sum(answer["out_of_sample_total_return_pct"] > 0 for answer in noise) <= 16
    assert 0.3 < np.mean([answer["probability_of_backtest_overfitting"] for answer in noise]) < 0.7


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_is_there_is_found(database_with_dice, seed):
    """Sessions whose a is 60 or more gain 1 % on top: the best combination asks for such, and is evidence. Lost instead of gained it is none."""
    found = report(database_with_dice, market(seed), "close * CASE WHEN a >= 60 THEN 1.01 ELSE 1 END")
    assert found["verdict"] == "evidence", found
    assert found["parameters"]["min_a"] >= 60
    assert found["deflated_sharpe_ratio"] > 0.99 and found["out_of_sample_total_return_pct"] > 20
    lost = report(database_with_dice, market(seed), "close * CASE WHEN a >= 60 THEN 0.99 ELSE 1 END")
    assert lost["verdict"] == "no evidence"


def test_the_breakouts_of_the_demo_market_are_found():
    with connect() as connection:
        connection.execute("CREATE TABLE bars AS FROM demo_bars()")
        grid = "{breakout_volume_ratio: [0.5, 1, 1.5, 2], resistance_break_pct: [0, 0.3, 0.6]}"
        connection.execute(f"CREATE TABLE trades AS FROM grid_trades('breakout', '2024-10-21', '2025-01-15', {grid}, cost_bps := 3)")
        query = "SELECT verdict, deflated_sharpe_ratio, out_of_sample_trades FROM grid_report('trades', '2024-10-21', '2025-01-15')"
        verdict, deflated, trades = connection.execute(query).fetchone()
        assert verdict == "evidence" and deflated > 0.99 and trades >= 50
