//! Rows that a command looks into itself: for a text about them, or a drawing.

use std::{sync::Arc, time::Duration};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    compute::{cast, concat_batches},
    datatypes::{DataType, Float64Type},
    error::ArrowError,
    util::display::{ArrayFormatter, FormatOptions},
};
use stockscan_engine::{Engine, Error, Query, Result};

/// All rows of a query.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) batch: RecordBatch,
}

impl Rows {
    /// Runs a query.
    pub(crate) fn of(engine: &Engine, query: &Query, deadline: Option<Duration>) -> Result<Rows> {
        let (schema, batches) = engine.collect(query, deadline)?;
        Ok(Rows { batch: concat_batches(&schema, &batches).map_err(|error| unfit(&error))? })
    }

    pub(crate) fn len(&self) -> usize {
        self.batch.num_rows()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.batch.schema().fields().iter().map(|field| field.name().clone()).collect()
    }

    /// A column's numbers.
    pub(crate) fn numbers(&self, column: &str) -> Result<Vec<Option<f64>>> {
        let numbers = cast(self.column(column)?, &DataType::Float64).map_err(|error| unfit(&error))?;
        Ok(numbers.as_primitive::<Float64Type>().iter().collect())
    }

    /// A column's values as texts.
    pub(crate) fn texts(&self, column: &str) -> Result<Vec<Option<String>>> {
        let column = self.column(column)?;
        let formatter = ArrayFormatter::try_new(column.as_ref(), &FormatOptions::default()).map_err(|error| unfit(&error))?;
        Ok((0..column.len()).map(|row| column.is_valid(row).then(|| formatter.value(row).to_string())).collect())
    }

    /// A number of the first row.
    pub(crate) fn number(&self, column: &str) -> Result<Option<f64>> {
        Ok(self.numbers(column)?.into_iter().next().flatten())
    }

    /// A text of the first row.
    pub(crate) fn text(&self, column: &str) -> Result<Option<String>> {
        Ok(self.texts(column)?.into_iter().next().flatten())
    }

    /// Whether a column holds numbers with fractions.
    pub(crate) fn is_fractional(&self, column: &str) -> bool {
        self.batch.column_by_name(column).is_some_and(|column| *column.data_type() == DataType::Float64)
    }

    /// Only these columns.
    pub(crate) fn only(&self, columns: &[&str]) -> Result<Rows> {
        let schema = self.batch.schema();
        let places: Vec<usize> = columns.iter().filter_map(|name| schema.index_of(name).ok()).collect();
        Ok(Rows { batch: self.batch.project(&places).map_err(|error| unfit(&error))? })
    }

    fn column(&self, name: &str) -> Result<&Arc<dyn Array>> {
        self.batch.column_by_name(name).ok_or_else(|| Error::Database(format!("no column '{name}'; there are {}", self.names().join(", "))))
    }
}

fn unfit(error: &ArrowError) -> Error {
    Error::Database(error.to_string())
}
