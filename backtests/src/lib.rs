//! Backtests of scanners, and grids of them: which functions are called with which arguments, and in which parts.
//!
//! Knows nothing of terminals or of HTTP servers: the command and the server both call it. What computes is SQL.

mod grid;
mod optimization;
mod test;

pub use grid::{Axis, Candidates};
pub use optimization::{Optimization, RESULTS, Search, Tested};
pub use test::{Given, Test, Trading};
