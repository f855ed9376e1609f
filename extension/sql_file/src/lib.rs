//! A file of `sql/`: one `CREATE MACRO` under a header of comments that documents it.
//!
//! [`parse`] reads one file and [`check_together`] compares all of them; both answer with every mistake found, as
//! [`Diagnostic`]s that print `path:line: given; expected`. What DuckDB does with the result stands in the extension.

mod header;
mod rules;
mod statement;

use std::fmt;

/// Whether a macro is called like a scalar function or like a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `SELECT name(…)`
    Scalar,
    /// `FROM name(…)`
    Table,
}

/// A parameter's default: macros take literals only.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// `NULL`
    Null,
    /// `true` or `false`
    Boolean(bool),
    /// A whole number
    Integer(i64),
    /// A number with a fraction
    Double(f64),
    /// A quoted text
    Text(String),
}

impl fmt::Display for Literal {
    /// As it stands in SQL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Literal::Null => f.write_str("NULL"),
            Literal::Boolean(value) => write!(f, "{value}"),
            Literal::Integer(value) => write!(f, "{value}"),
            Literal::Double(value) => write!(f, "{value:?}"),
            Literal::Text(value) => write!(f, "'{}'", value.replace('\'', "''")),
        }
    }
}

/// One parameter of the signature.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Its name in the signature.
    pub name: String,
    /// What it is when the caller leaves it out; `None`: the caller must give it.
    pub default: Option<Literal>,
    /// Line of the signature.
    pub line: usize,
}

/// What `@param` says: `NAME TYPE [unit][, range]: meaning`.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterDoc {
    /// The parameter.
    pub name: String,
    /// Everything after the name, as written: `INTEGER sessions, 1 to 250: how many …`.
    pub text: String,
    /// The SQL type that the value is read as.
    pub sql_type: String,
    /// The numeric range, when one is given.
    pub range: Option<Range>,
    /// The texts allowed, as written: `long, short, any`.
    pub choices: Option<String>,
    /// Line of the tag.
    pub line: usize,
}

/// `1 to 250`, `0 or more`, with an optional `step 0.5`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// Smallest value allowed.
    pub minimum: f64,
    /// Largest value allowed; `None`: no limit.
    pub maximum: Option<f64>,
}

/// A checked file.
#[derive(Debug, Clone, PartialEq)]
pub struct SqlFile {
    /// Where it was read from.
    pub path: String,
    /// The folder it stands in, which is its category.
    pub folder: String,
    /// The macro's name, which is the file's stem.
    pub name: String,
    /// Scalar or table macro.
    pub kind: Kind,
    /// The first sentence and the prose, paragraphs separated by an empty line.
    pub prose: String,
    /// The signature.
    pub parameters: Vec<Parameter>,
    /// `@param` of this file.
    pub parameter_docs: Vec<ParameterDoc>,
    /// `@inherit`: functions whose parameters of the same name document ours, each with the tag's line.
    pub inherits: Vec<(String, usize)>,
    /// `@column`: name and what it holds.
    pub columns: Vec<(String, String)>,
    /// `@tag`: categories besides the folder.
    pub tags: Vec<String>,
    /// `@source`: where the formulas come from.
    pub sources: Vec<String>,
    /// `@example`: statements that are run as tests.
    pub examples: Vec<String>,
    /// The query or expression after `AS [TABLE]`.
    pub body: String,
    /// What the body names, for the rules.
    uses: statement::Uses,
}

impl SqlFile {
    /// The text that DuckDB shows as the function's description: prose, then one `@` line per parameter, column and source.
    ///
    /// `files` are all files, in which `@inherit` is looked up. The parameter lines are
    /// `@param name [:= default] TYPE [unit][, range]: meaning`, which `scanner_parameters()` takes apart again.
    #[must_use]
    pub fn description(&self, files: &[SqlFile]) -> String {
        let mut text = self.prose.clone();
        text.push('\n');
        for parameter in &self.parameters {
            let Some(doc) = self.parameter_doc(&parameter.name, files) else {
                continue;
            };
            let default = parameter.default.as_ref().map_or(String::new(), |value| format!(" := {value}"));
            text.push_str(&format!("\n@param {}{default} {}", parameter.name, doc.text));
        }
        for (name, meaning) in &self.columns {
            text.push_str(&format!("\n@column {name} {meaning}"));
        }
        for source in &self.sources {
            text.push_str(&format!("\n@source {source}"));
        }
        text
    }

    /// The documentation of a parameter: this file's own, else that of a function named by `@inherit`.
    #[must_use]
    pub fn parameter_doc<'a>(&'a self, name: &str, files: &'a [SqlFile]) -> Option<&'a ParameterDoc> {
        self.parameter_docs.iter().find(|doc| doc.name == name).or_else(|| {
            self.inherits
                .iter()
                .filter_map(|(inherited, _)| files.iter().find(|file| file.name == *inherited))
                .find_map(|file| file.parameter_doc(name, files))
        })
    }
}

/// A mistake in a file: where, what was given, what was expected.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// The file.
    pub path: String,
    /// Line in it, from 1.
    pub line: usize,
    /// What stands there.
    pub given: String,
    /// What should stand there.
    pub expected: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}; expected {}", self.path, self.line, self.given, self.expected)
    }
}

/// Collects the mistakes of one file.
struct Diagnostics {
    path: String,
    found: Vec<Diagnostic>,
}

impl Diagnostics {
    fn add(&mut self, line: usize, given: impl Into<String>, expected: impl Into<String>) {
        self.found.push(Diagnostic { path: self.path.clone(), line, given: given.into(), expected: expected.into() });
    }
}

/// Reads and checks one file. `path` is used for the stem, the folder and the messages; `text` is its content.
///
/// # Errors
/// Every mistake in the file, in the order of its lines.
pub fn parse(path: &str, text: &str) -> Result<SqlFile, Vec<Diagnostic>> {
    let mut diagnostics = Diagnostics { path: path.to_owned(), found: Vec::new() };
    let header = header::read(text, &mut diagnostics);
    let statement = statement::read(text, &mut diagnostics);
    let file = statement.map(|statement| {
        let file = SqlFile {
            path: path.to_owned(),
            folder: folder(path),
            name: statement.name,
            kind: statement.kind,
            prose: header.prose,
            parameters: statement.parameters,
            parameter_docs: header.parameter_docs,
            inherits: header.inherits,
            columns: header.columns,
            tags: header.tags,
            sources: header.sources,
            examples: header.examples,
            body: statement.body,
            uses: statement.uses,
        };
        rules::check_alone(&file, statement.name_line, &mut diagnostics);
        file
    });
    match file {
        Some(file) if diagnostics.found.is_empty() => Ok(file),
        _ => {
            diagnostics.found.sort_by_key(|diagnostic| diagnostic.line);
            Err(diagnostics.found)
        }
    }
}

/// Checks what only shows when all files are known: inherited documentation, doubled names, who reads the source.
#[must_use]
pub fn check_together(files: &[SqlFile]) -> Vec<Diagnostic> {
    rules::check_together(files)
}

fn folder(path: &str) -> String {
    let mut parts = path.rsplit(['/', '\\']);
    parts.next();
    parts.next().unwrap_or_default().to_owned()
}

fn stem(path: &str) -> &str {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    name.strip_suffix(".sql").unwrap_or(name)
}
