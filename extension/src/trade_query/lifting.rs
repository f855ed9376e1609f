//! A scan for many values of its thresholds at once.
//!
//! A parameter that a scanner only compares with what it has found, a threshold, need not be scanned for again: the scanner's steps are taken
//! as they are up to the first that reads a threshold, and from there on each step has a row for each combination, told apart by a column
//! `stockscan_combination`. Windows are partitioned by it, groups have it, joins between such steps match it. A parameter that a block is
//! called with, or that makes a window's frame, changes what is read and cannot be treated so; nor can one of a step whose shape is not known
//! here. The scanner says by its own SQL which is which: there is no list.

use std::{collections::HashMap, ops::ControlFlow};

use sqlparser::{
    ast::{
        BinaryOperator, Distinct, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident, Join,
        JoinConstraint, JoinOperator, MacroDefinition, NamedWindowExpr, ObjectName, Query, Select, SelectItem,
        SelectItemQualifiedWildcardKind, SetExpr, Statement, TableFactor, Value, Visit, VisitMut, Visitor, VisitorMut, WindowSpec,
        WindowType,
    },
    dialect::DuckDbDialect,
    parser::Parser,
};

/// The column that tells combinations apart.
pub(super) const COMBINATION: &str = "stockscan_combination";
/// The relation with a row for each combination of the thresholds' values.
const GRID: &str = "stockscan_grid";

/// A scanner's SQL.
#[derive(Debug, Clone)]
pub(super) struct Scanner {
    /// Name of the macro.
    pub(super) name: String,
    /// Its parameters, with the literal of their default.
    pub(super) parameters: Vec<(String, Option<String>)>,
    query: Query,
}

impl Scanner {
    pub(super) fn new(name: &str, parameters: Vec<(String, Option<String>)>, body: &str) -> Result<Scanner, String> {
        match Parser::parse_sql(&DuckDbDialect {}, body).map_err(|error| error.to_string())?.pop() {
            Some(Statement::Query(query)) => Ok(Scanner { name: name.to_owned(), parameters, query: *query }),
            _ => Err("expected a query".to_owned()),
        }
    }

    /// From the text of its `CREATE MACRO`.
    pub(super) fn from_definition(text: &str) -> Result<Scanner, String> {
        match Parser::parse_sql(&DuckDbDialect {}, text).map_err(|error| error.to_string())?.pop() {
            Some(Statement::CreateMacro { name, args, definition: MacroDefinition::Table(query), .. }) => Ok(Scanner {
                name: last_part(&name),
                parameters: args
                    .unwrap_or_default()
                    .into_iter()
                    .map(|argument| (argument.name.value, argument.default_expr.map(|default| default.to_string())))
                    .collect(),
                query: *query,
            }),
            _ => Err("expected CREATE MACRO scan_name(…) AS TABLE …".to_owned()),
        }
    }

    /// The parameters among these that are thresholds: what `lifted` can take from the grid. If a step that reads one cannot be lifted, none is.
    pub(super) fn thresholds(&self, candidates: &[String]) -> Vec<String> {
        let mut fixed = FixedUses { candidates, found: Vec::new() };
        let flow = self.query.visit(&mut fixed);
        debug_assert!(flow.is_continue());
        let thresholds: Vec<String> = candidates.iter().filter(|name| !fixed.found.contains(name)).cloned().collect();
        if !thresholds.is_empty() && lift(self.query.clone(), &thresholds, &HashMap::new()).is_some() { thresholds } else { Vec::new() }
    }

    /// The query with the given literals for parameters and the thresholds from `combinations`, which has the column `stockscan_combination`
    /// and one for each threshold. Its rows have the column `stockscan_combination` beside the scanner's own.
    ///
    /// `values` are the literals of each threshold, for the loosest of them to be asked for first.
    pub(super) fn lifted(
        &self,
        arguments: &[(String, String)],
        thresholds: &[String],
        values: &HashMap<String, Vec<String>>,
        combinations: &str,
    ) -> Result<String, String> {
        let mut query = self.query.clone();
        let mut literals = HashMap::new();
        for (name, default) in &self.parameters {
            let given = arguments.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, literal)| literal);
            let Some(text) = given.or(default.as_ref()) else {
                return Err(format!("{}: parameter '{name}' has no value", self.name));
            };
            if !thresholds.iter().any(|threshold| threshold.eq_ignore_ascii_case(name)) {
                literals.insert(name.to_lowercase(), expression(text)?);
            }
        }
        let flow = VisitMut::visit(&mut query, &mut Binder { literals: &literals });
        debug_assert!(flow.is_continue());
        let lifted = lift(query, thresholds, values).ok_or_else(|| format!("{}: its thresholds cannot be taken from a grid", self.name))?;

        let checked = thresholds.iter().map(|name| {
            let raw = format!("combination.{}", super::literal::quoted(name));
            let guard = lifted.guards.get(name).map(|guard| with_first_argument(guard, &raw)).transpose()?.unwrap_or(raw);
            Ok(format!("{guard} AS {}", super::literal::quoted(name)))
        });
        let columns: Vec<String> =
            std::iter::once(Ok(format!("combination.{COMBINATION}"))).chain(checked).collect::<Result<_, String>>()?;
        let conditions: Vec<String> = lifted.conditions.iter().map(ToString::to_string).collect();
        let mut query = lifted.query;
        let steps: Vec<String> = query.with.take().into_iter().flat_map(|with| with.cte_tables).map(|step| format!(", {step}")).collect();
        query.order_by = None;
        Ok(format!(
            "WITH {GRID} AS (SELECT {} FROM {combinations} AS combination{}{}){} {query}",
            columns.join(", "),
            if conditions.is_empty() { "" } else { " WHERE " },
            conditions.join(" AND ").replace(&format!("{GRID}."), "combination."),
            steps.concat()
        ))
    }
}

fn expression(text: &str) -> Result<Expr, String> {
    Parser::new(&DuckDbDialect {})
        .try_with_sql(text)
        .and_then(|mut parser| parser.parse_expr())
        .map_err(|error| format!("{text} is no literal: {error}"))
}

fn last_part(name: &ObjectName) -> String {
    name.0.last().and_then(|part| part.as_ident()).map_or_else(String::new, |ident| ident.value.clone())
}

/// Finds the parameters that change what is read.
struct FixedUses<'a> {
    candidates: &'a [String],
    found: Vec<String>,
}

impl FixedUses<'_> {
    fn note(&mut self, part: &impl Visit) {
        let mut names = Names { candidates: self.candidates, found: Vec::new() };
        let flow = part.visit(&mut names);
        debug_assert!(flow.is_continue());
        self.found.append(&mut names.found);
    }

    fn note_window(&mut self, window: &WindowSpec) {
        if let Some(frame) = &window.window_frame {
            self.note(&frame.start_bound);
            if let Some(end) = &frame.end_bound {
                self.note(end);
            }
        }
    }
}

impl Visitor for FixedUses<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table { args: Some(arguments), .. } => self.note(&arguments.args),
            TableFactor::Function { args, .. } => self.note(args),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        for window in &select.named_window {
            if let NamedWindowExpr::WindowSpec(window) = &window.1 {
                self.note_window(window);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expression
            && let Some(over) = &function.over
        {
            self.note(&function.args);
            if let WindowType::WindowSpec(window) = over {
                self.note_window(window);
            }
        }
        ControlFlow::Continue(())
    }
}

/// Finds parameters by name.
struct Names<'a> {
    candidates: &'a [String],
    found: Vec<String>,
}

impl Visitor for Names<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        if let Expr::Identifier(identifier) = expression {
            self.found.extend(self.candidates.iter().filter(|name| name.eq_ignore_ascii_case(&identifier.value)).cloned());
        }
        ControlFlow::Continue(())
    }
}

fn reads_any(part: &impl Visit, names: &[String]) -> bool {
    let mut found = Names { candidates: names, found: Vec::new() };
    let flow = part.visit(&mut found);
    debug_assert!(flow.is_continue());
    !found.found.is_empty()
}

/// Puts literals in the place of parameters.
struct Binder<'a> {
    literals: &'a HashMap<String, Expr>,
}

impl VisitorMut for Binder<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        if let Expr::Identifier(identifier) = expression
            && let Some(literal) = self.literals.get(&identifier.value.to_lowercase())
        {
            *expression = Expr::Nested(Box::new(literal.clone()));
        }
        ControlFlow::Continue(())
    }
}

/// What became of a query.
struct Lifted {
    query: Query,
    /// By threshold the guard that it was read through.
    guards: HashMap<String, Expr>,
    /// Guards that stood alone: conditions of a combination.
    conditions: Vec<Expr>,
}

fn lift(mut query: Query, thresholds: &[String], values: &HashMap<String, Vec<String>>) -> Option<Lifted> {
    let mut lifting = Lifting { thresholds, values, steps: Vec::new(), guards: HashMap::new(), conditions: Vec::new() };
    if let Some(with) = &mut query.with {
        if with.recursive {
            return None;
        }
        for step in &mut with.cte_tables {
            if lifting.query(&mut step.query)? {
                // Names for all of its columns would leave none for the combination.
                if !step.alias.columns.is_empty() {
                    return None;
                }
                lifting.steps.push(step.alias.name.value.to_lowercase());
            }
        }
    }
    let with = query.with.take();
    let is_lifted = lifting.query(&mut query)?;
    query.with = with;
    is_lifted.then_some(Lifted { query, guards: lifting.guards, conditions: lifting.conditions })
}

struct Lifting<'a> {
    thresholds: &'a [String],
    values: &'a HashMap<String, Vec<String>>,
    /// The steps that have a row for each combination.
    steps: Vec<String>,
    guards: HashMap<String, Expr>,
    conditions: Vec<Expr>,
}

impl Lifting<'_> {
    /// Lifts a step if it must be; whether it was, `None` if it cannot be.
    fn query(&mut self, query: &mut Query) -> Option<bool> {
        let sources = self.sources(query);
        let reads_thresholds = reads_any(query, self.thresholds);
        if sources == 0 && !reads_thresholds {
            return Some(false);
        }
        let is_plain = query.with.is_none() && query.limit_clause.is_none() && query.fetch.is_none() && query.pipe_operators.is_empty();
        let SetExpr::Select(select) = query.body.as_mut() else { return None };
        if !is_plain {
            return None;
        }
        self.select(select, sources, reads_thresholds)?;
        Some(true)
    }

    /// How many times a part reads a lifted step.
    fn sources(&self, part: &impl Visit) -> usize {
        let mut count = 0;
        let flow = sqlparser::ast::visit_relations(part, |name| {
            count += usize::from(self.steps.contains(&last_part(name).to_lowercase()));
            ControlFlow::<()>::Continue(())
        });
        debug_assert!(flow.is_continue());
        count
    }

    /// The alias of a lifted step in a `FROM`.
    fn alias(&self, factor: &TableFactor) -> Option<Ident> {
        match factor {
            TableFactor::Table { name, alias, args: None, .. }
                if self.steps.contains(&last_part(name).to_lowercase()) && alias.as_ref().is_none_or(|alias| alias.columns.is_empty()) =>
            {
                Some(alias.as_ref().map_or_else(|| Ident::new(last_part(name)), |alias| alias.name.clone()))
            }
            _ => None,
        }
    }

    fn select(&mut self, select: &mut Select, sources: usize, reads_thresholds: bool) -> Option<()> {
        if select.having.is_some() || select.top.is_some() || !select.lateral_views.is_empty() {
            return None;
        }
        // Steps in subqueries, or behind an outer join, are of no shape that is known here.
        let mut aliases: Vec<Ident> = Vec::new();
        let mut matches = Vec::new();
        for from in &mut select.from {
            let before = aliases.len();
            aliases.extend(self.alias(&from.relation));
            if aliases.len() > before
                && let [first, .., last] = aliases.as_slice()
            {
                matches.push(same_combination(first, last));
            }
            for Join { relation, join_operator, .. } in &mut from.joins {
                let Some(alias) = self.alias(relation) else {
                    if matches!(join_operator, JoinOperator::Right(_) | JoinOperator::RightOuter(_) | JoinOperator::FullOuter(_)) {
                        return None;
                    }
                    continue;
                };
                let constraint = match join_operator {
                    JoinOperator::Join(constraint)
                    | JoinOperator::Inner(constraint)
                    | JoinOperator::Left(constraint)
                    | JoinOperator::LeftOuter(constraint) => constraint,
                    _ => return None,
                };
                let JoinConstraint::On(condition) = constraint else { return None };
                // The first lifted step must be the side that keeps its rows.
                let first = aliases.first()?.clone();
                *condition = and(condition.clone(), same_combination(&first, &alias));
                aliases.push(alias);
            }
        }
        if aliases.len() != sources {
            return None;
        }

        let key = column(aliases.first().map_or(GRID, |alias| alias.value.as_str()), COMBINATION);
        if reads_thresholds {
            self.conditions(select);
            let flow = VisitMut::visit(select, &mut Thresholds { names: self.thresholds, guards: &mut self.guards });
            debug_assert!(flow.is_continue());
            if let Some(alias) = aliases.first() {
                matches.push(same_combination(alias, &Ident::new(GRID)));
            }
            let mut grid = Parser::new(&DuckDbDialect {}).try_with_sql(GRID).ok()?;
            select.from.push(grid.parse_table_and_joins().ok()?);
        }
        for condition in matches {
            select.selection = Some(match select.selection.take() {
                Some(present) => and(present, condition),
                None => condition,
            });
        }

        let mut wildcards = 0;
        for item in &select.projection {
            match item {
                SelectItem::Wildcard(_) => return None,
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                    wildcards += usize::from(aliases.iter().any(|alias| alias.value.eq_ignore_ascii_case(&last_part(name))));
                }
                _ => {}
            }
        }
        match wildcards {
            0 => select.projection.insert(0, SelectItem::ExprWithAlias { expr: key.clone(), alias: Ident::new(COMBINATION) }),
            1 => {}
            _ => return None,
        }
        match &mut select.group_by {
            GroupByExpr::Expressions(expressions, _) if expressions.is_empty() => {}
            GroupByExpr::Expressions(expressions, _) => expressions.push(key.clone()),
            GroupByExpr::All(_) => {}
        }
        if let Some(Distinct::On(expressions)) = &mut select.distinct {
            expressions.insert(0, key.clone());
        }
        for window in &mut select.named_window {
            if let NamedWindowExpr::WindowSpec(window) = &mut window.1 {
                partition(window, &key);
            }
        }
        let flow = VisitMut::visit(select, &mut Partitioner { key: &key });
        debug_assert!(flow.is_continue());
        Some(())
    }

    /// Takes guards that stand alone out of the conditions, and asks for the loosest value of each threshold first: then few rows meet the grid.
    fn conditions(&mut self, select: &mut Select) {
        let Some(selection) = select.selection.take() else { return };
        let mut parts = Vec::new();
        split(selection, &mut parts);
        let mut kept = Vec::new();
        for mut part in parts {
            if let Expr::Function(function) = &part
                && last_part(&function.name).eq_ignore_ascii_case("in_order")
                && reads_any(&part, self.thresholds)
            {
                let flow = VisitMut::visit(&mut part, &mut Thresholds { names: self.thresholds, guards: &mut HashMap::new() });
                debug_assert!(flow.is_continue());
                if !self.conditions.contains(&part) {
                    self.conditions.push(part);
                }
                continue;
            }
            kept.extend(self.loosest(&part));
            kept.push(part);
        }
        select.selection = kept.into_iter().reduce(and);
    }

    /// `x >= threshold` with the least of the threshold's values, and so on.
    fn loosest(&self, condition: &Expr) -> Option<Expr> {
        let Expr::BinaryOp { left, op, right } = condition else { return None };
        let (name, other, at_least) = match op {
            BinaryOperator::GtEq | BinaryOperator::Gt => match (self.threshold(right), self.threshold(left)) {
                (Some(name), None) => (name, left, true),
                (None, Some(name)) => (name, right, false),
                _ => return None,
            },
            BinaryOperator::LtEq | BinaryOperator::Lt => match (self.threshold(right), self.threshold(left)) {
                (Some(name), None) => (name, left, false),
                (None, Some(name)) => (name, right, true),
                _ => return None,
            },
            _ => return None,
        };
        if reads_any(other.as_ref(), self.thresholds) {
            return None;
        }
        let numbers = self.values.get(&name)?.iter().map(|value| value.parse::<f64>().ok()).collect::<Option<Vec<f64>>>()?;
        let loosest = numbers.into_iter().reduce(if at_least { f64::min } else { f64::max })?;
        let op = if at_least { BinaryOperator::GtEq } else { BinaryOperator::LtEq };
        Some(Expr::BinaryOp { left: other.clone(), op, right: Box::new(expression(&format!("{loosest:?}")).ok()?) })
    }

    /// The threshold that an expression is, through its guard or not.
    fn threshold(&self, expression: &Expr) -> Option<String> {
        let identifier = match expression {
            Expr::Identifier(identifier) => identifier.clone(),
            Expr::Function(function) => guarded(function)?,
            _ => return None,
        };
        self.thresholds.iter().find(|name| name.eq_ignore_ascii_case(&identifier.value)).cloned()
    }
}

fn split(condition: Expr, parts: &mut Vec<Expr>) {
    match condition {
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            split(*left, parts);
            split(*right, parts);
        }
        other => parts.push(other),
    }
}

fn and(left: Expr, right: Expr) -> Expr {
    // A condition of its own kind may bind less tightly than AND.
    let nested =
        |part: Expr| if matches!(part, Expr::BinaryOp { op: BinaryOperator::Or, .. }) { Expr::Nested(Box::new(part)) } else { part };
    Expr::BinaryOp { left: Box::new(nested(left)), op: BinaryOperator::And, right: Box::new(nested(right)) }
}

fn column(relation: &str, name: &str) -> Expr {
    Expr::CompoundIdentifier(vec![Ident::new(relation), Ident::with_quote('"', name)])
}

fn same_combination(one: &Ident, other: &Ident) -> Expr {
    Expr::BinaryOp {
        left: Box::new(column(&other.value, COMBINATION)),
        op: BinaryOperator::Eq,
        right: Box::new(column(&one.value, COMBINATION)),
    }
}

fn partition(window: &mut WindowSpec, key: &Expr) {
    // A window that extends another has its partition from there.
    if window.window_name.is_none() {
        window.partition_by.insert(0, key.clone());
    }
}

struct Partitioner<'a> {
    key: &'a Expr,
}

impl VisitorMut for Partitioner<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(Function { over: Some(WindowType::WindowSpec(window)), .. }) = expression {
            partition(window, self.key);
        }
        ControlFlow::Continue(())
    }
}

/// The parameter that a guard reads: its first argument, whose name is its last one, a text.
fn guarded(function: &Function) -> Option<Ident> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let argument = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expression)) => Some(expression.clone()),
        _ => None,
    };
    match (list.args.first().and_then(argument)?, list.args.last().and_then(argument)?) {
        (Expr::Identifier(first), Expr::Value(last)) => {
            matches!(&last.value, Value::SingleQuotedString(name) if name.eq_ignore_ascii_case(&first.value)).then_some(first)
        }
        _ => None,
    }
}

fn with_first_argument(guard: &Expr, argument: &str) -> Result<String, String> {
    let mut guard = guard.clone();
    if let Expr::Function(Function { args: FunctionArguments::List(list), .. }) = &mut guard
        && let Some(first) = list.args.first_mut()
    {
        *first = FunctionArg::Unnamed(FunctionArgExpr::Expr(expression(argument)?));
    }
    Ok(guard.to_string())
}

/// Puts the grid's columns in the place of thresholds and their guards, which are asked once for each combination instead.
struct Thresholds<'a> {
    names: &'a [String],
    guards: &'a mut HashMap<String, Expr>,
}

impl VisitorMut for Thresholds<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        let identifier = match &*expression {
            Expr::Identifier(identifier) => Some(identifier.clone()),
            Expr::Function(function) => guarded(function),
            _ => None,
        };
        let Some(identifier) = identifier else { return ControlFlow::Continue(()) };
        if let Some(name) = self.names.iter().find(|name| name.eq_ignore_ascii_case(&identifier.value)) {
            if matches!(expression, Expr::Function(_)) {
                self.guards.entry(name.clone()).or_insert_with(|| expression.clone());
            }
            *expression = column(GRID, name);
        }
        ControlFlow::Continue(())
    }
}
