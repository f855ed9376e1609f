//! Opening a database with Stockscan in it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Once},
};

use duckdb::{AccessMode, Config, Connection, InterruptHandle};

use crate::{
    Error, Result,
    call::{quoted, quoted_text},
    own_scanners::{self, OwnScanner},
};

/// Where the database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// Gone when the engine is dropped.
    Memory,
    /// A file; made if it does not exist, unless opened read-only.
    File(PathBuf),
}

/// How to open it.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the database is.
    pub location: Location,
    /// Refuse to write. Several processes may read one file at a time.
    pub read_only: bool,
    /// Threads for queries; `None`: one per processor.
    pub threads: Option<u32>,
    /// DuckDB's notation, such as `2GB`; `None`: four fifths of the machine's memory.
    pub memory_limit: Option<String>,
    /// The relation that functions with a `source` parameter read unless the caller names one.
    pub source: Option<String>,
    /// A folder of the user's own scanners.
    pub scanners_directory: Option<PathBuf>,
}

impl Options {
    /// A database in memory with DuckDB's defaults.
    #[must_use]
    pub fn memory() -> Options {
        Options { location: Location::Memory, read_only: false, threads: None, memory_limit: None, source: None, scanners_directory: None }
    }

    /// A database file with DuckDB's defaults.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Options {
        Options { location: Location::File(path.into()), ..Options::memory() }
    }
}

/// An open database, with one connection.
#[derive(Debug)]
pub struct Engine {
    pub(crate) connection: Connection,
    pub(crate) options: Options,
    /// The scanners of the user's folder, as they were loaded.
    pub(crate) own_scanners: Vec<OwnScanner>,
    /// Whether the database file is attached to one in memory.
    is_attached: bool,
}

impl Engine {
    /// Opens a database. The extension is part of this program, so there is nothing to load.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::NoDatabase`], [`Error::NotADatabase`], [`Error::NewerDatabase`], [`Error::OwnScanners`], or what DuckDB says.
    pub fn open(options: Options) -> Result<Engine> {
        let mut config = Config::default()
            // Nothing is downloaded behind the user's back.
            .enable_autoload_extension(false)?
            .access_mode(if options.read_only { AccessMode::ReadOnly } else { AccessMode::ReadWrite })?;
        if let Some(threads) = options.threads {
            config = config.threads(i64::from(threads))?;
        }
        if let Some(limit) = &options.memory_limit {
            config = config
                .max_memory(limit)
                .map_err(|_| Error::Invalid(format!("--memory-limit {limit}: expected a size such as 2GB or 500MB")))?;
        }
        // Before the extension is there, which takes longer to load than the file to make.
        if let Location::File(path) = &options.location
            && !options.read_only
        {
            created(path, |path| Connection::open(path).map(drop))?;
        }
        static LINKED: Once = Once::new();
        LINKED.call_once(|| {
            // SAFETY: the function is the one that the entrypoint's macro emits for this purpose.
            // A failure is reported by DuckDB when the database is opened.
            let _ = unsafe { duckdb_neo::extension::register_static_extension(stockscan::duckdb_extension_stockscan_describe) };
        });
        let connection = match &options.location {
            Location::Memory => Connection::open_in_memory_with_flags(config.access_mode(AccessMode::Automatic)?)?,
            Location::File(path) => {
                if options.read_only && !path.exists() {
                    return Err(Error::NoDatabase(path.clone()));
                }
                Connection::open_with_flags(path, config).map_err(|error| opening_failed(path, &error))?
            }
        };
        let own_scanners = match &options.scanners_directory {
            Some(folder) => own_scanners::load(&connection, folder)?,
            None => Vec::new(),
        };
        Ok(Engine { connection, options, own_scanners, is_attached: false })
    }

    /// Another connection to the same database, for another thread, with the same scanners.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn try_clone(&self) -> Result<Engine> {
        let connection = self.connection.try_clone()?;
        if let (true, Location::File(path)) = (self.is_attached, &self.options.location) {
            connection.execute_batch(&format!("USE {}", quoted(&attached_name(path))))?;
        }
        own_scanners::load_again(&connection, &self.own_scanners)?;
        Ok(Engine { connection, options: self.options.clone(), own_scanners: self.own_scanners.clone(), is_attached: self.is_attached })
    }

    /// Attaches a database file, to be read only, as the one in which names are looked up: an engine in memory that does so for each look
    /// at a file is spared opening all of DuckDB again. Nobody can write to the file until [`Engine::detach`].
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn attach(&mut self, path: &Path) -> Result<()> {
        if !path.exists() {
            return Err(Error::NoDatabase(path.to_path_buf()));
        }
        self.attach_with(path, "READ_ONLY")
    }

    /// The same to write to it; it is made if it does not exist. No other process can open it until [`Engine::detach`].
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn attach_to_write(&mut self, path: &Path) -> Result<()> {
        created(path, |path| Connection::open(path).map(drop))?;
        self.attach_with(path, "READ_WRITE")
    }

    fn attach_with(&mut self, path: &Path, access: &str) -> Result<()> {
        let attach = format!("ATTACH {} AS {} ({access})", quoted_text(&path.to_string_lossy()), quoted(&attached_name(path)));
        self.connection.execute_batch(&attach).map_err(|error| opening_failed(path, &error))?;
        (self.options.location, self.is_attached) = (Location::File(path.to_path_buf()), true);
        Ok(self.connection.execute_batch(&format!("USE {}", quoted(&attached_name(path))))?)
    }

    /// Lets go of the file that is attached, if one is.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn detach(&mut self) -> Result<()> {
        if !std::mem::replace(&mut self.is_attached, false) {
            return Ok(());
        }
        let Location::File(path) = std::mem::replace(&mut self.options.location, Location::Memory) else { return Ok(()) };
        Ok(self.connection.execute_batch(&format!("USE memory; DETACH {}", quoted(&attached_name(&path))))?)
    }

    /// What the database is called in messages.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.options.location {
            Location::Memory => "the database in memory".to_owned(),
            Location::File(path) => path.display().to_string(),
        }
    }

    /// Where the database is.
    #[must_use]
    pub fn location(&self) -> &Location {
        &self.options.location
    }

    /// The relation with the bars.
    #[must_use]
    pub fn source(&self) -> &str {
        self.options.source.as_deref().unwrap_or("bars")
    }

    /// The database file, as seen from everywhere; `None`: it is in memory.
    #[must_use]
    pub fn file(&self) -> Option<String> {
        match &self.options.location {
            Location::Memory => None,
            Location::File(path) => Some(std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().to_string()),
        }
    }

    /// Stops the running query from another thread.
    #[must_use]
    pub fn interrupt_handle(&self) -> Arc<InterruptHandle> {
        self.connection.interrupt_handle()
    }

    /// The underlying connection, for what the engine has no words for.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Whether a relation of this name can be read, whatever kind it is.
    #[must_use]
    pub fn has_relation(&self, name: &str) -> bool {
        self.connection.prepare("FROM query_table(?) LIMIT 0").and_then(|mut statement| statement.execute([name])).is_ok()
    }
}

/// As DuckDB names a database that it opens, so that views which name it find it.
fn attached_name(path: &Path) -> String {
    let stem = path.file_stem().map_or("db".into(), |stem| stem.to_string_lossy());
    let is_taken = ["memory", "system", "temp"].iter().any(|taken| stem.eq_ignore_ascii_case(taken));
    if is_taken { format!("{stem}_db") } else { stem.into_owned() }
}

/// Makes a database file that does not exist, whole from its first moment on: `make` makes it under another name. DuckDB would take one that was
/// only begun, on a full disk or by a process that was killed, for a damaged one.
///
/// # Errors
/// As [`Engine::open`].
pub fn created(path: &Path, make: impl FnOnce(&Path) -> std::result::Result<(), duckdb::Error>) -> Result<()> {
    let Some(name) = path.file_name().filter(|_| !path.exists()) else { return Ok(()) };
    let unfinished = path.with_file_name(format!(".{}.{}.unfinished", name.to_string_lossy(), std::process::id()));
    let made = make(&unfinished).map_err(|error| {
        let shown = |text: String| text.replace(&*unfinished.to_string_lossy(), &path.to_string_lossy());
        opening_failed(
            path,
            &match error {
                duckdb::Error::DuckDBFailure(code, text) => duckdb::Error::DuckDBFailure(code, text.map(shown)),
                other => other,
            },
        )
    });
    let named = made.and_then(|()| match fs::hard_link(&unfinished, path) {
        Ok(()) => Ok(()),
        // Somebody else was first.
        Err(_) if path.exists() => Ok(()),
        // Not every file system has links.
        Err(_) => fs::rename(&unfinished, path).map_err(|source| Error::File { path: path.to_path_buf(), source }),
    });
    for rest in
        [unfinished.clone(), unfinished.with_file_name(format!(".{}.{}.unfinished.wal", name.to_string_lossy(), std::process::id()))]
    {
        // Most often there is none.
        let _ = fs::remove_file(rest);
    }
    named
}

/// What it means that DuckDB could not open or attach a file.
#[must_use]
pub fn opening_failed(path: &Path, error: &duckdb::Error) -> Error {
    let message = match Error::from_duckdb(error) {
        Error::Database(message) | Error::Invalid(message) => message,
        other => return other,
    };
    let reason = message
        .split_once("Error: ")
        .map_or(message.as_str(), |(_, reason)| reason)
        .lines()
        .next()
        .unwrap_or_default()
        .trim_end_matches(['.', '!'])
        .to_owned();
    if let Some(process) = number_behind(&message, "(PID ") {
        // `… Conflicting lock is held in /usr/bin/python3.11 (PID 4711) by user …`
        let program = message.split_once("held in ").and_then(|(_, rest)| rest.split_once(" (PID ")).map(|(program, _)| program.to_owned());
        return Error::Locked { path: path.to_path_buf(), process, program };
    }
    if message.contains("version number") && message.contains("we can only read") {
        return Error::NewerDatabase { path: path.to_path_buf(), ours: stockscan::DUCKDB_VERSION.to_owned(), reason };
    }
    if message.contains("Permission denied") || message.contains("Read-only file system") {
        return Error::NoPermission { path: path.to_path_buf(), reason };
    }
    if message.contains("No space left on device") {
        return Error::File {
            path: path.to_path_buf(),
            source: std::io::Error::new(std::io::ErrorKind::StorageFull, "No space left on device"),
        };
    }
    let has_folder = path.parent().is_none_or(|folder| folder.as_os_str().is_empty() || folder.is_dir());
    if !has_folder {
        return Error::File {
            path: path.to_path_buf(),
            source: std::io::Error::new(std::io::ErrorKind::NotFound, "there is no such folder"),
        };
    }
    if path.is_file() {
        return Error::NotADatabase { path: path.to_path_buf(), reason };
    }
    Error::Database(message)
}

fn number_behind(text: &str, mark: &str) -> Option<u32> {
    let rest = &text[text.find(mark)? + mark.len()..];
    rest.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
}
