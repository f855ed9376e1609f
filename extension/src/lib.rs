//! Stockscan's DuckDB extension: every file of `sql/` as a macro of `system.main`, and the few functions that SQL cannot express.
//!
//! The same crate builds the loadable `stockscan.duckdb_extension` (feature `loadable`) and the library that the engine links in (feature
//! `static`). It keeps no connection and no state of its own.

mod clock;
mod conditions;
mod guards;
mod indicators;
mod objective_query;
mod position_sizes;
mod registry;
mod row_function;
mod series;
mod statistics;
#[cfg(not(feature = "loadable-v1"))]
mod time_series;
mod trade_query;
#[cfg(feature = "loadable-v1")]
mod v1;

/// DuckDB's interface: its v2 C API, or what stands in for it on the v1 C API.
mod duckdb {
    #[cfg(feature = "loadable-v1")]
    pub use crate::v1::*;
    #[cfg(not(feature = "loadable-v1"))]
    pub use duckdb_neo::*;
}

pub use registry::{FUNCTIONS, Function, Parameter};
pub use row_function::caught;

use crate::duckdb::{Result, extension::Extension};

/// The version of DuckDB that the loadable file is built for and loads in.
pub const DUCKDB_VERSION: &str = include_str!("../duckdb-version").trim_ascii();

#[cfg(not(feature = "loadable-v1"))]
#[duckdb_loadable_macros::duckdb_entrypoint_c_api_v2(extension_name = "stockscan", api_version = "v2.0.0")]
fn entrypoint(extension: &Extension) -> Result<()> {
    caught("stockscan", || {
        register(extension)?;
        time_series::register(extension)?;
        registry::register(extension)
    })
}

/// The functions of Rust.
fn register(extension: &Extension) -> Result<()> {
    guards::register(extension)?;
    clock::register(extension)?;
    indicators::register(extension)?;
    conditions::register(extension)?;
    statistics::register(extension)?;
    position_sizes::register(extension)?;
    objective_query::register(extension)?;
    trade_query::register(extension)
}
