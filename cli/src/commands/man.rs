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
    let mut command = Arguments::command();
    command.build();
    let Some(folder) = &man.output else { return Ok(io::stdout().write_all(&page(&command)?)?) };
    fs::create_dir_all(folder).map_err(|source| Error::File { path: folder.clone(), source })?;
    for command in std::iter::once(&command).chain(command.get_subcommands()) {
        let name = command.get_display_name().unwrap_or(command.get_name());
        let path = folder.join(format!("{name}.1"));
        fs::write(&path, page(command)?).map_err(|source| Error::File { path, source })?;
    }
    Ok(())
}

fn page(command: &Command) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    Page::new(command.clone()).manual("Stockscan").render(&mut text)?;
    Ok(text)
}
