//! The filter funnel of a scan: how many candidates survive each condition, in the order in which the scanner's SQL states them.
//!
//! Works on any table macro, the user's own included: the conditions come from its definition in the catalogue. Each `WHERE` of the macro's
//! steps becomes a row of counts over the same steps, with one more condition counted in each column.

use std::{collections::HashMap, ops::ControlFlow, time::Duration};

use duckdb::types::Value;
use sqlparser::{
    ast::{
        BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Query as SqlQuery, Select, SetExpr,
        Statement, Value as SqlValue, ValueWithSpan, VisitMut, VisitorMut,
    },
    dialect::DuckDbDialect,
    parser::Parser,
};

use crate::{Call, Engine, Error, Result, call::literal};

/// How many rows survive the conditions of a scan, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Funnel {
    /// Rows that the first conditions are asked of.
    pub candidates: u64,
    /// In the order of the scanner's SQL.
    pub steps: Vec<Step>,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The condition, with the scanner's parameters by name: `breakout_pct >= resistance_break_pct`.
    pub condition: String,
    /// The parameters in it, with their values: `resistance_break_pct = 0.5`.
    pub parameters: String,
    /// Rows (a symbol in a session) for which this and all conditions before it hold.
    pub survivors: u64,
}

impl Engine {
    /// Counts the survivors of each condition of a call.
    ///
    /// # Errors
    /// [`Error::Timeout`] when `deadline` passes, [`Error::Invalid`] when the function's SQL is of a shape that cannot be taken apart, or what DuckDB says.
    pub fn funnel(&self, call: &Call, deadline: Option<Duration>) -> Result<Funnel> {
        let definition = self.definition(&call.function)?;
        let unfit = |reason: &str| Error::Invalid(format!("{}: its conditions cannot be counted: {reason}", call.function));
        let parsed = Parser::parse_sql(&DuckDbDialect {}, &definition).map_err(|error| unfit(&error.to_string()))?.pop();
        let Some(Statement::Query(mut query)) = parsed else { return Err(unfit("it is no query")) };

        let mut parameters = Vec::new();
        for (name, default) in self.signature(&call.function)?.parameters {
            let given = call.arguments.iter().find(|(given, _)| *given == name).map(|(_, value)| value.clone());
            let value = match (given, default) {
                (Some(value), _) => value,
                (None, Some(default)) => self.value(&default)?,
                (None, None) => Value::Null,
            };
            parameters.push((name, value));
        }

        let stages = stages(&query);
        if stages.is_empty() {
            return Err(unfit("it has no conditions"));
        }
        let shown: Vec<Vec<(String, String)>> =
            stages.iter().map(|stage| stage.conditions.iter().map(|condition| describe(condition, &parameters)).collect()).collect();
        let counts = self.within(deadline, || self.survivors(&mut query, &stages, &parameters))?;
        let mut counts = counts.into_iter().flatten();
        let candidates = counts.next().unwrap_or_default();
        let steps = shown.into_iter().flatten().zip(counts).filter(|((condition, _), _)| !condition.is_empty());
        Ok(Funnel {
            candidates,
            steps: steps.map(|((condition, parameters), survivors)| Step { condition, parameters, survivors }).collect(),
        })
    }

    /// One list of counts per stage, from one statement; before the first stage's counts its rows without any condition.
    fn survivors(&self, query: &mut SqlQuery, stages: &[Stage], parameters: &[(String, Value)]) -> Result<Vec<Vec<u64>>> {
        let arms: Vec<String> = stages
            .iter()
            .enumerate()
            .map(|(index, stage)| {
                let all = (index == 0).then(|| "count(*)".to_owned());
                let counts: Vec<String> = all
                    .into_iter()
                    .chain((1..=stage.conditions.len()).map(|length| {
                        let held: Vec<String> = stage.conditions[..length].iter().map(|condition| format!("({condition})")).collect();
                        format!("count(*) FILTER (WHERE {})", held.join(" AND "))
                    }))
                    .collect();
                format!("SELECT {index} AS stage, [{}] AS counts FROM {}", counts.join(", "), stage.from)
            })
            .collect();
        let union =
            format!("SELECT arm.stage, unnest(arm.counts) AS survivors FROM ({}) AS arm ORDER BY arm.stage", arms.join(" UNION ALL "));
        let mut counting = parse_query(&union)?;
        counting.with = query.with.take();

        let mut binder = ParameterBinder { values: parameters.iter().cloned().collect(), bound: Vec::new() };
        let ControlFlow::Continue(()) = counting.visit(&mut binder) else { return Ok(Vec::new()) };
        let sql = counting.to_string();
        let mut statement = self.connection.prepare(&sql).map_err(|error| self.explained(&error))?;
        let rows =
            statement.query_map(duckdb::params_from_iter(binder.bound.iter()), |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)));
        let mut counts = vec![Vec::new(); stages.len()];
        for row in rows.map_err(|error| self.explained(&error))? {
            let (stage, survivors) = row?;
            if let Some(stage) = usize::try_from(stage).ok().and_then(|stage| counts.get_mut(stage)) {
                stage.push(u64::try_from(survivors).unwrap_or_default());
            }
        }
        Ok(counts)
    }
}

/// A `SELECT` with a `WHERE`: what it reads and the conditions, first one first.
struct Stage {
    from: String,
    conditions: Vec<Expr>,
}

fn stages(query: &SqlQuery) -> Vec<Stage> {
    let steps = query.with.iter().flat_map(|with| &with.cte_tables).map(|step| step.query.as_ref());
    steps.chain([query]).filter_map(|step| select(step)).filter_map(stage).collect()
}

fn select(query: &SqlQuery) -> Option<&Select> {
    match query.body.as_ref() {
        SetExpr::Select(select) => Some(select),
        _ => None,
    }
}

fn stage(select: &Select) -> Option<Stage> {
    let mut conditions = Vec::new();
    split(select.selection.as_ref()?, &mut conditions);
    let from: Vec<String> = select.from.iter().map(ToString::to_string).collect();
    Some(Stage { from: from.join(", "), conditions })
}

/// Takes `a AND (b AND c)` apart.
fn split(condition: &Expr, parts: &mut Vec<Expr>) {
    match condition {
        Expr::Nested(inner) => split(inner, parts),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            split(left, parts);
            split(right, parts);
        }
        other => parts.push(other.clone()),
    }
}

fn parse_query(sql: &str) -> Result<SqlQuery> {
    match Parser::parse_sql(&DuckDbDialect {}, sql).map(|mut statements| statements.pop()) {
        Ok(Some(Statement::Query(query))) => Ok(*query),
        Ok(_) => Err(Error::Invalid(format!("not a query: {sql}"))),
        Err(error) => Err(Error::Invalid(format!("{error}: {sql}"))),
    }
}

/// Replaces each parameter of the macro by a bound value.
struct ParameterBinder {
    values: HashMap<String, Value>,
    bound: Vec<Value>,
}

impl VisitorMut for ParameterBinder {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        if let Expr::Identifier(Ident { value: name, .. }) = expression
            && let Some(value) = self.values.get(name)
        {
            self.bound.push(value.clone());
            *expression = Expr::Value(SqlValue::Placeholder(format!("${}", self.bound.len())).into());
        }
        ControlFlow::Continue(())
    }
}

/// A condition as a person reads it, and the parameters in it. Empty for a guard that stands alone.
fn describe(condition: &Expr, parameters: &[(String, Value)]) -> (String, String) {
    let mut reader = Reader { parameters, named: Vec::new() };
    let mut shown = condition.clone();
    if matches!(&shown, Expr::Function(function) if function.name.to_string() == "in_order") {
        return (String::new(), String::new());
    }
    let ControlFlow::Continue(()) = shown.visit(&mut reader) else { return (String::new(), String::new()) };
    let values: Vec<String> = reader.named.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    (shown.to_string(), values.join(", "))
}

/// Strips relations from columns and guards from parameters.
struct Reader<'a> {
    parameters: &'a [(String, Value)],
    named: Vec<(String, String)>,
}

impl VisitorMut for Reader<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        let replacement = match expression {
            Expr::CompoundIdentifier(parts) => parts.pop().map(Expr::Identifier),
            Expr::Nested(inner) if !matches!(inner.as_ref(), Expr::BinaryOp { .. }) => Some(inner.as_ref().clone()),
            Expr::Cast { expr, .. } => Some(expr.as_ref().clone()),
            Expr::Function(function) if is_guard(function) => first_argument(function),
            _ => None,
        };
        if let Some(replacement) = replacement {
            *expression = replacement;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        if let Expr::Identifier(identifier) = expression
            && let Some((name, value)) = self.parameters.iter().find(|(name, _)| *name == identifier.value)
            && !self.named.iter().any(|(known, _)| known == name)
        {
            self.named.push((name.clone(), literal(value)));
        }
        ControlFlow::Continue(())
    }
}

/// A function that returns its first argument or an error: its last argument names the parameter.
fn is_guard(function: &Function) -> bool {
    let FunctionArguments::List(list) = &function.args else { return false };
    let first = first_argument(function);
    let last = list.args.last().map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(ValueWithSpan { value: SqlValue::SingleQuotedString(name), .. }))) => {
            name.clone()
        }
        _ => String::new(),
    });
    matches!((first, last), (Some(Expr::Identifier(first)), Some(last)) if first.value == last)
}

fn first_argument(function: &Function) -> Option<Expr> {
    match &function.args {
        FunctionArguments::List(list) => match list.args.first()? {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(first)) => Some(first.clone()),
            _ => None,
        },
        _ => None,
    }
}
