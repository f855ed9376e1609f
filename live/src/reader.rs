//! Looks at a database that others write to.

use std::path::PathBuf;

use stockscan_engine::{Engine, Location, Options, Result};
use stockscan_state::State;

use crate::{Watch, while_locked};

/// Opens a database file for each look, to be read only, and closes it again, so that a process that writes gets in between. DuckDB itself
/// stays open: that takes a hundred times as long.
#[derive(Debug)]
pub struct Reader {
    engine: Engine,
    file: Option<PathBuf>,
    waits: u64,
}

impl Reader {
    /// Opens DuckDB, but not yet the file.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn new(options: Options) -> Result<Reader> {
        let file = match &options.location {
            Location::File(file) => Some(file.clone()),
            Location::Memory => None,
        };
        let engine = Engine::open(Options { location: Location::Memory, read_only: false, ..options })?;
        Ok(Reader { engine, file, waits: 0 })
    }

    /// Does something with the database open. Where another process holds it that is tried again, so many times, with growing waits
    /// between.
    ///
    /// # Errors
    /// As [`Engine::open`], and what `work` says.
    pub fn read<T>(&mut self, retries: u64, work: impl FnOnce(&Engine) -> Result<T>) -> Result<T> {
        if let Some(file) = &self.file {
            let mut attempts = 0;
            let attached = while_locked(retries, || {
                attempts += 1;
                self.engine.attach(file)
            });
            self.waits += attempts - 1;
            attached?;
        }
        let outcome = work(&self.engine);
        self.engine.detach()?;
        outcome
    }

    /// Records the last tick of a watch in the history of scans, while the database is closed.
    ///
    /// # Errors
    /// As [`State::record`].
    pub fn record(&self, state: &State, command: &str, watch: &mut Watch) -> Result<()> {
        watch.record(state, &self.engine, command, self.file.as_deref())
    }

    /// How often a look had to wait because another process held the database.
    #[must_use]
    pub fn waits(&self) -> u64 {
        self.waits
    }

    /// The engine, while no file is open: to interrupt what it does.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }
}
