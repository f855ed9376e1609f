//! Scans that run again and again: what is new, alerts and their delivery.
//!
//! Knows nothing of terminals or of HTTP servers: the command and the server both call it.

mod alerts;
mod delivery;
mod ledger;
mod reader;
mod rule;
mod statistics;
mod update;
mod watch;
mod webhook;

pub use alerts::{Alerts, Event};
pub use delivery::Backoff;
pub use ledger::{Attempt, Ledger, Message, Tally};
pub use reader::Reader;
pub use rule::{Alert, Rule, value_of_json};
pub use statistics::Statistics;
pub use update::{Update, clock, names, of_symbols, symbols};
pub use watch::{LiveScan, Tick, Watch, while_locked};
pub use webhook::{Answer, Receiver, Verdict, new_id};
