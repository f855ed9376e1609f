//! Running other programs from the project's root, with errors that say which one failed.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What a step of the work answers.
pub(crate) type Outcome<T = ()> = Result<T, String>;

/// The project's root folder.
pub(crate) fn root() -> PathBuf {
    // Asked while running: checkouts that share a target folder share this program.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

/// Says what is being done, on standard error.
pub(crate) fn step(text: &str) {
    eprintln!("\x1b[1m==> {text}\x1b[0m");
}

/// A program to run in the project's root.
pub(crate) struct Program(Command);

/// Starts to describe a run of `program`.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Program {
    let mut command = Command::new(program);
    command.current_dir(root());
    Program(command)
}

impl Program {
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.0.arg(argument);
        self
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.0.args(arguments);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    /// Runs it with our own input and output.
    pub(crate) fn run(mut self) -> Outcome {
        let status = self.0.status().map_err(|error| format!("cannot run {:?}: {error}", self.0.get_program()))?;
        if status.success() { Ok(()) } else { Err(format!("{:?} ended with {status}", self.0)) }
    }

    /// Runs it and returns what it prints.
    pub(crate) fn output(mut self) -> Outcome<String> {
        let output = self.0.stderr(Stdio::inherit()).output().map_err(|error| format!("cannot run {:?}: {error}", self.0.get_program()))?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(format!("{:?} ended with {}", self.0, output.status))
        }
    }
}

/// Runs cargo.
pub(crate) fn cargo(arguments: &[&str]) -> Outcome {
    command(env!("CARGO")).args(arguments).run()
}

/// Where cargo builds: `target`, or what the environment or the configuration says.
pub(crate) fn target_directory() -> Outcome<PathBuf> {
    let metadata = command(env!("CARGO")).args(["metadata", "--format-version", "1", "--no-deps", "--offline"]).output()?;
    let key = "\"target_directory\":\"";
    let start = metadata.find(key).ok_or("cargo metadata names no target directory")? + key.len();
    let end = metadata[start..].find('"').ok_or("cargo metadata ends early")?;
    Ok(PathBuf::from(metadata[start..start + end].replace("\\\\", "\\")))
}

/// Says so when there is no C++ compiler, before a long build finds out.
pub(crate) fn require_compiler() -> Outcome {
    let compilers: Vec<String> = std::env::var("CXX").into_iter().chain(["c++", "g++", "clang++"].map(str::to_owned)).collect();
    let is_there = |compiler: &String| {
        let version = Command::new(compiler).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        version.is_ok_and(|status| status.success())
    };
    if cfg!(windows) || compilers.iter().any(is_there) {
        return Ok(());
    }
    Err(format!(
        "no C++ compiler found (tried {}); DuckDB is compiled from its source (Debian: apt-get install g++; macOS: xcode-select --install)",
        compilers.join(", ")
    ))
}
