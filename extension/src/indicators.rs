//! Every function of TA-Lib as SQL functions over lists: `ti_rsi(closes, 14)` for the whole series, `ti_rsi_last(closes, 14)` for its end.
//!
//! They are registered from TA-Lib's own list of functions, so that a new one needs nothing here. How lists are read and written is in
//! [`crate::series`].

mod documentation;
mod options;

use std::{borrow::Cow, sync::LazyLock};

use crate::duckdb::{
    DuckDBType, Error, Result,
    bind_arguments::BindArguments,
    connection::Context,
    data_chunk::VectorCollection,
    enums::FunctionProperty,
    extension::Extension,
    logical_type::LogicalType,
    scalar::{ScalarBindCallbacks, ScalarCallbacks, ScalarFunctionBuilder},
    signature::{FunctionDocumentationBuilder, FunctionParameter, SignatureBuilder},
    types::{Any, List},
    value::Value,
    vector::{Unknown, Vector},
};
use ta_lib::{
    Core, RetCode,
    abstract_api::{FUNCS, FuncInfo, InputFlags, InputType, OptInputType, OutputType},
};

use self::{
    documentation::{choice_name, input_names, option_name, output_name},
    options::{Options, option_value, set_options},
};
use crate::{
    row_function::{as_text, caught},
    series::{ListColumn, ListOutput, Series, lay_out},
};

/// The prices of a bar in TA-Lib's order.
const PRICES: [(InputFlags, &str); 5] = [
    (InputFlags::PRICE_OPEN, "open"),
    (InputFlags::PRICE_HIGH, "high"),
    (InputFlags::PRICE_LOW, "low"),
    (InputFlags::PRICE_CLOSE, "close"),
    (InputFlags::PRICE_VOLUME, "volume"),
];

/// TA-Lib with its own defaults: no unstable period is cut off.
static TA_LIB: LazyLock<Core> = LazyLock::new(Core::new);

/// Registers both forms of every function.
pub(crate) fn register(extension: &Extension) -> Result<()> {
    let types = Types {
        numbers: List::<f64>::logical_type(extension)?,
        whole_numbers: List::<i32>::logical_type(extension)?,
        number: f64::logical_type(extension)?,
        whole_number: i32::logical_type(extension)?,
        any: Any::logical_type(extension)?,
    };
    for info in FUNCS {
        for form in [Form::Series, Form::Last] {
            Indicator::new(info, form).register(extension, &types)?;
        }
    }
    Ok(())
}

/// Types of arguments and results, made once: registering hundreds of functions is most of what loading costs.
struct Types {
    numbers: LogicalType,
    whole_numbers: LogicalType,
    number: LogicalType,
    whole_number: LogicalType,
    any: LogicalType,
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// A value for each bar, as a list.
    Series,
    /// The value of the last bar.
    Last,
}

struct Indicator {
    info: &'static FuncInfo,
    form: Form,
    name: String,
    /// Names of the lists that it takes.
    inputs: Vec<String>,
    /// Names of the values that it gives.
    outputs: Vec<String>,
}

/// The numbers of one output.
#[derive(Default)]
struct Buffer {
    real: Vec<f64>,
    integer: Vec<i32>,
}

/// Where the numbers of one output go.
enum Target<'a> {
    Real(&'a mut [f64]),
    Integer(&'a mut [i32]),
}

/// A result's lists.
enum Lists<'a> {
    Real(ListOutput<'a, f64>),
    Integer(ListOutput<'a, i32>),
}

impl Indicator {
    fn new(info: &'static FuncInfo, form: Form) -> Self {
        let suffix = if form == Form::Last { "_last" } else { "" };
        Self {
            info,
            form,
            name: format!("ti_{}{suffix}", info.name.to_lowercase()),
            inputs: input_names(info),
            outputs: info.outputs.iter().map(|output| output_name(output.param_name)).collect(),
        }
    }

    fn register(self, extension: &Extension, types: &Types) -> Result<()> {
        let documentation = FunctionDocumentationBuilder::new()
            .description(self.description())
            .add_example("", self.example())
            .add_category("indicators")
            .add_category(self.info.group.as_str());
        let mut signature = SignatureBuilder::new().documentation(documentation).return_type(self.return_type(extension, types)?);
        for input in &self.inputs {
            signature = signature.param(FunctionParameter::with_type(input.clone(), types.numbers.clone()));
        }
        for option in self.info.opt_inputs {
            // Of any type, so that a wrong one gets a message of ours.
            let parameter = FunctionParameter::with_type(option_name(option.param_name), types.any.clone());
            signature = signature.param(match option.kind {
                OptInputType::IntegerRange { default, .. } => parameter.default_value(default),
                OptInputType::RealRange { default, .. } | OptInputType::RealList { default, .. } => parameter.default_value(default),
                OptInputType::IntegerList { values, default } => parameter.default_value(choice_name(values, default)),
            });
        }
        ScalarFunctionBuilder::new(self.name.clone(), signature, self)
            .set_property(FunctionProperty::HasSpecialNullHandling(true))
            .with_bind()
            .register(extension)
    }

    fn return_type(&self, extension: &Extension, types: &Types) -> Result<LogicalType> {
        let kinds: Vec<_> = self
            .info
            .outputs
            .iter()
            .map(|output| match (output.kind, self.form) {
                (OutputType::Real, Form::Series) => &types.numbers,
                (OutputType::Integer, Form::Series) => &types.whole_numbers,
                (OutputType::Real, Form::Last) => &types.number,
                (OutputType::Integer, Form::Last) => &types.whole_number,
            })
            .collect();
        if self.outputs.len() == 1 {
            return Ok(kinds[0].clone());
        }
        let fields: Vec<_> = self.outputs.iter().map(String::as_str).zip(kinds.into_iter().cloned()).collect();
        structure(extension, &fields)
    }

    /// Which outputs are places in the series.
    fn positions(&self) -> impl Iterator<Item = bool> {
        self.info.outputs.iter().map(|output| output.param_name.ends_with("Idx") || self.info.name.ends_with("INDEX"))
    }

    /// Reads the options of a row. All arguments behind the lists are given: DuckDB fills in the defaults.
    fn options(&self, mut given: impl FnMut(usize) -> Result<Option<String>>) -> Result<Options> {
        let mut values = Vec::with_capacity(self.info.opt_inputs.len());
        for (index, option) in self.info.opt_inputs.iter().enumerate() {
            let text = given(self.inputs.len() + index)?;
            values.push(option_value(option, text.as_deref()).map_err(|expected| {
                let given = text.map_or("NULL".to_owned(), |text| if text.parse::<f64>().is_ok() { text } else { format!("'{text}'") });
                Error::invalid_input(format!("{}: {} must be {expected}, got {given}", self.name, option_name(option.param_name)))
            })?);
        }
        let mut call = self.info.id.new_call(&TA_LIB);
        set_options(&mut call, &values).map_err(|code| self.refused(code))?;
        Ok(Options { warm_up: call.lookback().map_err(|code| self.refused(code))?, values })
    }

    fn refused(&self, code: RetCode) -> Error {
        Error::invalid_input(match code {
            RetCode::BadParam => format!("{}: TA-Lib refuses these options together; see the limits in its documentation", self.name),
            other => format!("{}: TA-Lib reports {other:?}, which should be reported", self.name),
        })
    }

    /// The lists of the rows, checked to be of one length.
    fn rows<'a>(&self, columns: &'a [ListColumn<'a>], count: usize) -> Result<Rows<'a>> {
        let mut rows = Rows { lists: Vec::with_capacity(count * columns.len()), lengths: Vec::with_capacity(count), width: columns.len() };
        for row in 0..count {
            let start = rows.lists.len();
            for column in columns {
                rows.lists.push(column.get(row)?);
            }
            let lists = &rows.lists[start..];
            let Some(length) = lists.iter().try_fold(0, |_, list| list.as_ref().map(Series::len)) else {
                rows.lengths.push(None);
                continue;
            };
            let lengths = || lists.iter().flatten().map(Series::len);
            if let Some((index, (first, other))) =
                lengths().map(|other| (lengths().next().unwrap_or(other), other)).enumerate().find(|(_, (first, other))| first != other)
            {
                return Err(Error::invalid_input(format!(
                    "{}: {} has {first} values and {} has {other}; the series of one call must be of the same length",
                    self.name, self.inputs[0], self.inputs[index],
                )));
            }
            rows.lengths.push(Some(length));
        }
        Ok(rows)
    }

    /// Calls TA-Lib on numbers that are all finite and longer than the warm-up; the targets hold what comes after it.
    fn call<'a>(&self, options: &Options, series: &[&'a [f64]], targets: impl Iterator<Item = Target<'a>>) -> Result<()> {
        let length = series[0].len();
        let refused = |code| self.refused(code);
        let mut call = self.info.id.new_call(&TA_LIB);
        set_options(&mut call, &options.values).map_err(refused)?;
        let mut next = series.iter().copied();
        for (slot, input) in self.info.inputs.iter().enumerate() {
            match input.kind {
                InputType::Price => {
                    let mut price = |flag| if input.flags.contains(flag) { next.next() } else { None };
                    let [open, high, low, close, volume] = PRICES.map(|(flag, _)| price(flag));
                    call.set_price_input(slot, open, high, low, close, volume, None).map_err(refused)?;
                }
                InputType::Real | InputType::Integer => {
                    call.set_input(slot, next.next().unwrap_or_default()).map_err(refused)?;
                }
            }
        }
        for (index, target) in targets.enumerate() {
            match target {
                Target::Real(numbers) => call.set_output(index, numbers),
                Target::Integer(numbers) => call.set_int_output(index, numbers),
            }
            .map_err(refused)?;
        }
        let range = call.call(0, length - 1).map_err(refused)?;
        if (range.beg_idx, range.count) != (options.warm_up, length - options.warm_up) {
            return Err(Error::invalid_input(format!(
                "{}: TA-Lib gave {} values from place {} of {length} on, where {} make the warm-up; this should be reported",
                self.name, range.count, range.beg_idx, options.warm_up
            )));
        }
        Ok(())
    }

    /// Fills the buffers with what comes after the warm-up, for numbers that are all finite.
    fn fill(&self, options: &Options, series: &[&[f64]], buffers: &mut [Buffer]) -> Result<()> {
        let count = series[0].len() - options.warm_up;
        let targets = self.info.outputs.iter().zip(buffers).map(|(output, buffer)| match output.kind {
            OutputType::Real => {
                buffer.real.resize(count, 0.0);
                Target::Real(&mut buffer.real)
            }
            OutputType::Integer => {
                buffer.integer.resize(count, 0);
                Target::Integer(&mut buffer.integer)
            }
        });
        self.call(options, series, targets)
    }

    fn write_series<'o>(
        &self,
        rows: &Rows<'_>,
        options: impl Fn(usize) -> Result<Cow<'o, Options>>,
        mut output: Vector<'_, Unknown>,
    ) -> Result<()> {
        output.set_size(rows.lengths.len())?;
        if self.outputs.len() == 1 {
            let mut lists = vec![self.lists(0, output, &rows.lengths)?];
            self.write_rows(rows, options, &mut lists)?;
            return lists.into_iter().try_for_each(Lists::finish);
        }
        for row in (0..rows.lengths.len()).filter(|row| rows.lengths[*row].is_none()) {
            output.set_null_slow(row)?;
        }
        let mut children = output.children_mut().ok_or_else(|| Error::invalid_input("a STRUCT without fields"))?;
        let fields: Vec<Vector<'_, Unknown>> = match self.outputs.len() {
            2 => children.get_vector_array_mut([0, 1])?.into(),
            3 => children.get_vector_array_mut([0, 1, 2])?.into(),
            _ => children.get_vector_array_mut([0, 1, 2, 3])?.into(),
        };
        let mut lists =
            fields.into_iter().enumerate().map(|(index, field)| self.lists(index, field, &rows.lengths)).collect::<Result<Vec<_>>>()?;
        self.write_rows(rows, options, &mut lists)?;
        lists.into_iter().try_for_each(Lists::finish)
    }

    fn lists<'a>(&self, index: usize, vector: Vector<'a, Unknown>, lengths: &[Option<usize>]) -> Result<Lists<'a>> {
        // SAFETY: `write_rows` makes the warm-up NULL, and `call` sees to it that TA-Lib has written the rest.
        Ok(unsafe {
            match self.info.outputs[index].kind {
                OutputType::Real => Lists::Real(ListOutput::new(vector, 0, lengths)?),
                OutputType::Integer => Lists::Integer(ListOutput::new(vector, 0, lengths)?),
            }
        })
    }

    fn write_rows<'o>(
        &self,
        rows: &Rows<'_>,
        options: impl Fn(usize) -> Result<Cow<'o, Options>>,
        outputs: &mut [Lists<'_>],
    ) -> Result<()> {
        let mut start = 0;
        let mut series = Vec::with_capacity(rows.width);
        for row in 0..rows.lengths.len() {
            let Some(length) = rows.lengths[row] else { continue };
            let options = options(row)?;
            if !rows.finite(row, &mut series) {
                self.write_with_gaps(&options, &rows.lists(row), start, outputs)?;
            } else if length > options.warm_up {
                let count = length - options.warm_up;
                self.call(&options, &series, outputs.iter_mut().map(|output| output.target(start + options.warm_up, count)))?;
                for output in outputs.iter_mut() {
                    output.set_nulls(start..start + options.warm_up);
                    output.set_not_finite_null(start + options.warm_up, count);
                }
            } else {
                outputs.iter_mut().for_each(|output| output.set_nulls(start..start + length));
            }
            start += length;
        }
        Ok(())
    }

    /// A row in which some bars are left out.
    fn write_with_gaps(&self, options: &Options, lists: &[&Series<'_>], start: usize, outputs: &mut [Lists<'_>]) -> Result<()> {
        let (places, series) = without_gaps(lists)?;
        outputs.iter_mut().for_each(|output| output.set_nulls(start..start + lists[0].len()));
        if places.len() <= options.warm_up {
            return Ok(());
        }
        let series: Vec<_> = series.iter().map(Vec::as_slice).collect();
        let mut buffers: Vec<_> = outputs.iter().map(|_| Buffer::default()).collect();
        self.fill(options, &series, &mut buffers)?;
        for ((output, buffer), is_position) in outputs.iter_mut().zip(&buffers).zip(self.positions()) {
            for (index, place) in places[options.warm_up..].iter().enumerate() {
                output.set(start + place, buffer.value(index, is_position.then_some(&places)));
            }
        }
        Ok(())
    }

    fn write_last<'o>(
        &self,
        rows: &Rows<'_>,
        options: impl Fn(usize) -> Result<Cow<'o, Options>>,
        mut output: Vector<'_, Unknown>,
    ) -> Result<()> {
        let count = rows.lengths.len();
        output.set_size(count)?;
        let mut buffers: Vec<_> = self.info.outputs.iter().map(|_| Buffer::default()).collect();
        // The values of the outputs, row by row; all of them `None` for a row without a last value.
        let mut values: Vec<Option<Number>> = Vec::with_capacity(count * self.outputs.len());
        let mut series = Vec::with_capacity(rows.width);
        let mut empty_rows = Vec::new();
        for row in 0..count {
            let is_there = match rows.lengths[row] {
                Some(1..) => self.last(&*options(row)?, rows, row, &mut series, &mut buffers, &mut values)?,
                _ => false,
            };
            if !is_there {
                empty_rows.push(row);
                values.resize(values.len() + self.outputs.len(), None);
            }
        }
        if self.outputs.len() == 1 {
            return self.write_column(0, &values, output);
        }
        for row in empty_rows {
            output.set_null_slow(row)?;
        }
        let mut children = output.children_mut().ok_or_else(|| Error::invalid_input("a STRUCT without fields"))?;
        for index in 0..self.outputs.len() {
            let mut field = children.get_untyped_vector_at_mut(index)?;
            field.set_size(count)?;
            self.write_column(index, &values, field)?;
        }
        Ok(())
    }

    fn write_column(&self, index: usize, values: &[Option<Number>], vector: Vector<'_, Unknown>) -> Result<()> {
        let mut values = values.iter().skip(index).step_by(self.outputs.len()).enumerate();
        match self.info.outputs[index].kind {
            OutputType::Real => {
                let mut vector = vector.cast::<f64>()?;
                let mut writer = vector.writer()?;
                values.try_for_each(|(row, value)| writer.set(row, value.map(Number::real)))
            }
            OutputType::Integer => {
                let mut vector = vector.cast::<i32>()?;
                let mut writer = vector.writer()?;
                values.try_for_each(|(row, value)| writer.set(row, value.map(Number::integer)))
            }
        }
    }

    /// Adds the values of the last bar; says whether it has any.
    fn last<'a>(
        &self,
        options: &Options,
        rows: &Rows<'a>,
        row: usize,
        series: &mut Vec<&'a [f64]>,
        buffers: &mut [Buffer],
        values: &mut Vec<Option<Number>>,
    ) -> Result<bool> {
        let mut places = None;
        let count = if rows.finite(row, series) {
            if series[0].len() > options.warm_up {
                self.fill(options, series, buffers)?;
            }
            series[0].len()
        } else {
            let lists = rows.lists(row);
            let (kept, numbers) = without_gaps(&lists)?;
            if kept.last() != Some(&(lists[0].len() - 1)) {
                return Ok(false);
            }
            if kept.len() > options.warm_up {
                self.fill(options, &numbers.iter().map(Vec::as_slice).collect::<Vec<_>>(), buffers)?;
            }
            places.insert(kept).len()
        };
        if count <= options.warm_up {
            return Ok(false);
        }
        let last = count - options.warm_up - 1;
        values.extend(
            buffers.iter().zip(self.positions()).map(|(buffer, is_position)| buffer.value(last, places.as_ref().filter(|_| is_position))),
        );
        Ok(true)
    }
}

/// The lists of the rows of a call.
struct Rows<'a> {
    /// Row by row, one for each input.
    lists: Vec<Option<Series<'a>>>,
    /// By row: how long its lists are; `None` if one of them is NULL.
    lengths: Vec<Option<usize>>,
    width: usize,
}

impl<'a> Rows<'a> {
    /// The lists of a row that has all of them.
    fn lists(&self, row: usize) -> Vec<&Series<'a>> {
        self.lists[row * self.width..(row + 1) * self.width].iter().flatten().collect()
    }

    /// Puts a row's numbers into `series`, where they lie; false if one of them is NULL, NaN or infinite.
    fn finite(&self, row: usize, series: &mut Vec<&'a [f64]>) -> bool {
        series.clear();
        series.extend(self.lists[row * self.width..(row + 1) * self.width].iter().flatten().map_while(Series::finite));
        series.len() == self.width
    }
}

impl ScalarCallbacks for Indicator {
    /// The options, if they are constant.
    type BindData = Option<Options>;
    type InitData = ();

    fn exec(
        &self,
        bind_data: Option<&Option<Options>>,
        _init_data: Option<&mut ()>,
        context: &Context,
        vectors: &mut VectorCollection,
        output: Vector<'_, Unknown>,
    ) -> Result<()> {
        caught(&self.name, || {
            let count = vectors.row_count()?;
            lay_out(vectors, self.inputs.len())?;
            let columns =
                (0..self.inputs.len()).map(|index| ListColumn::new(vectors.get_untyped_vector_at(index)?)).collect::<Result<Vec<_>>>()?;
            let rows = self.rows(&columns, count)?;
            let text = String::logical_type(context)?;
            let options = |row: usize| match bind_data {
                Some(Some(options)) => Ok(Cow::Borrowed(options)),
                _ => self
                    .options(|index| as_text(&vectors.get_untyped_vector_at(index)?.get_value_slow(row)?, context, &text))
                    .map(Cow::Owned),
            };
            match self.form {
                Form::Series => self.write_series(&rows, options, output),
                Form::Last => self.write_last(&rows, options, output),
            }
        })
    }
}

impl ScalarBindCallbacks for Indicator {
    /// Constant options are checked while the query is planned, so that an error does not depend on there being a row.
    fn bind(&self, context: &Context, arguments: BindArguments<'_>) -> Result<Option<Options>> {
        caught(&self.name, || {
            let text = String::logical_type(context)?;
            let mut constants: Vec<Option<Value>> = Vec::new();
            for index in 0..self.info.opt_inputs.len() {
                let Some(value) = arguments.value(self.inputs.len() + index)? else { return Ok(None) };
                constants.push(Some(value));
            }
            self.options(|index| match &constants[index - self.inputs.len()] {
                Some(value) => as_text(value, context, &text),
                None => Ok(None),
            })
            .map(Some)
        })
    }
}

/// The type of a STRUCT with these fields.
#[cfg(not(feature = "loadable-v1"))]
fn structure(extension: &Extension, fields: &[(&str, LogicalType)]) -> Result<LogicalType> {
    use duckdb_neo::{Parameters, QueryParameter, connection::FFILink as _};

    let kinds = fields.iter().map(|(_, kind)| Value::from_logical_type(extension, kind)).collect::<Result<Vec<_>>>()?;
    let fields: Vec<_> = fields.iter().zip(&kinds).map(|((name, _), kind)| (*name, kind as &dyn QueryParameter)).collect();
    extension.logical_type_create("STRUCT", Parameters::Named(&fields))
}

#[cfg(feature = "loadable-v1")]
fn structure(_: &Extension, fields: &[(&str, LogicalType)]) -> Result<LogicalType> {
    LogicalType::structure(fields)
}

/// One value.
#[derive(Clone, Copy)]
enum Number {
    Real(f64),
    Integer(i32),
}

impl Number {
    fn real(self) -> f64 {
        match self {
            Self::Real(value) => value,
            Self::Integer(value) => f64::from(value),
        }
    }

    fn integer(self) -> i32 {
        match self {
            Self::Integer(value) => value,
            #[expect(clippy::cast_possible_truncation, reason = "an output is either all whole numbers or all real ones")]
            Self::Real(value) => value as i32,
        }
    }
}

impl Buffer {
    /// A value, NULL if it is not finite. A place among the bars that were kept becomes one in the list.
    fn value(&self, index: usize, places: Option<&Vec<usize>>) -> Option<Number> {
        if self.integer.is_empty() {
            return self.real.get(index).copied().filter(|value| value.is_finite()).map(Number::Real);
        }
        let value = *self.integer.get(index)?;
        let place = places.and_then(|places| places.get(usize::try_from(value).ok()?)).and_then(|place| i32::try_from(*place).ok());
        Some(Number::Integer(place.unwrap_or(value)))
    }
}

impl Lists<'_> {
    fn target(&mut self, position: usize, count: usize) -> Target<'_> {
        match self {
            Lists::Real(output) => Target::Real(output.elements(position, count)),
            Lists::Integer(output) => Target::Integer(output.elements(position, count)),
        }
    }

    fn set_nulls(&mut self, positions: std::ops::Range<usize>) {
        match self {
            Lists::Real(output) => output.set_nulls(positions),
            Lists::Integer(output) => output.set_nulls(positions),
        }
    }

    fn set_not_finite_null(&mut self, position: usize, count: usize) {
        if let Lists::Real(output) = self {
            output.set_not_finite_null(position, count);
        }
    }

    fn set(&mut self, position: usize, value: Option<Number>) {
        let Some(value) = value else { return };
        match self {
            Lists::Real(output) => output.set(position, value.real()),
            Lists::Integer(output) => output.set(position, value.integer()),
        }
    }

    fn finish(self) -> Result<()> {
        match self {
            Lists::Real(output) => output.finish(),
            Lists::Integer(output) => output.finish(),
        }
    }
}

/// The places at which every list has a finite number, and those numbers.
fn without_gaps(lists: &[&Series<'_>]) -> Result<(Vec<usize>, Vec<Vec<f64>>)> {
    let mut places = Vec::with_capacity(lists[0].len());
    let mut series = vec![Vec::with_capacity(lists[0].len()); lists.len()];
    for place in 0..lists[0].len() {
        let numbers = lists.iter().map(|list| list.number(place)).collect::<Result<Option<Vec<_>>>>()?;
        if let Some(numbers) = numbers {
            places.push(place);
            numbers.into_iter().zip(&mut series).for_each(|(number, series)| series.push(number));
        }
    }
    Ok((places, series))
}
