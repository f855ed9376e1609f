//! The dashboard: its files in `web/dist`, which are committed so that the program is built without Node, and its tests in a real browser.

use std::{fs, path::Path};

use crate::run::{Outcome, command, root, step, target_directory};

/// Builds `web/dist` from the source.
pub(crate) fn build() -> Outcome {
    packages()?;
    step("The dashboard: types, then the files");
    npm(&["run", "check"])?;
    npm(&["run", "build"])
}

/// Runs the tests of the dashboard in a browser, against a real server.
pub(crate) fn test() -> Outcome {
    packages()?;
    step("The dashboard, in Chromium, against a real server");
    npm(&["run", "test"])
}

fn npm(arguments: &[&str]) -> Outcome {
    command("npm").args(["--prefix", "web"]).args(arguments).env("STOCKSCAN_SCANNER", target_directory()?.join("debug/scanner")).run()
}

/// Installs what `package-lock.json` says, unless it is there.
fn packages() -> Outcome {
    let version = command("node").args(["--print", "process.version"]).output().unwrap_or_default();
    let mut numbers = version.trim().trim_start_matches('v').split('.').map_while(|number| number.parse::<u32>().ok());
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found < (20, 19) {
        return Err(format!(
            "the dashboard is built and tested with Node 20.19 or later, as 'node' on the path; found '{}' (https://nodejs.org)",
            version.trim()
        ));
    }
    let text = |path: &Path| fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
    let wanted = text(&root().join("web/package-lock.json"))?;
    let marker = root().join("web/node_modules/installed.json");
    if text(&marker).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    step("Installing the packages of the dashboard");
    npm(&["ci", "--no-audit", "--no-fund"])?;
    fs::write(&marker, wanted).map_err(|error| format!("{}: {error}", marker.display()))
}
