//! `scanner man`

use std::{
    fs,
    io::{self, Write},
};

use clap::{Command, CommandFactory};
use clap_mangen::Man as Page;
use stockscan_engine::{Error, Result};

use crate::arguments::{Arguments, Man};

pub(crate) fn run(man: &Man) -> Result<()> {
    let mut command = Arguments::command().disable_help_subcommand(true);
    command.build();
    let Some(folder) = &man.output else { return Ok(io::stdout().write_all(&page(&command)?)?) };
    let failed = |source: io::Error| Error::File { path: folder.clone(), source };
    fs::create_dir_all(folder).map_err(failed)?;
    for command in std::iter::once(&command).chain(command.get_subcommands()) {
        fs::write(folder.join(format!("{}.1", name(command))), page(command)?).map_err(failed)?;
    }
    Ok(())
}

fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or(command.get_name())
}

fn page(command: &Command) -> Result<Vec<u8>> {
    let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    // What follows the options is set line by line, which the library would fill as one paragraph.
    let command = command.clone().after_help("");
    let title = name(&command).to_uppercase();
    let mut text = Vec::new();
    let page = Page::new(command).title(title).manual("Stockscan").source(format!("scanner {}", env!("CARGO_PKG_VERSION")));
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    page.render_subcommands_section(&mut text)?;
    writeln!(text, ".SH EXAMPLES AND NOTES\n.nf")?;
    for line in examples.lines() {
        let line = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
        writeln!(text, "{}{line}", if line.starts_with('.') { "\\&" } else { "" })?;
    }
    writeln!(text, ".fi")?;
    Ok(text)
}
