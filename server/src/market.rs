//! The database with the bars: attached while somebody needs it, and let go soon after, so that other processes get in.
//!
//! It is attached to be read only, but for the moments in which bars are taken in. Statements of strangers run in processes of their own, which
//! open the file to be read: as long as one does, the file is attached here in no other way.

use std::{
    ops::Deref,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime},
};

use stockscan_engine::{Engine, Error, Location, Options, Result, file_version};

/// How long nobody has used the file before it is let go.
const IDLE: Duration = Duration::from_millis(500);
/// Whoever waits for the others to be done has the way kept free for so long,
const TURN: Duration = Duration::from_secs(1);
/// once in so long.
const ROUND: Duration = Duration::from_secs(5);
/// The first wait for a file that another process holds.
const FIRST_WAIT: Duration = Duration::from_millis(20);
/// No wait is longer.
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// Whoever wants to read is told after so long that another process holds the file, and from then on at once, until it is free.
const PATIENCE: Duration = Duration::from_secs(3);

/// What somebody wants of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// To read.
    Read,
    /// To take bars in.
    Write,
    /// To let another process read.
    Share,
    /// To see the file that has come into the place of the one that is attached.
    Renew,
}

/// How the file is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Not at all.
    Closed,
    /// To be read.
    Reading,
    /// To be written as well.
    Writing,
}

impl Mode {
    fn suits(self, wanted: Use) -> bool {
        match wanted {
            Use::Read => self != Mode::Closed,
            Use::Write => self == Mode::Writing,
            Use::Share => self == Mode::Reading,
            Use::Renew => false,
        }
    }
}

/// The database with the bars.
#[derive(Debug)]
pub struct Market {
    file: Option<PathBuf>,
    read_only: bool,
    inner: Mutex<Inner>,
    changed: Condvar,
    /// The version of the file and that of the data in it, as they were last seen.
    version: Mutex<Option<(String, Option<String>)>>,
}

#[derive(Debug)]
struct Inner {
    engine: Engine,
    mode: Mode,
    /// Which file is attached, whatever has its name by now.
    attached: Option<FileId>,
    users: usize,
    /// The last time that somebody used it.
    used: Instant,
    /// What cannot be had until everybody is done, and since when that is waited for.
    wanted: Option<(Use, Instant)>,
    /// Since when it is known that another process holds the file, and when it was last found so.
    locked: Option<(Instant, Instant)>,
    is_closing: bool,
}

/// The database, for one who uses it.
#[derive(Debug)]
pub struct Access {
    engine: Option<Engine>,
    market: Arc<Market>,
}

impl Deref for Access {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        // It is taken out only when this is dropped.
        self.engine.as_ref().unwrap_or_else(|| unreachable!("an access without its engine"))
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        // The connection first: a file with an open transaction cannot be let go.
        drop(self.engine.take());
        let mut inner = self.market.lock();
        inner.users -= 1;
        inner.used = Instant::now();
        drop(inner);
        self.market.changed.notify_all();
    }
}

impl Market {
    /// Opens DuckDB, but not yet the file.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn new(options: Options) -> Result<Arc<Market>> {
        let file = match &options.location {
            Location::File(file) => Some(file.clone()),
            Location::Memory => None,
        };
        let read_only = options.read_only || file.is_none();
        let in_memory = Options { location: Location::Memory, read_only: false, ..options };
        let inner = Inner {
            engine: Engine::open(in_memory)?,
            mode: Mode::Closed,
            attached: None,
            users: 0,
            used: Instant::now(),
            wanted: None,
            locked: None,
            is_closing: false,
        };
        let market = Arc::new(Market { file, read_only, inner: Mutex::new(inner), changed: Condvar::new(), version: Mutex::new(None) });
        let weak = Arc::downgrade(&market);
        let let_go = move || {
            while let Some(market) = weak.upgrade() {
                market.close_if_idle();
                drop(market);
                thread::sleep(IDLE / 5);
            }
        };
        thread::Builder::new().name("market".to_owned()).spawn(let_go)?;
        Ok(market)
    }

    /// A connection to read with.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process holds the file until the deadline, and as [`Engine::open`].
    pub fn read(self: &Arc<Market>, deadline: Instant) -> Result<Access> {
        self.enter(Use::Read, deadline)
    }

    /// A connection to take bars in with. Others may read meanwhile.
    ///
    /// # Errors
    /// As [`Market::read`].
    pub fn write(self: &Arc<Market>, deadline: Instant) -> Result<Access> {
        self.enter(Use::Write, deadline)
    }

    /// A connection as for [`Market::read`]; while there is one, nobody takes bars in, so that other processes can read the file as well.
    ///
    /// # Errors
    /// As [`Market::read`].
    pub fn share(self: &Arc<Market>, deadline: Instant) -> Result<Access> {
        self.enter(Use::Share, deadline)
    }

    /// A connection to the same instance of DuckDB, apart from the file: it does not keep it from being let go.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn beside(&self) -> Result<Engine> {
        let engine = self.lock().engine.try_clone()?;
        engine.connection().execute_batch("USE memory")?;
        Ok(engine)
    }

    /// Whether bars cannot be taken in.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// The file; `None`: there is none, the bars come from elsewhere.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// What is another text after every change of the bars, if it is known without looking into the file; `None` in it: that cannot be told.
    #[must_use]
    pub fn known_version(&self) -> Option<Option<String>> {
        let now = file_version(self.file.as_deref()?)?;
        let known = self.version.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().filter(|(file, _)| *file == now).map(|(_, data)| data.clone())
    }

    /// The same, as seen by one who has the file open.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn version_seen(&self, engine: &Engine) -> Result<Option<String>> {
        let file = self.file.as_deref().and_then(file_version);
        let data = engine.data_version()?;
        // It goes by the file's name.
        if self.is_replaced(&self.lock()) {
            return Ok(None);
        }
        if let Some(file) = file {
            *self.version.lock().unwrap_or_else(PoisonError::into_inner) = Some((file, data.clone()));
        }
        Ok(data)
    }

    /// Whether those who read have kept others waiting for so long: who takes bars in, or all, where another file has come into the place
    /// of the one that is attached.
    #[must_use]
    pub fn is_held_up(&self, time: Duration) -> bool {
        self.lock().wanted.is_some_and(|(wanted, since)| matches!(wanted, Use::Write | Use::Renew) && since.elapsed() >= time)
    }

    /// How many use it at the moment, and whether the file is attached.
    #[must_use]
    pub fn users(&self) -> (usize, bool) {
        let inner = self.lock();
        (inner.users, inner.mode != Mode::Closed)
    }

    /// Lets go of the file once everybody is done, and lets nobody in any more. `false`: somebody was not done by the deadline.
    pub fn close(&self, deadline: Instant) -> bool {
        let mut inner = self.lock();
        inner.is_closing = true;
        while inner.users > 0 {
            let now = Instant::now();
            if now >= deadline {
                return false;
            }
            inner = self.changed.wait_timeout(inner, deadline - now).unwrap_or_else(PoisonError::into_inner).0;
        }
        inner.switch(Mode::Closed, self.file.as_deref()).is_ok()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another file, or none, has the name of the one that is attached.
    fn is_replaced(&self, inner: &Inner) -> bool {
        inner.mode != Mode::Closed && self.file.as_deref().and_then(|file| file_id(file, inner.mode)) != inner.attached
    }

    fn close_if_idle(&self) {
        let mut inner = self.lock();
        if inner.users == 0 && inner.mode != Mode::Closed && inner.used.elapsed() >= IDLE {
            if let Err(error) = inner.switch(Mode::Closed, self.file.as_deref()) {
                tracing::error!(%error, "the database could not be let go");
            }
            drop(inner);
            self.changed.notify_all();
        }
    }

    fn enter(self: &Arc<Market>, wanted: Use, deadline: Instant) -> Result<Access> {
        let mut wait = FIRST_WAIT;
        let mut inner = self.lock();
        loop {
            if inner.is_closing {
                return Err(Error::Stopped("the server is shutting down".to_owned()));
            }
            let mut pause = LONGEST_WAIT;
            if self.is_replaced(&inner) {
                if inner.users == 0 {
                    inner.switch(Mode::Closed, self.file.as_deref())?;
                    inner.forget(Use::Renew);
                } else if inner.wanted.is_none() {
                    inner.wanted = Some((Use::Renew, Instant::now()));
                }
            } else {
                inner.forget(Use::Renew);
            }
            if self.file.is_none() || (inner.mode.suits(wanted) && !inner.gives_way(wanted)) {
                let engine = inner.engine.try_clone()?;
                inner.forget(wanted);
                inner.users += 1;
                return Ok(Access { engine: Some(engine), market: Arc::clone(self) });
            }
            if inner.users == 0 && !inner.gives_way(wanted) {
                let mode = if wanted == Use::Write { Mode::Writing } else { Mode::Reading };
                match inner.switch(mode, self.file.as_deref()) {
                    Ok(()) => {
                        inner.locked = None;
                        continue;
                    }
                    // The lock on the file is not waited for with the door shut.
                    Err(error) if error.is_passing() && Instant::now() + wait < deadline && inner.has_patience(wanted) => {
                        pause = wait;
                        wait = (wait * 2).min(LONGEST_WAIT);
                    }
                    Err(error) => {
                        inner.forget(wanted);
                        return Err(error);
                    }
                }
            } else if !inner.mode.suits(wanted) && inner.wanted.is_none() {
                inner.wanted = Some((wanted, Instant::now()));
            }
            let now = Instant::now();
            if now >= deadline {
                inner.forget(wanted);
                return Err(Error::Stopped("the database was busy for all of the time allowed".to_owned()));
            }
            inner = self.changed.wait_timeout(inner, pause.min(deadline - now)).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// What tells a file from another one that has its name later: where it is, and as long as nobody here writes to it, its length and the time
/// of its last change, since it may be written over.
type FileId = (u64, u64, Option<(u64, SystemTime)>);

fn file_id(path: &Path, mode: Mode) -> Option<FileId> {
    let metadata = std::fs::metadata(path).ok()?;
    let content = if mode == Mode::Reading { Some((metadata.len(), metadata.modified().ok()?)) } else { None };
    let (device, number) = place(&metadata);
    Some((device, number, content))
}

#[cfg(unix)]
fn place(metadata: &std::fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn place(metadata: &std::fs::Metadata) -> (u64, u64) {
    let created = metadata.created().ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok()).unwrap_or_default();
    (created.as_secs(), u64::from(created.subsec_nanos()))
}

impl Inner {
    /// Whether another one, who waits for everybody to be done, is to come first: for a while now and then, so that neither waits for ever.
    fn gives_way(&self, wanted: Use) -> bool {
        self.wanted.is_some_and(|(other, since)| {
            let waited = since.elapsed();
            other != wanted && (self.users == 0 || waited.as_millis() % ROUND.as_millis() < TURN.as_millis())
        })
    }

    /// Whether it is still worth the wait that another process lets go of the file.
    fn has_patience(&mut self, wanted: Use) -> bool {
        let now = Instant::now();
        // Found so a while ago and now again, it need not have been so all the time.
        let since = self.locked.filter(|(_, last)| now - *last < 2 * LONGEST_WAIT).map_or(now, |(since, _)| since);
        self.locked = Some((since, now));
        wanted == Use::Write || now - since < PATIENCE
    }

    fn forget(&mut self, wanted: Use) {
        if self.wanted.is_some_and(|(other, _)| other == wanted) {
            self.wanted = None;
        }
    }

    fn switch(&mut self, mode: Mode, file: Option<&Path>) -> Result<()> {
        if self.mode == mode {
            return Ok(());
        }
        self.mode = Mode::Closed;
        match self.engine.detach() {
            // What was committed stands in the log beside the file, from where the next one takes it.
            Err(error) if error.to_string().contains("CHECKPOINT during DETACH failed") => {}
            other => other?,
        }
        let Some(file) = file else { return Ok(()) };
        self.attached = file_id(file, mode);
        match mode {
            Mode::Closed => return Ok(()),
            Mode::Reading => self.engine.attach(file)?,
            Mode::Writing => self.engine.attach_to_write(file)?,
        }
        self.mode = mode;
        Ok(())
    }
}
