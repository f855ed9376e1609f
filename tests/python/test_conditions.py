"""Conditions over series against their definitions, written out bar by bar. Tables made by hand are in tests/sql/conditions.test."""

import math
import random

import pytest

VALUES = [None, math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, 1.5, 2.0]


def known(value):
    return value is not None and not math.isnan(value)


def above(series, level):
    return [value > limit if known(value) and known(limit) else None for value, limit in zip(series, level)]


def below(series, level):
    return [value < limit if known(value) and known(limit) else None for value, limit in zip(series, level)]


def crossed_above(series, level):
    now = above(series, level)
    return [None if None in (before, after) else after and not before for before, after in zip([None, *now], now)]


def crossed_below(series, level):
    now = below(series, level)
    return [None if None in (before, after) else after and not before for before, after in zip([None, *now], now)]


def within_last(condition, bars):
    """OR, as SQL has it, over this bar and those before it; bars before the start are not known."""
    padded = [None] * (bars - 1) + condition
    windows = [padded[place : place + bars] for place in range(len(condition))]
    return [True if True in window else None if None in window else False for window in windows]


def in_a_row(condition, bars):
    """AND, likewise."""
    padded = [None] * (bars - 1) + condition
    windows = [padded[place : place + bars] for place in range(len(condition))]
    return [False if False in window else None if None in window else True for window in windows]


@pytest.fixture(scope="module")
def cases():
    generator = random.Random(1)
    lengths = [0, 1, 2, *(generator.randint(3, 40) for _ in range(1200))]
    return [([generator.choice(VALUES) for _ in range(length)], [generator.choice(VALUES) for _ in range(length)]) for length in lengths]


@pytest.mark.parametrize("function", [above, below, crossed_above, crossed_below], ids=lambda function: function.__name__)
def test_comparisons(database, cases, function):
    database.execute("CREATE TABLE cases (id INTEGER, series DOUBLE[], other DOUBLE[], level DOUBLE)")
    levels = [VALUES[number % len(VALUES)] for number in range(len(cases))]
    rows = [(number, series, other, level) for number, ((series, other), level) in enumerate(zip(cases, levels))]
    database.executemany("INSERT INTO cases VALUES (?, ?, ?, ?)", rows)
    name = function.__name__
    query = f"SELECT {name}(series, other), {name}(series, level) FROM cases ORDER BY id"
    # A level of NULL has no conditions, one of NaN unknown ones.
    expected = [(function(a, b), None if level is None else function(a, [level] * len(a))) for (a, b), level in zip(cases, levels)]
    assert database.execute(query).fetchall() == expected
    # In another order, of some rows, and over one constant series.
    shuffled = f"SELECT id, {name}(series, other), {name}(series, level) FROM cases WHERE id % 3 = 1 ORDER BY hash(id)"
    assert {row[0]: row[1:] for row in database.execute(shuffled).fetchall()} == {
        number: row for number, row in enumerate(expected) if number % 3 == 1
    }
    constant = f"SELECT {name}([1, 2, 1, NULL, 3], level) FROM cases ORDER BY id"
    assert database.execute(constant).fetchall() == [
        (None if level is None else function([1, 2, 1, None, 3], [level] * 5),) for level in levels
    ]


@pytest.mark.parametrize("function", [within_last, in_a_row], ids=lambda function: function.__name__)
def test_runs(database, function):
    generator = random.Random(2)
    cases = [
        ([generator.choice([True, False, None]) for _ in range(generator.randint(0, 30))], generator.choice([1, 2, 3, 7, 31]))
        for _ in range(1200)
    ]
    database.execute("CREATE TABLE cases (id INTEGER, condition BOOLEAN[], bars BIGINT)")
    database.executemany("INSERT INTO cases VALUES (?, ?, ?)", [(number, *case) for number, case in enumerate(cases)])
    name = function.__name__
    expected = [(function(condition, bars), function(condition, 3)) for condition, bars in cases]
    assert database.execute(f"SELECT {name}(condition, bars), {name}(condition, 3) FROM cases ORDER BY id").fetchall() == expected
    # Mostly of one value, as conditions are, so that runs are long.
    for rare in (True, False, None):
        series = [rare if generator.random() < 0.05 else (rare is False) for _ in range(2000)]
        for bars in (5, 100):
            assert database.execute(f"SELECT {name}(?::BOOLEAN[], ?)", [series, bars]).fetchall() == [(function(series, bars),)]


def test_a_crossing_is_a_change_of_sides(database):
    """A sine of 87.2 periods starts at 0, below the level, and ends above it: one crossing above more than below."""
    rows = database.execute(
        """
        WITH walk AS (SELECT list(sin(step.range / 7.3) ORDER BY step.range) AS series FROM range(4000) AS step),
        crossings AS (SELECT unnest(crossed_above(series, 0.1)) AS up, unnest(crossed_below(series, 0.1)) AS down FROM walk)
        SELECT count(*) FILTER (WHERE up), count(*) FILTER (WHERE down), count(*) FILTER (WHERE up AND down) FROM crossings
        """
    ).fetchall()
    assert rows == [(88, 87, 0)]
