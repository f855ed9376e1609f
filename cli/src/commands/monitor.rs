//! `scanner monitor`

use stockscan_engine::Result;

use crate::arguments::{Global, Monitor};

pub(crate) fn run(_global: &Global, _monitor: &Monitor) -> Result<()> {
    Ok(())
}
