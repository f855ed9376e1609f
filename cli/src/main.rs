//! `scanner`: stock scans from the command line. Parses arguments, issues SQL through the engine, prints what comes back.

/// Formatted text on standard error, as broad as the terminal.
macro_rules! say {
    ($($text:tt)*) => { $crate::commands::say(&format!($($text)*)) };
}

mod arguments;
mod commands;
mod grid;
mod output;
mod pace;
mod plots;
mod progress;
mod rows;
mod table;

use std::{
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use arguments::{Arguments, Command};
use clap::Parser;
use stockscan_configuration::Configuration;
use stockscan_engine::{Error, Result};

fn main() -> ExitCode {
    // No command of people's: a server starts the program like this for a statement from outside.
    if std::env::args_os().skip(1).eq([stockscan_server::RUN_STATEMENT]) {
        return stockscan_server::run_statement();
    }
    let outcome = run(Arguments::parse());
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has seen enough: `scanner … | head`.
        Err(Error::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            commands::say_error(&error);
            ExitCode::from(if error.is_usage() { 2 } else { 1 })
        }
    }
}

fn run(mut arguments: Arguments) -> Result<()> {
    arguments.global.variables = arguments::configuration_variables();
    match Configuration::load(arguments.global.config_file.as_deref(), &arguments.global.variables) {
        Ok(configuration) => arguments.global.configuration = configuration,
        // These say themselves what is wrong with it, or have no need of it.
        Err(_) if matches!(arguments.command, Command::Config(_) | Command::Doctor | Command::Completions(_) | Command::Man(_)) => {}
        Err(error) => return Err(error),
    }
    apply(&mut arguments);
    commands::remote::refuse_url(&arguments.global)?;
    if arguments.global.api_mode {
        return commands::remote::run(&arguments.global, &arguments.command);
    }
    let mut outcome = here(&mut arguments);
    let until = Instant::now() + commands::remote::A_MOMENT;
    while outcome.as_ref().is_err_and(|error| commands::remote::comes_free(&arguments.command, error)) && Instant::now() < until {
        thread::sleep(Duration::from_millis(50));
        outcome = here(&mut arguments);
    }
    match outcome {
        Err(error @ Error::Locked { .. }) => commands::remote::instead(&mut arguments.global, &arguments.command, error),
        other => other,
    }
}

/// Does what the command asks for in this process.
fn here(arguments: &mut Arguments) -> Result<()> {
    match &arguments.command {
        Command::Demo(demo) => commands::demo::run(&arguments.global, demo),
        Command::Run(run) => commands::run::run(&arguments.global, run),
        Command::Alerts(alerts) => commands::alerts::run(&arguments.global, alerts),
        Command::Monitor(monitor) => commands::monitor::run(&arguments.global, monitor),
        Command::Backtest(backtest) => commands::backtest::run(&arguments.global, backtest),
        Command::Optimize(optimize) => commands::optimize::run(&arguments.global, optimize),
        Command::List(list) => commands::list::run(&arguments.global, list),
        Command::New(new) => commands::new::run(&arguments.global, new),
        Command::Sql(sql) => commands::sql::run(&arguments.global, sql),
        Command::Ingest(ingest) => commands::ingest::run(&arguments.global, ingest),
        Command::Adopt(adopt) => commands::adopt::run(&arguments.global, adopt),
        Command::Replay(replay) => commands::replay::run(&arguments.global, replay),
        Command::Publish(publish) => commands::publish::run(&arguments.global, publish),
        Command::Check(check) => commands::check::run(&arguments.global, check),
        Command::Serve(serve) => commands::serve::run(&arguments.global, serve),
        Command::Key(key) => commands::key::run(&arguments.global, key),
        Command::Config(config) => commands::config::run(&mut arguments.global, config),
        Command::Completions(completions) => commands::completions::run(&arguments.global, completions),
        Command::Man(man) => commands::man::run(man),
        Command::History(history) => commands::history::list(&arguments.global, history),
        Command::Show(show) => commands::history::show(&arguments.global, show),
        Command::Export(export) => commands::history::export(&arguments.global, export),
        Command::Doctor => commands::doctor::run(&mut arguments.global),
    }
}

/// What the configuration says of every command. Flags win.
fn apply(arguments: &mut Arguments) {
    let cli = &arguments.global.configuration.cli;
    arguments.global.verbose |= cli.verbose_logging && !arguments.global.quiet;
    if !cli.color_output {
        console::set_colors_enabled(false);
        console::set_colors_enabled_stderr(false);
    }
    if let Some(output) = arguments.command.output()
        && output.format.is_none()
        && output.output.is_none()
    {
        output.format = Some(cli.default_format.into());
    }
}
