//! Turns every file below `sql/` into an entry of the registry. A mistake in one of them stops the build with its place.

use std::{
    env,
    error::Error,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use stockscan_sql_file::{Kind, Literal, SqlFile, check_together, parse};

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../sql").canonicalize()?;
    // Relative, so that checkouts that share a target folder don't watch each other's files.
    println!("cargo::rerun-if-changed=../sql");

    let mut paths = Vec::new();
    sql_files(&root, &mut paths)?;
    paths.sort();

    let mut files = Vec::new();
    let mut mistakes = Vec::new();
    for path in &paths {
        let shown = Path::new("sql").join(path.strip_prefix(&root)?);
        let parsed = parse(&shown.to_string_lossy().replace('\\', "/"), &fs::read_to_string(path)?);
        files.extend(parsed.file);
        mistakes.extend(parsed.mistakes);
    }
    mistakes.extend(check_together(&files, &[]));
    for mistake in &mistakes {
        println!("cargo::error={mistake}");
    }
    if mistakes.is_empty() {
        fs::write(PathBuf::from(env::var("OUT_DIR")?).join("functions.rs"), registry(&files)?)?;
    }
    Ok(())
}

fn sql_files(folder: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sql_files(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "sql") {
            found.push(path);
        }
    }
    Ok(())
}

/// The source of `registry::FUNCTIONS`.
fn registry(files: &[SqlFile]) -> Result<String, std::fmt::Error> {
    let mut code = String::from("&[\n");
    for file in files {
        let categories: Vec<_> = std::iter::once(&file.folder).chain(&file.tags).collect();
        writeln!(
            code,
            "Function {{ name: {:?}, is_table: {}, description: {:?}, categories: &{:?}, examples: &{:?}, parameters: &[",
            file.name,
            file.kind == Kind::Table,
            file.description(files, &[]),
            categories,
            file.examples
        )?;
        for parameter in &file.parameters {
            let default = match &parameter.default {
                None => "None".to_owned(),
                Some(Literal::Null) => "Some(Default::Null)".to_owned(),
                Some(Literal::Boolean(value)) => format!("Some(Default::Boolean({value}))"),
                Some(Literal::Integer(value)) => format!("Some(Default::Integer({value}))"),
                Some(Literal::Double(value)) => format!("Some(Default::Double({value:?}))"),
                Some(Literal::Text(value)) => format!("Some(Default::Text({value:?}))"),
            };
            let documentation = file.parameter_doc(&parameter.name, files, &[]).map_or("", |doc| &doc.text);
            writeln!(code, "    Parameter {{ name: {:?}, default: {default}, documentation: {documentation:?} }},", parameter.name)?;
        }
        writeln!(code, "], body: {:?} }},", file.body)?;
    }
    code.push_str("]\n");
    Ok(code)
}
