//! What the handlers of requests share.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use metrics_exporter_prometheus::PrometheusHandle;
use stockscan_configuration::Configuration;
use stockscan_engine::{Engine, Parameter, Result, is_built_in};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    alerts::Desk,
    auth::Keys,
    cache::Cache,
    guard::Limits,
    hub::Hub,
    market::Market,
    options::Options,
    rows::Observer,
    scan::{Prepared, Scanned},
    work::Workers,
};

/// The longest line in front of the workers.
const LONGEST_LINE: usize = 256;

/// What the handlers of requests share.
#[derive(Debug)]
pub struct App {
    pub(crate) options: Options,
    pub(crate) market: Arc<Market>,
    pub(crate) workers: Arc<Workers>,
    pub(crate) cache: Cache,
    pub(crate) keys: Keys,
    pub(crate) limits: Limits,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) started: Instant,
    /// Cancelled when the server is to end.
    pub(crate) shutdown: CancellationToken,
    /// The live scans.
    pub(crate) hub: Arc<Hub>,
    /// The alerts.
    pub(crate) desk: Desk,
    /// Who is to be told of the end.
    pub(crate) tasks: TaskTracker,
    /// The parameters of built-in scanners, which the catalogue takes its time to tell.
    parameters: Mutex<HashMap<String, Arc<Vec<Parameter>>>>,
    is_ending: AtomicBool,
}

impl App {
    pub(crate) fn new(options: Options, metrics: PrometheusHandle) -> Result<Arc<App>> {
        let market = Market::new(options.database.clone(), options.enable_query)?;
        let workers = Arc::new(Workers::new(Arc::clone(&market), options.workers, LONGEST_LINE));
        let keys = Keys::load(&options.keys)?;
        let shutdown = CancellationToken::new();
        let at_a_time = usize::try_from(options.configuration.streaming.max_concurrent_scans.0).unwrap_or(1);
        Ok(Arc::new(App {
            hub: Hub::new(Arc::clone(&market), at_a_time, shutdown.clone()),
            desk: Desk::new(&options),
            tasks: TaskTracker::new(),
            market,
            workers,
            cache: Cache::new(),
            limits: Limits::new(options.rate_limit),
            keys,
            metrics,
            started: Instant::now(),
            shutdown,
            parameters: Mutex::new(HashMap::new()),
            is_ending: AtomicBool::new(false),
            options,
        }))
    }

    pub(crate) fn configuration(&self) -> &Configuration {
        &self.options.configuration
    }

    /// How long a request may take.
    pub(crate) fn allowed(&self) -> Duration {
        Duration::from_secs(self.configuration().api.timeout.0)
    }

    /// The documented parameters of a scanner.
    pub(crate) fn parameters(&self, engine: &Engine, function: &str, scanner: &str) -> Result<Arc<Vec<Parameter>>> {
        let is_fixed = is_built_in(function) && !engine.hides_built_in(function)?;
        let known = || self.parameters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known().get(function).filter(|_| is_fixed) {
            return Ok(Arc::clone(found));
        }
        let found = Arc::new(engine.scanner_parameters(scanner)?);
        if is_fixed {
            known().insert(function.to_owned(), Arc::clone(&found));
        }
        Ok(found)
    }

    /// Takes note of a scan that has ended.
    pub(crate) fn record(&self, prepared: Prepared, outcome: Result<Scanned>) -> Result<Recorded> {
        let scanned = outcome?;
        Ok(Recorded { prepared, body: scanned.body })
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

/// A scan that has ended well.
pub(crate) struct Recorded {
    pub(crate) prepared: Prepared,
    pub(crate) body: String,
}

/// Takes note of a scan whose rows are sent as they come.
pub(crate) struct Recording {
    app: Arc<App>,
    scan_id: String,
    started: Instant,
    prepared: Arc<Mutex<Option<Prepared>>>,
    results: stockscan_state::Results,
}

impl Recording {
    pub(crate) fn new(app: &Arc<App>, scan_id: String) -> Recording {
        Recording {
            app: Arc::clone(app),
            scan_id,
            started: Instant::now(),
            prepared: Arc::default(),
            results: stockscan_state::Results::default(),
        }
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
        let Some(prepared) = prepared.filter(|_| outcome.is_ok()) else { return };
        let scanned = Scanned { scan_id: self.scan_id, body: String::new(), results: self.results, elapsed: self.started.elapsed() };
        // Its rows are out already.
        let _ = self.app.record(prepared, Ok(scanned));
    }
}
