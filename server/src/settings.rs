//! The configuration as it is now: read again when one of its files has changed, by a request or by somebody else.

use std::{
    ops::Deref,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use serde_json::Value;
use stockscan_configuration::{Configuration, Sources, places};
use stockscan_engine::{Engine, Result, file_version};

use crate::{market::Market, options::Options};

/// The files are looked at no more often.
const LOOK: Duration = Duration::from_secs(1);
/// A database that somebody holds is waited for no longer: without it scanners' sections are checked by the scanners themselves.
const PATIENCE: Duration = Duration::from_secs(1);

/// The configuration as it is now.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) sources: Sources,
    current: RwLock<Arc<Current>>,
    /// When the files were last looked at.
    looked: Mutex<Instant>,
    /// What they were when they were last read. Whoever has it reads or writes them.
    files: Mutex<Vec<Option<String>>>,
}

/// The configuration of a moment.
#[derive(Debug)]
pub(crate) struct Current {
    configuration: Configuration,
    /// Another number for another configuration.
    pub(crate) generation: u64,
    /// Why the files do not say what holds; nothing if they do.
    pub(crate) problems: Vec<String>,
}

impl Deref for Current {
    type Target = Configuration;

    fn deref(&self) -> &Configuration {
        &self.configuration
    }
}

impl Settings {
    pub(crate) fn new(options: &Options) -> Arc<Settings> {
        let current = Current { configuration: options.configuration.clone(), generation: 0, problems: Vec::new() };
        Arc::new(Settings {
            files: Mutex::new(versions(&options.sources)),
            sources: options.sources.clone(),
            current: RwLock::new(Arc::new(current)),
            looked: Mutex::new(Instant::now()),
        })
    }

    /// The configuration as it is now.
    pub(crate) fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The options with the configuration as it is now.
    pub(crate) fn applied(&self, options: &Options) -> Options {
        Options { configuration: self.current().configuration.clone(), ..options.clone() }
    }

    /// Reads files that have changed, if it is time for a look.
    pub(crate) async fn look(self: &Arc<Settings>, market: &Arc<Market>) {
        {
            let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
            if looked.elapsed() < LOOK {
                return;
            }
            *looked = Instant::now();
        }
        let (settings, market) = (Arc::clone(self), Arc::clone(market));
        let look = move || {
            let mut files = settings.files.lock().unwrap_or_else(PoisonError::into_inner);
            let now = versions(&settings.sources);
            if *files != now {
                *files = now;
                settings.read_with(&market);
            }
        };
        if tokio::task::spawn_blocking(look).await.is_err() {
            tracing::error!("the look at the configuration ended in a panic");
        }
    }

    /// Sets a key in the file that changes go to, or takes it out, and returns what it said before.
    ///
    /// # Errors
    /// As [`Sources::change`].
    pub(crate) fn change(
        &self,
        market: &Arc<Market>,
        section: &str,
        key: &str,
        value: Option<&Value>,
        catalogue: Option<&Engine>,
    ) -> Result<Option<Value>> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let change = self.sources.change(&self.sources.target(), section, key, value, catalogue)?;
        *files = versions(&self.sources);
        match catalogue {
            Some(_) => self.read(catalogue),
            None => self.read_with(market),
        }
        Ok(change.old)
    }

    fn read_with(&self, market: &Arc<Market>) {
        // Without the database what it says of scanners has to wait.
        self.read(market.read(Instant::now() + PATIENCE).ok().as_deref());
    }

    /// Reads the files. If there are mistakes in them, what was configured before goes on to hold.
    fn read(&self, catalogue: Option<&Engine>) {
        let checked = self.sources.load().and_then(|configuration| {
            let found = catalogue.map_or(Ok(Vec::new()), |engine| configuration.check_scanners(engine));
            match found {
                Err(error) if error.is_usage() => Err(vec![error.to_string()]),
                // What could not be checked now is by whoever uses it.
                _ => Ok(configuration),
            }
        });
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let Current { configuration, generation, .. } = &**current;
        let next = match checked {
            Ok(next) if next == *configuration => Current { configuration: next, generation: *generation, problems: Vec::new() },
            Ok(next) => {
                tracing::info!("the configuration has changed");
                Current { configuration: next, generation: generation + 1, problems: Vec::new() }
            }
            Err(problems) => {
                tracing::warn!(
                    problems = problems.join("; "),
                    "the configuration has mistakes; what was configured before goes on to hold"
                );
                Current { configuration: configuration.clone(), generation: *generation, problems }
            }
        };
        *current = Arc::new(next);
    }
}

/// What each of the files is, there or not.
fn versions(sources: &Sources) -> Vec<Option<String>> {
    let paths = places(sources.named.as_deref()).into_iter().map(|place| place.path);
    paths.map(|path: PathBuf| file_version(&path)).collect()
}
