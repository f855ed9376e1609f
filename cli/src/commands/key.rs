//! `scanner key`

use std::{
    io::{self, Write},
    sync::Arc,
};

use arrow::array::{RecordBatch, StringArray};
use stockscan_engine::Result;
use stockscan_formats::arrow_error;
use stockscan_server::{Keys, Role};

use super::serve;
use crate::{
    arguments::{Global, Key, KeyAction, RoleName},
    output,
    rows::Rows,
    table::Numbers,
};

pub(crate) fn run(global: &Global, key: &Key) -> Result<()> {
    let path = serve::keys(global, key.keys.as_ref());
    let mut keys = Keys::load(&path)?;
    match &key.action {
        KeyAction::Add { name, role } => {
            let role = match role {
                RoleName::Read => Role::Read,
                RoleName::Ingest => Role::Ingest,
                RoleName::Admin => Role::Admin,
            };
            let made = keys.add(name, role)?;
            writeln!(io::stdout(), "{made}")?;
            if !global.quiet {
                say!(
                    "keep it: {} has only its hash. Clients give it as 'Authorization: Bearer KEY'; 'scanner' takes it from STOCKSCAN_API_KEY. \
                     A server that runs knows it once it is started again",
                    path.display()
                );
            }
            Ok(())
        }
        KeyAction::List { output } => {
            let column = |of: fn(&stockscan_server::Key) -> String| Arc::new(StringArray::from_iter_values(keys.all().iter().map(of))) as _;
            let columns = [
                ("name", column(|key| key.name.clone())),
                ("role", column(|key| key.role.name().to_owned())),
                ("created_at", column(|key| key.created_at.clone())),
            ];
            let batch = RecordBatch::try_from_iter(columns).map_err(arrow_error)?;
            output::write_rows(&Rows { batch }, output, Numbers::Exact)
        }
        KeyAction::Remove { name } => {
            keys.remove(name)?;
            if !global.quiet {
                say!("removed; a server that runs accepts it until it is started again");
            }
            Ok(())
        }
    }
}
