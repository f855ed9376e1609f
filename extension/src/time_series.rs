//! `series(value, ts)` and `series_times(ts)`: the values, and the times, of a group as lists in the order of time, which is what an
//! indicator takes.
//!
//! `list(value ORDER BY ts)` says the same, but sorts whatever comes. Stored bars are nearly always in order, so this only looks whether
//! they are, and sorts what is not.

use std::{cmp::Ordering, marker::PhantomData};

use crate::duckdb::{
    DuckDBType, Result,
    aggregate::{AggregateCallbacks, AggregateFunctionBuilder, ReturnTypeHandle, States},
    bind_arguments::BindArguments,
    connection::Context,
    data_chunk::VectorCollection,
    enums::{AggregateFunctionProperty, FunctionProperty},
    extension::Extension,
    signature::{FunctionDocumentationBuilder, FunctionParameter, SignatureBuilder},
    types::{List, TimestampValue},
    vector::{Unknown, Vector, VectorElement},
};

use crate::{
    row_function::caught,
    series::{Element, ListOutput, lay_out},
};

/// Registers both.
pub(crate) fn register(extension: &Extension) -> Result<()> {
    register_aggregate(
        extension,
        TimeSeries::<f64> { name: "series", item: PhantomData },
        "The values of a group as a list in the order of ts, ready for an indicator. The same as list(value ORDER BY ts), but what is stored \
         in order is not sorted again. A row whose ts is NULL is left out; a value that is NULL or NaN keeps its place, as NULL. Rows with \
         the same ts are in the order of their values.\n\n\
         @param value DOUBLE: a price or a volume of the bar.\n\
         @param ts TIMESTAMP: start of the bar.",
        "SELECT bar.symbol, ti_rsi(series(bar.close, bar.ts)) AS x FROM bars AS bar GROUP BY bar.symbol",
    )?;
    register_aggregate(
        extension,
        TimeSeries::<TimestampValue> { name: "series_times", item: PhantomData },
        "The times of a group as a list in their order, beside those of series(). A row whose ts is NULL is left out.\n\n\
         @param ts TIMESTAMP: start of the bar.",
        "SELECT bar.symbol, series_times(bar.ts) AS x FROM bars AS bar GROUP BY bar.symbol",
    )
}

fn register_aggregate<T: Item>(extension: &Extension, aggregate: TimeSeries<T>, description: &str, example: &str) -> Result<()> {
    let documentation = FunctionDocumentationBuilder::new().description(description).add_example("", example).add_category("blocks");
    let mut signature = SignatureBuilder::new().documentation(documentation).return_type(List::<T>::logical_type(extension)?);
    if T::HAS_TIME_BESIDE {
        signature = signature.param(FunctionParameter::new::<T>("value"));
    }
    AggregateFunctionBuilder::new(aggregate.name, signature.param(FunctionParameter::new::<TimestampValue>("ts")), aggregate)
        .set_property(FunctionProperty::HasSpecialNullHandling(true))
        .set_property(AggregateFunctionProperty::AggregateOrderDependent(false))
        .register(extension)
}

/// What can stand in a series.
trait Item: Element + DuckDBType + for<'a> VectorElement<Ref<'a> = &'a Self> + Send + Sync + 'static {
    /// Whether its time is another argument.
    const HAS_TIME_BESIDE: bool;
    /// Stands for NULL in a state.
    const MISSING: Self;
    fn is_missing(self) -> bool;
    fn compare(self, other: Self) -> Ordering;
    /// The value where it is the time itself.
    fn of_time(time: i64) -> Self;
}

impl Item for f64 {
    const HAS_TIME_BESIDE: bool = true;
    const MISSING: Self = f64::NAN;

    fn is_missing(self) -> bool {
        self.is_nan()
    }

    fn compare(self, other: Self) -> Ordering {
        self.total_cmp(&other)
    }

    fn of_time(_time: i64) -> Self {
        Self::MISSING
    }
}

impl Item for TimestampValue {
    const HAS_TIME_BESIDE: bool = false;
    const MISSING: Self = TimestampValue(i64::MIN);

    fn is_missing(self) -> bool {
        self.0 == i64::MIN
    }

    fn compare(self, other: Self) -> Ordering {
        self.0.cmp(&other.0)
    }

    fn of_time(time: i64) -> Self {
        TimestampValue(time)
    }
}

struct TimeSeries<T> {
    name: &'static str,
    item: PhantomData<T>,
}

/// The bars of one group so far.
struct State<T> {
    times: Vec<i64>,
    /// Empty where they are the times themselves.
    values: Vec<T>,
    in_order: bool,
}

impl<T: Item> State<T> {
    fn push(&mut self, time: i64, value: T) {
        self.in_order &= self.times.last().is_none_or(|last| *last < time);
        self.times.push(time);
        if T::HAS_TIME_BESIDE {
            self.values.push(value);
        }
    }

    fn append(&mut self, other: &Self) {
        self.in_order &= other.in_order && self.times.last().zip(other.times.first()).is_none_or(|(last, first)| last < first);
        self.times.extend_from_slice(&other.times);
        self.values.extend_from_slice(&other.values);
    }

    fn write(&self, places: &mut [T]) {
        if !T::HAS_TIME_BESIDE {
            places.iter_mut().zip(&self.times).for_each(|(place, time)| *place = T::of_time(*time));
            if !self.in_order {
                places.sort_by(|one, other| one.compare(*other));
            }
        } else if self.in_order {
            places.copy_from_slice(&self.values);
        } else {
            // A few runs in order, mostly, from as many threads: the sort of the standard library finds them.
            let mut bars: Vec<_> = self.times.iter().copied().zip(self.values.iter().copied()).collect();
            bars.sort_by(|(time, value), (other_time, other)| time.cmp(other_time).then_with(|| value.compare(*other)));
            bars.into_iter().zip(places).for_each(|((_, value), place)| *place = value);
        }
    }
}

impl<T: Item> AggregateCallbacks for TimeSeries<T> {
    type BindData = ();
    type StateItem = State<T>;

    fn bind(&self, _context: &Context, _arguments: BindArguments<'_>, _result_type: ReturnTypeHandle<'_>) -> Result<()> {
        Ok(())
    }

    fn init(&self, _bind_data: Option<&()>) -> State<T> {
        State { times: Vec::new(), values: Vec::new(), in_order: true }
    }

    fn update(&self, _bind_data: Option<&()>, data: &mut VectorCollection, mut states: States<'_, State<T>>) -> Result<()> {
        caught(self.name, || {
            let time_index = usize::from(T::HAS_TIME_BESIDE);
            lay_out(data, time_index + 1)?;
            let values = data.get_vector_at::<T>(0)?.reader()?;
            let times = data.get_vector_at::<TimestampValue>(time_index)?.reader()?;
            for (row, (time, value)) in times.iter().zip(values.iter()).take(states.len()).enumerate() {
                let Some(time) = time else { continue };
                states[row].push(time.0, value.map_or(T::MISSING, |value| *value));
            }
            Ok(())
        })
    }

    fn combine(&self, _bind_data: Option<&()>, source: &States<'_, State<T>>, mut target: States<'_, State<T>>) -> Result<()> {
        caught(self.name, || {
            for index in 0..source.len() {
                target[index].append(&source[index]);
            }
            Ok(())
        })
    }

    fn finalize(&self, _bind_data: Option<&()>, states: &[&State<T>], result: Vector<'_, Unknown>, result_offset: usize) -> Result<()> {
        caught(self.name, || {
            let lengths: Vec<_> = states.iter().map(|state| Some(state.times.len()).filter(|length| *length > 0)).collect();
            // SAFETY: every element is written below.
            let mut output = unsafe { ListOutput::<T>::new(result, result_offset, &lengths)? };
            let mut start = 0;
            for state in states {
                let length = state.times.len();
                let places = output.elements(start, length);
                state.write(places);
                let missing: Vec<_> = places.iter().enumerate().filter(|(_, value)| value.is_missing()).map(|(place, _)| place).collect();
                for place in missing {
                    output.set_nulls(start + place..start + place + 1);
                }
                start += length;
            }
            output.finish()
        })
    }
}
