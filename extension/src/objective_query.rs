//! `objective_query(…)`: the SQL that gives each row of a relation the value of an objective, an expression over its columns.
//!
//! The expression comes from outside and becomes part of a statement, so it is taken apart first: columns, numbers, operators and a few functions
//! that compute one number of others, nothing else.

use std::ops::ControlFlow;

use crate::duckdb::{Result, extension::Extension};
use sqlparser::{
    ast::{
        BinaryOperator, CeilFloorKind, DateTimeField, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, UnaryOperator,
        Value, Visit, Visitor,
    },
    dialect::DuckDbDialect,
    parser::Parser,
};

use crate::row_function::RowFunction;

const NAME: &str = "objective_query";

/// What an objective may call.
const FUNCTIONS: [&str; 14] =
    ["abs", "ceil", "coalesce", "exp", "floor", "greatest", "least", "ln", "log10", "nullif", "pow", "round", "sign", "sqrt"];

/// Types of what can be compared as a number.
const NUMBERS: &str = "BOOLEAN|U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|DECIMAL.*|FLOAT|DOUBLE|.?NULL.?";

/// Registers it.
pub(crate) fn register(extension: &Extension) -> Result<()> {
    RowFunction::<String> {
        name: NAME,
        parameters: &["objective", "relation", "function_name"],
        description: "The SQL of a relation's rows with a column objective beside theirs, as query() takes it: the value of an expression of \
                      their columns, such as 'sharpe' or 'sharpe * ln(trades)'. Columns, numbers, operators, CASE, and abs, ceil, coalesce, \
                      exp, floor, greatest, least, ln, log10, nullif, pow, round, sign, sqrt may stand in it; what is no finite number is NULL.",
        example: "SELECT objective_query('sharpe * ln(trades)', 'summaries', 'optimize') AS x",
        compute: objective_query,
    }
    .register(extension)
}

fn objective_query(arguments: &[Option<&str>]) -> std::result::Result<Option<String>, String> {
    let function = arguments[2].unwrap_or(NAME);
    let expected = "expected an expression of the summary's columns, such as sharpe, sortino, mean_return_pct, profit_factor, \
                    hit_rate_pct or sharpe * ln(trades)";
    let Some(given) = arguments[0] else { return Err(format!("{function}: objective is NULL; {expected}")) };
    let refused = |reason: String| format!("{function}: objective '{given}': {reason}; {expected}");
    let mut parser = Parser::new(&DuckDbDialect {}).try_with_sql(given).map_err(|error| refused(error.to_string()))?;
    let expression = parser.parse_expr().map_err(|error| refused(error.to_string()))?;
    let rest = parser.next_token();
    if rest.token != sqlparser::tokenizer::Token::EOF {
        return Err(refused(format!("'{rest}' after its end")));
    }
    if let ControlFlow::Break(reason) = expression.visit(&mut Checker) {
        return Err(refused(reason));
    }
    let relation = arguments[1].unwrap_or_default().replace('"', "\"\"");
    // DuckDB 1.5 has no logarithm of 0, which is an infinity later: TRY makes it NULL, too.
    // A text or a date is a mistake, and none that the sessions are asked about.
    let no_number = refused("it is no number".to_owned()).replace('\'', "''");
    Ok(Some(format!(
        "SELECT judged.*, CASE WHEN isfinite(TRY_CAST(judged.raw_objective AS DOUBLE)) THEN TRY_CAST(judged.raw_objective AS DOUBLE) END AS objective \
         FROM (SELECT one_row.*, TRY({expression}) AS raw_objective FROM \"{relation}\" AS one_row) AS judged \
         WHERE CASE WHEN regexp_full_match(typeof(judged.raw_objective), '{NUMBERS}') THEN true ELSE error('{no_number}') END"
    )))
}

/// Lets nothing through that is not known.
struct Checker;

impl Visitor for Checker {
    type Break = String;

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<String> {
        match expression {
            Expr::Identifier(_) => ControlFlow::Continue(()),
            Expr::Function(function) => {
                let name = function.name.to_string().to_lowercase();
                if !FUNCTIONS.contains(&name.as_str()) {
                    return ControlFlow::Break(format!("{name}() is none of {}", FUNCTIONS.join(", ")));
                }
                if is_plain(function) { ControlFlow::Continue(()) } else { ControlFlow::Break(format!("{name}() with more than values")) }
            }
            Expr::Value(value) => match &value.value {
                Value::Number(..) | Value::Null | Value::Boolean(_) => ControlFlow::Continue(()),
                other => ControlFlow::Break(format!("{other} is no number")),
            },
            Expr::UnaryOp { op: UnaryOperator::Plus | UnaryOperator::Minus | UnaryOperator::Not, .. }
            | Expr::Ceil { field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime), .. }
            | Expr::Floor { field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime), .. }
            | Expr::Nested(_)
            | Expr::Case { .. }
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::Between { .. } => ControlFlow::Continue(()),
            Expr::BinaryOp { op, .. } if is_arithmetic(op) => ControlFlow::Continue(()),
            other => ControlFlow::Break(format!("{other} is not allowed")),
        }
    }
}

/// Whether a function is called with values and nothing else.
fn is_plain(function: &Function) -> bool {
    let FunctionArguments::List(list) = &function.args else { return false };
    function.over.is_none()
        && function.filter.is_none()
        && function.null_treatment.is_none()
        && function.within_group.is_empty()
        && matches!(function.parameters, FunctionArguments::None)
        && list.clauses.is_empty()
        && list.duplicate_treatment.is_none()
        && list.args.iter().all(|argument| matches!(argument, FunctionArg::Unnamed(FunctionArgExpr::Expr(_))))
}

/// Whether an operator makes a number of numbers, or compares them.
fn is_arithmetic(operator: &BinaryOperator) -> bool {
    matches!(
        operator,
        BinaryOperator::Plus
            | BinaryOperator::Minus
            | BinaryOperator::Multiply
            | BinaryOperator::Divide
            | BinaryOperator::DuckIntegerDivide
            | BinaryOperator::Modulo
            // A power, in DuckDB.
            | BinaryOperator::BitwiseXor
            | BinaryOperator::PGExp
            | BinaryOperator::Gt
            | BinaryOperator::GtEq
            | BinaryOperator::Lt
            | BinaryOperator::LtEq
            | BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::And
            | BinaryOperator::Or
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(objective: &str) -> std::result::Result<Option<String>, String> {
        objective_query(&[Some(objective), Some("x"), Some("optimize")])
    }

    #[test]
    fn an_expression_stays_as_it_is() {
        let sql = query("sharpe * ln(trades) - CASE WHEN max_drawdown_pct < -20 THEN 1 ELSE 0 END").unwrap_or_default().unwrap_or_default();
        assert!(sql.contains("sharpe * ln(trades) - CASE WHEN max_drawdown_pct < -20 THEN 1 ELSE 0 END"), "{sql}");
    }

    #[test]
    fn nothing_but_arithmetic_comes_through() {
        for objective in [
            "",
            "sharpe; DROP TABLE bars",
            "sharpe, trades",
            "(SELECT 1)",
            "read_text('/etc/passwd')",
            "getenv('HOME')",
            "'text'",
            "sharpe) FROM bars --",
            "sum(sharpe) OVER ()",
            "other.sharpe",
            "sharpe IN (SELECT 1)",
            "sharpe::VARCHAR",
            "CAST(sharpe AS VARCHAR)",
            "[sharpe]",
            "ln(trades) FILTER (WHERE true)",
            "coalesce(*)",
            "abs(x := 1)",
            "greatest(DISTINCT sharpe, 1)",
            "sharpe || trades",
            "@sharpe",
            "~trades",
            "floor(sharpe TO DAY)",
        ] {
            assert!(query(objective).is_err(), "{objective}");
        }
    }
}
