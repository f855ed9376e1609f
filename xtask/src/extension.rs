//! `cargo xtask extension`: the library that DuckDB loads, with the footer that says for which DuckDB and platform it is.

use std::{fs, path::PathBuf};

use crate::run::{Outcome, command, root, step, target_directory};

const DUCKDB_VERSION: &str = include_str!("../../extension/duckdb-version").trim_ascii();

/// Builds `dist/stockscan.duckdb_extension` and returns its path.
pub(crate) fn build() -> Outcome<PathBuf> {
    // A folder of its own: the loadable build and the one linked into the engine need different features of the same crates.
    let target = target_directory()?.join("loadable");
    command(env!("CARGO"))
        .args(["rustc", "--package", "stockscan", "--no-default-features", "--features", "loadable", "--crate-type", "cdylib"])
        .arg("--target-dir")
        .arg(&target)
        .run()?;
    let library = target.join("debug").join(format!("{}stockscan{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX));
    let mut content = fs::read(&library).map_err(|error| format!("{}: {error}", library.display()))?;
    content.extend_from_slice(&footer(platform()?));

    let folder = root().join("dist");
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
fn footer(platform: &str) -> Vec<u8> {
    const FIELD: usize = 32;
    const SIGNATURE: usize = 256;
    let mut footer = vec![0x00, 0x93, 0x04, 0x10];
    footer.extend_from_slice(b"duckdb_signature");
    footer.extend_from_slice(&[0x80, 0x04]);
    let version = format!("v{}", env!("CARGO_PKG_VERSION"));
    for field in ["", "", "", "C_STRUCT_UNSTABLE", &version, DUCKDB_VERSION, platform, "4"] {
        let mut bytes = field.as_bytes().to_vec();
        bytes.resize(FIELD, 0);
        footer.extend_from_slice(&bytes);
    }
    footer.resize(footer.len() + SIGNATURE, 0);
    footer
}
