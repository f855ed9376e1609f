//! The macros made of `sql/`: the build script checks the files and writes them down, this registers them.

/// A file of `sql/`.
#[derive(Debug)]
pub struct Function {
    /// The macro's name.
    pub name: &'static str,
    pub(crate) is_table: bool,
    pub(crate) description: &'static str,
    pub(crate) categories: &'static [&'static str],
    pub(crate) examples: &'static [&'static str],
    /// Its signature.
    pub parameters: &'static [Parameter],
    /// What stands behind `AS` or `AS TABLE`.
    pub(crate) body: &'static str,
}

/// One parameter of a signature.
#[derive(Debug)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    default: Option<Default>,
    /// `TYPE unit, range: meaning`
    pub documentation: &'static str,
}

impl Parameter {
    /// Its default as SQL.
    pub(crate) fn default_literal(&self) -> Option<String> {
        self.default.map(|default| match default {
            Default::Null => "NULL".to_owned(),
            Default::Boolean(value) => value.to_string(),
            Default::Integer(value) => value.to_string(),
            Default::Double(value) => value.to_string(),
            Default::Text(value) => format!("'{}'", value.replace('\'', "''")),
        })
    }

    /// Whether the caller must give it.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.default.is_none()
    }
}

#[derive(Debug, Clone, Copy)]
enum Default {
    Null,
    Boolean(bool),
    Integer(i64),
    Double(f64),
    Text(&'static str),
}

/// What the files of `sql/` became. DuckDB's catalogue says the same, but takes ten milliseconds to be read.
pub static FUNCTIONS: &[Function] = include!(concat!(env!("OUT_DIR"), "/functions.rs"));

#[cfg(not(feature = "loadable-v1"))]
pub(crate) use macros::register;

/// Macros of `system.main`.
#[cfg(not(feature = "loadable-v1"))]
mod macros {
    use duckdb_neo::{
        Error, Result, ToValue,
        connection::FFILink,
        extension::Extension,
        logical_type::LogicalType,
        macro_function::{MacroBody, MacroFunctionBuilder},
        signature::{FunctionDocumentationBuilder, FunctionParameter, SignatureBuilder},
        types::Any,
        value::Value,
    };

    use super::{Default, FUNCTIONS, Parameter};

    impl ToValue for Default {
        fn value<C: FFILink + ?Sized>(&self, link: &C) -> Result<Value> {
            match self {
                Default::Null => Err(Error::invalid_input("a NULL has a type of its own")),
                Default::Boolean(value) => value.value(link),
                Default::Integer(value) => match i32::try_from(*value) {
                    Ok(value) => value.value(link),
                    Err(_) => value.value(link),
                },
                Default::Double(value) => value.value(link),
                Default::Text(value) => value.value(link),
            }
        }
    }

    /// A NULL without a type: a typed one would not cast to what the body wants.
    struct Untyped(LogicalType);

    impl ToValue for Untyped {
        fn value<C: FFILink + ?Sized>(&self, link: &C) -> Result<Value> {
            Value::null(link, &self.0)
        }
    }

    /// Registers every macro. Parameters stay untyped: bodies cast them where they are used.
    pub(crate) fn register(extension: &Extension) -> Result<()> {
        // The C API has no name for this type, and DuckDB's parser, which reads its text, takes its time.
        let untyped = LogicalType::from_text(extension, "\"NULL\"")?;
        for function in FUNCTIONS {
            let mut documentation = FunctionDocumentationBuilder::new().description(function.description);
            for example in function.examples {
                documentation = documentation.add_example("", *example);
            }
            for category in function.categories {
                documentation = documentation.add_category(*category);
            }
            let mut signature = SignatureBuilder::new().documentation(documentation);
            for Parameter { name, default, .. } in function.parameters {
                let parameter = FunctionParameter::new::<Any>(*name);
                signature = signature.param(match default {
                    Some(Default::Null) => parameter.default_value(Untyped(untyped.clone())),
                    Some(default) => parameter.default_value(*default),
                    None => parameter,
                });
            }
            let body = match function.is_table {
                true => MacroBody::Table(function.body.to_owned()),
                false => MacroBody::Scalar(function.body.to_owned()),
            };
            MacroFunctionBuilder::new(function.name, signature, body).register(extension)?;
        }
        Ok(())
    }
}
