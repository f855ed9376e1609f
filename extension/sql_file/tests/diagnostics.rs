//! What is wrong with a file of `sql/` is said with its place. Each case is a good file with one mistake in it.

use stockscan_sql_file::{Literal, check_together, parse};

const GOOD: &str = "\
-- A stock that is worth a look.
--
-- Why it is.
--
-- @inherit block
-- @param period INTEGER sessions, 1 to 250: how many sessions
--   it looks back on.
-- @param least DOUBLE %, 0 or more step 0.5: least rise. NULL: any.
-- @column symbol name of the stock.
-- @source A book.
-- @example FROM scan_good('2025-01-15')
CREATE MACRO scan_good(scan_date, period := 5, least := NULL, label := 'it''s', share := -0.5) AS TABLE
-- A comment.
SELECT session.symbol
FROM sessions_as_of(scan_date, sessions := period) AS session
WHERE
    session.number >= integer_in_range(period, 1, 250, 'scan_good', 'period')
    AND (least IS NULL OR session.rise >= number_in_range_or_null(least, 0, NULL, 'scan_good', 'least'))
    AND list_sum(list_transform([1, 2], lambda x: x + 1)) > 0;
";

const BLOCK: &str = "\
-- A session.
--
-- @param scan_date DATE: the session.
-- @param label VARCHAR: a label.
-- @param share DOUBLE: a share.
-- @column symbol name of the stock.
-- @example FROM block('2025-01-15')
CREATE MACRO block(scan_date, label := 'x', share := 0.5) AS TABLE
SELECT bar.symbol FROM query_table('bars') AS bar
";

const PATH: &str = "sql/scanners/scan_good.sql";

/// The messages for a good file in which `from` became `to`.
fn mistakes(from: &str, to: &str) -> Vec<String> {
    assert!(GOOD.contains(from), "{from}");
    let files = [parse(PATH, &GOOD.replacen(from, to, 1)), parse("sql/blocks/block.sql", BLOCK)];
    let found = files.iter().filter_map(|file| file.as_ref().err()).flatten().map(ToString::to_string).collect::<Vec<_>>();
    if !found.is_empty() {
        return found;
    }
    check_together(&files.map(Result::unwrap)).iter().map(ToString::to_string).collect()
}

#[test]
fn a_good_file_has_nothing_to_complain_about() {
    assert_eq!(mistakes("Why it is.", "Why it is."), Vec::<String>::new());
    let file = parse(PATH, GOOD).unwrap();
    assert_eq!(file.folder, "scanners");
    assert_eq!(file.prose, "A stock that is worth a look.\n\nWhy it is.");
    let defaults: Vec<_> = file.parameters.iter().map(|parameter| parameter.default.clone()).collect();
    let text = |text: &str| Some(Literal::Text(text.to_owned()));
    assert_eq!(defaults, [None, Some(Literal::Integer(5)), Some(Literal::Null), text("it's"), Some(Literal::Double(-0.5))]);
    assert!(file.body.starts_with("-- A comment.\nSELECT") || file.body.starts_with("SELECT"), "{}", file.body);
    assert!(file.body.ends_with("> 0"), "the semicolon is not part of the body: {}", file.body);
}

#[test]
fn the_description_holds_defaults_and_inherited_parameters() {
    let files = [parse(PATH, GOOD).unwrap(), parse("sql/blocks/block.sql", BLOCK).unwrap()];
    let description = files[0].description(&files);
    let lines: Vec<&str> = description.lines().filter(|line| line.starts_with('@')).collect();
    let expected = [
        "@param scan_date DATE: the session.",
        "@param period := 5 INTEGER sessions, 1 to 250: how many sessions it looks back on.",
        "@param least := NULL DOUBLE %, 0 or more step 0.5: least rise. NULL: any.",
        "@param label := 'it''s' VARCHAR: a label.",
        "@param share := -0.5 DOUBLE: a share.",
        "@column symbol name of the stock.",
        "@source A book.",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_subscript_does_not_hide_the_relation_before_a_column() {
    for good in ["session.numbers[1] >=", "session.numbers[session.place].label >=", "session.periods.period[1] >="] {
        assert_eq!(mistakes("session.number >=", good), Vec::<String>::new(), "{good}");
    }
}

#[test]
fn mistakes_are_named_with_their_line() {
    let cases = [
        ("-- A stock that is worth a look.", "--", "sql/scanners/scan_good.sql:1: first line '--'; expected '-- ' and one sentence"),
        ("@param period", "@parm period", ":6: unknown tag '@parm'; expected @param, @inherit, @column, @tag, @source or @example"),
        (
            "INTEGER sessions, 1 to 250:",
            "sessions 1 to 250:",
            ":6: '@param period sessions 1 to 250: how many sessions it looks back on.'; expected '@param name TYPE unit, range: meaning'",
        ),
        ("1 to 250: how", "from 1: how", ":6: range 'from 1' of 'period'; expected '0 or more', '1 to 250' or '0 to 50 step 0.5'"),
        (
            "1 to 250: how",
            "1 to 200: how",
            ":17: guard integer_in_range(period, 1, 250, …), where line 6 has another range; expected integer_in_range(period, 1, 200, …)",
        ),
        (
            "integer_in_range(period, 1, 250, 'scan_good', 'period')",
            "3",
            ":6: range of 'period' that nothing checks; expected integer_in_range(period, 1, 250, …) where it is used",
        ),
        (
            "session.number >=",
            "session.number > period AND session.number >=",
            ":17: 'period' read without its guard; expected integer_in_range(period, 1, 250, …)",
        ),
        (
            "least DOUBLE %, 0 or more step 0.5: least rise. NULL: any.",
            "least VARCHAR one of long, short: which side.",
            ":18: guard number_in_range_or_null(least, 0, NULL, …), where line 8 has another range; expected one_of(least, 'long, short', …)",
        ),
        ("@param least DOUBLE", "@param period DOUBLE", ":8: a second '@param period'; expected one for each parameter"),
        (
            "@param least",
            "@param leest",
            ":8: '@param leest' which the signature does not have; expected one of scan_date, period, least, label, share",
        ),
        (
            "-- @column symbol name of the stock.\n",
            "",
            ":1: a table macro without columns in its header; expected '@column name unit, meaning' for each column",
        ),
        ("-- @example FROM scan_good('2025-01-15')\n", "", ":10: a header without an example; expected at least one '@example'"),
        ("@source A book.", "@source", ":10: '@source' without text; expected text behind the tag"),
        ("CREATE MACRO scan_good", "CREATE MACRO scan_god", ":12: macro 'scan_god'; expected 'scan_good', the file's stem"),
        ("CREATE MACRO scan_good", "CREATE OR REPLACE MACRO scan_good", ":12: another statement; expected CREATE MACRO name(…) AS …"),
        ("> 0;", "> 0; SELECT 1;", ":12: 2 statements; expected one CREATE MACRO"),
        ("SELECT session.symbol", "SELECT symbol", ":14: unqualified column 'symbol'; expected the relation before it, as in 'bar.symbol'"),
        ("session.number >=", "number[1] >=", ":17: unqualified column 'number'; expected the relation before it"),
        ("lambda x: x + 1)) > 0", "lambda x: x + 1)) > x", ":19: unqualified column 'x'; expected the relation before it"),
        ("period := 5", "period := 2 + 3", ":12: default of 'period'; expected NULL, a number, a text or a boolean"),
        ("FROM sessions_as_of(", "FROM sessions_as_of(,", ":15: sql parser error"),
        (
            "-- @inherit block\n",
            "",
            ":11: parameter 'scan_date' without documentation; expected '@param scan_date TYPE unit, range: meaning', or '@inherit'",
        ),
        ("@inherit block", "@inherit blocks", ":5: '@inherit blocks'; expected the name of another file of sql/"),
        (
            "FROM sessions_as_of(scan_date",
            "FROM query_table(scan_date",
            ":15: a scanner that reads query_table(); expected a building block that applies the cutoff",
        ),
        (
            "FROM sessions_as_of(scan_date",
            "FROM main.\"Session_Bars\"(scan_date",
            ":15: a scanner that reads session_bars(); expected a building block",
        ),
        (
            "FROM sessions_as_of(scan_date, sessions := period) AS session",
            "FROM bars AS session",
            ":15: a scanner that reads 'bars'; expected a building block or a step",
        ),
        ("least IS NULL OR", "least > 1 OR", ":18: 'least' read without its guard; expected number_in_range_or_null(least, 0, NULL, …)"),
    ];
    for (from, to, expected) in cases {
        let found = mistakes(from, to);
        let is_parser = expected.ends_with("sql parser error");
        let expected = expected.trim_end_matches("sql parser error");
        assert!(
            found.iter().any(|message| message.contains(expected)) && (!is_parser || found.len() == 1),
            "'{from}' -> '{to}'\nexpected: {expected}\nfound: {found:#?}"
        );
    }
}

#[test]
fn a_scanner_hands_on_what_it_was_given() {
    let block = "\
-- A session.
--
-- @param scan_date DATE: the session.
-- @param cutoff_time TIME: the cutoff.
-- @param bar_minutes INTEGER minutes, 1 to 1440: length of a bar.
-- @column symbol name of the stock.
-- @example FROM sessions_as_of('2025-01-15')
CREATE MACRO sessions_as_of(scan_date, cutoff_time := '24:00', bar_minutes := 1) AS TABLE
SELECT bar.symbol FROM session_bars(scan_date, scan_date, bar_minutes := integer_in_range(bar_minutes, 1, 1440, 'f', 'p')) AS bar
";
    let scanner = |call: &str| {
        let text = format!(
            "-- A stock.\n--\n-- @inherit sessions_as_of\n-- @column symbol name of the stock.\n-- @example FROM scan_x('2025-01-15')\n\
             CREATE MACRO scan_x(scan_date, cutoff_time := '09:50', bar_minutes := 1) AS TABLE\nSELECT session.symbol FROM {call} AS session"
        );
        let files = [parse("sql/scanners/scan_x.sql", &text).unwrap(), parse("sql/blocks/sessions_as_of.sql", block).unwrap()];
        check_together(&files).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(scanner("sessions_as_of(scan_date, cutoff_time := cutoff_time, bar_minutes := bar_minutes)"), Vec::<String>::new());
    assert_eq!(
        scanner("sessions_as_of(scan_date, bar_minutes := bar_minutes)"),
        ["sql/scanners/scan_x.sql:7: sessions_as_of() without 'cutoff_time := cutoff_time'; expected the scanner's own to be handed on"]
    );
    // An inherited range binds whoever reads the parameter.
    assert_eq!(
        scanner("sessions_as_of(scan_date + bar_minutes, cutoff_time := cutoff_time, bar_minutes := bar_minutes)"),
        [
            "sql/scanners/scan_x.sql:6: range of 'bar_minutes' that nothing checks; expected integer_in_range(bar_minutes, 1, 1440, …) where it is used"
        ]
    );
}
