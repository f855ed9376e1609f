//! The statistics that SQL cannot say, or not fast enough: the normal distribution, `isotonic_fit` and
//! `probability_of_backtest_overfitting`. What can be said in SQL on top of them stands in `sql/statistics/`.

mod isotonic;
mod overfitting;

use crate::duckdb::{
    DuckDBType, Error, Result,
    connection::Context,
    data_chunk::VectorCollection,
    enums::FunctionProperty,
    extension::Extension,
    scalar::{ScalarCallbacks, ScalarFunctionBuilder},
    signature::{FunctionDocumentationBuilder, FunctionParameter, SignatureBuilder},
    types::List,
    vector::{Unknown, Vector},
};
use statrs::distribution::{ContinuousCDF, Normal};

use crate::{
    row_function::caught,
    series::{ListColumn, ListOutput, Series, lay_out},
};

const CATEGORY: &str = "statistics";

/// Registers all of them.
pub(crate) fn register(extension: &Extension) -> Result<()> {
    NormalFunction { name: "normal_cdf", parameter: "x", value: |x| (!x.is_nan()).then(|| Normal::standard().cdf(x)) }.register(
        extension,
        "The probability that a standard normal variable is at most x, to ten digits. NULL for NULL and NaN.\n\n\
         @param x DOUBLE standard deviations: the number.",
        "SELECT normal_cdf(1.96) AS x",
    )?;
    NormalFunction {
        name: "normal_quantile",
        parameter: "p",
        value: |p| (p > 0.0 && p < 1.0).then(|| Normal::standard().inverse_cdf(p)),
    }
    .register(
        extension,
        "The number that a standard normal variable is at most with probability p: normal_cdf the other way round. NULL for NULL, NaN and \
         where there is none, which is for a p that is not above 0 and below 1.\n\n\
         @param p DOUBLE: the probability.",
        "SELECT normal_quantile(0.975) AS x",
    )?;
    IsotonicFit::register(extension)?;
    BacktestOverfitting::register(extension)
}

/// A function of one number.
struct NormalFunction {
    name: &'static str,
    parameter: &'static str,
    /// Its value, `None` where it has none.
    value: fn(f64) -> Option<f64>,
}

impl NormalFunction {
    fn register(self, extension: &Extension, description: &str, example: &str) -> Result<()> {
        let signature = SignatureBuilder::new()
            .documentation(FunctionDocumentationBuilder::new().description(description).add_example("", example).add_category(CATEGORY))
            .return_type(f64::logical_type(extension)?)
            .param(FunctionParameter::new::<f64>(self.parameter));
        ScalarFunctionBuilder::new(self.name, signature, self).register(extension)
    }
}

impl ScalarCallbacks for NormalFunction {
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
            lay_out(vectors, 1)?;
            let numbers = vectors.get_vector_at::<f64>(0)?.reader()?;
            let results = (0..vectors.row_count()?).map(|row| Ok(numbers.get(row)?.and_then(|number| (self.value)(*number))));
            write(output, &results.collect::<Result<Vec<_>>>()?)
        })
    }
}

fn write(output: Vector<'_, Unknown>, results: &[Option<f64>]) -> Result<()> {
    let mut output = output.cast::<f64>()?;
    output.set_size(results.len())?;
    let mut writer = output.writer()?;
    results.iter().enumerate().try_for_each(|(row, result)| writer.set(row, *result))
}

/// An element as a message quotes it.
fn quoted(element: Option<&f64>) -> String {
    element.map_or("NULL".to_owned(), |number| format!("{number:?}"))
}

struct IsotonicFit;

impl IsotonicFit {
    const NAME: &str = "isotonic_fit";

    fn register(extension: &Extension) -> Result<()> {
        let documentation = FunctionDocumentationBuilder::new()
            .description(
                "The non-decreasing list that is nearest to the values, by weighted least squares: what the rates of buckets in their \
                 order would be if a higher bucket could not have a lower rate. Neighbours that fall are pooled into their weighted mean, \
                 so the fit is a step at each of the given values; nothing is interpolated. NULL if a list is NULL. An error if an element \
                 is NULL, NaN or infinite, if a weight is not above 0, or if the lists differ in length.\n\n\
                 @param values DOUBLE[]: numbers in the order in which the fit must not fall.\n\
                 @param weights DOUBLE[]: how much each counts, above 0; for rates, of how many cases.\n\
                 @source M. Ayer et al., An Empirical Distribution Function for Sampling with Incomplete Information, 1955 (pool adjacent \
                 violators).",
            )
            .add_example("", "SELECT isotonic_fit([0.2, 0.5, 0.4, 0.7], [10, 20, 30, 5]) AS x")
            .add_category(CATEGORY);
        let signature = SignatureBuilder::new()
            .documentation(documentation)
            .return_type(List::<f64>::logical_type(extension)?)
            .param(FunctionParameter::new::<List<f64>>("values"))
            .param(FunctionParameter::new::<List<f64>>("weights"));
        ScalarFunctionBuilder::new(Self::NAME, signature, Self)
            .set_property(FunctionProperty::HasSpecialNullHandling(true))
            .register(extension)
    }

    fn row(values: &Series<'_>, weights: &Series<'_>) -> Result<Vec<f64>> {
        if values.len() != weights.len() {
            return Err(Error::invalid_input(format!(
                "{}: values has {} elements and weights has {}; they must be of the same length",
                Self::NAME,
                values.len(),
                weights.len()
            )));
        }
        let mut points = Vec::with_capacity(values.len());
        for place in 0..values.len() {
            let wrong = |list: &str, element, expected: &str| {
                Error::invalid_input(format!("{}: {list}[{}] is {}, expected {expected}", Self::NAME, place + 1, quoted(element)))
            };
            let value = values.number(place)?.map_or_else(|| Err(wrong("values", values.element(place)?, "a finite number")), Ok)?;
            let weight = weights
                .number(place)?
                .filter(|weight| *weight > 0.0)
                .map_or_else(|| Err(wrong("weights", weights.element(place)?, "a finite number above 0")), Ok)?;
            points.push((value, weight));
        }
        let total: f64 = points.iter().map(|(_, weight)| weight).sum();
        if total.is_infinite() {
            return Err(Error::invalid_input(format!(
                "{}: the sum of the weights is beyond every DOUBLE, expected a finite one",
                Self::NAME
            )));
        }
        Ok(isotonic::fit(&points))
    }
}

impl ScalarCallbacks for IsotonicFit {
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
        caught(Self::NAME, || {
            lay_out(vectors, 2)?;
            let values = ListColumn::<f64>::new(vectors.get_untyped_vector_at(0)?)?;
            let weights = ListColumn::<f64>::new(vectors.get_untyped_vector_at(1)?)?;
            let fits = (0..vectors.row_count()?).map(|row| match (values.get(row)?, weights.get(row)?) {
                (Some(values), Some(weights)) => Self::row(&values, &weights).map(Some),
                _ => Ok(None),
            });
            let fits = fits.collect::<Result<Vec<_>>>()?;
            let lengths: Vec<_> = fits.iter().map(|fit| fit.as_ref().map(Vec::len)).collect();
            // SAFETY: each element is written below.
            let mut lists = unsafe { ListOutput::<f64>::new(output, 0, &lengths)? };
            let mut position = 0;
            for fit in fits.iter().flatten() {
                lists.elements(position, fit.len()).copy_from_slice(fit);
                position += fit.len();
            }
            lists.finish()
        })
    }
}

struct BacktestOverfitting;

impl BacktestOverfitting {
    const NAME: &str = "probability_of_backtest_overfitting";

    fn register(extension: &Extension) -> Result<()> {
        let documentation = FunctionDocumentationBuilder::new()
            .description(
                "How likely the trial that was best on the sessions it was chosen by is no better than the middle of all trials on other \
                 sessions: near 0 for a real edge, about 0.5 when the best was best by luck.\n\n\
                 By combinatorially symmetric cross-validation: the sessions are cut into blocks; for every choice of half of the blocks \
                 the trial with the highest Sharpe ratio (mean by standard deviation of the returns of a session) on them is looked up on \
                 the other half, as its rank among all trials, ties having their mean rank. The result is the share of choices in which \
                 rank / (trials + 1) is at most a half, which is a logit of 0 or less. Several that are best together each count for their \
                 part, so the order of the trials does not matter. Sharpe ratios that differ by less than 1e-9 are the same. A trial whose \
                 returns on a half are all the same has a Sharpe ratio of 0 there; they count as the same where their variance is below \
                 1e-12 of their mean square, which is what rounding leaves. Blocks are contiguous; where the sessions cannot be divided \
                 evenly, the first ones have one session more.\n\n\
                 NULL with fewer than 2 trials, with fewer sessions than blocks, or if returns is NULL. An error if a return is NULL, NaN \
                 or infinite. Time grows with trials times choices, of which 16 blocks have 12870: a tenth of a second for 1000 trials.\n\n\
                 @param returns DOUBLE[]: of each trial and session, trial after trial, in each the sessions in the order of time; 0 for a \
                 session without a trade.\n\
                 @param trials BIGINT: how many there are; it divides the number of returns.\n\
                 @param blocks := 16 BIGINT: into how many blocks the sessions are cut: an even number from 2 to 16.\n\
                 @source D. Bailey, J. Borwein, M. López de Prado and Q. Zhu, The Probability of Backtest Overfitting, 2015.",
            )
            .add_example("", "SELECT probability_of_backtest_overfitting([0.4, 0.1, -0.2, 0.5, 0.2, 0.1, -0.3, 0.1], 2, blocks := 4) AS x")
            .add_example(
                "",
                "SELECT probability_of_backtest_overfitting(list(demo_normal(hash(number.range)) ORDER BY number.range), 20) AS x \
                 FROM range(20 * 250) AS number",
            )
            .add_category(CATEGORY);
        let signature = SignatureBuilder::new()
            .documentation(documentation)
            .return_type(f64::logical_type(extension)?)
            .param(FunctionParameter::new::<List<f64>>("returns"))
            .param(FunctionParameter::new::<i64>("trials"))
            .param(FunctionParameter::with_default::<i64>("blocks", 16));
        ScalarFunctionBuilder::new(Self::NAME, signature, Self)
            .set_property(FunctionProperty::HasSpecialNullHandling(true))
            .register(extension)
    }

    fn row(returns: &Series<'_>, trials: Option<i64>, blocks: Option<i64>) -> Result<Option<f64>> {
        let must_be = |parameter: &str, expected: &str, given: Option<i64>| {
            let given = given.map_or("NULL".to_owned(), |given| given.to_string());
            Error::invalid_input(format!("{}: {parameter} must be {expected}, got {given}", Self::NAME))
        };
        let Some(trial_count) = trials.and_then(|trials| usize::try_from(trials).ok()) else {
            return Err(must_be("trials", "a whole number of at least 0", trials));
        };
        let block_count = blocks.and_then(|blocks| usize::try_from(blocks).ok());
        let Some(block_count) = block_count.filter(|blocks| (2..=overfitting::MOST_BLOCKS).contains(blocks) && blocks % 2 == 0) else {
            return Err(must_be("blocks", &format!("an even number from 2 to {}", overfitting::MOST_BLOCKS), blocks));
        };
        if !returns.len().is_multiple_of(trial_count) {
            return Err(Error::invalid_input(format!(
                "{}: returns has {} elements, which trials ({trial_count}) does not divide; expected the same sessions for each trial",
                Self::NAME,
                returns.len()
            )));
        }
        let sessions = returns.len().checked_div(trial_count).unwrap_or_default();
        let numbers = (0..returns.len()).map(|place| {
            returns.number(place)?.map_or_else(
                || {
                    Err(Error::invalid_input(format!(
                        "{}: returns[{}] (trial {}, session {}) is {}, expected a finite number; a session without a trade returns 0",
                        Self::NAME,
                        place + 1,
                        place / sessions + 1,
                        place % sessions + 1,
                        quoted(returns.element(place)?)
                    )))
                },
                Ok,
            )
        });
        Ok(overfitting::probability(&numbers.collect::<Result<Vec<_>>>()?, trial_count, block_count))
    }
}

impl ScalarCallbacks for BacktestOverfitting {
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
        caught(Self::NAME, || {
            lay_out(vectors, 3)?;
            let returns = ListColumn::<f64>::new(vectors.get_untyped_vector_at(0)?)?;
            let trials = vectors.get_vector_at::<i64>(1)?.reader()?;
            let blocks = vectors.get_vector_at::<i64>(2)?.reader()?;
            let results = (0..vectors.row_count()?).map(|row| match returns.get(row)? {
                Some(returns) => Self::row(&returns, trials.get(row)?.copied(), blocks.get(row)?.copied()),
                None => Ok(None),
            });
            write(output, &results.collect::<Result<Vec<_>>>()?)
        })
    }
}
