//! Vectors and what lies in them, with the names that the v2 API's crate has for them. DuckDB hands every argument over flat.

use std::{marker::PhantomData, slice};

use libduckdb_sys::{
    DUCKDB_TYPE_DUCKDB_TYPE_ANY, DUCKDB_TYPE_DUCKDB_TYPE_BIGINT, DUCKDB_TYPE_DUCKDB_TYPE_BOOLEAN, DUCKDB_TYPE_DUCKDB_TYPE_DATE,
    DUCKDB_TYPE_DUCKDB_TYPE_DOUBLE, DUCKDB_TYPE_DUCKDB_TYPE_INTEGER, DUCKDB_TYPE_DUCKDB_TYPE_TIME, DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP,
    DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP_TZ, DUCKDB_TYPE_DUCKDB_TYPE_VARCHAR, duckdb_data_chunk, duckdb_string_t, duckdb_vector,
};

use super::{
    Error, Result,
    api::api,
    value::{LogicalType, LogicalTypeID, Value},
};

/// Who can make types and cast values; here everybody.
pub(crate) trait FFILink {
    /// Every value is read as text where it is not looked at as it is.
    fn value_cast(&self, value: &Value, _text: &LogicalType) -> Result<Value> {
        Ok(value.clone())
    }
}

/// A Rust type that stands for one of DuckDB's.
pub(crate) trait DuckDBType {
    fn logical_type<C: FFILink + ?Sized>(link: &C) -> Result<LogicalType>;
}

/// A type that lies in a vector.
pub(crate) trait VectorElement: DuckDBType {
    /// As it lies there.
    type Storage: 'static;
    /// As it is read.
    type Ref<'a>;
    fn read(stored: &Self::Storage) -> Result<Self::Ref<'_>>;
}

/// A type that can be written into a vector.
pub(crate) trait WritableVectorElement: VectorElement {
    type Write<'a>;
    /// # Safety
    /// The vector is of this type and has this row.
    unsafe fn write(vector: duckdb_vector, row: usize, value: Self::Write<'_>);
}

/// One of which a reference is enough to be written.
pub(crate) trait OwnedVectorElement: WritableVectorElement {
    /// # Safety
    /// As for `write`.
    unsafe fn write_ref(vector: duckdb_vector, row: usize, value: &Self);
}

macro_rules! plain {
    ($($type:ty = $id:ident,)*) => {$(
        impl DuckDBType for $type {
            fn logical_type<C: FFILink + ?Sized>(_: &C) -> Result<LogicalType> {
                Ok(LogicalType::simple($id))
            }
        }

        impl VectorElement for $type {
            type Storage = Self;
            type Ref<'a> = &'a Self;
            fn read(stored: &Self) -> Result<&Self> {
                Ok(stored)
            }
        }

        impl WritableVectorElement for $type {
            type Write<'a> = Self;
            unsafe fn write(vector: duckdb_vector, row: usize, value: Self) {
                // SAFETY: the caller's.
                unsafe { (api().duckdb_vector_get_data)(vector).cast::<Self>().add(row).write(value) }
            }
        }

        impl OwnedVectorElement for $type {
            unsafe fn write_ref(vector: duckdb_vector, row: usize, value: &Self) {
                // SAFETY: the caller's.
                unsafe { Self::write(vector, row, *value) }
            }
        }
    )*};
}

/// Microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct TimestampValue(pub(crate) i64);
/// Microseconds since 1970 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct TimestampTzValue(pub(crate) i64);
/// Microseconds since midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct TimeValue(pub(crate) i64);
/// Days since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct DateValue(pub(crate) i32);
/// A parameter's type that takes every argument.
pub(crate) struct Any;
/// A list of elements of one type.
pub(crate) struct List<T>(PhantomData<T>);
/// What lies in a vector that has not been looked at.
pub(crate) struct Unknown;

plain! {
    f64 = DUCKDB_TYPE_DUCKDB_TYPE_DOUBLE,
    i32 = DUCKDB_TYPE_DUCKDB_TYPE_INTEGER,
    i64 = DUCKDB_TYPE_DUCKDB_TYPE_BIGINT,
    bool = DUCKDB_TYPE_DUCKDB_TYPE_BOOLEAN,
    TimestampValue = DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP,
    TimestampTzValue = DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP_TZ,
    TimeValue = DUCKDB_TYPE_DUCKDB_TYPE_TIME,
    DateValue = DUCKDB_TYPE_DUCKDB_TYPE_DATE,
}

impl DuckDBType for Any {
    fn logical_type<C: FFILink + ?Sized>(_: &C) -> Result<LogicalType> {
        Ok(LogicalType::simple(DUCKDB_TYPE_DUCKDB_TYPE_ANY))
    }
}

impl DuckDBType for String {
    fn logical_type<C: FFILink + ?Sized>(_: &C) -> Result<LogicalType> {
        Ok(LogicalType::simple(DUCKDB_TYPE_DUCKDB_TYPE_VARCHAR))
    }
}

impl VectorElement for String {
    type Storage = duckdb_string_t;
    type Ref<'a> = &'a str;
    fn read(stored: &duckdb_string_t) -> Result<&str> {
        text_of(stored)
    }
}

impl WritableVectorElement for String {
    type Write<'a> = &'a str;
    unsafe fn write(vector: duckdb_vector, row: usize, value: &str) {
        // SAFETY: the caller's; DuckDB copies the text.
        unsafe {
            (api().duckdb_vector_assign_string_element_len)(vector, row as u64, value.as_ptr().cast(), value.len() as u64);
        }
    }
}

impl OwnedVectorElement for String {
    unsafe fn write_ref(vector: duckdb_vector, row: usize, value: &String) {
        // SAFETY: the caller's.
        unsafe { Self::write(vector, row, value) }
    }
}

/// Where a list lies in the child.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct ListEntry {
    offset: u64,
    length: u64,
}

impl ListEntry {
    pub(crate) fn offset(self) -> u64 {
        self.offset
    }

    pub(crate) fn length(self) -> u64 {
        self.length
    }
}

impl<T: DuckDBType> DuckDBType for List<T> {
    fn logical_type<C: FFILink + ?Sized>(link: &C) -> Result<LogicalType> {
        Ok(LogicalType::list(&T::logical_type(link)?))
    }
}

impl<T: DuckDBType> VectorElement for List<T> {
    type Storage = ListEntry;
    type Ref<'a> = ListEntry;
    fn read(stored: &ListEntry) -> Result<ListEntry> {
        Ok(*stored)
    }
}

impl<T: DuckDBType> WritableVectorElement for List<T> {
    type Write<'a> = ListEntry;
    unsafe fn write(vector: duckdb_vector, row: usize, value: ListEntry) {
        // SAFETY: the caller's.
        unsafe { (api().duckdb_vector_get_data)(vector).cast::<ListEntry>().add(row).write(value) }
    }
}

/// The text as DuckDB stores it: short ones in place.
pub(super) fn text_of(stored: &duckdb_string_t) -> Result<&str> {
    // SAFETY: DuckDB keeps texts of up to 12 bytes in place and points to longer ones, which live as long as the vector.
    let bytes = unsafe {
        let length = stored.value.inlined.length as usize;
        let start = if length <= 12 { stored.value.inlined.inlined.as_ptr() } else { stored.value.pointer.ptr.cast_const() };
        slice::from_raw_parts(start.cast::<u8>(), length)
    };
    std::str::from_utf8(bytes).map_err(|_| Error::invalid_input("a text that is not UTF-8"))
}

/// # Safety
/// The mask is null or covers the row.
pub(super) unsafe fn is_valid(mask: *const u64, row: usize) -> bool {
    // SAFETY: the caller's.
    mask.is_null() || unsafe { mask.add(row / 64).read() } >> (row % 64) & 1 == 1
}

/// A column of values.
pub(crate) struct Vector<'a, T> {
    raw: duckdb_vector,
    rows: usize,
    element: PhantomData<(&'a (), T)>,
}

/// Whether a vector can be read as it is.
#[derive(PartialEq, Eq)]
pub(crate) enum StorageKind {
    Flat,
    /// Never met here.
    Other,
}

#[expect(clippy::unnecessary_wraps, reason = "the v2 API's crate may fail here")]
impl<'a, T> Vector<'a, T> {
    pub(super) fn new(raw: duckdb_vector, rows: usize) -> Self {
        Self { raw, rows, element: PhantomData }
    }

    fn as_of<E>(&self) -> Vector<'a, E> {
        Vector::new(self.raw, self.rows)
    }

    pub(crate) fn logical_type(&self) -> LogicalType {
        // SAFETY: the vector is alive.
        LogicalType::owned(unsafe { (api().duckdb_vector_get_column_type)(self.raw) })
    }

    pub(crate) fn storage_kind(&self) -> StorageKind {
        StorageKind::Flat
    }

    pub(crate) fn flatten(&mut self) -> Result<()> {
        match self.storage_kind() {
            StorageKind::Flat => Ok(()),
            StorageKind::Other => Err(Error::invalid_input("a vector that is not flat")),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows
    }

    /// DuckDB has made room for the rows of its chunk.
    pub(crate) fn set_size(&mut self, rows: usize) -> Result<()> {
        self.rows = rows;
        Ok(())
    }

    pub(crate) fn set_null_slow(&mut self, row: usize) -> Result<()> {
        // SAFETY: rows are in bounds; a list's or a STRUCT's own mask is made before it is written.
        unsafe { set_null(self.raw, row) };
        Ok(())
    }

    pub(crate) fn get_value_slow(&self, row: usize) -> Result<Value> {
        // SAFETY: callers ask for rows of the chunk.
        unsafe { Value::at(self.raw, row) }
    }

    /// The elements of a list or the fields of a STRUCT.
    #[expect(clippy::cast_possible_truncation, reason = "positions in memory")]
    pub(crate) fn children(&self) -> Option<VectorCollection<'a>> {
        let api = api();
        // SAFETY: each is asked of its own kind of vector.
        unsafe {
            match self.logical_type().type_id() {
                LogicalTypeID::List => {
                    let rows = (api.duckdb_list_vector_get_size)(self.raw) as usize;
                    Some(VectorCollection { vectors: vec![Vector::new((api.duckdb_list_vector_get_child)(self.raw), rows)], rows })
                }
                LogicalTypeID::Struct => {
                    let count = (api.duckdb_struct_type_child_count)(self.logical_type().handle());
                    let fields =
                        (0..count).map(|index| Vector::new((api.duckdb_struct_vector_get_child)(self.raw, index), self.rows)).collect();
                    Some(VectorCollection { vectors: fields, rows: self.rows })
                }
                _ => None,
            }
        }
    }

    pub(crate) fn children_mut(&mut self) -> Option<VectorCollection<'a>> {
        self.children()
    }
}

impl<'a> Vector<'a, Unknown> {
    pub(crate) fn cast_ref<E: VectorElement>(&self) -> Result<Vector<'a, E>> {
        let (found, expected) = (self.logical_type(), E::logical_type(&AnyLink)?);
        if found.type_id() == expected.type_id() {
            return Ok(self.as_of());
        }
        Err(Error::invalid_input(format!("a value is {}, expected {}", found.to_text()?, expected.to_text()?)))
    }

    pub(crate) fn cast<E: VectorElement>(self) -> Result<Vector<'a, E>> {
        self.cast_ref()
    }
}

struct AnyLink;
impl FFILink for AnyLink {}

#[expect(clippy::unnecessary_wraps, reason = "the v2 API's crate may fail here")]
impl<'a, T: VectorElement> Vector<'a, T> {
    pub(crate) fn reader(&self) -> Result<VectorReader<'a, T>> {
        // SAFETY: the vector is alive for 'a, which its callback is.
        unsafe {
            Ok(VectorReader {
                data: (api().duckdb_vector_get_data)(self.raw).cast::<T::Storage>(),
                mask: (api().duckdb_vector_get_validity)(self.raw),
                rows: self.rows,
                element: PhantomData,
            })
        }
    }

    pub(crate) fn writer(&mut self) -> Result<VectorWriter<'a, T>> {
        Ok(VectorWriter { raw: self.raw, rows: self.rows, element: PhantomData })
    }
}

impl<T: DuckDBType> Vector<'_, List<T>> {
    /// Makes room for elements.
    ///
    /// # Safety
    /// The caller writes all that are new.
    pub(crate) unsafe fn set_child_size(&mut self, size: usize) -> Result<()> {
        // SAFETY: it is a list's vector.
        let states = unsafe {
            [(api().duckdb_list_vector_reserve)(self.raw, size as u64), (api().duckdb_list_vector_set_size)(self.raw, size as u64)]
        };
        if states == [0, 0] { Ok(()) } else { Err(Error::invalid_input(format!("no room for {size} elements of lists"))) }
    }
}

/// # Safety
/// The vector has this row.
unsafe fn set_null(raw: duckdb_vector, row: usize) {
    // SAFETY: the caller's; the mask is there once it has been made writable.
    unsafe {
        (api().duckdb_vector_ensure_validity_writable)(raw);
        let word = (api().duckdb_vector_get_validity)(raw).add(row / 64);
        word.write(word.read() & !(1 << (row % 64)));
    }
}

/// Where the value of a row lies.
pub(crate) enum Selection {
    /// In its place.
    Identity,
}

impl Selection {
    pub(crate) fn index(&self, row: usize) -> usize {
        let Self::Identity = self;
        row
    }
}

/// Reads a vector.
pub(crate) struct VectorReader<'a, T: VectorElement> {
    data: *const T::Storage,
    mask: *const u64,
    rows: usize,
    element: PhantomData<&'a ()>,
}

impl<'a, T: VectorElement> VectorReader<'a, T> {
    pub(crate) fn len(&self) -> usize {
        self.rows
    }

    pub(crate) fn is_null(&self, row: usize) -> Result<bool> {
        if row >= self.rows {
            return Err(Error::invalid_input(format!("row {row} of {}", self.rows)));
        }
        // SAFETY: the row is in bounds.
        Ok(!unsafe { is_valid(self.mask, row) })
    }

    pub(crate) fn get(&self, row: usize) -> Result<Option<T::Ref<'a>>> {
        if self.is_null(row)? {
            return Ok(None);
        }
        // SAFETY: the row is in bounds and not NULL.
        T::read(unsafe { &*self.data.add(row) }).map(Some)
    }

    pub(crate) fn as_ptr(&self) -> *const T::Storage {
        self.data
    }

    pub(crate) fn selection(&self) -> Selection {
        Selection::Identity
    }

    /// A bit for each value that is not NULL; `None`: none is.
    pub(crate) fn validity(&self) -> Option<&'a [u64]> {
        // SAFETY: a mask that is there has a bit for each row.
        (!self.mask.is_null()).then(|| unsafe { slice::from_raw_parts(self.mask, self.rows.div_ceil(64)) })
    }
}

/// Writes a vector.
pub(crate) struct VectorWriter<'a, T> {
    raw: duckdb_vector,
    rows: usize,
    element: PhantomData<(&'a (), T)>,
}

impl<T: WritableVectorElement> VectorWriter<'_, T> {
    fn checked(&self, row: usize) -> Result<()> {
        if row < self.rows { Ok(()) } else { Err(Error::invalid_input(format!("row {row} of {}", self.rows))) }
    }

    pub(crate) fn set(&mut self, row: usize, value: Option<T::Write<'_>>) -> Result<()> {
        self.checked(row)?;
        // SAFETY: the row is in bounds, and the vector was cast to this type.
        unsafe {
            match value {
                Some(value) => {
                    T::write(self.raw, row, value);
                    set_valid(self.raw, row);
                }
                None => set_null(self.raw, row),
            }
        }
        Ok(())
    }

    pub(crate) fn set_ref(&mut self, row: usize, value: Option<&T>) -> Result<()>
    where
        T: OwnedVectorElement,
    {
        self.checked(row)?;
        // SAFETY: as in `set`.
        unsafe {
            match value {
                Some(value) => {
                    T::write_ref(self.raw, row, value);
                    set_valid(self.raw, row);
                }
                None => set_null(self.raw, row),
            }
        }
        Ok(())
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut T::Storage {
        // SAFETY: the vector is alive.
        unsafe { (api().duckdb_vector_get_data)(self.raw).cast() }
    }
}

/// A value that was NULL before is none any more.
///
/// # Safety
/// The vector has this row.
unsafe fn set_valid(raw: duckdb_vector, row: usize) {
    // SAFETY: the caller's.
    unsafe {
        let mask = (api().duckdb_vector_get_validity)(raw);
        if !mask.is_null() {
            let word = mask.add(row / 64);
            word.write(word.read() | 1 << (row % 64));
        }
    }
}

/// The columns of a chunk, the element vector of a list or the fields of a STRUCT.
pub(crate) struct VectorCollection<'a> {
    vectors: Vec<Vector<'a, Unknown>>,
    rows: usize,
}

#[expect(clippy::unnecessary_wraps, reason = "the v2 API's crate may fail here")]
impl<'a> VectorCollection<'a> {
    /// # Safety
    /// The chunk lives for 'a.
    #[expect(clippy::cast_possible_truncation, reason = "positions in memory")]
    pub(super) unsafe fn of_chunk(chunk: duckdb_data_chunk) -> Self {
        let api = api();
        // SAFETY: the caller's.
        unsafe {
            let rows = (api.duckdb_data_chunk_get_size)(chunk) as usize;
            let count = (api.duckdb_data_chunk_get_column_count)(chunk);
            Self { vectors: (0..count).map(|index| Vector::new((api.duckdb_data_chunk_get_vector)(chunk, index), rows)).collect(), rows }
        }
    }

    pub(crate) fn row_count(&self) -> Result<usize> {
        Ok(self.rows)
    }

    pub(super) fn types(&self) -> Vec<LogicalType> {
        self.vectors.iter().map(Vector::logical_type).collect()
    }

    pub(crate) fn get_untyped_vector_at(&self, index: usize) -> Result<&Vector<'a, Unknown>> {
        self.vectors.get(index).ok_or_else(|| Error::invalid_input(format!("column {index} of {}", self.vectors.len())))
    }

    pub(crate) fn get_untyped_vector_at_mut(&mut self, index: usize) -> Result<Vector<'a, Unknown>> {
        self.get_untyped_vector_at(index).map(Vector::as_of)
    }

    pub(crate) fn get_vector_at<T: VectorElement>(&self, index: usize) -> Result<Vector<'a, T>> {
        self.get_untyped_vector_at(index)?.cast_ref()
    }

    pub(crate) fn get_vector_at_mut<T: VectorElement>(&mut self, index: usize) -> Result<Vector<'a, T>> {
        self.get_vector_at(index)
    }

    pub(crate) fn get_vector_array_mut<const N: usize>(&mut self, indices: [usize; N]) -> Result<[Vector<'a, Unknown>; N]> {
        for index in indices {
            self.get_untyped_vector_at(index)?;
        }
        Ok(indices.map(|index| self.vectors[index].as_of()))
    }
}
