//! The one `CREATE MACRO` of a file: signature, body, and what the body names.

use std::ops::ControlFlow;

use sqlparser::{
    ast::{
        AccessExpr, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, MacroDefinition, ObjectName, OneOrManyWithParens,
        Query, Spanned, Statement, TableFactor, UnaryOperator, Value, Visit, Visitor,
    },
    dialect::DuckDbDialect,
    keywords::Keyword,
    parser::{Parser, ParserError},
    tokenizer::{Token, TokenWithSpan, Tokenizer},
};

use crate::{Diagnostics, Kind, Literal, Parameter};

/// `integer_in_range(x, 1, 250, …)` or `one_of(x, 'long, short', …)`: a parameter read through its guard.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Guard {
    pub(crate) function: String,
    pub(crate) parameter: String,
    /// Its second argument; of `one_of` the choices.
    pub(crate) minimum: Option<Literal>,
    pub(crate) maximum: Option<Literal>,
    pub(crate) line: usize,
}

pub(crate) struct ParsedStatement {
    pub(crate) name: String,
    pub(crate) name_line: usize,
    pub(crate) kind: Kind,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) body: String,
    pub(crate) body_line: usize,
    pub(crate) uses: Uses,
}

/// What a body names.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Uses {
    /// Relations and functions that it reads rows from: last part of the name, the arguments given by name, line.
    pub(crate) relations: Vec<Relation>,
    /// Names of its own steps.
    pub(crate) steps: Vec<String>,
    /// Parameters read through a guard.
    pub(crate) guards: Vec<Guard>,
    /// Parameters read outside of a guard, with their line. Handing one on by name, `x := x`, is no reading, nor is `x IS NULL`.
    pub(crate) bare_uses: Vec<(String, usize)>,
}

/// A relation in a `FROM`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Relation {
    /// The last part of its name, in lower case.
    pub(crate) name: String,
    /// Names of the parameters handed on as they are; `None`: it is no function.
    pub(crate) handed_on: Option<Vec<String>>,
    /// Where.
    pub(crate) line: usize,
}

pub(crate) fn read(text: &str, diagnostics: &mut Diagnostics) -> Option<ParsedStatement> {
    let dialect = DuckDbDialect {};
    let tokens = match Tokenizer::new(&dialect, text).tokenize_with_location() {
        Ok(tokens) => tokens,
        Err(error) => {
            diagnostics.add(error.location.line.max(1) as usize, error.message, "SQL");
            return None;
        }
    };
    let mut statements = match Parser::new(&dialect).with_tokens_with_locations(tokens.clone()).parse_statements() {
        Ok(statements) => statements,
        Err(error) => {
            let (message, line) = message_and_line(error);
            diagnostics.add(line, message, "SQL that can be parsed");
            return None;
        }
    };
    let first_line =
        tokens.iter().find(|token| !matches!(token.token, Token::Whitespace(_))).map_or(1, |token| token.span.start.line as usize);
    if statements.len() != 1 {
        diagnostics.add(first_line, format!("{} statements", statements.len()), "one CREATE MACRO");
        return None;
    }
    let Some(Statement::CreateMacro { or_replace: false, temporary: false, name, args, definition }) = statements.pop() else {
        diagnostics.add(first_line, "another statement", "CREATE MACRO name(…) AS …");
        return None;
    };

    let name_line = name.span().start.line as usize;
    let mut parameters = Vec::new();
    for argument in args.unwrap_or_default() {
        let line = argument.name.span.start.line as usize;
        let default = match argument.default_expr.as_ref().map(literal) {
            None => None,
            Some(Some(default)) => Some(default),
            Some(None) => {
                diagnostics.add(line, format!("default of '{}'", argument.name.value), "NULL, a number, a text or a boolean");
                None
            }
        };
        parameters.push(Parameter { name: argument.name.value, default, line });
    }

    let mut reader = BodyReader {
        parameters: &parameters,
        lambda_parameters: Vec::new(),
        uses: Uses::default(),
        exempt: Vec::new(),
        unqualified: Vec::new(),
    };
    let (kind, flow) = match &definition {
        MacroDefinition::Expr(expression) => (Kind::Scalar, expression.visit(&mut reader)),
        MacroDefinition::Table(query) => (Kind::Table, query.visit(&mut reader)),
    };
    debug_assert!(flow.is_continue());
    for (column, line) in &reader.unqualified {
        diagnostics.add(*line, format!("unqualified column '{column}'"), format!("the relation before it, as in 'bar.{column}'"));
    }
    let uses = reader.uses;
    let (body, body_line) = body(text, &tokens);
    Some(ParsedStatement { name: name.to_string(), name_line, kind, body, body_line, parameters, uses })
}

/// sqlparser ends its messages with `at Line: 3, Column: 7`.
fn message_and_line(error: ParserError) -> (String, usize) {
    let message = match error {
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => message,
        ParserError::RecursionLimitExceeded => "SQL nested too deeply".to_owned(),
    };
    match message.rsplit_once(" at Line: ") {
        Some((text, place)) => {
            let line = place.split(',').next().and_then(|line| line.trim().parse().ok()).unwrap_or(1);
            (text.to_owned(), line)
        }
        None => (message, 1),
    }
}

/// The text behind `AS` or `AS TABLE` of the statement, and the line on which it starts.
fn body(text: &str, tokens: &[TokenWithSpan]) -> (String, usize) {
    let mut depth = 0_usize;
    let mut signature_read = false;
    let mut tokens = tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).peekable();
    while let Some(token) = tokens.next() {
        match &token.token {
            Token::LParen => depth += 1,
            Token::RParen => {
                depth = depth.saturating_sub(1);
                signature_read |= depth == 0;
            }
            Token::Word(word) if signature_read && word.keyword == Keyword::AS => {
                if tokens.peek().is_some_and(|next| matches!(&next.token, Token::Word(word) if word.keyword == Keyword::TABLE)) {
                    tokens.next();
                }
                break;
            }
            _ => {}
        }
    }
    let Some(start) = tokens.peek().map(|token| token.span.start) else {
        return (String::new(), 1);
    };
    let offset: usize = text.split_inclusive('\n').take(start.line as usize - 1).map(str::len).sum::<usize>()
        + text
            .lines()
            .nth(start.line as usize - 1)
            .map_or(0, |line| line.chars().take(start.column as usize - 1).map(char::len_utf8).sum());
    (text[offset..].trim_end().trim_end_matches(';').trim_end().to_owned(), start.line as usize)
}

/// A literal of a default or a guard; `None` for anything else.
fn literal(expression: &Expr) -> Option<Literal> {
    match expression {
        Expr::Value(value) => match &value.value {
            Value::Null => Some(Literal::Null),
            Value::Boolean(value) => Some(Literal::Boolean(*value)),
            Value::SingleQuotedString(value) => Some(Literal::Text(value.clone())),
            Value::Number(number, _) => number.parse().map(Literal::Integer).or_else(|_| number.parse().map(Literal::Double)).ok(),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match literal(expr)? {
            Literal::Integer(value) => Some(Literal::Integer(-value)),
            Literal::Double(value) => Some(Literal::Double(-value)),
            _ => None,
        },
        _ => None,
    }
}

fn is_guard(name: &str) -> bool {
    matches!(name, "integer_in_range" | "number_in_range" | "integer_in_range_or_null" | "number_in_range_or_null" | "one_of")
}

/// Walks the body and notes what the rules need.
struct BodyReader<'a> {
    parameters: &'a [Parameter],
    lambda_parameters: Vec<String>,
    uses: Uses,
    /// Places of identifiers that stand in a guard or are handed on by name.
    exempt: Vec<(u64, u64)>,
    unqualified: Vec<(String, usize)>,
}

/// The function's own name, however it is qualified or quoted.
fn last_part(name: &ObjectName) -> String {
    name.0.last().and_then(|part| part.as_ident()).map_or_else(String::new, |ident| ident.value.to_lowercase())
}

/// The parameters that a call hands on under their own name: `x := x`.
fn handed_on(arguments: &[FunctionArg]) -> Vec<String> {
    let same = |argument: &FunctionArg| match argument {
        FunctionArg::Named { name, arg: FunctionArgExpr::Expr(Expr::Identifier(value)), .. } if name.value == value.value => {
            Some(name.value.clone())
        }
        _ => None,
    };
    arguments.iter().filter_map(same).collect()
}

impl BodyReader<'_> {
    fn arguments(&mut self, called: &ObjectName, arguments: &[FunctionArg]) {
        let name = last_part(called);
        let plain = |argument: &FunctionArg| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expression)) => Some(expression.clone()),
            _ => None,
        };
        for argument in arguments {
            // `history_sessions := period` hands the parameter on; the callee guards it.
            if let FunctionArg::Named { arg: FunctionArgExpr::Expr(Expr::Identifier(value)), .. } = argument {
                self.exempt.push((value.span.start.line, value.span.start.column));
            }
        }
        if name == "in_order" {
            for value in arguments.iter().filter_map(plain) {
                if let Expr::Identifier(value) = value {
                    self.exempt.push((value.span.start.line, value.span.start.column));
                }
            }
        }
        if is_guard(&name)
            && let Some(Expr::Identifier(parameter)) = arguments.first().and_then(plain)
        {
            self.exempt.push((parameter.span.start.line, parameter.span.start.column));
            self.uses.guards.push(Guard {
                function: name,
                line: parameter.span.start.line as usize,
                parameter: parameter.value,
                minimum: arguments.get(1).and_then(plain).as_ref().and_then(literal),
                maximum: arguments.get(2).and_then(plain).as_ref().and_then(literal),
            });
        }
    }
}

impl Visitor for BodyReader<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.uses.steps.extend(query.with.iter().flat_map(|with| &with.cte_tables).map(|step| step.alias.name.value.to_lowercase()));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let (name, arguments) = match factor {
            TableFactor::Table { name, args, .. } => (name, args.as_ref().map(|arguments| arguments.args.as_slice())),
            TableFactor::Function { name, args, .. } => (name, Some(args.as_slice())),
            _ => return ControlFlow::Continue(()),
        };
        if let Some(arguments) = arguments {
            self.arguments(name, arguments);
        }
        self.uses.relations.push(Relation {
            name: last_part(name),
            handed_on: arguments.map(handed_on),
            line: name.span().start.line as usize,
        });
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        match expression {
            Expr::Function(Function { name, args: FunctionArguments::List(list), .. }) => self.arguments(name, &list.args),
            Expr::IsNull(inner) | Expr::IsNotNull(inner) => {
                if let Expr::Identifier(identifier) = inner.as_ref() {
                    self.exempt.push((identifier.span.start.line, identifier.span.start.column));
                }
            }
            // `bar.closes[1]`: what stands before a dot is a relation, what stands behind it a column or field.
            Expr::CompoundFieldAccess { root, access_chain } => {
                let mut names: Vec<&Expr> =
                    access_chain.iter().filter_map(|access| if let AccessExpr::Dot(name) = access { Some(name) } else { None }).collect();
                if let Some(AccessExpr::Dot(_)) = access_chain.first() {
                    names.push(root);
                }
                for name in names {
                    if let Expr::Identifier(identifier) = name {
                        self.exempt.push((identifier.span.start.line, identifier.span.start.column));
                    }
                }
            }
            // `{source: source}` hands the parameter on, as `source := source` does.
            Expr::Dictionary(fields) => {
                for field in fields {
                    if let Expr::Identifier(value) = field.value.as_ref()
                        && value.value == field.key.value
                    {
                        self.exempt.push((value.span.start.line, value.span.start.column));
                    }
                }
            }
            Expr::Lambda(lambda) => match &lambda.params {
                OneOrManyWithParens::One(one) => self.lambda_parameters.push(one.name.value.clone()),
                OneOrManyWithParens::Many(many) => {
                    self.lambda_parameters.extend(many.iter().map(|one| one.name.value.clone()));
                }
            },
            Expr::Identifier(identifier) => {
                let line = identifier.span.start.line as usize;
                let place = (identifier.span.start.line, identifier.span.start.column);
                if self.parameters.iter().any(|parameter| parameter.name.eq_ignore_ascii_case(&identifier.value)) {
                    if !self.exempt.contains(&place) {
                        self.uses.bare_uses.push((identifier.value.clone(), line));
                    }
                } else if !self.exempt.contains(&place) && !self.lambda_parameters.contains(&identifier.value) {
                    self.unqualified.push((identifier.value.clone(), line));
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        // A lambda's parameters are known inside of it only.
        if let Expr::Lambda(lambda) = expression {
            let count = match &lambda.params {
                OneOrManyWithParens::One(_) => 1,
                OneOrManyWithParens::Many(many) => many.len(),
            };
            self.lambda_parameters.truncate(self.lambda_parameters.len().saturating_sub(count));
        }
        ControlFlow::Continue(())
    }
}
