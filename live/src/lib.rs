//! Scans that run again and again: what is new, alerts and their delivery.
//!
//! Knows nothing of terminals or of HTTP servers: the command and the server both call it.

mod reader;
mod statistics;
mod update;
mod watch;

pub use reader::Reader;
pub use statistics::Statistics;
pub use update::{Update, clock, names, of_symbols, symbols};
pub use watch::{LiveScan, Tick, Watch, is_locked, while_locked};
