//! Changes of a configuration file: one key, in a file that is the old or the new one at any moment, never something between.

use std::{
    fs::{self, File},
    io::{self, Seek, Write},
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};
use stockscan_engine::{Engine, Error, Result};

use crate::{
    Layer, OLD_DASHBOARD, SECTIONS,
    catalogue::scanner_value,
    check::{check, check_rule, told},
    files::{layer, parse},
    variables::typed,
};

/// A text as the value of a key: JSON, a plain text, or a list with commas, as the key has it. The section of a scanner needs the
/// catalogue.
///
/// # Errors
/// [`Error::Invalid`] for an unknown key or a value that it does not allow.
pub fn value_from_text(catalogue: Option<&Engine>, section: &str, key: &str, text: &str) -> Result<Value> {
    match catalogue {
        _ if section == "alerts" => {
            let value = typed(text, |value| check_rule(key, value).is_empty());
            let mistakes = check_rule(key, &value);
            if mistakes.is_empty() { Ok(value) } else { Err(told(&mistakes)) }
        }
        Some(engine) if !SECTIONS.contains(&section) => {
            scanner_value(engine, section, key, text)?.map_err(|(value, mistake)| Error::Invalid(mistake.told(section, key, &value)))
        }
        _ => {
            let value = typed(text, |value| check(section, key, value).is_ok());
            check(section, key, &value).map_err(|mistake| Error::Invalid(mistake.told(section, key, &value)))?;
            Ok(value)
        }
    }
}

/// Sets a key in a file, which is made if it is not there, or takes it out. Returns what was there. `check` sees what the file will say,
/// and can still prevent it.
///
/// A file with mistakes is left alone, unless this repairs one and makes none.
///
/// # Errors
/// [`Error::Invalid`] for mistakes in the file, [`Error::File`] if it cannot be written, and those of `check`.
pub fn edit(
    path: &Path,
    section: &str,
    key: &str,
    value: Option<&Value>,
    check: impl FnOnce(Layer) -> Result<()>,
) -> Result<Option<Value>> {
    // A link stays one: the file that it leads to is written.
    let target = match fs::canonicalize(path) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => path.to_path_buf(),
        Err(source) => return Err(Error::File { path: path.to_path_buf(), source }),
    };
    let failed = |source: io::Error| Error::File { path: path.to_path_buf(), source };
    let mut new = Successor::lock(&target).map_err(failed)?;

    // Read only now, so that nothing is lost of what another process has written until then.
    let before = match fs::read(&target) {
        Ok(bytes) => Some(parse(path, &bytes).map_err(Error::Invalid)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(failed(source)),
    };
    let earlier_mistakes = before.as_ref().and_then(|content| layer(path, content).err()).unwrap_or_default();
    let mut content = before.unwrap_or_else(|| Value::Object(Map::new()));
    let Value::Object(sections) = &mut content else { return Err(told(&earlier_mistakes)) };
    let section = if section == "dashboard" && sections.contains_key(OLD_DASHBOARD) { OLD_DASHBOARD } else { section };
    let old = match value {
        Some(value) => match sections.entry(section).or_insert_with(|| Value::Object(Map::new())) {
            Value::Object(keys) => keys.insert(key.to_owned(), value.clone()),
            _ => return Err(told(&earlier_mistakes)),
        },
        None => {
            let Some(Value::Object(keys)) = sections.get_mut(section) else { return Ok(None) };
            let Some(old) = keys.shift_remove(key) else { return Ok(None) };
            if keys.is_empty() {
                sections.shift_remove(section);
            }
            Some(old)
        }
    };
    match layer(path, &content) {
        Ok(layer) => check(layer)?,
        Err(mistakes) if mistakes.len() < earlier_mistakes.len() && mistakes.iter().all(|mistake| earlier_mistakes.contains(mistake)) => {}
        Err(mistakes) => return Err(told(&mistakes)),
    }
    if old.as_ref() != value {
        let mut text = serde_json::to_string_pretty(&content).map_err(|error| Error::Invalid(error.to_string()))?;
        text.push('\n');
        new.take_over(text.as_bytes()).map_err(failed)?;
    }
    Ok(old)
}

/// The file that will take the place of another one. As long as one process has it, others wait.
struct Successor {
    target: PathBuf,
    path: PathBuf,
    file: File,
    is_done: bool,
}

impl Successor {
    fn lock(target: &Path) -> io::Result<Successor> {
        let mut name = std::ffi::OsString::from(".");
        name.push(target.file_name().unwrap_or_default());
        name.push(".unfinished");
        let path = target.with_file_name(name);
        loop {
            // It is there already while another process writes, or after one was killed.
            let file = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
            file.lock()?;
            // Whoever had it before has given it the target's name meanwhile, or removed it.
            if is_same(&file, &path)? {
                return Ok(Successor { target: target.to_path_buf(), path, file, is_done: false });
            }
        }
    }

    fn take_over(&mut self, content: &[u8]) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(content)?;
        if let Ok(old) = fs::metadata(&self.target) {
            self.file.set_permissions(old.permissions())?;
            keep_owner(&self.file, &old);
        }
        self.file.sync_all()?;
        fs::rename(&self.path, &self.target)?;
        self.is_done = true;
        sync_folder(&self.target)
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if !self.is_done {
            // Still locked, so that it is nobody else's. It may be gone with its folder.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(unix)]
fn is_same(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let held = file.metadata()?;
    Ok(fs::metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == (held.dev(), held.ino())))
}

#[cfg(not(unix))]
fn is_same(_: &File, path: &Path) -> io::Result<bool> {
    path.try_exists()
}

#[cfg(unix)]
fn keep_owner(file: &File, old: &fs::Metadata) {
    use std::os::unix::fs::MetadataExt;
    // Only root can give a file away; for others it is theirs from now on.
    let _ = std::os::unix::fs::fchown(file, Some(old.uid()), Some(old.gid()));
}

#[cfg(not(unix))]
fn keep_owner(_: &File, _: &fs::Metadata) {}

/// So that a name given just now outlives a power failure.
#[cfg(unix)]
fn sync_folder(file: &Path) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}
