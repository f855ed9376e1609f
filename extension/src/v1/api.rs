//! The functions of DuckDB's v1 C API that are used here, as DuckDB hands them out when it loads the extension.

use std::{
    ffi::{CStr, c_char, c_void},
    ptr::addr_of,
    sync::OnceLock,
};

use libduckdb_sys::{
    duckdb_bind_info, duckdb_client_context, duckdb_connection, duckdb_data_chunk, duckdb_database, duckdb_date, duckdb_decimal,
    duckdb_delete_callback_t, duckdb_error_data, duckdb_expression, duckdb_ext_api_v1, duckdb_extension_access, duckdb_extension_info,
    duckdb_function_info, duckdb_hugeint, duckdb_interval, duckdb_logical_type, duckdb_result, duckdb_scalar_function,
    duckdb_scalar_function_bind_t, duckdb_scalar_function_t, duckdb_state, duckdb_time, duckdb_timestamp, duckdb_type, duckdb_uhugeint,
    duckdb_value, duckdb_vector, idx_t,
};

/// What the extension needs; every DuckDB since 1.2 has it at the same place.
pub(super) const VERSION: &CStr = c"v1.2.0";
/// Since then the functions that bind have their place for good.
const BINDS_SINCE: &[u32] = &[1, 5, 6];

macro_rules! functions {
    ($table:ident, $($name:ident($($argument:ty),*) $(-> $result:ty)?;)*) => {
        pub(super) struct $table {
            $(pub(super) $name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl $table {
            /// # Safety
            /// DuckDB's table must reach to the last of these.
            unsafe fn read(table: *const duckdb_ext_api_v1) -> Option<Self> {
                // SAFETY: the caller's.
                unsafe { Some(Self { $($name: addr_of!((*table).$name).read()?,)* }) }
            }
        }
    };
}

functions! { Api,
    duckdb_connect(duckdb_database, *mut duckdb_connection) -> duckdb_state;
    duckdb_disconnect(*mut duckdb_connection);
    duckdb_library_version() -> *const c_char;
    duckdb_query(duckdb_connection, *const c_char, *mut duckdb_result) -> duckdb_state;
    duckdb_destroy_result(*mut duckdb_result);
    duckdb_result_error(*mut duckdb_result) -> *const c_char;
    duckdb_row_count(*mut duckdb_result) -> idx_t;
    duckdb_free(*mut c_void);
    duckdb_create_bool(bool) -> duckdb_value;
    duckdb_create_int8(i8) -> duckdb_value;
    duckdb_create_int16(i16) -> duckdb_value;
    duckdb_create_int32(i32) -> duckdb_value;
    duckdb_create_int64(i64) -> duckdb_value;
    duckdb_create_uint8(u8) -> duckdb_value;
    duckdb_create_uint16(u16) -> duckdb_value;
    duckdb_create_uint32(u32) -> duckdb_value;
    duckdb_create_uint64(u64) -> duckdb_value;
    duckdb_create_hugeint(duckdb_hugeint) -> duckdb_value;
    duckdb_create_uhugeint(duckdb_uhugeint) -> duckdb_value;
    duckdb_create_decimal(duckdb_decimal) -> duckdb_value;
    duckdb_create_float(f32) -> duckdb_value;
    duckdb_create_double(f64) -> duckdb_value;
    duckdb_create_date(duckdb_date) -> duckdb_value;
    duckdb_create_time(duckdb_time) -> duckdb_value;
    duckdb_create_timestamp(duckdb_timestamp) -> duckdb_value;
    duckdb_create_timestamp_tz(duckdb_timestamp) -> duckdb_value;
    duckdb_create_interval(duckdb_interval) -> duckdb_value;
    duckdb_create_varchar_length(*const c_char, idx_t) -> duckdb_value;
    duckdb_create_enum_value(duckdb_logical_type, u64) -> duckdb_value;
    duckdb_destroy_value(*mut duckdb_value);
    duckdb_get_varchar(duckdb_value) -> *mut c_char;
    duckdb_is_null_value(duckdb_value) -> bool;
    duckdb_get_value_type(duckdb_value) -> duckdb_logical_type;
    duckdb_get_list_size(duckdb_value) -> idx_t;
    duckdb_get_list_child(duckdb_value, idx_t) -> duckdb_value;
    duckdb_get_struct_child(duckdb_value, idx_t) -> duckdb_value;
    duckdb_create_logical_type(duckdb_type) -> duckdb_logical_type;
    duckdb_create_list_type(duckdb_logical_type) -> duckdb_logical_type;
    duckdb_create_struct_type(*mut duckdb_logical_type, *mut *const c_char, idx_t) -> duckdb_logical_type;
    duckdb_destroy_logical_type(*mut duckdb_logical_type);
    duckdb_get_type_id(duckdb_logical_type) -> duckdb_type;
    duckdb_decimal_width(duckdb_logical_type) -> u8;
    duckdb_decimal_scale(duckdb_logical_type) -> u8;
    duckdb_decimal_internal_type(duckdb_logical_type) -> duckdb_type;
    duckdb_enum_internal_type(duckdb_logical_type) -> duckdb_type;
    duckdb_array_type_array_size(duckdb_logical_type) -> idx_t;
    duckdb_struct_type_child_count(duckdb_logical_type) -> idx_t;
    duckdb_struct_type_child_name(duckdb_logical_type, idx_t) -> *mut c_char;
    duckdb_data_chunk_get_column_count(duckdb_data_chunk) -> idx_t;
    duckdb_data_chunk_get_vector(duckdb_data_chunk, idx_t) -> duckdb_vector;
    duckdb_data_chunk_get_size(duckdb_data_chunk) -> idx_t;
    duckdb_vector_get_column_type(duckdb_vector) -> duckdb_logical_type;
    duckdb_vector_get_data(duckdb_vector) -> *mut c_void;
    duckdb_vector_get_validity(duckdb_vector) -> *mut u64;
    duckdb_vector_ensure_validity_writable(duckdb_vector);
    duckdb_vector_assign_string_element_len(duckdb_vector, idx_t, *const c_char, idx_t);
    duckdb_list_vector_get_child(duckdb_vector) -> duckdb_vector;
    duckdb_list_vector_get_size(duckdb_vector) -> idx_t;
    duckdb_list_vector_set_size(duckdb_vector, idx_t) -> duckdb_state;
    duckdb_list_vector_reserve(duckdb_vector, idx_t) -> duckdb_state;
    duckdb_struct_vector_get_child(duckdb_vector, idx_t) -> duckdb_vector;
    duckdb_array_vector_get_child(duckdb_vector) -> duckdb_vector;
    duckdb_create_scalar_function() -> duckdb_scalar_function;
    duckdb_destroy_scalar_function(*mut duckdb_scalar_function);
    duckdb_scalar_function_set_name(duckdb_scalar_function, *const c_char);
    duckdb_scalar_function_set_special_handling(duckdb_scalar_function);
    duckdb_scalar_function_add_parameter(duckdb_scalar_function, duckdb_logical_type);
    duckdb_scalar_function_set_return_type(duckdb_scalar_function, duckdb_logical_type);
    duckdb_scalar_function_set_extra_info(duckdb_scalar_function, *mut c_void, duckdb_delete_callback_t);
    duckdb_scalar_function_set_function(duckdb_scalar_function, duckdb_scalar_function_t);
    duckdb_register_scalar_function(duckdb_connection, duckdb_scalar_function) -> duckdb_state;
    duckdb_scalar_function_get_extra_info(duckdb_function_info) -> *mut c_void;
    duckdb_scalar_function_set_error(duckdb_function_info, *const c_char);
}

functions! { BindApi,
    duckdb_scalar_function_set_bind(duckdb_scalar_function, duckdb_scalar_function_bind_t);
    duckdb_scalar_function_bind_set_error(duckdb_bind_info, *const c_char);
    duckdb_scalar_function_get_client_context(duckdb_bind_info, *mut duckdb_client_context);
    duckdb_destroy_client_context(*mut duckdb_client_context);
    duckdb_scalar_function_bind_get_extra_info(duckdb_bind_info) -> *mut c_void;
    duckdb_scalar_function_bind_get_argument_count(duckdb_bind_info) -> idx_t;
    duckdb_scalar_function_bind_get_argument(duckdb_bind_info, idx_t) -> duckdb_expression;
    duckdb_destroy_expression(*mut duckdb_expression);
    duckdb_expression_return_type(duckdb_expression) -> duckdb_logical_type;
    duckdb_expression_is_foldable(duckdb_expression) -> bool;
    duckdb_expression_fold(duckdb_client_context, duckdb_expression, *mut duckdb_value) -> duckdb_error_data;
    duckdb_destroy_error_data(*mut duckdb_error_data);
}

static API: OnceLock<Api> = OnceLock::new();
static BIND_API: OnceLock<BindApi> = OnceLock::new();

/// The functions; an entrypoint has read them before anything else runs.
pub(super) fn api() -> &'static Api {
    #[expect(clippy::expect_used, reason = "nothing of ours is called before it is loaded")]
    API.get().expect("DuckDB's C API is there once the extension is loaded")
}

/// Those that bind, where DuckDB has them.
pub(super) fn bind_api() -> Option<&'static BindApi> {
    BIND_API.get()
}

/// Takes DuckDB's functions; false if it has none for us, of which it has told the user.
///
/// # Safety
/// The arguments are those of the entrypoint.
pub(super) unsafe fn load(info: duckdb_extension_info, access: *const duckdb_extension_access) -> Result<bool, String> {
    // SAFETY: the caller's.
    let table = unsafe {
        let get = (*access).get_api.ok_or("DuckDB gives no access to its C API")?;
        get(info, VERSION.as_ptr()).cast::<duckdb_ext_api_v1>()
    };
    if table.is_null() {
        return Ok(false);
    }
    if API.get().is_none() {
        // SAFETY: all of them are in the part of the table that this version has promised.
        let functions = unsafe { Api::read(table) }.ok_or("DuckDB's C API lacks a function of its version 1.2")?;
        // SAFETY: the version is a constant text of DuckDB's.
        let version = unsafe { CStr::from_ptr((functions.duckdb_library_version)()) }.to_string_lossy().into_owned();
        if binds(&version) {
            // SAFETY: so do these of the version that was asked for above.
            if let Some(functions) = unsafe { BindApi::read(table) } {
                BIND_API.get_or_init(|| functions);
            }
        }
        API.get_or_init(|| functions);
    }
    Ok(true)
}

/// Whether the table of this version of DuckDB reaches to the functions that bind.
fn binds(version: &str) -> bool {
    let numbers: Vec<u32> = version.trim_start_matches('v').split(['.', '-']).map_while(|number| number.parse().ok()).collect();
    numbers.len() == 3 && numbers.as_slice() >= BINDS_SINCE
}
