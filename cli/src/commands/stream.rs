//! `scanner run --stream`

use std::{
    collections::HashSet,
    io::{self, Write},
    sync::{Arc, atomic::Ordering},
};

use arrow::{
    array::{ArrayRef, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
};
use stockscan_engine::{Error, Result};
use stockscan_formats::{arrow_error, flattened};
use stockscan_live::{Tick, Update, clock, of_symbols};

use super::{
    counted,
    live::{self, Feed},
    recording,
};
use crate::{
    arguments::{Format, Global, Run},
    output::{format, width},
    pace,
    table::{self, Numbers},
};

pub(crate) fn run(global: &Global, run: &Run) -> Result<()> {
    let format = format(&run.output)?;
    if matches!(format, Format::Parquet | Format::Arrow) {
        let name = if format == Format::Parquet { "parquet" } else { "arrow" };
        return Err(Error::Invalid(format!(
            "--format {name} has no end to be written here; with --stream it is table, csv, json or ndjson"
        )));
    }
    let mut feed = Feed::new(global, &run.scan, &run.repeat(), "stream")?;
    let units = recording::units(feed.engine(), &format!("scan_{}", feed.scanner_type()))?;
    let news = feed.news();
    let mut pace = live::pace(global, &run.repeat());
    let mut names = HashSet::new();
    let mut stream = Stream { format, width: width(&run.output), units, has_begun: false };
    loop {
        let outcome = match feed.tick() {
            Ok(Tick::Scanned(update)) => {
                names.extend(update.added.iter().cloned());
                if global.verbose && !update.has_changes() {
                    say!("{} as of {}: the same names", update.session, clock(update.data_as_of, update.session));
                }
                stream.show(update)
            }
            Ok(Tick::Unchanged) => {
                if global.verbose {
                    say!("nothing new in the database");
                }
                Ok(())
            }
            Ok(Tick::NoBars) => {
                if !global.quiet && feed.statistics().ticks == 1 {
                    say!("there is no bar yet that can be scanned");
                }
                Ok(())
            }
            Err(error) => Err(error),
        };
        feed.record();
        if pace::is_stopped() {
            break;
        }
        if let Err(error) = outcome {
            if live::ends(&error, feed.statistics()) {
                return Err(error);
            }
            live::complain(&error);
        }
        if !pace.wait_for(|| news.load(Ordering::Relaxed)) {
            break;
        }
    }
    if !global.quiet {
        feed.failure().into_iter().for_each(|text| say!("{text}"));
        say!("{}; {}", live::summary(feed.statistics(), feed.waits(), pace.elapsed()), counted(names.len() as u64, "name"));
    }
    Ok(())
}

/// Writes updates one after the other.
struct Stream {
    format: Format,
    width: Option<u16>,
    units: Vec<(String, String)>,
    has_begun: bool,
}

impl Stream {
    fn show(&mut self, update: &Update) -> Result<()> {
        let text = match self.format {
            Format::Csv => self.rows(update)?,
            Format::Json | Format::Ndjson => {
                if !update.differs {
                    return Ok(());
                }
                format!("{}\n", update.document()?).into_bytes()
            }
            _ => {
                if !update.has_changes() && !update.starts_session {
                    return Ok(());
                }
                self.table(update)?.into_bytes()
            }
        };
        // A line that was left unfinished would be half a document to whoever reads along.
        let mut out = io::stdout().lock();
        out.write_all(&text)?;
        Ok(out.flush()?)
    }

    /// A heading, and all hits with the new ones marked.
    fn table(&mut self, update: &Update) -> Result<String> {
        let hits = counted(update.results.num_rows() as u64, "hit");
        let mut heading = format!("{} {}  {hits}", update.session, clock(update.data_as_of, update.session));
        if !update.added.is_empty() && !update.starts_session {
            heading.push_str(&format!(", +{} new", update.added.len()));
        }
        if !update.removed.is_empty() {
            heading.push_str(&format!(", -{} dropped: {}", update.removed.len(), update.removed.join(" ")));
        }
        let mut text = String::new();
        if self.has_begun {
            text.push('\n');
        }
        self.has_begun = true;
        text.push_str(&format!("{}\n", console::style(heading).cyan().bold()));
        if update.results.num_rows() > 0 {
            let marked = marked(update)?;
            text.push_str(&table::render(&marked.schema(), &[marked], Numbers::Rounded, self.width, &[], &self.units)?);
        }
        Ok(text)
    }

    /// The rows of new names, behind up to when bars were seen; a header first of all.
    fn rows(&mut self, update: &Update) -> Result<Vec<u8>> {
        let rows = flattened(&of_symbols(&update.results, &update.added)?)?;
        let moment: ArrayRef = Arc::new(StringArray::from(vec![update.data_as_of.to_string(); rows.num_rows()]));
        let rows = before(&rows, "data_as_of", moment)?;
        let mut writer = arrow::csv::WriterBuilder::new().with_header(!self.has_begun).build(Vec::new());
        self.has_begun = true;
        writer.write(&rows).map_err(arrow_error)?;
        Ok(writer.into_inner())
    }
}

/// The results with a + before each new name.
fn marked(update: &Update) -> Result<RecordBatch> {
    if update.starts_session {
        return Ok(update.results.clone());
    }
    let added: HashSet<&String> = update.added.iter().collect();
    let names = stockscan_live::symbols(&update.results)?;
    let marks: StringArray = names.iter().map(|name| Some(if added.contains(name) { "+" } else { "" })).collect();
    before(&update.results, "new", Arc::new(marks))
}

/// The rows with another column before all others.
fn before(rows: &RecordBatch, name: &str, column: ArrayRef) -> Result<RecordBatch> {
    let schema = rows.schema();
    let first = Arc::new(Field::new(name, DataType::Utf8, false));
    let fields: Vec<_> = std::iter::once(first).chain(schema.fields().iter().cloned()).collect();
    let columns: Vec<ArrayRef> = std::iter::once(column).chain(rows.columns().iter().cloned()).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(arrow_error)
}
