//! `position_sizes(…)`: what each trade of a portfolio is worth when it is opened. Each depends on what those before have left, so it is a
//! loop over trades in the order of their entries.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use crate::duckdb::{
    DuckDBType, Error, Result,
    connection::Context,
    data_chunk::VectorCollection,
    enums::FunctionProperty,
    extension::Extension,
    scalar::{ScalarCallbacks, ScalarFunctionBuilder},
    signature::{FunctionDocumentationBuilder, FunctionParameter, SignatureBuilder},
    types::{List, TimestampValue},
    vector::{Unknown, Vector},
};

use crate::{
    row_function::caught,
    series::{ListColumn, ListOutput, lay_out},
};

const NAME: &str = "position_sizes";

/// Registers it.
pub(crate) fn register(extension: &Extension) -> Result<()> {
    let documentation = FunctionDocumentationBuilder::new()
        .description(
            "For each trade of a portfolio the amount that is put into it; 0: not taken. Trades come in the order of their entries, those of \
             the same bar by the date of their signal, then by rank, then by symbol, however the lists are ordered. A trade is taken if fewer \
             than max_positions are open and there is capital left; less than a billionth of the initial one is none, since it is what \
             rounding leaves. With equal weights it gets the capital / max_positions, where capital is the initial one with the profits of \
             all trades closed so far if they are compounded, and no more than is not in other trades. With a position_size it gets that, or \
             is not taken if less is left. A trade that was closed in a bar before the one of the entry is closed by then. A short trade can \
             lose more than was put into it: what is lost beyond all capital has to be won back by the trades still open before anything is \
             taken again.\n\n\
             @param entries TIMESTAMP[]: starts of the bars of the entries.\n\
             @param signals TIMESTAMP[]: dates of the signals.\n\
             @param ranks DOUBLE[]: places of the signals within their session; NULL: after those that have one.\n\
             @param symbols VARCHAR[]: names of the stocks.\n\
             @param exits TIMESTAMP[]: starts of the bars of the exits.\n\
             @param returns DOUBLE[] %: net returns of the trades.\n\
             @param initial_capital DOUBLE currency: what there is at first.\n\
             @param max_positions BIGINT: how many trades may be open at the same time.\n\
             @param position_size DOUBLE currency: amount of each trade. NULL: equal weights.\n\
             @param compounding BOOLEAN: whether equal weights are of the capital as it has become, or of the initial one.",
        )
        .add_example(
            "",
            "SELECT position_sizes([TIMESTAMP '2025-01-15 09:50:00'], [TIMESTAMP '2025-01-15 00:00:00'], [1], ['DEMO0001'], [TIMESTAMP '2025-01-15 15:14:00'], [1.5], 100000, 3, NULL, true) AS x",
        )
        .add_category("backtests");
    let signature = SignatureBuilder::new()
        .documentation(documentation)
        .return_type(List::<f64>::logical_type(extension)?)
        .param(FunctionParameter::new::<List<TimestampValue>>("entries"))
        .param(FunctionParameter::new::<List<TimestampValue>>("signals"))
        .param(FunctionParameter::new::<List<f64>>("ranks"))
        .param(FunctionParameter::new::<List<String>>("symbols"))
        .param(FunctionParameter::new::<List<TimestampValue>>("exits"))
        .param(FunctionParameter::new::<List<f64>>("returns"))
        .param(FunctionParameter::new::<f64>("initial_capital"))
        .param(FunctionParameter::new::<i64>("max_positions"))
        .param(FunctionParameter::new::<f64>("position_size"))
        .param(FunctionParameter::new::<bool>("compounding"));
    ScalarFunctionBuilder::new(NAME, signature, PositionSizes)
        .set_property(FunctionProperty::HasSpecialNullHandling(true))
        .register(extension)
}

struct PositionSizes;

impl ScalarCallbacks for PositionSizes {
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
        caught(NAME, || {
            lay_out(vectors, 10)?;
            let rows = vectors.row_count()?;
            let entries = ListColumn::<TimestampValue>::new(vectors.get_untyped_vector_at(0)?)?;
            let signals = ListColumn::<TimestampValue>::new(vectors.get_untyped_vector_at(1)?)?;
            let ranks = ListColumn::<f64>::new(vectors.get_untyped_vector_at(2)?)?;
            let symbols = ListColumn::<String>::new(vectors.get_untyped_vector_at(3)?)?;
            let exits = ListColumn::<TimestampValue>::new(vectors.get_untyped_vector_at(4)?)?;
            let returns = ListColumn::<f64>::new(vectors.get_untyped_vector_at(5)?)?;
            let capitals = vectors.get_vector_at::<f64>(6)?.reader()?;
            let most = vectors.get_vector_at::<i64>(7)?.reader()?;
            let sizes = vectors.get_vector_at::<f64>(8)?.reader()?;
            let compounding = vectors.get_vector_at::<bool>(9)?.reader()?;
            let missing = |name: &str| Error::invalid_input(format!("{NAME}: {name} must not be NULL"));

            let mut results = Vec::with_capacity(rows);
            for row in 0..rows {
                let (Some(entries), Some(signals), Some(ranks), Some(symbols), Some(exits), Some(returns)) =
                    (entries.get(row)?, signals.get(row)?, ranks.get(row)?, symbols.get(row)?, exits.get(row)?, returns.get(row)?)
                else {
                    results.push(None);
                    continue;
                };
                let lengths = [entries.len(), signals.len(), ranks.len(), symbols.len(), exits.len(), returns.len()];
                if lengths.iter().any(|length| *length != lengths[0]) {
                    return Err(Error::invalid_input(format!(
                        "{NAME}: entries, signals, ranks, symbols, exits and returns have {lengths:?} elements; they must be of the same length"
                    )));
                }
                let mut trades = Vec::with_capacity(entries.len());
                for place in 0..entries.len() {
                    let (Some(entry), Some(signal), Some(symbol), Some(exit), Some(gain)) = (
                        entries.element(place)?,
                        signals.element(place)?,
                        symbols.element(place)?,
                        exits.element(place)?,
                        returns.number(place)?,
                    ) else {
                        return Err(missing("an entry, a signal, a symbol, an exit or a return"));
                    };
                    // A scanner of the user's may rank nothing.
                    let rank = ranks.number(place)?.unwrap_or(f64::INFINITY);
                    trades.push(Trade { entry: entry.0, signal: signal.0, rank, symbol, exit: exit.0, gain, place });
                }
                trades.sort_by(Trade::order);
                let capital = *capitals.get(row)?.ok_or_else(|| missing("initial_capital"))?;
                let mut portfolio = Portfolio {
                    capital,
                    initial: capital,
                    most: usize::try_from(*most.get(row)?.ok_or_else(|| missing("max_positions"))?).unwrap_or_default(),
                    size: sizes.get(row)?.copied(),
                    compounding: *compounding.get(row)?.ok_or_else(|| missing("compounding"))?,
                    invested: 0.0,
                    opened: 0,
                    open: BinaryHeap::new(),
                };
                let mut amounts = vec![0.0; trades.len()];
                for trade in &trades {
                    amounts[trade.place] = portfolio.open(trade.entry, trade.exit, trade.gain);
                }
                results.push(Some(amounts));
            }
            let lengths: Vec<_> = results.iter().map(|result| result.as_ref().map(Vec::len)).collect();
            // SAFETY: each element is written below.
            let mut lists = unsafe { ListOutput::<f64>::new(output, 0, &lengths)? };
            let mut start = 0;
            for amounts in results.iter().flatten() {
                lists.elements(start, amounts.len()).copy_from_slice(amounts);
                start += amounts.len();
            }
            lists.finish()
        })
    }
}

struct Trade<'a> {
    entry: i64,
    signal: i64,
    rank: f64,
    symbol: &'a str,
    exit: i64,
    gain: f64,
    /// In the list.
    place: usize,
}

impl Trade<'_> {
    /// By what is known when they are entered, and by nothing else.
    fn order(one: &Trade<'_>, other: &Trade<'_>) -> Ordering {
        (one.entry, one.signal)
            .cmp(&(other.entry, other.signal))
            .then_with(|| one.rank.total_cmp(&other.rank))
            .then_with(|| one.symbol.cmp(other.symbol))
    }
}

/// Sums and differences of amounts leave traces; this part of what there was is none.
const TRACE: f64 = 1e-9;

struct Portfolio {
    /// The initial capital with the profits of the closed trades; below zero if more was lost than there was.
    capital: f64,
    initial: f64,
    most: usize,
    size: Option<f64>,
    compounding: bool,
    /// In trades that are open, at what was put into them.
    invested: f64,
    /// How many were opened so far.
    opened: usize,
    /// The open trades, the next exit on top.
    open: BinaryHeap<Reverse<Open>>,
}

/// An open trade; ordered by exit, then by the order in which they were opened.
struct Open {
    exit: i64,
    number: usize,
    amount: f64,
    profit: f64,
}

impl PartialEq for Open {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Open {}

impl PartialOrd for Open {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Open {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.exit, self.number).cmp(&(other.exit, other.number))
    }
}

impl Portfolio {
    /// The amount of a trade, which is open from then on if it is above zero.
    fn open(&mut self, entry: i64, exit: i64, gain: f64) -> f64 {
        while self.open.peek().is_some_and(|Reverse(next)| next.exit < entry)
            && let Some(Reverse(closed)) = self.open.pop()
        {
            self.invested -= closed.amount;
            self.capital += closed.profit;
        }
        if self.open.is_empty() {
            self.invested = 0.0;
        }
        let left = self.capital - self.invested;
        if self.open.len() >= self.most || left < TRACE * self.initial {
            return 0.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "few positions")]
        let amount = match self.size {
            Some(size) if size <= left * (1.0 + TRACE) => size,
            Some(_) => 0.0,
            None => (if self.compounding { self.capital } else { self.initial } / self.most as f64).min(left),
        };
        if amount > 0.0 {
            self.invested += amount;
            self.opened += 1;
            self.open.push(Reverse(Open { exit, number: self.opened, amount, profit: amount * gain / 100.0 }));
        }
        amount
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn portfolio(most: usize, size: Option<f64>, compounding: bool) -> Portfolio {
        Portfolio { capital: 900.0, initial: 900.0, most, size, compounding, invested: 0.0, opened: 0, open: BinaryHeap::new() }
    }

    #[test]
    fn equal_weights_grow_with_what_was_closed() {
        let mut one = portfolio(3, None, true);
        assert_eq!([one.open(0, 5, 10.0), one.open(0, 9, 10.0), one.open(0, 9, 0.0), one.open(0, 9, 0.0)], [300.0, 300.0, 300.0, 0.0]);
        // Closed in the same bar is not closed before it; one bar later it is, with 30 gained.
        assert_eq!([one.open(5, 9, 0.0), one.open(6, 9, 0.0)], [0.0, 310.0]);
        let mut other = portfolio(3, None, false);
        assert_eq!([other.open(0, 5, 10.0), other.open(6, 7, -50.0), other.open(8, 9, 0.0)], [300.0, 300.0, 300.0]);
    }

    #[test]
    fn no_more_is_put_in_than_there_is() {
        let mut one = portfolio(5, Some(400.0), true);
        assert_eq!([one.open(0, 5, -10.0), one.open(0, 5, 0.0), one.open(0, 5, 0.0)], [400.0, 400.0, 0.0]);
        // A short trade loses twice what was put in: with 900 - 40 left, then 60.
        assert_eq!([one.open(6, 7, -200.0), one.open(8, 9, 0.0)], [400.0, 0.0]);
        let mut ruined = portfolio(1, None, true);
        assert_eq!([ruined.open(0, 1, -300.0), ruined.open(2, 3, 50.0)], [900.0, 0.0]);
        // 900 - 1350 + 225 are less than nothing, although the last trade won.
        let mut in_debt = portfolio(2, None, true);
        assert_eq!([in_debt.open(0, 1, -300.0), in_debt.open(0, 3, 50.0), in_debt.open(4, 5, 0.0)], [450.0, 450.0, 0.0]);
        let mut not_compounding = portfolio(1, None, false);
        assert_eq!([not_compounding.open(0, 1, -50.0), not_compounding.open(2, 3, 0.0)], [900.0, 450.0]);
    }

    #[test]
    fn what_rounding_leaves_or_takes_decides_nothing() {
        // 0.3 - 0.1 - 0.1 is less than 0.1 in binary fractions.
        let mut exact = Portfolio { capital: 0.3, initial: 0.3, ..portfolio(3, Some(0.1), true) };
        assert_eq!([exact.open(0, 5, 0.0), exact.open(0, 5, 0.0), exact.open(0, 5, 0.0), exact.open(0, 5, 0.0)], [0.1, 0.1, 0.1, 0.0]);
        // Nine tenths of 777.7 in nine trades leave 1e-13, which is no trade.
        let mut traces = Portfolio { capital: 777.7, initial: 777.7, ..portfolio(10, None, false) };
        assert!(traces.open(0, 1, -100.0) > 77.0);
        assert!((0..9).all(|_| traces.open(5, 9, 0.0) > 77.0));
        assert_eq!(traces.open(5, 9, 0.0), 0.0);
    }
}
