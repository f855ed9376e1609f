//! The command line: one definition that parses, helps and completes.

mod serve;

use std::{ffi::OsString, fmt::Display, path::PathBuf, str::FromStr, time::Duration};

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
pub(crate) use serve::{Key, KeyAction, LogFormat, RoleName, Serve};
use stockscan_configuration::Configuration;

#[derive(Debug, Parser)]
#[command(
    name = "scanner",
    version,
    about = "Stock scanners inside DuckDB: which stocks were worth a look at that minute, with the evidence, and nothing that was not yet known then",
    after_help = "Start with:  scanner demo\nResults go to standard output, everything else to standard error. Exit codes: 0 done, 1 failed, 2 bad usage."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// DuckDB database file [default: market.duckdb]
    #[arg(long, global = true, env = "STOCKSCAN_DATABASE", value_name = "FILE")]
    pub(crate) database: Option<PathBuf>,
    /// Relation with the bars: a table, view or Parquet file [default: bars]
    #[arg(long, global = true, value_name = "RELATION")]
    pub(crate) source: Option<String>,
    /// Length of a bar in minutes; 1440 for daily bars
    #[arg(long, global = true, value_name = "MINUTES", default_value_t = 1, value_parser = whole::<u32>(1, 1440))]
    pub(crate) bar_minutes: u32,
    /// Threads for queries [default: one per processor]
    #[arg(long, global = true, value_parser = whole::<u32>(1, 1024))]
    pub(crate) threads: Option<u32>,
    /// Memory for queries, such as 2GB [default: 80 % of the machine's]
    #[arg(long, global = true, value_name = "SIZE")]
    pub(crate) memory_limit: Option<String>,
    /// Folder of your own scanners, whose *.sql files are loaded [default: cli.scanners_directory of the configuration]
    #[arg(long, global = true, env = "STOCKSCAN_SCANNERS_DIRECTORY", value_name = "DIR")]
    pub(crate) scanners_directory: Option<PathBuf>,
    /// Configuration file, over ~/.config/stockscan/config.json and ./scanner_config.json
    #[arg(long, global = true, env = "STOCKSCAN_CONFIG_FILE", value_name = "FILE")]
    pub(crate) config_file: Option<PathBuf>,
    /// File with the history of scans [default: state.duckdb beside the database]
    #[arg(long, global = true, env = "STOCKSCAN_STATE", value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
    /// Never write to the database
    #[arg(long, global = true)]
    pub(crate) read_only: bool,
    /// Ask a Stockscan server, which has the bars and the history, instead of opening files
    #[arg(long, global = true)]
    pub(crate) api_mode: bool,
    /// Where that server is [default: api.host and api.port of the configuration]
    #[arg(long, global = true, env = "STOCKSCAN_URL", value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Say more on standard error
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    /// Say nothing on standard error but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// What the configuration files say.
    #[arg(skip)]
    pub(crate) configuration: Configuration,
    /// The variables that set keys of it.
    #[arg(skip)]
    pub(crate) variables: Vec<(String, OsString)>,
}

/// The variable with the key that a server asks for. It is a secret, and none of the configuration's.
pub(crate) const API_KEY: &str = "STOCKSCAN_API_KEY";

/// The variables named `STOCKSCAN_…` that are neither an option's nor a secret.
pub(crate) fn configuration_variables() -> Vec<(String, OsString)> {
    let command = Arguments::command();
    let others: Vec<_> = command.get_arguments().filter_map(|argument| argument.get_env()).chain([API_KEY.as_ref()]).collect();
    stockscan_configuration::variables().into_iter().filter(|(name, _)| !others.iter().any(|other| *other == name.as_str())).collect()
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a market to try things on, run a scan on it, say where to go next
    Demo(Demo),
    /// Run a scanner on a session, or on a range of them
    Run(Run),
    /// Run a scanner again and again on the newest bars: a screen with new, kept and dropped names
    Monitor(Monitor),
    /// Follow the configuration's rules: who is told of each new name, and what became of that
    Alerts(Alerts),
    /// What became of a scanner's hits: each a trade, all of them a portfolio
    Backtest(Backtest),
    /// Try many values of parameters, and say how much of the best to believe
    Optimize(Optimize),
    /// List the scanners, or one scanner's parameters
    List(List),
    /// Write a scanner of your own: a commented template that works, to be changed
    New(New),
    /// Run SQL with all functions in it: statements, a script on standard input, or interactively
    Sql(Sql),
    /// Take CSV, Parquet or JSON files into the table of bars
    Ingest(IngestFiles),
    /// Use a table, a view, or Parquet files as the bars, where they are
    Adopt(Adopt),
    /// Feed stored sessions as if they were live, to try things on
    Replay(Replay),
    /// Look for defects in the bars
    Check(Check),
    /// Keep plain tables of results up to date, for BI tools and other programs that cannot call a scanner
    Publish(Publish),
    /// List what was scanned, and how that went
    History(History),
    /// Show a scan of the history: what was asked, and its rows
    Show(Show),
    /// Write the rows of a scan of the history
    Export(Export),
    /// Serve all of this over HTTP
    Serve(Serve),
    /// Keys of the clients of a server
    Key(Key),
    /// Show the configuration, and change it: keys, values, where they come from
    Config(Config),
    /// Say what is here: versions, database, who holds it, configuration, and what to do about each problem
    #[command(after_help = "Example:\n  scanner doctor --verbose")]
    Doctor,
    /// Print a script that completes commands, options and names of scanners in your shell
    Completions(Completions),
    /// Print the manual page, or write one for each command
    Man(Man),
}

impl Command {
    /// Where the command's rows go, if it has any.
    pub(crate) fn output(&mut self) -> Option<&mut Output> {
        match self {
            Command::Run(run) => Some(&mut run.output),
            Command::Backtest(backtest) => Some(&mut backtest.output),
            Command::Optimize(optimize) => Some(&mut optimize.output),
            Command::List(list) => Some(&mut list.output),
            Command::Sql(sql) => Some(&mut sql.output),
            Command::Check(check) => Some(&mut check.output),
            Command::Publish(publish) => Some(&mut publish.output),
            Command::History(history) => Some(&mut history.output),
            Command::Show(show) => Some(&mut show.output),
            Command::Export(export) => Some(&mut export.output),
            Command::Config(config) if !config.schema => Some(&mut config.output),
            Command::Alerts(alerts) => alerts.output(),
            Command::Key(Key { action: KeyAction::List { output }, .. }) => Some(output),
            Command::Serve(_) | Command::Key(_) => None,
            Command::Demo(_) | Command::Monitor(_) | Command::New(_) | Command::Ingest(_) | Command::Adopt(_) | Command::Replay(_) => None,
            Command::Config(_) => None,
            Command::Doctor | Command::Completions(_) | Command::Man(_) => None,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  scanner demo --symbols 500")]
pub(crate) struct Demo {
    /// How many stocks
    #[arg(long, default_value_t = 50)]
    pub(crate) symbols: u32,
    /// How many sessions; the last one is 2025-01-15
    #[arg(long, default_value_t = 80)]
    pub(crate) sessions: u32,
    /// Another seed is another market
    #[arg(long, default_value_t = 42)]
    pub(crate) seed: i64,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scanner run --scanner-type breakout --date 2025-01-15
  scanner run -t breakout --cutoff 10:30 --set min_price=100 --set min_volume=0 --explain
  scanner run -t breakout --date 2025-01-06 --end-date 2025-01-15 --output breakouts.csv
  scanner run -t breakout --stream --interval 0.5 --duration 2 --format ndjson")]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) scan: Scan,
    /// The session to scan, or the first of a range [default: the latest in the data]
    #[arg(long, value_name = "DATE")]
    pub(crate) date: Option<String>,
    /// The last session of a range [default: the same session]
    #[arg(long, value_name = "DATE")]
    pub(crate) end_date: Option<String>,
    #[command(flatten)]
    pub(crate) output: Output,
    /// Scan again, though the same was asked of the same bars a moment ago
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Print the filter funnel: how many symbols survive each condition
    #[arg(long)]
    pub(crate) explain: bool,
    /// Print the SQL statement instead of running it
    #[arg(long)]
    pub(crate) sql: bool,
    /// Scan again and again, up to the end of the newest bar (or up to --cutoff), and say what is new
    #[arg(long, conflicts_with_all = ["date", "end_date", "output", "no_cache", "explain", "sql"], help_heading = "Live")]
    pub(crate) stream: bool,
    /// Seconds between two scans [default: streaming.interval_seconds of the configuration, else 30]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, requires = "stream", help_heading = "Live")]
    pub(crate) interval: Option<Duration>,
    /// End after so many seconds [default: by Ctrl-C]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, requires = "stream", help_heading = "Live")]
    pub(crate) duration: Option<Duration>,
}

impl Run {
    /// How often and for how long, with --stream.
    pub(crate) fn repeat(&self) -> Repeat {
        Repeat { interval: self.interval, duration: self.duration }
    }
}

/// How often something is done, and for how long.
#[derive(Debug, Args)]
pub(crate) struct Repeat {
    /// Seconds between two scans [default: streaming.interval_seconds of the configuration, else 30]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) interval: Option<Duration>,
    /// End after so many seconds [default: by Ctrl-C]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) duration: Option<Duration>,
}

/// A whole number between two others.
fn whole<T>(least: T, most: T) -> impl Fn(&str) -> Result<T, String> + Clone
where
    T: FromStr + PartialOrd + Display + Copy,
{
    move |text| {
        let number = text.trim().parse().ok().filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| format!("expected a whole number from {least} to {most}"))
    }
}

/// Seconds, fractions too.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.trim().parse::<f64>().ok().filter(|seconds| (0.05..=86_400.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "expected seconds from 0.05 to 86400, such as 30 or 0.5".to_owned())
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scanner monitor --scanner-type breakout --interval 30 --duration 1
  scanner monitor -t relative_volume --set max_results_per_day=20 --interval 0.5 --duration 1
A database that grows meanwhile: 'scanner ingest --follow' feeds one, 'scanner replay' plays a stored session.
Keys: q quit, p pause, space scan now, arrows scroll, b bell on new names.")]
pub(crate) struct Monitor {
    #[command(flatten)]
    pub(crate) scan: Scan,
    #[command(flatten)]
    pub(crate) repeat: Repeat,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scanner alerts list
  scanner alerts watch --interval 0.5 --duration 2
  scanner alerts test morning
  scanner alerts history --limit 5
A rule stands in the configuration, as in
  {\"alerts\": {\"morning\": {\"scanner_type\": \"breakout\", \"cutoff_time\": \"09:50\"}}}
and may name a webhook, to which each new name is posted.")]
pub(crate) struct Alerts {
    #[command(subcommand)]
    pub(crate) command: AlertsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AlertsCommand {
    /// List the rules, and what they have found
    List(AlertsList),
    /// Follow the rules: a line for each new name, and a message to its webhook
    #[command(after_help = "Examples:\n  scanner alerts watch --duration 2\n  scanner alerts watch morning --interval 0.5 --duration 1")]
    Watch(AlertsWatch),
    /// Run a rule now, and send a test message to its webhook; nothing is recorded as found
    Test(AlertsTest),
    /// List what fired, and what became of the messages
    History(AlertsHistory),
}

impl Alerts {
    fn output(&mut self) -> Option<&mut Output> {
        match &mut self.command {
            AlertsCommand::List(list) => Some(&mut list.output),
            AlertsCommand::Test(test) => Some(&mut test.output),
            AlertsCommand::History(history) => Some(&mut history.output),
            AlertsCommand::Watch(_) => None,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct AlertsList {
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct AlertsWatch {
    /// Only these rules [default: all that are enabled]
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Seconds between two scans [default: interval_seconds of the rule, else streaming.interval_seconds, else 30]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) interval: Option<Duration>,
    /// End after so many seconds [default: by Ctrl-C]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) duration: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct AlertsTest {
    /// The rule
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct AlertsHistory {
    /// Only this rule
    #[arg(long, value_name = "NAME")]
    pub(crate) rule: Option<String>,
    /// At most so many, the newest first
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = whole::<u32>(1, 1_000_000))]
    pub(crate) limit: u32,
    /// Every attempt to deliver, not only the last one of each alert
    #[arg(long)]
    pub(crate) attempts: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// What is scanned, and with which limits.
#[derive(Debug, Args)]
pub(crate) struct Scan {
    /// Which scanner; 'scanner list' names them
    #[arg(long, short = 't', value_name = "NAME")]
    pub(crate) scanner_type: String,
    /// Time of day up to which bars are seen [default: the scanner's own]
    #[arg(long, value_name = "HH:MM")]
    pub(crate) cutoff: Option<String>,
    /// A parameter of the scanner; may be given again for others
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub(crate) settings: Vec<String>,
    /// Only these symbols
    #[arg(long, value_name = "A,B")]
    pub(crate) symbols: Option<String>,
    /// Regular hours of an exchange, such as NSE or NYSE; 'FROM markets()' lists them
    #[arg(long, value_name = "CODE")]
    pub(crate) market: Option<String>,
    /// Stop after this many seconds [default: timeout of the configuration, else 300]
    #[arg(long, value_name = "SECONDS", value_parser = whole::<u64>(1, 86_400))]
    pub(crate) timeout: Option<u64>,
}

/// Which hits are traded, and how.
#[derive(Debug, Args)]
pub(crate) struct Trading {
    /// Which scanner; 'scanner list' names them
    #[arg(long, short = 't', value_name = "NAME")]
    pub(crate) scanner_type: String,
    /// First session [default: the first in the data]
    #[arg(long, value_name = "DATE")]
    pub(crate) start_date: Option<String>,
    /// Last session; trades may be closed later [default: the latest in the data]
    #[arg(long, value_name = "DATE")]
    pub(crate) end_date: Option<String>,
    /// Time of day up to which bars are seen, and from which on trades are entered [default: the scanner's own]
    #[arg(long, value_name = "HH:MM")]
    pub(crate) cutoff: Option<String>,
    /// A parameter of the scanner; may be given again for others
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub(crate) settings: Vec<String>,
    /// Only these symbols
    #[arg(long, value_name = "A,B")]
    pub(crate) symbols: Option<String>,
    /// Regular hours of an exchange, such as NSE or NYSE; 'FROM markets()' lists them
    #[arg(long, value_name = "CODE")]
    pub(crate) market: Option<String>,
    /// Which way the hits are traded [default: long]
    #[arg(long, value_parser = ["long", "short"], help_heading = "Trades")]
    pub(crate) direction: Option<String>,
    /// Trades are closed by this time of day [default: 15:15, with daily bars 24:00]
    #[arg(long, value_name = "HH:MM", help_heading = "Trades")]
    pub(crate) exit_time: Option<String>,
    /// Trades are closed so many sessions after that of their entry [default: 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Trades")]
    pub(crate) hold_sessions: Option<String>,
    /// Loss in % at which a trade is closed [default: none]
    #[arg(long, value_name = "PCT", allow_negative_numbers = true, help_heading = "Trades")]
    pub(crate) stop_loss: Option<String>,
    /// Gain in % at which a trade is closed [default: none]
    #[arg(long, value_name = "PCT", allow_negative_numbers = true, help_heading = "Trades")]
    pub(crate) target: Option<String>,
    /// Costs of each side, in hundredths of a percent of the traded value [default: 0]
    #[arg(long, value_name = "BPS", allow_negative_numbers = true, help_heading = "Trades")]
    pub(crate) cost_bps: Option<String>,
    /// How much worse than the bars' prices each side is filled, in hundredths of a percent [default: 0]
    #[arg(long, value_name = "BPS", allow_negative_numbers = true, help_heading = "Trades")]
    pub(crate) slippage_bps: Option<String>,
    /// What there is at first [default: 100000]
    #[arg(long, value_name = "AMOUNT", allow_negative_numbers = true, help_heading = "Portfolio")]
    pub(crate) initial_capital: Option<String>,
    /// How many trades may be open at the same time; each gets an equal part of the capital [default: 3]
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Portfolio")]
    pub(crate) max_positions: Option<String>,
    /// Amount of each trade [default: the capital over --max-positions]
    #[arg(long, value_name = "AMOUNT", allow_negative_numbers = true, help_heading = "Portfolio")]
    pub(crate) position_size: Option<String>,
    /// Trades get parts of the initial capital, not of what it has become
    #[arg(long, help_heading = "Portfolio")]
    pub(crate) no_compounding: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scanner backtest --scanner-type breakout --start-date 2024-11-19 --cost-bps 3
  scanner backtest -t breakout --stop-loss 1 --target 2 --max-positions 5 --by weekday
  scanner backtest -t gap --cost-bps 5 --slippage-bps 2 --plot gap.svg
  scanner backtest -t breakout --set min_probability_score=0 --calibrate
  scanner backtest -t breakout --trades --output trades.csv")]
pub(crate) struct Backtest {
    #[command(flatten)]
    pub(crate) trading: Trading,
    /// What the trades have in common, a row for each
    #[arg(long, value_parser = ["hour", "weekday", "month", "symbol", "score_bucket", "exit_reason"], group = "rows", help_heading = "Rows")]
    pub(crate) by: Option<String>,
    /// Each trade
    #[arg(long, group = "rows", help_heading = "Rows")]
    pub(crate) trades: bool,
    /// Each session: what was gained, and what the portfolio is worth
    #[arg(long, group = "rows", help_heading = "Rows")]
    pub(crate) daily: bool,
    /// What hits of each score came to, and whether earlier ones foretold it
    #[arg(long, group = "rows", help_heading = "Rows")]
    pub(crate) calibrate: bool,
    /// Into how many parts the sessions are divided for --calibrate [default: 4]
    #[arg(long, value_name = "N", requires = "calibrate", allow_negative_numbers = true, help_heading = "Rows")]
    pub(crate) folds: Option<String>,
    /// Draw equity, drawdown and the trades' returns
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: Output,
    /// Print the SQL statement instead of running it
    #[arg(long)]
    pub(crate) sql: bool,
    /// Stop after this many seconds [default: never]
    #[arg(long, value_name = "SECONDS", value_parser = whole::<u64>(1, 86_400))]
    pub(crate) timeout: Option<u64>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scanner optimize --scanner-type breakout --grid breakout_volume_ratio=1,1.5,2 --cost-bps 3
  scanner optimize -t breakout --grid consolidation_period=3,5,8 --grid stop_loss_pct=0.5,1,NULL
  scanner optimize -t gap --grid min_gap_pct=0.5..3..0.5 --objective 'sharpe * ln(trades)' --top 5
  scanner optimize -t gap --grid min_gap_pct=0..3..0.1 --grid min_price=0..500..50 --samples 20
  scanner optimize -t breakout --grid exit_time=12:00..15:00..01:00 --plot exits.svg
Beside the scanner's parameters a grid may have cutoff_time, exit_time, hold_sessions, stop_loss_pct and target_pct.
Ctrl-C ends it with what is done by then.")]
pub(crate) struct Optimize {
    #[command(flatten)]
    pub(crate) trading: Trading,
    /// Values of a parameter to try, or FROM..TO..STEP; NULL is one, too. Again for each parameter
    #[arg(long, value_name = "NAME=V1,V2", required = true, help_heading = "Grid")]
    pub(crate) grid: Vec<String>,
    /// What is best is highest in this: a column of the backtest's summary, or an expression of them [default: sharpe]
    #[arg(long, value_name = "EXPRESSION", help_heading = "Grid")]
    pub(crate) objective: Option<String>,
    /// Into how many parts the sessions are divided: each but the first is traded with what was best before [default: 4]
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Grid")]
    pub(crate) folds: Option<String>,
    /// A combination with fewer trades is not chosen [default: 10]
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Grid")]
    pub(crate) min_trades: Option<String>,
    /// Try so many of the combinations [default: all]
    #[arg(long, value_name = "N", value_parser = whole::<u32>(1, 100_000), help_heading = "Grid")]
    pub(crate) samples: Option<u32>,
    /// How they are chosen: each as likely, or each value of each parameter about as often [default: random]
    #[arg(long, value_parser = ["random", "latin_hypercube"], requires = "samples", help_heading = "Grid")]
    pub(crate) sampling: Option<String>,
    /// The same seed chooses the same combinations [default: 1]
    #[arg(long, value_name = "N", requires = "samples", allow_negative_numbers = true, help_heading = "Grid")]
    pub(crate) seed: Option<String>,
    /// How many combinations are shown, best first [default: 20, in other formats than table all]
    #[arg(long, value_name = "N", value_parser = whole::<u32>(1, 1_000_000))]
    pub(crate) top: Option<u32>,
    /// Draw the objective over two parameters, and out of sample against in sample
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: Output,
    /// Print the SQL statement instead of running it
    #[arg(long)]
    pub(crate) sql: bool,
    /// Stop after this many seconds, with what is done by then [default: never]
    #[arg(long, value_name = "SECONDS", value_parser = whole::<u64>(1, 86_400))]
    pub(crate) timeout: Option<u64>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  scanner list\n  scanner list breakout")]
pub(crate) struct List {
    /// A scanner, for its parameters
    pub(crate) scanner: Option<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scanner new morning_rise
  scanner run --scanner-type morning_rise --scanners-directory scanners
  scanner new evening_fall --folder research")]
pub(crate) struct New {
    /// Name of the scanner: small letters, digits and _
    pub(crate) name: String,
    /// Folder to write scan_NAME.sql to; made if it is not there [default: the folder of your own scanners, else scanners]
    #[arg(long, value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
    /// Write the template over a file that is there
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scanner sql \"FROM scan_breakout('2025-01-15')\"
  scanner sql \"SELECT * FROM sessions() ORDER BY session_date DESC LIMIT 5\" --format csv
  scanner sql < script.sql")]
pub(crate) struct Sql {
    /// The statement; without one: a script from standard input, or an interactive session on a terminal
    pub(crate) query: Option<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scanner ingest bars.parquet
  scanner ingest day1.csv day2.csv --map ts=timestamp --map symbol=ticker
  scanner ingest INFY.csv --symbol-from-file --map ts=date+time
  scanner ingest polygon.csv --timezone America/New_York --label end
  scanner ingest --follow live.csv --idle 2
  scanner ingest --follow drops --duration 2
A bar that is stored already stays as it is, so the same files can be taken in again.")]
pub(crate) struct IngestFiles {
    /// CSV, Parquet or JSON files, by their endings; .gz and .zst too
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) layout: LayoutArguments,
    /// Stay, and take in what is added to the files, or put into folders, until Ctrl-C; the database is only held for moments
    #[arg(long, help_heading = "Live data")]
    pub(crate) follow: bool,
    /// End when nothing was added for this long [default: never]
    #[arg(long, value_name = "SECONDS", requires = "follow", value_parser = whole::<u64>(1, 31_536_000), help_heading = "Live data")]
    pub(crate) idle: Option<u64>,
    /// End after this long [default: never]
    #[arg(long, value_name = "SECONDS", requires = "follow", value_parser = whole::<u64>(1, 31_536_000), help_heading = "Live data")]
    pub(crate) duration: Option<u64>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scanner adopt bars.parquet --database adopted.duckdb
  scanner adopt raw_prices --map ts=timestamp --source prices
  scanner adopt daily --bar-minutes 1440 --source daily_bars --replace
Nothing is copied: the view reads what is there when it is scanned. 'scanner ingest' stores a copy in the best order, without doubles and defects.")]
pub(crate) struct Adopt {
    /// A table or view of the database, a Parquet file, or a folder of them
    pub(crate) relation: String,
    #[command(flatten)]
    pub(crate) layout: LayoutArguments,
    /// Put it in the place of what was adopted before
    #[arg(long)]
    pub(crate) replace: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scanner replay bars.parquet --speed 36000
  scanner replay market.duckdb --date 2025-01-15 --from 15:00 --speed 36000 --restart
  scanner replay day1.csv --map ts=timestamp --map symbol=ticker --speed 36000 --restart
Beside it, in another terminal:  scanner monitor --scanner-type breakout --database replay.duckdb")]
pub(crate) struct Replay {
    /// CSV, Parquet or JSON file, or a DuckDB database, whose table --source names
    pub(crate) file: PathBuf,
    /// The session to replay, or the first of several; those before are there from the start [default: the last in FILE]
    #[arg(long, value_name = "DATE")]
    pub(crate) date: Option<String>,
    /// The last session to replay; the nights between are skipped [default: the same session]
    #[arg(long, value_name = "DATE")]
    pub(crate) end_date: Option<String>,
    /// Time of day at which the clock starts; what has ended by then is there from the start [default: the first bar]
    #[arg(long, value_name = "HH:MM")]
    pub(crate) from: Option<String>,
    /// How many times faster than the market the clock goes: with 60, a minute takes a second
    #[arg(long, value_name = "N", default_value_t = 60.0, value_parser = speed)]
    pub(crate) speed: f64,
    /// Remove what an earlier replay left from that session on
    #[arg(long)]
    pub(crate) restart: bool,
    #[command(flatten)]
    pub(crate) layout: LayoutArguments,
}

fn speed(given: &str) -> Result<f64, String> {
    match given.parse() {
        Ok(speed) if (0.1..=1_000_000.0).contains(&speed) => Ok(speed),
        _ => Err("expected a number from 0.1 to 1000000".to_owned()),
    }
}

/// How bars are laid out in files that were not made for this.
#[derive(Debug, Args)]
pub(crate) struct LayoutArguments {
    /// The file's column for a column of the bars; two joined by + are a date and a time
    #[arg(long, value_name = "COLUMN=FILE_COLUMN")]
    pub(crate) map: Vec<String>,
    /// The symbol of files that hold only one and do not say which
    #[arg(long, conflicts_with = "symbol_from_file")]
    pub(crate) symbol: Option<String>,
    /// The file's name up to its first dot is the symbol
    #[arg(long)]
    pub(crate) symbol_from_file: bool,
    /// IANA time zone of the exchange's clock, for timestamps that carry a zone or count from 1970
    #[arg(long, value_name = "ZONE")]
    pub(crate) timezone: Option<String>,
    /// IANA time zone in which timestamps without a zone are written [default: the exchange's clock]
    #[arg(long, value_name = "ZONE", requires = "timezone")]
    pub(crate) file_timezone: Option<String>,
    /// strptime format of timestamps that are not recognised, such as '%d/%m/%Y %H:%M'
    #[arg(long, value_name = "FORMAT")]
    pub(crate) timestamp_format: Option<String>,
    /// What a timestamp marks
    #[arg(long, value_enum, default_value_t = LabelArgument::Start)]
    pub(crate) label: LabelArgument,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LabelArgument {
    /// The start of the bar
    Start,
    /// The end of the bar
    End,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  scanner check --market NSE")]
pub(crate) struct Check {
    /// Regular hours of an exchange, such as NSE or NYSE
    #[arg(long, value_name = "CODE")]
    pub(crate) market: Option<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scanner publish results.duckdb
  scanner publish results.duckdb --scanner-type breakout,gap --start-date 2025-01-06
  scanner publish morning.duckdb -t breakout --cutoff 10:15 --set min_price=100 --stop-loss 1 --target 2
  scanner publish results
Again, it scans the sessions that are new, those whose bars have changed, and those with trades that were still open. Whoever reads
finds the old state or the new one. A file is a DuckDB database that DuckDB 1.5 and later read, a folder holds Parquet files.")]
pub(crate) struct Publish {
    /// A DuckDB file, such as results.duckdb, or a folder for Parquet files; made if it is not there
    pub(crate) to: PathBuf,
    /// Which scanners [default: all, your own too]
    #[arg(long, short = 't', value_name = "A,B", value_delimiter = ',')]
    pub(crate) scanner_type: Vec<String>,
    /// First session; earlier ones stay as they are [default: the first in the data]
    #[arg(long, value_name = "DATE")]
    pub(crate) start_date: Option<String>,
    /// Last session; later ones stay as they are [default: the latest in the data]
    #[arg(long, value_name = "DATE")]
    pub(crate) end_date: Option<String>,
    /// Time of day up to which bars are seen, and from which on trades are entered [default: the scanner's own]
    #[arg(long, value_name = "HH:MM")]
    pub(crate) cutoff: Option<String>,
    /// A parameter of the scanners; may be given again for others
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub(crate) settings: Vec<String>,
    /// Only these symbols
    #[arg(long, value_name = "A,B")]
    pub(crate) symbols: Option<String>,
    /// Regular hours of an exchange, such as NSE or NYSE; 'FROM markets()' lists them
    #[arg(long, value_name = "CODE")]
    pub(crate) market: Option<String>,
    /// Scan all sessions again that are there
    #[arg(long)]
    pub(crate) rebuild: bool,
    /// Trades are closed by this time of day [default: 15:15, with daily bars 24:00]
    #[arg(long, value_name = "HH:MM", help_heading = "Outcomes")]
    pub(crate) exit_time: Option<String>,
    /// Which way the hits are traded [default: long]
    #[arg(long, value_parser = ["long", "short"], help_heading = "Outcomes")]
    pub(crate) direction: Option<String>,
    /// Loss in % at which a trade is closed [default: none]
    #[arg(long, value_name = "PCT", allow_negative_numbers = true, help_heading = "Outcomes")]
    pub(crate) stop_loss: Option<String>,
    /// Gain in % at which a trade is closed [default: none]
    #[arg(long, value_name = "PCT", allow_negative_numbers = true, help_heading = "Outcomes")]
    pub(crate) target: Option<String>,
    /// Costs of each side, in hundredths of a percent of the traded value [default: 0]
    #[arg(long, value_name = "BPS", allow_negative_numbers = true, help_heading = "Outcomes")]
    pub(crate) cost_bps: Option<String>,
    /// How much worse than the bars' prices each side is filled, in hundredths of a percent [default: 0]
    #[arg(long, value_name = "BPS", allow_negative_numbers = true, help_heading = "Outcomes")]
    pub(crate) slippage_bps: Option<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scanner history
  scanner history --scanner-type breakout --days 7 --failed
  scanner history --stats
  scanner history --limit 100000 --output scans.parquet")]
pub(crate) struct History {
    /// Only scans of this scanner
    #[arg(long, short = 't', value_name = "NAME")]
    pub(crate) scanner_type: Option<String>,
    /// Only scans of the last so many days
    #[arg(long, value_name = "N", value_parser = whole::<u32>(1, 36_500))]
    pub(crate) days: Option<u32>,
    /// Only scans that failed
    #[arg(long)]
    pub(crate) failed: bool,
    /// At most so many, the newest first
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = whole::<u32>(1, 1_000_000))]
    pub(crate) limit: u32,
    /// A row for each scanner: how many scans, hits and errors, and how long they took
    #[arg(long, conflicts_with = "limit")]
    pub(crate) stats: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scanner show latest
  scanner show latest --format json")]
pub(crate) struct Show {
    /// The scan: the first letters of its id, as 'scanner history' lists it, or latest
    pub(crate) scan_id: String,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scanner export latest --format csv
  scanner export latest --output hits.parquet")]
pub(crate) struct Export {
    /// The scan: the first letters of its id, as 'scanner history' lists it, or latest
    pub(crate) scan_id: String,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scanner config
  scanner config --scanner-type breakout
  scanner config --key min_price
  scanner config --key api.port --value 9000
  scanner config -t breakout --key symbols --value DEMO0001,DEMO0002
  scanner config -t breakout --key symbols --unset
  scanner config --user --key cli.color_output --value false
  scanner config --validate
  scanner config --path
  scanner config --schema --output scanner_config.schema.json
Later ones win: what is built in, ~/.config/stockscan/config.json, ./scanner_config.json, --config-file, variables such as
STOCKSCAN_API_PORT or STOCKSCAN_BREAKOUT_MIN_PRICE, options.
With \"$schema\": \"./scanner_config.schema.json\" at the top of scanner_config.json editors complete and check it.")]
pub(crate) struct Config {
    /// A scanner's values: its own section over 'default' over what is built in
    #[arg(long, short = 't', value_name = "NAME")]
    pub(crate) scanner_type: Option<String>,
    /// A key, for its value alone; 'api.port', or 'port' where it is clear
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// Set the key in ./scanner_config.json, or in the file of --config-file: true, 100, NULL, a text, a list A,B
    #[arg(long, value_name = "VALUE", requires = "key", allow_hyphen_values = true)]
    pub(crate) value: Option<String>,
    /// Take the key out of the file
    #[arg(long, requires = "key", conflicts_with = "value")]
    pub(crate) unset: bool,
    /// Change your own file, ~/.config/stockscan/config.json, for all folders
    #[arg(long, requires = "key")]
    pub(crate) user: bool,
    /// Check all files and variables, and say every mistake
    #[arg(long, group = "about", conflicts_with_all = ["key", "scanner_type"])]
    pub(crate) validate: bool,
    /// Where files are looked for
    #[arg(long, group = "about", conflicts_with_all = ["key", "scanner_type"])]
    pub(crate) path: bool,
    /// Print the JSON Schema of a file, for editors
    #[arg(long, group = "about", conflicts_with_all = ["key", "scanner_type", "format"])]
    pub(crate) schema: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scanner completions bash > scanner.bash
  scanner completions zsh > _scanner
  scanner completions fish > scanner.fish
Where it belongs:
  bash        ~/.local/share/bash-completion/completions/scanner, or in ~/.bashrc: source <(scanner completions bash)
  zsh         a file _scanner in a folder of $fpath, such as ~/.zfunc with 'fpath+=~/.zfunc' before compinit in ~/.zshrc
  fish        ~/.config/fish/completions/scanner.fish
  powershell  in $PROFILE: scanner completions powershell | Out-String | Invoke-Expression
  elvish      in ~/.config/elvish/rc.elv: eval (scanner completions elvish | slurp)
In bash, zsh and fish also the names of scanners that are there now, your own ones too.")]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scanner man > scanner.1
  scanner man --output man1
Where they belong: ~/.local/share/man/man1, or /usr/local/share/man/man1 for everyone. 'man -l scanner.1' shows one from anywhere.")]
pub(crate) struct Man {
    /// Folder for a page of each command; made if it is not there
    #[arg(long, short, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
}

/// Where rows go and how they look.
#[derive(Debug, Args)]
pub(crate) struct Output {
    /// How to write the rows [default: by the ending of --output, else table]
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,
    /// Write the rows to a file
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns, numbers rounded, for people
    Table,
    /// Comma-separated values with a header
    Csv,
    /// One array of objects
    Json,
    /// One object a line
    Ndjson,
    /// Apache Parquet
    Parquet,
    /// Arrow IPC stream
    Arrow,
}

impl From<stockscan_configuration::Format> for Format {
    fn from(configured: stockscan_configuration::Format) -> Format {
        match configured {
            stockscan_configuration::Format::Table => Format::Table,
            stockscan_configuration::Format::Csv => Format::Csv,
            stockscan_configuration::Format::Json => Format::Json,
            stockscan_configuration::Format::Ndjson => Format::Ndjson,
            stockscan_configuration::Format::Parquet => Format::Parquet,
            stockscan_configuration::Format::Arrow => Format::Arrow,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        super::Arguments::command().debug_assert();
    }
}
