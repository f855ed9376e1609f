//! Where results are published to: a DuckDB file, or a folder of Parquet files. Whoever reads it finds the old state or the new one, never
//! something between: the new one is made beside it, whole, and takes its place in one step.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use stockscan_engine::{Error, Result};

/// What the results are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A DuckDB database.
    File,
    /// A folder of Parquet files.
    Folder,
}

/// Where the results are to be.
#[derive(Debug)]
pub(super) struct Place {
    /// As it was given.
    given: PathBuf,
    /// What it leads to.
    path: PathBuf,
    pub(super) kind: Kind,
    /// The file as it was when it was looked at.
    seen: Option<(u64, SystemTime)>,
    /// Held as long as somebody publishes here.
    _lock: Lock,
}

impl Place {
    /// Keeps others from publishing here; waits for one who does. `waiting` says so.
    pub(super) fn occupy(given: &Path, waiting: impl FnOnce()) -> Result<Place> {
        let fails = |source: io::Error| Error::File { path: given.to_path_buf(), source };
        let found = match fs::metadata(given) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(fails(error)),
        };
        let kind = match &found {
            Some(found) if found.is_dir() => Kind::Folder,
            Some(found) if found.is_file() => Kind::File,
            Some(_) => return Err(Error::Invalid(format!("{}: expected a DuckDB file, or a folder", given.display()))),
            None => kind_by_name(given)?,
        };
        // A link is followed: what it leads to is replaced, not the link.
        let path = match found {
            Some(_) => fs::canonicalize(given).map_err(fails)?,
            None => {
                let name = given.file_name().ok_or_else(|| Error::Invalid(format!("{}: expected a name", given.display())))?;
                let folder = given.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
                let no_folder = |_| fails(io::Error::new(io::ErrorKind::NotFound, "there is no such folder"));
                fs::canonicalize(folder).map_err(no_folder)?.join(name)
            }
        };
        if found.as_ref().is_some_and(|found| found.permissions().readonly()) {
            return Err(fails(io::Error::new(io::ErrorKind::PermissionDenied, "it may only be read")));
        }
        let lock = Lock::take(hidden(&path, "lock"), waiting).map_err(fails)?;
        let mut place = Place { given: given.to_path_buf(), path, kind, seen: None, _lock: lock };
        place.clear().map_err(fails)?;
        place.seen = place.stamp();
        Ok(place)
    }

    /// As it was given.
    pub(super) fn name(&self) -> String {
        self.given.display().to_string()
    }

    /// Where the old state is, if there is one.
    pub(super) fn old(&self) -> Option<&Path> {
        self.path.exists().then_some(self.path.as_path())
    }

    /// Whether this file is the one to be published to.
    pub(super) fn is(&self, file: &Path) -> bool {
        fs::canonicalize(file).is_ok_and(|file| file == self.path)
    }

    /// Where the new state is made.
    pub(super) fn draft(&self) -> PathBuf {
        hidden(&self.path, "unfinished")
    }

    /// Begins the new state as a copy of the old one, if there is one. The file itself is not opened: other programs may hold it.
    pub(super) fn copy(&self) -> Result<()> {
        let log = self.path.with_file_name(format!("{}.wal", file_name(&self.path)));
        if log.exists() {
            return Err(Error::Database(format!(
                "{} has changes in {} that another program has not finished; close it there, or open and close it once with DuckDB, and publish again",
                self.name(),
                log.display()
            )));
        }
        if let Some(old) = self.old() {
            fs::copy(old, self.draft()).map_err(|error| self.failed(error))?;
        }
        Ok(())
    }

    /// Puts the new state in the place of the old one.
    pub(super) fn finish(&self) -> Result<()> {
        let draft = self.draft();
        if self.stamp() != self.seen {
            return Err(Error::Database(format!("{} was changed by another program meanwhile; nothing was published to it", self.name())));
        }
        synced(&draft).map_err(|error| self.failed(error))?;
        match (self.kind, self.old()) {
            (Kind::Folder, Some(old)) => {
                fs::metadata(old).and_then(|old| fs::set_permissions(&draft, old.permissions())).map_err(|error| self.failed(error))?;
                exchange(&draft, old).map_err(|error| match error.kind() {
                    io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => Error::Database(format!(
                        "{}: its file system cannot exchange two folders in one step; publish to a DuckDB file, or to another disk",
                        self.name()
                    )),
                    _ => self.failed(error),
                })?;
            }
            _ => fs::rename(&draft, &self.path).map_err(|error| self.failed(error))?,
        }
        // So that the name outlives a power failure. Not every system can do that.
        let _ = self.path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all());
        // Now the old state, if it was a folder.
        self.clear().map_err(|error| self.failed(error))
    }

    /// Removes what was made beside the place and is not needed, by this process or by one that was killed.
    pub(super) fn clear(&self) -> io::Result<()> {
        let draft = self.draft();
        let log = hidden(&self.path, "unfinished.wal");
        let folder = if draft.is_dir() { fs::remove_dir_all(&draft) } else { gone(&draft) };
        folder.and_then(|()| gone(&log))
    }

    /// What tells one state of the file from another.
    fn stamp(&self) -> Option<(u64, SystemTime)> {
        let found = fs::metadata(&self.path).ok().filter(fs::Metadata::is_file)?;
        Some((found.len(), found.modified().ok()?))
    }

    pub(super) fn failed(&self, source: io::Error) -> Error {
        Error::File { path: self.given.clone(), source }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Still locked, so that it is nobody else's.
        let _ = self.clear();
    }
}

/// What something that is not there yet is to be.
fn kind_by_name(given: &Path) -> Result<Kind> {
    let ending = given.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    match ending.as_deref() {
        _ if given.as_os_str().to_string_lossy().ends_with(['/', '\\']) => Ok(Kind::Folder),
        Some("duckdb" | "ddb" | "db") => Ok(Kind::File),
        None => Ok(Kind::Folder),
        Some(_) => Err(Error::Invalid(format!(
            "{}: expected a DuckDB file, such as results.duckdb, or a folder for Parquet files, such as results or results/",
            given.display()
        ))),
    }
}

/// A hidden neighbour.
fn hidden(path: &Path, what: &str) -> PathBuf {
    path.with_file_name(format!(".{}.{what}", file_name(path)))
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Removes a file that may not be there.
fn gone(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Has everything of a file, or of a folder, on the disk.
fn synced(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            synced(&entry?.path())?;
        }
    }
    File::open(path)?.sync_all()
}

/// Exchanges two folders.
#[cfg(any(target_os = "linux", target_os = "macos"))]
fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn exchange(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A file that is there, and locked, as long as somebody publishes.
#[derive(Debug)]
struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    fn take(path: PathBuf, waiting: impl FnOnce()) -> io::Result<Lock> {
        let mut waiting = Some(waiting);
        loop {
            let file = File::options().create(true).truncate(false).write(true).open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    if let Some(waiting) = waiting.take() {
                        waiting();
                    }
                    file.lock()?;
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // Whoever had it before has removed it meanwhile.
            if is_same(&file, &path)? {
                return Ok(Lock { path, _file: file });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Still locked: whoever waits for it looks whether it is still there.
        let _ = fs::remove_file(&self.path);
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
