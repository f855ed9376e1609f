//! Where the functions are on DuckDB 1.5: macros in an in-memory catalogue `stockscan` that is attached when the extension is loaded, called
//! as `stockscan.scan_breakout(…)`. Nothing is written into the user's database, and no connection is kept.

use std::{
    cell::RefCell,
    collections::HashSet,
    ffi::{CStr, CString},
    fmt::Write as _,
    mem::MaybeUninit,
    ptr,
    sync::OnceLock,
};

use libduckdb_sys::{duckdb_connection, duckdb_extension_access, duckdb_extension_info, duckdb_result};
use sqlparser::{
    dialect::DuckDbDialect,
    tokenizer::{Token, Tokenizer},
};

use super::{
    Error, Result,
    api::{self, api},
    value::c_text,
    vector::FFILink,
};
use crate::registry::FUNCTIONS;

/// The catalogue's name.
const CATALOG: &str = "stockscan";

/// Of all functions, once they are registered.
static NAMES: OnceLock<HashSet<String>> = OnceLock::new();

/// DuckDB 1.5 crashes in aggregates of extensions, so these are DuckDB's own.
const AGGREGATES: &str = "
-- The values of a group as a list in the order of ts, ready for an indicator. A row whose ts is NULL is left out; a value that is NULL or NaN
-- keeps its place, as NULL.
CREATE MACRO stockscan.series(value, ts) AS
    list(
        CASE WHEN NOT isnan(CAST(value AS DOUBLE)) THEN CAST(value AS DOUBLE) END
        ORDER BY CASE WHEN system.main.stockscan_is_bar_time(typeof(ts), 'series') THEN CAST(ts AS TIMESTAMP) END, CAST(value AS DOUBLE)
    ) FILTER (CAST(ts AS TIMESTAMP) IS NOT NULL);
CREATE MACRO stockscan.series_times(ts) AS
    list(
        CASE WHEN system.main.stockscan_is_bar_time(typeof(ts), 'series_times') THEN CAST(ts AS TIMESTAMP) END ORDER BY CAST(ts AS TIMESTAMP)
    ) FILTER (CAST(ts AS TIMESTAMP) IS NOT NULL);
-- A macro has no examples nor categories there: they stand in its comment, and this hands them out as DuckDB 2.0 has them.
CREATE MACRO stockscan.documented_functions() AS TABLE
SELECT entry.* REPLACE (
    entry.internal OR entry.database_name = 'stockscan' AS internal,
    CASE WHEN entry.database_name = 'stockscan' THEN regexp_replace(entry.comment, '(?m)\\n@(?:example|category) .*$', '', 'g') ELSE entry.description END
        AS description,
    CASE WHEN entry.database_name = 'stockscan' THEN regexp_extract_all(entry.comment, '(?m)^@example (.*)$', 1) ELSE entry.examples END AS examples,
    CASE WHEN entry.database_name = 'stockscan' THEN regexp_extract_all(entry.comment, '(?m)^@category (.*)$', 1) ELSE entry.categories END
        AS categories,
    CASE WHEN entry.database_name != 'stockscan' THEN entry.comment END AS comment
)
FROM duckdb_functions() AS entry;
";

/// What the catalogue says of a function.
#[derive(Default)]
pub(super) struct Documentation {
    pub(super) description: String,
    pub(super) examples: Vec<String>,
    pub(super) categories: Vec<String>,
}

impl Documentation {
    fn comment(&self, names: &HashSet<String>) -> Result<String> {
        let mut comment = self.description.clone();
        for example in &self.examples {
            // As people call it; only the bodies are made to be read by DuckDB alone.
            let _ = write!(comment, "\n@example {}", qualified(example, names)?.replace("stockscan.main.", "stockscan."));
        }
        for category in &self.categories {
            let _ = write!(comment, "\n@category {category}");
        }
        Ok(quoted_text(&comment))
    }
}

/// A function of Rust that has been registered, and what calls it.
struct Described {
    name: String,
    /// Names and defaults.
    parameters: Vec<(String, Option<String>)>,
    documentation: Documentation,
}

/// The database that the extension is loaded into, while it is.
pub(crate) struct Extension {
    connection: Connection,
    functions: RefCell<Vec<Described>>,
}

impl FFILink for Extension {}

impl Extension {
    pub(super) fn connection(&self) -> duckdb_connection {
        self.connection.0
    }

    pub(super) fn add_function(&self, name: String, parameters: Vec<(String, Option<String>)>, documentation: Documentation) {
        let mut functions = self.functions.borrow_mut();
        // One macro calls all that have a name, whatever the types of their arguments.
        if !functions.iter().any(|function| function.name == name) {
            functions.push(Described { name, parameters, documentation });
        }
    }

    /// The macros that users call: one before each function of Rust, then those of `sql/`.
    fn create_macros(&self) -> Result<()> {
        let functions = self.functions.borrow();
        let names = NAMES.get_or_init(|| {
            let of_rust = functions.iter().map(|function| function.name.as_str());
            of_rust.chain(FUNCTIONS.iter().map(|function| function.name)).chain(["series", "series_times"]).map(str::to_owned).collect()
        });
        self.connection.run(AGGREGATES)?;
        for Described { name, parameters, documentation } in functions.iter() {
            let given = parameters.iter().map(|(name, _)| quoted(name)).collect::<Vec<_>>().join(", ");
            let parameters = parameters.iter().map(|(name, default)| (name.as_str(), default.clone()));
            self.create(name, false, parameters, &format!("system.main.{}({given})", hidden(name)), &documentation.comment(names)?)?;
        }
        // DuckDB looks up what a body calls when the macro is made.
        let mut waiting: Vec<_> = Vec::new();
        for function in FUNCTIONS {
            let tokens = tokens(function.body)?;
            let calls: HashSet<String> = called(&tokens, names).map(|place| word(&tokens[place]).to_lowercase()).collect();
            waiting.push((function, calls, rewritten(tokens, names)));
        }
        let mut missing: HashSet<&str> = FUNCTIONS.iter().map(|function| function.name).collect();
        while !waiting.is_empty() {
            let (ready, rest): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|(_, calls, _)| !calls.iter().any(|call| missing.contains(call.as_str())));
            if ready.is_empty() {
                let rest: Vec<_> = rest.iter().map(|(function, ..)| function.name).collect();
                return Err(Error::invalid_input(format!("functions that call each other in a circle: {}", rest.join(", "))));
            }
            for (function, _, body) in &ready {
                let parameters = function.parameters.iter().map(|parameter| (parameter.name, parameter.default_literal()));
                let documentation = Documentation {
                    description: function.description.to_owned(),
                    examples: function.examples.iter().map(|example| (*example).to_owned()).collect(),
                    categories: function.categories.iter().map(|category| (*category).to_owned()).collect(),
                };
                self.create(function.name, function.is_table, parameters, body, &documentation.comment(names)?)?;
                missing.remove(function.name);
            }
            waiting = rest;
        }
        Ok(())
    }

    fn create<'a>(
        &self,
        name: &str,
        is_table: bool,
        parameters: impl Iterator<Item = (&'a str, Option<String>)>,
        body: &str,
        comment: &str,
    ) -> Result<()> {
        let parameters: Vec<String> = parameters
            .map(|(name, default)| match default {
                Some(default) => format!("{} := {default}", quoted(name)),
                None => quoted(name),
            })
            .collect();
        let kind = if is_table { "TABLE" } else { "" };
        let name = format!("{CATALOG}.{}", quoted(name));
        let sql = format!("CREATE MACRO {name}({}) AS {kind} {body}; COMMENT ON MACRO {kind} {name} IS {comment};", parameters.join(", "));
        self.connection.run(&sql).map_err(|error| Error::invalid_input(format!("{name}: {error}")))
    }
}

/// The name under which a function of Rust is registered.
pub(super) fn hidden(name: &str) -> String {
    format!("{CATALOG}_{name}")
}

/// SQL in which the calls of our functions say where these are.
pub(crate) fn qualified_calls(sql: &str) -> Result<String> {
    NAMES.get().map_or_else(|| Ok(sql.to_owned()), |names| qualified(sql, names))
}

fn qualified(sql: &str, names: &HashSet<String>) -> Result<String> {
    Ok(rewritten(tokens(sql)?, names))
}

fn tokens(sql: &str) -> Result<Vec<Token>> {
    // Texts stay as they are written.
    let tokens = Tokenizer::new(&DuckDbDialect {}, sql).with_unescape(false).tokenize();
    tokens.map_err(|error| Error::invalid_input(format!("{error} in {sql}")))
}

fn word(token: &Token) -> &str {
    match token {
        Token::Word(word) => &word.value,
        _ => "",
    }
}

/// Places of the names in calls of ours that do not say where the function is. A quoted one is somebody else's.
fn called<'a>(tokens: &'a [Token], names: &'a HashSet<String>) -> impl Iterator<Item = usize> + 'a {
    let is_called =
        |place: usize| matches!(tokens[place + 1..].iter().find(|token| !matches!(token, Token::Whitespace(_))), Some(Token::LParen));
    (0..tokens.len()).filter(move |place| {
        let name = word(&tokens[*place]).to_lowercase();
        (names.contains(name.as_str()) || name == "duckdb_functions") && is_called(*place) && is_ours(tokens, *place)
    })
}

/// Whether nothing stands in front, or `system.main.`, which is where they are in DuckDB 2.0.
fn is_ours(tokens: &[Token], place: usize) -> bool {
    let is_quoted = matches!(&tokens[place], Token::Word(word) if word.quote_style.is_some());
    let is_qualified = place > 0 && tokens[place - 1] == Token::Period;
    is_of_system(tokens, place) || !(is_quoted || is_qualified)
}

fn is_of_system(tokens: &[Token], place: usize) -> bool {
    place >= 4
        && [(4, "system"), (2, "main")].iter().all(|(back, name)| word(&tokens[place - back]) == *name)
        && [3, 1].iter().all(|back| tokens[place - back] == Token::Period)
}

fn rewritten(mut tokens: Vec<Token>, names: &HashSet<String>) -> String {
    // DuckDB 1.5 unites by name what is in a list only.
    for place in 0..tokens.len() {
        if let [Token::Word(function), Token::LParen, Token::Word(source), Token::Comma, Token::Whitespace(_), Token::Word(by_name), ..] =
            &tokens[place..]
            && function.value == "query_table"
            && by_name.value == "true"
        {
            let list = format!("coalesce(TRY_CAST({source} AS VARCHAR[]), [CAST({source} AS VARCHAR)])");
            tokens[place + 2] = Token::make_word(&list, None);
        }
    }
    let places: Vec<usize> = called(&tokens, names).collect();
    for place in places {
        if is_of_system(&tokens, place) {
            tokens[place - 4] = Token::make_word(CATALOG, None);
        } else {
            let name =
                if word(&tokens[place]) == "duckdb_functions" { "documented_functions".to_owned() } else { tokens[place].to_string() };
            tokens[place] = Token::make_word(&format!("{CATALOG}.main.{name}"), None);
        }
    }
    tokens.iter().map(ToString::to_string).collect()
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn quoted_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A connection that ends with this.
struct Connection(duckdb_connection);

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: it is ours and not used again.
        unsafe { (api().duckdb_disconnect)(&mut self.0) }
    }
}

impl Connection {
    fn run(&self, sql: &str) -> Result<()> {
        self.rows(sql).map(|_| ())
    }

    /// Runs statements and says how many rows the last one has.
    fn rows(&self, sql: &str) -> Result<u64> {
        let sql = c_text(sql)?;
        let api = api();
        let mut result = MaybeUninit::<duckdb_result>::uninit();
        // SAFETY: DuckDB fills the result in either case, and it is destroyed once.
        unsafe {
            let state = (api.duckdb_query)(self.0, sql.as_ptr(), result.as_mut_ptr());
            let mut result = result.assume_init();
            let outcome = if state == 0 {
                Ok((api.duckdb_row_count)(&mut result))
            } else {
                let message = (api.duckdb_result_error)(&mut result);
                let message = if message.is_null() { "no message".into() } else { CStr::from_ptr(message).to_string_lossy().into_owned() };
                Err(Error::invalid_input(message))
            };
            (api.duckdb_destroy_result)(&mut result);
            outcome
        }
    }
}

/// What DuckDB calls when the extension is loaded.
///
/// # Safety
/// DuckDB's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stockscan_init_c_api(info: duckdb_extension_info, access: *const duckdb_extension_access) -> bool {
    // SAFETY: DuckDB's.
    let outcome = std::panic::catch_unwind(|| unsafe { load(info, access) })
        .unwrap_or_else(|_| Err("stockscan failed on an error of its own while it was loaded, which should be reported".to_owned()));
    outcome.unwrap_or_else(|message| {
        let message = CString::new(message.replace('\0', "")).unwrap_or_default();
        // SAFETY: DuckDB copies the text.
        unsafe {
            if let Some(set_error) = (*access).set_error {
                set_error(info, message.as_ptr());
            }
        }
        false
    })
}

/// # Safety
/// The arguments are those of the entrypoint.
unsafe fn load(info: duckdb_extension_info, access: *const duckdb_extension_access) -> std::result::Result<bool, String> {
    // SAFETY: the caller's.
    let database = unsafe {
        if !api::load(info, access)? {
            return Ok(false);
        }
        let get = (*access).get_database.ok_or("DuckDB gives no access to its database")?;
        get(info)
    };
    if database.is_null() {
        return Ok(false);
    }
    let mut raw = ptr::null_mut();
    // SAFETY: the database is open while its extension is loaded.
    if unsafe { (api().duckdb_connect)(*database, &mut raw) } != 0 {
        return Err("stockscan cannot connect to the database that it is loaded into".to_owned());
    }
    let extension = Extension { connection: Connection(raw), functions: RefCell::default() };
    fill(&extension).map_err(|error| error.to_string())?;
    Ok(true)
}

fn fill(extension: &Extension) -> Result<()> {
    let connection = &extension.connection;
    let taken = format!("SELECT 1 FROM duckdb_databases() WHERE lower(database_name) = '{CATALOG}'");
    if connection.rows(&taken)? > 0 {
        return Err(Error::invalid_input(format!(
            "a database named '{CATALOG}' is open, and Stockscan keeps its functions in a catalogue of that name; open yours under another \
             one, then load Stockscan: ATTACH 'stockscan.duckdb' AS market (in a shell that was started without a file)"
        )));
    }
    connection.run(&format!("ATTACH ':memory:' AS {CATALOG} (READ_WRITE)"))?;
    let filled = connection.run("BEGIN").and_then(|()| crate::register(extension)).and_then(|()| extension.create_macros());
    match filled {
        Ok(()) => connection.run("COMMIT"),
        Err(error) => {
            // What was made so far must not look like all there is.
            let _ = connection.run("ROLLBACK");
            let _ = connection.run(&format!("DETACH {CATALOG}"));
            Err(error)
        }
    }
}
