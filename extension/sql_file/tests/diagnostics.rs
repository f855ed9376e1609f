//! What is wrong with a file of `sql/` is said with its place. Each case is a good file with one mistake in it.

use stockscan_sql_file::{BuiltIn, Literal, SqlFile, check_macro, check_together, parse};

const GOOD: &str = "\
-- A stock that is worth a look.
--
-- Why it is.
--
-- @inherit block
-- @param period INTEGER sessions, 1 to 250: how many sessions
--   it looks back on.
-- @param least DOUBLE %, 0 or more step 0.5: least rise. NULL: any.
-- @column scan_date date of the session.
-- @column symbol name of the stock.
-- @column price currency, so far.
-- @column volume shares, so far.
-- @column probability_score points.
-- @column rank place within the session.
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

/// The columns of the good file.
const COLUMNS: &str = "\
-- @column scan_date date of the session.
-- @column symbol name of the stock.
-- @column price currency, so far.
-- @column volume shares, so far.
-- @column probability_score points.
-- @column rank place within the session.
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

/// A file without mistakes.
fn good(path: &str, text: &str) -> SqlFile {
    let parsed = parse(path, text);
    assert_eq!(parsed.mistakes, []);
    parsed.file.expect("it has a CREATE MACRO")
}

/// The messages for a good file in which `from` became `to`.
fn mistakes(from: &str, to: &str) -> Vec<String> {
    assert!(GOOD.contains(from), "{from}");
    let parsed = parse(PATH, &GOOD.replacen(from, to, 1));
    let files: Vec<SqlFile> = parsed.file.into_iter().chain([good("sql/blocks/block.sql", BLOCK)]).collect();
    parsed.mistakes.iter().chain(&check_together(&files, &[])).map(ToString::to_string).collect()
}

#[test]
fn a_good_file_has_nothing_to_complain_about() {
    assert_eq!(mistakes("Why it is.", "Why it is."), Vec::<String>::new());
    let file = good(PATH, GOOD);
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
    let files = [good(PATH, GOOD), good("sql/blocks/block.sql", BLOCK)];
    let description = files[0].description(&files, &[]);
    let lines: Vec<&str> = description.lines().filter(|line| line.starts_with('@')).collect();
    let expected = [
        "@param scan_date DATE: the session.",
        "@param period := 5 INTEGER sessions, 1 to 250: how many sessions it looks back on.",
        "@param least := NULL DOUBLE %, 0 or more step 0.5: least rise. NULL: any.",
        "@param label := 'it''s' VARCHAR: a label.",
        "@param share := -0.5 DOUBLE: a share.",
        "@column scan_date date of the session.",
        "@column symbol name of the stock.",
        "@column price currency, so far.",
        "@column volume shares, so far.",
        "@column probability_score points.",
        "@column rank place within the session.",
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
            ":22: guard integer_in_range(period, 1, 250, …), where line 6 has another range; expected integer_in_range(period, 1, 200, …)",
        ),
        (
            "integer_in_range(period, 1, 250, 'scan_good', 'period')",
            "3",
            ":6: range of 'period' that nothing checks; expected integer_in_range(period, 1, 250, …) where it is used",
        ),
        (
            "session.number >=",
            "session.number > period AND session.number >=",
            ":22: 'period' read without its guard; expected integer_in_range(period, 1, 250, …)",
        ),
        (
            "least DOUBLE %, 0 or more step 0.5: least rise. NULL: any.",
            "least VARCHAR one of long, short: which side.",
            ":23: guard number_in_range_or_null(least, 0, NULL, …), where line 8 has another range; expected one_of(least, 'long, short', …)",
        ),
        ("@param least DOUBLE", "@param period DOUBLE", ":8: a second '@param period'; expected one for each parameter"),
        (
            "@param least",
            "@param leest",
            ":8: '@param leest' which the signature does not have; expected one of scan_date, period, least, label, share",
        ),
        (COLUMNS, "", ":1: a table macro without columns in its header; expected '@column name unit, meaning' for each column"),
        ("-- @example FROM scan_good('2025-01-15')\n", "", ":15: a header without an example; expected at least one '@example'"),
        ("@source A book.", "@source", ":15: '@source' without text; expected text behind the tag"),
        ("CREATE MACRO scan_good", "CREATE MACRO scan_god", ":17: macro 'scan_god'; expected 'scan_good', the file's stem"),
        ("CREATE MACRO scan_good", "CREATE OR REPLACE MACRO scan_good", ":17: another statement; expected CREATE MACRO name(…) AS …"),
        ("> 0;", "> 0; SELECT 1;", ":17: 2 statements; expected one CREATE MACRO"),
        ("SELECT session.symbol", "SELECT symbol", ":19: unqualified column 'symbol'; expected the relation before it, as in 'bar.symbol'"),
        ("session.number >=", "number[1] >=", ":22: unqualified column 'number'; expected the relation before it"),
        ("lambda x: x + 1)) > 0", "lambda x: x + 1)) > x", ":24: unqualified column 'x'; expected the relation before it"),
        ("period := 5", "period := 2 + 3", ":17: default of 'period'; expected NULL, a number, a text or a boolean"),
        ("FROM sessions_as_of(", "FROM sessions_as_of(,", ":20: sql parser error"),
        (
            "-- @inherit block\n",
            "",
            ":16: parameter 'scan_date' without documentation; expected '@param scan_date TYPE unit, range: meaning', or '@inherit'",
        ),
        (
            "@inherit block",
            "@inherit blocks",
            ":5: '@inherit blocks'; expected the name of another file, or of a function that is built in",
        ),
        (
            "FROM sessions_as_of(scan_date",
            "FROM query_table(scan_date",
            ":20: a scanner that reads query_table(); expected a building block that applies the cutoff",
        ),
        (
            "FROM sessions_as_of(scan_date",
            "FROM main.\"Session_Bars\"(scan_date",
            ":20: a scanner that reads session_bars(); expected a building block",
        ),
        (
            "FROM sessions_as_of(scan_date, sessions := period) AS session",
            "FROM bars AS session",
            ":20: a scanner that reads 'bars'; expected a building block or a step",
        ),
        (
            "-- @column scan_date date of the session.\n",
            "",
            ":9: columns that start with symbol, price, volume; expected scan_date, symbol, price",
        ),
        (
            "-- @column rank place within the session.\n",
            "",
            ":13: columns that end with price, volume, probability_score; expected volume, probability_score, rank",
        ),
        (
            "(scan_date, period := 5",
            "(scan_date := NULL, period := 5",
            ":17: a scanner without parameter 'scan_date'; expected 'scan_date'",
        ),
        (
            "FROM sessions_as_of(scan_date, sessions := period)",
            "FROM scan_other(scan_date, sessions := period)",
            ":20: a scanner that reads scan_other(); expected a scanner of another file, or one that is built in",
        ),
        ("least IS NULL OR", "least > 1 OR", ":23: 'least' read without its guard; expected number_in_range_or_null(least, 0, NULL, …)"),
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
            "-- A stock.\n--\n-- @inherit sessions_as_of\n{COLUMNS}-- @example FROM scan_x('2025-01-15')\n\
             CREATE MACRO scan_x(scan_date, cutoff_time := '09:50', bar_minutes := 1) AS TABLE\nSELECT session.symbol FROM {call} AS session"
        );
        let files = [good("sql/scanners/scan_x.sql", &text), good("sql/blocks/sessions_as_of.sql", block)];
        check_together(&files, &[]).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(scanner("sessions_as_of(scan_date, cutoff_time := cutoff_time, bar_minutes := bar_minutes)"), Vec::<String>::new());
    assert_eq!(
        scanner("sessions_as_of(scan_date, bar_minutes := bar_minutes)"),
        ["sql/scanners/scan_x.sql:12: sessions_as_of() without 'cutoff_time := cutoff_time'; expected the scanner's own to be handed on"]
    );
    // An inherited range binds whoever reads the parameter.
    assert_eq!(
        scanner("sessions_as_of(scan_date + bar_minutes, cutoff_time := cutoff_time, bar_minutes := bar_minutes)"),
        [
            "sql/scanners/scan_x.sql:11: range of 'bar_minutes' that nothing checks; expected integer_in_range(bar_minutes, 1, 1440, …) where it is used"
        ]
    );
}

#[test]
fn a_file_of_a_users_own_inherits_from_what_is_built_in() {
    let block = BuiltIn::new("block", [("scan_date", "DATE: the session."), ("label", "VARCHAR: a label."), ("share", "DOUBLE: a share.")]);
    let check = |path: &str, text: &str, built_in: &[BuiltIn]| -> Vec<String> {
        check_together(&[good(path, text)], built_in).iter().map(ToString::to_string).collect()
    };
    assert_eq!(check("mine/scan_good.sql", GOOD, std::slice::from_ref(&block)), Vec::<String>::new());
    let clash = [block.clone(), BuiltIn::new("scan_good", [])];
    assert_eq!(
        check("mine/scan_good.sql", GOOD, &clash),
        ["mine/scan_good.sql:17: 'scan_good', which is built in; expected a name of its own"]
    );
    // What a scanner may read does not depend on the folder's name.
    let reading = GOOD.replace("FROM sessions_as_of(scan_date, sessions := period) AS session", "FROM bars AS session");
    assert_eq!(
        check("mine/scan_good.sql", &reading, &[block]),
        ["mine/scan_good.sql:20: a scanner that reads 'bars'; expected a building block or a step of its own"]
    );
    // Two files that inherit from each other end, too.
    let one = GOOD.replace("@inherit block", "@inherit scan_two");
    let two = GOOD.replace("@inherit block", "@inherit scan_good").replace("scan_good(scan_date, p", "scan_two(scan_date, p");
    let found = check_together(&[good("mine/scan_good.sql", &one), good("mine/scan_two.sql", &two)], &[]);
    assert!(found.iter().any(|mistake| mistake.given == "parameter 'label' without documentation"), "{found:?}");
}

#[test]
fn line_ends_of_windows_change_nothing() {
    let file = good(PATH, &GOOD.replace('\n', "\r\n"));
    assert_eq!((file.prose.as_str(), file.columns.len(), file.name_line), ("A stock that is worth a look.\n\nWhy it is.", 6, 17));
    assert!(file.body.starts_with("-- A comment.") || file.body.starts_with("SELECT"), "{}", file.body);
    assert!(file.body.ends_with("> 0"), "{}", file.body);
}

#[test]
fn a_file_without_anything_is_named_once() {
    for text in ["", "\n \n"] {
        let found: Vec<String> = parse(PATH, text).mistakes.iter().map(ToString::to_string).collect();
        assert_eq!(found, ["sql/scanners/scan_good.sql:1: an empty file; expected a header of comments, and one CREATE MACRO"]);
    }
}

#[test]
fn a_macro_in_a_database_is_held_to_what_can_apply_to_it() {
    let built_in = [BuiltIn::new(
        "scan_other",
        [("scan_date", "DATE: the session."), ("min_price", "DOUBLE currency, 0 or more step 1: lowest price.")],
    )];
    let check = |documentation: &str, body: &str| -> Vec<String> {
        let parameters = [("scan_date", None), ("min_price", Some("50")), ("label", Some("'it''s; a := b: c'"))]
            .map(|(name, default): (&str, Option<&str>)| (name.to_owned(), default.map(str::to_owned)));
        let found = check_macro("scan_mine", &parameters, documentation, body, &built_in);
        found.reading.iter().chain(&found.others).map(|found| format!("{}; expected {}", found.given, found.expected)).collect()
    };
    let body = "SELECT s.symbol FROM sessions_as_of(scan_date) AS s WHERE s.price >= number_in_range(min_price, 0, NULL, 'scan_mine', 'min_price')";
    assert_eq!(check("", body), Vec::<String>::new());
    assert_eq!(
        check("Mine.\n\n@param min_price := 50 DOUBLE currency, 1 to 9: lowest.", body),
        ["guard number_in_range(min_price, 0, NULL, …), where the comment has another range; expected number_in_range(min_price, 1, 9, …)"]
    );
    // A name means the same everywhere, so an undocumented parameter is held to the built-in scanners' range.
    assert_eq!(
        check("", "SELECT s.symbol FROM sessions_as_of(scan_date) AS s WHERE s.price >= min_price"),
        ["range of 'min_price' that nothing checks; expected number_in_range(min_price, 0, NULL, …) where it is used"]
    );
    assert_eq!(
        check("@param label := 'it''s; a := b: c' VARCHAR one of a, b: which.\n@param min_price DOUBLE: any.", "SELECT symbol FROM bars"),
        [
            "a scanner that reads 'bars'; expected a building block or a step of its own",
            "unqualified column 'symbol'; expected the relation before it, as in 'bar.symbol'",
            "range of 'label' that nothing checks; expected one_of(label, 'a, b', …) where it is used"
        ]
    );
}
