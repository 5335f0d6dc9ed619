//! Between two latents.

use crate::error::{Error, require};
use crate::tensor::{RowReduce, Weights};

/// Spherical linear interpolation, sample by sample (Shoemake 1985; Song et al. 2021, appendix D.5):
///
/// $$ \operatorname{slerp}(a, b; u) = \frac{\sin((1-u)\theta)}{\sin\theta}\thinspace a + \frac{\sin(u\theta)}{\sin\theta}\thinspace b,
///    \qquad \cos\theta = \frac{\langle a, b\rangle}{\lVert a\rVert\thinspace\lVert b\rVert} $$
///
/// Exact at both ends: u = 0 gives a, u = 1 gives b. Where the angle is too small to matter, for equal latents and for a latent
/// of zeros, the formula's limit is taken, (1−u)·a + u·b; for opposite latents, between which no great circle is
/// distinguished, that same straight line, which passes near 0.
///
/// # Errors
/// [`Error::Parameter`] unless 0 ≤ u ≤ 1, and those of [`RowReduce`].
///
/// ```
/// use alphabar::slerp;
///
/// let (a, b) = (vec![1.0_f64, 0.0], vec![0.0, 1.0]);
/// let half = slerp(&a, &b, 0.5)?;
/// assert!((half[0] - 0.5_f64.sqrt()).abs() < 1e-15 && (half[1] - 0.5_f64.sqrt()).abs() < 1e-15);
/// assert_eq!(slerp(&a, &a, 0.5)?, a);
/// # Ok::<(), alphabar::Error>(())
/// ```
pub fn slerp<T: RowReduce>(a: &T, b: &T, u: f64) -> Result<T, Error> {
    require((0.0..=1.0).contains(&u), "the place between two latents", u, "inside [0, 1]")?;
    let (aa, ab, bb) = (a.row_dot(a)?, a.row_dot(b)?, b.row_dot(b)?);
    let (of_a, of_b): (Vec<f64>, Vec<f64>) =
        aa.into_iter().zip(ab).zip(bb).map(|((aa, ab), bb)| slerp_weights(aa, ab, bb, u)).unzip();
    T::linear_combination(&[(Weights::PerRow(&of_a), a), (Weights::PerRow(&of_b), b)])
}

/// The weights of a and b from the inner products ⟨a,a⟩, ⟨a,b⟩ and ⟨b,b⟩.
fn slerp_weights(aa: f64, ab: f64, bb: f64, u: f64) -> (f64, f64) {
    let straight = (1.0 - u, u);
    if u == 0.0 || u == 1.0 {
        return straight;
    }
    let cosine = ab / (aa.sqrt() * bb.sqrt());
    // (1 − c)·(1 + c) and not 1 − c², in which the sine of a small angle cancels.
    let sine = ((1.0 - cosine) * (1.0 + cosine)).sqrt();
    // Below 1e-7 the two formulas agree to 1e-15; within 1e-4 of π the weights only blow rounding errors up. NaN, from a latent of
    // zeros or a cosine rounded past 1, falls here too.
    let least = if cosine < 0.0 { 1e-4 } else { 1e-7 };
    if !(sine > least) {
        return straight;
    }
    let theta = libm::acos(cosine);
    (libm::sin((1.0 - u) * theta) / sine, libm::sin(u * theta) / sine) // Song et al. 2021, appendix D.5
}
