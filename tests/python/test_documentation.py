"""What the catalogue says of each function is true: examples run, columns are as listed, ranges are enforced."""

import re

import duckdb
import pytest

from conftest import ROOT, connect

FUNCTIONS = """
    SELECT function_name, function_type, coalesce(description, ''), examples, categories, parameters
    FROM duckdb_functions()
    WHERE contains(extension_name, 'stockscan')
    ORDER BY function_name
"""


# In the demo market volume surges at the close only, after the burst of the open.
LATER = {"volume_spike": "15:30"}


@pytest.fixture(scope="module")
def functions(demo):
    return demo.execute(FUNCTIONS).fetchall()


def first_call(function: str, examples: list[str]) -> str:
    """The first call of a function in its examples, up to the closing parenthesis."""
    for example in examples:
        found = re.search(rf"\b{function}\(", example)
        if not found:
            continue
        depth, quoted = 0, False
        for end, letter in enumerate(example[found.start() :], found.start()):
            quoted ^= letter == "'"
            depth += 0 if quoted else (letter == "(") - (letter == ")")
            if depth == 0 and letter == ")":
                return example[found.start() : end + 1]
    raise AssertionError(f"{function}: no example calls it")


def test_every_file_of_sql_is_a_function_of_its_folder(functions):
    registered = {(name, category) for name, _, _, _, categories, _ in functions for category in categories}
    files = {(path.stem, path.parent.name) for path in (ROOT / "sql").rglob("*.sql")}
    assert files and files - registered == set()


def test_every_function_is_described_and_has_an_example(functions):
    assert len(functions) > 20
    for name, _, description, examples, categories, _ in functions:
        assert description, f"{name} has no description"
        assert examples, f"{name} has no example"
        assert categories, f"{name} has no category"


def test_every_example_runs(functions, demo_file):
    with connect(demo_file, read_only=True) as whole_market, connect() as small_market:
        # There are hundreds of indicators.
        small_market.execute("CREATE TABLE bars AS FROM demo_bars(symbols := 3, sessions := 2)")
        for name, _, _, examples, categories, _ in functions:
            on_a_market = small_market if "indicators" in categories else whole_market
            for example in examples:
                try:
                    if example.startswith("CREATE"):
                        with connect() as empty:
                            empty.execute(example)
                    else:
                        assert on_a_market.execute(example).description
                except duckdb.Error as error:
                    pytest.fail(f"{name}: {example}\n{error}")


def test_columns_are_those_documented_in_order(functions, demo):
    table_macros = [function for function in functions if function[1] == "table_macro"]
    assert table_macros
    for name, _, description, examples, _, _ in table_macros:
        documented = re.findall(r"^@column (\w+) ", description, re.MULTILINE)
        # A function over the caller's CTE needs its example whole.
        statement = examples[0] if examples[0].startswith("WITH") else f"FROM {first_call(name, examples)} LIMIT 0"
        actual = [column[0] for column in demo.execute(statement).description]
        if "\n@column … " in description:
            # And some that depend on the call.
            assert len(actual) > len(documented), name
            actual = actual[: len(documented)]
        assert actual == documented, name


def test_parameters_are_those_documented_in_order(functions):
    for name, kind, description, _, _, parameters in functions:
        if kind in ("macro", "table_macro"):
            assert re.findall(r"^@param (\w+) ", description, re.MULTILINE) == parameters, name


@pytest.fixture(scope="module")
def long_market():
    """More than a year, since some defaults look back that far; whole sessions are needed of the last weeks only."""
    with connect() as connection:
        connection.execute(
            """
            CREATE TABLE bars AS
            FROM demo_bars(symbols := 20, sessions := 320) AS bar
            WHERE CAST(bar.ts AS TIME) < TIME '10:00' OR bar.ts >= TIMESTAMP '2024-12-01'
            """
        )
        yield connection


def test_documented_defaults_are_those_of_the_signature(long_market):
    """A call with every default written out gives what a call with none gives."""
    for scanner in scanners(long_market):
        parameters = long_market.execute(
            """SELECT parameter, "default" FROM scanner_parameters() WHERE scanner = ? AND "default" IS NOT NULL""", [scanner]
        ).fetchall()
        assert len(parameters) >= 10
        written_out = ", ".join(f"{parameter} := {default}" for parameter, default in parameters)
        dates = "'2024-10-01', end_date := '2025-01-15'"
        written_out = written_out.replace("end_date := NULL", "end_date := '2025-01-15'")
        if scanner in LATER:
            dates += f", cutoff_time := '{LATER[scanner]}'"
            written_out = written_out.replace("cutoff_time := '09:50'", f"cutoff_time := '{LATER[scanner]}'")
        short = long_market.execute(f"FROM scan_{scanner}({dates})").fetchall()
        assert short, f"scan_{scanner} finds nothing with its defaults, so this proves nothing"
        assert long_market.execute(f"FROM scan_{scanner}('2024-10-01', {written_out})").fetchall() == short, scanner


def scanners(connection) -> list[str]:
    names = [name for (name,) in connection.execute("SELECT scanner FROM scanners() WHERE is_built_in").fetchall()]
    assert names
    return names


def test_scanner_columns_begin_and_end_alike(demo):
    for scanner in scanners(demo):
        columns = [tuple(column[:2]) for column in demo.execute(f"DESCRIBE FROM scan_{scanner}('2025-01-15')").fetchall()]
        assert columns[:3] == [("scan_date", "DATE"), ("symbol", "VARCHAR"), ("price", "DOUBLE")], scanner
        assert columns[-3:] == [("volume", "BIGINT"), ("probability_score", "DOUBLE"), ("rank", "BIGINT")], scanner


def test_scanners_share_their_parameters(demo):
    """A parameter that two scanners have means the same in both, and the common ones are in each."""
    common = ["scan_date", "cutoff_time", "end_date", "source", "bar_minutes", "session_start", "session_end", "symbols"]
    common += ["min_price", "max_price", "min_volume", "max_results_per_day", "min_probability_score"]
    for scanner in scanners(demo):
        names = demo.execute("SELECT list(parameter ORDER BY position) FROM scanner_parameters() WHERE scanner = ?", [scanner]).fetchone()[0]
        assert names[: len(common)] == common, scanner
    twofold = demo.execute(
        """
        SELECT parameter, list(scanner)
        FROM scanner_parameters()
        WHERE scanner IN (SELECT scanner FROM scanners() WHERE is_built_in)
        GROUP BY parameter
        HAVING count(DISTINCT (type, unit, min, max)) > 1
        """
    ).fetchall()
    assert twofold == []


RANGES = """
    SELECT scanner, parameter, type, min, max
    FROM scanner_parameters()
    WHERE (min IS NOT NULL OR max IS NOT NULL) AND scanner IN (SELECT scanner FROM scanners() WHERE is_built_in)
"""


def limits(connection):
    """Every ranged parameter of every scanner: its limits, and a value just beyond each."""
    rows = connection.execute(RANGES).fetchall()
    assert len(rows) >= 9
    for scanner, parameter, kind, low, high in rows:
        beyond, number = (1, int) if kind == "INTEGER" else (0.001, float)
        for limit, outside in ((low, low is not None and low - beyond), (high, high is not None and high + beyond)):
            if limit is not None:
                yield scanner, parameter, number(limit), number(outside)


def test_a_value_just_beyond_a_limit_is_an_error_that_says_so(demo):
    demo.execute("CREATE OR REPLACE TEMP TABLE no_bars AS FROM bars LIMIT 0")
    for scanner, parameter, _, outside in limits(demo):
        for source in ("bars", "no_bars"):
            call = f"FROM scan_{scanner}('2025-01-15', source := '{source}', {parameter} := "
            for statement, values in ((f"{call}{outside})", []), (f"{call}$1)", [outside])):
                with pytest.raises(duckdb.Error, match=rf"scan_{scanner}: .*\b{parameter}\b.*{re.escape(str(outside))}"):
                    demo.execute(statement, values).fetchall()
                    pytest.fail(f"{statement} {values} was accepted")


def test_a_limit_itself_is_accepted(demo):
    for scanner, parameter, limit, _ in limits(demo):
        arguments = {parameter: limit}
        # No daily bar has ended before the end of its day.
        if parameter == "bar_minutes":
            arguments |= {"cutoff_time": "'24:00'"}
        while True:
            given = ", ".join(f"{name} := {value}" for name, value in arguments.items())
            try:
                demo.execute(f"FROM scan_{scanner}('2025-01-15', {given})").fetchall()
                break
            except duckdb.Error as error:
                # In range, but beyond the default of its counterpart, which then gets the same value.
                pair = re.search(r"(\w+) \(.*\) must not exceed (\w+) \(", str(error))
                other = set(pair.groups()) - set(arguments) if pair else ()
                if len(other) != 1:
                    pytest.fail(f"scan_{scanner}: {given}: {error}")
                arguments[other.pop()] = limit


def test_a_misspelt_parameter_is_an_error_that_lists_the_right_ones(demo):
    for scanner in scanners(demo):
        with pytest.raises(duckdb.BinderException, match=rf"(?s)scan_{scanner}.*min_price"):
            demo.execute(f"FROM scan_{scanner}('2025-01-15', min_prise := 1)")
