//! `scanner list --api-mode`

use serde_json::{Value, json};
use stockscan_engine::{Error, Parameter, Query, Result, nearest};

use super::{client::Server, request, rows};
use crate::{
    arguments::{Global, List},
    commands::list as here,
    output, progress,
    table::Numbers,
};

pub(super) fn run(global: &Global, list: &List) -> Result<()> {
    let server = Server::new(global, None)?;
    let engine = rows::engine(global)?;
    let answer = progress::waiting(global, "asking", || server.get("/scanners"))?;
    let scanners = answer.as_array().ok_or_else(|| server.broken_off("a list of scanners was expected"))?;
    let Some(name) = &list.scanner else {
        let all = format!("{} FROM scanners()", here::ALL);
        let rows: Vec<Value> = scanners.iter().map(row).collect();
        let found = rows::of_document(&engine, &Value::from(rows).to_string(), "$", Some(&Query::plain(all)))?;
        let columns = if here::is_for_machines(list) { here::ALL } else { here::FEW };
        return here::scanners(&engine, global, list, &Query { sql: format!("{columns} FROM ({})", found.sql), ..found });
    };
    let short = request::scanner(name);
    let Some(scanner) = scanners.iter().find(|scanner| text(scanner, "scanner_type") == short) else {
        let known: Vec<String> = scanners.iter().map(|scanner| text(scanner, "scanner_type").to_owned()).collect();
        let suggestion = nearest(short, known.iter().map(String::as_str));
        return Err(Error::UnknownFunction { kind: "scanner", given: name.clone(), suggestion, known });
    };
    let parameters = scanner.get("parameters").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if here::is_for_machines(list) {
        let like = Query::plain("FROM scanner_parameters()");
        let rows: Vec<Value> = parameters.iter().enumerate().map(|(place, parameter)| of_parameter(short, place, parameter)).collect();
        let query = rows::of_document(&engine, &Value::from(rows).to_string(), "$", Some(&like))?;
        output::write(&engine, &query, None, &list.output, Numbers::Exact)?;
        return Ok(());
    }
    let parameters: Vec<Parameter> = parameters.iter().map(parameter).collect();
    here::describe(text(scanner, "function_name"), text(scanner, "documentation"), &parameters)
}

fn text<'a>(document: &'a Value, name: &str) -> &'a str {
    document.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A scanner as `scanners()` has it.
fn row(scanner: &Value) -> Value {
    let parameters: Vec<&Value> =
        scanner.get("parameters").and_then(Value::as_array).into_iter().flatten().filter_map(|one| one.get("name")).collect();
    json!({
        "scanner": scanner.get("scanner_type"),
        "function_name": scanner.get("function_name"),
        "database_name": scanner.get("database_name"),
        "is_built_in": scanner.get("is_built_in"),
        "title": scanner.get("title"),
        "documentation": scanner.get("documentation"),
        "parameters": parameters,
        "examples": scanner.get("examples"),
    })
}

/// A parameter as `scanner_parameters()` has it.
fn of_parameter(scanner: &str, place: usize, parameter: &Value) -> Value {
    let mut row = json!({"scanner": scanner, "parameter": parameter.get("name"), "position": place + 1});
    for name in ["type", "default", "min", "max", "step", "unit", "choices", "doc"] {
        row[name] = parameter.get(name).cloned().unwrap_or_default();
    }
    row
}

fn parameter(document: &Value) -> Parameter {
    let optional = |name: &str| document.get(name).and_then(Value::as_str).map(str::to_owned);
    let number = |name: &str| document.get(name).and_then(Value::as_f64);
    let choices = document.get("choices").and_then(Value::as_array);
    Parameter {
        name: text(document, "name").to_owned(),
        sql_type: optional("type"),
        default: optional("default"),
        minimum: number("min"),
        maximum: number("max"),
        step: number("step"),
        choices: choices.map(|choices| choices.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")),
        unit: optional("unit"),
        doc: optional("doc"),
    }
}
