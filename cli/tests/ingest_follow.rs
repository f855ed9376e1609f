//! `scanner ingest --follow`, and ingests that are killed, or run out of disk.

mod common;

use std::{
    fs::{self, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use common::{Outcome, command, count, ok, scanner};
use stockscan_engine::{Engine, Options};

const HEADER: &str = "symbol,ts,open,high,low,close,volume\n";

/// A follower that is running. What it says is read line by line.
struct Follower {
    child: Child,
    said: std::sync::mpsc::Receiver<String>,
    heard: Vec<String>,
}

impl Follower {
    fn start(folder: &Path, arguments: &[&str]) -> Outcome<Follower> {
        let mut child = command(folder).args(["ingest", "--follow"]).args(arguments).stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let stderr = BufReader::new(child.stderr.take().ok_or("piped")?);
        let (send, said) = std::sync::mpsc::channel();
        thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        let mut follower = Follower { child, said, heard: Vec::new() };
        follower.hears("following")?;
        Ok(follower)
    }

    /// Waits until it has said this, and returns the line.
    fn hears(&mut self, text: &str) -> Outcome<String> {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            match self.said.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.heard.push(line.clone());
                    if line.contains(text) {
                        return Ok(line);
                    }
                }
                Err(_) => return Err(format!("it did not say '{text}', but\n{}", self.heard.join("\n")).into()),
            }
        }
    }

    /// Ctrl-C; returns how it ended and what else it said.
    fn interrupt(mut self) -> Outcome<(Option<i32>, String)> {
        assert!(Command::new("kill").args(["-INT", &self.child.id().to_string()]).status()?.success());
        let code = self.child.wait()?.code();
        self.heard.extend(self.said.iter());
        Ok((code, self.heard.join("\n")))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn append(path: &Path, text: &str) -> Outcome {
    Ok(OpenOptions::new().append(true).open(path)?.write_all(text.as_bytes())?)
}

#[test]
fn only_complete_lines_of_a_growing_file_are_taken() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("live.csv");
    fs::write(&path, format!("{HEADER}A,2025-01-15 09:15:00,10,11,9,10,100\nA,2025-01-15 09:16:00,10,11,9,10,1"))?;
    let mut follower = Follower::start(folder.path(), &["live.csv"])?;
    follower.hears("1 bar added from live.csv, newest 2025-01-15 09:15:00")?;
    // The rest of the line: read too early, the volume was 1.
    append(&path, "234\nA,2025-01-15 09:17:00,10,11,9,10,7\n")?;
    follower.hears("2 bars added from live.csv, newest 2025-01-15 09:17:00")?;
    assert_eq!(count(folder.path(), "SELECT sum(volume)::BIGINT FROM bars")?, 100 + 1234 + 7);
    // A line that is none is counted under its number in the file, not in the part that was read.
    append(&path, "A,2025-01-15 09:18:00,10,11,9,10,7,8,9\nA,2025-01-15 09:19:00,10,11,9,10,7\n")?;
    let rejected = follower.hears("1 row of live.csv rejected")?;
    assert!(rejected.contains("(first: line 5: "), "{rejected}");
    // Shorter than before, and then as long with another content: from the start again, each time said.
    fs::write(&path, format!("{HEADER}B,2025-01-15 09:15:00,10,11,9,10,1\n"))?;
    follower.hears("is shorter than before: it is read from its start again")?;
    follower.hears("1 bar added from live.csv")?;
    fs::write(&path, format!("{HEADER}C,2025-01-15 09:15:00,10,11,9,10,1\nC,2025-01-15 09:16:00,10,11,9,10,1\nC,2025"))?;
    follower.hears("was replaced: it is read from its start again")?;
    follower.hears("2 bars added from live.csv")?;
    let (code, said) = follower.interrupt()?;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("7 bars added in 5 batches from 1 file"), "{said}");
    assert!(said.contains("live.csv: its last line does not end, and was not taken in"), "{said}");
    assert_eq!(count(folder.path(), "SELECT count(*) FROM bars")?, 7);
    Ok(())
}

#[test]
fn a_drop_is_taken_once_it_is_whole() -> Outcome {
    let folder = common::demo()?;
    let (path, drops) = (folder.path(), folder.path().join("drops"));
    fs::create_dir_all(drops.join("later"))?;
    ok(path, &["sql", "COPY (FROM bars WHERE ts >= '2025-01-15') TO 'bars.parquet'"])?;
    let whole = fs::read(path.join("bars.parquet"))?;
    for name in [".hidden.parquet", "unready.parquet.tmp", "unready.csv.part"] {
        fs::write(drops.join(name), b"nothing")?;
    }
    fs::write(drops.join("README.md"), b"no bars")?;
    let mut follower = Follower::start(path, &["drops", "--database", "new.duckdb"])?;
    follower.hears("README.md is left out")?;
    // Half a file that stands still is none yet, and does not stop the others.
    fs::write(drops.join("a.parquet"), &whole[..whole.len() / 2])?;
    fs::write(drops.join("later").join("b.csv"), format!("{HEADER}B,2025-01-14 09:15:00,10,11,9,10,1\n"))?;
    let complaint = follower.hears("a.parquet: ")?;
    assert!(!complaint.contains("LINE"), "no SQL of ours: {complaint}");
    follower.hears("1 bar added from drops/later/b.csv")?;
    fs::write(drops.join("a.parquet"), &whole)?;
    follower.hears("bars added from drops/a.parquet, newest 2025-01-15 15:29:00")?;
    // A file that changes is taken again; what is stored already is told apart.
    append(&drops.join("later").join("b.csv"), "B,2025-01-14 09:16:00,10,11,9,10,1\n")?;
    follower.hears("1 bar added from drops/later/b.csv (1 row stored already)")?;
    let (code, said) = follower.interrupt()?;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.matches("a.parquet: ").count(), 1, "said once: {said}");
    let expected = count(path, "SELECT count(*) FROM 'bars.parquet'")? + 2;
    let stored = ok(path, &["sql", "SELECT count(*) FROM bars", "--database", "new.duckdb", "--format", "csv"])?;
    assert_eq!(stored.out.lines().nth(1), Some(expected.to_string().as_str()));
    Ok(())
}

#[test]
fn a_reader_may_hold_the_database_and_nothing_is_lost() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("live.csv");
    fs::write(&path, format!("{HEADER}A,2025-01-15 09:15:00,10,11,9,10,100\n"))?;
    let mut follower = Follower::start(folder.path(), &["live.csv"])?;
    follower.hears("1 bar added")?;
    let reader = loop {
        // It is held for a moment only.
        match Engine::open(Options { read_only: true, ..Options::file(folder.path().join("market.duckdb")) }) {
            Err(stockscan_engine::Error::Locked { .. }) => thread::sleep(Duration::from_millis(10)),
            other => break other?,
        }
    };
    append(&path, "A,2025-01-15 09:16:00,10,11,9,10,100\n")?;
    let waiting = follower.hears("waiting for process")?;
    assert!(waiting.contains(&std::process::id().to_string()), "it names the reader: {waiting}");
    append(&path, "A,2025-01-15 09:17:00,10,11,9,10,100\n")?;
    let seen: i64 = reader.connection().query_row("SELECT count(*) FROM bars", [], |row| row.get(0))?;
    assert_eq!(seen, 1);
    drop(reader);
    follower.hears("newest 2025-01-15 09:17:00")?;
    let (code, said) = follower.interrupt()?;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(count(folder.path(), "SELECT count(*) FROM bars")?, 3);
    Ok(())
}

#[test]
fn a_follower_ends_by_itself_when_told_so() -> Outcome {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("live.csv"), format!("{HEADER}A,2025-01-15 09:15:00,10,11,9,10,100\n"))?;
    fs::create_dir(folder.path().join("drops"))?;
    let idle = ok(folder.path(), &["ingest", "--follow", "live.csv", "drops", "--idle", "1"])?;
    assert!(idle.err.contains("1 bar added in 1 batch from 1 file"), "{}", idle.err);
    assert_eq!(idle.out, "");
    let quiet = ok(folder.path(), &["-q", "ingest", "--follow", "live.csv", "--duration", "1"])?;
    assert_eq!(quiet.err, "");
    // What could not be taken in by then is a failure.
    fs::write(folder.path().join("live.csv"), "price\n1\n")?;
    let failed = scanner(folder.path(), &["-q", "ingest", "--follow", "live.csv", "--duration", "1"])?;
    assert_eq!(failed.code, Some(1), "{}", failed.err);
    assert!(failed.err.contains("live.csv: no column for 'symbol'"), "{}", failed.err);
    assert!(failed.err.contains("not everything could be taken in: live.csv"), "{}", failed.err);
    let unused = scanner(folder.path(), &["ingest", "live.csv", "--idle", "1"])?;
    assert_eq!(unused.code, Some(2));
    let drops = scanner(folder.path(), &["ingest", "drops"])?;
    assert_eq!(drops.code, Some(2));
    assert!(drops.err.contains("drops is a folder; name its files, as in drops/*.parquet"), "{}", drops.err);
    Ok(())
}

/// A file without symbols with so many bars of one day.
fn day(folder: &Path, name: &str, day: i64, rows: i64) -> Outcome {
    let mut text = "ts,open,high,low,close,volume\n".to_owned();
    for minute in 0..rows {
        text.push_str(&format!("2025-01-{day:02} {:02}:{:02}:00,10,11,9,10,{minute}\n", minute / 60, minute % 60));
    }
    Ok(fs::write(folder.join(name), text)?)
}

const DAYS: [(&str, i64, i64); 3] = [("a.csv", 1, 1_400), ("b.csv", 2, 900), ("c.csv", 3, 1_200)];

#[test]
fn an_ingest_that_is_killed_leaves_whole_files() -> Outcome {
    // Two databases at a time, with moments that are spread over the time that a file takes, in an order without pattern.
    let outcomes = thread::scope(|scope| {
        let halves = [0, 50].map(|first| scope.spawn(move || killed_rounds(first..first + 50).map_err(|error| error.to_string())));
        halves.map(|half| half.join().map_err(|_| "a round failed, see above".to_owned()).flatten())
    });
    let (mut killed, mut partly) = (0, 0);
    for outcome in outcomes {
        let found = outcome?;
        (killed, partly) = (killed + found.0, partly + found.1);
    }
    assert!(killed >= 50, "{killed} of 100 rounds were killed while it ran");
    assert!(partly > 0, "some were killed between two files");
    Ok(())
}

/// Kills an ingest of three files in each round. Returns how many were killed while they ran, and how many of these between two files.
fn killed_rounds(rounds: std::ops::Range<u64>) -> Outcome<(u32, u32)> {
    let folder = tempfile::tempdir()?;
    for (name, number, rows) in DAYS {
        day(folder.path(), name, number, rows)?;
    }
    let rows_of = |engine: &Engine, symbol: &str| -> Outcome<Vec<i64>> {
        let count = "SELECT count(*) FROM bars WHERE symbol = ? AND day(ts) = ?";
        let counts = DAYS.iter().map(|(_, day, _)| engine.connection().query_row(count, [symbol, &day.to_string()], |row| row.get(0)));
        Ok(counts.collect::<Result<_, _>>()?)
    };
    ok(folder.path(), &["-q", "ingest", "a.csv", "--symbol", "first"])?;
    let (mut killed, mut partly) = (0, 0);
    for round in rounds {
        let symbol = format!("round{round}");
        let arguments = ["-v", "ingest", "a.csv", "b.csv", "c.csv", "--symbol", &symbol];
        let mut child = command(folder.path()).args(arguments).stderr(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stderr.take().ok_or("piped")?).lines().map_while(Result::ok);
        // Within each file in turn, however fast the machine is; before the first there is nothing to interrupt.
        let within = usize::try_from(round % 3)? + 1;
        let mut announced = if lines.any(|line| line.starts_with(&format!("{within} of 3"))) { within } else { 0 };
        thread::sleep(Duration::from_millis(round * 61 % 121));
        child.kill()?;
        killed += u32::from(child.wait()?.code().is_none());
        announced += lines.filter(|line| line.contains(" of 3: ")).count();

        let engine = Engine::open(Options::file(folder.path().join("market.duckdb")))?;
        let found = rows_of(&engine, &symbol)?;
        for (index, (found, (name, _, rows))) in found.iter().zip(DAYS).enumerate() {
            assert!(*found == 0 || *found == rows, "round {round}: {found} of {rows} rows of {name}");
            // A file is announced when the one before it was committed.
            assert!(*found == rows || index + 1 >= announced, "round {round}: {name} was stored, and is gone");
        }
        partly += u32::from(found[0] > 0 && found[2] == 0);
        assert_eq!(rows_of(&engine, "first")?, [1_400, 0, 0], "round {round}");
    }
    // And it goes on from there.
    ok(folder.path(), &["-q", "ingest", "a.csv", "b.csv", "c.csv", "--symbol", "first"])?;
    assert_eq!(count(folder.path(), "SELECT count(*) FROM bars WHERE symbol = 'first'")?, 3_500);
    Ok((killed, partly))
}

/// A small file system, unmounted at the end.
struct SmallDisk<'a>(&'a Path);

impl SmallDisk<'_> {
    fn mount(folder: &Path) -> Option<SmallDisk<'_>> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(folder).stderr(Stdio::null()).status();
        mounted.is_ok_and(|status| status.success()).then_some(SmallDisk(folder))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_leaves_what_was_there() -> Outcome {
    let (files, disk) = (tempfile::tempdir()?, tempfile::tempdir()?);
    day(files.path(), "small.csv", 1, 300)?;
    // Noise, which cannot be made small.
    ok(
        files.path(),
        &[
            "sql",
            "COPY (SELECT 'S' || hash(i) AS symbol, TIMESTAMP '2025-01-15 09:15:00' AS ts, 1 + random() AS open, 3 + random() AS high, random() * 0.1 + 0.1 AS low, \
           1 + random() AS close, hash(i + 1) % 1000000007 AS volume FROM range(100000) AS r(i)) TO 'big.csv'",
        ],
    )?;
    let [small, big] = ["small.csv", "big.csv"].map(|name| files.path().join(name).display().to_string());
    let mounted = SmallDisk::mount(disk.path());
    let run = |arguments: &[&str]| -> Outcome<common::Answer> {
        if mounted.is_some() {
            return scanner(disk.path(), arguments);
        }
        // Where nothing may be mounted, a file may not grow beyond 2 MiB; ulimit counts in half kilobytes, or in kilobytes.
        let limited = command(disk.path());
        let program = limited.get_program().to_owned();
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' XFSZ; ulimit -f 2048; exec \"$0\" \"$@\""]).arg(program).args(arguments).current_dir(disk.path());
        shell.envs(limited.get_envs().filter_map(|(name, value)| Some((name, value?))));
        common::answer(&mut shell)
    };
    assert_eq!(run(&["ingest", &small, "--symbol", "A"])?.code, Some(0));
    let full = run(&["ingest", &big])?;
    assert_eq!(full.code, Some(1), "{}", full.err);
    assert!(full.err.contains("big.csv: "), "it says of which file: {}", full.err);
    assert!(full.err.contains("nothing of it was stored"), "{}", full.err);
    assert_eq!(count(disk.path(), "SELECT count(*) FROM bars")?, 300, "what was there is there, and nothing of the other");
    // What fits still goes in.
    assert_eq!(run(&["ingest", &small, "--symbol", "B"])?.code, Some(0));
    assert_eq!(count(disk.path(), "SELECT count(*) FROM bars")?, 600);
    Ok(())
}
