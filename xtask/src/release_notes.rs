//! `cargo xtask release-notes`: the section of one version in CHANGELOG.md.

use std::fs;

use crate::run::{Outcome, root};

/// Prints what changed in the version that is named, or in that of Cargo.toml.
pub(crate) fn print(arguments: &[String]) -> Outcome {
    let version = match arguments {
        [] => env!("CARGO_PKG_VERSION"),
        [version] => version.trim_start_matches('v'),
        _ => return Err(format!("release-notes takes one version, got {}", arguments.join(" "))),
    };
    let path = root().join("CHANGELOG.md");
    let changelog = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    println!("{}", section(&changelog, version)?);
    Ok(())
}

/// What stands below the heading `## VERSION`, with or without a date behind it.
fn section(changelog: &str, version: &str) -> Outcome<String> {
    let headings: Vec<&str> = changelog.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let is_heading = |line: &&str| line.strip_prefix("## ").and_then(|heading| heading.split(' ').next()) == Some(version);
    let below: Vec<&str> =
        changelog.lines().skip_while(|line| !is_heading(line)).skip(1).take_while(|line| !line.starts_with("## ")).collect();
    let notes = below.join("\n").trim().to_owned();
    if notes.is_empty() {
        return Err(format!(
            "CHANGELOG.md has nothing under '## {version}' (its headings: {}); a release renames '## Unreleased' to '## {version}'",
            headings.join(", ")
        ));
    }
    Ok(notes)
}

#[cfg(test)]
mod tests {
    use super::section;

    const CHANGELOG: &str = "# Changelog\n\n## Unreleased\n\n## 1.10.0 - 2027-01-02\n\n- ten\n\n## 1.1.0\n\n- one\n  - more\n";

    #[test]
    fn a_section_ends_where_the_next_begins() {
        assert_eq!(section(CHANGELOG, "1.10.0").as_deref(), Ok("- ten"));
        assert_eq!(section(CHANGELOG, "1.1.0").as_deref(), Ok("- one\n  - more"), "the last one, and not 1.10.0 by its beginning");
    }

    #[test]
    fn a_missing_or_empty_section_is_an_error_that_says_what_to_do() {
        for version in ["1.1", "2.0.0", "Unreleased"] {
            let error = section(CHANGELOG, version).expect_err(version);
            assert!(error.contains(&format!("'## {version}' (its headings: Unreleased, 1.10.0 - 2027-01-02, 1.1.0)")), "{error}");
        }
    }
}
