//! The Python environment of the client tests: made in the target folder, filled from `tests/python/requirements.txt`.

use std::{fs, path::PathBuf};

use crate::run::{Outcome, command, root, step, target_directory};

/// The environment's interpreter; installs what is missing or out of date.
pub(crate) fn environment() -> Outcome<PathBuf> {
    let folder = target_directory()?.join("python");
    let python = folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let requirements = root().join("tests/python/requirements.txt");
    let wanted = fs::read_to_string(&requirements).map_err(|error| format!("{}: {error}", requirements.display()))?;
    let marker = folder.join("installed.txt");
    if fs::read_to_string(&marker).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    step("Installing the Python packages of the client tests");
    let version = command("python3").args(["-c", "import ensurepip, sys, venv; print(sys.version_info >= (3, 11))"]).output();
    if version.as_deref().map(str::trim) != Ok("True") {
        return Err("the client tests need Python 3.11 or later with its venv module, as 'python3' on the path \
                    (Debian: apt-get install python3 python3-venv; macOS: brew install python)"
            .to_owned());
    }
    command("python3").args(["-m", "venv"]).arg(&folder).run()?;
    command(&python).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(&requirements).run()?;
    fs::write(&marker, wanted).map_err(|error| format!("{}: {error}", marker.display()))?;
    Ok(python)
}
