//! The JSON Schema of a configuration file, for editors. What it says of keys comes from their types and from the catalogue.

use std::sync::LazyLock;

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value, json};
use stockscan_engine::{Engine, Parameter, Result};

use crate::{
    Configuration, OLD_DASHBOARD, RUN_KEYS,
    files::SCHEMA,
    keys::Defaults,
    values::{A_TIME_OF_DAY, TIME_OF_DAY},
};

/// A key of a section that every configuration has.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// Its section.
    pub section: String,
    /// Its name.
    pub name: String,
    /// What it has if nothing is configured.
    pub default: Value,
    /// The values that it allows, in words.
    pub allowed: String,
    /// What it means.
    pub meaning: String,
    /// `server` or `dashboard` if it acts only there.
    pub acts_in: Option<String>,
    /// Whether a server reads it only when it starts.
    pub needs_restart: bool,
    /// The JSON Schema of its value.
    pub schema: Value,
}

/// Every key of the sections that every configuration has, but for the rules of `alerts`.
#[must_use]
pub fn keys() -> &'static [Key] {
    // To derive them takes as long as some queries do.
    static KEYS: LazyLock<Vec<Key>> = LazyLock::new(derived_keys);
    &KEYS
}

fn derived_keys() -> Vec<Key> {
    let schema = schema_of::<Configuration>();
    let mut keys = Vec::new();
    for (section, content) in members(&schema["properties"]).filter(|(section, _)| *section != "alerts") {
        for (name, property) in members(&content["properties"]) {
            let acts_in = property["x-acts-in"].as_str().or(content["x-acts-in"].as_str());
            keys.push(Key {
                section: section.clone(),
                name: name.clone(),
                default: property["default"].clone(),
                allowed: allowed(property),
                meaning: property["description"].as_str().unwrap_or_default().to_owned(),
                acts_in: acts_in.map(str::to_owned),
                needs_restart: property["x-needs-restart"] == true,
                schema: property.clone(),
            });
        }
    }
    keys
}

/// The schema of a file, with a section for every scanner of the catalogue.
///
/// # Errors
/// What DuckDB says.
pub fn schema(engine: &Engine) -> Result<Value> {
    let mut schema = schema_of::<Configuration>();
    let run_keys = &schema_of::<Defaults>()["properties"];
    let (mut sections, mut names, mut rules) = (Map::new(), Vec::new(), Vec::new());
    for scanner in engine.scanners()? {
        if names.contains(&scanner.name) {
            continue;
        }
        let parameters: Vec<(String, Value)> = parameters(engine, &scanner.name)?
            .into_iter()
            .map(|parameter| (parameter.name.clone(), parameter_schema(&parameter)))
            .collect();
        let of_rules = parameters.iter().filter(|(name, _)| !crate::check::RULES_OWN.contains(&name.as_str())).cloned();
        rules.push(json!({
            "if": {"properties": {"scanner_type": {"const": scanner.name}}, "required": ["scanner_type"]},
            "then": {"properties": {"config": object(of_rules)}},
        }));
        // What these keys have here if they are left out is what `default` says.
        let run_keys = RUN_KEYS.into_iter().map(|key| {
            let mut property = run_keys[key].clone();
            if let Some(property) = property.as_object_mut() {
                property.remove("default");
            }
            (key.to_owned(), property)
        });
        let mut section = object(parameters.into_iter().chain(run_keys));
        section["description"] = Value::from(scanner.title);
        sections.insert(scanner.name.clone(), section);
        names.push(scanner.name);
    }
    let properties = &mut schema["properties"];
    let mut old = properties["dashboard"].clone();
    old["description"] = "The old name of 'dashboard'.".into();
    old["deprecated"] = true.into();
    let rule = &mut properties["alerts"]["additionalProperties"];
    rule["properties"]["scanner_type"]["enum"] = names.into();
    rule["allOf"] = rules.into();
    let mut all = Map::from_iter([(SCHEMA.to_owned(), json!({"type": "string", "description": "This schema, for editors."}))]);
    all.extend(properties.as_object_mut().map(std::mem::take).unwrap_or_default());
    all.insert(OLD_DASHBOARD.to_owned(), old);
    all.extend(sections);
    schema["properties"] = all.into();
    schema["additionalProperties"] = false.into();
    schema["not"] = json!({"required": ["dashboard", OLD_DASHBOARD]});
    schema["title"] = "Configuration of Stockscan".into();
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("description");
    }
    Ok(schema)
}

fn object(properties: impl Iterator<Item = (String, Value)>) -> Value {
    json!({"type": "object", "properties": Map::from_iter(properties), "additionalProperties": false})
}

/// The parameters that a configuration may set.
///
/// # Errors
/// What DuckDB says.
pub fn parameters(engine: &Engine, scanner: &str) -> Result<Vec<Parameter>> {
    Ok(engine.scanner_parameters(scanner)?.into_iter().filter(|parameter| parameter.name != "scan_date").collect())
}

/// The schema of a type, without references.
pub(crate) fn schema_of<S: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<S>().to_value()
}

/// The schema of a scanner's parameter.
#[must_use]
pub fn parameter_schema(parameter: &Parameter) -> Value {
    let mut schema = Map::new();
    let mut set = |key: &str, value: Value| schema.insert(key.to_owned(), value);
    let kind = match parameter.sql_type.as_deref() {
        Some("INTEGER" | "BIGINT") => Some("integer"),
        Some("DOUBLE") => Some("number"),
        Some("BOOLEAN") => Some("boolean"),
        Some(list) if list.ends_with("[]") => {
            set("items", json!({"type": "string"}));
            Some("array")
        }
        Some("TIME") => {
            set("title", A_TIME_OF_DAY.into());
            set("pattern", TIME_OF_DAY.into());
            Some("string")
        }
        Some(_) => Some("string"),
        None => None,
    };
    let is_nullable = is_nullable(parameter);
    match kind {
        Some(kind) if is_nullable => set("type", json!([kind, "null"])),
        Some(kind) => set("type", kind.into()),
        None => set("type", json!(["number", "string", "boolean", "array", "null"])),
    };
    for (key, limit) in [("minimum", parameter.minimum), ("maximum", parameter.maximum)] {
        if let Some(limit) = limit {
            set(key, plain(limit));
        }
    }
    if let Some(choices) = &parameter.choices {
        let mut choices: Vec<Value> = choices.split(", ").map(Value::from).collect();
        choices.extend(is_nullable.then_some(Value::Null));
        set("enum", choices.into());
    }
    if let Some(default) = default_of(parameter) {
        set("default", default);
    }
    let unit = parameter.unit.as_ref().map(|unit| format!(" In {unit}.")).unwrap_or_default();
    set("description", format!("{}{unit}", sentence(parameter.doc.as_deref().unwrap_or_default())).into());
    schema.into()
}

/// With a capital letter in front.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// Whether NULL is a value of it, which it is of those that have it by default.
pub(crate) fn is_nullable(parameter: &Parameter) -> bool {
    parameter.default.as_ref().is_some_and(|default| default.eq_ignore_ascii_case("null"))
}

/// What a parameter has if nothing is configured; `None` if that is no literal.
#[must_use]
pub fn default_of(parameter: &Parameter) -> Option<Value> {
    let text = parameter.default.as_deref()?.trim();
    let quoted = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\''));
    quoted.map_or_else(|| serde_json::from_str(&text.to_lowercase()).ok(), |text| Some(Value::from(text.replace("''", "'"))))
}

/// A number without a fraction as a whole one.
#[expect(clippy::cast_possible_truncation, reason = "only where it is exact")]
fn plain(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 9e15 { Value::from(number as i64) } else { Value::from(number) }
}

/// The values that a parameter allows, in words.
#[must_use]
pub fn allowed_of(parameter: &Parameter) -> String {
    allowed(&parameter_schema(parameter))
}

/// The values that a schema allows, in words.
pub(crate) fn allowed(schema: &Value) -> String {
    let kinds: Vec<&str> = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        kind => kind.as_str().into_iter().collect(),
    };
    let or_null = if kinds.contains(&"null") { " or null" } else { "" };
    if let Some(choices) = schema["enum"].as_array() {
        let choices: Vec<&str> = choices.iter().filter_map(Value::as_str).collect();
        return format!("one of {}{}", choices.join(", "), if or_null.is_empty() { "" } else { ", or null" });
    }
    if kinds.len() > 2 {
        return "a number, a text, true, false, null or a list of texts".to_owned();
    }
    let number = |what: &str| match (&schema["minimum"], &schema["maximum"]) {
        (Value::Null, Value::Null) => what.to_owned(),
        (least, Value::Null) => format!("{what}, {least} or more"),
        (Value::Null, most) => format!("{what}, {most} or less"),
        (least, most) => format!("{what} from {least} to {most}"),
    };
    let words = match kinds.first() {
        _ if schema["title"].is_string() => schema["title"].as_str().unwrap_or_default().to_owned(),
        Some(&"integer") => number("a whole number"),
        Some(&"number") => number("a number"),
        Some(&"boolean") => "true or false".to_owned(),
        Some(&"array") => "a list of texts".to_owned(),
        Some(&"object") => "an object".to_owned(),
        _ => "a text".to_owned(),
    };
    let comma = if words.contains(',') && !or_null.is_empty() { "," } else { "" };
    format!("{words}{comma}{or_null}")
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}
