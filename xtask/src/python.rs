//! The Python environments of the tests: each is made in the target folder and filled from a file of requirements.

use std::{fs, path::PathBuf};

use crate::run::{Outcome, command, root, step, target_directory};

/// The interpreter of the environment `name`, which has what the file `requirements`, below the root, says; installs it unless it is there.
pub(crate) fn environment(name: &str, requirements: &str) -> Outcome<PathBuf> {
    let folder = target_directory()?.join(name);
    let python = folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let file = root().join(requirements);
    let wanted = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let marker = folder.join("installed.txt");
    if fs::read_to_string(&marker).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    step(&format!("Installing the Python packages of {requirements}"));
    let version = command("python3").args(["-c", "import ensurepip, sys, venv; print(sys.version_info >= (3, 11))"]).output();
    if version.as_deref().map(str::trim) != Ok("True") {
        return Err("the client tests need Python 3.11 or later with its venv module, as 'python3' on the path \
                    (Debian: apt-get install python3 python3-venv; macOS: brew install python)"
            .to_owned());
    }
    // Anew: a package that is no longer asked for would still be found.
    command("python3").args(["-m", "venv", "--clear"]).arg(&folder).run()?;
    command(&python).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(&file).run()?;
    fs::write(&marker, wanted).map_err(|error| format!("{}: {error}", marker.display()))?;
    Ok(python)
}
