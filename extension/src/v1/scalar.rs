//! Scalar functions, described as the v2 API's crate has it.
//!
//! The v1 API knows neither names nor defaults of arguments, nor documentation. So a function is registered under a name that nobody calls,
//! and a macro with the parameters stands before it: see [`super::catalog`].

use std::{
    any::Any as StdAny,
    ffi::{CString, c_void},
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
};

use libduckdb_sys::{
    duckdb_bind_info, duckdb_client_context, duckdb_data_chunk, duckdb_expression, duckdb_function_info, duckdb_value, duckdb_vector,
};

use super::{
    Error, Result, ToValue,
    api::{BindApi, api, bind_api},
    catalog::{Documentation, Extension},
    value::{LogicalType, Value, c_text},
    vector::{DuckDBType, FFILink, Unknown, Vector, VectorCollection},
};

/// What a function is called within.
pub(crate) struct Context;

impl FFILink for Context {}

/// What DuckDB's catalogue is to say of a function.
#[derive(Default)]
pub(crate) struct FunctionDocumentationBuilder(Documentation);

impl FunctionDocumentationBuilder {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn description(mut self, description: impl Into<String>) -> Self {
        self.0.description = description.into();
        self
    }

    pub(crate) fn add_example(mut self, _title: &str, example: impl Into<String>) -> Self {
        self.0.examples.push(example.into());
        self
    }

    pub(crate) fn add_category(mut self, category: impl Into<String>) -> Self {
        self.0.categories.push(category.into());
        self
    }
}

/// One parameter.
pub(crate) struct FunctionParameter {
    name: String,
    logical_type: LogicalType,
    default: Option<String>,
}

impl FunctionParameter {
    pub(crate) fn new<T: DuckDBType>(name: impl Into<String>) -> Self {
        #[expect(clippy::expect_used, reason = "none of the types here fails to be made")]
        let logical_type = T::logical_type(&Context).expect("a type");
        Self::with_type(name, logical_type)
    }

    pub(crate) fn with_type(name: impl Into<String>, logical_type: LogicalType) -> Self {
        Self { name: name.into(), logical_type, default: None }
    }

    pub(crate) fn with_default<T: DuckDBType + ToValue>(name: impl Into<String>, value: T) -> Self {
        Self::new::<T>(name).default_value(value)
    }

    pub(crate) fn default_value(mut self, value: impl ToValue) -> Self {
        self.default = Some(value.literal());
        self
    }
}

/// Parameters, result and documentation.
#[derive(Default)]
pub(crate) struct SignatureBuilder {
    parameters: Vec<FunctionParameter>,
    result: Option<LogicalType>,
    documentation: Documentation,
}

impl SignatureBuilder {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn documentation(mut self, documentation: FunctionDocumentationBuilder) -> Self {
        self.documentation = documentation.0;
        self
    }

    pub(crate) fn return_type(mut self, result: LogicalType) -> Self {
        self.result = Some(result);
        self
    }

    pub(crate) fn param(mut self, parameter: FunctionParameter) -> Self {
        self.parameters.push(parameter);
        self
    }
}

/// How DuckDB treats a function.
pub(crate) enum FunctionProperty {
    /// Whether it wants to see NULLs.
    HasSpecialNullHandling(bool),
}

/// What a function does.
pub(crate) trait ScalarCallbacks: Send + Sync + 'static {
    type BindData;
    type InitData;

    fn exec(
        &self,
        bind_data: Option<&Self::BindData>,
        init_data: Option<&mut Self::InitData>,
        context: &Context,
        vectors: &mut VectorCollection,
        output: Vector<'_, Unknown>,
    ) -> Result<()>;
}

/// What it checks when the query is planned.
pub(crate) trait ScalarBindCallbacks: ScalarCallbacks {
    fn bind(&self, context: &Context, arguments: BindArguments<'_>) -> Result<Self::BindData>;
}

/// Arguments as far as they are known before there are rows.
pub(crate) struct BindArguments<'a> {
    types: &'a [LogicalType],
    /// `None`: no constant.
    constants: &'a [Option<Value>],
}

#[expect(clippy::unnecessary_wraps, reason = "the v2 API's crate may fail here")]
impl BindArguments<'_> {
    pub(crate) fn len(&self) -> Result<usize> {
        Ok(self.types.len())
    }

    pub(crate) fn logical_type(&self, index: usize) -> Result<LogicalType> {
        self.types.get(index).cloned().ok_or_else(|| Error::invalid_input(format!("argument {index} of {}", self.types.len())))
    }

    pub(crate) fn value(&self, index: usize) -> Result<Option<Value>> {
        Ok(self.constants.get(index).cloned().flatten())
    }
}

/// A function whose callbacks are not typed any more.
trait Function {
    fn bind(&self, types: &[LogicalType], constants: &[Option<Value>]) -> Result<()>;
    fn exec(&self, vectors: &mut VectorCollection, output: Vector<'_, Unknown>) -> Result<()>;
}

struct Plain<F>(F);

impl<F: ScalarCallbacks> Function for Plain<F> {
    fn bind(&self, _: &[LogicalType], _: &[Option<Value>]) -> Result<()> {
        Ok(())
    }

    fn exec(&self, vectors: &mut VectorCollection, output: Vector<'_, Unknown>) -> Result<()> {
        self.0.exec(None, None, &Context, vectors, output)
    }
}

struct Bound<F>(F);

impl<F: ScalarBindCallbacks> Function for Bound<F> {
    fn bind(&self, types: &[LogicalType], constants: &[Option<Value>]) -> Result<()> {
        self.0.bind(&Context, BindArguments { types, constants }).map(|_| ())
    }

    /// Types are checked again, for a DuckDB that binds nothing of ours.
    fn exec(&self, vectors: &mut VectorCollection, output: Vector<'_, Unknown>) -> Result<()> {
        let types = vectors.types();
        let data = self.0.bind(&Context, BindArguments { types: &types, constants: &[] })?;
        self.0.exec(Some(&data), None, &Context, vectors, output)
    }
}

/// Registers a function.
pub(crate) struct ScalarFunctionBuilder<F> {
    name: String,
    signature: SignatureBuilder,
    function: F,
    sees_nulls: bool,
}

impl<F: ScalarCallbacks> ScalarFunctionBuilder<F> {
    pub(crate) fn new(name: impl Into<String>, signature: SignatureBuilder, function: F) -> Self {
        Self { name: name.into(), signature, function, sees_nulls: false }
    }

    pub(crate) fn set_property(mut self, property: FunctionProperty) -> Self {
        let FunctionProperty::HasSpecialNullHandling(sees_nulls) = property;
        self.sees_nulls = sees_nulls;
        self
    }

    pub(crate) fn with_bind(self) -> BoundScalarFunctionBuilder<F> {
        BoundScalarFunctionBuilder(self)
    }

    pub(crate) fn register(self, extension: &Extension) -> Result<()> {
        register(extension, self.name, self.signature, self.sees_nulls, Box::new(Plain(self.function)))
    }
}

/// Registers one that checks its arguments when the query is planned.
pub(crate) struct BoundScalarFunctionBuilder<F>(ScalarFunctionBuilder<F>);

impl<F: ScalarBindCallbacks> BoundScalarFunctionBuilder<F> {
    pub(crate) fn register(self, extension: &Extension) -> Result<()> {
        let ScalarFunctionBuilder { name, signature, function, sees_nulls } = self.0;
        register(extension, name, signature, sees_nulls, Box::new(Bound(function)))
    }
}

/// What DuckDB keeps for a function.
struct Registered(Box<dyn Function>);

fn register(extension: &Extension, name: String, signature: SignatureBuilder, sees_nulls: bool, function: Box<dyn Function>) -> Result<()> {
    let SignatureBuilder { parameters, result, documentation } = signature;
    let result = result.ok_or_else(|| Error::invalid_input(format!("{name} has no result's type")))?;
    let hidden = super::catalog::hidden(&name);
    let hidden_name = c_text(&hidden)?;
    let api = api();
    // SAFETY: the handles are alive until they are destroyed, and DuckDB copies what it is given.
    let state = unsafe {
        let mut raw = (api.duckdb_create_scalar_function)();
        (api.duckdb_scalar_function_set_name)(raw, hidden_name.as_ptr());
        for parameter in &parameters {
            (api.duckdb_scalar_function_add_parameter)(raw, parameter.logical_type.handle());
        }
        (api.duckdb_scalar_function_set_return_type)(raw, result.handle());
        if sees_nulls {
            (api.duckdb_scalar_function_set_special_handling)(raw);
        }
        (api.duckdb_scalar_function_set_extra_info)(raw, Box::into_raw(Box::new(Registered(function))).cast(), Some(forget));
        (api.duckdb_scalar_function_set_function)(raw, Some(exec));
        if let Some(binds) = bind_api() {
            (binds.duckdb_scalar_function_set_bind)(raw, Some(bind));
        }
        let state = (api.duckdb_register_scalar_function)(extension.connection(), raw);
        (api.duckdb_destroy_scalar_function)(&mut raw);
        state
    };
    if state != 0 {
        return Err(Error::invalid_input(format!("DuckDB does not take the function {hidden}; is one of this name there already?")));
    }
    extension.add_function(name, parameters.into_iter().map(|parameter| (parameter.name, parameter.default)).collect(), documentation);
    Ok(())
}

unsafe extern "C" fn forget(registered: *mut c_void) {
    // SAFETY: DuckDB hands back what `register` gave it, once.
    drop(unsafe { Box::from_raw(registered.cast::<Registered>()) });
}

/// A panic must not cross into DuckDB; what `caught` does not see of one ends here.
fn guarded(work: impl FnOnce() -> Result<()>) -> Option<CString> {
    let outcome = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic: Box<dyn StdAny + Send>| {
        drop(panic);
        Err(Error::invalid_input("stockscan failed on an error of its own, which should be reported"))
    });
    outcome.err().map(|error| CString::new(error.to_string().replace('\0', "")).unwrap_or_default())
}

unsafe extern "C" fn exec(info: duckdb_function_info, input: duckdb_data_chunk, output: duckdb_vector) {
    let api = api();
    // SAFETY: what DuckDB hands over lives until this returns.
    unsafe {
        let registered = &*(api.duckdb_scalar_function_get_extra_info)(info).cast::<Registered>();
        let message = guarded(|| {
            let mut vectors = VectorCollection::of_chunk(input);
            let rows = vectors.row_count()?;
            registered.0.exec(&mut vectors, Vector::new(output, rows))
        });
        if let Some(message) = message {
            (api.duckdb_scalar_function_set_error)(info, message.as_ptr());
        }
    }
}

unsafe extern "C" fn bind(info: duckdb_bind_info) {
    let Some(binds) = bind_api() else { return };
    // SAFETY: what DuckDB hands over lives until this returns.
    unsafe {
        let registered = &*(binds.duckdb_scalar_function_bind_get_extra_info)(info).cast::<Registered>();
        let message = guarded(|| {
            let (types, constants) = arguments(binds, info);
            registered.0.bind(&types, &constants)
        });
        if let Some(message) = message {
            (binds.duckdb_scalar_function_bind_set_error)(info, message.as_ptr());
        }
    }
}

/// Types of the arguments, and the values of those that are constant.
///
/// # Safety
/// It is called while DuckDB binds.
unsafe fn arguments(binds: &BindApi, info: duckdb_bind_info) -> (Vec<LogicalType>, Vec<Option<Value>>) {
    // SAFETY: the caller's; every handle is destroyed once.
    unsafe {
        let mut context: duckdb_client_context = ptr::null_mut();
        (binds.duckdb_scalar_function_get_client_context)(info, &mut context);
        let count = (binds.duckdb_scalar_function_bind_get_argument_count)(info);
        let found = (0..count)
            .map(|index| {
                let mut expression: duckdb_expression = (binds.duckdb_scalar_function_bind_get_argument)(info, index);
                let logical_type = LogicalType::owned((binds.duckdb_expression_return_type)(expression));
                let value = constant(binds, context, expression);
                (binds.duckdb_destroy_expression)(&mut expression);
                (logical_type, value)
            })
            .unzip();
        (binds.duckdb_destroy_client_context)(&mut context);
        found
    }
}

/// # Safety
/// The handles are alive.
unsafe fn constant(binds: &BindApi, context: duckdb_client_context, expression: duckdb_expression) -> Option<Value> {
    // SAFETY: the caller's.
    unsafe {
        if !(binds.duckdb_expression_is_foldable)(expression) {
            return None;
        }
        let mut value: duckdb_value = ptr::null_mut();
        // An expression that fails does so when it is run.
        let mut error = (binds.duckdb_expression_fold)(context, expression, &mut value);
        (binds.duckdb_destroy_error_data)(&mut error);
        (!value.is_null()).then(|| Value::from_handle(value))
    }
}
