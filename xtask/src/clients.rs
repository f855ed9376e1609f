//! The tests of the folders in `tests/clients`: the tools that people use DuckDB from.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    node, python,
    run::{Outcome, Program, command, root, step, target_directory},
};

/// The Python environment with DuckDB 2.0, of most tests.
pub(crate) fn python() -> Outcome<PathBuf> {
    python::environment("python", "tests/python/requirements.txt")
}

/// The Python environment with DuckDB 1.5.
pub(crate) fn python_1_5() -> Outcome<PathBuf> {
    python::environment("python-1.5", "tests/python/requirements-1.5.txt")
}

/// Options of pytest where there are many files. A file is one process: what its fixtures make is made once.
pub(crate) const IN_PARALLEL: [&str; 4] = ["--numprocesses", "auto", "--dist", "loadfile"];

/// pytest in an environment, with the variables by which the tests find what they test.
pub(crate) fn pytest(python: &Path) -> Outcome<Program> {
    Ok(command(python)
        .args(["-m", "pytest", "-q"])
        .env("STOCKSCAN_EXTENSION", root().join("dist/stockscan.duckdb_extension"))
        .env("STOCKSCAN_SCANNER", target_directory()?.join("debug/scanner"))
        .env("STOCKSCAN_PYTHON_1_5", python_1_5()?))
}

/// Runs each folder of `tests/clients`. One with a `requirements.txt` has an environment of its own; one with a `package.json` is run by Node;
/// any other is run with DuckDB 2.0 and again with 1.5.
pub(crate) fn test() -> Outcome {
    let clients = root().join("tests/clients");
    let listed = fs::read_dir(&clients).and_then(|entries| {
        entries
            .map(|entry| {
                let entry = entry?;
                Ok(entry.file_type()?.is_dir().then(|| entry.file_name().to_string_lossy().into_owned()))
            })
            .collect::<Result<Vec<_>, std::io::Error>>()
    });
    let mut names: Vec<String> = listed.map_err(|error| format!("{}: {error}", clients.display()))?.into_iter().flatten().collect();
    // pytest's own.
    names.retain(|name| !name.starts_with(['_', '.']));
    names.sort();
    for name in names {
        let folder = format!("tests/clients/{name}");
        let has = |file: &str| clients.join(&name).join(file).is_file();
        if has("package.json") {
            node::packages(&folder)?;
            step(&folder);
            node::npm(&folder, &["run", "test"])?;
        } else if has("requirements.txt") {
            let own = python::environment(&format!("python-{name}"), &format!("{folder}/requirements.txt"))?;
            step(&folder);
            pytest(&own)?.arg(&folder).run()?;
        } else {
            both(&folder)?;
        }
    }
    Ok(())
}

/// Runs a folder with DuckDB 2.0 and again with 1.5.
pub(crate) fn both(folder: &str) -> Outcome {
    for (version, python) in [("2.0", python()?), ("1.5", python_1_5()?)] {
        step(&format!("{folder}, with DuckDB {version}"));
        pytest(&python)?.args(IN_PARALLEL).arg(folder).run()?;
    }
    Ok(())
}
