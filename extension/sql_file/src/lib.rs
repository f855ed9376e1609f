//! A file of `sql/`: one `CREATE MACRO` under a header of comments that documents it.
//!
//! [`parse`] reads one file and [`check_together`] compares all of them; both answer with every mistake found, as
//! [`Diagnostic`]s that print `path:line: given; expected`. The build checks the files of `sql/` with them, the engine those of a user.
//! [`check_macro`] applies what it can to a macro that is no file. What DuckDB does with the result stands in the extension and the engine.

mod header;
mod rules;
mod statement;

use std::fmt;

pub use rules::BLOCKS;

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

/// What `@column` says: `NAME [unit,] meaning`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The column.
    pub name: String,
    /// Everything after the name.
    pub meaning: String,
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

/// A function that is there already, as far as files refer to it: its name is taken, and `@inherit` finds its parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct BuiltIn {
    /// Its name.
    pub name: String,
    /// Its documented parameters.
    pub parameter_docs: Vec<ParameterDoc>,
}

impl BuiltIn {
    /// A function with the texts behind its parameters' names, as [`ParameterDoc::text`] has them.
    #[must_use]
    pub fn new<'a>(name: &str, parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> BuiltIn {
        let docs = parameters.into_iter().filter_map(|(name, text)| header::parameter(&format!("{name} {text}"), 0).ok());
        BuiltIn { name: name.to_owned(), parameter_docs: docs.collect() }
    }
}

/// What came of a file: its content, unless there is no `CREATE MACRO` to be read, and every mistake in it, in the order of its lines.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// The content.
    pub file: Option<SqlFile>,
    /// The mistakes.
    pub mistakes: Vec<Diagnostic>,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq)]
pub struct SqlFile {
    /// Where it was read from.
    pub path: String,
    /// The folder it stands in, which is its category.
    pub folder: String,
    /// The macro's name, which is the file's stem.
    pub name: String,
    /// Line of the name.
    pub name_line: usize,
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
    /// `@column`: what each column holds.
    pub columns: Vec<Column>,
    /// `@tag`: categories besides the folder.
    pub tags: Vec<String>,
    /// `@source`: where the formulas come from.
    pub sources: Vec<String>,
    /// `@example`: statements that are run as tests.
    pub examples: Vec<String>,
    /// The query or expression after `AS [TABLE]`.
    pub body: String,
    /// Line on which it starts.
    pub body_line: usize,
    /// What the body names, for the rules.
    uses: statement::Uses,
}

impl SqlFile {
    /// The text that DuckDB shows as the function's description: prose, then one `@` line per parameter, column and source.
    ///
    /// `@inherit` is looked up in `files` and `built_in`. The parameter lines are
    /// `@param name [:= default] TYPE [unit][, range]: meaning`, which `scanner_parameters()` takes apart again.
    #[must_use]
    pub fn description(&self, files: &[SqlFile], built_in: &[BuiltIn]) -> String {
        let mut text = self.prose.clone();
        text.push('\n');
        for parameter in &self.parameters {
            let Some(doc) = self.parameter_doc(&parameter.name, files, built_in) else {
                continue;
            };
            let default = parameter.default.as_ref().map_or(String::new(), |value| format!(" := {value}"));
            text.push_str(&format!("\n@param {}{default} {}", parameter.name, doc.text));
        }
        for column in &self.columns {
            text.push_str(&format!("\n@column {} {}", column.name, column.meaning));
        }
        for source in &self.sources {
            text.push_str(&format!("\n@source {source}"));
        }
        text
    }

    /// The documentation of a parameter: this file's own, else that of a function named by `@inherit`.
    #[must_use]
    pub fn parameter_doc<'a>(&'a self, name: &str, files: &'a [SqlFile], built_in: &'a [BuiltIn]) -> Option<&'a ParameterDoc> {
        self.inherited_doc(name, files, built_in, &mut Vec::new())
    }

    /// `seen` are the files on the way here, since files of a user's may inherit from each other.
    fn inherited_doc<'a>(
        &'a self,
        name: &str,
        files: &'a [SqlFile],
        built_in: &'a [BuiltIn],
        seen: &mut Vec<&'a str>,
    ) -> Option<&'a ParameterDoc> {
        if let Some(own) = self.parameter_docs.iter().find(|doc| doc.name == name) {
            return Some(own);
        }
        if seen.contains(&self.name.as_str()) {
            return None;
        }
        seen.push(&self.name);
        self.inherits.iter().find_map(|(inherited, _)| {
            let file = files.iter().find(|file| file.name == *inherited);
            let function = built_in.iter().find(|function| function.name == *inherited);
            file.and_then(|file| file.inherited_doc(name, files, built_in, seen))
                .or_else(|| function.and_then(|function| function.parameter_docs.iter().find(|doc| doc.name == name)))
        })
    }

    /// Line on which the body first reads this relation or function.
    #[must_use]
    pub fn line_of(&self, relation: &str) -> Option<usize> {
        self.uses.relations.iter().find(|used| used.name == relation).map(|used| used.line)
    }

    /// The scanners that its body reads, in lower case.
    pub fn scanners_read(&self) -> impl Iterator<Item = &str> {
        self.uses.relations.iter().map(|relation| relation.name.as_str()).filter(|name| name.starts_with("scan_"))
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
#[must_use]
pub fn parse(path: &str, text: &str) -> Parsed {
    let mut diagnostics = Diagnostics { path: path.to_owned(), found: Vec::new() };
    if text.trim().is_empty() {
        diagnostics.add(1, "an empty file", "a header of comments, and one CREATE MACRO");
        return Parsed { file: None, mistakes: diagnostics.found };
    }
    let header = header::read(text, &mut diagnostics);
    let statement = statement::read(text, &mut diagnostics);
    let file = statement.map(|statement| {
        let file = SqlFile {
            path: path.to_owned(),
            folder: folder(path),
            name: statement.name,
            name_line: statement.name_line,
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
            body_line: statement.body_line,
            uses: statement.uses,
        };
        rules::check_alone(&file, &mut diagnostics);
        file
    });
    diagnostics.found.sort_by_key(|diagnostic| diagnostic.line);
    Parsed { file, mistakes: diagnostics.found }
}

/// Checks what only shows when all files are known: inherited documentation, doubled names, who reads the source.
#[must_use]
pub fn check_together(files: &[SqlFile], built_in: &[BuiltIn]) -> Vec<Diagnostic> {
    rules::check_together(files, built_in)
}

/// What is wrong with a macro of a database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MacroMistakes {
    /// What it reads, or does not hand on, so that nothing keeps bars after the cutoff out of it.
    pub reading: Vec<Diagnostic>,
    /// Guards and columns.
    pub others: Vec<Diagnostic>,
}

/// Checks a scanner that is a macro in a database, as far as the rules can apply to one: what it reads, guards, qualified columns.
///
/// `parameters` are names with defaults as SQL text; `documentation` is its comment, whose `@param` lines count. A parameter that it does
/// not document has the documentation of the built-in scanners' parameter of that name. Lines mean nothing here.
#[must_use]
pub fn check_macro(
    name: &str,
    parameters: &[(String, Option<String>)],
    documentation: &str,
    body: &str,
    built_in: &[BuiltIn],
) -> MacroMistakes {
    let signature: Vec<String> = parameters
        .iter()
        .map(|(name, default)| format!("\"{name}\"{}", default.as_ref().map_or(String::new(), |default| format!(" := {default}"))))
        .collect();
    let mut diagnostics = Diagnostics { path: name.to_owned(), found: Vec::new() };
    let Some(statement) = statement::read(&format!("CREATE MACRO \"{name}\"({}) AS TABLE {body}", signature.join(", ")), &mut diagnostics)
    else {
        return MacroMistakes { reading: Vec::new(), others: diagnostics.found };
    };
    let scanners = built_in.iter().filter(|function| function.name.starts_with("scan_"));
    let file = SqlFile {
        path: name.to_owned(),
        folder: String::new(),
        name: name.to_owned(),
        name_line: 0,
        kind: statement.kind,
        prose: String::new(),
        parameters: statement.parameters,
        parameter_docs: documentation.lines().filter_map(header::documented_parameter).collect(),
        inherits: scanners.map(|function| (function.name.clone(), 0)).collect(),
        columns: Vec::new(),
        tags: Vec::new(),
        sources: Vec::new(),
        examples: Vec::new(),
        body: statement.body,
        body_line: statement.body_line,
        uses: statement.uses,
    };
    let mut mistakes = rules::check_use(&file, built_in);
    mistakes.others.splice(0..0, diagnostics.found);
    mistakes.others.dedup_by(|one, other| one.given == other.given);
    mistakes
}

fn folder(path: &str) -> String {
    let mut parts = path.rsplit(['/', '\\']);
    parts.next();
    parts.next().unwrap_or_default().to_owned()
}

fn stem(path: &str) -> &str {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    match name.rsplit_once('.') {
        Some((stem, ending)) if ending.eq_ignore_ascii_case("sql") => stem,
        _ => name,
    }
}
