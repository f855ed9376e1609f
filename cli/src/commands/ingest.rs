//! `scanner ingest`

use std::time::{Duration, Instant};

use stockscan_engine::{Engine, Error, IngestReport, Label, Layout, Result};

use super::{Access, counted, follow, options};
use crate::{
    arguments::{Global, IngestFiles, LabelArgument, LayoutArguments},
    progress,
};

pub(crate) fn run(global: &Global, files: &IngestFiles) -> Result<()> {
    let layout = layout(global, &files.layout)?;
    check(files)?;
    if files.follow {
        return follow::run(global, files, layout, follow::Target::Database(options(global, Access::Write)?));
    }
    let path = super::database(global);
    let was_there = path.exists();
    // It calls no scanner, so a broken one does not stop it.
    let engine = Engine::open(options(global, Access::Write)?)?;
    let started = Instant::now();
    let outcome = progress::shown(&engine, global, "ingesting", || {
        engine.ingest(&files.files, &layout, |progress| {
            if global.verbose {
                say!("{} of {}: {}", progress.files_done + 1, progress.files, progress.file.display());
            }
        })
    });
    match outcome {
        Ok(report) => {
            told(global, &report, &engine.name(), started.elapsed())?;
            if !global.quiet && global.bar_minutes != 1440 && all_at_midnight(&engine, global)? {
                say!("every bar starts at 00:00, as daily bars do: scan them with --bar-minutes 1440, or their close is seen all day");
            }
            Ok(())
        }
        Err(error) => {
            // A first ingest that stored nothing leaves no empty database behind.
            let is_empty = !engine.has_relation(global.source.as_deref().unwrap_or("bars"));
            drop(engine);
            if !was_there && is_empty {
                let _ = std::fs::remove_file(&path);
            }
            Err(error)
        }
    }
}

/// Refuses files that cannot be taken in.
pub(super) fn check(files: &IngestFiles) -> Result<()> {
    // Before a database is made: a file that is not there is the commonest mistake.
    if let Some(missing) = files.files.iter().find(|file| !file.exists()) {
        return Err(Error::no_file(missing.clone()));
    }
    match files.files.iter().find(|file| file.is_dir() && !files.follow) {
        Some(folder) => {
            let folder = folder.display();
            Err(Error::Invalid(format!(
                "{folder} is a folder; name its files, as in {folder}/*.parquet, or take in what is put there with --follow"
            )))
        }
        None => Ok(()),
    }
}

/// Says what became of the files; nothing but defects is a failure.
pub(super) fn told(global: &Global, report: &IngestReport, database: &str, elapsed: Duration) -> Result<()> {
    if !global.quiet {
        print(report, database, elapsed.as_secs_f64());
    }
    if report.added + report.unchanged + report.conflicting == 0 && !report.rejected.is_empty() {
        return Err(Error::Database("no row of these files is a bar; nothing was stored".to_owned()));
    }
    Ok(())
}

/// How the files or relations are laid out.
pub(super) fn layout(global: &Global, given: &LayoutArguments) -> Result<Layout> {
    let map = given.map.iter().map(|entry| {
        let (column, file_column) = entry
            .split_once('=')
            .ok_or_else(|| Error::Invalid(format!("--map {entry}: expected COLUMN=FILE_COLUMN, such as --map ts=timestamp")))?;
        Ok((column.trim().to_owned(), file_column.trim().to_owned()))
    });
    Ok(Layout {
        map: map.collect::<Result<_>>()?,
        symbol: given.symbol.clone(),
        symbol_from_file: given.symbol_from_file,
        time_zone: given.timezone.clone(),
        file_time_zone: given.file_timezone.clone(),
        timestamp_format: given.timestamp_format.clone(),
        label: match given.label {
            LabelArgument::Start => Label::Start,
            LabelArgument::End => Label::End,
        },
        bar_minutes: global.bar_minutes,
    })
}

pub(super) fn all_at_midnight(engine: &Engine, global: &Global) -> Result<bool> {
    let table = global.source.as_deref().unwrap_or("bars");
    // The first bar that does not ends the search.
    let sql =
        "SELECT EXISTS (FROM query_table($1)) AND NOT EXISTS (FROM query_table($1) AS bar WHERE CAST(bar.ts AS TIME) <> TIME '00:00:00')";
    Ok(engine.connection().query_row(sql, [table], |row| row.get(0))?)
}

fn print(report: &IngestReport, database: &str, seconds: f64) {
    say!(
        "{} added to {database} from {} of {} in {seconds:.1} s",
        counted(report.added, "bar"),
        counted(report.rows_read, "row"),
        counted(report.files, "file")
    );
    if report.unchanged > 0 {
        say!("{} stored already, with the same values", counted(report.unchanged, "bar"));
    }
    if report.conflicting > 0 {
        say!("{} stored already with other values: the stored ones stay", counted(report.conflicting, "bar"));
    }
    if report.repeated > 0 {
        say!("{} repeated: several rows of a file have the same symbol and ts, and one of them is kept", counted(report.repeated, "row"));
    }
    print_rejected(report);
}

pub(super) fn print_rejected(report: &IngestReport) {
    for rejected in &report.rejected {
        say!(
            "{} of {} rejected: {} (first: {})",
            counted(rejected.rows, "row"),
            rejected.file.display(),
            rejected.reason,
            rejected.example.trim()
        );
    }
}
