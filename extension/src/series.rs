//! Lists of numbers as slices: reading LIST arguments without copying them, and writing LIST results in place.
//!
//! Everything that touches DuckDB's memory by address stands here. What is done with the numbers does not belong here.

use std::ops::Range;

use duckdb_neo::{
    Error, Result,
    types::List,
    vector::{Selection, Unknown, Vector, VectorReader, WritableVectorElement},
};

/// A LIST argument.
pub(crate) struct ListColumn<'a> {
    lists: VectorReader<'a, List<f64>>,
    elements: VectorReader<'a, f64>,
}

/// One list of it.
#[derive(Clone, Copy)]
pub(crate) struct Series<'a> {
    column: &'a ListColumn<'a>,
    offset: usize,
    length: usize,
}

impl<'a> ListColumn<'a> {
    pub(crate) fn new(vector: &'a Vector<'a, Unknown>) -> Result<Self> {
        let lists = vector.cast_ref::<List<f64>>()?;
        let children = lists.children().ok_or_else(|| Error::invalid_input("a list without elements' storage"))?;
        Ok(Self { lists: lists.reader()?, elements: children.get_vector_at::<f64>(0)?.reader()? })
    }

    /// The list of a row; `None` for NULL.
    pub(crate) fn get(&'a self, row: usize) -> Result<Option<Series<'a>>> {
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

impl<'a> Series<'a> {
    pub(crate) fn len(&self) -> usize {
        self.length
    }

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
        Ok(self.column.elements.get(self.offset + place)?.copied().filter(|number| number.is_finite()))
    }
}

/// A number that lies in DuckDB's memory as it is here.
pub(crate) trait Element: Copy + Default + for<'a> WritableVectorElement<Write<'a> = Self> {}
impl Element for f64 {}
impl Element for i32 {}

/// A LIST result that is filled in place: one list a row, one after the other.
pub(crate) struct ListOutput<'a, T: Element> {
    vector: Vector<'a, List<T>>,
    elements: *mut T,
    nulls: Vec<Range<usize>>,
    values: Vec<(usize, T)>,
    total: usize,
}

impl<'a, T: Element> ListOutput<'a, T> {
    /// Makes room for lists of these lengths; `None` is a NULL instead of a list.
    ///
    /// # Safety
    /// Every element must be written through [`Self::elements`] or [`Self::set_nulls`] before [`Self::finish`].
    pub(crate) unsafe fn new(vector: Vector<'a, Unknown>, lengths: &[Option<usize>]) -> Result<Self> {
        let mut vector = vector.cast::<List<T>>()?;
        vector.set_size(lengths.len())?;
        let total = lengths.iter().flatten().sum();
        // SAFETY: the caller writes every element.
        unsafe { vector.set_child_size(total)? };
        {
            let mut writer = vector.writer()?;
            let entries = writer.as_mut_ptr().cast::<[u64; 2]>();
            let mut offset = 0;
            for (row, length) in lengths.iter().enumerate() {
                // SAFETY: the vector has this many rows, and an entry is an offset and a length.
                unsafe { entries.add(row).write([offset, length.unwrap_or(0) as u64]) };
                offset += length.unwrap_or(0) as u64;
            }
            for row in lengths.iter().enumerate().filter(|(_, length)| length.is_none()).map(|(row, _)| row) {
                writer.set(row, None)?;
            }
        }
        let mut children = vector.children_mut().ok_or_else(|| Error::invalid_input("a list without elements' storage"))?;
        let elements = children.get_vector_at_mut::<T>(0)?.writer()?.as_mut_ptr().cast::<T>();
        Ok(Self { vector, elements, nulls: Vec::new(), values: Vec::new(), total })
    }

    /// Elements from a position on, to be written.
    pub(crate) fn elements(&mut self, position: usize, count: usize) -> &mut [T] {
        assert!(position + count <= self.total, "elements of the child");
        if count == 0 {
            return &mut [];
        }
        // SAFETY: the child has `total` elements and is not resized while this lives; the borrow of self keeps slices apart. Any bits
        // make a number.
        unsafe { std::slice::from_raw_parts_mut(self.elements.add(position), count) }
    }

    /// Makes elements NULL.
    pub(crate) fn set_nulls(&mut self, positions: Range<usize>) {
        self.elements(positions.start, positions.len()).fill(T::default());
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
            writer.set(position, None)?;
        }
        for (position, value) in self.values.drain(..) {
            writer.set(position, Some(value))?;
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
