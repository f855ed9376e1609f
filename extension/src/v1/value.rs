//! Types and values, with the names that the v2 API's crate has for them.

use std::{
    ffi::{CStr, CString, c_char},
    rc::Rc,
};

use libduckdb_sys::{
    DUCKDB_TYPE_DUCKDB_TYPE_ANY, DUCKDB_TYPE_DUCKDB_TYPE_ARRAY, DUCKDB_TYPE_DUCKDB_TYPE_BIGINT, DUCKDB_TYPE_DUCKDB_TYPE_BLOB,
    DUCKDB_TYPE_DUCKDB_TYPE_BOOLEAN, DUCKDB_TYPE_DUCKDB_TYPE_DATE, DUCKDB_TYPE_DUCKDB_TYPE_DECIMAL, DUCKDB_TYPE_DUCKDB_TYPE_DOUBLE,
    DUCKDB_TYPE_DUCKDB_TYPE_ENUM, DUCKDB_TYPE_DUCKDB_TYPE_FLOAT, DUCKDB_TYPE_DUCKDB_TYPE_HUGEINT, DUCKDB_TYPE_DUCKDB_TYPE_INTEGER,
    DUCKDB_TYPE_DUCKDB_TYPE_INTERVAL, DUCKDB_TYPE_DUCKDB_TYPE_INVALID, DUCKDB_TYPE_DUCKDB_TYPE_LIST, DUCKDB_TYPE_DUCKDB_TYPE_MAP,
    DUCKDB_TYPE_DUCKDB_TYPE_SMALLINT, DUCKDB_TYPE_DUCKDB_TYPE_SQLNULL, DUCKDB_TYPE_DUCKDB_TYPE_STRUCT, DUCKDB_TYPE_DUCKDB_TYPE_TIME,
    DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP, DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP_TZ, DUCKDB_TYPE_DUCKDB_TYPE_TINYINT,
    DUCKDB_TYPE_DUCKDB_TYPE_UBIGINT, DUCKDB_TYPE_DUCKDB_TYPE_UHUGEINT, DUCKDB_TYPE_DUCKDB_TYPE_UINTEGER, DUCKDB_TYPE_DUCKDB_TYPE_USMALLINT,
    DUCKDB_TYPE_DUCKDB_TYPE_UTINYINT, DUCKDB_TYPE_DUCKDB_TYPE_VARCHAR, duckdb_date, duckdb_decimal, duckdb_hugeint, duckdb_interval,
    duckdb_logical_type, duckdb_string_t, duckdb_time, duckdb_timestamp, duckdb_type, duckdb_uhugeint, duckdb_value, duckdb_vector,
};

use super::{
    Error, Result,
    api::api,
    vector::{is_valid, text_of},
};

macro_rules! type_ids {
    ($($name:ident $constant:ident $text:literal,)*) => {
        /// Which type it is, whatever its elements are.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum LogicalTypeID {
            $($name,)*
            /// Of a parameter that has no value yet.
            Unknown,
            /// One that nothing here is done with.
            Other,
        }

        impl LogicalTypeID {
            fn of(id: duckdb_type) -> Self {
                match id {
                    $($constant => Self::$name,)*
                    DUCKDB_TYPE_DUCKDB_TYPE_INVALID => Self::Unknown,
                    _ => Self::Other,
                }
            }

            fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Unknown => "of no type",
                    Self::Other => "of another type",
                }
            }
        }
    };
}

type_ids! {
    Boolean DUCKDB_TYPE_DUCKDB_TYPE_BOOLEAN "BOOLEAN",
    TinyInt DUCKDB_TYPE_DUCKDB_TYPE_TINYINT "TINYINT",
    SmallInt DUCKDB_TYPE_DUCKDB_TYPE_SMALLINT "SMALLINT",
    Integer DUCKDB_TYPE_DUCKDB_TYPE_INTEGER "INTEGER",
    BigInt DUCKDB_TYPE_DUCKDB_TYPE_BIGINT "BIGINT",
    HugeInt DUCKDB_TYPE_DUCKDB_TYPE_HUGEINT "HUGEINT",
    UTinyInt DUCKDB_TYPE_DUCKDB_TYPE_UTINYINT "UTINYINT",
    USmallInt DUCKDB_TYPE_DUCKDB_TYPE_USMALLINT "USMALLINT",
    UInteger DUCKDB_TYPE_DUCKDB_TYPE_UINTEGER "UINTEGER",
    UBigInt DUCKDB_TYPE_DUCKDB_TYPE_UBIGINT "UBIGINT",
    UHugeInt DUCKDB_TYPE_DUCKDB_TYPE_UHUGEINT "UHUGEINT",
    Decimal DUCKDB_TYPE_DUCKDB_TYPE_DECIMAL "DECIMAL",
    Float DUCKDB_TYPE_DUCKDB_TYPE_FLOAT "FLOAT",
    Double DUCKDB_TYPE_DUCKDB_TYPE_DOUBLE "DOUBLE",
    Date DUCKDB_TYPE_DUCKDB_TYPE_DATE "DATE",
    Time DUCKDB_TYPE_DUCKDB_TYPE_TIME "TIME",
    Timestamp DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP "TIMESTAMP",
    TimestampTz DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP_TZ "TIMESTAMP WITH TIME ZONE",
    Interval DUCKDB_TYPE_DUCKDB_TYPE_INTERVAL "INTERVAL",
    Varchar DUCKDB_TYPE_DUCKDB_TYPE_VARCHAR "VARCHAR",
    Blob DUCKDB_TYPE_DUCKDB_TYPE_BLOB "BLOB",
    Enum DUCKDB_TYPE_DUCKDB_TYPE_ENUM "ENUM",
    List DUCKDB_TYPE_DUCKDB_TYPE_LIST "LIST",
    Array DUCKDB_TYPE_DUCKDB_TYPE_ARRAY "ARRAY",
    Map DUCKDB_TYPE_DUCKDB_TYPE_MAP "MAP",
    Struct DUCKDB_TYPE_DUCKDB_TYPE_STRUCT "STRUCT",
    SqlNull DUCKDB_TYPE_DUCKDB_TYPE_SQLNULL "NULL",
    Any DUCKDB_TYPE_DUCKDB_TYPE_ANY "ANY",
}

/// A type.
#[derive(Clone)]
pub(crate) struct LogicalType(Rc<TypeHandle>);

struct TypeHandle(duckdb_logical_type);

impl Drop for TypeHandle {
    fn drop(&mut self) {
        // SAFETY: it is ours and not used again.
        unsafe { (api().duckdb_destroy_logical_type)(&mut self.0) }
    }
}

impl LogicalType {
    pub(super) fn owned(handle: duckdb_logical_type) -> Self {
        Self(Rc::new(TypeHandle(handle)))
    }

    pub(super) fn simple(id: duckdb_type) -> Self {
        // SAFETY: any number makes a type, if need be one that is not valid.
        Self::owned(unsafe { (api().duckdb_create_logical_type)(id) })
    }

    pub(super) fn list(element: &Self) -> Self {
        // SAFETY: the element's type lives longer than the call.
        Self::owned(unsafe { (api().duckdb_create_list_type)(element.handle()) })
    }

    /// A STRUCT with these fields.
    pub(crate) fn structure(fields: &[(&str, LogicalType)]) -> Result<Self> {
        let names = fields.iter().map(|(name, _)| c_text(name)).collect::<Result<Vec<_>>>()?;
        let mut names: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        let mut types: Vec<duckdb_logical_type> = fields.iter().map(|(_, kind)| kind.handle()).collect();
        // SAFETY: as many names as types, all alive.
        Ok(Self::owned(unsafe { (api().duckdb_create_struct_type)(types.as_mut_ptr(), names.as_mut_ptr(), fields.len() as u64) }))
    }

    pub(super) fn handle(&self) -> duckdb_logical_type {
        self.0.0
    }

    #[expect(clippy::unnecessary_wraps, reason = "the v2 API's crate may fail here")]
    pub(crate) fn id(&self) -> Result<LogicalTypeID> {
        Ok(self.type_id())
    }

    pub(super) fn type_id(&self) -> LogicalTypeID {
        // SAFETY: the handle is alive.
        LogicalTypeID::of(unsafe { (api().duckdb_get_type_id)(self.handle()) })
    }

    #[expect(clippy::unnecessary_wraps, reason = "the v2 API's crate may fail here")]
    pub(crate) fn to_text(&self) -> Result<&'static str> {
        Ok(self.type_id().text())
    }
}

/// The names of a STRUCT's fields.
///
/// # Safety
/// The handle is that of a STRUCT's type.
unsafe fn field_names(handle: duckdb_logical_type) -> Vec<String> {
    let api = api();
    // SAFETY: the caller's; each name is ours to free.
    unsafe {
        (0..(api.duckdb_struct_type_child_count)(handle))
            .map(|index| {
                let name = (api.duckdb_struct_type_child_name)(handle, index);
                let text = CStr::from_ptr(name).to_string_lossy().into_owned();
                (api.duckdb_free)(name.cast());
                text
            })
            .collect()
    }
}

pub(super) fn c_text(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::invalid_input("a text with a zero byte in it"))
}

/// A value of any type.
#[derive(Clone)]
pub(crate) struct Value {
    kind: ValueType,
    content: Rc<Content>,
}

/// What is asked of a value's type.
#[derive(Clone)]
pub(crate) struct ValueType {
    id: LogicalTypeID,
    /// Of a STRUCT's fields.
    names: Rc<[String]>,
}

#[expect(clippy::unnecessary_wraps, reason = "the v2 API's crate may fail here")]
impl ValueType {
    pub(crate) fn id(&self) -> Result<LogicalTypeID> {
        Ok(self.id)
    }

    /// Names of a STRUCT's fields; the v2 API's crate has more of them.
    pub(crate) fn get_params(&self) -> Result<Vec<(String, ())>> {
        Ok(self.names.iter().map(|name| (name.clone(), ())).collect())
    }

    /// # Safety
    /// The handle is a type's.
    unsafe fn of(handle: duckdb_logical_type) -> Self {
        // SAFETY: the caller's.
        unsafe {
            let id = LogicalTypeID::of((api().duckdb_get_type_id)(handle));
            let names = if id == LogicalTypeID::Struct { field_names(handle) } else { Vec::new() };
            Self { id, names: names.into() }
        }
    }
}

enum Content {
    Null,
    Plain(ValueHandle),
    /// Elements of a list or values of a STRUCT.
    Nested(Vec<Value>),
}

struct ValueHandle(duckdb_value);

impl Drop for ValueHandle {
    fn drop(&mut self) {
        // SAFETY: it is ours and not used again.
        unsafe { (api().duckdb_destroy_value)(&mut self.0) }
    }
}

/// What a value is read as.
pub(crate) trait FromValue: Sized {
    fn from_value(value: &Value) -> Option<Self>;
}

impl FromValue for String {
    /// As CAST(value AS VARCHAR) has it.
    fn from_value(value: &Value) -> Option<Self> {
        value.text()
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the v2 API's crate may fail here")]
impl Value {
    fn new(kind: ValueType, content: Content) -> Self {
        Self { kind, content: Rc::new(content) }
    }

    pub(crate) fn is_null(&self) -> Result<bool> {
        Ok(matches!(*self.content, Content::Null))
    }

    pub(crate) fn get<T: FromValue>(&self) -> Result<Option<T>> {
        Ok(T::from_value(self))
    }

    pub(crate) fn logical_type(&self) -> Result<ValueType> {
        Ok(self.kind.clone())
    }

    /// Elements of a list or values of a STRUCT.
    pub(crate) fn children(&self) -> Result<Vec<Value>> {
        Ok(match &*self.content {
            Content::Nested(values) => values.clone(),
            Content::Null | Content::Plain(_) => Vec::new(),
        })
    }

    fn text(&self) -> Option<String> {
        match &*self.content {
            Content::Null => None,
            Content::Plain(handle) => {
                // SAFETY: the value is alive; the text is ours to free.
                unsafe {
                    let text = (api().duckdb_get_varchar)(handle.0);
                    if text.is_null() {
                        return None;
                    }
                    let owned = CStr::from_ptr(text).to_string_lossy().into_owned();
                    (api().duckdb_free)(text.cast());
                    Some(owned)
                }
            }
            Content::Nested(values) => {
                let show = |value: &Value| value.text().unwrap_or_else(|| "NULL".to_owned());
                let shown = values.iter().map(show);
                Some(match self.kind.id {
                    LogicalTypeID::Map => {
                        let entry = |entry: &Value| match &*entry.content {
                            Content::Nested(pair) => pair.iter().map(show).collect::<Vec<_>>().join("="),
                            Content::Null | Content::Plain(_) => show(entry),
                        };
                        format!("{{{}}}", values.iter().map(entry).collect::<Vec<_>>().join(", "))
                    }
                    LogicalTypeID::Struct => {
                        let fields = self.kind.names.iter().zip(shown);
                        format!("{{{}}}", fields.map(|(name, value)| format!("'{name}': {value}")).collect::<Vec<_>>().join(", "))
                    }
                    _ => format!("[{}]", shown.collect::<Vec<_>>().join(", ")),
                })
            }
        }
    }

    /// One that DuckDB has made, which is ours from now on.
    ///
    /// # Safety
    /// The handle is a value's.
    pub(super) unsafe fn from_handle(handle: duckdb_value) -> Self {
        let api = api();
        let handle = ValueHandle(handle);
        // SAFETY: the value is alive; its type belongs to it.
        unsafe {
            let kind = ValueType::of((api.duckdb_get_value_type)(handle.0));
            let content = match kind.id {
                _ if (api.duckdb_is_null_value)(handle.0) => Content::Null,
                LogicalTypeID::List => Content::Nested(
                    (0..(api.duckdb_get_list_size)(handle.0))
                        .map(|index| Self::from_handle((api.duckdb_get_list_child)(handle.0, index)))
                        .collect(),
                ),
                LogicalTypeID::Struct => Content::Nested(
                    (0..kind.names.len() as u64).map(|index| Self::from_handle((api.duckdb_get_struct_child)(handle.0, index))).collect(),
                ),
                _ => Content::Plain(handle),
            };
            Self::new(kind, content)
        }
    }

    /// What stands in a row of a vector.
    ///
    /// # Safety
    /// The vector is alive, flat and has this row.
    pub(super) unsafe fn at(vector: duckdb_vector, row: usize) -> Result<Self> {
        let api = api();
        // SAFETY: the caller's, and the type tells what lies in the vector.
        unsafe {
            let logical_type = LogicalType::owned((api.duckdb_vector_get_column_type)(vector));
            let kind = ValueType::of(logical_type.handle());
            if kind.id == LogicalTypeID::SqlNull || !is_valid((api.duckdb_vector_get_validity)(vector), row) {
                return Ok(Self::new(kind, Content::Null));
            }
            let data = (api.duckdb_vector_get_data)(vector);
            macro_rules! read {
                ($kind:ty) => {
                    data.cast::<$kind>().add(row).read()
                };
            }
            let handle = match kind.id {
                LogicalTypeID::Boolean => (api.duckdb_create_bool)(read!(bool)),
                LogicalTypeID::TinyInt => (api.duckdb_create_int8)(read!(i8)),
                LogicalTypeID::SmallInt => (api.duckdb_create_int16)(read!(i16)),
                LogicalTypeID::Integer => (api.duckdb_create_int32)(read!(i32)),
                LogicalTypeID::BigInt => (api.duckdb_create_int64)(read!(i64)),
                LogicalTypeID::HugeInt => (api.duckdb_create_hugeint)(read!(duckdb_hugeint)),
                LogicalTypeID::UTinyInt => (api.duckdb_create_uint8)(read!(u8)),
                LogicalTypeID::USmallInt => (api.duckdb_create_uint16)(read!(u16)),
                LogicalTypeID::UInteger => (api.duckdb_create_uint32)(read!(u32)),
                LogicalTypeID::UBigInt => (api.duckdb_create_uint64)(read!(u64)),
                LogicalTypeID::UHugeInt => (api.duckdb_create_uhugeint)(read!(duckdb_uhugeint)),
                LogicalTypeID::Decimal => {
                    let number = match (api.duckdb_decimal_internal_type)(logical_type.handle()) {
                        DUCKDB_TYPE_DUCKDB_TYPE_SMALLINT => i128::from(read!(i16)),
                        DUCKDB_TYPE_DUCKDB_TYPE_INTEGER => i128::from(read!(i32)),
                        DUCKDB_TYPE_DUCKDB_TYPE_BIGINT => i128::from(read!(i64)),
                        _ => read!(i128),
                    };
                    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the two halves of the number")]
                    let value = duckdb_hugeint { lower: number as u64, upper: (number >> 64) as i64 };
                    (api.duckdb_create_decimal)(duckdb_decimal {
                        width: (api.duckdb_decimal_width)(logical_type.handle()),
                        scale: (api.duckdb_decimal_scale)(logical_type.handle()),
                        value,
                    })
                }
                LogicalTypeID::Float => (api.duckdb_create_float)(read!(f32)),
                LogicalTypeID::Double => (api.duckdb_create_double)(read!(f64)),
                LogicalTypeID::Date => (api.duckdb_create_date)(read!(duckdb_date)),
                LogicalTypeID::Time => (api.duckdb_create_time)(read!(duckdb_time)),
                LogicalTypeID::Timestamp => (api.duckdb_create_timestamp)(read!(duckdb_timestamp)),
                LogicalTypeID::TimestampTz => (api.duckdb_create_timestamp_tz)(read!(duckdb_timestamp)),
                LogicalTypeID::Interval => (api.duckdb_create_interval)(read!(duckdb_interval)),
                LogicalTypeID::Varchar => {
                    let text = text_of(&*data.cast::<duckdb_string_t>().add(row))?;
                    (api.duckdb_create_varchar_length)(text.as_ptr().cast(), text.len() as u64)
                }
                LogicalTypeID::Enum => {
                    let place = match (api.duckdb_enum_internal_type)(logical_type.handle()) {
                        DUCKDB_TYPE_DUCKDB_TYPE_UTINYINT => u64::from(read!(u8)),
                        DUCKDB_TYPE_DUCKDB_TYPE_USMALLINT => u64::from(read!(u16)),
                        _ => u64::from(read!(u32)),
                    };
                    (api.duckdb_create_enum_value)(logical_type.handle(), place)
                }
                // A MAP is stored as a list of its entries.
                LogicalTypeID::List | LogicalTypeID::Map => {
                    let [offset, length] = read!([u64; 2]);
                    return Self::elements(kind, (api.duckdb_list_vector_get_child)(vector), offset, length);
                }
                LogicalTypeID::Array => {
                    let length = (api.duckdb_array_type_array_size)(logical_type.handle());
                    return Self::elements(kind, (api.duckdb_array_vector_get_child)(vector), row as u64 * length, length);
                }
                LogicalTypeID::Struct => {
                    let values = (0..kind.names.len() as u64)
                        .map(|index| Self::at((api.duckdb_struct_vector_get_child)(vector, index), row))
                        .collect::<Result<_>>()?;
                    return Ok(Self::new(kind, Content::Nested(values)));
                }
                _ => {
                    return Err(Error::invalid_input(
                        "a value of a type that cannot be used as an argument here; expected a number, a text, a date, a time, a list or a \
                         STRUCT of these",
                    ));
                }
            };
            Ok(Self::new(kind, Content::Plain(ValueHandle(handle))))
        }
    }

    /// # Safety
    /// As for `at`, of all these places of the child.
    unsafe fn elements(kind: ValueType, child: duckdb_vector, offset: u64, length: u64) -> Result<Self> {
        #[expect(clippy::cast_possible_truncation, reason = "positions in memory")]
        let places = offset as usize..(offset + length) as usize;
        // SAFETY: the caller's.
        let values = places.map(|place| unsafe { Self::at(child, place) }).collect::<Result<_>>()?;
        Ok(Self::new(kind, Content::Nested(values)))
    }
}
