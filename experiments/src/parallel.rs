//! Independent jobs on all cores. Each job runs on one thread, so results do not depend on the number of cores.

use std::sync::{Mutex, PoisonError};
use std::thread;

use rayon::ThreadPoolBuilder;

use crate::trouble::{Result, Trouble};

/// The results of `work` on 0..count, in order. The first failure stops the rest.
///
/// candle's matrix products use all threads of the pool in which they are called. Here each pool has one thread, because one
/// job per core is faster than dividing each product.
pub fn map<R: Send>(count: usize, work: impl Fn(usize) -> Result<R> + Sync) -> Result<Vec<R>> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(count.max(1));
    let next = Mutex::new(0..count);
    let results = Mutex::new(Vec::with_capacity(count));
    let take = || next.lock().unwrap_or_else(PoisonError::into_inner).next();
    let worker = || {
        let pool = ThreadPoolBuilder::new().num_threads(1).build();
        let pool = pool.map_err(|error| Trouble::Options(format!("cannot start a thread: {error}")));
        match pool {
            Ok(pool) => pool.install(|| {
                while let Some(index) = take() {
                    let result = work(index);
                    let failed = result.is_err();
                    results.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
                    if failed {
                        // No further jobs for the other threads.
                        *next.lock().unwrap_or_else(PoisonError::into_inner) = 0..0;
                    }
                }
            }),
            Err(error) => results.lock().unwrap_or_else(PoisonError::into_inner).push((usize::MAX, Err(error))),
        }
    };
    thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(worker))));
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// The elementwise sum of all pieces, in order.
pub fn sum(pieces: Vec<Vec<Vec<f32>>>) -> Vec<Vec<f32>> {
    let mut pieces = pieces.into_iter();
    let mut total = pieces.next().unwrap_or_default();
    for piece in pieces {
        for (total, more) in total.iter_mut().zip(&piece) {
            total.iter_mut().zip(more).for_each(|(total, more)| *total += more);
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_a_failure_is_returned() {
        assert_eq!(map(20, |index| Ok(index * index)).unwrap(), (0..20).map(|i| i * i).collect::<Vec<_>>());
        let failing = |index| if index == 7 { Err(Trouble::Shard("seven".into())) } else { Ok(index) };
        assert_eq!(map(20, failing).unwrap_err().to_string(), "seven");
        assert!(map(0, failing).unwrap().is_empty());
    }
}
