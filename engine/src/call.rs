//! Calling a table function by name: arguments checked against its signature, values bound.

use duckdb::types::{TimeUnit, Value};

use crate::{Engine, Error, Parameter, Query, Result, Signature, error::nearest};

/// A named argument as text or as a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Argument {
    /// As typed by a person: `100`, `NULL`, `A,B`. Read as the type that the parameter's documentation names, else by its looks.
    Text(String),
    /// As it is.
    Value(Value),
}

/// A checked call, ready to run.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The function.
    pub function: String,
    /// The arguments given, in the signature's order.
    pub arguments: Vec<(String, Value)>,
}

impl Call {
    /// The statement, with a `?` for each value.
    #[must_use]
    pub fn query(&self) -> Query {
        let arguments: Vec<String> = self.arguments.iter().map(|(name, _)| format!("{} := ?", quoted(name))).collect();
        Query {
            sql: format!("FROM {}({})", quoted(&self.function), arguments.join(", ")),
            values: self.arguments.iter().map(|(_, value)| value.clone()).collect(),
            scanner: self.function.starts_with("scan_").then(|| self.function.clone()),
        }
    }

    /// The statement with its values written out, to paste into any DuckDB with Stockscan loaded.
    #[must_use]
    pub fn sql(&self) -> String {
        let arguments: Vec<String> = self.arguments.iter().map(|(name, value)| format!("{} := {}", plain(name), literal(value))).collect();
        format!("FROM {}({})", plain(&self.function), arguments.join(", "))
    }
}

impl Engine {
    /// Checks a call of a table function against its signature.
    ///
    /// A `source` parameter that is not given becomes the engine's source, if it has one.
    ///
    /// # Errors
    /// [`Error::UnknownFunction`], [`Error::UnknownParameter`] with the nearest name, [`Error::MissingArgument`].
    pub fn call(&self, function: &str, arguments: &[(String, Argument)]) -> Result<Call> {
        let signature = self.signature(function)?;
        check_names(&signature, arguments.iter().map(|(name, _)| name.as_str()))?;
        let has_texts = arguments.iter().any(|(_, argument)| matches!(argument, Argument::Text(_)));
        let documented = if has_texts { self.documented(function)? } else { Vec::new() };
        let mut checked = Vec::new();
        for (name, default) in &signature.parameters {
            // The last one given counts, as on any command line.
            let value = match arguments.iter().rev().find(|(given, _)| given == name).map(|(_, argument)| argument) {
                Some(argument) => read(argument, name, &documented),
                None if name == "source" && self.options.source.is_some() => Value::Text(self.options.source.clone().unwrap_or_default()),
                None if default.is_none() => {
                    return Err(Error::MissingArgument { function: function.to_owned(), parameter: name.clone() });
                }
                None => continue,
            };
            checked.push((name.clone(), value));
        }
        Ok(Call { function: function.to_owned(), arguments: checked })
    }

    /// Arguments as values for parameters of a function, to be handed to another one that calls it. Of a name given twice the last one counts.
    ///
    /// # Errors
    /// [`Error::UnknownFunction`], [`Error::UnknownParameter`] with the nearest name.
    pub fn values(&self, function: &str, given: &[(String, Argument)]) -> Result<Vec<(String, Value)>> {
        check_names(&self.signature(function)?, given.iter().map(|(name, _)| name.as_str()))?;
        let has_texts = given.iter().any(|(_, argument)| matches!(argument, Argument::Text(_)));
        let documented = if has_texts { self.documented(function)? } else { Vec::new() };
        let mut values: Vec<(String, Value)> = Vec::new();
        for (name, argument) in given {
            values.retain(|(other, _)| other != name);
            values.push((name.clone(), read(argument, name, &documented)));
        }
        Ok(values)
    }

    /// What is documented of a function's parameters: of a scanner's, that is.
    fn documented(&self, function: &str) -> Result<Vec<Parameter>> {
        function.strip_prefix("scan_").map_or_else(|| Ok(Vec::new()), |scanner| self.scanner_parameters(scanner))
    }
}

fn check_names<'a>(signature: &Signature, mut names: impl Iterator<Item = &'a str>) -> Result<()> {
    let known: Vec<String> = signature.parameters.iter().map(|(name, _)| name.clone()).collect();
    match names.find(|given| !known.iter().any(|name| name == given)) {
        Some(given) => {
            let suggestion = nearest(given, known.iter().map(String::as_str));
            Err(Error::UnknownParameter { function: signature.function.clone(), given: given.to_owned(), suggestion, known })
        }
        None => Ok(()),
    }
}

/// An argument as the value of a parameter.
fn read(argument: &Argument, name: &str, documented: &[Parameter]) -> Value {
    match argument {
        Argument::Value(value) => value.clone(),
        Argument::Text(text) => {
            let sql_type = documented.iter().find(|parameter| parameter.name == name).and_then(|parameter| parameter.sql_type.as_deref());
            value_of(text, sql_type)
        }
    }
}

/// Reads a text as a documented type, or by its looks. What does not fit stays a text: the function's guard says what is wrong with it.
#[must_use]
pub fn value_of(text: &str, sql_type: Option<&str>) -> Value {
    let text = text.trim();
    if text.eq_ignore_ascii_case("null") {
        return Value::Null;
    }
    let as_text = || Value::Text(text.to_owned());
    let integer = || text.parse().map(Value::BigInt);
    let double = || text.parse().map(Value::Double);
    let boolean = || text.to_ascii_lowercase().parse().map(Value::Boolean);
    match sql_type {
        Some("INTEGER" | "BIGINT") => integer().unwrap_or_else(|_| as_text()),
        Some("DOUBLE") => double().unwrap_or_else(|_| as_text()),
        Some("BOOLEAN") => boolean().unwrap_or_else(|_| as_text()),
        Some(list) if list.ends_with("[]") => Value::List(
            text.split(',').map(|item| Value::Text(item.trim().to_owned())).filter(|item| *item != Value::Text(String::new())).collect(),
        ),
        Some(_) => as_text(),
        None => integer().or_else(|_| double()).unwrap_or_else(|_| boolean().unwrap_or_else(|_| as_text())),
    }
}

/// A name as SQL text.
#[must_use]
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL text.
#[must_use]
pub fn quoted_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn plain(name: &str) -> String {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if is_plain { name.to_owned() } else { quoted(name) }
}

/// A value as SQL text, for people to read and paste.
#[must_use]
pub fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Boolean(value) => value.to_string(),
        Value::TinyInt(value) => value.to_string(),
        Value::SmallInt(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::BigInt(value) => value.to_string(),
        Value::HugeInt(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::Double(value) => value.to_string(),
        Value::Decimal(value) => value.to_string(),
        Value::Text(text) => quoted_text(text),
        Value::List(items) => format!("[{}]", items.iter().map(literal).collect::<Vec<_>>().join(", ")),
        Value::Struct(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{}: {}", plain(name), literal(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        Value::Timestamp(TimeUnit::Microsecond, microseconds) => format!("make_timestamp({microseconds})"),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_the_documented_type() {
        assert_eq!(value_of("100", Some("INTEGER")), Value::BigInt(100));
        assert_eq!(value_of("100", Some("DOUBLE")), Value::Double(100.0));
        assert_eq!(value_of("100", Some("VARCHAR")), Value::Text("100".to_owned()));
        assert_eq!(value_of("NULL", Some("DOUBLE")), Value::Null);
        assert_eq!(value_of("1.5", Some("INTEGER")), Value::Text("1.5".to_owned()), "left for the guard to refuse");
        let list = Value::List(vec![Value::Text("A".to_owned()), Value::Text("B".to_owned())]);
        assert_eq!(value_of("A, B,", Some("VARCHAR[]")), list);
    }

    #[test]
    fn texts_without_a_documented_type_go_by_their_looks() {
        assert_eq!(value_of("5", None), Value::BigInt(5));
        assert_eq!(value_of("0.5", None), Value::Double(0.5));
        assert_eq!(value_of("true", None), Value::Boolean(true));
        assert_eq!(value_of("09:50", None), Value::Text("09:50".to_owned()));
    }

    #[test]
    fn written_out_texts_cannot_end_their_quotes() {
        assert_eq!(literal(&Value::Text("x'); DROP TABLE bars; --".to_owned())), "'x''); DROP TABLE bars; --'");
        let fields =
            vec![("min_price".to_owned(), Value::List(vec![Value::Double(1.5), Value::Null])), ("a\"b".to_owned(), Value::BigInt(2))];
        assert_eq!(literal(&Value::Struct(fields.into())), "{min_price: [1.5, NULL], \"a\"\"b\": 2}");
    }
}
