//! Interpolation between two latents.

use crate::error::{Error, require};
use crate::tensor::{RowReduce, Weights};

/// Spherical linear interpolation, sample by sample (Shoemake 1985; Song et al. 2021, appendix D.5).
///
/// ```text
/// slerp(a, b; u) = sin((1−u)·θ)/sin θ·a + sin(u·θ)/sin θ·b,    cos θ = ⟨a, b⟩/(‖a‖·‖b‖)
/// ```
///
/// u = 0 gives a and u = 1 gives b, exactly. Equal latents, latents with a very small angle between them, and a latent of
/// zeros get the limit of the formula, the straight line (1−u)·a + u·b. Opposite latents have no unique great circle
/// between them; they get the straight line too, which passes near 0.
///
/// # Errors
/// [`Error::Parameter`] unless 0 ≤ u ≤ 1, and the errors of [`RowReduce`].
///
/// ```
/// use alphabar::slerp;
///
/// let (a, b) = (vec![1.0_f64, 0.0], vec![0.0, 1.0]);
/// let half = slerp(&a, &b, 0.5)?;
/// assert!(
///     (half[0] - 0.5_f64.sqrt()).abs() < 1e-15
///         && (half[1] - 0.5_f64.sqrt()).abs() < 1e-15
/// );
/// assert_eq!(slerp(&a, &a, 0.5)?, a);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[doc(alias("interpolation", "spherical"))]
pub fn slerp<T: RowReduce>(a: &T, b: &T, u: f64) -> Result<T, Error> {
    require((0.0..=1.0).contains(&u), "the place between two latents", u, "inside [0, 1]")?;
    let (aa, scaled_a) = squared_norms(a)?;
    let (bb, scaled_b) = squared_norms(b)?;
    let ab = scaled_a.as_ref().unwrap_or(a).row_dot(scaled_b.as_ref().unwrap_or(b))?;
    let (of_a, of_b): (Vec<f64>, Vec<f64>) =
        aa.into_iter().zip(ab).zip(bb).map(|((aa, ab), bb)| slerp_weights(aa, ab, bb, u)).unzip();
    T::linear_combination(&[(Weights::PerRow(&of_a), a), (Weights::PerRow(&of_b), b)])
}

/// ‖x‖² of each sample. If one overflows or underflows, also x with that sample scaled; angles do not depend on the scale.
fn squared_norms<T: RowReduce>(x: &T) -> Result<(Vec<f64>, Option<T>), Error> {
    let mut squares = x.row_dot(x)?;
    let mut scaled: Option<T> = None;
    // 2^±100 is finite in single precision, and six such factors span the range of an f64.
    for _ in 0..6 {
        let factor = |square: &f64| match *square {
            f64::INFINITY => 2.0_f64.powi(-100),
            square if square < 1e-280 => 2.0_f64.powi(100),
            _ => 1.0,
        };
        let factors: Vec<f64> = squares.iter().map(factor).collect();
        if factors.iter().all(|factor| *factor == 1.0) {
            break;
        }
        let next = T::linear_combination(&[(Weights::PerRow(&factors), scaled.as_ref().unwrap_or(x))])?;
        squares = next.row_dot(&next)?;
        scaled = Some(next);
    }
    Ok((squares, scaled))
}

/// The weights of a and b from the inner products ⟨a,a⟩, ⟨a,b⟩ and ⟨b,b⟩.
fn slerp_weights(aa: f64, ab: f64, bb: f64, u: f64) -> (f64, f64) {
    let straight = (1.0 - u, u);
    if u == 0.0 || u == 1.0 {
        return straight;
    }
    let cosine = ab / (aa.sqrt() * bb.sqrt());
    // (1 − c)·(1 + c), because 1 − c² loses the digits of a small angle.
    let sine = ((1.0 - cosine) * (1.0 + cosine)).sqrt();
    // Below 1e-7 the two formulas agree to 1e-15; within 1e-4 of π the weights only amplify rounding errors. NaN, from a latent of
    // zeros or a cosine rounded past 1, also gets the straight line.
    let least = if cosine < 0.0 { 1e-4 } else { 1e-7 };
    if !(sine > least) {
        return straight;
    }
    let theta = libm::acos(cosine);
    (libm::sin((1.0 - u) * theta) / sine, libm::sin(u * theta) / sine) // Song et al. 2021, appendix D.5
}
