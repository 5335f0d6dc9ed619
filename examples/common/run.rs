//! How an example runs: its errors, its progress bar, its threads.

use std::cmp::Reverse;
use std::iter;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::thread;

use alphabar::{BoxError, Error};
use indicatif::{ProgressBar, ProgressStyle};

/// The exit code of a program. Prints an error as one sentence.
pub(crate) fn exit(result: Result<(), BoxError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With all causes.
            let causes = iter::successors(error.source(), |cause| cause.source());
            eprintln!("error: {}", causes.fold(error.to_string(), |message, cause| format!("{message}: {cause}")));
            ExitCode::FAILURE
        }
    }
}

/// A progress bar for this many network calls, on stderr; hidden if stderr is not a terminal.
pub(crate) fn progress_of(calls: usize) -> Result<ProgressBar, BoxError> {
    let progress = ProgressBar::new(calls as u64);
    progress.set_style(ProgressStyle::with_template("{bar:40} {pos} of {len} network calls, {eta} left")?);
    Ok(progress)
}

/// Runs all jobs, the most expensive first, on as many threads as there are processors. The results come in any order; no
/// result depends on the number of threads.
pub(crate) fn in_parallel<J: Send, R: Send>(
    mut jobs: Vec<J>,
    cost: impl Fn(&J) -> usize,
    work: impl Fn(J) -> Result<R, Error> + Sync,
) -> Result<Vec<R>, Error> {
    jobs.sort_by_key(|job| Reverse(cost(job)));
    let jobs = Mutex::new(jobs.into_iter());
    let results = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..threads() {
            scope.spawn(|| {
                loop {
                    let Some(job) = jobs.lock().unwrap_or_else(PoisonError::into_inner).next() else { break };
                    let result = work(job);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push(result);
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().collect()
}

pub(crate) fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
