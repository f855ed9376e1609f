//! Lists of numbers as slices: reading LIST arguments without copying them, and writing LIST results in place.
//!
//! Everything that touches DuckDB's memory by address stands here. What is done with the numbers does not belong here.

use std::ops::Range;

use crate::duckdb::{
    Error, Result,
    data_chunk::VectorCollection,
    types::{List, TimestampValue},
    vector::{Selection, StorageKind, Unknown, Vector, VectorElement, VectorReader, WritableVectorElement},
};

/// Makes the first arguments readable, whatever form they come in.
pub(crate) fn lay_out(vectors: &mut VectorCollection, count: usize) -> Result<()> {
    for index in 0..count {
        let mut vector = vectors.get_untyped_vector_at_mut(index)?;
        if vector.storage_kind() == StorageKind::Other {
            vector.flatten()?;
        }
    }
    Ok(())
}

/// A LIST argument.
pub(crate) struct ListColumn<'a, T: VectorElement = f64> {
    lists: VectorReader<'a, List<T>>,
    elements: VectorReader<'a, T>,
}

/// One list of it.
pub(crate) struct Series<'a, T: VectorElement = f64> {
    column: &'a ListColumn<'a, T>,
    offset: usize,
    length: usize,
}

impl<'a, T: VectorElement> ListColumn<'a, T> {
    pub(crate) fn new(vector: &'a Vector<'a, Unknown>) -> Result<Self> {
        let lists = vector.cast_ref::<List<T>>()?;
        let children = lists.children().ok_or_else(|| Error::invalid_input("a list without elements' storage"))?;
        Ok(Self { lists: lists.reader()?, elements: children.get_vector_at::<T>(0)?.reader()? })
    }

    /// The list of a row; `None` for NULL.
    pub(crate) fn get(&'a self, row: usize) -> Result<Option<Series<'a, T>>> {
        if self.lists.is_null(row)? {
            return Ok(None);
        }
        // SAFETY: the row is in bounds and not NULL, as `is_null` has checked, so its entry is initialised.
        let entry = unsafe { *self.lists.as_ptr().add(self.lists.selection().index(row)) };
        let (offset, length) = (list_position(entry.offset()), list_position(entry.length()));
        if offset.saturating_add(length) > self.elements.len() {
            return Err(Error::invalid_input("a list that reaches beyond its storage"));
        }
        Ok(Some(Series { column: self, offset, length }))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "positions in memory")]
fn list_position(value: u64) -> usize {
    value as usize
}

impl<'a, T: VectorElement> Series<'a, T> {
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// The element at a place; `None` for NULL.
    pub(crate) fn element(&self, place: usize) -> Result<Option<T::Ref<'a>>> {
        self.column.elements.get(self.offset + place)
    }
}

impl<'a> Series<'a> {
    /// The numbers where they lie, if none of them is NULL, NaN or infinite and they lie in order.
    pub(crate) fn finite(&self) -> Option<&'a [f64]> {
        let elements = &self.column.elements;
        if !matches!(elements.selection(), Selection::Identity) || elements.validity().is_some_and(|mask| !self.all_valid(mask)) {
            return None;
        }
        if self.length == 0 {
            return Some(&[]);
        }
        // SAFETY: with this selection elements lie one after the other; `get` has checked the bounds, and none is NULL.
        let numbers = unsafe { std::slice::from_raw_parts(elements.as_ptr().add(self.offset), self.length) };
        all_finite(numbers).then_some(numbers)
    }

    fn all_valid(&self, mask: &[u64]) -> bool {
        (self.offset..self.offset + self.length).all(|position| mask[position / 64] >> (position % 64) & 1 == 1)
    }

    /// The number at a place, unless it is NULL, NaN or infinite.
    pub(crate) fn number(&self, place: usize) -> Result<Option<f64>> {
        Ok(self.element(place)?.copied().filter(|number| number.is_finite()))
    }
}

/// A number that lies in DuckDB's memory as it is here.
pub(crate) trait Element: Copy + for<'a> WritableVectorElement<Write<'a> = Self> {
    /// What lies where there is NULL.
    const ZERO: Self;
}

impl Element for f64 {
    const ZERO: Self = 0.0;
}

impl Element for i32 {
    const ZERO: Self = 0;
}

impl Element for bool {
    const ZERO: Self = false;
}

impl Element for TimestampValue {
    const ZERO: Self = TimestampValue(0);
}

/// A LIST result that is filled in place: one list a row, one after the other.
pub(crate) struct ListOutput<'a, T: Element> {
    vector: Vector<'a, List<T>>,
    elements: *mut T,
    nulls: Vec<Range<usize>>,
    values: Vec<(usize, T)>,
    /// Where in the child the lists of this output start; positions count from here.
    start: usize,
    total: usize,
}

impl<'a, T: Element> ListOutput<'a, T> {
    /// Makes room for lists of these lengths in the rows from `first_row` on; `None` is a NULL instead of a list. Rows before keep theirs.
    ///
    /// # Safety
    /// Every element must be written through [`Self::elements`] or [`Self::set_nulls`] before [`Self::finish`].
    pub(crate) unsafe fn new(vector: Vector<'a, Unknown>, first_row: usize, lengths: &[Option<usize>]) -> Result<Self> {
        let mut vector = vector.cast::<List<T>>()?;
        if vector.len() < first_row + lengths.len() {
            vector.set_size(first_row + lengths.len())?;
        }
        let total = lengths.iter().flatten().sum();
        let start = match (first_row, vector.children()) {
            (1.., Some(children)) => children.get_untyped_vector_at(0)?.len(),
            _ => 0,
        };
        // SAFETY: the caller writes every element that is new.
        unsafe { vector.set_child_size(start + total)? };
        {
            let mut writer = vector.writer()?;
            let entries = writer.as_mut_ptr().cast::<[u64; 2]>();
            let mut offset = start as u64;
            for (row, length) in (first_row..).zip(lengths) {
                // SAFETY: the vector has this many rows, and an entry is an offset and a length.
                unsafe { entries.add(row).write([offset, length.unwrap_or(0) as u64]) };
                offset += length.unwrap_or(0) as u64;
            }
            for (row, _) in (first_row..).zip(lengths).filter(|(_, length)| length.is_none()) {
                writer.set(row, None)?;
            }
        }
        let mut children = vector.children_mut().ok_or_else(|| Error::invalid_input("a list without elements' storage"))?;
        let elements = children.get_vector_at_mut::<T>(0)?.writer()?.as_mut_ptr().cast::<T>();
        Ok(Self { vector, elements, nulls: Vec::new(), values: Vec::new(), start, total })
    }

    /// Elements from a position on, to be written.
    pub(crate) fn elements(&mut self, position: usize, count: usize) -> &mut [T] {
        assert!(position + count <= self.total, "elements of the child");
        if count == 0 {
            return &mut [];
        }
        // SAFETY: the child has `total` elements and is not resized while this lives; the borrow of self keeps slices apart. Any bits
        // make a number.
        unsafe { std::slice::from_raw_parts_mut(self.elements.add(self.start + position), count) }
    }

    /// Makes elements NULL.
    pub(crate) fn set_nulls(&mut self, positions: Range<usize>) {
        self.elements(positions.start, positions.len()).fill(T::ZERO);
        self.nulls.push(positions);
    }

    /// Gives an element a value again.
    pub(crate) fn set(&mut self, position: usize, value: T) {
        self.values.push((position, value));
    }

    pub(crate) fn finish(mut self) -> Result<()> {
        if self.nulls.is_empty() {
            return Ok(());
        }
        let mut children = self.vector.children_mut().ok_or_else(|| Error::invalid_input("a list without elements' storage"))?;
        let mut child = children.get_vector_at_mut::<T>(0)?;
        let mut writer = child.writer()?;
        for position in self.nulls.drain(..).flatten() {
            writer.set(self.start + position, None)?;
        }
        for (position, value) in self.values.drain(..) {
            writer.set(self.start + position, Some(value))?;
        }
        Ok(())
    }
}

impl ListOutput<'_, f64> {
    /// Makes NULL what is NaN or infinite among these elements.
    pub(crate) fn set_not_finite_null(&mut self, position: usize, count: usize) {
        if all_finite(self.elements(position, count)) {
            return;
        }
        for place in position..position + count {
            if !self.elements(place, 1)[0].is_finite() {
                self.nulls.push(place..place + 1);
            }
        }
    }
}

/// Without a branch in the loop, so that it is vectorised: a product with zero is NaN for what is not finite.
fn all_finite(numbers: &[f64]) -> bool {
    let mut probes = [0.0; 8];
    let (chunks, rest) = numbers.as_chunks::<8>();
    for chunk in chunks {
        for (probe, number) in probes.iter_mut().zip(chunk) {
            *probe += number * 0.0;
        }
    }
    probes.iter().sum::<f64>() == 0.0 && rest.iter().all(|number| number.is_finite())
}
