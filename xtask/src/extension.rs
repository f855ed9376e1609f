//! `cargo xtask extension`: the library that DuckDB loads, with the footer that says for which DuckDB and platform it is.

use std::{fs, path::PathBuf};

use crate::run::{Outcome, command, root, step, target_directory};

const DUCKDB_VERSION: &str = include_str!("../../extension/duckdb-version").trim_ascii();

/// A file that DuckDB loads.
pub(crate) struct Kind {
    /// Of the extension's crate.
    feature: &'static str,
    /// In `dist/`, since a file's name is the extension's.
    folder: &'static str,
    /// How DuckDB decides whether it can load the file: exactly this version, or any that has this version of the C API.
    abi: &'static str,
    version: &'static str,
}

/// For the version of DuckDB that the command has inside.
pub(crate) const CURRENT: Kind = Kind { feature: "loadable", folder: "", abi: "C_STRUCT_UNSTABLE", version: DUCKDB_VERSION };
/// For DuckDB 1.5 and later.
const V1: Kind = Kind { feature: "loadable-v1", folder: "v1", abi: "C_STRUCT", version: "v1.2.0" };

/// All of them.
pub(crate) const KINDS: [Kind; 2] = [CURRENT, V1];

/// Builds `dist/[v1/]stockscan.duckdb_extension` and returns its path.
pub(crate) fn build(kind: &Kind) -> Outcome<PathBuf> {
    // Folders of their own: each build, and the one linked into the engine, needs other features of the same crates.
    let target = target_directory()?.join(kind.feature);
    command(env!("CARGO"))
        .args(["rustc", "--package", "stockscan", "--no-default-features", "--features", kind.feature, "--crate-type", "cdylib"])
        .arg("--target-dir")
        .arg(&target)
        .run()?;
    let library = target.join("debug").join(format!("{}stockscan{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX));
    let mut content = fs::read(&library).map_err(|error| format!("{}: {error}", library.display()))?;
    content.extend_from_slice(&footer(kind, platform()?));

    let folder = root().join("dist").join(kind.folder);
    let path = folder.join("stockscan.duckdb_extension");
    let written = fs::create_dir_all(&folder).and_then(|()| {
        // A process that has the old file mapped keeps it: the new one takes its name.
        let new = path.with_extension("new");
        fs::write(&new, content)?;
        fs::rename(&new, &path)
    });
    written.map_err(|error| format!("{}: {error}", path.display()))?;
    step(&format!("built {}", path.display()));
    Ok(path)
}

fn platform() -> Outcome<&'static str> {
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => Ok("linux_amd64"),
        ("linux", "aarch64") => Ok("linux_arm64"),
        ("macos", "x86_64") => Ok("osx_amd64"),
        ("macos", "aarch64") => Ok("osx_arm64"),
        ("windows", "x86_64") => Ok("windows_amd64"),
        (system, processor) => Err(format!("DuckDB has no platform name for {system} on {processor}")),
    }
}

/// A WebAssembly custom section named `duckdb_signature`: eight fields of 32 bytes, last one first, then room for a signature.
fn footer(kind: &Kind, platform: &str) -> Vec<u8> {
    const FIELD: usize = 32;
    const SIGNATURE: usize = 256;
    let mut footer = vec![0x00, 0x93, 0x04, 0x10];
    footer.extend_from_slice(b"duckdb_signature");
    footer.extend_from_slice(&[0x80, 0x04]);
    let version = format!("v{}", env!("CARGO_PKG_VERSION"));
    for field in ["", "", "", kind.abi, &version, kind.version, platform, "4"] {
        let mut bytes = field.as_bytes().to_vec();
        bytes.resize(FIELD, 0);
        footer.extend_from_slice(&bytes);
    }
    footer.resize(footer.len() + SIGNATURE, 0);
    footer
}
