//! The rows of a scan, as they are kept: JSON that anyone can read, and the types with which they become rows again.

use arrow::{
    array::RecordBatch,
    compute::concat_batches,
    datatypes::{DataType, Schema, SchemaRef, TimeUnit},
    error::ArrowError,
};
use stockscan_engine::{Error, Result};

/// More rows of one scan are not kept.
pub const MOST_ROWS: u64 = 100_000;

/// The rows of a scan, taken as they come.
#[derive(Debug, Clone)]
pub struct Results {
    schema: SchemaRef,
    rows: u64,
    batches: Vec<RecordBatch>,
}

impl Default for Results {
    fn default() -> Results {
        Results { schema: Schema::empty().into(), rows: 0, batches: Vec::new() }
    }
}

impl Results {
    /// Before the first row.
    pub fn begin(&mut self, schema: &SchemaRef) {
        self.schema = schema.clone();
    }

    /// Takes rows.
    pub fn take(&mut self, batch: &RecordBatch) {
        self.rows += batch.num_rows() as u64;
        if self.rows > MOST_ROWS {
            self.batches.clear();
        } else {
            self.batches.push(batch.clone());
        }
    }

    /// How many there were.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Names and types of the columns.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The rows; `None`: there are too many to keep.
    #[must_use]
    pub fn batches(&self) -> Option<&[RecordBatch]> {
        (self.rows <= MOST_ROWS).then_some(&self.batches)
    }

    /// The same in as little memory as it takes: rows as a query leaves them may hold much more.
    ///
    /// # Errors
    /// None that is known.
    pub fn compacted(&self) -> Result<Results> {
        // Only two or more are copied into one.
        let empty = [RecordBatch::new_empty(self.schema.clone())];
        let rows = concat_batches(&self.schema, self.batches.iter().chain(&empty));
        let batches = vec![rows.map_err(|error| Error::Database(error.to_string()))?];
        Ok(Results { schema: self.schema.clone(), rows: self.rows, batches: if self.batches.is_empty() { Vec::new() } else { batches } })
    }

    /// How much memory the rows take, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.batches.iter().map(RecordBatch::get_array_memory_size).sum()
    }

    /// The columns as `from_json` wants them.
    pub(crate) fn columns(&self) -> String {
        let columns = self.schema.fields().iter().map(|field| (field.name().clone(), type_of(field.data_type())));
        serde_json::Value::Object(columns.collect()).to_string()
    }

    /// The rows as an array of objects; `None`: there are too many to keep.
    ///
    /// # Errors
    /// A type that has no JSON.
    pub fn json(&self) -> Result<Option<String>> {
        let Some(batches) = self.batches() else { return Ok(None) };
        let unfit = |error: ArrowError| Error::Database(error.to_string());
        let mut writer = arrow::json::WriterBuilder::new().with_explicit_nulls(true).build::<_, arrow::json::writer::JsonArray>(Vec::new());
        for batch in batches {
            writer.write(batch).map_err(unfit)?;
        }
        writer.finish().map_err(unfit)?;
        let text = String::from_utf8(writer.into_inner()).map_err(|error| Error::Database(error.to_string()))?;
        Ok(Some(if text.is_empty() { "[]".to_owned() } else { text }))
    }
}

fn type_of(data_type: &DataType) -> serde_json::Value {
    let name = match data_type {
        DataType::Boolean => "BOOLEAN",
        DataType::Int8 => "TINYINT",
        DataType::Int16 => "SMALLINT",
        DataType::Int32 => "INTEGER",
        DataType::Int64 => "BIGINT",
        DataType::UInt8 => "UTINYINT",
        DataType::UInt16 => "USMALLINT",
        DataType::UInt32 => "UINTEGER",
        DataType::UInt64 => "UBIGINT",
        DataType::Float32 => "FLOAT",
        DataType::Float64 => "DOUBLE",
        DataType::Date32 => "DATE",
        DataType::Time64(_) => "TIME",
        DataType::Timestamp(TimeUnit::Second | TimeUnit::Millisecond | TimeUnit::Microsecond, None) => "TIMESTAMP",
        DataType::Timestamp(TimeUnit::Nanosecond, None) => "TIMESTAMP_NS",
        DataType::Timestamp(_, Some(_)) => "TIMESTAMPTZ",
        DataType::Decimal128(precision, scale) => return format!("DECIMAL({precision}, {scale})").into(),
        DataType::List(item) => return vec![type_of(item.data_type())].into(),
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|field| (field.name().clone(), type_of(field.data_type())));
            return serde_json::Value::Object(fields.collect());
        }
        _ => "VARCHAR",
    };
    name.into()
}
