//! `scanner new`

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use stockscan_configuration::{OLD_DASHBOARD, SECTIONS};
use stockscan_engine::{Error, Result, is_built_in, is_scanner_name};

use super::scanners_directory;
use crate::arguments::{Global, New};

/// A scanner that works, called `scan_template`.
const TEMPLATE: &str = include_str!("scan_template.sql");

const DEFAULT_FOLDER: &str = "scanners";

pub(crate) fn run(global: &Global, new: &New) -> Result<()> {
    let name = fit_name(&new.name)?;
    let loaded = scanners_directory(global);
    let folder: PathBuf = new.folder.as_deref().or(loaded).unwrap_or(Path::new(DEFAULT_FOLDER)).to_path_buf();
    let path = folder.join(format!("scan_{name}.sql"));
    fs::create_dir_all(&folder).map_err(|source| Error::File { path: folder.clone(), source })?;
    write(&path, &TEMPLATE.replace("scan_template", &format!("scan_{name}")), new.force)?;
    if global.quiet {
        return Ok(());
    }
    let is_loaded = loaded.is_some_and(|loaded| same(loaded, &folder));
    let mut options = if is_loaded { String::new() } else { format!(" --scanners-directory {}", word(&folder)) };
    if let Some(database) = &global.database {
        options.push_str(&format!(" --database {}", word(database)));
    }
    say!(
        "made {}, which works as it is. Change it, and run it:
  scanner run --scanner-type {name}{options}
  scanner list {name}{options}",
        path.display()
    );
    if !is_loaded {
        let value = serde_json::Value::from(folder.to_string_lossy());
        say!("To do without the option, write into scanner_config.json:\n  {{\"cli\": {{\"scanners_directory\": {value}}}}}");
    }
    Ok(())
}

/// The name without `scan_`, if a scanner can have it.
fn fit_name(given: &str) -> Result<&str> {
    let name = given.strip_prefix("scan_").unwrap_or(given);
    let refused = |reason: &str, other: String| Err(Error::Invalid(format!("scanner new {given}: {reason}{other}")));
    if !is_scanner_name(name) {
        let near: String = name.to_lowercase().chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect();
        let near = near.trim_end_matches("_sql").split('_').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_");
        let near = near.strip_prefix("scan_").unwrap_or(&near);
        let near: String = near.chars().take(50).collect();
        let other = if near.is_empty() { ", such as morning_rise".to_owned() } else { format!("; did you mean '{near}'?") };
        return refused("expected a name of small letters, digits and _, 50 of them at most", other);
    }
    let other = format!("; expected another name, such as my_{name}");
    if is_built_in(&format!("scan_{name}")) {
        return refused("there is a built-in scanner of this name", other);
    }
    if SECTIONS.contains(&name) || name == OLD_DASHBOARD {
        return refused("a section of the configuration has this name, so the scanner could have none of its own", other);
    }
    Ok(name)
}

fn write(path: &Path, text: &str, force: bool) -> Result<()> {
    let mut options = File::options();
    options.write(true);
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    match options.open(path).and_then(|mut file| file.write_all(text.as_bytes())) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(Error::Invalid(format!("{} is there already; --force writes the template over it", path.display())))
        }
        Err(source) => Err(Error::File { path: path.to_path_buf(), source }),
    }
}

/// A path as one word of a shell's command line.
fn word(path: &Path) -> String {
    let text = path.to_string_lossy();
    let is_plain = text.chars().all(|letter| letter.is_alphanumeric() || "/._-+:@%,~\\".contains(letter));
    if is_plain { text.into_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Whether two paths are the same folder.
fn same(one: &Path, other: &Path) -> bool {
    matches!((fs::canonicalize(one), fs::canonicalize(other)), (Ok(one), Ok(other)) if one == other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_on_a_command_line() {
        assert_eq!(word(Path::new("deep/er")), "deep/er");
        assert_eq!(word(Path::new("my scanners")), "'my scanners'");
        assert_eq!(word(Path::new("it's")), r"'it'\''s'");
    }

    #[test]
    fn names_that_a_scanner_cannot_have_are_refused_with_one_that_it_can() {
        assert_eq!(fit_name("scan_gap_up").ok(), Some("gap_up"));
        assert_eq!(fit_name("52_week_high").ok(), Some("52_week_high"));
        for (given, expected) in [
            ("Gap Up!", "did you mean 'gap_up'?"),
            ("scan-gap-up.sql", "did you mean 'gap_up'?"),
            ("../gap", "did you mean 'gap'?"),
            ("", "such as morning_rise"),
            ("scan_", "such as morning_rise"),
            ("é", "such as morning_rise"),
            ("breakout", "a built-in scanner of this name; expected another name, such as my_breakout"),
            ("api", "a section of the configuration has this name"),
        ] {
            let error = fit_name(given).expect_err(given).to_string();
            assert!(error.contains(expected), "{given}: {error}");
        }
        assert!(fit_name(&"x".repeat(51)).is_err());
    }
}
