//! Every key of the configuration: its section, type, range and default. There is no other list of them.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::values::{A_TIME_OF_DAY, A_WEB_ADDRESS, File, Folder, Number, TIME_OF_DAY, Text, WEB_ADDRESS, Whole, web_address};

/// A day, for spans of time.
const DAY: u64 = 86_400;

/// Values for every scanner, unless its own section has others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Defaults {
    /// Sessions before this one that make its range and its usual volume.
    pub consolidation_period: Whole<1, 250>,
    /// Least volume so far, in times the usual one.
    pub breakout_volume_ratio: Number<0, 100>,
    /// Least distance of the price from the range, in percent.
    pub resistance_break_pct: Number<0, 50>,
    /// Lowest price.
    pub min_price: Number<0, { i64::MAX }>,
    /// Highest price; not below `min_price`.
    pub max_price: Number<0, { i64::MAX }>,
    /// How many stocks of a session are returned, best first.
    pub max_results_per_day: Whole<1, 10_000>,
    /// Least volume so far, in shares.
    pub min_volume: Whole<0, { u64::MAX }>,
    /// Lowest score.
    pub min_probability_score: Number<0, 100>,
    /// Seconds after which a scan is stopped.
    pub timeout: Whole<1, DAY>,
    /// How often a scan is tried again that failed for a passing reason, such as a database in use.
    pub retry_attempts: Whole<0, 100>,
    /// Whether the result of a scan is kept, for when the same is asked again.
    pub enable_caching: bool,
    /// Seconds for which it is kept.
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Streaming {
    /// Whether scans may run again and again.
    pub enabled: bool,
    /// Seconds between two scans.
    pub interval_seconds: Whole<1, DAY>,
    /// How many scans run at a time.
    #[schemars(extend("x-needs-restart" = true))]
    pub max_concurrent_scans: Whole<1, 100>,
    /// Whether the server sends them over WebSockets.
    #[schemars(extend("x-acts-in" = "server"))]
    pub websocket_enabled: bool,
    /// Whether the dashboard shows them as they come.
    #[schemars(extend("x-acts-in" = "dashboard"))]
    pub auto_refresh_ui: bool,
    /// Whether new names raise alerts.
    #[schemars(extend("x-needs-restart" = true))]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Api {
    /// Address at which the server listens, and where `--api-mode` asks for one.
    #[schemars(extend("x-needs-restart" = true))]
    pub host: Text,
    /// Its port.
    #[schemars(extend("x-needs-restart" = true))]
    pub port: Whole<1, 65_535>,
    /// Port at which the protocol of PostgreSQL is spoken, too.
    #[schemars(extend("x-needs-restart" = true, "x-acts-in" = "server"))]
    pub postgres_port: Option<Whole<1, 65_535>>,
    /// Seconds after which a request is given up.
    pub timeout: Whole<1, DAY>,
    /// How many scans one request may ask for.
    #[schemars(extend("x-acts-in" = "server"))]
    pub max_batch_size: Whole<1, 1000>,
    /// Whether pages of other origins may ask.
    #[schemars(extend("x-acts-in" = "server"))]
    pub enable_cors: bool,
}

impl Default for Api {
    fn default() -> Api {
        Api {
            host: Text("localhost".to_owned()),
            port: Whole(8000),
            postgres_port: None,
            timeout: Whole(300),
            max_batch_size: Whole(10),
            enable_cors: true,
        }
    }
}

/// The command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Cli {
    /// Whether more is said on standard error.
    pub verbose_logging: bool,
    /// Whether what takes longer than a second shows how far it is.
    pub progress_bars: bool,
    /// Whether a terminal gets colours.
    pub color_output: bool,
    /// How rows are written where neither `--format` nor `--output` says.
    pub default_format: Format,
    /// Whether the rows of a scan are also written to a file in `results_directory`.
    pub auto_save_results: bool,
    /// Folder of the files that `auto_save_results` writes.
    pub results_directory: Folder,
    /// Folder of your own scanners, whose *.sql files are loaded.
    #[schemars(extend("x-needs-restart" = true))]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields, extend("x-acts-in" = "dashboard"))]
pub struct Dashboard {
    /// Its colours until they are chosen in the browser; auto is as the system has them.
    pub theme: Theme,
    /// Seconds between two looks at what is not live: the history, new sessions.
    pub auto_refresh_interval: Whole<1, DAY>,
    /// Bars that a chart begins with; to go back in time fetches more.
    pub max_chart_points: Whole<10, 1_000_000>,
    /// Whether what is shown can be saved as a file.
    pub enable_export: bool,
    /// The scanner it starts with.
    pub default_scanner: Text,
    /// How much of the window it takes.
    pub dashboard_layout: Layout,
}

impl Default for Dashboard {
    fn default() -> Dashboard {
        Dashboard {
            theme: Theme::Auto,
            auto_refresh_interval: Whole(30),
            max_chart_points: Whole(1000),
            enable_export: true,
            default_scanner: Text("breakout".to_owned()),
            dashboard_layout: Layout::Wide,
        }
    }
}

/// Colours of the dashboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "names of themes")]
pub enum Theme {
    Light,
    Dark,
    Auto,
}

/// How much of the window the dashboard takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "names of layouts")]
pub enum Layout {
    Wide,
    Centered,
}

/// A rule of the section `alerts`: what is scanned again and again, and who is told of each new name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields, transform = AlertRule::needs)]
pub struct AlertRule {
    /// Whether it is in force.
    pub enabled: bool,
    /// The scanner.
    pub scanner_type: Text,
    /// Values of its parameters, over its own section and `default`.
    pub config: BTreeMap<String, Value>,
    /// Time of day up to which bars are seen; without it the end of the newest bar.
    #[schemars(extend("title" = A_TIME_OF_DAY, "pattern" = TIME_OF_DAY))]
    pub cutoff_time: Option<Text>,
    /// Seconds between two scans; without it `streaming.interval_seconds`.
    pub interval_seconds: Option<Whole<1, DAY>>,
    /// Only these symbols; all if there are none.
    pub symbols: Vec<Text>,
    /// Where a new name is sent; without it only the terminal tells.
    pub webhook: Option<Webhook>,
}

impl AlertRule {
    /// It cannot do without this key.
    fn needs(schema: &mut Schema) {
        required(schema, "scanner_type");
    }
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields, transform = Webhook::needs)]
pub struct Webhook {
    /// Address, http or https.
    #[serde(deserialize_with = "web_address")]
    #[schemars(extend("title" = A_WEB_ADDRESS, "pattern" = WEB_ADDRESS))]
    pub url: Text,
    /// File with the secret; relative to the file that names it.
    pub secret_file: Option<File>,
    /// Variable of the environment with the secret.
    pub secret_env: Option<Text>,
}

impl Webhook {
    /// It cannot do without its address, and has one secret.
    fn needs(schema: &mut Schema) {
        required(schema, "url");
        let given = json!({"type": "string"});
        let both = json!({
            "type": "object",
            "properties": {"secret_file": given, "secret_env": given},
            "required": ["secret_file", "secret_env"],
        });
        schema.insert("not".to_owned(), both);
    }
}

impl Default for Webhook {
    /// As one without keys would be, if it could do without its address.
    fn default() -> Webhook {
        Webhook { url: Text(String::new()), secret_file: None, secret_env: None }
    }
}

/// In the schema of a type whose default is not one that a file may leave out.
fn required(schema: &mut Schema, key: &str) {
    if let Some(property) = schema.pointer_mut(&format!("/properties/{key}")).and_then(Value::as_object_mut) {
        property.remove("default");
    }
    schema.insert("required".to_owned(), Value::from(vec![key]));
}
