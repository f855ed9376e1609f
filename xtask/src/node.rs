//! Node: installs what a `package-lock.json` says and runs its scripts.

use std::{fs, path::Path};

use crate::run::{Outcome, command, root, step, target_directory};

/// Runs npm on the package in `folder`, a path below the root.
pub(crate) fn npm(folder: &str, arguments: &[&str]) -> Outcome {
    command("npm").args(["--prefix", folder]).args(arguments).env("STOCKSCAN_SCANNER", target_directory()?.join("debug/scanner")).run()
}

/// Installs the packages of `folder`, a path below the root, unless they are there.
pub(crate) fn packages(folder: &str) -> Outcome {
    let version = command("node").args(["--print", "process.version"]).output().unwrap_or_default();
    let mut numbers = version.trim().trim_start_matches('v').split('.').map_while(|number| number.parse::<u32>().ok());
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found < (20, 19) {
        return Err(format!("{folder} needs Node 20.19 or later, as 'node' on the path; found '{}' (https://nodejs.org)", version.trim()));
    }
    let text = |path: &Path| fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
    let wanted = text(&root().join(folder).join("package-lock.json"))?;
    let marker = root().join(folder).join("node_modules/installed.json");
    if text(&marker).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    step(&format!("Installing the packages of {folder}"));
    npm(folder, &["ci", "--no-audit", "--no-fund"])?;
    fs::write(&marker, wanted).map_err(|error| format!("{}: {error}", marker.display()))
}
