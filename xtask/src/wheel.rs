//! `cargo xtask wheel`: the Python package, which carries the extension's files for this platform.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    clients,
    extension::{self, Kind},
    run::{Outcome, command, root, step, target_directory},
};

/// Builds `dist/stockscan-….whl` of extension files that have been built, in the order of `extension::KINDS`.
pub(crate) fn build(files: &[PathBuf]) -> Outcome<PathBuf> {
    // Not in the checkout: setuptools leaves folders behind.
    let stage = target_directory()?.join("wheel");
    let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    if stage.exists() {
        fs::remove_dir_all(&stage).map_err(|error| failed(&stage, error))?;
    }
    let package = stage.join("stockscan");
    for file in ["pyproject.toml", "README.md", "stockscan/__init__.py"] {
        copy(&root().join("python").join(file), &stage.join(file))?;
    }
    for (kind, file) in extension::KINDS.iter().zip(files) {
        copy(file, &package.join(folder(kind)).join("stockscan.duckdb_extension"))?;
    }
    let platform = python_platform()?;
    command(clients::python()?)
        .args(["-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"])
        .arg(root().join("dist"))
        .arg(format!("--config-settings=--build-option=--plat-name={platform}"))
        .arg(&stage)
        .run()?;
    let path = root().join("dist").join(format!("stockscan-{}-py3-none-{platform}.whl", env!("CARGO_PKG_VERSION")));
    if !path.is_file() {
        return Err(format!(
            "{} is not what pip has built; python/pyproject.toml and Cargo.toml must have the same version",
            path.display()
        ));
    }
    step(&format!("built {}", path.display()));
    Ok(path)
}

/// By the version of DuckDB that a file is for, as `stockscan.load` looks for it.
fn folder(kind: &Kind) -> &'static str {
    if kind.folder.is_empty() { kind.version } else { kind.folder }
}

fn copy(from: &Path, to: &Path) -> Outcome {
    let made = fs::create_dir_all(to.parent().unwrap_or(to)).and_then(|()| fs::copy(from, to));
    made.map(|_| ()).map_err(|error| format!("{} to {}: {error}", from.display(), to.display()))
}

/// The name that Python's packages have for this platform.
fn python_platform() -> Outcome<&'static str> {
    match extension::platform()?.as_str() {
        "linux_amd64" => Ok("manylinux_2_35_x86_64"),
        "linux_arm64" => Ok("manylinux_2_35_aarch64"),
        "osx_amd64" => Ok("macosx_11_0_x86_64"),
        "osx_arm64" => Ok("macosx_11_0_arm64"),
        "windows_amd64" => Ok("win_amd64"),
        other => Err(format!("there are no wheels for {other}")),
    }
}
