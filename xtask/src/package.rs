//! `cargo xtask package`: one folder with what a release consists of: a repository of extension files from which DuckDB installs, signed if there is
//! a key, the `scanner` command, the Python wheel, checksums.

use std::{
    collections::BTreeMap,
    env::consts::EXE_SUFFIX,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use flate2::{Compression, write::GzEncoder};
use sha2::{Digest as _, Sha256};

use crate::{
    extension::{self, Footer, SIGNATURE},
    run::{Outcome, command, root, step, target_directory},
    wheel,
};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Releases of DuckDB that are served the file for the stable C API: each looks in a folder of its own name. Those it is tested with.
const STABLE_API_RELEASES: [&str; 1] = ["v1.5.6"];

/// The files of the package by their path in it.
type Contents = BTreeMap<String, Vec<u8>>;

/// Makes the package of the given files, or of those that it has built.
pub(crate) fn make(arguments: &[String]) -> Outcome {
    let request = Request::parse(arguments)?;
    let key = request.key.as_deref().map(Key::read).transpose()?;
    let files = if request.files.is_empty() { build()? } else { request.files };

    let mut contents = Contents::new();
    for path in &files {
        for (place, content) in prepare(path, key.as_ref())? {
            if contents.insert(place.clone(), content).is_some() {
                return Err(format!("{}: there is another file for {place}", path.display()));
            }
        }
    }
    if let Some(key) = &key {
        let keys = format!("{{\"version\": 1, \"signature_keys\": [\"{}\"]}}\n", key.public);
        contents.insert("repository/.well-known/duckdb-extension-repo.json".to_owned(), keys.into_bytes());
    }
    let sums: String = contents.iter().map(|(place, content)| format!("{}  {place}\n", hexadecimal(&Sha256::digest(content)))).collect();
    contents.insert("SHA256SUMS".to_owned(), sums.into_bytes());

    write(&request.output, &contents)?;
    match key {
        Some(key) => step(&format!("signed with the key {}", key.fingerprint)),
        None => step(
            "not signed: DuckDB installs from this repository only where unsigned extensions are allowed; --sign-with KEY.pem signs it",
        ),
    }
    step(&format!("packaged {}", request.output.display()));
    Ok(())
}

struct Request {
    key: Option<PathBuf>,
    output: PathBuf,
    files: Vec<PathBuf>,
}

impl Request {
    fn parse(arguments: &[String]) -> Outcome<Self> {
        let mut request = Self { key: None, output: root().join("dist/package"), files: Vec::new() };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().map(PathBuf::from).ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--sign-with" => request.key = Some(value()?),
                "--output" => request.output = value()?,
                option if option.starts_with('-') => {
                    return Err(format!("package has no option '{option}'; it takes --sign-with KEY.pem, --output FOLDER and files"));
                }
                file => request.files.push(PathBuf::from(file)),
            }
        }
        Ok(request)
    }
}

/// What is packaged when no files are named: what is built for this platform.
fn build() -> Outcome<Vec<PathBuf>> {
    let mut files = extension::KINDS.iter().map(extension::build_for_release).collect::<Outcome<Vec<_>>>()?;
    files.push(wheel::build(&files)?);
    let name = format!("scanner{EXE_SUFFIX}");
    let scanner = target_directory()?.join("release").join(&name);
    if scanner.is_file() {
        files.push(archive(&scanner, &name)?);
    } else {
        step(&format!("without the command: {} is not there; 'cargo build --release --package scanner' builds it", scanner.display()));
    }
    Ok(files)
}

/// The command with its licence, as `dist/scanner-….tar.gz`.
fn archive(scanner: &Path, name: &str) -> Outcome<PathBuf> {
    let title = format!("scanner-{VERSION}-{}", extension::platform()?);
    let dist = root().join("dist");
    let folder = dist.join(&title);
    let staged = fs::create_dir_all(&folder)
        .and_then(|()| fs::copy(scanner, folder.join(name)))
        .and_then(|_| fs::copy(root().join("LICENSE"), folder.join("LICENSE")));
    staged.map_err(|error| format!("{}: {error}", folder.display()))?;
    // Relative paths: GNU tar takes what stands before a colon for the name of a machine.
    let path = format!("dist/{title}.tar.gz");
    command("tar").args(["--create", "--gzip", "--file", &path, "--directory", "dist", &title]).run()?;
    fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(root().join(path))
}

/// Where a file goes in the package, and as what.
fn prepare(path: &Path, key: Option<&Key>) -> Outcome<Vec<(String, Vec<u8>)>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut content = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    if name.ends_with(".whl") || name.ends_with(".tar.gz") {
        return Ok(vec![(name, content)]);
    }
    // DuckDB calls a function that it makes from the file's name.
    if name != "stockscan.duckdb_extension" {
        return Err(format!("{}: expected stockscan.duckdb_extension, a .whl or a .tar.gz", path.display()));
    }
    let footer = Footer::read(&content).ok_or_else(|| format!("{}: not an extension of DuckDB, it has no footer", path.display()))?;
    if footer.version != format!("v{VERSION}") {
        return Err(format!("{}: version {}, expected v{VERSION}: build it again", path.display(), footer.version));
    }
    let releases = match footer.interface.as_str() {
        "C_STRUCT" => STABLE_API_RELEASES.map(str::to_owned).to_vec(),
        "C_STRUCT_UNSTABLE" => vec![footer.duckdb.clone()],
        other => return Err(format!("{}: built for the interface '{other}', expected C_STRUCT or C_STRUCT_UNSTABLE", path.display())),
    };
    if let Some(key) = key {
        key.sign(&mut content)?;
    }
    let mut compressed = GzEncoder::new(Vec::new(), Compression::default());
    let compressed =
        compressed.write_all(&content).and_then(|()| compressed.finish()).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(releases.iter().map(|release| (format!("repository/{release}/{}/{name}.gz", footer.platform), compressed.clone())).collect())
}

/// Replaces the folder, so that nothing of an earlier package stays in it.
fn write(folder: &Path, contents: &Contents) -> Outcome {
    let failed = |path: &Path, error| format!("{}: {error}", path.display());
    if folder.exists() {
        // Whatever else is given as --output is not ours to remove.
        if !folder.join("SHA256SUMS").is_file() {
            return Err(format!("{}: it is there and no package; --output names another folder", folder.display()));
        }
        fs::remove_dir_all(folder).map_err(|error| failed(folder, error))?;
    }
    for (place, content) in contents {
        let path = folder.join(place);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).and_then(|()| fs::write(&path, content)).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

/// An RSA key of 2048 bits, which stays in its file: openssl reads it, and asks for its passphrase if it has one.
struct Key {
    path: PathBuf,
    /// As DuckDB's repositories publish it: the PEM form without its first and last line and without line breaks.
    public: String,
    /// As DuckDB shows it to those who add the repository.
    fingerprint: String,
}

impl Key {
    fn read(path: &Path) -> Outcome<Self> {
        let file = path.to_string_lossy();
        let pem = openssl(&["pkey", "-in", &file, "-pubout"], &[])?;
        let der = openssl(&["pkey", "-pubin", "-outform", "DER"], &pem)?;
        let public = String::from_utf8_lossy(&pem).lines().filter(|line| !line.starts_with("-----")).collect();
        Ok(Self { path: path.to_owned(), public, fingerprint: format!("sha256:{}", hexadecimal(&Sha256::digest(der))) })
    }

    /// Fills the room for a signature at the end of an extension file.
    fn sign(&self, content: &mut [u8]) -> Outcome {
        let (signed, signature) = content.split_at_mut(content.len() - SIGNATURE);
        // DuckDB checks the signature of the hash of the hashes of each MiB. openssl makes the outer hash.
        let hashes: Vec<u8> = signed.chunks(1 << 20).flat_map(Sha256::digest).collect();
        let made = openssl(&["dgst", "-sha256", "-sign", &self.path.to_string_lossy()], &hashes).unwrap_or_default();
        if made.len() != SIGNATURE {
            return Err(format!(
                "{}: cannot sign with it; DuckDB takes RSA keys of 2048 bits only, 'openssl genrsa -out KEY.pem 2048' makes one",
                self.path.display()
            ));
        }
        signature.copy_from_slice(&made);
        Ok(())
    }
}

/// Runs openssl on an input, returns what it prints.
fn openssl(arguments: &[&str], input: &[u8]) -> Outcome<Vec<u8>> {
    let failed = |error| format!("cannot run openssl, which signs (Debian: apt-get install openssl; Windows: it comes with Git): {error}");
    let mut child = Command::new("openssl").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends before it has read everything says why itself.
        stdin.write_all(input).ok();
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() { Ok(output.stdout) } else { Err(format!("openssl {} ended with {}", arguments.join(" "), output.status)) }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
