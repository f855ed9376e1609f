//! Times of day, and the exchange's wall clock. DuckDB's own time-zone functions need its ICU extension, which is not everywhere; these
//! carry the IANA database with them.

use crate::duckdb::{
    DuckDBType, Error, Result,
    bind_arguments::BindArguments,
    connection::Context,
    data_chunk::VectorCollection,
    extension::Extension,
    logical_type::LogicalTypeID,
    scalar::{ScalarBindCallbacks, ScalarCallbacks, ScalarFunctionBuilder},
    signature::{FunctionDocumentationBuilder, FunctionParameter, SignatureBuilder},
    types::{Any, TimeValue, TimestampTzValue, TimestampValue},
    vector::{Unknown, Vector},
};
use jiff::{
    Timestamp,
    civil::DateTime,
    tz::{TimeZone, TimeZoneDatabase},
};

use crate::row_function::{RowFunction, caught};

pub(crate) const TO_EXCHANGE_TIME: &str = "to_exchange_time";
const FROM_EXCHANGE_TIME: &str = "from_exchange_time";
const MICROSECONDS_A_MINUTE: i64 = 60_000_000;
const MICROSECONDS_AN_HOUR: i64 = 60 * MICROSECONDS_A_MINUTE;

pub(crate) fn register(extension: &Extension) -> Result<()> {
    RowFunction::<TimeValue> {
        name: "clock_time",
        parameters: &["value", "function_name", "parameter_name"],
        description: "The value as a TIME from 00:00 to 24:00, NULL if it is NULL; else an error that names function, parameter and value.",
        example: "SELECT clock_time('09:15', 'scan_breakout', 'session_start') AS x",
        compute: |arguments| Ok(time_of_day(arguments[0], arguments[1], arguments[2])?.map(TimeValue)),
    }
    .register(extension)?;
    RowFunction::<TimeValue> {
        name: "latest_visible_start",
        parameters: &["cutoff_time", "bar_minutes", "function_name", "parameter_name"],
        description: "The latest start of a bar of this length that has ended by this time of day; an error if none can have. The bar of one minute that ends at 09:50 starts at 09:49.",
        example: "SELECT latest_visible_start('09:50', 1, 'scan_breakout', 'cutoff_time') AS x",
        compute: latest_visible_start,
    }
    .register(extension)?;

    zone_function::<ToExchangeTime>(
        extension,
        "The exchange's wall-clock time of an instant. Needs no ICU: the IANA time zones come with the function.",
        "SELECT to_exchange_time('2025-01-15 04:20:00+00'::TIMESTAMPTZ, 'Asia/Kolkata') AS ts",
    )?;
    zone_function::<FromExchangeTime>(
        extension,
        "The instant of an exchange's wall-clock time. A time that a clock change skips is read with the offset before the change, one \
         that occurs twice as the first.",
        "SELECT from_exchange_time('2025-01-15 09:50:00'::TIMESTAMP, 'Asia/Kolkata') AS instant",
    )
}

/// Microseconds since midnight.
pub(crate) fn time_of_day(
    value: Option<&str>,
    function: Option<&str>,
    parameter: Option<&str>,
) -> std::result::Result<Option<i64>, String> {
    let Some(given) = value else { return Ok(None) };
    let parsed = || {
        let mut parts = given.trim().split(':');
        let mut part = |limit: i64| {
            let text = parts.next()?;
            let is_digits = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<i64>().ok().filter(|value| is_digits && *value <= limit)
        };
        let (hours, minutes) = (part(24)?, part(59)?);
        let seconds = match given.trim().matches(':').count() {
            1 => 0,
            2 => part(59)?,
            _ => return None,
        };
        let total = hours * MICROSECONDS_AN_HOUR + minutes * MICROSECONDS_A_MINUTE + seconds * 1_000_000;
        (total <= 24 * MICROSECONDS_AN_HOUR).then_some(total)
    };
    parsed().map(Some).ok_or_else(|| {
        format!(
            "{}: {} must be a time of day between 00:00 and 24:00, such as 09:50, got {}",
            function.unwrap_or("?"),
            parameter.unwrap_or("?"),
            if given == "NULL" { given.to_owned() } else { format!("'{given}'") }
        )
    })
}

fn latest_visible_start(arguments: &[Option<&str>]) -> std::result::Result<Option<TimeValue>, String> {
    let function = arguments[2].unwrap_or("?");
    let minutes = arguments[1].unwrap_or("NULL");
    let Some(minutes) = minutes.parse::<f64>().ok().filter(|minutes| minutes.fract() == 0.0 && (1.0..=1440.0).contains(minutes)) else {
        return Err(format!("{function}: bar_minutes must be a whole number between 1 and 1440, got {minutes}"));
    };
    // Nothing is silently empty: a cutoff that is NULL is refused like any other that is no time.
    let end = time_of_day(arguments[0].or(Some("NULL")), arguments[2], arguments[3])?.unwrap_or_default();
    #[expect(clippy::cast_possible_truncation, reason = "a whole number up to 1440")]
    let length = minutes as i64;
    let start = end - length * MICROSECONDS_A_MINUTE;
    if start < 0 {
        // Daily bars scanned at 09:50, for one.
        return Err(format!(
            "{function}: {} ({}) is earlier than any bar of {length} minutes can end; daily bars (bar_minutes 1440) are complete at 24:00",
            arguments[3].unwrap_or("?"),
            arguments[0].unwrap_or("?")
        ));
    }
    Ok(Some(TimeValue(start)))
}

/// A time zone by its IANA name, from the database compiled in.
fn time_zone(name: &str, function: &str) -> Result<TimeZone> {
    let database = TimeZoneDatabase::bundled();
    database.get(name).map_err(|_| {
        let nearest = database
            .available()
            .map(|zone| zone.to_string())
            .max_by(|one, other| strsim::jaro_winkler(one, name).total_cmp(&strsim::jaro_winkler(other, name)))
            .filter(|zone| strsim::jaro_winkler(zone, name) > 0.8)
            .map_or(";".to_owned(), |zone| format!("; did you mean '{zone}'?"));
        Error::invalid_input(format!(
            "{function}: unknown time zone '{name}'{nearest} expected an IANA name such as 'Asia/Kolkata' or 'America/New_York'"
        ))
    })
}

/// A conversion of microseconds in a zone. Since 1973 offsets have changed on the quarter hour only, so one look-up serves a quarter of an
/// hour.
trait ZoneConversion: Send + Sync + 'static {
    const NAME: &'static str;
    /// What to do with an argument of another type.
    const ADVICE: &'static str;
    type Input: DuckDBType + crate::duckdb::vector::VectorElement + 'static;
    type Output: DuckDBType + for<'a> crate::duckdb::vector::WritableVectorElement<Write<'a> = Self::Output> + 'static;
    fn microseconds(input: <Self::Input as crate::duckdb::vector::VectorElement>::Ref<'_>) -> i64;
    fn output(microseconds: i64) -> Self::Output;
    /// Microseconds to add.
    fn offset(zone: &TimeZone, microseconds: i64) -> std::result::Result<i64, jiff::Error>;
}

struct ToExchangeTime;
impl ZoneConversion for ToExchangeTime {
    const NAME: &'static str = TO_EXCHANGE_TIME;
    const ADVICE: &'static str = "a wall-clock time becomes an instant by from_exchange_time(ts, zone)";
    type Input = TimestampTzValue;
    type Output = TimestampValue;
    fn microseconds(input: &TimestampTzValue) -> i64 {
        input.0
    }
    fn output(microseconds: i64) -> TimestampValue {
        TimestampValue(microseconds)
    }
    fn offset(zone: &TimeZone, microseconds: i64) -> std::result::Result<i64, jiff::Error> {
        Ok(i64::from(zone.to_offset(Timestamp::from_microsecond(microseconds)?).seconds()) * 1_000_000)
    }
}

struct FromExchangeTime;
impl ZoneConversion for FromExchangeTime {
    const NAME: &'static str = FROM_EXCHANGE_TIME;
    const ADVICE: &'static str = "cast it to TIMESTAMP";
    type Input = TimestampValue;
    type Output = TimestampTzValue;
    fn microseconds(input: &TimestampValue) -> i64 {
        input.0
    }
    fn output(microseconds: i64) -> TimestampTzValue {
        TimestampTzValue(microseconds)
    }
    fn offset(zone: &TimeZone, microseconds: i64) -> std::result::Result<i64, jiff::Error> {
        let local: DateTime = TimeZone::UTC.to_datetime(Timestamp::from_microsecond(microseconds)?);
        Ok(zone.to_ambiguous_timestamp(local).compatible()?.as_microsecond() - microseconds)
    }
}

struct ZoneFunction<Z>(std::marker::PhantomData<Z>);

fn zone_function<Z: ZoneConversion>(extension: &Extension, description: &str, example: &str) -> Result<()> {
    let signature = SignatureBuilder::new()
        // Any type, so that DuckDB does not turn a wall-clock time into an instant behind the caller's back.
        .param(FunctionParameter::new::<Any>("ts"))
        .param(FunctionParameter::new::<String>("time_zone"))
        .return_type(Z::Output::logical_type(extension)?)
        .documentation(FunctionDocumentationBuilder::new().description(description).add_example("", example).add_category("market"));
    ScalarFunctionBuilder::new(Z::NAME, signature, ZoneFunction::<Z>(std::marker::PhantomData)).with_bind().register(extension)
}

impl<Z: ZoneConversion> ScalarBindCallbacks for ZoneFunction<Z> {
    fn bind(&self, context: &Context, arguments: BindArguments<'_>) -> Result<()> {
        caught(Z::NAME, || {
            let (given, expected) = (arguments.logical_type(0)?, Z::Input::logical_type(context)?);
            let is_open = matches!(given.id()?, LogicalTypeID::Unknown | LogicalTypeID::SqlNull);
            if is_open || given.id()? == expected.id()? {
                return Ok(());
            }
            Err(Error::invalid_input(format!("{}: ts is {}, expected {}; {}", Z::NAME, given.to_text()?, expected.to_text()?, Z::ADVICE)))
        })
    }
}

impl<Z: ZoneConversion> ScalarCallbacks for ZoneFunction<Z> {
    type BindData = ();
    type InitData = ();

    fn exec(
        &self,
        _bind_data: Option<&()>,
        _init_data: Option<&mut ()>,
        _context: &Context,
        vectors: &mut VectorCollection,
        output: Vector<'_, Unknown>,
    ) -> Result<()> {
        caught(Z::NAME, || {
            let rows = vectors.row_count()?;
            if vectors.get_untyped_vector_at(0)?.logical_type().id()? == LogicalTypeID::SqlNull {
                let mut output = output.cast::<Z::Output>()?;
                output.set_size(rows)?;
                let mut writer = output.writer()?;
                return (0..rows).try_for_each(|row| writer.set(row, None));
            }
            let times = vectors.get_vector_at::<Z::Input>(0)?.reader()?;
            let zones = vectors.get_vector_at::<String>(1)?.reader()?;
            let mut output = output.cast::<Z::Output>()?;
            output.set_size(rows)?;
            let mut writer = output.writer()?;
            let mut zone: Option<(String, TimeZone)> = None;
            let mut known: Option<(i64, i64)> = None;
            for row in 0..rows {
                let (Some(time), Some(name)) = (times.get(row)?, zones.get(row)?) else {
                    writer.set(row, None)?;
                    continue;
                };
                if zone.as_ref().is_none_or(|(known_name, _)| known_name != name) {
                    zone = Some((name.to_owned(), time_zone(name, Z::NAME)?));
                    known = None;
                }
                let Some((_, current)) = &zone else { continue };
                let microseconds = Z::microseconds(time);
                // DuckDB's infinities are on every clock.
                if microseconds.unsigned_abs() == i64::MAX.unsigned_abs() {
                    writer.set(row, Some(Z::output(microseconds)))?;
                    continue;
                }
                let quarter = microseconds.div_euclid(15 * MICROSECONDS_A_MINUTE);
                let offset = match known {
                    Some((known_quarter, offset)) if known_quarter == quarter => offset,
                    _ => {
                        let offset = Z::offset(current, quarter * 15 * MICROSECONDS_A_MINUTE)
                            .map_err(|error| Error::invalid_input(format!("{}: {error}", Z::NAME)))?;
                        known = Some((quarter, offset));
                        offset
                    }
                };
                writer.set(row, Some(Z::output(microseconds + offset)))?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(text: &str) -> Option<i64> {
        time_of_day(Some(text), Some("scan_x"), Some("cutoff_time")).ok().flatten().map(|time| time / MICROSECONDS_A_MINUTE)
    }

    #[test]
    fn times_of_day_reach_from_midnight_to_midnight() {
        assert_eq!(minutes("00:00"), Some(0));
        assert_eq!(minutes("9:50"), Some(590));
        assert_eq!(minutes("09:50:00"), Some(590));
        assert_eq!(minutes("24:00"), Some(1440));
        for wrong in ["25:99", "24:01", "09:60", "0950", "", "-1:00", "09:50 PM", "09:50:00:00", "+9:50"] {
            assert_eq!(minutes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_bar_is_visible_when_it_has_ended() {
        let start = |cutoff, length| {
            latest_visible_start(&[Some(cutoff), Some(length), Some("f"), Some("p")])
                .map(|time| time.map(|time| time.0 / MICROSECONDS_A_MINUTE))
        };
        assert_eq!(start("09:50", "1"), Ok(Some(589)));
        assert_eq!(start("24:00", "1440"), Ok(Some(0)));
        assert!(start("00:03", "5").is_err(), "no bar of five minutes has ended three minutes after midnight");
        assert!(start("09:50", "0").is_err());
        assert!(start("09:50", "1.5").is_err());
    }
}
