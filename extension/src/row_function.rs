//! Scalar functions that turn the texts of one row into one value, checked as early as their arguments are known.

use std::{
    any::Any as StdAny,
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::duckdb::{
    DuckDBType, Error, Result,
    bind_arguments::BindArguments,
    connection::{Context, FFILink},
    data_chunk::VectorCollection,
    enums::FunctionProperty,
    extension::Extension,
    logical_type::LogicalType,
    scalar::{ScalarBindCallbacks, ScalarCallbacks, ScalarFunctionBuilder},
    signature::{FunctionDocumentationBuilder, FunctionParameter, SignatureBuilder},
    types::Any,
    value::Value,
    vector::{OwnedVectorElement, Unknown, Vector},
};

/// Runs a callback so that a panic in it is an error of this query. DuckDB would take a panic for a corrupt process and refuse every
/// later query on the database.
///
/// # Errors
/// What the callback returns, or the panic's message.
pub fn caught<T>(function: &str, callback: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(callback)).unwrap_or_else(|panic| {
        let message = message(panic.as_ref());
        Err(Error::invalid_input(format!(
            "{function} failed on an error of its own, which should be reported: {message}. Nothing was changed"
        )))
    })
}

fn message(panic: &(dyn StdAny + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

/// A function's result type: one that is written as it is.
pub(crate) trait Output: DuckDBType + OwnedVectorElement + 'static {}
impl<T: DuckDBType + OwnedVectorElement + 'static> Output for T {}

/// What a row's value is made of: its arguments as text, `None` for NULL.
pub(crate) type Compute<R> = fn(&[Option<&str>]) -> std::result::Result<Option<R>, String>;

/// A scalar function over arguments of any type, read as text so that messages can quote them.
///
/// Arguments are parameters of a query, so nearly always constants; reading them value by value costs nothing that matters.
pub(crate) struct RowFunction<R: Output> {
    /// Name in SQL.
    pub(crate) name: &'static str,
    /// Parameters in order.
    pub(crate) parameters: &'static [&'static str],
    /// For the catalogue.
    pub(crate) description: &'static str,
    /// For the catalogue; run as a test.
    pub(crate) example: &'static str,
    /// A row's value.
    pub(crate) compute: Compute<R>,
}

impl<R: Output> RowFunction<R> {
    pub(crate) fn register(self, extension: &Extension) -> Result<()> {
        let documentation =
            FunctionDocumentationBuilder::new().description(self.description).add_example("", self.example).add_category("blocks");
        let mut signature = SignatureBuilder::new().documentation(documentation).return_type(R::logical_type(extension)?);
        for parameter in self.parameters {
            signature = signature.param(FunctionParameter::new::<Any>(*parameter));
        }
        ScalarFunctionBuilder::new(self.name, signature, self)
            .set_property(FunctionProperty::HasSpecialNullHandling(true))
            .with_bind()
            .register(extension)
    }

    fn value(&self, texts: &[Option<String>]) -> Result<Option<R>> {
        let arguments: Vec<_> = texts.iter().map(Option::as_deref).collect();
        (self.compute)(&arguments).map_err(Error::invalid_input)
    }
}

pub(crate) fn as_text(value: &Value, context: &Context, text: &LogicalType) -> Result<Option<String>> {
    if value.is_null()? { Ok(None) } else { context.value_cast(value, text)?.get::<String>() }
}

impl<R: Output> ScalarCallbacks for RowFunction<R> {
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
        caught(self.name, || {
            let rows = vectors.row_count()?;
            let inputs = (0..self.parameters.len()).map(|index| vectors.get_untyped_vector_at(index)).collect::<Result<Vec<_>>>()?;
            let text = String::logical_type(context)?;
            let mut output = output.cast::<R>()?;
            output.set_size(rows)?;
            let mut writer = output.writer()?;
            for row in 0..rows {
                let texts = inputs.iter().map(|input| as_text(&input.get_value_slow(row)?, context, &text)).collect::<Result<Vec<_>>>()?;
                writer.set_ref(row, self.value(&texts)?.as_ref())?;
            }
            Ok(())
        })
    }
}

impl<R: Output> ScalarBindCallbacks for RowFunction<R> {
    /// Raises the error of constant arguments while the query is planned, so that it does not depend on there being a row.
    fn bind(&self, context: &Context, arguments: BindArguments<'_>) -> Result<()> {
        caught(self.name, || {
            let text = String::logical_type(context)?;
            let mut texts = Vec::with_capacity(self.parameters.len());
            for index in 0..arguments.len()? {
                let Some(value) = arguments.value(index)? else { return Ok(()) };
                texts.push(as_text(&value, context, &text)?);
            }
            self.value(&texts).map(|_| ())
        })
    }
}
