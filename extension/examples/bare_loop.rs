//! TA-Lib called in a bare loop over lists in memory: what the indicator functions are measured against (`bench/run.py`, section
//! `indicators`).
//!
//! usage: `bare_loop FILE LENGTH`. The file holds doubles in the machine's order, list after list of this length. Prints a line for each
//! indicator: its name, the seconds with buffers used again, the seconds when every result is kept, and the sum of the last values.

use std::{env, fs, process::ExitCode, time::Instant};

use ta_lib::{Core, OutRange, RetCode};

type Indicator = fn(&Core, &[f64], &mut [Vec<f64>]) -> Result<OutRange, RetCode>;

const INDICATORS: [(&str, usize, Indicator); 2] = [
    ("rsi", 1, |core, list, outputs| core.rsi(0, list.len() - 1, list, 14, &mut outputs[0])),
    ("macd", 3, |core, list, outputs| {
        let [macd, signal, histogram] = outputs else { return Err(RetCode::BadParam) };
        core.macd(0, list.len() - 1, list, 12, 26, 9, macd, signal, histogram)
    }),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [file, length] = arguments.as_slice() else {
        eprintln!("usage: bare_loop FILE LENGTH");
        return ExitCode::FAILURE;
    };
    let (Ok(bytes), Ok(length)) = (fs::read(file), length.parse::<usize>()) else {
        eprintln!("bare_loop: cannot read '{file}' as lists of {length}");
        return ExitCode::FAILURE;
    };
    let (numbers, _) = bytes.as_chunks::<8>();
    let numbers: Vec<f64> = numbers.iter().map(|number| f64::from_ne_bytes(*number)).collect();
    let core = Core::new();
    for (name, count, indicator) in INDICATORS {
        match measure(&core, &numbers, length, count, indicator) {
            Ok((again, kept, sum)) => println!("{name} {again} {kept} {sum}"),
            Err(code) => {
                eprintln!("bare_loop: TA-Lib reports {code:?} for {name}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// Seconds with buffers used again and with every result kept, and the sum of the last values.
fn measure(core: &Core, numbers: &[f64], length: usize, count: usize, indicator: Indicator) -> Result<(f64, f64, f64), RetCode> {
    let buffers = || vec![vec![0.0; length]; count];
    let mut outputs = buffers();
    let mut sum = 0.0;
    let start = Instant::now();
    for list in numbers.chunks_exact(length) {
        let range = indicator(core, list, &mut outputs)?;
        sum += outputs[0][range.count - 1];
    }
    let again = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let mut kept = Vec::new();
    for list in numbers.chunks_exact(length) {
        let mut outputs = buffers();
        indicator(core, list, &mut outputs)?;
        kept.push(outputs);
    }
    let seconds = start.elapsed().as_secs_f64();
    drop(kept);
    Ok((again, seconds, sum))
}
