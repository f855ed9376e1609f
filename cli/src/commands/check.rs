//! `scanner check`

use stockscan_engine::{Argument, Result, Value};

use super::{Access, market, open, text};
use crate::{
    arguments::{Check, Global},
    output, progress,
    table::Numbers,
};

pub(crate) fn run(global: &Global, check: &Check) -> Result<()> {
    let engine = open(global, Access::Read)?;
    let mut arguments = vec![("bar_minutes".to_owned(), Argument::Value(Value::BigInt(i64::from(global.bar_minutes))))];
    if let Some(code) = &check.market {
        let hours = market(&engine, code)?;
        arguments.push(("session_start".to_owned(), Argument::Value(text(&hours.session_start))));
        arguments.push(("session_end".to_owned(), Argument::Value(text(&hours.session_end))));
    }
    let call = engine.call("check_bars", &arguments)?;
    progress::shown(&engine, global, "checking", || output::write(&engine, &call.query(), None, &check.output, Numbers::Rounded))?;
    Ok(())
}
