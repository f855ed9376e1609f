//! What the catalogue says of an indicator, made of what TA-Lib says of it: names, and documentation in the grammar of the files of `sql/`.

use std::fmt::Write as _;

use ta_lib::abstract_api::{FuncFlags, FuncInfo, InputType, OptInputInfo, OptInputType, OutputFlags, OutputInfo, OutputType};

use super::{Form, Indicator, PRICES, options::UNLIMITED};

/// Functions made of others that remember where the series starts. TA-Lib's flags only name those others; a test compares with what they do.
const REMEMBER_TOO: &str = "ADOSC ADXR APO CKSP CVI DEMA DOSC EFI ERI KC KDJ KVO MACD MACDFIX MASSI PPO PSO PVO RVIR SMI STOCHRSI TEMA TRIX \
                            TSI WAVETREND ZLEMA";

impl Indicator {
    pub(super) fn example(&self) -> String {
        let price = |input: &str| match input {
            "series" | "series0" | "periods" => "close".to_owned(),
            "series1" => "open".to_owned(),
            other => other.to_owned(),
        };
        let call = |list: fn(String) -> String| {
            format!("{}({})", self.name, self.inputs.iter().map(|input| list(price(input))).collect::<Vec<_>>().join(", "))
        };
        let value = self.info.name.to_lowercase();
        match self.form {
            Form::Series => {
                format!("FROM bar_indicators({{{value}: {}}}, symbols := ['DEMO0001']) ORDER BY ts", call(|price| price))
            }
            Form::Last => {
                let call = call(|price| format!("series(bar.{price}, bar.ts)"));
                format!("SELECT bar.symbol, {call} AS {value} FROM bars AS bar GROUP BY bar.symbol")
            }
        }
    }

    /// What the catalogue says, with a line for each parameter in the grammar of the files of `sql/`.
    pub(super) fn description(&self) -> String {
        let info = self.info;
        let what = match self.form {
            Form::Series => "A value for each bar, NULL while it warms up.".to_owned(),
            Form::Last => {
                let series = self.name.trim_end_matches("_last");
                format!("The value of the last bar, which is the last of {series}, without a list of the others.")
            }
        };
        let mut text = format!("{} TA-Lib's {} ({}). {what}", sentence(info.hint), info.name, info.group.as_str());
        if let [output] = info.outputs
            && let Some(meaning) = pattern_meaning(output)
        {
            let _ = write!(text, " It is {meaning}.");
        }
        text.push_str(
            " A bar with an input that is NULL, NaN or infinite is left out: it has no value, and the others are what they were without it. \
             A list that is NULL gives NULL; so does a result that is not finite.",
        );
        if info.unst_id.is_some() || info.flags.contains(FuncFlags::PATH_DEPENDENT) || REMEMBER_TOO.split(' ').any(|name| name == info.name)
        {
            text.push_str(" The values remember where the series starts.");
        }
        if info.flags.contains(FuncFlags::DISPLAY_SHIFT) {
            text.push_str(" Charts draw it bars ahead or behind; here a value stands at the bar at which it is known.");
        }
        if info.flags.contains(FuncFlags::POSITIVE_INPUT) {
            text.push_str(" Meant for numbers above zero.");
        }
        if self.positions().any(|is_position| is_position) {
            text.push_str(" Places are counted from 0, as TA-Lib does; lists in SQL count from 1.");
        }
        text.push('\n');
        for input in &self.inputs {
            let _ = write!(text, "\n@param {input} DOUBLE[]: {}.", input_meaning(input));
        }
        for option in info.opt_inputs {
            let _ = write!(text, "\n@param {} := {}", option_name(option.param_name), option_documentation(option));
        }
        // A single value has no name.
        let kinds = info.outputs.iter().zip(self.positions()).map(|(output, is_position)| match output.kind {
            _ if is_position => "place of a bar in the series",
            OutputType::Real => "number",
            OutputType::Integer => "whole number",
        });
        for ((output, name), kind) in info.outputs.iter().zip(&self.outputs).zip(kinds).filter(|_| self.outputs.len() > 1) {
            let _ = write!(text, "\n@column {name} {}.", pattern_meaning(output).as_deref().unwrap_or(kind));
        }
        text
    }
}

/// `14 INTEGER, 2 to 100000: Lookback for ….`
fn option_documentation(option: &OptInputInfo) -> String {
    let hint = sentence(option.hint);
    match option.kind {
        OptInputType::IntegerRange { min, max, default, .. } => format!("{default} INTEGER, {min} to {max}: {hint}"),
        OptInputType::RealRange { min, max, default, .. } => {
            let range = match (min > -UNLIMITED, max < UNLIMITED) {
                (true, true) => format!(", {min} to {max}"),
                (true, false) => format!(", {min} or more"),
                _ => String::new(),
            };
            format!("{default} DOUBLE{range}: {hint}")
        }
        OptInputType::IntegerList { values, default } => {
            format!("'{}' VARCHAR one of {}: {hint}", choice_name(values, default), names(values))
        }
        OptInputType::RealList { default, .. } => format!("{default} DOUBLE: {hint}"),
    }
}

/// One of TA-Lib's hints with a full stop, and with options called as they are here.
fn sentence(hint: &str) -> String {
    let mut words: Vec<String> = hint.trim_end_matches(['.', ' ']).split(' ').map(str::to_owned).collect();
    for word in words.iter_mut().filter(|word| word.starts_with("optIn")) {
        let end = word.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(word.len());
        *word = format!("{}{}", option_name(&word[..end]), &word[end..]);
    }
    words.join(" ") + "."
}

/// The values of an output that is a pattern, such as `100 at the bar that completes the pattern, 0 elsewhere`.
fn pattern_meaning(output: &OutputInfo) -> Option<String> {
    let has = |flag| output.flags.contains(flag);
    let signed = |level: i32| match (has(OutputFlags::POSITIVE), has(OutputFlags::NEGATIVE)) {
        (true, true) => format!("{level} or -{level}"),
        (false, true) => format!("-{level}"),
        _ => level.to_string(),
    };
    if output.kind != OutputType::Integer || !has(OutputFlags::ZERO) {
        return None;
    }
    let mut text = format!("{} at the bar that completes the pattern", signed(100));
    if has(OutputFlags::PATTERN_BULL_BEAR) {
        text.push_str(match (has(OutputFlags::POSITIVE), has(OutputFlags::NEGATIVE)) {
            (true, true) => " (bullish or bearish)",
            (true, false) => " (a bullish one)",
            _ => " (a bearish one)",
        });
    }
    if has(OutputFlags::PATTERN_WEAK) {
        let _ = write!(text, ", {} for a weaker form", signed(80));
    }
    if has(OutputFlags::PATTERN_CONFIRM) {
        let _ = write!(text, ", {} at a bar that confirms an earlier one", signed(200));
    }
    Some(text + ", 0 elsewhere")
}

fn input_meaning(name: &str) -> &'static str {
    match name {
        "open" => "opens of the bars, in their order",
        "high" => "highs of the bars",
        "low" => "lows of the bars",
        "close" => "closes of the bars",
        "volume" => "volumes of the bars",
        "periods" => "a period for each bar",
        _ => "numbers in the order of time",
    }
}

pub(super) fn input_names(info: &FuncInfo) -> Vec<String> {
    let names = info.inputs.iter().flat_map(|input| match input.kind {
        InputType::Price => PRICES.iter().filter(|(flag, _)| input.flags.contains(*flag)).map(|(_, name)| (*name).to_owned()).collect(),
        InputType::Real | InputType::Integer => vec![snake_case(input.param_name.trim_start_matches("in")).replace("real", "series")],
    });
    names.collect()
}

/// `optInTimePeriod` is `time_period`, `optInROCMAType` `roc_ma_type`.
pub(super) fn option_name(name: &str) -> String {
    let name = snake_case(name.trim_start_matches("optIn"));
    match name.strip_suffix("ma_type") {
        Some(of) if !of.is_empty() && !of.ends_with('_') => format!("{of}_ma_type"),
        // A reserved word of SQL: `offset := 0.85` is a syntax error.
        _ if name == "offset" => "peak_offset".to_owned(),
        _ => name,
    }
}

/// `outRealUpperBand` is `upper_band`, `outReal` `real`.
pub(super) fn output_name(name: &str) -> String {
    let name = name.trim_start_matches("out");
    snake_case(name.strip_prefix("Real").filter(|rest| !rest.is_empty()).unwrap_or(name))
}

/// `FastD_Period` is `fast_d_period`, `MACDSignal` `macd_signal`, `TimePeriod1` `time_period1`.
fn snake_case(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut snake = String::new();
    for (index, letter) in letters.iter().enumerate() {
        let before = index.checked_sub(1).map(|before| letters[before]);
        let starts_word = letter.is_ascii_uppercase()
            && before.is_some_and(|before| {
                before.is_ascii_lowercase()
                    || before.is_ascii_uppercase() && letters.get(index + 1).is_some_and(char::is_ascii_lowercase)
                    || before.is_ascii_digit() && letters.get(index + 1).is_some_and(char::is_ascii_lowercase)
            });
        if starts_word {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

pub(super) fn names(values: &[(i64, &'static str)]) -> String {
    values.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
}

pub(super) fn choice_name(values: &[(i64, &'static str)], value: i64) -> &'static str {
    values.iter().find(|(other, _)| *other == value).map_or("", |(_, name)| name)
}
