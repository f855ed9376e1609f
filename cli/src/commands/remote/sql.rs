//! `scanner sql --api-mode`: statements that read.

use serde_json::json;
use stockscan_engine::Result;
use ureq::http::Method;

use super::{
    client::{ARROW, Payload, Server},
    rows,
    rows::Written,
};
use crate::{
    arguments::{Global, Sql},
    commands::{counted, sql as here},
    output, progress,
    table::Numbers,
};

pub(super) fn run(global: &Global, sql: &Sql) -> Result<()> {
    let server = Server::new(global, None)?;
    output::format(&sql.output)?;
    let engine = rows::engine(global)?;
    here::asked(&engine, sql, &server.url, |statement| {
        // A session goes on after a Ctrl-C.
        progress::stop_on_interrupt(&engine);
        let payload = Payload::Json(json!({"sql": statement}));
        let answer = progress::waiting(global, "running", || server.ask(&Method::POST, "/query", ARROW, &payload))?;
        let is_truncated = answer.header("stockscan-truncated") == Some("true");
        let written = Written { outputs: (&sql.output, None), numbers: Numbers::Exact, units: &[], without: &[] };
        let found = rows::write(answer, &written)?;
        if is_truncated {
            say!("these are not all: the server gives no more than {} to one statement", counted(found, "row"));
        }
        Ok(())
    })
}
