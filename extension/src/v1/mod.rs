//! DuckDB 1.5 and later by its v1 C API, which one file serves for many versions.
//!
//! The modules have the names of the v2 API's crate `duckdb_neo`, of which they offer what the functions of this extension use, so that
//! those are written once. What is different for a user is in [`catalog`].

mod api;
mod catalog;
pub(crate) mod scalar;
pub(crate) mod value;
pub(crate) mod vector;

use std::fmt;

/// The one kind of error that functions here have.
#[derive(Debug)]
pub struct Error(String);

impl Error {
    /// An error about what was given.
    pub fn invalid_input(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a step answers.
pub type Result<T> = std::result::Result<T, Error>;

/// A default of a parameter.
pub(crate) trait ToValue {
    /// As it stands in SQL.
    fn literal(&self) -> String;
}

macro_rules! numbers {
    ($($kind:ty),*) => {$(impl ToValue for $kind {
        fn literal(&self) -> String {
            format!("{self:?}")
        }
    })*};
}
numbers!(i32, i64, f64);

impl ToValue for &str {
    fn literal(&self) -> String {
        format!("'{}'", self.replace('\'', "''"))
    }
}

pub(crate) use catalog::qualified_calls;
pub(crate) use vector::DuckDBType;

pub(crate) mod bind_arguments {
    pub(crate) use super::scalar::BindArguments;
}
pub(crate) mod connection {
    pub(crate) use super::{scalar::Context, vector::FFILink};
}
pub(crate) mod data_chunk {
    pub(crate) use super::vector::VectorCollection;
}
pub(crate) mod enums {
    pub(crate) use super::scalar::FunctionProperty;
}
pub(crate) mod extension {
    pub(crate) use super::catalog::Extension;
}
pub(crate) mod logical_type {
    pub(crate) use super::value::{LogicalType, LogicalTypeID};
}
pub(crate) mod signature {
    pub(crate) use super::scalar::{FunctionDocumentationBuilder, FunctionParameter, SignatureBuilder};
}
pub(crate) mod types {
    pub(crate) use super::vector::{Any, DateValue, List, TimeValue, TimestampTzValue, TimestampValue};
}
