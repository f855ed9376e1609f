//! `GET /configuration`, and `PUT` and `DELETE /configuration/{section}/{key}`: the configuration over HTTP, as `scanner config` shows and changes it.

use std::{path::Path as FilePath, sync::Arc};

use axum::{Extension, Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stockscan_configuration::{Entry, OLD_DASHBOARD, Origin, RUN_KEYS, SECTIONS, keys, parameters, places};
use stockscan_engine::{Engine, Error, nearest};
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::{Client, Role},
    body::{Body as JsonBody, Path},
    problem::{Answer, Problem},
    settings::Settings,
    work::Instance,
};

/// A key with its value.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeyDocument {
    /// Its section: `default`, `streaming`, `api`, `cli`, `dashboard` or the name of a scanner.
    #[schema(example = "default")]
    section: String,
    /// Its name.
    #[schema(example = "min_price")]
    key: String,
    /// What holds.
    #[schema(value_type = Value)]
    value: Value,
    /// What holds if nothing is configured; null if there is nothing then.
    #[schema(value_type = Value)]
    default: Value,
    /// Where the value comes from: the name of a file or of a variable, or `built-in`.
    #[schema(example = "scanner_config.json")]
    origin: String,
    /// Unit of the value; null if it has none.
    unit: Option<String>,
    /// The values that are allowed, in words.
    #[schema(example = "a number, 0 or more")]
    allowed: String,
    /// What it means.
    meaning: String,
    /// `server` or `dashboard` if it acts only there; else null.
    acts_in: Option<String>,
    /// The JSON Schema of the value.
    #[schema(value_type = Object)]
    schema: Value,
}

/// The configuration.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConfigurationDocument {
    /// Name of the file that changes go to; it need not be there yet. Null: there is none.
    #[schema(example = "scanner_config.json")]
    file: Option<String>,
    /// Whether this client can change it.
    writable: bool,
    /// The keys of the sections, and of each scanner. Rules of alerts are at `GET /alerts/rules`.
    keys: Vec<KeyDocument>,
    /// Mistakes in the files. As long as there are some, what was configured before goes on to hold.
    problems: Vec<String>,
}

/// The configuration: every key with its value, where that comes from, and what is allowed.
#[utoipa::path(
    get, path = "/configuration", tag = "configuration",
    responses((status = 200, description = "The configuration.", body = ConfigurationDocument))
)]
pub(crate) async fn configuration(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
) -> Answer<Json<ConfigurationDocument>> {
    let inner = Arc::clone(&app);
    let work = move |engine: &Engine| {
        let current = inner.configuration();
        let settings = &inner.settings;
        let mut entries = current.entries()?;
        entries.retain(|entry| SECTIONS.contains(&entry.section.as_str()) && entry.section != "alerts");
        let mut names: Vec<String> = Vec::new();
        for scanner in engine.scanners()? {
            // One of your own stands before the built-in one that it hides.
            if !names.contains(&scanner.name) {
                let documented = inner.documented(engine, &scanner.function_name, &scanner.name)?;
                let parameters = documented.parameters.iter().filter(|parameter| parameter.name != "scan_date").cloned().collect();
                entries.extend(current.scanner_entries(engine, &scanner.name, parameters)?);
                names.push(scanner.name);
            }
        }
        let of_scanners = match current.check_scanners(engine) {
            Ok(strangers) => strangers,
            Err(error) if error.is_usage() => vec![error.to_string()],
            Err(error) => return Err(error),
        };
        let problems = current.problems.iter().chain(&of_scanners).flat_map(|problem| problem.lines());
        let mut told: Vec<String> = Vec::new();
        for problem in problems.map(|problem| without_folders(settings, problem).replace(&engine.name(), "the database")) {
            // The files' own mistakes may be those that hold as well.
            if !told.contains(&problem) {
                told.push(problem);
            }
        }
        let target = settings.sources.target();
        Ok(ConfigurationDocument {
            file: file_name(&target),
            writable: client.role.may(Role::Admin) && is_writable(&target),
            keys: entries.into_iter().map(KeyDocument::from).collect(),
            problems: told,
        })
    };
    Ok(Json(app.workers.run(Instance::Ours, app.allowed(), work).await?))
}

impl From<Entry> for KeyDocument {
    fn from(entry: Entry) -> KeyDocument {
        let Entry { section, key, value, default, origin, unit, allowed, meaning, acts_in, schema } = entry;
        let origin = match origin {
            None => "built-in".to_owned(),
            Some(Origin::File(path)) => file_name(&path).unwrap_or_default(),
            Some(Origin::Variable(name)) => name,
        };
        // Where things are on this machine is nobody's business.
        let value = match value.as_str().map(FilePath::new).filter(|path| section == "cli" && path.is_absolute()) {
            Some(path) => Value::from(file_name(path)),
            None => value,
        };
        KeyDocument { section, key, value, default, origin, unit, allowed, meaning, acts_in, schema }
    }
}

fn file_name(path: &FilePath) -> Option<String> {
    path.file_name().map(|name| name.to_string_lossy().into_owned())
}

/// A message with the names of the files alone.
fn without_folders(settings: &Settings, text: &str) -> String {
    let places = places(settings.sources.named.as_deref()).into_iter().map(|place| place.path);
    places.fold(text.to_owned(), |text, path| text.replace(&path.display().to_string(), &file_name(&path).unwrap_or_default()))
}

/// Whether another file can take the place of this one: that is how it is changed.
fn is_writable(path: &FilePath) -> bool {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(FilePath::new("."));
    tempfile::tempfile_in(folder).is_ok()
}

/// A value for a key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ValueRequest {
    /// The value; which ones are allowed says the key's schema.
    #[schema(value_type = Value, example = 100)]
    value: Value,
}

/// What a change has come to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChangeDocument {
    /// Whether the file says something else than before.
    changed: bool,
    /// Whether the server has to be started again for it; else it holds from now on.
    needs_restart: bool,
    /// What the file said before; null if it did not say anything.
    #[schema(value_type = Value)]
    previous: Value,
    /// The variable or the file that says something else and wins; null if there is none.
    overridden_by: Option<String>,
}

/// Sets a key in the configuration file of the server. Needs a key with the role admin.
///
/// It is checked before. Scans, and live scans that begin later, go by it from then on.
#[utoipa::path(
    put, path = "/configuration/{section}/{key}", tag = "configuration",
    params(
        ("section" = String, Path, description = "The section, or the scanner.", example = "default"),
        ("key" = String, Path, description = "The key.", example = "min_price"),
    ),
    request_body = ValueRequest,
    responses(
        (status = 200, description = "What has become of it.", body = ChangeDocument),
        (status = 409, description = "The file cannot be written.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Path((section, key)): Path<(String, String)>,
    JsonBody(request): JsonBody<ValueRequest>,
) -> Answer<Json<ChangeDocument>> {
    change(app, &client, section, key, Some(request.value)).await
}

/// Takes a key out of the configuration file of the server, so that the next one in line says what holds. Needs a key with the role admin.
#[utoipa::path(
    delete, path = "/configuration/{section}/{key}", tag = "configuration",
    params(
        ("section" = String, Path, description = "The section, or the scanner.", example = "default"),
        ("key" = String, Path, description = "The key.", example = "min_price"),
    ),
    responses(
        (status = 200, description = "What has become of it.", body = ChangeDocument),
        (status = 409, description = "The file cannot be written.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Path((section, key)): Path<(String, String)>,
) -> Answer<Json<ChangeDocument>> {
    change(app, &client, section, key, None).await
}

async fn change(app: Arc<App>, client: &Client, section: String, key: String, value: Option<Value>) -> Answer<Json<ChangeDocument>> {
    client.needs(Role::Admin)?;
    let inner = Arc::clone(&app);
    let changed = if SECTIONS.contains(&section.as_str()) || section == OLD_DASHBOARD {
        let work = move || changed(&inner, &section, &key, value.as_ref(), None);
        tokio::task::spawn_blocking(work).await.map_err(|error| Problem::internal(error.to_string()))?
    } else {
        let work = move |engine: &Engine| Ok(changed(&inner, &section, &key, value.as_ref(), Some(engine)));
        app.workers.run(Instance::Ours, app.allowed(), work).await?
    };
    changed.map(Json)
}

fn changed(app: &App, section: &str, key: &str, value: Option<&Value>, engine: Option<&Engine>) -> Answer<ChangeDocument> {
    let settings = &app.settings;
    let (section, needs_restart) = place(section, key, engine)?;
    let previous = settings.change(&app.market, &section, key, value, engine).map_err(|error| match error {
        Error::Invalid(text) => Problem::of_parameter(key, without_folders(settings, &text)),
        Error::File { source, .. }
            if matches!(source.kind(), std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem) =>
        {
            Problem::new(
                StatusCode::CONFLICT,
                "not_writable",
                "the server may not write its configuration file; change it with 'scanner config'",
            )
        }
        other => other.into(),
    })?;
    let current = settings.current();
    let origin = match engine {
        Some(engine) => current.scanner_settings(engine, &section)?.get(key).map(|setting| setting.origin.clone()),
        None => current.origin(&section, key).cloned(),
    };
    let winner = match origin.filter(|origin| value.is_some() && *origin != Origin::File(settings.sources.target())) {
        Some(Origin::File(path)) => file_name(&path),
        Some(Origin::Variable(name)) => Some(name),
        None => None,
    };
    let changed = previous.as_ref() != value;
    Ok(ChangeDocument { changed, needs_restart: changed && needs_restart, previous: previous.unwrap_or_default(), overridden_by: winner })
}

/// The name of a section as files have it, and whether a change of the key needs a restart. Whatever is not known is not found.
fn place(section: &str, key: &str, engine: Option<&Engine>) -> Answer<(String, bool)> {
    let (section, known) = match engine {
        Some(engine) => {
            let function = engine.scanner_function(section).map_err(|error| match error {
                Error::UnknownFunction { .. } => Problem { parameter: Some("section".to_owned()), ..Problem::from(error) },
                other => other.into(),
            })?;
            let scanner = function.strip_prefix("scan_").unwrap_or(&function).to_owned();
            let names = parameters(engine, &scanner)?.into_iter().map(|parameter| parameter.name);
            let known: Vec<(String, bool)> = names.chain(RUN_KEYS.map(str::to_owned)).map(|name| (name, false)).collect();
            (scanner, known)
        }
        None if section == "alerts" => {
            let detail = "rules of alerts are written in the configuration file itself, and are in force when the server starts";
            return Err(Problem { parameter: Some("section".to_owned()), ..Problem::not_found(detail) });
        }
        None => {
            let section = if section == OLD_DASHBOARD { "dashboard" } else { section };
            let of_section = keys().iter().filter(|known| known.section == section);
            (section.to_owned(), of_section.map(|known| (known.name.clone(), known.needs_restart)).collect())
        }
    };
    if let Some((_, needs_restart)) = known.iter().find(|(name, _)| name == key) {
        return Ok((section, *needs_restart));
    }
    let names: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
    let meant = nearest(key, names.iter().copied()).map_or(";".to_owned(), |name| format!("; did you mean '{name}'?"));
    let detail = format!("{section} has no key '{key}'{meant} it takes {}", names.join(", "));
    Err(Problem { parameter: Some("key".to_owned()), ..Problem::not_found(detail) })
}
