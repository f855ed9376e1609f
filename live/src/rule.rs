//! A rule: what is scanned again and again, and who is told of each new name.

use std::time::Duration;

use arrow::{array::Array, compute::cast, datatypes::DataType};
use jiff::{
    Timestamp,
    civil::{Date, DateTime},
};
use serde_json::{Map, Value as Json, json};
use stockscan_configuration::{AlertRule, Configuration};
use stockscan_engine::{Argument, Engine, Error, Result, Value};

use crate::{LiveScan, Receiver, Update, update::rows};

/// A rule that is ready to be followed.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its name in the configuration.
    pub name: String,
    /// What is scanned.
    pub scan: LiveScan,
    /// Time between two scans.
    pub interval: Duration,
    /// Who is told besides whoever runs it.
    pub receiver: Option<Receiver>,
}

impl Rule {
    /// Reads a rule of the configuration: the scanner's own section over `default`, over both what the rule says.
    ///
    /// # Errors
    /// [`Error::UnknownFunction`], [`Error::UnknownParameter`], [`Error::Invalid`] for a secret that cannot be used.
    pub fn new(name: &str, rule: &AlertRule, configuration: &Configuration, bar_minutes: u32, engine: &Engine) -> Result<Rule> {
        let function = engine.scanner_function(&rule.scanner_type.0)?;
        let signature = engine.signature(&function)?;
        let takes = |name: &str| signature.parameters.iter().any(|(parameter, _)| parameter == name);
        let scanner = function.strip_prefix("scan_").unwrap_or(&function).to_owned();
        let mut arguments: Vec<(String, Argument)> = Vec::new();
        let mut set = |name: &str, value: Value| arguments.push((name.to_owned(), Argument::Value(value)));
        for (name, setting) in configuration.scanner_settings(engine, &scanner)? {
            if takes(&name) {
                set(&name, value_of_json(&setting.value));
            }
        }
        if bar_minutes != 1 {
            set("bar_minutes", Value::BigInt(i64::from(bar_minutes)));
        }
        if bar_minutes == 1440 && takes("cutoff_time") {
            set("cutoff_time", Value::Text("24:00".to_owned()));
        }
        for (name, value) in &rule.config {
            set(name, value_of_json(value));
        }
        if let Some(cutoff) = &rule.cutoff_time {
            set("cutoff_time", Value::Text(cutoff.0.clone()));
        }
        if !rule.symbols.is_empty() {
            set("symbols", Value::List(rule.symbols.iter().map(|symbol| Value::Text(symbol.0.clone())).collect()));
        }
        let scan = LiveScan { function, arguments, settings: configuration.run_settings(&scanner) };
        scan.check(engine)?;
        let receiver = rule.webhook.as_ref().map(Receiver::new).transpose();
        Ok(Rule {
            name: name.to_owned(),
            scan,
            interval: Duration::from_secs(rule.interval_seconds.map_or(configuration.streaming.interval_seconds.0, |seconds| seconds.0)),
            receiver: receiver.map_err(|error| Error::Invalid(format!("alerts.{name}.webhook: {error}")))?,
        })
    }
}

/// A value of a configuration file as one of SQL.
#[must_use]
pub fn value_of_json(given: &Json) -> Value {
    match given {
        Json::Null | Json::Object(_) => Value::Null,
        Json::Bool(value) => Value::Boolean(*value),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => Value::BigInt(whole),
            None => number.as_f64().map_or(Value::Null, Value::Double),
        },
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(items) => Value::List(items.iter().map(value_of_json).collect()),
    }
}

/// A name that a rule has found, once for each session.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// The rule.
    pub rule: String,
    /// Its scanner.
    pub scanner_type: String,
    /// The session.
    pub session: Date,
    /// Up to when bars were seen.
    pub data_as_of: DateTime,
    /// The name.
    pub symbol: String,
    /// Its price then.
    pub price: Option<f64>,
    /// When it was found, by the machine's clock.
    pub fired_at: Timestamp,
    /// The name of the message to the receiver, the same however often it is sent; `None`: there was no receiver.
    pub webhook_id: Option<String>,
    /// The whole row.
    pub row: Map<String, Json>,
}

impl Alert {
    /// As receivers get it.
    #[must_use]
    pub fn document(&self) -> Json {
        json!({
            "type": "scanner.alert",
            "timestamp": format!("{:.3}", self.fired_at),
            "data": {
                "rule": self.rule,
                "scanner_type": self.scanner_type,
                "session": self.session.to_string(),
                "data_as_of": self.data_as_of.to_string(),
                "symbol": self.symbol,
                "price": self.price,
                "evidence": self.row,
            },
        })
    }

    /// What a rule makes of a result: an alert for each name. Of a name with several rows the best counts. Before a fixed cutoff there is
    /// none, since a name can still go.
    ///
    /// # Errors
    /// For a result without the columns that every scanner has.
    pub(crate) fn all(rule: &Rule, update: &Update) -> Result<Vec<Alert>> {
        if !update.is_complete {
            return Ok(Vec::new());
        }
        let prices = update.results.column_by_name("price").and_then(|column| cast(column, &DataType::Float64).ok());
        let price = |row: usize| {
            use arrow::{array::AsArray, datatypes::Float64Type};
            prices
                .as_ref()
                .map(|prices| prices.as_primitive::<Float64Type>())
                .filter(|prices| prices.is_valid(row))
                .map(|prices| prices.value(row))
        };
        let mut alerts: Vec<Alert> = Vec::new();
        for ((index, symbol), row) in crate::symbols(&update.results)?.into_iter().enumerate().zip(rows(&update.results)?) {
            if alerts.iter().any(|alert| alert.symbol == symbol) {
                continue;
            }
            alerts.push(Alert {
                rule: rule.name.clone(),
                scanner_type: update.scanner_type.clone(),
                session: update.session,
                data_as_of: update.data_as_of,
                symbol,
                price: price(index),
                fired_at: update.timestamp,
                webhook_id: rule.receiver.as_ref().map(|_| crate::webhook::new_id()),
                row,
            });
        }
        Ok(alerts)
    }
}
