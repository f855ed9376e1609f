//! How the bars of a body are laid out, as the query says: the names of `scanner ingest`, in the notation of URLs.

use stockscan_engine::{Error, Label, Layout, nearest};

use crate::problem::{Answer, Problem};

/// What may be given.
const NAMES: [&str; 7] = ["map", "symbol", "timezone", "file_timezone", "timestamp_format", "label", "bar_minutes"];

/// The layout that is asked for.
pub(super) fn layout(given: &[(String, String)], bar_minutes: u32) -> Answer<Layout> {
    let mut layout = Layout { bar_minutes, ..Layout::default() };
    for (index, (name, value)) in given.iter().enumerate() {
        let wrong = |expected: &str| Problem::of_parameter(name, format!("{name} is '{}'; expected {expected}", value.escape_debug()));
        if name != "map" && given[..index].iter().any(|(before, _)| before == name) {
            return Err(Problem::of_parameter(name, format!("{name} is there twice")));
        }
        if value.is_empty() {
            return Err(wrong("a value"));
        }
        let text = || Some(value.clone());
        match name.as_str() {
            "map" => {
                let (column, sent) = value.split_once(':').ok_or_else(|| wrong("COLUMN:COLUMN_OF_THE_BODY, such as map=ts:timestamp"))?;
                layout.map.push((column.trim().to_owned(), sent.trim().to_owned()));
            }
            "symbol" => layout.symbol = text(),
            "timezone" => layout.time_zone = text(),
            "file_timezone" => layout.file_time_zone = text(),
            "timestamp_format" => layout.timestamp_format = text(),
            "label" => {
                layout.label = match value.as_str() {
                    "start" => Label::Start,
                    "end" => Label::End,
                    _ => return Err(wrong("start or end")),
                }
            }
            "bar_minutes" => {
                layout.bar_minutes = value
                    .parse()
                    .ok()
                    .filter(|minutes| (1..=1440).contains(minutes))
                    .ok_or_else(|| wrong("a whole number from 1 to 1440"))?;
            }
            _ => {
                let hint = nearest(name, NAMES).map_or(String::new(), |name| format!(" did you mean '{name}'?"));
                let name = name.escape_debug();
                return Err(Problem::invalid(format!("there is no parameter '{name}';{hint} there are {}", NAMES.join(", "))));
            }
        }
    }
    if layout.file_time_zone.is_some() && layout.time_zone.is_none() {
        return Err(Problem::of_parameter("timezone", "file_timezone needs timezone, the zone of the exchange's clock"));
    }
    Ok(layout)
}

/// What went wrong, in the words of a request.
pub(super) fn problem(error: Error) -> Problem {
    match error {
        Error::Invalid(text) => Problem::invalid(in_a_query(&text)),
        other => other.into(),
    }
}

/// `--map ts=timestamp` of the command is `map=ts:timestamp` here.
fn in_a_query(text: &str) -> String {
    let text = text
        .replace(" or --symbol-from-file", "")
        .replace("--map names", "map names")
        .replace("; name a table, or a new one, with --source", "");
    let mut parts = text.split("--map ");
    let mut said = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        said.push_str("map=");
        said.push_str(&part.replacen('=', ":", 1));
    }
    [("--timezone ", "timezone="), ("--symbol ", "symbol="), ("--timestamp-format ", "timestamp_format=")]
        .iter()
        .fold(said, |text, (option, parameter)| text.replace(option, parameter))
        .replace("--timestamp-format", "timestamp_format")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_names_parameters_of_the_query() {
        let said = in_a_query(
            "no column for 'symbol' among a, b; say which one with --map symbol=COLUMN, or give --symbol NAME or --symbol-from-file",
        );
        assert_eq!(said, "no column for 'symbol' among a, b; say which one with map=symbol:COLUMN, or give symbol=NAME");
        let said = in_a_query("give their format with --timestamp-format, such as '%d/%m/%Y %H:%M'");
        assert_eq!(said, "give their format with timestamp_format, such as '%d/%m/%Y %H:%M'");
    }

    #[test]
    fn a_layout_is_what_the_query_says() -> Result<(), Box<dyn std::error::Error>> {
        let given =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>();
        let both = given(&[("map", "ts:day+time"), ("map", "symbol:a:b"), ("label", "end"), ("bar_minutes", "5")]);
        let found = layout(&both, 1).map_err(|problem| problem.detail)?;
        // Only the first colon divides: a column may have one in its name.
        assert_eq!(found.map, [("ts".to_owned(), "day+time".to_owned()), ("symbol".to_owned(), "a:b".to_owned())]);
        assert_eq!((found.label, found.bar_minutes), (Label::End, 5));
        for (name, value, said) in [
            ("map", "ts=timestamp", "map is 'ts=timestamp'; expected COLUMN:COLUMN_OF_THE_BODY, such as map=ts:timestamp"),
            ("label", "END", "label is 'END'; expected start or end"),
            ("bar_minutes", "0", "bar_minutes is '0'; expected a whole number from 1 to 1440"),
            ("file_timezone", "UTC", "file_timezone needs timezone, the zone of the exchange's clock"),
        ] {
            let problem = layout(&given(&[(name, value)]), 1).err().map(|problem| problem.detail);
            assert_eq!(problem.as_deref(), Some(said));
        }
        let problem = layout(&given(&[("time_zone", "UTC")]), 1).err().map(|problem| problem.detail).unwrap_or_default();
        assert!(problem.contains("did you mean 'timezone'?"), "{problem}");
        Ok(())
    }
}
