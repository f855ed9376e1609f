//! `cargo xtask extension`: the library that DuckDB loads, with the footer that says for which DuckDB and platform it is.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::run::{Outcome, command, root, step, target_directory};

const DUCKDB_VERSION: &str = include_str!("../../extension/duckdb-version").trim_ascii();

const FIELD: usize = 32;
pub(crate) const SIGNATURE: usize = 256;

/// A file that DuckDB loads.
pub(crate) struct Kind {
    /// Of the extension's crate.
    feature: &'static str,
    /// In `dist/`, since a file's name is the extension's.
    pub(crate) folder: &'static str,
    /// How DuckDB decides whether it can load the file: exactly this version, or any that has this version of the C API.
    abi: &'static str,
    pub(crate) version: &'static str,
}

/// For the version of DuckDB that the command has inside.
pub(crate) const CURRENT: Kind = Kind { feature: "loadable", folder: "", abi: "C_STRUCT_UNSTABLE", version: DUCKDB_VERSION };
/// For DuckDB 1.5 and later.
const V1: Kind = Kind { feature: "loadable-v1", folder: "v1", abi: "C_STRUCT", version: "v1.2.0" };

/// All of them.
pub(crate) const KINDS: [Kind; 2] = [CURRENT, V1];

/// Builds `dist/[v1/]stockscan.duckdb_extension` and returns its path.
pub(crate) fn build(kind: &Kind) -> Outcome<PathBuf> {
    build_with("dev", "debug", kind, &root().join("dist"))
}

/// Builds `dist/release/[v1/]stockscan.duckdb_extension`, a third as large for being without what debuggers read.
pub(crate) fn build_for_release(kind: &Kind) -> Outcome<PathBuf> {
    build_with("release", "release", kind, &root().join("dist/release"))
}

fn build_with(profile: &str, profile_folder: &str, kind: &Kind, folder: &Path) -> Outcome<PathBuf> {
    // Folders of their own: each build, and the one linked into the engine, needs other features of the same crates.
    let target = target_directory()?.join(kind.feature);
    command(env!("CARGO"))
        .args([
            "rustc",
            "--profile",
            profile,
            "--package",
            "stockscan",
            "--no-default-features",
            "--features",
            kind.feature,
            "--crate-type",
            "cdylib",
        ])
        .arg("--target-dir")
        .arg(&target)
        .run()?;
    let library = target.join(profile_folder).join(format!("{}stockscan{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX));
    let mut content = fs::read(&library).map_err(|error| format!("{}: {error}", library.display()))?;
    content.extend_from_slice(&footer(kind, &platform()?));

    let folder = folder.join(kind.folder);
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

/// Lints what only the file for DuckDB 1.5 has.
pub(crate) fn lint_v1() -> Outcome {
    command(env!("CARGO"))
        .args(["clippy", "--package", "stockscan", "--no-default-features", "--features", V1.feature, "--target-dir"])
        .arg(target_directory()?.join(V1.feature))
        .args(["--", "-D", "warnings"])
        .run()
}

/// DuckDB's name of this platform, as its `PRAGMA platform` answers. The C library is a part of it: files for one are refused by the other.
pub(crate) fn platform() -> Outcome<String> {
    let system = match std::env::consts::OS {
        "macos" => "osx",
        system @ ("linux" | "windows" | "freebsd") => system,
        system => return Err(format!("DuckDB has no platform name for {system}")),
    };
    let processor = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        processor => return Err(format!("DuckDB has no platform name for {processor}")),
    };
    let library = match system {
        "linux" if cfg!(target_env = "musl") => "_musl",
        "windows" if cfg!(target_env = "gnu") => "_mingw",
        _ => "",
    };
    Ok(format!("{system}_{processor}{library}"))
}

/// A WebAssembly custom section named `duckdb_signature`: eight fields of 32 bytes, last one first, then room for a signature.
fn footer(kind: &Kind, platform: &str) -> Vec<u8> {
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

/// What an extension file says of itself at its end.
pub(crate) struct Footer {
    pub(crate) platform: String,
    /// The DuckDB that it was built for; for the stable interface, the first version of that interface that has what it needs.
    pub(crate) duckdb: String,
    /// The extension's own version.
    pub(crate) version: String,
    /// The interface to DuckDB that it uses: `C_STRUCT` (stable), `C_STRUCT_UNSTABLE` or `CPP`.
    pub(crate) interface: String,
}

impl Footer {
    /// Reads the footer of a file; none if it has none.
    pub(crate) fn read(content: &[u8]) -> Option<Self> {
        let fields = content.get(content.len().checked_sub(8 * FIELD + SIGNATURE)?..)?;
        // The first field is the last one of the eight.
        let field = |number: usize| {
            let bytes = &fields[(7 - number) * FIELD..(8 - number) * FIELD];
            String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
        };
        (field(0) == "4").then(|| Self { platform: field(1), duckdb: field(2), version: field(3), interface: field(4) })
    }
}
