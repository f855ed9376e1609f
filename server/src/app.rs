//! What the handlers of requests share.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use metrics_exporter_prometheus::PrometheusHandle;
use stockscan_configuration::Setting;
use stockscan_engine::{Engine, Error, Parameter, Result, is_built_in};
use stockscan_state::{Outcome, Record, Results, SERVER, Scan, State};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    alerts::Desk,
    auth::Keys,
    cache::{Cache, Kept},
    guard::Limits,
    hub::Hub,
    indicators::IndicatorDocument,
    ingest::Ingest,
    jobs::Jobs,
    market::Market,
    options::Options,
    rows::Observer,
    scan::Prepared,
    settings::{Current, Settings},
    store::Store,
    work::Workers,
};

/// The longest line in front of the workers.
const LONGEST_LINE: usize = 256;

/// A scanner.
pub(crate) struct Documented {
    /// Its parameters, in order.
    pub(crate) parameters: Vec<Parameter>,
    /// What the configuration says of them.
    pub(crate) settings: BTreeMap<String, Setting>,
    /// Whether it is built in, so that nothing can change in it.
    pub(crate) is_fixed: bool,
    /// Of which configuration the settings are.
    generation: u64,
}

/// What the handlers of requests share.
pub struct App {
    pub(crate) options: Options,
    pub(crate) settings: Arc<Settings>,
    pub(crate) market: Arc<Market>,
    pub(crate) workers: Arc<Workers>,
    pub(crate) cache: Cache,
    pub(crate) store: Store,
    pub(crate) keys: Keys,
    pub(crate) limits: Limits,
    pub(crate) jobs: Arc<Jobs>,
    pub(crate) ingest: Ingest,
    pub(crate) metrics: PrometheusHandle,
    /// The description of the interface for those who may not see the database's scanners.
    pub(crate) built_in_description: OnceLock<Kept>,
    /// The indicators.
    pub(crate) indicators: OnceLock<Arc<Vec<IndicatorDocument>>>,
    pub(crate) started: Instant,
    /// Cancelled when the server is to end.
    pub(crate) shutdown: CancellationToken,
    /// The live scans.
    pub(crate) hub: Arc<Hub>,
    /// The alerts.
    pub(crate) desk: Desk,
    /// Who is to be told of the end.
    pub(crate) tasks: TaskTracker,
    /// Built-in scanners, of which the catalogue takes its time to tell.
    documented: Mutex<HashMap<String, Arc<Documented>>>,
    is_ending: AtomicBool,
}

impl App {
    pub(crate) fn new(options: Options, metrics: PrometheusHandle) -> Result<Arc<App>> {
        let market = Market::new(options.database.clone())?;
        let workers = Arc::new(Workers::new(Arc::clone(&market), options.workers, LONGEST_LINE));
        let ingest = Ingest::new(&market)?;
        let keys = Keys::load(&options.keys)?;
        let settings = Settings::new(&options);
        let jobs = Jobs::start(&options, &settings, &market)?;
        let shutdown = CancellationToken::new();
        let at_a_time = usize::try_from(options.configuration.streaming.max_concurrent_scans.0).unwrap_or(1);
        Ok(Arc::new(App {
            hub: Hub::new(Arc::clone(&market), at_a_time, shutdown.clone()),
            desk: Desk::new(&options),
            tasks: TaskTracker::new(),
            jobs,
            settings,
            market,
            workers,
            cache: Cache::new(),
            store: Store::open(State::new(&options.state))?,
            limits: Limits::new(options.rate_limit),
            ingest,
            keys,
            metrics,
            built_in_description: OnceLock::new(),
            indicators: OnceLock::new(),
            started: Instant::now(),
            shutdown,
            documented: Mutex::new(HashMap::new()),
            is_ending: AtomicBool::new(false),
            options,
        }))
    }

    /// The configuration as it is now.
    pub(crate) fn configuration(&self) -> Arc<Current> {
        self.settings.current()
    }

    /// How long a request may take.
    pub(crate) fn allowed(&self) -> Duration {
        Duration::from_secs(self.configuration().api.timeout.0)
    }

    /// What the catalogue and the configuration say of a scanner.
    pub(crate) fn documented(&self, engine: &Engine, function: &str, scanner: &str) -> Result<Arc<Documented>> {
        let is_fixed = is_built_in(function) && !engine.hides_built_in(function)?;
        let known = || self.documented.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.configuration();
        if let Some(found) = known().get(function).filter(|found| is_fixed && found.generation == current.generation) {
            return Ok(Arc::clone(found));
        }
        let parameters = known().get(function).filter(|_| is_fixed).map(|found| found.parameters.clone());
        let parameters = parameters.map_or_else(|| engine.scanner_parameters(scanner), Ok)?;
        let settings = current.scanner_settings(engine, scanner)?;
        let found = Arc::new(Documented { parameters, settings, is_fixed, generation: current.generation });
        if is_fixed {
            known().insert(function.to_owned(), Arc::clone(&found));
        }
        Ok(found)
    }

    /// Takes note of a scan that has ended.
    pub(crate) fn record(&self, prepared: &Prepared, scan_id: String, elapsed: Duration, outcome: Result<Results>) -> Result<Record> {
        match outcome.and_then(|results| results.compacted()) {
            Ok(results) => {
                let record = self.scan(prepared, &scan_id, elapsed, Outcome::Done(&results));
                self.store.record(record.clone());
                Ok(record)
            }
            Err(error) => {
                self.record_failure(prepared, &scan_id, elapsed, &error);
                Err(error)
            }
        }
    }

    /// Takes note of a scan that has failed.
    fn record_failure(&self, prepared: &Prepared, scan_id: &str, elapsed: Duration, error: &Error) {
        let told = match error {
            // Whoever stops a query does not tell it why.
            Error::Interrupted if elapsed >= self.allowed() => &Error::Timeout(self.allowed()),
            // The client has left.
            Error::Output(_) => &Error::Interrupted,
            other => other,
        };
        let (kind, text) = (told.kind(), told.to_string());
        self.store.record(self.scan(prepared, scan_id, elapsed, Outcome::Failed { kind, text: &text }));
    }

    fn scan(&self, prepared: &Prepared, scan_id: &str, elapsed: Duration, outcome: Outcome<'_>) -> Record {
        let database =
            self.market.file().map(|file| std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf()).display().to_string());
        let (database, data_version) = (database.as_deref(), prepared.data_version.as_deref());
        Scan { scan_id, command: SERVER, call: &prepared.call, database, data_version, elapsed, outcome }.record()
    }

    /// Whether the server is about to end.
    pub(crate) fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Relaxed)
    }

    pub(crate) fn end(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
        self.shutdown.cancel();
    }
}

/// Takes note of a scan whose rows are sent as they come.
pub(crate) struct Recording {
    app: Arc<App>,
    scan_id: String,
    started: Instant,
    prepared: Arc<Mutex<Option<Prepared>>>,
    results: Results,
}

impl Recording {
    pub(crate) fn new(app: &Arc<App>, scan_id: String) -> Recording {
        Recording { app: Arc::clone(app), scan_id, started: Instant::now(), prepared: Arc::default(), results: Results::default() }
    }

    /// Where the scan is put once it is known.
    pub(crate) fn prepared(&self) -> Arc<Mutex<Option<Prepared>>> {
        Arc::clone(&self.prepared)
    }
}

impl Observer for Recording {
    fn begin(&mut self, schema: &arrow::datatypes::SchemaRef) {
        self.results.begin(schema);
    }

    fn take(&mut self, batch: &arrow::array::RecordBatch) {
        self.results.take(batch);
    }

    fn end(self, outcome: &Result<()>) {
        let prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Without it there was no scan.
        let Some(prepared) = prepared else { return };
        match outcome {
            Ok(()) => drop(self.app.record(&prepared, self.scan_id, self.started.elapsed(), Ok(self.results))),
            Err(error) => self.app.record_failure(&prepared, &self.scan_id, self.started.elapsed(), error),
        }
    }
}
