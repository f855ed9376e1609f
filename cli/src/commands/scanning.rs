//! What is scanned: a scanner's call from what the configuration and the options say.

use std::time::Duration;

use stockscan_configuration::RunSettings;
use stockscan_engine::{Argument, Call, Engine, Error, Result, Value};
use stockscan_live::value_of_json;

use super::{market, symbol_list, text};
use crate::arguments::{Global, Scan};

/// A scanner with its arguments, all but the session.
#[derive(Debug, Clone)]
pub(crate) struct Scanning {
    /// Its name in SQL.
    pub(crate) function: String,
    /// Its arguments; of one given twice the last one counts.
    pub(crate) arguments: Vec<(String, Argument)>,
    /// How it is run.
    pub(crate) settings: RunSettings,
}

impl Scanning {
    /// From the configuration, and over it the options.
    pub(crate) fn new(engine: &Engine, global: &Global, scan: &Scan) -> Result<Scanning> {
        let function = engine.scanner_function(&scan.scanner_type)?;
        let signature = engine.signature(&function)?;
        let takes = |name: &str| signature.parameters.iter().any(|(parameter, _)| parameter == name);
        let name = function.strip_prefix("scan_").unwrap_or(&function).to_owned();
        let mut arguments = configured(engine, global, &name, takes)?;
        let mut set = |name: &str, value: Value| arguments.push((name.to_owned(), Argument::Value(value)));

        if let Some(cutoff) = &scan.cutoff {
            set("cutoff_time", text(cutoff));
        }
        if global.bar_minutes != 1 {
            set("bar_minutes", Value::BigInt(i64::from(global.bar_minutes)));
            if scan.cutoff.is_none() && global.bar_minutes == 1440 && takes("cutoff_time") {
                set("cutoff_time", text("24:00"));
            }
        }
        if let Some(code) = &scan.market {
            let hours = market(engine, code)?;
            set("session_start", text(&hours.session_start));
            set("session_end", text(&hours.session_end));
        }
        if let Some(symbols) = &scan.symbols {
            set("symbols", symbol_list(symbols)?);
        }
        for setting in &scan.settings {
            let (name, value) = name_and_value(setting)?;
            arguments.push((name.to_owned(), Argument::Text(value.to_owned())));
        }
        let mut settings = global.configuration.run_settings(&name);
        if let Some(seconds) = scan.timeout {
            settings.timeout = Duration::from_secs(seconds);
        }
        Ok(Scanning { function, arguments, settings })
    }

    /// The call for a session, or a range of them.
    pub(crate) fn call(&self, engine: &Engine, date: &str, end_date: Option<&str>) -> Result<Call> {
        let mut days = vec![("scan_date".to_owned(), Argument::Value(text(date)))];
        days.extend(end_date.map(|date| ("end_date".to_owned(), Argument::Value(text(date)))));
        // Those of --set win over all.
        engine.call(&self.function, &[days, self.arguments.clone()].concat())
    }

    /// The latest session that has bars.
    pub(crate) fn latest_session(&self, engine: &Engine) -> Result<String> {
        let shared = ["bar_minutes", "session_start", "session_end", "symbols"];
        let bars: Vec<_> = self.arguments.iter().filter(|(name, _)| shared.contains(&name.as_str())).cloned().collect();
        match engine.latest_session(&bars)? {
            Some(session) => Ok(session),
            None if bars.iter().any(|(name, _)| name == "symbols") && engine.latest_session(&without_symbols(&bars))?.is_some() => {
                Err(Error::Invalid(format!(
                    "--symbols: {} has no bar of any of these that can be scanned; names are told apart by upper and lower case",
                    engine.name()
                )))
            }
            None => Err(Error::Invalid(engine.no_usable_bars())),
        }
    }
}

fn without_symbols(bars: &[(String, Argument)]) -> Vec<(String, Argument)> {
    bars.iter().filter(|(name, _)| name != "symbols").cloned().collect()
}

/// What `--set` gives.
pub(crate) fn name_and_value(setting: &str) -> Result<(&str, &str)> {
    let (name, value) = setting
        .split_once('=')
        .ok_or_else(|| Error::Invalid(format!("--set {setting}: expected NAME=VALUE, such as --set min_price=100")))?;
    Ok((name.trim(), value))
}

/// What the configuration says of the parameters that a scanner takes.
pub(crate) fn configured(engine: &Engine, global: &Global, scanner: &str, takes: impl Fn(&str) -> bool) -> Result<Vec<(String, Argument)>> {
    let settings = global.configuration.scanner_settings(engine, scanner)?.into_iter().filter(|(name, _)| takes(name));
    Ok(settings.map(|(name, setting)| (name, Argument::Value(value_of_json(&setting.value)))).collect())
}
