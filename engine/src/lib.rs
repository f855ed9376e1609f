//! Opens DuckDB with Stockscan linked in, calls its functions by name with bound values, and streams Arrow batches.
//!
//! Knows nothing of command lines or HTTP. Everything that computes is SQL; this checks names against the catalogue, binds values, keeps
//! deadlines and says clearly what went wrong.

mod call;
mod catalogue;
mod data_version;
mod error;
mod funnel;
mod ingest;
mod open;
mod own_scanners;
mod query;
mod session;
mod words;

pub use call::{Argument, Call, literal, quoted, quoted_text, value_of};
pub use catalogue::{Column, Parameter, Scanner, Signature};
pub use data_version::file_version;
pub use duckdb::{
    Connection, InterruptHandle, ProgressHandle, params_from_iter,
    types::{TimeUnit, Value},
};
pub use error::{Error, Result, nearest};
pub use funnel::{Funnel, Step};
pub use ingest::{Format, IngestReport, Label, Layout, Progress, Rejected, Staged, is_bar_file};
pub use open::{Engine, Location, Options, created, opening_failed};
pub use own_scanners::{Finding, is_built_in, is_scanner_name};
pub use query::{Flow, Query};
pub use session::SessionRange;
pub use stockscan_sql_file::Diagnostic;
pub use words::{counted, grouped};
