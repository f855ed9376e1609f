//! `trade_query(…)`: the SQL of a scan over a range of sessions and of what became of its hits, for one set of parameters or for each of a grid.
//!
//! DuckDB plans the text in the place of `query(trade_query(…))`, within the caller's transaction. This is how `backtest()` and `optimize()`
//! take a scanner by its name. Everything from outside becomes a literal or a quoted name.

mod grid;
mod lifting;
mod literal;

use std::collections::{HashMap, HashSet};

use crate::duckdb::enums::FunctionProperty;
use crate::duckdb::{
    DuckDBType, Error, Result,
    connection::{Context, FFILink},
    data_chunk::VectorCollection,
    extension::Extension,
    logical_type::LogicalType,
    scalar::{ScalarCallbacks, ScalarFunctionBuilder},
    signature::{FunctionDocumentationBuilder, FunctionParameter, SignatureBuilder},
    types::Any,
    value::Value,
    vector::{Unknown, Vector},
};

use sqlparser::ast::Expr;

use crate::{
    registry::FUNCTIONS,
    row_function::{RowFunction, caught},
};
use grid::{Axis, Sample, Sampling, combinations};
use lifting::{COMBINATION, Scanner};
use literal::{fields, literal, quoted, quoted_text};

const NAME: &str = "trade_query";

/// What a scan is called with beside its own parameters. Where the argument says nothing, with the text given here, it is left out: a scanner
/// of the user's need not have it.
const SCAN_ARGUMENTS: [(&str, &str); 8] = [
    ("scan_date", ""),
    ("cutoff_time", ""),
    ("end_date", ""),
    ("source", ""),
    ("bar_minutes", "1"),
    ("session_start", "NULL"),
    ("session_end", "NULL"),
    ("symbols", "NULL"),
];
/// What `outcomes()` is called with.
const OUTCOME_ARGUMENTS: [&str; 15] = [
    "cutoff_time",
    "entry",
    "exit_time",
    "hold_sessions",
    "stop_loss_pct",
    "target_pct",
    "direction",
    "cost_bps",
    "slippage_bps",
    "start_date",
    "end_date",
    "source",
    "bar_minutes",
    "session_start",
    "session_end",
];
/// What a grid may have beside the scanner's parameters.
const EXITS: [&str; 5] = ["cutoff_time", "exit_time", "hold_sessions", "stop_loss_pct", "target_pct"];

const OUTCOME_COLUMNS: &str = "outcome.direction, outcome.entry_ts, outcome.entry_price, outcome.exit_ts, outcome.exit_price, \
    outcome.exit_reason, outcome.gross_return_pct, outcome.net_return_pct, outcome.mfe_pct, outcome.mae_pct, outcome.minutes_held";

/// Registers it.
pub(crate) fn register(extension: &Extension) -> Result<()> {
    let documentation = FunctionDocumentationBuilder::new()
        .description(
            "The SQL of a scan over a range of sessions and of what became of its hits, as query() takes it. A grid's thresholds, parameters \
             that the scanner only compares with what it has found, are joined to one scan; the others are scanned for once for each of their \
             values. Each combination has rows in the result, one without trades has one without a symbol.\n\n\
             @param arguments STRUCT: those of backtest(), with function, the name for messages, and scanner.\n\
             @param params STRUCT: parameters of the scanner, by name. NULL: none.\n\
             @param grid STRUCT: for each parameter to be varied a list of values. NULL: none.\n\
             @param definition VARCHAR: the CREATE MACRO of a scanner that is not built in, for its thresholds to be known. NULL: none.",
        )
        .add_example("", "SELECT trade_query({'function': 'x', scanner: 'breakout', start_date: '2025-01-06', end_date: '2025-01-15'}, NULL, NULL, NULL) AS x")
        .add_category("outcomes");
    let mut signature = SignatureBuilder::new().documentation(documentation).return_type(String::logical_type(extension)?);
    for parameter in ["arguments", "params", "grid", "definition"] {
        signature = signature.param(FunctionParameter::new::<Any>(parameter));
    }
    ScalarFunctionBuilder::new(NAME, signature, TradeQuery)
        .set_property(FunctionProperty::HasSpecialNullHandling(true))
        .register(extension)?;
    RowFunction::<bool> {
        name: "is_threshold",
        parameters: &["scanner", "parameter", "definition"],
        description: "Whether a parameter of a scanner is a threshold: the scanner only compares it with what it has found, so that a grid of its \
                      values costs a join and not a scan for each.\n\n\
                      @param scanner VARCHAR: name of the scanner.\n\
                      @param parameter VARCHAR: name of its parameter.\n\
                      @param definition VARCHAR: the CREATE MACRO of a scanner that is not built in. NULL: none, and no parameter of it is known to be one.",
        example: "SELECT is_threshold('breakout', 'breakout_volume_ratio', NULL) AS x",
        compute: |arguments| {
            let (Some(scanner), Some(parameter)) = (arguments[0], arguments[1]) else { return Ok(None) };
            let found = known_scanner(&function_name(scanner), arguments[2]).map_err(|message| format!("is_threshold: {message}"))?;
            Ok(Some(found.is_some_and(|scanner| !scanner.thresholds(&[parameter.to_lowercase()], &[]).is_empty())))
        },
    }
    .register(extension)
}

/// A scanner's name in SQL; it may be given with or without `scan_`.
fn function_name(scanner: &str) -> String {
    let name = scanner.to_lowercase();
    if name.starts_with("scan_") { name } else { format!("scan_{name}") }
}

/// The SQL of a scanner: its definition if it is given, else that of the file that is built in. `None`: a scanner of the user's.
fn known_scanner(name: &str, definition: Option<&str>) -> std::result::Result<Option<Scanner>, String> {
    if let Some(definition) = definition {
        let scanner = Scanner::from_definition(definition).map_err(|error| format!("definition of {name}: {error}"))?;
        return if scanner.name.eq_ignore_ascii_case(name) {
            Ok(Some(scanner))
        } else {
            Err(format!("definition of {name} is that of {}", scanner.name))
        };
    }
    let Some(function) = FUNCTIONS.iter().find(|function| function.name == name) else { return Ok(None) };
    let parameters = function.parameters.iter().map(|parameter| (parameter.name.to_owned(), parameter.default_literal())).collect();
    Scanner::new(function.name, parameters, function.body).map(Some)
}

struct TradeQuery;

impl ScalarCallbacks for TradeQuery {
    type BindData = ();
    type InitData = ();

    fn exec(
        &self,
        _bind_data: Option<&()>,
        _init_data: Option<&mut ()>,
        context: &Context,
        vectors: &mut VectorCollection,
        output: Vector<'_, Unknown>,
    ) -> Result<()> {
        caught(NAME, || {
            let rows = vectors.row_count()?;
            let text = String::logical_type(context)?;
            let mut output = output.cast::<String>()?;
            output.set_size(rows)?;
            let mut writer = output.writer()?;
            for row in 0..rows {
                let mut values =
                    (0..4).map(|index| vectors.get_untyped_vector_at(index)?.get_value_slow(row)).collect::<Result<Vec<_>>>()?;
                let definition = values.pop().map(|value| plain_text(&value, context, &text)).transpose()?.flatten();
                let reader = Reader { context, text: &text };
                let request = reader.request(&values[0], &values[1], &values[2], definition)?;
                let sql = request.sql().map_err(|message| Error::invalid_input(format!("{}: {message}", request.function)))?;
                #[cfg(feature = "loadable-v1")]
                let sql = crate::duckdb::qualified_calls(&sql)?;
                writer.set_ref(row, Some(&sql))?;
            }
            Ok(())
        })
    }
}

fn plain_text(value: &Value, context: &Context, text: &LogicalType) -> Result<Option<String>> {
    if value.is_null()? { Ok(None) } else { context.value_cast(value, text)?.get::<String>() }
}

/// What is asked for.
struct Request {
    /// For messages.
    function: String,
    /// Name in SQL.
    scanner: String,
    /// By name, as literals: what scan and outcomes are called with.
    arguments: HashMap<String, String>,
    /// The scanner's own parameters, as literals.
    params: Vec<(String, String)>,
    axes: Vec<Axis>,
    sample: Option<Sample>,
    definition: Option<String>,
}

struct Reader<'a> {
    context: &'a Context,
    text: &'a LogicalType,
}

impl Reader<'_> {
    fn request(&self, arguments: &Value, params: &Value, grid: &Value, definition: Option<String>) -> Result<Request> {
        let given: HashMap<String, Value> = fields(arguments)?.into_iter().collect();
        let text = |name: &str| given.get(name).map_or(Ok(None), |value| plain_text(value, self.context, self.text));
        let function = text("function")?.unwrap_or_else(|| NAME.to_owned());
        let refused = |message: String| Error::invalid_input(format!("{function}: {message}"));
        let Some(scanner) = text("scanner")? else {
            return Err(refused("scanner must be a scanner's name such as 'breakout', got NULL; FROM scanners() lists them".to_owned()));
        };

        let mut literals = HashMap::new();
        for (name, value) in &given {
            literals.insert(name.clone(), literal(value, self.context, self.text)?);
        }
        let whole = |name: &str| -> Result<Option<u64>> { Ok(text(name)?.and_then(|value| value.parse().ok())) };
        let sample = whole("samples")?.map(|count| {
            let is_latin = literals.get("sampling").is_some_and(|sampling| sampling == "'latin_hypercube'");
            Ok::<_, Error>(Sample {
                count: usize::try_from(count).unwrap_or(usize::MAX).min(grid::MOST_COMBINATIONS),
                sampling: if is_latin { Sampling::LatinHypercube } else { Sampling::Random },
                seed: whole("seed")?.unwrap_or_default(),
            })
        });

        let mut own = Vec::new();
        for (name, value) in self.named(&function, "params", "{min_price: 100}", params)? {
            own.push((name, literal(&value, self.context, self.text)?));
        }
        let mut axes = Vec::new();
        for (name, value) in self.named(&function, "grid", "{breakout_volume_ratio: [1, 1.5, 2]}", grid)? {
            let shown = literal(&value, self.context, self.text)?;
            let is_list = shown.starts_with('[');
            let mut values = Vec::new();
            for value in if is_list { value.children()? } else { vec![value] } {
                let value = literal(&value, self.context, self.text)?;
                if !values.contains(&value) {
                    values.push(value);
                }
            }
            if values.is_empty() {
                return Err(refused(format!("grid has no value for '{name}'; expected a list such as [1, 1.5, 2]")));
            }
            axes.push(Axis { name, values });
        }
        Ok(Request {
            scanner: function_name(&scanner),
            arguments: literals,
            params: own,
            axes,
            sample: sample.transpose()?,
            definition,
            function,
        })
    }

    /// Names and values of a STRUCT that may be NULL.
    fn named(&self, function: &str, parameter: &str, example: &str, value: &Value) -> Result<Vec<(String, Value)>> {
        let found = fields(value)?;
        if found.is_empty() && !value.is_null()? {
            let shown = literal(value, self.context, self.text)?;
            return Err(Error::invalid_input(format!("{function}: {parameter} must be a STRUCT such as {example}, got {shown}")));
        }
        Ok(found.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect())
    }
}

impl Request {
    fn argument(&self, name: &str) -> Option<&str> {
        let field = if name == "scan_date" { "start_date" } else { name };
        self.arguments.get(field).map(String::as_str)
    }

    /// A parameter of the scanner that is asked for but not there.
    fn check_names(&self, scanner: Option<&Scanner>) -> std::result::Result<(), String> {
        let is_argument = |name: &str| self.arguments.contains_key(name) || name == "scan_date";
        for (name, place) in self.params.iter().map(|(name, _)| (name, "params")).chain(self.axes.iter().map(|axis| (&axis.name, "grid"))) {
            if place == "grid" && EXITS.contains(&name.as_str()) {
                continue;
            }
            let of_scanner = scanner.is_some_and(|scanner| scanner.parameters.iter().any(|(known, _)| known == name));
            let is_common = SCAN_ARGUMENTS.iter().any(|(common, _)| common == name);
            if is_common || (is_argument(name) && !of_scanner && scanner.is_some()) {
                return Err(format!("'{name}' does not belong in {place}: it is a parameter of {} itself", self.function));
            }
            if let Some(scanner) = scanner
                && !of_scanner
            {
                let known: Vec<&str> = scanner
                    .parameters
                    .iter()
                    .map(|(known, _)| known.as_str())
                    .filter(|known| !SCAN_ARGUMENTS.iter().any(|(common, _)| common == known))
                    .collect();
                let nearest = known
                    .iter()
                    .max_by(|one, other| strsim::jaro_winkler(one, name).total_cmp(&strsim::jaro_winkler(other, name)))
                    .filter(|known| strsim::jaro_winkler(known, name) > 0.8)
                    .map_or(String::new(), |known| format!("did you mean '{known}'? "));
                return Err(format!("{} has no parameter '{name}' ({place}); {nearest}it has {}", scanner.name, known.join(", ")));
            }
            if place == "grid" && self.params.iter().any(|(given, _)| given == name) {
                return Err(format!("'{name}' is in params and in grid; expected it in one of them"));
            }
        }
        Ok(())
    }

    fn sql(&self) -> std::result::Result<String, String> {
        let scanner = known_scanner(&self.scanner, self.definition.as_deref())?;
        self.check_names(scanner.as_ref())?;
        let chosen = combinations(&self.axes, self.sample)?;

        let is_exit = |axis: &Axis| EXITS.contains(&axis.name.as_str());
        let is_scan = |axis: &Axis| !is_exit(axis) || axis.name == "cutoff_time";
        let is_text = |axis: &Axis| axis.values.iter().any(|value| value.starts_with('\''));
        let names_of = |is_one: &dyn Fn(&Axis) -> bool| -> Vec<String> {
            self.axes.iter().filter(|axis| is_one(axis)).map(|axis| axis.name.clone()).collect()
        };
        let candidates = names_of(&|axis| !is_exit(axis));
        let thresholds = scanner.as_ref().map_or_else(Vec::new, |scanner| scanner.thresholds(&candidates, &names_of(&is_text)));
        let is_scanned = |axis: &Axis| is_scan(axis) && !thresholds.contains(&axis.name);

        // Combinations with the same values of these share a scan, or exits.
        let mut scans = Parts::new(&self.axes, is_scanned);
        let mut exits = Parts::new(&self.axes, is_exit);
        let mut rows = Vec::with_capacity(chosen.len());
        let mut of_scans: Vec<Vec<&Vec<usize>>> = Vec::new();
        for (number, indices) in chosen.iter().enumerate() {
            let scan = scans.part(indices);
            of_scans.resize(scans.parts.len(), Vec::new());
            of_scans[scan].push(indices);
            let values = self.axes.iter().zip(indices).map(|(axis, index)| axis.values[*index].clone());
            let keys = [number, scan, exits.part(indices)].map(|key| key.to_string());
            rows.push(format!("({})", keys.into_iter().chain(values).collect::<Vec<_>>().join(", ")));
        }
        let names: Vec<String> = self.axes.iter().map(|axis| quoted(&axis.name)).collect();
        let columns: Vec<String> =
            [COMBINATION, "stockscan_scan", "stockscan_exits"].into_iter().map(str::to_owned).chain(names.iter().cloned()).collect();

        let mut signals = Vec::new();
        let mut checks = Vec::new();
        for (part, values) in scans.parts.iter().enumerate() {
            let (signal, guards) = self.signals(part, values, scanner.as_ref(), &thresholds)?;
            signals.push(signal);
            for guard in guards {
                self.check(&guard, &of_scans[part], &mut checks)?;
            }
        }
        // Never asked of a row, but when the query is planned: as every guard of a literal.
        let checked = if checks.is_empty() { String::new() } else { format!(" WHERE coalesce(true, {})", checks.join(", ")) };
        let outcomes: Vec<String> = exits
            .parts
            .iter()
            .enumerate()
            .map(|(part, values)| format!("SELECT {part} AS stockscan_exits, outcome.* FROM {} AS outcome", self.outcomes(values)))
            .collect();
        let parameters = if names.is_empty() {
            "NULL".to_owned()
        } else {
            let fields = self.axes.iter().zip(&names).map(|(axis, name)| format!("{}: combination.{name}", quoted_text(&axis.name)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        };
        Ok(format!(
            "WITH stockscan_combinations AS (SELECT * FROM (VALUES {}) AS combination ({})), \
             stockscan_signals AS ({}), \
             stockscan_outcomes AS ({}) \
             SELECT CAST(combination.{COMBINATION} AS BIGINT) AS combination, {parameters} AS parameters, \
             signal.scan_date, signal.symbol, signal.probability_score, signal.rank, {OUTCOME_COLUMNS} \
             FROM stockscan_combinations AS combination \
             LEFT JOIN stockscan_signals AS signal ON signal.{COMBINATION} = combination.{COMBINATION} \
             LEFT JOIN stockscan_outcomes AS outcome ON outcome.stockscan_exits = combination.stockscan_exits \
             AND outcome.scan_date = signal.scan_date AND outcome.symbol = signal.symbol{checked}",
            rows.join(", "),
            columns.join(", "),
            signals.join(" UNION ALL "),
            outcomes.join(" UNION ALL ")
        ))
    }

    /// Adds a guard of thresholds, with the values that some combinations have for them.
    fn check(&self, guard: &Expr, combinations: &[&Vec<usize>], checks: &mut Vec<String>) -> std::result::Result<(), String> {
        let is_read = |axis: &Axis| lifting::reads_any(guard, std::slice::from_ref(&axis.name));
        let places: Vec<usize> = self.axes.iter().enumerate().filter(|(_, axis)| is_read(axis)).map(|(place, _)| place).collect();
        let mut asked = HashSet::new();
        for indices in combinations {
            let key: Vec<usize> = places.iter().map(|place| indices[*place]).collect();
            if asked.insert(key) {
                let literals = places.iter().map(|place| (self.axes[*place].name.clone(), &self.axes[*place].values[indices[*place]]));
                let check = format!("{} IS NULL", lifting::with_literals(guard, literals)?);
                if !checks.contains(&check) {
                    checks.push(check);
                }
            }
        }
        Ok(())
    }

    /// The hits of the combinations that share a scan, and the guards of the thresholds there.
    fn signals(
        &self,
        part: usize,
        values: &[(String, String)],
        scanner: Option<&Scanner>,
        thresholds: &[String],
    ) -> std::result::Result<(String, Vec<Expr>), String> {
        let columns = "scan.scan_date, scan.symbol, scan.probability_score, scan.rank";
        let value = |name: &str| values.iter().find(|(given, _)| given == name).map(|(_, literal)| literal.clone());
        let common = SCAN_ARGUMENTS.iter().filter_map(|(name, silent)| {
            let literal = value(name).or_else(|| self.argument(name).map(str::to_owned))?;
            (literal.trim_matches('\'') != *silent).then(|| ((*name).to_owned(), literal))
        });
        let own = self.params.iter().chain(values.iter().filter(|(name, _)| !EXITS.contains(&name.as_str()))).cloned();
        let arguments: Vec<(String, String)> = common.chain(own).collect();
        match scanner {
            Some(scanner) if !thresholds.is_empty() => {
                let of_thresholds = self
                    .axes
                    .iter()
                    .filter(|axis| thresholds.contains(&axis.name))
                    .map(|axis| (axis.name.clone(), axis.values.clone()))
                    .collect();
                let combinations = format!("(SELECT one.* FROM stockscan_combinations AS one WHERE one.stockscan_scan = {part})");
                let (lifted, guards) = scanner.lifted(&arguments, thresholds, &of_thresholds, &combinations)?;
                Ok((format!("SELECT scan.{COMBINATION}, {columns} FROM ({lifted}) AS scan"), guards))
            }
            _ => {
                let is_built_in = self.definition.is_none() && scanner.is_some();
                let shown: Vec<String> = arguments.iter().map(|(name, literal)| format!("{} := {literal}", quoted(name))).collect();
                let sql = format!(
                    "SELECT combination.{COMBINATION}, {columns} FROM {}{}({}) AS scan \
                     JOIN stockscan_combinations AS combination ON combination.stockscan_scan = {part}",
                    if is_built_in { "system.main." } else { "" },
                    quoted(&self.scanner),
                    shown.join(", ")
                );
                Ok((sql, Vec::new()))
            }
        }
    }

    fn outcomes(&self, values: &[(String, String)]) -> String {
        let value = |name: &str| values.iter().find(|(given, _)| given == name).map(|(_, literal)| literal.as_str());
        let arguments: Vec<String> = OUTCOME_ARGUMENTS
            .iter()
            .filter_map(|name| value(name).or_else(|| self.argument(name)).map(|literal| format!(", {name} := {literal}")))
            .collect();
        format!("system.main.outcomes('stockscan_signals'{}, called_by := {})", arguments.concat(), quoted_text(&self.function))
    }
}

/// The distinct values of some of a grid's parameters.
struct Parts<'a> {
    axes: &'a [Axis],
    places: Vec<usize>,
    numbers: HashMap<Vec<usize>, usize>,
    /// Names and literals, by number.
    parts: Vec<Vec<(String, String)>>,
}

impl<'a> Parts<'a> {
    fn new(axes: &'a [Axis], is_part: impl Fn(&Axis) -> bool) -> Parts<'a> {
        let places = axes.iter().enumerate().filter(|(_, axis)| is_part(axis)).map(|(place, _)| place).collect();
        Parts { axes, places, numbers: HashMap::new(), parts: Vec::new() }
    }

    /// The number of the part that a combination belongs to.
    fn part(&mut self, indices: &[usize]) -> usize {
        let key: Vec<usize> = self.places.iter().map(|place| indices[*place]).collect();
        let next = self.parts.len();
        let number = *self.numbers.entry(key).or_insert(next);
        if number == next {
            let value = |place: &usize| (self.axes[*place].name.clone(), self.axes[*place].values[indices[*place]].clone());
            self.parts.push(self.places.iter().map(value).collect());
        }
        number
    }
}
