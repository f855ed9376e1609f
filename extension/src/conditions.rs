//! Conditions over series, for composing setups: `above`, `below`, `crossed_above`, `crossed_below`, `within_last` and `in_a_row`.
//!
//! A condition is a list with TRUE, FALSE or NULL (not known) for each bar. They follow SQL's logic of three values, where a bar before the
//! start of the series is not known.

use crate::duckdb::{
    DuckDBType, Error, Result,
    connection::Context,
    data_chunk::VectorCollection,
    enums::FunctionProperty,
    extension::Extension,
    scalar::{ScalarCallbacks, ScalarFunctionBuilder},
    signature::{FunctionDocumentationBuilder, FunctionParameter, SignatureBuilder},
    types::List,
    vector::{Unknown, Vector, VectorReader},
};

use crate::{
    row_function::caught,
    series::{ListColumn, ListOutput, Series, lay_out},
};

type Conditions = Vec<Option<bool>>;

/// Registers all of them.
pub(crate) fn register(extension: &Extension) -> Result<()> {
    let comparisons: [(&str, &str, Compare); 4] = [
        ("above", "is above", |_, (value, level)| Some(value? > level?)),
        ("below", "is below", |_, (value, level)| Some(value? < level?)),
        ("crossed_above", "has crossed from not above to above", |before, (value, level)| {
            let (rose_to, from) = (value? > level?, before.0? <= before.1?);
            Some(rose_to && from)
        }),
        ("crossed_below", "has crossed from not below to below", |before, (value, level)| {
            let (fell_to, from) = (value? < level?, before.0? >= before.1?);
            Some(fell_to && from)
        }),
    ];
    for (name, verb, compare) in comparisons {
        for level in [Level::Series, Level::Number] {
            Comparison { name, compare, level }.register(extension, verb)?;
        }
    }
    Run {
        name: "within_last",
        description: "For each bar, whether the condition was TRUE at it or at one of the bars - 1 before it. Not known (NULL) if none is \
                      TRUE and one is not known, as are those before the start.",
        decide: |last| match (last.contains(&Some(true)), last.contains(&None)) {
            (true, _) => Some(true),
            (false, true) => None,
            (false, false) => Some(false),
        },
    }
    .register(extension)?;
    Run {
        name: "in_a_row",
        description: "For each bar, whether the condition was TRUE at it and at all of the bars - 1 before it. Not known (NULL) if none is \
                      FALSE and one is not known, as are those before the start.",
        decide: |last| match (last.contains(&Some(false)), last.contains(&None)) {
            (true, _) => Some(false),
            (false, true) => None,
            (false, false) => Some(true),
        },
    }
    .register(extension)
}

/// A value and the level that it is compared with.
type Pair = (Option<f64>, Option<f64>);

/// Of the pair before and the pair at a bar.
type Compare = fn(Pair, Pair) -> Option<bool>;

/// What a series is compared with.
#[derive(Clone, Copy)]
enum Level {
    Series,
    Number,
}

/// The levels of a call.
enum Levels<'a> {
    Series(ListColumn<'a>),
    Number(VectorReader<'a, f64>),
}

struct Comparison {
    name: &'static str,
    compare: Compare,
    level: Level,
}

impl Comparison {
    fn register(self, extension: &Extension, verb: &str) -> Result<()> {
        let (kind, meaning, example) = match self.level {
            Level::Series => ("DOUBLE[]", "another series of the same length, or a number", "ti_sma(series(bar.close, bar.ts), 20)"),
            Level::Number => ("DOUBLE", "a number, or another series of the same length", "100"),
        };
        let description = format!(
            "For each bar, whether the series {verb} the level. NULL where either is NULL or NaN, or, for a crossing, was so at the bar \
             before.\n\n@param series DOUBLE[]: numbers in the order of time.\n@param level {kind}: {meaning}."
        );
        let example =
            format!("SELECT bar.symbol, {}(series(bar.close, bar.ts), {example}) AS x FROM bars AS bar GROUP BY bar.symbol", self.name);
        let documentation =
            FunctionDocumentationBuilder::new().description(description).add_example("", example).add_category("indicators");
        let level = match self.level {
            Level::Series => FunctionParameter::new::<List<f64>>("level"),
            Level::Number => FunctionParameter::new::<f64>("level"),
        };
        let signature = SignatureBuilder::new()
            .documentation(documentation)
            .return_type(List::<bool>::logical_type(extension)?)
            .param(FunctionParameter::new::<List<f64>>("series"))
            .param(level);
        ScalarFunctionBuilder::new(self.name, signature, self)
            .set_property(FunctionProperty::HasSpecialNullHandling(true))
            .register(extension)
    }

    fn conditions(&self, series: &Series<'_>, level: impl Fn(usize) -> Result<Option<f64>>) -> Result<Conditions> {
        let mut before = (None, None);
        (0..series.len())
            .map(|place| {
                let now = (not_nan(series.element(place)?), level(place)?);
                let condition = (self.compare)(before, now);
                before = now;
                Ok(condition)
            })
            .collect()
    }

    fn row(&self, series: &ListColumn<'_>, levels: &Levels<'_>, row: usize) -> Result<Option<Conditions>> {
        let Some(series) = series.get(row)? else { return Ok(None) };
        match levels {
            Levels::Series(levels) => {
                let Some(levels) = levels.get(row)? else { return Ok(None) };
                if series.len() != levels.len() {
                    return Err(Error::invalid_input(format!(
                        "{}: series has {} values and level has {}; they must be of the same length",
                        self.name,
                        series.len(),
                        levels.len()
                    )));
                }
                self.conditions(&series, |place| Ok(not_nan(levels.element(place)?))).map(Some)
            }
            Levels::Number(levels) => match levels.get(row)? {
                Some(level) => self.conditions(&series, |_| Ok(not_nan(Some(level)))).map(Some),
                None => Ok(None),
            },
        }
    }
}

impl ScalarCallbacks for Comparison {
    type BindData = ();
    type InitData = ();

    fn exec(
        &self,
        _: Option<&()>,
        _: Option<&mut ()>,
        _: &Context,
        vectors: &mut VectorCollection,
        output: Vector<'_, Unknown>,
    ) -> Result<()> {
        caught(self.name, || {
            lay_out(vectors, 2)?;
            let series = ListColumn::<f64>::new(vectors.get_untyped_vector_at(0)?)?;
            let levels = match self.level {
                Level::Series => Levels::Series(ListColumn::new(vectors.get_untyped_vector_at(1)?)?),
                Level::Number => Levels::Number(vectors.get_vector_at::<f64>(1)?.reader()?),
            };
            let results = (0..vectors.row_count()?).map(|row| self.row(&series, &levels, row));
            write(output, &results.collect::<Result<Vec<_>>>()?)
        })
    }
}

fn not_nan(number: Option<&f64>) -> Option<f64> {
    number.copied().filter(|number| !number.is_nan())
}

/// What has become of a condition over the latest bars.
struct Run {
    name: &'static str,
    description: &'static str,
    /// Of the conditions of the latest bars; those before the start are `None`.
    decide: fn(&Latest) -> Option<bool>,
}

/// How often each of the three values stands among the latest bars.
struct Latest {
    counts: [usize; 3],
}

impl Latest {
    fn contains(&self, value: &Option<bool>) -> bool {
        self.counts[Self::place(*value)] > 0
    }

    fn place(value: Option<bool>) -> usize {
        match value {
            Some(true) => 0,
            Some(false) => 1,
            None => 2,
        }
    }
}

impl Run {
    fn register(self, extension: &Extension) -> Result<()> {
        let documentation = FunctionDocumentationBuilder::new()
            .description(format!(
                "{}\n\n@param condition BOOLEAN[]: of each bar, in the order of time.\n@param bars INTEGER bars, 1 or more: how many of the \
                 latest bars count, the current one included.",
                self.description
            ))
            .add_example(
                "",
                format!("SELECT bar.symbol, {}(above(ti_rsi(series(bar.close, bar.ts)), 50), 3) AS x FROM bars AS bar GROUP BY bar.symbol", self.name),
            )
            .add_category("indicators");
        let signature = SignatureBuilder::new()
            .documentation(documentation)
            .return_type(List::<bool>::logical_type(extension)?)
            .param(FunctionParameter::new::<List<bool>>("condition"))
            .param(FunctionParameter::new::<i64>("bars"));
        ScalarFunctionBuilder::new(self.name, signature, self)
            .set_property(FunctionProperty::HasSpecialNullHandling(true))
            .register(extension)
    }

    fn conditions(&self, given: &Conditions, bars: usize) -> Conditions {
        let mut latest = Latest { counts: [0, 0, bars] };
        given
            .iter()
            .enumerate()
            .map(|(place, condition)| {
                let leaving = place.checked_sub(bars).and_then(|leaving| given[leaving]);
                latest.counts[Latest::place(leaving)] -= 1;
                latest.counts[Latest::place(*condition)] += 1;
                (self.decide)(&latest)
            })
            .collect()
    }
}

impl ScalarCallbacks for Run {
    type BindData = ();
    type InitData = ();

    fn exec(
        &self,
        _: Option<&()>,
        _: Option<&mut ()>,
        _: &Context,
        vectors: &mut VectorCollection,
        output: Vector<'_, Unknown>,
    ) -> Result<()> {
        caught(self.name, || {
            lay_out(vectors, 2)?;
            let rows = vectors.row_count()?;
            let lists = ListColumn::<bool>::new(vectors.get_untyped_vector_at(0)?)?;
            let bars = vectors.get_vector_at::<i64>(1)?.reader()?;
            let results = (0..rows).map(|row| {
                let given = bars.get(row)?.copied();
                let Some(count) = given.and_then(|bars| usize::try_from(bars).ok()).filter(|bars| *bars > 0) else {
                    let given = given.map_or("NULL".to_owned(), |bars| bars.to_string());
                    return Err(Error::invalid_input(format!("{}: bars must be a whole number of at least 1, got {given}", self.name)));
                };
                let Some(list) = lists.get(row)? else { return Ok(None) };
                let given = (0..list.len()).map(|place| Ok(list.element(place)?.copied())).collect::<Result<Conditions>>()?;
                Ok(Some(self.conditions(&given, count)))
            });
            write(output, &results.collect::<Result<Vec<_>>>()?)
        })
    }
}

fn write(output: Vector<'_, Unknown>, results: &[Option<Conditions>]) -> Result<()> {
    let lengths: Vec<_> = results.iter().map(|result| result.as_ref().map(Vec::len)).collect();
    // SAFETY: each element is written, or made NULL, below.
    let mut lists = unsafe { ListOutput::<bool>::new(output, 0, &lengths)? };
    for (position, condition) in results.iter().flatten().flatten().enumerate() {
        match condition {
            Some(condition) => lists.elements(position, 1)[0] = *condition,
            None => lists.set_nulls(position..position + 1),
        }
    }
    lists.finish()
}
