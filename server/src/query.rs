//! Statements of strangers: the instance of DuckDB that they run in.

use std::path::Path;

use stockscan_engine::{Engine, Options, Result};

/// The instance for strangers' statements, in memory, to which the market's file is attached to be read.
pub(crate) fn instance(options: &Options, _file: Option<&Path>) -> Result<Engine> {
    Engine::open(options.clone())
}
