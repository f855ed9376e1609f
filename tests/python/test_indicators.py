"""What holds for every ti_ function. They are read from the catalogue, never from a list of names, and compared with an independent
implementation: PyPI's TA-Lib, which wraps TA-Lib's C library. ("TA-Lib" below is that one.)"""

import re
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import talib
from talib import abstract

from conftest import connect

BARS = 400
INPUTS = ["open", "high", "low", "close", "volume", "series", "series0", "series1", "periods"]

OPTION = re.compile(
    r"^@param (\w+) := (\S+) (INTEGER|DOUBLE|VARCHAR)(?:, (\S+) to (\S+)|, (\S+) or more| one of ([^:]+))?: .+\.$", re.MULTILINE
)


@dataclass
class Option:
    """An option as the catalogue documents it."""

    name: str
    default: int | float | str
    low: float | None
    high: float | None
    choices: list[str]

    @classmethod
    def read(cls, name, default, kind, low, high, more, choices):
        number = {"INTEGER": int, "DOUBLE": float, "VARCHAR": lambda text: text.strip("'")}[kind]
        least = low or more
        return cls(
            name, number(default), number(least) if least else None, number(high) if high else None, choices.split(", ") if choices else []
        )

    def random(self, rng):
        """Mostly small, so that the series is longer than the warm-up; the longer ones are tested too."""
        if self.choices:
            return str(rng.choice(self.choices))
        if isinstance(self.default, int):
            return int(min(self.high, self.low + rng.exponential(12)))
        reach = 3 * max(abs(self.default), 1)
        low = -reach if self.low is None else self.low
        return round(float(rng.uniform(low, low + 2 * reach if self.high is None else self.high)), 3)


@dataclass
class Indicator:
    """One function as the catalogue has it."""

    name: str
    inputs: list[str]
    options: list[Option]
    outputs: list[str]
    return_type: str
    description: str

    @property
    def upper(self) -> str:
        """TA-Lib's name."""
        return self.name.removeprefix("ti_").upper()

    @property
    def defaults(self) -> list:
        return [option.default for option in self.options]

    @property
    def is_in_talib(self) -> bool:
        return self.upper in talib.get_functions()

    @property
    def places(self) -> list[bool]:
        """Which outputs are places in the series."""
        if not self.outputs:
            return ["Places are counted from 0" in self.description]
        return [f"@column {output} place of a bar" in self.description for output in self.outputs]

    def call(self, values=None, inputs=None, suffix="") -> str:
        values = self.defaults if values is None else values
        arguments = list(self.inputs if inputs is None else inputs)
        arguments += [f"'{value}'" if isinstance(value, str) else repr(value) for value in values]
        return f"{self.name}{suffix}({', '.join(arguments)})"

    def fields(self, call: str) -> list[str]:
        """An expression for each output of a call."""
        return [f"({call}).{output}" for output in self.outputs] or [call]

    def random_options(self, connection, count: int) -> list[list]:
        """Different ones; without those that TA-Lib refuses together."""
        rng = np.random.default_rng(len(self.name) * 1000 + ord(self.name[-1]))
        found = []
        for _ in range(count if self.options else 0):
            values = [option.random(rng) for option in self.options]
            try:
                connection.execute(f"SELECT {self.call(values, ['[]'] * len(self.inputs))}").fetchall()
            except duckdb.Error as error:
                assert "TA-Lib refuses these options together" in str(error), error
                continue
            found.append(values)
        return found


def ohlcv(seed: int, count: int = BARS) -> dict[str, np.ndarray]:
    """A market: of any prices, of prices on a coarse grid with ties and candles of no height, and one around zero for plain series."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, count)))
    open_ = np.r_[close[0], close[:-1]] * np.exp(rng.normal(0, 0.004, count))
    high = np.maximum(open_, close) * (1 + abs(rng.normal(0, 0.004, count)))
    low = np.minimum(open_, close) * (1 - abs(rng.normal(0, 0.004, count)))
    tick = [0, 0.05, 1][seed % 3]
    open_, high, low, close = (np.round(prices / tick) * tick if tick else prices for prices in (open_, high, low, close))
    volume = np.floor(rng.uniform(0, 100_000, count)) * (rng.uniform(size=count) > 0.05)
    series = np.round(np.sin(np.arange(count) / 9) * rng.uniform(0, 1, count), 2) if seed == 2 else close
    other = rng.integers(-3, 4, count).astype(float) if seed == 2 else open_
    prices = dict(open=open_, high=high, low=low, close=close, volume=volume)
    return prices | dict(series=series, series0=series, series1=other, periods=np.floor(rng.uniform(0, 40, count)))


MARKETS = [ohlcv(seed) for seed in range(4)]


def with_gaps(market: dict, seed: int) -> dict[str, list]:
    """Each series for itself has gaps of each kind, some of them next to each other."""
    rng = np.random.default_rng(seed)
    gaps = [None, float("nan"), float("inf"), float("-inf")]
    return {
        name: [rng.choice(gaps) if gap else value for value, gap in zip(series, rng.uniform(size=len(series)) < 0.08)]
        for name, series in market.items()
    }


def is_finite(value) -> bool:
    return value is not None and bool(np.isfinite(value))


def head(market: dict, count: int) -> dict:
    return {name: series[:count] for name, series in market.items()}


def table(markets: list[dict]) -> pa.Table:
    """One row a market, its series as lists; NaN stays NaN, None becomes NULL."""
    read = lambda series: None if series is None else list(series)
    lists = {name: pa.array([read(market[name]) for market in markets], pa.list_(pa.float64())) for name in markets[0]}
    return pa.table({"id": list(range(len(markets)))} | lists)


def arrays(connection, indicator: Indicator, source: str, values=None) -> list[list[np.ndarray]]:
    """By row and output: the values, NaN for NULL. None of them is NaN or infinite itself."""
    fields = ", ".join(f"{field} AS c{index}" for index, field in enumerate(indicator.fields(indicator.call(values))))
    answer = connection.sql(f"SELECT {fields} FROM {source} ORDER BY id").to_arrow_table()
    columns = []
    for column in answer.itercolumns():
        column = column.combine_chunks()
        numbers = column.flatten().to_numpy(zero_copy_only=False).astype(float)
        assert np.isinf(numbers).sum() == 0 and np.isnan(numbers).sum() == column.flatten().null_count, indicator.name
        columns.append(np.split(numbers, np.cumsum(column.value_lengths().to_numpy())[:-1]))
    return [list(row) for row in zip(*columns)]


def talib_arrays(indicator: Indicator, market: dict, values: list) -> list[np.ndarray] | None:
    """What TA-Lib says, NaN where there is no finite value; None if it refuses the options."""
    function = abstract.Function(indicator.upper)
    numbers = [getattr(talib.MA_Type, value) if isinstance(value, str) else value for value in values]
    series = [np.array(market[name], float) for name in indicator.inputs]
    try:
        outputs = getattr(talib, indicator.upper)(*series, *numbers)
        function.parameters = dict(zip(list(function.parameters), numbers))
        warm_up = function.lookback
    except Exception:
        return None
    outputs = [np.array(output, float) for output in (outputs if isinstance(outputs, tuple) else (outputs,))]
    for output in outputs:
        # It gives whole numbers 0 during the warm-up.
        output[:warm_up] = np.nan
        output[~np.isfinite(output)] = np.nan
    return outputs


@pytest.fixture(scope="module")
def database():
    with connect() as connection:
        markets = table(MARKETS)
        connection.execute("CREATE TABLE market AS FROM markets")
        yield connection


@pytest.fixture(scope="module")
def indicators(database) -> list[Indicator]:
    rows = database.execute(
        """
        SELECT function_name, parameters, parameter_types, return_type, description
        FROM duckdb_functions()
        WHERE list_contains(categories, 'indicators') AND function_name LIKE 'ti\\_%' ESCAPE '\\' AND NOT ends_with(function_name, '_last')
        ORDER BY function_name
        """
    ).fetchall()
    found = []
    for name, parameters, types, return_type, description in rows:
        options = [Option.read(*groups) for groups in OPTION.findall(description)]
        inputs = [parameter for parameter, kind in zip(parameters, types) if kind == "DOUBLE[]"]
        assert inputs + [option.name for option in options] == parameters, f"{name}: its documentation does not fit its signature"
        assert set(inputs) <= set(INPUTS), f"{name}: an input that these tests don't know"
        outputs = re.findall(r'"?(\w+)"? (?:DOUBLE|INTEGER)\[\]', return_type) if return_type.startswith("STRUCT") else []
        found.append(Indicator(name, inputs, options, outputs, return_type, description))
    assert len(found) >= 237
    return found


def shapes(indicators: list[Indicator]) -> list[Indicator]:
    """One function of each kind of signature, for what does not depend on the formula."""
    first = {}
    for indicator in indicators:
        numbers = tuple(re.findall("DOUBLE|INTEGER", indicator.return_type))
        first.setdefault((len(indicator.inputs), numbers, len(indicator.options) > 0), indicator)
    return list(first.values())


# Values


def assert_close(actual: np.ndarray, expected: np.ndarray, what):
    """Equal to nine digits. Not to all: the two versions of TA-Lib (0.8.3 here, the C library's 0.8.1 there) add up in another order in
    some functions. Where a value is next to nothing beside others of its series, as a crossing of zero, it has their error."""
    assert np.array_equal(np.isnan(actual), np.isnan(expected)), f"{what}: NULL at other places"
    scale = np.nanmax(np.abs(expected), initial=0)
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-11 * scale, err_msg=str(what))


def test_every_function_that_talib_has_gives_its_values(database, indicators):
    compared = set()
    for indicator in indicators:
        if not indicator.is_in_talib:
            continue
        names = [name.replace("_", "") for name in abstract.Function(indicator.upper).parameters]
        assert [option.name.replace("_", "") for option in indicator.options] == names, indicator.name
        # Averages that came after 0.8.1.
        known = [
            values
            for values in indicator.random_options(database, 8)
            if all(hasattr(talib.MA_Type, v) for v in values if isinstance(v, str))
        ]
        for values in [indicator.defaults] + known:
            for market, actual in zip(MARKETS, arrays(database, indicator, "market", values)):
                expected = talib_arrays(indicator, market, values)
                assert expected is not None and len(actual) == len(expected), (indicator.name, values)
                for is_place, got, want in zip(indicator.places, actual, expected):
                    if is_place:
                        # 0.8.1 names either of two equal values, later versions the newer one. The next test is about that.
                        assert np.array_equal(np.isnan(got), np.isnan(want)), indicator.name
                        rows = ~np.isnan(got)
                        value = next(market[name] for name in indicator.inputs)
                        assert np.array_equal(value[got[rows].astype(int)], value[want[rows].astype(int)]), (indicator.name, values)
                    else:
                        assert_close(got, want, (indicator.name, values))
                    if not np.isnan(got).all():
                        compared.add(indicator.name)
    assert len(compared) >= 201


def test_talib_refuses_the_options_that_are_refused_here(database, indicators):
    """Options that are in range one by one, and make no sense together."""
    refused = 0
    for indicator in indicators:
        if not indicator.is_in_talib:
            continue
        rng = np.random.default_rng(3)
        for _ in range(6 if len(indicator.options) > 1 else 0):
            values = [option.random(rng) for option in indicator.options]
            if any(isinstance(value, str) and not hasattr(talib.MA_Type, value) for value in values):
                continue
            if talib_arrays(indicator, MARKETS[0], values) is None:
                refused += 1
                with pytest.raises(duckdb.Error, match=f"{indicator.name}: TA-Lib refuses these options together"):
                    arrays(database, indicator, "market", values)
            else:
                arrays(database, indicator, "market", values)
    assert refused > 0


def test_of_equal_values_the_newer_is_named(database, indicators):
    for indicator in indicators:
        if indicator.options and all(indicator.places):
            for market, actual in zip(MARKETS, arrays(database, indicator, "market", [7])):
                series = next(market[name] for name in indicator.inputs)
                for places in actual:
                    windows = [(place, series[place - 6 : place + 1]) for place in range(6, BARS)]
                    newest = lambda best: [place - list(window[::-1]).index(best(window)) for place, window in windows]
                    assert list(places[6:]) in (newest(min), newest(max)), indicator.name


def test_documented_defaults_are_those_of_the_signature(database, indicators):
    for indicator in indicators:
        for suffix in ("", "_last"):
            written_out, short = indicator.call(suffix=suffix), indicator.call([], suffix=suffix)
            different = database.execute(f"SELECT id FROM market WHERE {written_out} IS DISTINCT FROM {short}").fetchall()
            assert different == [], indicator.name


# The last value, and no look-ahead


@pytest.fixture(scope="module")
def gapped():
    return [head(with_gaps(market, seed), 200) for seed, market in enumerate(MARKETS)]


def test_last_is_the_end_of_the_series(database, indicators, gapped):
    cases = [head(market, count) for market in [*MARKETS, *gapped] for count in [*range(6), *range(6, 80, 9), 200]]
    nothing = dict.fromkeys(INPUTS)
    for ending in (None, float("nan"), float("inf")):
        cases += [{name: [*series[:90], ending] for name, series in market.items()} for market in MARKETS]
        cases.append({name: [ending] * 50 for name in INPUTS})
        # In one of the series only.
        cases += [head(MARKETS[0], 90) | {name: [*MARKETS[0][name][:89], ending]} for name in INPUTS]
    cases += [nothing, *(head(MARKETS[0], 90) | {name: None} for name in INPUTS)]
    rows = table(cases)
    database.execute("CREATE OR REPLACE TABLE cases AS FROM rows")
    for indicator in indicators:
        for values in [indicator.defaults, *indicator.random_options(database, 2)]:
            pairs = zip(indicator.fields(indicator.call(values)), indicator.fields(indicator.call(values, suffix="_last")))
            differs = " OR ".join(f"({series})[-1] IS DISTINCT FROM {last}" for series, last in pairs)
            assert database.execute(f"SELECT id FROM cases WHERE {differs}").fetchall() == [], (indicator.name, values)


def test_a_value_does_not_depend_on_later_bars(database, indicators, gapped):
    """The values of a prefix are those of the whole series; an indicator that repaints fails here."""
    markets = [head(market, 150) for market in (MARKETS[0], MARKETS[2], gapped[1])]
    rows = table(markets)
    database.execute("CREATE OR REPLACE TABLE wholes AS FROM rows")
    lists = ", ".join(f"{name}[:prefix.range] AS {name}" for name in INPUTS)
    database.execute(
        f"CREATE OR REPLACE TABLE prefixes AS SELECT id, prefix.range AS bars, {lists} FROM wholes CROSS JOIN range(151) AS prefix"
    )
    for indicator in indicators:
        for values in [indicator.defaults, *indicator.random_options(database, 1)]:
            fields = indicator.fields(indicator.call(values))
            named = ", ".join(f"{field} AS c{index}" for index, field in enumerate(fields))
            differs = " OR ".join(f"prefix.c{index} IS DISTINCT FROM whole.c{index}[:prefix.bars]" for index in range(len(fields)))
            different = database.execute(
                f"""
                WITH prefix AS (SELECT id, bars, {named} FROM prefixes), whole AS MATERIALIZED (SELECT id, {named} FROM wholes)
                SELECT id, bars FROM prefix JOIN whole USING (id) WHERE {differs}
                """
            ).fetchall()
            assert different == [], (indicator.name, values)


# Gaps


def test_a_bar_with_a_gap_is_as_if_it_were_not_there(database, indicators, gapped):
    # Rows with many gaps; then rows with none and with one late gap each, out of an aggregate, where 0 lies behind a NULL.
    one_gap = lambda place: {
        name: [None if index == place else value for index, value in enumerate(series[:200])] for name, series in MARKETS[3].items()
    }
    for markets in (gapped, [head(MARKETS[3], 200), one_gap(70), one_gap(150), one_gap(199)]):
        rows = table(markets)
        database.execute("CREATE OR REPLACE TABLE gaps AS FROM rows")
        bars = ", ".join(f"unnest({name}) AS {name}" for name in INPUTS)
        database.execute(f"CREATE OR REPLACE TABLE bars AS SELECT id, {bars}, make_timestamp(unnest(range(200))) AS ts FROM gaps")
        for indicator in indicators:
            kept = [
                [place for place in range(200) if all(is_finite(market[name][place]) for name in indicator.inputs)] for market in markets
            ]
            assert all(100 < len(places) < 195 if markets is gapped else len(places) >= 199 for places in kept)
            without = [
                {name: [market[name][place] for place in places] for name in indicator.inputs} for market, places in zip(markets, kept)
            ]
            for values in [indicator.defaults, *indicator.random_options(database, 1 if markets is gapped else 0)]:
                is_known = all(hasattr(talib.MA_Type, value) for value in values if isinstance(value, str))
                if indicator.is_in_talib and is_known and not any(indicator.places):
                    expected = [talib_arrays(indicator, market, values) for market in without]
                else:
                    rows = table(without)
                    database.execute("CREATE OR REPLACE TABLE dense AS FROM rows")
                    expected = arrays(database, indicator, "dense", values)
                lists = ", ".join(f"series({name}, ts) AS {name}" for name in indicator.inputs)
                source = "gaps" if markets is gapped else f"(SELECT id, {lists} FROM bars GROUP BY id)"
                for places, actual, outputs in zip(kept, arrays(database, indicator, source, values), expected):
                    for is_place, got, want in zip(indicator.places, actual, outputs):
                        back = np.full(200, np.nan)
                        back[places] = [places[int(value)] if is_place and not np.isnan(value) else value for value in want]
                        assert_close(got, back, (indicator.name, values))


# Bad input


def outside(option: Option) -> list[tuple[str, str]]:
    """Values that an option must refuse, as SQL, each with how the message shows it."""
    values = [
        ("NULL", "NULL"),
        ("'many'", "'many'"),
        ("[3]", "'[3]'"),
        ("'nan'::DOUBLE", "nan"),
        ("'inf'::DOUBLE", "inf"),
        ("true", "'true'"),
    ]
    if option.choices:
        return [*values, ("99", "99"), ("-1", "-1"), ("0.5", "0.5")]
    if isinstance(option.default, int):
        low, high = str(option.low - 1), str(option.high + 1)
        return [*values, (low, low), (high, high), ("2.5", "2.5"), ("-7", "-7"), ("5000000000", "5000000000")]
    beyond = [] if option.low is None else [option.low - 0.001]
    beyond += [] if option.high is None else [option.high + 0.001]
    return values + [(repr(value), repr(value)) for value in beyond]


def test_an_option_out_of_range_is_an_error_that_says_what_is_allowed(database, indicators):
    database.execute("CREATE OR REPLACE TABLE none AS FROM market LIMIT 0")
    count = 0
    for indicator in indicators:
        for option in indicator.options:
            allowed = "one of " + ", ".join(option.choices) if option.choices else "a finite number"
            if option.low is not None:
                kind = "a whole number" if isinstance(option.default, int) else "a number"
                limits = f"at least {option.low:.10g}" if option.high is None else f"between {option.low:.10g} and {option.high:.10g}"
                allowed = f"{kind} {limits}".replace("1e-08", "0.00000001")
            for index, (value, shown) in enumerate(outside(option)):
                for suffix in ("", "_last"):
                    call = indicator.call([], [*indicator.inputs, f"{option.name} := {value}"], suffix=suffix)
                    message = re.escape(f"{indicator.name}{suffix}: {option.name} must be {allowed}, got {shown}")
                    # While the query is planned: whether or not there is a row.
                    with pytest.raises(duckdb.InvalidInputException, match=f"{message}(?m:$)"):
                        database.execute(f"SELECT {call} FROM {'market' if index % 2 else 'none'}").fetchall()
                    count += 1
    assert count > 3000


def test_options_can_come_from_parameters_and_columns(database):
    expected = [[None, 1.5, 2.5, 3.5], [None, None, 2, 3]]
    for value in (2, 2.0, "2", "2.0", " 2 "):
        assert database.execute("SELECT ti_sma([1, 2, 3, 4], ?)", [value]).fetchone() == (expected[0],)
        assert database.execute("SELECT ti_sma([1, 2, 3, 4], time_period := $period)", {"period": value}).fetchone() == (expected[0],)
    # A plan that is used again keeps nothing of its first value.
    database.execute("PREPARE average AS SELECT ti_sma([1, 2, 3, 4], ?), ti_sma_last([1, 2, 3, 4], ?)")
    assert database.execute("EXECUTE average(2, 3)").fetchall() == [(expected[0], 3)]
    assert database.execute("EXECUTE average(3, 2)").fetchall() == [(expected[1], 3.5)]
    for value in ("0", "NULL", "'x'"):
        with pytest.raises(duckdb.Error, match="ti_sma: time_period must be a whole number between 1 and 100000, got"):
            database.execute(f"EXECUTE average({value}, 2)").fetchall()
    # By row; a bad value is an error only if its row is there.
    periods = "FROM (VALUES (2), (3), (0)) AS row (period)"
    assert database.execute(f"SELECT ti_sma([1, 2, 3, 4], period) {periods} WHERE period > 0").fetchall() == [(row,) for row in expected]
    assert database.execute(f"SELECT ti_sma(NULL::DOUBLE[], period) {periods}").fetchall() == [(None,)] * 3
    with pytest.raises(duckdb.InvalidInputException, match="ti_sma: time_period must be a whole number between 1 and 100000, got 0"):
        database.execute(f"SELECT ti_sma([1, 2, 3, 4], period) {periods}").fetchall()


def test_averages_are_chosen_by_name_or_number(database, indicators):
    choices = next(
        option.choices for indicator in indicators if indicator.name == "ti_ma" for option in indicator.options if option.choices
    )
    different = set()
    for name in choices:
        by_name = database.execute("SELECT ti_ma(close, 5, ?) FROM market ORDER BY id", [name]).fetchall()
        assert database.execute("SELECT ti_ma(close, 5, ?) FROM market ORDER BY id", [f" {name.lower()} "]).fetchall() == by_name
        different.add(str(by_name))
        if hasattr(talib.MA_Type, name):
            number = getattr(talib.MA_Type, name)
            for given in (number, str(number), float(number)):
                assert database.execute("SELECT ti_ma(close, 5, ?) FROM market ORDER BY id", [given]).fetchall() == by_name
    # DEFAULT is SMA.
    assert len(different) == len(choices) - 1


def test_a_series_shorter_than_the_warm_up_has_no_values(database, indicators):
    count = 0
    for indicator in indicators:
        longest = [option.high if isinstance(option.default, int) else option.default for option in indicator.options]
        if indicator.is_in_talib and longest != indicator.defaults:
            expected = [talib_arrays(indicator, market, longest) for market in MARKETS]
            for outputs, nothing in zip(arrays(database, indicator, "market", longest), expected):
                # A few need no more bars for a longer period.
                if all(np.isnan(output).all() for output in nothing):
                    count += 1
                    assert all(len(output) == BARS and np.isnan(output).all() for output in outputs), indicator.name
    assert count > 300


def test_lists_of_different_lengths_are_an_error(database, indicators):
    for indicator in indicators:
        for position, name in enumerate(indicator.inputs[1:], 1):
            inputs = [*indicator.inputs]
            inputs[position] = f"{name}[:7]"
            for suffix in ("", "_last"):
                message = f"{indicator.name}{suffix}: {indicator.inputs[0]} has {BARS} values and {name} has 7; the series of one call must be of the same length"
                with pytest.raises(duckdb.InvalidInputException, match=message):
                    database.execute(f"SELECT {indicator.call(inputs=inputs, suffix=suffix)} FROM market").fetchall()


def test_empty_lists_and_lists_of_nulls(database, indicators):
    for indicator in indicators:
        count = len(indicator.inputs)
        for inputs, expected in (["[]"] * count, []), (["[NULL, NULL, 'nan']::DOUBLE[]"] * count, [None] * 3), (["NULL"] * count, None):
            series, last = database.execute(
                f"SELECT {indicator.call(inputs=inputs)}, {indicator.call(inputs=inputs, suffix='_last')}"
            ).fetchone()
            if indicator.outputs and expected is not None:
                expected = dict.fromkeys(indicator.outputs, expected)
            assert (series, last) == (expected, None), (indicator.name, inputs)


def test_extreme_numbers_give_numbers_or_null(database, indicators):
    """Never NaN, never infinite, and never a crash."""
    rng = np.random.default_rng(11)
    biggest, smallest = np.finfo(float).max, 5e-324
    extremes = [
        *(np.full(120, value) for value in (0.0, biggest, -biggest, smallest, 1e308, -1e-308, 1e15, 1.0)),
        *(
            rng.choice(pool, 120)
            for pool in (
                [biggest, -biggest],
                [0.0, smallest],
                [1e308, 1e-308, 0, -1],
                [np.inf, 1e308, np.nan, 1],
                [1e9, 2**31, -(2**31), 2**63],
            )
        ),
        np.arange(120.0) * 1e306,
        rng.normal(0, 1e200, 120),
        rng.normal(0, 1e-200, 120),
        rng.integers(-2, 3, 120).astype(float),
    ]
    # The same in each series, and different ones.
    markets = [dict.fromkeys(INPUTS, series) for series in extremes]
    markets += [{name: extremes[index] for name, index in zip(INPUTS, rng.integers(0, len(extremes), len(INPUTS)))} for _ in range(40)]
    rows = table(markets)
    database.execute("CREATE OR REPLACE TABLE extreme AS FROM rows")
    for indicator in indicators:
        for values in [indicator.defaults, *indicator.random_options(database, 2)]:
            arrays(database, indicator, "extreme", values)
            pairs = zip(indicator.fields(indicator.call(values)), indicator.fields(indicator.call(values, suffix="_last")))
            differs = " OR ".join(f"({series})[-1] IS DISTINCT FROM {last}" for series, last in pairs)
            assert database.execute(f"SELECT id FROM extreme WHERE {differs}").fetchall() == [], (indicator.name, values)


# Rows


@pytest.fixture(scope="module")
def many(database, indicators, gapped):
    """Forty kinds of rows: series of several lengths with and without gaps, empty ones, and NULL here and there. many repeats them."""
    kinds = [head(market, count) for market in [*MARKETS, *gapped] for count in (0, 1, 9, 70)]
    kinds += [head(market, 70) | {name: None} for market in MARKETS[:2] for name in ("close", "series", "high", "series1")]
    rows = table(kinds)
    database.execute("CREATE TABLE kinds AS SELECT *, 1 + id % 5 AS period FROM rows")
    database.execute(
        "CREATE TABLE many AS SELECT row.range AS row, kinds.* FROM range(5000) AS row JOIN kinds ON row.range % 40 = kinds.id ORDER BY row.range"
    )
    assert len(kinds) == 40


def least(indicator: Indicator) -> list:
    """Options with which a short series has values."""
    return [option.low if isinstance(option.default, int) else option.default for option in indicator.options]


def assert_rows_are(database, what, source: str, call: str):
    """That each row of a query has the value of its kind, which is in the table truth."""
    rows, different = database.execute(
        f"""
        WITH answer AS MATERIALIZED (SELECT id, {call} AS value FROM {source})
        SELECT count(*), count(*) FILTER (WHERE answer.value IS DISTINCT FROM truth.value) FROM answer JOIN truth USING (id)
        """
    ).fetchall()[0]
    assert rows > 0 and different == 0, what


def test_many_rows_have_the_values_that_each_has_alone(database, indicators, many):
    by_shape = shapes(indicators)
    assert len(by_shape) > 10
    for indicator in by_shape:
        for suffix in ("", "_last"):
            call = indicator.call(least(indicator), suffix=suffix)
            database.execute(f"CREATE OR REPLACE TABLE truth AS SELECT id, {call} AS value FROM kinds LIMIT 0")
            for kind in range(40):
                database.execute(f"INSERT INTO truth SELECT id, {call} FROM kinds WHERE id = {kind}")
            assert database.execute("SELECT count(value) BETWEEN 1 AND 39 FROM truth").fetchall() == [(True,)], indicator.name
            for source in [
                "many",
                "many WHERE row % 3 = 0",
                "many WHERE row % 3 = 0 AND row BETWEEN 2040 AND 2060",
                # Vectors that refer to another one.
                "(SELECT kinds.* FROM range(5000) AS row JOIN kinds ON row.range % 40 = kinds.id)",
                "(FROM many ORDER BY hash(row) LIMIT 4500)",
                "(FROM (FROM many WHERE row % 7 > 0) WHERE row % 2 = 0)",
                # One row for all, with a list and with NULL.
                "(FROM kinds WHERE id = 7) CROSS JOIN range(4100)",
                "(FROM kinds WHERE id = 35) CROSS JOIN range(4100)",
            ]:
                assert_rows_are(database, (indicator.name, suffix, source), source, call)
            assert_rows_are(
                database,
                (indicator.name, suffix, "CASE"),
                "many JOIN truth USING (id)",
                f"CASE WHEN row % 2 = 0 THEN {call} ELSE value END",
            )


def test_many_rows_of_every_function(database, indicators, many):
    for indicator in indicators:
        for suffix in ("", "_last"):
            call = indicator.call(least(indicator), suffix=suffix)
            database.execute(f"CREATE OR REPLACE TABLE truth AS SELECT id, {call} AS value FROM kinds")
            assert_rows_are(database, (indicator.name, suffix), "many", call)


def test_options_that_vary_by_row(database, indicators, many):
    """Over lists that vary too, and over one list for all rows."""
    count = 0
    for indicator in shapes(indicators):
        position = next(
            (index for index, option in enumerate(indicator.options) if isinstance(option.default, int) and option.low < 5), None
        )
        if position is None:
            continue
        before = least(indicator)[:position]
        for suffix in ("", "_last"):
            for table_name in ("many", "one"):
                lists = [f"{table_name}.{name}" for name in indicator.inputs]
                call = lambda period: f"{indicator.call(before, lists, suffix)[:-1]}, {period})"
                each = " ".join(f"WHEN {period} THEN {call(period)}" for period in range(2, 6))
                different = database.execute(
                    f"""
                    SELECT count(*) FROM many CROSS JOIN (FROM market WHERE id = 0) AS one
                    WHERE {call("greatest(many.period, 2)")} IS DISTINCT FROM CASE greatest(many.period, 2) {each} END
                    """
                ).fetchall()
                assert different == [(0,)], (indicator.name, suffix, table_name)
                count += 1
    assert count > 30


def test_any_number_of_threads_gives_the_same(database, indicators, many):
    lists = ", ".join(f"{name}[:9] AS {name}" for name in INPUTS)
    # Of more rows than one thread takes at a time.
    database.execute(f"CREATE TABLE crowd AS SELECT id, {lists} FROM kinds CROSS JOIN range(4000)")
    for indicator in shapes(indicators)[::3]:
        calls = ", ".join(
            f"bit_xor(hash(id, {call})), count({call})"
            for call in (indicator.call(least(indicator)), indicator.call(least(indicator), suffix="_last"))
        )
        answers = set()
        for threads in (1, 4):
            database.execute(f"SET threads = {threads}")
            answers |= set(database.execute(f"SELECT {calls} FROM crowd").fetchall())
        assert len(answers) == 1, indicator.name
    database.execute("RESET threads")


# What the catalogue says


def test_names_are_free_of_those_of_another_extension(database):
    """The community extension talib calls its functions ta_… and t_…; both can be loaded."""
    names = database.execute("SELECT DISTINCT function_name FROM duckdb_functions() WHERE contains(extension_name, 'stockscan')").fetchall()
    assert len(names) > 480
    assert [name for (name,) in names if name.startswith(("ta_", "t_"))] == []


def test_names_can_be_written_without_quotes(database, indicators):
    reserved = {
        word for (word,) in database.execute("SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category = 'reserved'").fetchall()
    }
    for indicator in indicators:
        for name in [*indicator.inputs, *indicator.outputs, *(option.name for option in indicator.options)]:
            assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) and name not in reserved, f"{indicator.name}: {name}"


def test_both_forms_are_documented(database, indicators):
    rows = database.execute(
        """
        SELECT function_name, description, parameters, examples, return_type
        FROM duckdb_functions()
        WHERE list_contains(categories, 'indicators') AND ends_with(function_name, '_last')
        """
    ).fetchall()
    last = {name: row for name, *row in rows}
    assert len(last) >= len(indicators)
    for indicator in indicators:
        description, parameters, examples, return_type = last[indicator.name + "_last"]
        lines = lambda text: re.findall(r"^@param .*$", text, re.MULTILINE)
        assert lines(description) == lines(indicator.description) and f" which is the last of {indicator.name}," in description
        assert parameters == indicator.inputs + [option.name for option in indicator.options]
        assert len(examples) == 1 and f"{indicator.name}_last(" in examples[0]
        assert ("STRUCT" in return_type) == bool(indicator.outputs) and "[]" not in return_type
        for line in indicator.description.splitlines():
            assert line == "" or line.endswith(".") and not line.endswith(("..", " .")) and "  " not in line, f"{indicator.name}: {line}"
            assert not re.search("optIn|inReal|outReal", line), f"{indicator.name}: {line}"


def test_the_description_says_which_values_remember_the_start(database, indicators):
    """With a hundred bars more before it, a value of a moving window stays as it is."""
    whole = [ohlcv(seed, 1200) for seed in (0, 3)]
    rows = table(whole)
    database.execute("CREATE OR REPLACE TABLE whole AS FROM rows")
    rows = table([{name: series[100:] for name, series in market.items()} for market in whole])
    database.execute("CREATE OR REPLACE TABLE later AS FROM rows")
    for indicator in indicators:
        change = 0.0
        for longer, shorter in zip(arrays(database, indicator, "whole"), arrays(database, indicator, "later")):
            for is_place, more, fewer in zip(indicator.places, longer, shorter):
                difference = np.abs(more[100:] - (100 if is_place else 0) - fewer)
                change = max(
                    change, np.nanmax(difference, initial=0) / max(np.nanmean(np.abs(more)) if not np.isnan(more).all() else 0, 1e-300)
                )
        assert (change > 1e-6) == ("The values remember where the series starts." in indicator.description), (indicator.name, change)


def test_patterns_have_the_values_that_are_documented(database, indicators):
    """Candles of prices that are often equal, so that most patterns occur."""
    rng = np.random.default_rng(5)
    moves = np.round(rng.standard_t(2, 60_000) * 2)
    close = 1000 + np.cumsum(np.clip(moves, -12, 12)) % 400
    open_ = np.r_[close[0], close[:-1]] + np.round(rng.standard_t(2, 60_000))
    high, low = (best(open_, close) + sign * np.round(abs(rng.standard_t(2, 60_000))) for best, sign in ((np.maximum, 1), (np.minimum, -1)))
    rows = table([dict(open=open_, high=high, low=low, close=close)])
    database.execute("CREATE OR REPLACE TABLE candles AS FROM rows")
    seen_at_all, count = 0, 0
    for indicator in indicators:
        for index, output in enumerate(indicator.outputs or ["It is"]):
            documented = re.search(rf"{output} (-?100 .*?, 0 elsewhere)\.", indicator.description)
            if documented:
                seen = set(arrays(database, indicator, "candles")[0][index]) - {np.nan}
                seen = {int(value) for value in seen if not np.isnan(value)}
                allowed = {int(number) for number in re.findall(r"-?\d+", documented[1])}
                assert seen <= allowed, (indicator.name, seen, allowed)
                seen_at_all, count = seen_at_all + (seen == allowed), count + 1
    assert count >= 63 and seen_at_all > 40


# Definitions from the literature


def simple_average(values: np.ndarray, period: int) -> np.ndarray:
    windows = [values[end - period + 1 : end + 1].mean() for end in range(period - 1, len(values))]
    return np.r_[np.full(period - 1, np.nan), windows]


def smoothed(values: np.ndarray, period: int, weight: float) -> np.ndarray:
    """An average that starts as the simple one of the first `period` values that there are, and moves towards each later one by `weight`."""
    result = np.full(len(values), np.nan)
    first = int(np.argmax(~np.isnan(values))) + period - 1
    result[first] = values[first - period + 1 : first + 1].mean()
    for place in range(first + 1, len(values)):
        result[place] = result[place - 1] + weight * (values[place] - result[place - 1])
    return result


def wilder(values: np.ndarray, period: int) -> np.ndarray:
    return smoothed(values, period, 1 / period)


def exponential(values: np.ndarray, period: int) -> np.ndarray:
    return smoothed(values, period, 2 / (period + 1))


def true_range(market: dict) -> np.ndarray:
    before = np.r_[np.nan, market["close"][:-1]]
    return np.maximum(market["high"], before) - np.minimum(market["low"], before)


def values_of(database, call: str) -> list[np.ndarray]:
    """Of the first market, NaN for NULL; one array, or those of a STRUCT."""
    (value,) = database.execute(f"SELECT {call} FROM market WHERE id = 0").fetchall()[0]
    return [np.array(series, float) for series in (value.values() if isinstance(value, dict) else [value])]


def agree_from(actual: np.ndarray, expected: np.ndarray, tolerance: float) -> int:
    """The bar from which on they agree to an absolute tolerance."""
    apart = np.flatnonzero(~(np.abs(actual - expected) <= tolerance))
    return int(apart[-1]) + 1 if len(apart) else 0


def test_averages_start_as_in_the_literature(database):
    close = MARKETS[0]["close"]
    for period in (2, 5, 20, 50):
        assert_close(values_of(database, f"ti_sma(close, {period})")[0], simple_average(close, period), "SMA")
        assert_close(values_of(database, f"ti_ema(close, {period})")[0], exponential(close, period), "EMA")
        assert_close(values_of(database, f"ti_rma(close, {period})")[0], wilder(close, period), "RMA")


def test_rsi_starts_as_in_the_literature(database):
    """Wilder, 1978: averages of gains and losses that start as simple ones."""
    change = np.diff(MARKETS[0]["close"], prepend=np.nan)
    for period in (2, 14):
        gain, loss = wilder(np.maximum(change, 0), period), wilder(np.maximum(-change, 0), period)
        (actual,) = values_of(database, f"ti_rsi(close, {period})")
        assert_close(actual, 100 - 100 / (1 + gain / loss), "RSI")
        assert np.isnan(actual).sum() == period


def test_atr_starts_as_in_the_literature(database):
    """Wilder, 1978. The first bar has no true range, since there is no close before it."""
    for period in (2, 14):
        (actual,) = values_of(database, f"ti_atr(high, low, close, {period})")
        assert_close(actual, wilder(true_range(MARKETS[0]), period), "ATR")
        assert np.isnan(actual).sum() == period


def test_bollinger_bands_are_population_deviations_around_the_average(database):
    close = MARKETS[0]["close"]
    for period, up, down in ((20, 2, 2), (5, 1.5, 3)):
        deviation = np.r_[np.full(period - 1, np.nan), [close[end - period + 1 : end + 1].std(ddof=0) for end in range(period - 1, BARS)]]
        middle = simple_average(close, period)
        expected = [middle + up * deviation, middle, middle - down * deviation]
        for actual, want in zip(values_of(database, f"ti_bbands(close, {period}, {up}, {down})"), expected):
            assert_close(actual, want, "BBANDS")


def test_macd_starts_its_fast_average_later_than_the_literature(database):
    """Both of TA-Lib's averages start at bar 25, the fast one as the simple average of bars 14 to 25. In the literature the fast one starts
    at bar 11. What is left of that shrinks by 11/13 a bar. From its definition TA-Lib's is exact; the slow average is the same in both."""
    close = MARKETS[0]["close"]
    slow = exponential(close, 26)
    macd, signal, histogram = values_of(database, "ti_macd(close)")
    later = np.r_[np.full(14, np.nan), exponential(close[14:], 12)]
    line = np.where(np.arange(BARS) < 33, np.nan, later - slow)
    assert_close(macd, line, "MACD")
    # The signal line starts as the simple average of the line from bar 25 on, of which bars 25 to 32 are not shown.
    assert_close(signal, np.where(np.arange(BARS) < 33, np.nan, exponential(later - slow, 9)), "signal")
    assert_close(histogram, macd - signal, "histogram")
    textbook = exponential(close, 12) - slow
    textbook_signal = exponential(textbook, 9)
    assert agree_from(macd, textbook, 1e-6) > 34
    for actual, expected in ((macd, textbook), (signal, textbook_signal), (histogram, textbook - textbook_signal)):
        assert agree_from(actual, expected, 1e-2) <= 60
        assert agree_from(actual, expected, 1e-6) <= 115


def test_adx_starts_from_a_bar_less_than_the_literature(database):
    """Wilder sums movements and ranges over 14 bars, then takes a fourteenth off each bar. TA-Lib starts from the sums over 13 bars and
    takes the first fourteenth off at once. What is left of that shrinks by 13/14 a bar."""
    market, period = MARKETS[0], 14
    up, down = np.diff(market["high"], prepend=np.nan), -np.diff(market["low"], prepend=np.nan)
    plus = np.where(np.isnan(up), np.nan, np.where((up > down) & (up > 0), up, 0))
    minus = np.where(np.isnan(up), np.nan, np.where((down > up) & (down > 0), down, 0))
    # Averages instead of sums: only ratios of them count.
    ranges = wilder(true_range(market), period)
    plus_di, minus_di = 100 * wilder(plus, period) / ranges, 100 * wilder(minus, period) / ranges
    dx = 100 * abs(plus_di - minus_di) / (plus_di + minus_di)
    adx = wilder(dx, period)
    for call, expected, close_from, equal_from in [
        ("ti_plus_di(high, low, close, 14)", plus_di, 60, 190),
        ("ti_minus_di(high, low, close, 14)", minus_di, 80, 205),
        ("ti_dx(high, low, close, 14)", dx, 100, 225),
        ("ti_adx(high, low, close, 14)", adx, 115, 245),
    ]:
        (actual,) = values_of(database, call)
        assert np.array_equal(np.isnan(actual), np.isnan(expected)), call
        first = int(np.argmax(~np.isnan(expected)))
        assert first < agree_from(actual, expected, 1e-2) <= close_from, call
        assert agree_from(actual, expected, 1e-6) <= equal_from, call
