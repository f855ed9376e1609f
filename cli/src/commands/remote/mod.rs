//! `--api-mode`: the same commands, asked of a server. So is a command that finds the database held by one.

mod client;
mod history;
mod ingest;
mod jobs;
mod list;
mod live;
mod request;
mod rows;
mod scan;
mod server;
mod sql;

use std::{env, ffi::OsStr, path::Path, time::Duration};

pub(crate) use live::Follower;
use stockscan_engine::{Error, Result};
use stockscan_server::Announced;

use super::{monitor, stream};
use crate::{
    arguments::{Command, Global},
    progress,
};

/// How long a server may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(3);

/// A server lets go of the database half a second after it was last asked for something.
pub(crate) const A_MOMENT: Duration = Duration::from_secs(2);

/// Does what the command asks for by asking a server.
pub(crate) fn run(global: &Global, command: &Command) -> Result<()> {
    refuse_files(global)?;
    answer(global, command)
}

/// The same, once it is known that a server has the database.
fn answer(global: &Global, command: &Command) -> Result<()> {
    match command {
        Command::Run(run) if run.stream => return stream::run(global, run),
        Command::Monitor(given) => return monitor::run(global, given),
        _ => progress::interrupts(None),
    }
    match command {
        Command::Run(run) => scan::run(global, run),
        Command::Backtest(backtest) => jobs::backtest(global, backtest),
        Command::Optimize(optimize) => jobs::optimize(global, optimize),
        Command::List(list) => list::run(global, list),
        Command::Sql(sql) => sql::run(global, sql),
        Command::Ingest(files) => ingest::run(global, files),
        Command::History(history) => history::list(global, history),
        Command::Show(show) => history::show(global, show),
        Command::Export(export) => history::export(global, export),
        Command::Doctor => server::doctor(global),
        other => Err(Error::Invalid(match why_not(other) {
            Some((name, why)) => format!("--api-mode: '{name}' {why}; leave it out"),
            None => "--api-mode: this command is not known to a server; leave it out".to_owned(),
        })),
    }
}

/// Why a command cannot be asked of a server; `None`: it can.
fn why_not(command: &Command) -> Option<(&'static str, &'static str)> {
    const FILE: &str = "works on the database file";
    const HERE: &str = "works on files of this machine";
    Some(match command {
        Command::Demo(_) => ("demo", FILE),
        Command::New(_) => ("new", HERE),
        Command::Adopt(_) => ("adopt", FILE),
        Command::Replay(_) => ("replay", FILE),
        Command::Check(_) => ("check", FILE),
        Command::Publish(_) => ("publish", "writes a file or a folder of this machine from the database file"),
        Command::Alerts(_) => ("alerts", "follows the rules of the configuration here, as a server does of its own"),
        Command::Serve(_) => ("serve", "is the server"),
        Command::Key(_) => ("key", HERE),
        Command::Config(_) => ("config", HERE),
        Command::Completions(_) => ("completions", HERE),
        Command::Man(_) => ("man", HERE),
        _ => return None,
    })
}

/// The bars and the history are the server's.
fn refuse_files(global: &Global) -> Result<()> {
    let is_typed = |value: Option<&OsStr>, variable: &str| value.is_some_and(|value| env::var_os(variable).as_deref() != Some(value));
    let given = [
        ("--database", is_typed(global.database.as_deref().map(Path::as_os_str), "STOCKSCAN_DATABASE")),
        ("--state", is_typed(global.state.as_deref().map(Path::as_os_str), "STOCKSCAN_STATE")),
        ("--source", global.source.is_some()),
        ("--read-only", global.read_only),
    ];
    match given.iter().find(|(_, is_given)| *is_given) {
        Some((option, _)) => Err(Error::Invalid(format!(
            "{option} cannot be used with --api-mode: the server has the bars and the history; leave one of them out"
        ))),
        None => Ok(()),
    }
}

/// Whether options name a server that nobody asked for.
pub(crate) fn refuse_url(global: &Global) -> Result<()> {
    let is_typed = global.url.as_deref().is_some_and(|url| env::var_os("STOCKSCAN_URL").as_deref() != Some(OsStr::new(url)));
    if is_typed && !global.api_mode {
        return Err(Error::Invalid("--url names a server to ask; it needs --api-mode".to_owned()));
    }
    Ok(())
}

/// Whether to wait for a database rather than to ask the server that holds it: one cannot be asked this, or may not run statements. These
/// have done nothing before they open the database.
pub(crate) fn comes_free(command: &Command, error: &Error) -> bool {
    matches!(command, Command::Sql(_) | Command::Adopt(_) | Command::Check(_) | Command::Publish(_)) && holder(error).is_some()
}

/// The server that holds the database, if it is one.
fn holder(error: &Error) -> Option<Announced> {
    let Error::Locked { path, process, .. } = error else { return None };
    stockscan_server::announced(path).filter(|holder| holder.process_id == *process || parent(*process) == Some(holder.process_id))
}

/// Asks the server that holds the database, if it is one, and if it can be asked this.
pub(crate) fn instead(global: &mut Global, command: &Command, locked: Error) -> Result<()> {
    let (Some(holder), Error::Locked { path, process, .. }) = (holder(&locked), &locked) else { return Err(locked) };
    let held = format!("{} is held by the server at {}", path.display(), holder.url);
    if global.source.is_some() || why_not(command).is_some() || matches!(command, Command::Doctor) {
        let advice = "it lets go when nobody has asked it for half a second: try again in a moment, or end it";
        return Err(Error::Database(format!("{held} (process {process}); {advice}")));
    }
    if !global.quiet {
        say!("{held}; asking it");
    }
    global.url = Some(holder.url);
    global.api_mode = true;
    answer(global, command).map_err(|error| match error {
        // Nobody has given that option.
        Error::Invalid(text) => Error::Invalid(
            text.replace("with --api-mode: ", "while a server holds the database: ")
                .replace("leave one of them out", "leave it out, or try again in a moment"),
        ),
        other => other,
    })
}

/// The server of a database that was last started, and what to say of it.
pub(crate) fn beside(global: &Global, database: &Path) -> Option<(Announced, String)> {
    let found = stockscan_server::announced(database)?;
    let Announced { process_id, url } = &found;
    let said = match client::process_at(global, url, PATIENCE) {
        Ok(process) if process == *process_id => format!("process {process_id} answers at {url}; --api-mode --url {url} asks it"),
        Ok(process) => format!("none: process {process_id} served at {url}, where process {process} does now"),
        Err(_) if is_running(*process_id) => format!("process {process_id} does not answer at {url}; if it is a server, start it again"),
        Err(_) => format!("none: process {process_id} served at {url}, and has not ended as it should"),
    };
    Some((found, said))
}

/// The process that has started another, as far as the system tells: a server has statements run by processes of their own.
fn parent(process: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// Whether there is such a process, as far as the system tells.
fn is_running(process: u32) -> bool {
    cfg!(not(target_os = "linux")) || Path::new(&format!("/proc/{process}")).exists()
}
