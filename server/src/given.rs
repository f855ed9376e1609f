//! Dates and times as requests give them: each in one notation, so that the description of the interface can say which.

use jiff::civil::{Date, DateTime, Time};
use stockscan_configuration::is_time_of_day;
use stockscan_engine::{Error, Result};

/// A date. Scanners look back from it, so that not all that DuckDB knows will do.
pub(crate) const DATE: &str = "^(19|20|21)[0-9]{2}-[0-9]{2}-[0-9]{2}$";
/// A date, or a time of the exchange.
pub(crate) const MOMENT: &str =
    "^(19|20|21)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?)?$";

/// A date that a request gives.
///
/// # Errors
/// [`Error::Invalid`] for anything else.
pub(crate) fn date(name: &str, text: &str) -> Result<Date> {
    let wrong = || Error::Invalid(format!("{name} must be a date from 1900-01-01 to 2199-12-31 such as 2025-01-15, got '{}'", brief(text)));
    parsed(text).ok_or_else(wrong)
}

fn parsed(text: &str) -> Option<Date> {
    let is_plain = text.len() == 10
        && text.bytes().enumerate().all(|(index, byte)| if index == 4 || index == 7 { byte == b'-' } else { byte.is_ascii_digit() });
    let date = if is_plain { text.parse::<Date>().ok() } else { None };
    date.filter(|date| (1900..2200).contains(&date.year()))
}

/// Checks a time of day that a request gives.
///
/// # Errors
/// [`Error::Invalid`] for anything else.
pub(crate) fn time_of_day(name: &str, text: &str) -> Result<()> {
    if is_time_of_day(text) {
        return Ok(());
    }
    Err(Error::Invalid(format!("{name} must be a time of day such as 09:50, 09:50:30 or 24:00, got '{}'", brief(text))))
}

/// A date or a time of the exchange that a request gives. `is_last`: of a date, its end.
///
/// # Errors
/// [`Error::Invalid`] for anything else.
pub(crate) fn moment(name: &str, text: &str, is_last: bool) -> Result<DateTime> {
    let wrong = || {
        let text = brief(text);
        let expected = "a date or a time of the exchange such as 2025-01-15 or 2025-01-15T09:15, from 1900 to 2199";
        Error::Invalid(format!("{name} must be {expected}, got '{text}'"))
    };
    let Some((day, rest)) = text.split_at_checked(10) else { return Err(wrong()) };
    let day = parsed(day).ok_or_else(wrong)?;
    if rest.is_empty() {
        let day = if is_last { day.tomorrow().map_err(|_| wrong())? } else { day };
        return Ok(day.to_datetime(Time::midnight()));
    }
    let time = rest.strip_prefix(['T', ' ']).filter(|time| matches!(time.len(), 5 | 8) && is_time_of_day(time));
    let time = time.and_then(|time| time.parse::<Time>().ok()).ok_or_else(wrong)?;
    Ok(day.to_datetime(time))
}

/// The beginning of a text, for a message.
fn brief(text: &str) -> String {
    let mut letters = text.chars();
    let beginning: String = letters.by_ref().take(40).collect();
    if letters.next().is_some() { beginning + "…" } else { beginning }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_one_notation() {
        assert_eq!(date("scan_date", "2024-02-29").unwrap().to_string(), "2024-02-29");
        // What the library would take for one, and the catalogue's guards would not, or the schema does not promise.
        for wrong in
            ["", "2025-02-29", "20250115", " 2025-01-15", "2025-01-15T00:00", "+002025-01-15", "2025-W03-3", "1899-12-31", "2200-01-01"]
        {
            let message = date("scan_date", wrong).unwrap_err().to_string();
            assert!(message.starts_with("scan_date must be a date"), "{wrong}: {message}");
        }
    }

    #[test]
    fn the_last_moment_of_a_date_is_its_end() {
        let at = |text, is_last| moment("to", text, is_last).unwrap().to_string();
        assert_eq!(at("2025-01-15", false), "2025-01-15T00:00:00");
        assert_eq!(at("2025-01-31", true), "2025-02-01T00:00:00");
        assert_eq!(at("2025-01-15T09:15", true), "2025-01-15T09:15:00");
        assert_eq!(at("2025-01-15 09:15:30", false), "2025-01-15T09:15:30");
        for wrong in ["2025-01-15T24:00", "2025-01-15T9:15", "2025-01-15T09", "2025-01-15Z", "2025-01-15T09:15+01:00", "ééééé15T09:15"]
        {
            assert!(moment("to", wrong, true).is_err(), "{wrong}");
        }
    }
}
