//! `scanner completions`

use std::io;

use clap::{Command, CommandFactory, builder::PossibleValuesParser};
use clap_complete::generate;
use stockscan_engine::{Engine, Options, Result, Scanner};

use super::{Access, options, own_scanners};
use crate::arguments::{Arguments, Completions, Global};

/// The arguments that name a scanner.
const NAMES: [&str; 2] = ["scanner_type", "scanner"];

pub(crate) fn run(global: &Global, completions: &Completions) -> Result<()> {
    let mut names: Vec<String> = scanners(global)?.into_iter().map(|scanner| scanner.name).collect();
    names.dedup();
    let mut command = Arguments::command();
    let commands: Vec<String> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    for name in commands {
        command = command.mut_subcommand(name, |command| with_names(command, &names));
    }
    // All at once, so that a closed pipe is no panic.
    let mut script = Vec::new();
    generate(completions.shell, &mut command, "scanner", &mut script);
    Ok(io::Write::write_all(&mut io::stdout(), &script)?)
}

/// Those of the database and of the user's folder; of a database that cannot be opened only the others.
fn scanners(global: &Global) -> Result<Vec<Scanner>> {
    let usual = options(global, Access::ReadIfThere)
        .and_then(|options| Engine::open(Options { scanners_directory: own_scanners(global)?, ..options })?.scanners());
    usual.or_else(|error| {
        if !global.quiet {
            say!("without names of your own scanners: {error}");
        }
        Engine::open(Options::memory())?.scanners()
    })
}

fn with_names(mut command: Command, names: &[String]) -> Command {
    for argument in NAMES {
        if command.get_arguments().any(|other| other.get_id() == argument) {
            command = command.mut_arg(argument, |argument| argument.value_parser(PossibleValuesParser::new(names.to_vec())));
        }
    }
    command
}
