//! Every key of the configuration: its section, type, range and default. There is no other list of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::values::{File, Folder, Number, Text, Whole, web_address};

/// A day, for spans of time.
const DAY: u64 = 86_400;

/// Values for every scanner, unless its own section has others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Defaults {
    /// Sessions that form the range, and the usual volume.
    pub consolidation_period: Whole<1, 250>,
    /// Least volume, times the usual one.
    pub breakout_volume_ratio: Number<0, 100>,
    /// Least distance above resistance, in percent.
    pub resistance_break_pct: Number<0, 50>,
    /// Lowest price.
    pub min_price: Number<0, { i64::MAX }>,
    /// Highest price.
    pub max_price: Number<0, { i64::MAX }>,
    /// How many stocks of a session are returned.
    pub max_results_per_day: Whole<1, 10_000>,
    /// Least volume so far, in shares.
    pub min_volume: Whole<0, { u64::MAX }>,
    /// Lowest score.
    pub min_probability_score: Number<0, 100>,
    /// Seconds after which a scan is stopped.
    pub timeout: Whole<1, DAY>,
    /// How often a scan that failed for a passing reason is tried again.
    pub retry_attempts: Whole<0, 100>,
    /// Whether results are kept for the same question.
    pub enable_caching: bool,
    /// Seconds for which they are.
    pub cache_ttl: Whole<0, DAY>,
}

/// The keys of [`Defaults`] that are about running a scan; the others are parameters of scanners.
pub const RUN_KEYS: [&str; 4] = ["timeout", "retry_attempts", "enable_caching", "cache_ttl"];

impl Default for Defaults {
    fn default() -> Defaults {
        Defaults {
            consolidation_period: Whole(5),
            breakout_volume_ratio: Number(1.5),
            resistance_break_pct: Number(0.5),
            min_price: Number(50.0),
            max_price: Number(2000.0),
            max_results_per_day: Whole(3),
            min_volume: Whole(10_000),
            min_probability_score: Number(10.0),
            timeout: Whole(300),
            retry_attempts: Whole(3),
            enable_caching: true,
            cache_ttl: Whole(300),
        }
    }
}

/// Scans that run again and again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Streaming {
    /// Whether there are any.
    pub enabled: bool,
    /// Seconds between two of them.
    pub interval_seconds: Whole<1, DAY>,
    /// How many run at a time.
    pub max_concurrent_scans: Whole<1, 100>,
    /// Whether the server has sockets for them.
    pub websocket_enabled: bool,
    /// Whether the dashboard shows them as they come.
    pub auto_refresh_ui: bool,
    /// Whether new names raise alerts.
    pub real_time_alerts: bool,
}

impl Default for Streaming {
    fn default() -> Streaming {
        Streaming {
            enabled: true,
            interval_seconds: Whole(30),
            max_concurrent_scans: Whole(3),
            websocket_enabled: true,
            auto_refresh_ui: true,
            real_time_alerts: true,
        }
    }
}

/// The server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Api {
    /// Address to listen on.
    pub host: Text,
    /// Port to listen on.
    pub port: Whole<1, 65_535>,
    /// Seconds after which a request is answered in any case.
    pub timeout: Whole<1, DAY>,
    /// Scans in one request.
    pub max_batch_size: Whole<1, 1000>,
    /// Whether pages of other origins may ask.
    pub enable_cors: bool,
}

impl Default for Api {
    fn default() -> Api {
        Api { host: Text("localhost".to_owned()), port: Whole(8000), timeout: Whole(300), max_batch_size: Whole(10), enable_cors: true }
    }
}

/// The command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cli {
    /// Whether more is said on standard error.
    pub verbose_logging: bool,
    /// Whether anything that takes long shows how far it is.
    pub progress_bars: bool,
    /// Whether a terminal gets colours.
    pub color_output: bool,
    /// How rows are written.
    pub default_format: Format,
    /// Whether results are also written to a file.
    pub auto_save_results: bool,
    /// Folder of those files.
    pub results_directory: Folder,
    /// Folder of the user's own scanners.
    pub scanners_directory: Option<Folder>,
}

impl Default for Cli {
    fn default() -> Cli {
        Cli {
            verbose_logging: false,
            progress_bars: true,
            color_output: true,
            default_format: Format::Table,
            auto_save_results: false,
            results_directory: Folder("scanner_results".into()),
            scanners_directory: None,
        }
    }
}

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "names of formats")]
pub enum Format {
    Table,
    Csv,
    Json,
    Ndjson,
    Parquet,
    Arrow,
}

/// The dashboard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dashboard {
    /// Its colours.
    pub theme: Theme,
    /// Seconds between two looks.
    pub auto_refresh_interval: Whole<1, DAY>,
    /// Points of a chart.
    pub max_chart_points: Whole<10, 1_000_000>,
    /// Whether rows can be taken along as a file.
    pub enable_export: bool,
    /// The scanner that it starts with.
    pub default_scanner: Text,
    /// How much of the window it takes.
    pub dashboard_layout: Layout,
}

impl Default for Dashboard {
    fn default() -> Dashboard {
        Dashboard {
            theme: Theme::Light,
            auto_refresh_interval: Whole(30),
            max_chart_points: Whole(1000),
            enable_export: true,
            default_scanner: Text("breakout".to_owned()),
            dashboard_layout: Layout::Wide,
        }
    }
}

/// Colours of the dashboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "names of themes")]
pub enum Theme {
    Light,
    Dark,
    /// As the system has it.
    Auto,
}

/// How much of the window the dashboard takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "names of layouts")]
pub enum Layout {
    Wide,
    Centered,
}

/// A rule of the section `alerts`: what is scanned again and again, and who is told of each new name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AlertRule {
    /// Whether it is in force.
    pub enabled: bool,
    /// The scanner.
    pub scanner_type: Text,
    /// Values of its parameters, over its own section and `default`.
    pub config: BTreeMap<String, Value>,
    /// Time of day up to which bars are seen, always; without it the end of the newest bar.
    pub cutoff_time: Option<Text>,
    /// Seconds between two scans; without it `streaming.interval_seconds`.
    pub interval_seconds: Option<Whole<1, DAY>>,
    /// Only these symbols; all if there are none.
    pub symbols: Vec<Text>,
    /// Where a new name is sent; without it only the terminal tells.
    pub webhook: Option<Webhook>,
}

impl Default for AlertRule {
    /// As a rule without keys would be, if a rule could do without its scanner.
    fn default() -> AlertRule {
        AlertRule {
            enabled: true,
            scanner_type: Text(String::new()),
            config: BTreeMap::new(),
            cutoff_time: None,
            interval_seconds: None,
            symbols: Vec::new(),
            webhook: None,
        }
    }
}

/// An address to which alerts are posted. The secret that signs them is never in the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Webhook {
    /// Address, http or https.
    #[serde(deserialize_with = "web_address")]
    pub url: Text,
    /// File with the secret; relative to the file that names it.
    pub secret_file: Option<File>,
    /// Variable of the environment with the secret.
    pub secret_env: Option<Text>,
}

impl Default for Webhook {
    /// As one without keys would be, if it could do without its address.
    fn default() -> Webhook {
        Webhook { url: Text(String::new()), secret_file: None, secret_env: None }
    }
}
