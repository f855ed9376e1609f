//! A scan for many values of its thresholds at once.
//!
//! A parameter that a scanner only compares with what it has found, a threshold, need not be scanned for again. The scanner's steps are taken
//! as they are, but for conditions that read a threshold: these wait, and what they are made of is carried along, up to the first step that looks
//! at more rows than one. There the rows meet the grid, and from then on each step has its rows for each combination, told apart by a column
//! `stockscan_combination`: windows are partitioned by it, groups have it, joins between such steps match it.
//!
//! A parameter that a block is called with, or that makes a window's frame, changes what is read and cannot be treated so; nor can one that
//! is asked of every bar, or in a step whose shape is not known here. The scanner says by its own SQL which is which: there is no list.

use std::{collections::HashMap, ops::ControlFlow};

use sqlparser::{
    ast::{
        BinaryOperator, Distinct, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident, JoinConstraint,
        JoinOperator, MacroDefinition, NamedWindowExpr, ObjectName, Query, Select, SelectFlavor, SelectItem,
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
        let mut statements = Parser::parse_sql(&DuckDbDialect {}, text).map_err(|error| error.to_string())?;
        let statement = statements.pop().filter(|_| statements.is_empty());
        match statement {
            Some(Statement::CreateMacro { name, args, definition: MacroDefinition::Table(mut query), .. }) => {
                let flow = VisitMut::visit(&mut query, &mut Unwrapper);
                debug_assert!(flow.is_continue());
                Ok(Scanner {
                    name: last_part(&name),
                    parameters: args
                        .unwrap_or_default()
                        .into_iter()
                        .map(|argument| (argument.name.value.to_lowercase(), argument.default_expr.map(|default| default.to_string())))
                        .collect(),
                    query: *query,
                })
            }
            _ => Err("expected one CREATE MACRO scan_name(…) AS TABLE … and nothing else".to_owned()),
        }
    }

    /// The parameters among these that are thresholds: what `lifted` can take from the grid.
    ///
    /// `texts` are those whose values are texts. As a literal, `'5'` is the number that it is compared with, as a column it is not: such a
    /// parameter must be read through its guard.
    pub(super) fn thresholds(&self, candidates: &[String], texts: &[String]) -> Vec<String> {
        let parameters: Vec<String> = self.parameters.iter().map(|(name, _)| name.clone()).collect();
        if hides_any(&self.query, &parameters) || names_a_step(&self.query) {
            return Vec::new();
        }
        let mut fixed = FixedUses { candidates, found: Vec::new() };
        let flow = self.query.visit(&mut fixed);
        debug_assert!(flow.is_continue());
        let mut unguarded = self.query.clone();
        let flow = VisitMut::visit(&mut unguarded, &mut Unguarded { names: texts });
        debug_assert!(flow.is_continue());
        let can_lift = |names: &[String]| lift(self.query.clone(), names, &HashMap::new()).is_some();
        let is_threshold = |name: &String| {
            let is_read_as_text = texts.contains(name) && reads_any(&unguarded, std::slice::from_ref(name));
            !is_read_as_text && !fixed.found.contains(name) && can_lift(std::slice::from_ref(name))
        };
        let thresholds: Vec<String> = candidates.iter().filter(|name| is_threshold(name)).cloned().collect();
        if can_lift(&thresholds) { thresholds } else { Vec::new() }
    }

    /// The query with the given literals for parameters and the thresholds from `combinations`, which has the column `stockscan_combination`
    /// and one for each threshold. Its rows have the column `stockscan_combination` beside the scanner's own.
    ///
    /// `values` are the literals of each threshold, for the loosest of them to be asked for first. With it come the guards of the thresholds:
    /// where nothing is found they would not be asked.
    pub(super) fn lifted(
        &self,
        arguments: &[(String, String)],
        thresholds: &[String],
        values: &HashMap<String, Vec<String>>,
        combinations: &str,
    ) -> Result<(String, Vec<Expr>), String> {
        let mut query = self.query.clone();
        let mut literals = HashMap::new();
        for (name, default) in &self.parameters {
            if thresholds.contains(name) {
                continue;
            }
            let given = arguments.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, literal)| literal);
            let Some(text) = given.or(default.as_ref()) else {
                return Err(format!("{}: parameter '{name}' has no value", self.name));
            };
            literals.insert(name.to_lowercase(), expression(text)?);
        }
        let flow = VisitMut::visit(&mut query, &mut Binder { literals: &literals });
        debug_assert!(flow.is_continue());
        let lifted = lift(query, thresholds, values).ok_or_else(|| format!("{}: its thresholds cannot be taken from a grid", self.name))?;

        let mut of_combination = HashMap::new();
        for name in thresholds {
            of_combination.insert(name.clone(), expression(&format!("combination.{}", super::literal::quoted(name)))?);
        }
        let columns = thresholds.iter().map(|name| {
            let name = super::literal::quoted(name);
            format!(", combination.{name} AS {name}")
        });
        let guarded = lifted
            .guards
            .iter()
            .map(|guard| format!(", {} AS {}", bound(&guard.expression, &of_combination), super::literal::quoted(&guard.column)));
        let conditions: Vec<String> = lifted.conditions.iter().map(|condition| bound(condition, &of_combination).to_string()).collect();
        let mut query = lifted.query;
        let steps: Vec<String> = query.with.take().into_iter().flat_map(|with| with.cte_tables).map(|step| format!(", {step}")).collect();
        query.order_by = None;
        let sql = format!(
            "WITH {GRID} AS (SELECT combination.{COMBINATION}{}{} FROM {combinations} AS combination{}{}){} {query}",
            columns.collect::<String>(),
            guarded.collect::<String>(),
            if conditions.is_empty() { "" } else { " WHERE " },
            conditions.join(" AND "),
            steps.concat()
        );
        Ok((sql, lifted.guards.into_iter().map(|guard| guard.expression).chain(lifted.conditions).collect()))
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

/// A guard with literals in the place of its thresholds.
pub(super) fn with_literals<'a>(guard: &Expr, literals: impl Iterator<Item = (String, &'a String)>) -> Result<Expr, String> {
    let literals = literals.map(|(name, literal)| Ok((name, expression(literal)?))).collect::<Result<_, String>>()?;
    Ok(bound(guard, &literals))
}

/// An expression with others in the place of parameters.
fn bound(expression: &Expr, values: &HashMap<String, Expr>) -> Expr {
    let mut expression = expression.clone();
    let flow = VisitMut::visit(&mut expression, &mut Binder { literals: values });
    debug_assert!(flow.is_continue());
    expression
}

/// Takes off the brackets that DuckDB puts around joins, and around the arms of a UNION, when it writes a definition down.
struct Unwrapper;

impl Unwrapper {
    fn unwrap(body: &mut SetExpr) {
        while let SetExpr::Query(query) = body {
            let is_bare = query.with.is_none() && query.order_by.is_none() && query.limit_clause.is_none() && query.fetch.is_none();
            // Brackets around another UNION say in which order they are taken.
            if !is_bare || matches!(*query.body, SetExpr::SetOperation { .. }) {
                return;
            }
            *body = (*query.body).clone();
        }
        if let SetExpr::SetOperation { left, right, .. } = body {
            Unwrapper::unwrap(left);
            Unwrapper::unwrap(right);
        }
    }
}

impl VisitorMut for Unwrapper {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        Unwrapper::unwrap(&mut query.body);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for from in &mut select.from {
            // Only the first of a chain: brackets further on say in which order to join.
            while let TableFactor::NestedJoin { table_with_joins, alias: None } = &from.relation {
                let mut inner = (**table_with_joins).clone();
                inner.joins.append(&mut from.joins);
                *from = inner;
            }
        }
        ControlFlow::Continue(())
    }
}

/// Whether a lambda has a parameter of one of these names, which then means its own.
fn hides_any(query: &Query, names: &[String]) -> bool {
    let mut found = false;
    let flow = sqlparser::ast::visit_expressions(query, |part| {
        if let Expr::Lambda(lambda) = part {
            found |= lambda.params.iter().any(|parameter| names.iter().any(|name| name.eq_ignore_ascii_case(&parameter.name.value)));
        }
        ControlFlow::<()>::Continue(())
    });
    debug_assert!(flow.is_continue());
    found
}

/// Whether a query may read one of its steps by a text, as `query_table('ranked')` does: it would see the rows of all combinations.
fn names_a_step(query: &Query) -> bool {
    let names: Vec<&str> = query.with.iter().flat_map(|with| &with.cte_tables).map(|step| step.alias.name.value.as_str()).collect();
    let mut found = false;
    let flow = sqlparser::ast::visit_expressions(query, |part| {
        if let Expr::Value(value) = part
            && let Value::SingleQuotedString(text) = &value.value
        {
            found |= names.iter().any(|name| name.eq_ignore_ascii_case(text));
        }
        ControlFlow::<()>::Continue(())
    });
    debug_assert!(flow.is_continue());
    found
}

/// Takes out of a query what a text may be read by: guards, and whether it is NULL.
struct Unguarded<'a> {
    names: &'a [String],
}

impl VisitorMut for Unguarded<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        let is_safe = match &*expression {
            Expr::Function(function) => guarded(function, self.names).is_some() || is_in_order(function, self.names),
            Expr::IsNull(inner) | Expr::IsNotNull(inner) => matches!(inner.as_ref(), Expr::Identifier(_)),
            _ => false,
        };
        if is_safe {
            *expression = Expr::Value(Value::Null.with_empty_span());
        }
        ControlFlow::Continue(())
    }
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
        match expression {
            Expr::Function(function) => {
                if let Some(over) = &function.over {
                    self.note(&function.args);
                    if let WindowType::WindowSpec(window) = over {
                        self.note_window(window);
                    }
                }
            }
            // A column of the grid in the place of a list's name would be one name more.
            Expr::CompoundFieldAccess { root, .. } => self.note(root.as_ref()),
            _ => {}
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

pub(super) fn reads_any(part: &impl Visit, names: &[String]) -> bool {
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
    guards: Vec<Guard>,
    /// Guards that stood alone: conditions of a combination.
    conditions: Vec<Expr>,
}

/// What a threshold is read through: asked once for each combination.
#[derive(Debug, Clone)]
struct Guard {
    /// Its column of the grid.
    column: String,
    threshold: String,
    expression: Expr,
}

fn lift(mut query: Query, thresholds: &[String], values: &HashMap<String, Vec<String>>) -> Option<Lifted> {
    let mut lifting = Lifting {
        thresholds,
        values,
        steps: HashMap::new(),
        of_bars: vec!["visible_bars".to_owned()],
        columns: 0,
        guards: Vec::new(),
        conditions: Vec::new(),
    };
    if let Some(with) = &mut query.with {
        if with.recursive {
            return None;
        }
        for step in &mut with.cte_tables {
            let name = step.alias.name.value.to_lowercase();
            if lifting.reads_bars(&step.query) && !is_grouped(&step.query) {
                lifting.of_bars.push(name.clone());
            }
            if let Some(kind) = lifting.query(&mut step.query)? {
                // Names for all of its columns would leave none for those that are added.
                if !step.alias.columns.is_empty() {
                    return None;
                }
                lifting.steps.insert(name, kind);
            }
        }
    }
    let with = query.with.take();
    let kind = lifting.query(&mut query)?;
    if let Kind::Pending(conditions) = kind? {
        let name = Ident::new("stockscan_hits");
        query.order_by = None;
        let derived = lifting.derived(&format!("({query})"), &name, &conditions, None)?;
        query = parsed(&format!("SELECT {name}.* FROM {derived}"))?;
    }
    query.with = with;
    Some(Lifted { query, guards: lifting.guards, conditions: lifting.conditions })
}

fn parsed(sql: &str) -> Option<Query> {
    match Parser::parse_sql(&DuckDbDialect {}, sql).ok()?.pop()? {
        Statement::Query(query) => Some(*query),
        _ => None,
    }
}

fn is_grouped(query: &Query) -> bool {
    match query.body.as_ref() {
        SetExpr::Select(select) => !matches!(&select.group_by, GroupByExpr::Expressions(expressions, _) if expressions.is_empty()),
        _ => false,
    }
}

/// A step that the thresholds have to do with.
#[derive(Debug, Clone)]
enum Kind {
    /// It has its rows once, with columns beside its own that these conditions, which are still to be asked, are made of.
    Pending(Vec<Expr>),
    /// It has its rows for each combination.
    Lifted,
}

/// Stands for the relation with the columns of a condition that is still to be asked.
const STEP: &str = "stockscan_step";
/// The place of a row in the order of a window.
const ORDER: &str = "stockscan_order";

struct Lifting<'a> {
    thresholds: &'a [String],
    values: &'a HashMap<String, Vec<String>>,
    steps: HashMap<String, Kind>,
    /// Relations with a row for each bar: far too many to have them for each combination.
    of_bars: Vec<String>,
    /// How many columns were added.
    columns: usize,
    guards: Vec<Guard>,
    conditions: Vec<Expr>,
}

impl Lifting<'_> {
    /// Rewrites a step: what it became, `Some(None)` if the thresholds have nothing to do with it, `None` if it cannot be.
    #[expect(clippy::option_option, reason = "the outer one is failure, for the question mark")]
    fn query(&mut self, query: &mut Query) -> Option<Option<Kind>> {
        let sources = self.count(query, Lifting::is_step);
        let reads_thresholds = reads_any(query, self.thresholds);
        if sources == 0 && !reads_thresholds {
            return Some(None);
        }
        let is_plain = query.with.is_none() && query.limit_clause.is_none() && query.fetch.is_none() && query.pipe_operators.is_empty();
        let reads_bars = self.reads_bars(query);
        let SetExpr::Select(select) = query.body.as_mut() else { return None };
        let has_projection = !matches!(select.flavor, SelectFlavor::FromFirstNoSelect);
        if !is_plain || !has_projection || reads_bars || select.having.is_some() || select.top.is_some() || !select.lateral_views.is_empty()
        {
            return None;
        }
        if let Some(conditions) = self.pending(select, sources)? {
            return Some(Some(Kind::Pending(conditions)));
        }
        self.select(select, sources)?;
        Some(Some(Kind::Lifted))
    }

    fn reads_bars(&self, query: &Query) -> bool {
        self.count(query, |lifting, name| lifting.of_bars.contains(&last_part(name).to_lowercase())) > 0
    }

    fn is_step(&self, name: &ObjectName) -> bool {
        name.0.len() == 1 && self.steps.contains_key(&last_part(name).to_lowercase())
    }

    /// How many times a part reads certain relations.
    fn count(&self, part: &impl Visit, is_one: impl Fn(&Self, &ObjectName) -> bool) -> usize {
        let mut count = 0;
        let flow = sqlparser::ast::visit_relations(part, |name| {
            count += usize::from(is_one(self, name));
            ControlFlow::<()>::Continue(())
        });
        debug_assert!(flow.is_continue());
        count
    }

    /// The alias of a relation in a `FROM`, and what kind of step it is; `None` for one that cannot have more columns.
    fn source(&self, factor: &TableFactor) -> Option<(Ident, Option<Kind>)> {
        let (name, alias) = match factor {
            TableFactor::Table { name, alias, .. } | TableFactor::Function { name, alias, .. } => (last_part(name), alias),
            _ => return None,
        };
        let is_step = matches!(factor, TableFactor::Table { name, args: None, .. } if self.is_step(name));
        let kind = self.steps.get(&name.to_lowercase()).filter(|_| is_step).cloned();
        if alias.as_ref().is_some_and(|alias| !alias.columns.is_empty()) {
            return None;
        }
        Some((alias.as_ref().map_or_else(|| Ident::new(name), |alias| alias.name.clone()), kind))
    }

    /// If each row of a step is made of one row of what it reads, its conditions can wait, and so can those before it: what is computed
    /// after them is computed once. `Some(None)` if they cannot.
    #[expect(clippy::option_option, reason = "the outer one is failure, for the question mark")]
    fn pending(&mut self, select: &mut Select, sources: usize) -> Option<Option<Vec<Expr>>> {
        let [from] = select.from.as_slice() else { return Some(None) };
        let Some((alias, kind)) = self.source(&from.relation) else { return Some(None) };
        let is_row_by_row = from.joins.is_empty()
            && select.distinct.is_none()
            && select.qualify.is_none()
            && !is_grouped_select(select)
            && !has_windows(select)
            && sources <= 1
            && !matches!(kind, Some(Kind::Lifted))
            && !reads_any(&select.projection, self.thresholds);
        if !is_row_by_row {
            return Some(None);
        }
        let mut added = Vec::new();
        let mut waiting = match kind {
            Some(Kind::Pending(conditions)) => {
                if !has_wildcard(select, &alias) {
                    for name in columns_of_step(&conditions) {
                        added.push(SelectItem::ExprWithAlias { expr: column(&alias.value, &name), alias: Ident::new(name) });
                    }
                }
                conditions
            }
            _ => Vec::new(),
        };
        for mut condition in self.take_conditions(select)? {
            let mut carried = Vec::new();
            let flow = VisitMut::visit(&mut condition, &mut Carrier { lifting: self, carried: &mut carried });
            debug_assert!(flow.is_continue());
            added.extend(carried.into_iter().map(|(name, expr)| SelectItem::ExprWithAlias { expr, alias: Ident::new(name) }));
            waiting.push(condition);
        }
        select.projection.extend(added);
        Some(Some(waiting))
    }

    /// The conditions of a `SELECT` that read thresholds, taken out of it. Guards that stand alone are kept apart.
    fn take_conditions(&mut self, select: &mut Select) -> Option<Vec<Expr>> {
        let Some(selection) = select.selection.take() else { return Some(Vec::new()) };
        let mut parts = Vec::new();
        split(selection, &mut parts);
        let mut taken = Vec::new();
        let mut kept = Vec::new();
        for part in parts {
            if !reads_any(&part, self.thresholds) {
                kept.push(part);
            } else if matches!(&part, Expr::Function(function) if is_in_order(function, self.thresholds)) {
                if !self.conditions.contains(&part) {
                    self.conditions.push(part);
                }
            } else if is_intricate(&part, self.thresholds) {
                return None;
            } else {
                taken.push(part);
            }
        }
        select.selection = kept.into_iter().reduce(and);
        Some(taken)
    }

    fn select(&mut self, select: &mut Select, sources: usize) -> Option<()> {
        // One row for a combination without any cannot be made by groups.
        if !is_grouped_select(select) && has_aggregates(select) {
            return None;
        }
        let mut matches = Vec::new();
        // Conditions of a step that reads one relation are asked where that meets the grid, before windows and groups.
        let is_alone = select.from.len() == 1 && select.from[0].joins.is_empty();
        let first = self.source(&select.from.first()?.relation);
        let mut found = 0;
        if is_alone
            && let Some((alias, kind)) = &first
            && !matches!(kind, Some(Kind::Lifted))
        {
            let mut own = self.take_conditions(select)?;
            // They are asked before the names that the step gives are known.
            let names = aliases(select);
            if own.iter().any(|condition| reads_any(condition, &names)) {
                return None;
            }
            for condition in &mut own {
                self.read_from_grid(condition);
            }
            let order = self.order_of_windows(select, alias);
            let waiting = match kind {
                Some(Kind::Pending(conditions)) => conditions.iter().map(|condition| of_relation(condition, &alias.value)).collect(),
                _ => Vec::new(),
            };
            let conditions: Vec<Expr> = waiting.into_iter().chain(own).collect();
            let factor = derived_factor(&self.derived_of(&select.from[0].relation, alias, &conditions, order.as_deref())?)?;
            found += usize::from(kind.is_some());
            select.from[0].relation = factor;
            self.finish(select, vec![alias.clone()], matches)?;
            return (found == sources).then_some(());
        }

        let mut aliases: Vec<Ident> = Vec::new();
        for index in 0..select.from.len() {
            if let Some((alias, Some(kind))) = self.source(&select.from[index].relation) {
                found += 1;
                if let Kind::Pending(conditions) = &kind {
                    let conditions: Vec<Expr> = conditions.iter().map(|condition| of_relation(condition, &alias.value)).collect();
                    select.from[index].relation =
                        derived_factor(&self.derived_of(&select.from[index].relation, &alias, &conditions, None)?)?;
                }
                if let Some(first) = aliases.first() {
                    matches.push(same_combination(first, &alias));
                }
                aliases.push(alias);
            }
            for place in 0..select.from[index].joins.len() {
                let (source, operator) = {
                    let join = &select.from[index].joins[place];
                    (self.source(&join.relation), join.join_operator.clone())
                };
                let Some((alias, Some(kind))) = source else {
                    // The first lifted step must be on the side that keeps its rows.
                    if matches!(operator, JoinOperator::Right(_) | JoinOperator::RightOuter(_) | JoinOperator::FullOuter(_)) {
                        return None;
                    }
                    continue;
                };
                found += 1;
                let join = &mut select.from[index].joins[place];
                if let Kind::Pending(conditions) = &kind {
                    let conditions: Vec<Expr> = conditions.iter().map(|condition| of_relation(condition, &alias.value)).collect();
                    let text = self.derived_of(&join.relation, &alias, &conditions, None)?;
                    join.relation = derived_factor(&text)?;
                }
                let is_inner = matches!(join.join_operator, JoinOperator::Join(_) | JoinOperator::Inner(_));
                let constraint = match &mut join.join_operator {
                    JoinOperator::Join(constraint)
                    | JoinOperator::Inner(constraint)
                    | JoinOperator::Left(constraint)
                    | JoinOperator::LeftOuter(constraint) => constraint,
                    _ => return None,
                };
                let JoinConstraint::On(condition) = constraint else { return None };
                match aliases.first() {
                    Some(first) => *condition = and(condition.clone(), same_combination(first, &alias)),
                    None if is_inner => {}
                    None => return None,
                }
                aliases.push(alias);
            }
        }
        if found != sources || aliases.is_empty() {
            return None;
        }
        self.finish(select, aliases, std::mem::take(&mut matches))
    }

    /// Puts the combination of its relations into a step, and the grid where it is still read.
    fn finish(&mut self, select: &mut Select, aliases: Vec<Ident>, mut matches: Vec<Expr>) -> Option<()> {
        let first = aliases.first()?;
        let key = column(&first.value, COMBINATION);
        // The grid comes last: no relation before it can read it.
        if reads_any(&select.from, self.thresholds) {
            return None;
        }
        let is_of_all = matches!(&select.group_by, GroupByExpr::All(_));
        if is_of_all && reads_any(&select.projection, self.thresholds) {
            return None;
        }
        if reads_any(select, self.thresholds) {
            for condition in self.take_conditions(select)? {
                matches.push(condition);
            }
            let flow = VisitMut::visit(select, &mut Thresholds { names: self.thresholds, guards: &mut self.guards });
            debug_assert!(flow.is_continue());
            for condition in &mut matches {
                self.read_from_grid(condition);
            }
            matches.push(same_combination(first, &Ident::new(GRID)));
            let mut grid = Parser::new(&DuckDbDialect {}).try_with_sql(GRID).ok()?;
            select.from.push(grid.parse_table_and_joins().ok()?);
        }
        for condition in matches {
            select.selection = Some(match select.selection.take() {
                Some(present) => and(present, condition),
                None => condition,
            });
        }

        if select.projection.iter().any(|item| matches!(item, SelectItem::Wildcard(_))) {
            return None;
        }
        match aliases.iter().filter(|alias| has_wildcard(select, alias)).count() {
            // Behind the others: groups may be given by their places.
            0 => select.projection.push(SelectItem::ExprWithAlias { expr: key.clone(), alias: Ident::new(COMBINATION) }),
            1 => {}
            _ => return None,
        }
        match &mut select.group_by {
            GroupByExpr::Expressions(expressions, _) if expressions.is_empty() => {}
            GroupByExpr::Expressions(expressions, _) => {
                expressions.push(key.clone());
                // A combination has one value of each.
                expressions.extend(grid_columns(&select.projection));
                expressions.extend(grid_columns(&select.qualify));
            }
            GroupByExpr::All(_) => {}
        }
        if let Some(Distinct::On(expressions)) = &mut select.distinct {
            expressions.push(key.clone());
        }
        for window in &mut select.named_window {
            if let NamedWindowExpr::WindowSpec(window) = &mut window.1 {
                partition(window, &key);
            }
        }
        // What a step reads has windows of its own.
        let from = std::mem::take(&mut select.from);
        let flow = VisitMut::visit(select, &mut Partitioner { key: &key });
        debug_assert!(flow.is_continue());
        select.from = from;
        Some(())
    }

    fn read_from_grid(&mut self, condition: &mut Expr) {
        let flow = VisitMut::visit(condition, &mut Thresholds { names: self.thresholds, guards: &mut self.guards });
        debug_assert!(flow.is_continue());
    }

    /// The keys of the windows that number rows by more than one of a relation's columns: the rows are brought in that order once, and not again
    /// for each combination. The windows then go by the place in it.
    fn order_of_windows(&self, select: &mut Select, alias: &Ident) -> Option<String> {
        if is_grouped_select(select) {
            return None;
        }
        let hidden: Vec<String> = self.thresholds.iter().cloned().chain(aliases(select)).collect();
        let mut finder = Numbering { alias, hidden: &hidden, keys: None };
        let flow = VisitMut::visit(select, &mut finder);
        debug_assert!(flow.is_continue());
        finder.keys
    }

    /// A relation with its rows for each combination for which these conditions hold.
    fn derived_of(&self, relation: &TableFactor, alias: &Ident, conditions: &[Expr], order: Option<&str>) -> Option<String> {
        let mut bare = relation.clone();
        match &mut bare {
            TableFactor::Table { alias, .. } | TableFactor::Function { alias, .. } => *alias = None,
            _ => return None,
        }
        self.derived(&bare.to_string(), alias, conditions, order)
    }

    fn derived(&self, relation: &str, alias: &Ident, conditions: &[Expr], order: Option<&str>) -> Option<String> {
        let conditions: Vec<Expr> = conditions.iter().map(|condition| of_relation(condition, &alias.value)).collect();
        let joined = |parts: Vec<Expr>| match parts.into_iter().reduce(and) {
            Some(condition) => format!(" WHERE {condition}"),
            None => String::new(),
        };
        // Few rows meet the grid if the loosest of its values is asked for first.
        let loosest = joined(conditions.iter().filter_map(|condition| self.loosest(condition)).collect());
        let order = order.map_or(String::new(), |keys| format!(", row_number() OVER (ORDER BY {keys}) AS {ORDER}"));
        Some(format!(
            "(SELECT {GRID}.{COMBINATION}, {alias}.* FROM (SELECT {alias}.*{order} FROM {relation} AS {alias}{loosest}) AS {alias}, {GRID}{}) AS {alias}",
            joined(conditions)
        ))
    }

    /// `x >= threshold` with the least of the threshold's values, and so on.
    fn loosest(&self, condition: &Expr) -> Option<Expr> {
        let Expr::BinaryOp { left, op, right } = condition else { return None };
        let (column, other, at_least) = match op {
            BinaryOperator::GtEq | BinaryOperator::Gt => match (grid_column(right), grid_column(left)) {
                (Some(column), None) => (column, left, true),
                (None, Some(column)) => (column, right, false),
                _ => return None,
            },
            BinaryOperator::LtEq | BinaryOperator::Lt => match (grid_column(right), grid_column(left)) {
                (Some(column), None) => (column, left, false),
                (None, Some(column)) => (column, right, true),
                _ => return None,
            },
            _ => return None,
        };
        let mut reads_grid = false;
        let flow = sqlparser::ast::visit_expressions(other, |part| {
            reads_grid |= grid_column(part).is_some();
            ControlFlow::<()>::Continue(())
        });
        debug_assert!(flow.is_continue());
        if reads_grid {
            return None;
        }
        let name = match self.guards.iter().find(|guard| guard.column == column) {
            // These hand on the value that they are given.
            Some(guard) if is_number_guard(&guard.expression) => &guard.threshold,
            Some(_) => return None,
            None => &column,
        };
        // Beyond 2^53 not every whole number is a double.
        let number = |value: &String| value.parse::<f64>().ok().filter(|number| number.abs() < 9_007_199_254_740_992.0);
        let numbers = self.values.get(name)?.iter().map(number).collect::<Option<Vec<f64>>>()?;
        let loosest = numbers.into_iter().reduce(if at_least { f64::min } else { f64::max })?;
        let op = if at_least { BinaryOperator::GtEq } else { BinaryOperator::LtEq };
        Some(Expr::BinaryOp { left: other.clone(), op, right: Box::new(expression(&format!("{loosest:?}")).ok()?) })
    }
}

/// The name of a column of the grid.
fn grid_column(expression: &Expr) -> Option<String> {
    match expression {
        Expr::CompoundIdentifier(parts) if parts.len() == 2 && parts[0].value == GRID => Some(parts[1].value.clone()),
        _ => None,
    }
}

/// The columns of the grid that a part reads.
fn grid_columns(part: &impl Visit) -> Vec<Expr> {
    let mut found = Vec::new();
    let flow = sqlparser::ast::visit_expressions(part, |part| {
        if grid_column(part).is_some() && !found.contains(part) {
            found.push(part.clone());
        }
        ControlFlow::<()>::Continue(())
    });
    debug_assert!(flow.is_continue());
    found
}

/// The names that a step gives to what it computes.
fn aliases(select: &Select) -> Vec<String> {
    let alias = |item: &SelectItem| match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
        _ => None,
    };
    select.projection.iter().filter_map(alias).collect()
}

fn derived_factor(text: &str) -> Option<TableFactor> {
    Some(Parser::new(&DuckDbDialect {}).try_with_sql(text).ok()?.parse_table_and_joins().ok()?.relation)
}

fn is_grouped_select(select: &Select) -> bool {
    !matches!(&select.group_by, GroupByExpr::Expressions(expressions, _) if expressions.is_empty())
}

fn has_wildcard(select: &Select, alias: &Ident) -> bool {
    select.projection.iter().any(|item| match item {
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
            last_part(name).eq_ignore_ascii_case(&alias.value)
        }
        SelectItem::Wildcard(_) => true,
        _ => false,
    })
}

/// Whether a step looks at more rows than one, by a window or by an aggregate without groups.
fn has_windows(select: &Select) -> bool {
    let mut found = !select.named_window.is_empty();
    let flow = sqlparser::ast::visit_expressions(select, |part| {
        found |= matches!(part, Expr::Function(function) if function.over.is_some());
        ControlFlow::<()>::Continue(())
    });
    debug_assert!(flow.is_continue());
    found || has_aggregates(select)
}

fn has_aggregates(select: &Select) -> bool {
    let mut found = false;
    let flow = sqlparser::ast::visit_expressions(&select.projection, |part| {
        found |= matches!(part, Expr::Function(function) if function.over.is_none() && is_aggregate(function));
        ControlFlow::<()>::Continue(())
    });
    debug_assert!(flow.is_continue());
    found
}

/// What DuckDB calls an aggregate; nothing in the syntax tells `max(x)` from `abs(x)`.
#[rustfmt::skip]
const AGGREGATES: &[&str] = &[
    "any_value", "approx_count_distinct", "approx_quantile", "approx_top_k", "arbitrary", "arg_max", "arg_max_null",
    "arg_max_nulls_last", "arg_min", "arg_min_null", "arg_min_nulls_last", "argmax", "argmin", "array_agg", "avg", "bit_and", "bit_or",
    "bit_xor", "bitstring_agg", "bool_and", "bool_or", "combine_aggr", "corr", "count", "count_if", "count_star", "countif", "covar_pop",
    "covar_samp", "decimal_average", "entropy", "favg", "first", "fsum", "geomean", "group_concat", "histogram", "histogram_exact",
    "kahan_sum", "kurtosis", "kurtosis_pop", "last", "list", "listagg", "lttb", "mad", "max", "max_by", "mean", "median", "min",
    "min_by", "mode", "product", "quantile", "quantile_cont", "quantile_disc", "regr_avgx", "regr_avgy", "regr_count", "regr_intercept", "regr_r2",
    "regr_slope", "regr_sxx", "regr_sxy", "regr_syy", "reservoir_quantile", "sem", "series", "series_times", "skewness", "stddev",
    "stddev_pop", "stddev_samp", "string_agg", "sum", "sum_no_overflow", "sumkahan", "var_pop", "var_samp", "variance",
    "variant_group_object", "wavg", "weighted_avg",
];

fn is_aggregate(function: &Function) -> bool {
    function.filter.is_some()
        || !function.within_group.is_empty()
        || AGGREGATES.contains(&last_part(&function.name).to_lowercase().as_str())
}

/// Whether a condition has a subquery, or reads a threshold where its other parts are no columns of the step.
fn is_intricate(part: &Expr, thresholds: &[String]) -> bool {
    let mut found = false;
    let flow = sqlparser::ast::visit_expressions(part, |part| {
        found |= matches!(part, Expr::Subquery(_) | Expr::InSubquery { .. } | Expr::Exists { .. })
            || (matches!(part, Expr::Lambda(_)) && reads_any(part, thresholds));
        ControlFlow::<()>::Continue(())
    });
    debug_assert!(flow.is_continue());
    found
}

/// A condition that waits, asked of a relation.
fn of_relation(condition: &Expr, relation: &str) -> Expr {
    let mut condition = condition.clone();
    let flow = sqlparser::ast::visit_expressions_mut(&mut condition, |part| {
        if let Expr::CompoundIdentifier(parts) = part
            && parts.len() == 2
            && parts[0].value == STEP
        {
            parts[0] = Ident::new(relation);
        }
        ControlFlow::<()>::Continue(())
    });
    debug_assert!(flow.is_continue());
    condition
}

/// The columns that were added for conditions that wait.
fn columns_of_step(conditions: &[Expr]) -> Vec<String> {
    let mut names = Vec::new();
    for condition in conditions {
        let flow = sqlparser::ast::visit_expressions(condition, |part| {
            if let Expr::CompoundIdentifier(parts) = part
                && parts.len() == 2
                && parts[0].value == STEP
                && !names.contains(&parts[1].value)
            {
                names.push(parts[1].value.clone());
            }
            ControlFlow::<()>::Continue(())
        });
        debug_assert!(flow.is_continue());
    }
    names
}

/// Replaces what a condition is made of: thresholds by the grid's columns, the rest by columns that are added to the step.
struct Carrier<'a, 'b> {
    lifting: &'a mut Lifting<'b>,
    carried: &'a mut Vec<(String, Expr)>,
}

impl VisitorMut for Carrier<'_, '_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        let is_done = matches!(expression, Expr::Value(_))
            || matches!(expression, Expr::CompoundIdentifier(parts) if parts[0].value == STEP || parts[0].value == GRID);
        if is_done {
            return ControlFlow::Continue(());
        }
        if reads_any(expression, self.lifting.thresholds) {
            let mut reader = Thresholds { names: self.lifting.thresholds, guards: &mut self.lifting.guards };
            return reader.pre_visit_expr(expression);
        }
        let name = format!("stockscan_column_{}", self.lifting.columns);
        self.lifting.columns += 1;
        let carried = std::mem::replace(expression, column(STEP, &name));
        self.carried.push((name, carried));
        ControlFlow::Continue(())
    }
}

/// Finds `row_number()` over more keys than one, all of them of one relation, and lets it go by their order.
struct Numbering<'a> {
    alias: &'a Ident,
    /// Names that the relation itself does not have.
    hidden: &'a [String],
    keys: Option<String>,
}

impl VisitorMut for Numbering<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expression
            && last_part(&function.name).eq_ignore_ascii_case("row_number")
            && let Some(WindowType::WindowSpec(window)) = &mut function.over
            && window.window_name.is_none()
            && window.window_frame.is_none()
            && window.order_by.len() > 1
            && !window.order_by.iter().any(|key| reads_any(key, self.hidden))
        {
            let keys = window.order_by.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            if self.keys.as_ref().is_none_or(|known| *known == keys)
                && let Ok(order) = self::expression(&format!("{}.{ORDER}", self.alias))
            {
                window.order_by.truncate(1);
                window.order_by[0].expr = order;
                window.order_by[0].options.sort = None;
                // There is no NULL. But without this DuckDB numbers rows by an aggregate that keeps the first of each partition, which is
                // quicker where there is memory and dies where there is not.
                window.order_by[0].options.nulls_first = Some(true);
                self.keys = Some(keys);
            }
        }
        ControlFlow::Continue(())
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

/// The threshold that a guard reads: its first argument, whose name is its last one, a text. What lies between must be known with the grid.
fn guarded(function: &Function, thresholds: &[String]) -> Option<String> {
    let arguments = plain_arguments(function)?;
    let (Expr::Identifier(first), Expr::Value(last)) = (arguments.first()?, arguments.last()?) else { return None };
    let name = thresholds.iter().find(|name| name.eq_ignore_ascii_case(&first.value))?;
    let is_named = matches!(&last.value, Value::SingleQuotedString(text) if text.eq_ignore_ascii_case(name));
    (is_named && is_of_parameters(&arguments, thresholds)).then(|| name.clone())
}

/// Whether a function says that two parameters are in order.
fn is_in_order(function: &Function, thresholds: &[String]) -> bool {
    last_part(&function.name).eq_ignore_ascii_case("in_order")
        && plain_arguments(function).is_some_and(|arguments| is_of_parameters(&arguments, thresholds))
}

/// Whether literals and thresholds are all that these read, not a column or a subquery.
fn is_of_parameters(arguments: &[&Expr], thresholds: &[String]) -> bool {
    let mut others = false;
    for argument in arguments {
        let flow = sqlparser::ast::visit_expressions(*argument, |part| {
            others |= match part {
                Expr::Identifier(identifier) => !thresholds.iter().any(|name| name.eq_ignore_ascii_case(&identifier.value)),
                Expr::CompoundIdentifier(_) | Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => true,
                _ => false,
            };
            ControlFlow::<()>::Continue(())
        });
        debug_assert!(flow.is_continue());
    }
    !others
}

fn plain_arguments(function: &Function) -> Option<Vec<&Expr>> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let argument = |argument| match argument {
        &FunctionArg::Unnamed(FunctionArgExpr::Expr(ref expression)) => Some(expression),
        _ => None,
    };
    if function.over.is_some() { None } else { list.args.iter().map(argument).collect() }
}

fn is_number_guard(expression: &Expr) -> bool {
    const GUARDS: [&str; 4] = ["number_in_range", "number_in_range_or_null", "integer_in_range", "integer_in_range_or_null"];
    matches!(expression, Expr::Function(function) if GUARDS.contains(&last_part(&function.name).to_lowercase().as_str()))
}

/// Puts the grid's columns in the place of thresholds, and of their guards, which are asked once for each combination.
struct Thresholds<'a> {
    names: &'a [String],
    guards: &'a mut Vec<Guard>,
}

impl VisitorMut for Thresholds<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        let found = match &*expression {
            Expr::Identifier(identifier) => self.names.iter().find(|name| name.eq_ignore_ascii_case(&identifier.value)).cloned(),
            Expr::Function(function) => guarded(function, self.names).map(|threshold| {
                let known = self.guards.iter().find(|guard| guard.expression == *expression).map(|guard| guard.column.clone());
                known.unwrap_or_else(|| {
                    let column = format!("stockscan_guarded_{}", self.guards.len());
                    self.guards.push(Guard { column: column.clone(), threshold, expression: expression.clone() });
                    column
                })
            }),
            _ => None,
        };
        if let Some(name) = found {
            *expression = column(GRID, &name);
        }
        ControlFlow::Continue(())
    }
}
