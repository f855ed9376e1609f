//! What happens to jobs, and what a process that begins finds of those of another.

use std::error::Error;

use jiff::Timestamp;
use stockscan_engine::{Engine, Options};
use stockscan_state::{Job, JobChange, JobFilter, JobStatus, State, new_job_id};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn new_state() -> Outcome<(tempfile::TempDir, State, Engine)> {
    let folder = tempfile::tempdir()?;
    let state = State::new(folder.path().join("state.duckdb"));
    Ok((folder, state, Engine::open(Options::memory())?))
}

fn inserted(state: &State, engine: &Engine, kind: &str) -> Outcome<String> {
    let job = Job::new(new_job_id(), kind, r#"{"scanner_type":"breakout"}"#);
    state.insert_job(engine, &job)?;
    // As it was, but for what no clock of the file has.
    let found = state.job(engine, &job.job_id)?.ok_or("the job is not there")?;
    assert_eq!(found.created_at.as_microsecond(), job.created_at.as_microsecond());
    assert_eq!(Job { created_at: job.created_at, ..found }, job);
    Ok(job.job_id)
}

#[test]
fn a_job_goes_one_way() -> Outcome {
    let (_folder, state, engine) = new_state()?;
    let id = inserted(&state, &engine, "backtest")?;
    let change = |change: JobChange| state.update_job(&engine, &id, &change, Timestamp::now());
    assert!(!change(JobChange::Progress(0.5))?, "one that has not begun is nowhere");
    assert!(change(JobChange::Started)?);
    assert!(!change(JobChange::Started)?, "two workers would do it");
    assert!(change(JobChange::Progress(0.75))?);
    change(JobChange::Progress(0.25))?;
    let running = state.job(&engine, &id)?.ok_or("the job is not there")?;
    assert_eq!((running.status, running.progress), (JobStatus::Running, 0.75), "it does not go back");
    assert!(running.started_at.is_some_and(|started| started >= running.created_at));
    assert!(change(JobChange::Cancelled)?);
    assert!(!change(JobChange::Done("[]".to_owned()))?, "a result after the end would undo the cancelling");
    let ended = state.job(&engine, &id)?.ok_or("the job is not there")?;
    assert_eq!((ended.status, ended.result.as_deref(), ended.finished_at.is_some()), (JobStatus::Cancelled, None, true));
    assert!(state.delete_job(&engine, &id)?);
    assert!(!state.delete_job(&engine, &id)?);
    assert_eq!(state.job(&engine, &id)?, None);
    Ok(())
}

#[test]
fn results_of_any_size_come_back_as_they_were() -> Outcome {
    let (_folder, state, engine) = new_state()?;
    let id = inserted(&state, &engine, "backtest")?;
    // As large as that of 50,000 trades, with what could end a text too early.
    let trades: Vec<String> = (0..50_000).map(|trade| format!(r#"{{"symbol":"O'Re\"il\\ly {trade}","return_pct":{trade}.125}}"#)).collect();
    let result = format!("[{}]", trades.join(","));
    assert!(state.update_job(&engine, &id, &JobChange::Done(result.clone()), Timestamp::now())?);
    assert!(state.job(&engine, &id)?.and_then(|job| job.result).as_deref() == Some(result.as_str()));
    Ok(())
}

#[test]
fn what_ended_with_its_process_is_marked_and_what_had_ended_is_kept() -> Outcome {
    let (_folder, state, engine) = new_state()?;
    assert_eq!(state.mark_interrupted(&engine)?, 0);
    assert!(!state.exists(), "a server that has had no job makes no file");
    assert_eq!(state.jobs(&engine, &JobFilter::default(), 10, 0)?, (0, Vec::new()));
    let [queued, running, done, failed] = [(); 4].map(|()| inserted(&state, &engine, "optimize").unwrap());
    state.update_job(&engine, &running, &JobChange::Started, Timestamp::now())?;
    state.update_job(&engine, &done, &JobChange::Done("{}".to_owned()), Timestamp::now())?;
    state.update_job(
        &engine,
        &failed,
        &JobChange::Failed { kind: "timeout".to_owned(), text: "too late".to_owned(), result: None },
        Timestamp::now(),
    )?;
    assert_eq!(state.mark_interrupted(&engine)?, 2);
    for (id, status) in
        [(queued, JobStatus::Interrupted), (running, JobStatus::Interrupted), (done, JobStatus::Done), (failed, JobStatus::Failed)]
    {
        let job = state.job(&engine, &id)?.ok_or("the job is not there")?;
        assert_eq!(job.status, status);
        assert!(job.finished_at.is_some());
    }
    let failed = state.jobs(&engine, &JobFilter { status: Some(JobStatus::Failed), ..JobFilter::default() }, 10, 0)?.1;
    assert_eq!(
        failed.iter().map(|job| (job.error_kind.as_deref(), job.error.as_deref())).collect::<Vec<_>>(),
        [(Some("timeout"), Some("too late"))]
    );
    inserted(&state, &engine, "backtest")?;
    let (total, jobs) = state.jobs(&engine, &JobFilter { kind: Some("optimize".to_owned()), status: None }, 2, 1)?;
    assert_eq!((total, jobs.len()), (4, 2));
    assert!(jobs[0].created_at >= jobs[1].created_at, "the newest first");
    Ok(())
}

#[test]
fn of_jobs_that_have_ended_the_newest_are_kept() -> Outcome {
    let (_folder, state, engine) = new_state()?;
    // The oldest of all still runs, which one that only goes by age would forget.
    let running = inserted(&state, &engine, "optimize")?;
    let ended = (0..4).map(|_| inserted(&state, &engine, "backtest")).collect::<Outcome<Vec<String>>>()?;
    for id in &ended {
        state.update_job(&engine, id, &JobChange::Cancelled, Timestamp::now())?;
    }
    assert_eq!(state.forget_jobs(&engine, 3)?, 1);
    assert_eq!(state.forget_jobs(&engine, 3)?, 0);
    let (_, left) = state.jobs(&engine, &JobFilter::default(), 10, 0)?;
    let left: Vec<&str> = left.iter().map(|job| job.job_id.as_str()).collect();
    assert_eq!(left, [&ended[3], &ended[2], &ended[1], &running]);
    Ok(())
}
