//! `cargo xtask …`: what a contributor or a first-time user runs. Little beyond the standard library, so that it builds in a moment.

mod clients;
mod dashboard;
mod extension;
mod node;
mod package;
mod python;
mod release_notes;
mod run;
mod wheel;

use std::process::ExitCode;

use run::{Outcome, cargo, root, step};

const HELP: &str = "\
cargo xtask demo        build everything, make a market, run a scan on it, say what to try next
cargo xtask test        all tests: Rust, SQL files, the command, the Python client with the loaded extension, the dashboard in a browser
cargo xtask test-extension
                        the SQL files' tests through the Python clients with the loaded extensions: what differs between platforms, in minutes
cargo xtask extension   build dist/stockscan.duckdb_extension, and the one for DuckDB 1.5 in dist/v1, for this platform
cargo xtask dashboard   build web/dist, the files of the dashboard, which are committed
cargo xtask wheel       build dist/stockscan-….whl, the Python package with both extension files, for this platform
cargo xtask package [--sign-with KEY.pem] [--output FOLDER] [FILE...]
                        make dist/package: a repository that DuckDB installs from, the command and checksums; of the FILEs (extension files of
                        any platform, archives, wheels) or of what is built here; 'openssl genrsa -out KEY.pem 2048' makes a key
cargo xtask release-notes [VERSION]
                        print the section of a version in CHANGELOG.md
cargo xtask bench       benchmarks; they check their answers and print ratios
cargo xtask lint        format and clippy, warnings are errors";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rest = arguments.get(1..).unwrap_or_default();
    let outcome = match arguments.first().map(String::as_str) {
        Some("demo") => demo(),
        Some("test") => test(),
        Some("test-extension") => test_extension(),
        Some("dashboard") => dashboard::build(),
        Some("extension") => extension::KINDS.iter().try_for_each(|kind| extension::build(kind).map(|_| ())),
        Some("wheel") => wheel().map(|_| ()),
        Some("package") => package::make(rest),
        Some("release-notes") => release_notes::print(rest),
        Some("bench") => bench(rest),
        Some("lint") => lint(),
        None | Some("help" | "--help" | "-h") => {
            println!("{HELP}");
            Ok(())
        }
        Some(other) => Err(format!("unknown command '{other}'; expected one of\n{HELP}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

fn demo() -> Outcome {
    run::require_compiler()?;
    step("Building the scanner command (the first time compiles DuckDB, which takes a while: about 20 minutes on two cores)");
    cargo(&["build", "--package", "scanner"])?;
    step("A market to try it on");
    let scanner = run::target_directory()?.join("debug/scanner");
    run::command(&scanner).arg("demo").run()?;
    step(&format!("the command is {}; put its folder on your path", scanner.display()));
    Ok(())
}

fn test() -> Outcome {
    run::require_compiler()?;
    // First, so that a machine without what they need learns it before the long build.
    let python = clients::python()?;
    clients::python_1_5()?;
    step("The loadable extensions, and the wheel with them");
    wheel()?;
    step("Rust tests: the engine, every SQL file, the properties of every scanner, the command, the README");
    cargo(&["test", "--workspace", "--no-fail-fast"])?;
    step("Independent implementations, the command and the server, through the Python client with the loaded extension");
    clients::pytest(&python)?.args(clients::IN_PARALLEL).arg("tests/python").run()?;
    clients::test()?;
    dashboard::test()
}

fn test_extension() -> Outcome {
    for kind in &extension::KINDS {
        extension::build(kind)?;
    }
    clients::both("tests/clients/duckdb")
}

fn wheel() -> Outcome<std::path::PathBuf> {
    wheel::build(&extension::KINDS.iter().map(extension::build).collect::<Outcome<Vec<_>>>()?)
}

fn bench(arguments: &[String]) -> Outcome {
    let python = clients::python()?;
    let extension = extension::build(&extension::CURRENT)?;
    cargo(&["build", "--package", "scanner"])?;
    // With the whole workspace's features: with others, DuckDB would be compiled for this alone.
    cargo(&["build", "--workspace", "--example", "bare_loop"])?;
    run::command(python)
        .arg("bench/run.py")
        .args(arguments)
        .env("STOCKSCAN_EXTENSION", extension)
        .env("STOCKSCAN_SCANNER", run::target_directory()?.join("debug/scanner"))
        .env("STOCKSCAN_BARE_LOOP", run::target_directory()?.join("debug/examples/bare_loop"))
        .run()
}

fn lint() -> Outcome {
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    extension::lint_v1()?;
    step(&format!("linted {}", root().display()));
    Ok(())
}
