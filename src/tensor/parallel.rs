//! Divides work among threads, with the feature `rayon`. Without it, everything runs on one thread.

/// Whether a pass over this many elements is long enough to be worth waking other threads.
///
/// Measured: handing work to other threads costs some microseconds, in which one thread does about this much.
#[cfg(feature = "rayon")]
pub(crate) fn pays(elements: usize, makes_noise: bool) -> bool {
    const PLAIN: usize = 1 << 17;
    const WITH_NOISE: usize = 1 << 15;
    elements >= if makes_noise { WITH_NOISE } else { PLAIN } && rayon::current_num_threads() > 1
}

#[cfg(not(feature = "rayon"))]
pub(crate) fn pays(_elements: usize, _makes_noise: bool) -> bool {
    false
}

/// Calls `work(index, x, m)` for each piece of `len` elements of two equally long slices.
pub(crate) fn for_each_chunk<X: Send, M: Sync>(
    parallel: bool,
    x: &mut [X],
    m: &[M],
    len: usize,
    work: impl Fn(usize, &mut [X], &[M]) + Sync,
) {
    #[cfg(feature = "rayon")]
    if parallel && x.len() > len {
        use rayon::prelude::*;
        x.par_chunks_mut(len).zip(m.par_chunks(len)).enumerate().for_each(|(index, (x, m))| work(index, x, m));
        return;
    }
    let _ = parallel;
    x.chunks_mut(len).zip(m.chunks(len)).enumerate().for_each(|(index, (x, m))| work(index, x, m));
}

/// Calls `work(index, x, m)` for each piece of `len` elements of two equally long slices, both to be written.
pub(crate) fn for_each_chunk_of_both<X: Send, M: Send>(
    parallel: bool,
    x: &mut [X],
    m: &mut [M],
    len: usize,
    work: impl Fn(usize, &mut [X], &mut [M]) + Sync,
) {
    #[cfg(feature = "rayon")]
    if parallel && x.len() > len {
        use rayon::prelude::*;
        x.par_chunks_mut(len).zip(m.par_chunks_mut(len)).enumerate().for_each(|(index, (x, m))| work(index, x, m));
        return;
    }
    let _ = parallel;
    x.chunks_mut(len).zip(m.chunks_mut(len)).enumerate().for_each(|(index, (x, m))| work(index, x, m));
}

/// Calls `work(index, x)` for each piece of `len` elements.
pub(crate) fn for_each_chunk_mut<X: Send>(
    parallel: bool,
    x: &mut [X],
    len: usize,
    work: impl Fn(usize, &mut [X]) + Sync,
) {
    #[cfg(feature = "rayon")]
    if parallel && x.len() > len {
        use rayon::prelude::*;
        x.par_chunks_mut(len).enumerate().for_each(|(index, x)| work(index, x));
        return;
    }
    let _ = parallel;
    x.chunks_mut(len).enumerate().for_each(|(index, x)| work(index, x));
}
