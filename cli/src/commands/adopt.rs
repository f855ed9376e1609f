//! `scanner adopt`

use stockscan_engine::{Engine, Error, Result};

use super::{Access, bar_length, counted, ingest, options};
use crate::{
    arguments::{Adopt, Global},
    progress,
};

pub(crate) fn run(global: &Global, adopt: &Adopt) -> Result<()> {
    let layout = ingest::layout(global, &adopt.layout)?;
    let path = super::database(global);
    let was_there = path.exists();
    let engine = Engine::open(options(global, Access::Write)?)?;
    let adopted = progress::shown(&engine, global, "adopting", || engine.adopt(&adopt.relation, &layout, adopt.replace));
    if let Err(error) = adopted {
        drop(engine);
        if !was_there {
            // A view that was not made leaves no empty database behind.
            let _ = std::fs::remove_file(&path);
        }
        return Err(error);
    }
    if global.quiet {
        return Ok(());
    }
    let source = global.source.as_deref().unwrap_or("bars");
    say!("{source} of {} is a view of {}; nothing was copied", engine.name(), adopt.relation);
    // The view is made, whatever it holds.
    match progress::shown(&engine, global, "counting sessions", || engine.session_range(&bar_length(global))) {
        Ok(Some(range)) => say!("{} from {} to {}", counted(range.count, "session"), range.first, range.last),
        Ok(None) => say!("it has no bars that can be scanned; 'scanner check' says what is wrong with them"),
        Err(Error::Interrupted) => return Err(Error::Interrupted),
        Err(error) => return Err(Error::Database(format!("the view is there, and cannot be read: {error}"))),
    }
    if global.bar_minutes != 1440 && ingest::all_at_midnight(&engine, global)? {
        say!("every bar starts at 00:00, as daily bars do: scan them with --bar-minutes 1440, or their close is seen all day");
    }
    Ok(())
}
