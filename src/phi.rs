//! φ-functions, and the weights that integrate a polynomial through given nodes exactly.
//!
//! ```text
//! φ₀(z) = e^z,   φ_{k+1}(z) = (φ_k(z) − 1/k!)/z,   φ_k(z) = Σ_n z^n/(n+k)!
//! ```
//!
//! They are the moments of the exponential kernel (Hochbruck and Ostermann 2010, "Exponential integrators", section 2):
//! ∫₀¹ e^{(1−θ)z}·θ^q dθ = q!·φ_{q+1}(z).

use crate::dd::Dd;

/// The largest number of nodes: the outputs that a step of the highest order interpolates, and that of a corrector.
pub(crate) const MAX_NODES: usize = 5;

/// φ_k(z), for k up to [`MAX_NODES`].
///
/// Computed by its Taylor series for |z| ≤ 1, and otherwise by recurrence from e^z: there the differences keep their digits.
pub(crate) fn phi(k: usize, z: Dd) -> Dd {
    let reciprocal_factorial = |k: usize| (1..=k).fold(Dd::ONE, |product, n| product / Dd::from(n as f64));
    if z.to_f64().abs() <= 1.0 {
        let mut term = reciprocal_factorial(k);
        let mut sum = term;
        for n in 1..32 {
            term = term * z / Dd::from((n + k) as f64);
            sum = sum + term;
        }
        sum
    } else {
        (0..k).fold(z.exp(), |phi, k| (phi - reciprocal_factorial(k)) / z)
    }
}

/// q!·φ_{q+1}(z)·scale for q = 0, 1, …: the moments of the kernel of an exponential integrator.
pub(crate) fn exponential_moments(z: Dd, scale: Dd) -> [Dd; MAX_NODES] {
    let mut factorial = Dd::ONE;
    core::array::from_fn(|q| {
        if q > 0 {
            factorial = factorial * Dd::from(q as f64);
        }
        factorial * phi(q + 1, z) * scale
    })
}

/// scale/(q+1) for q = 0, 1, …: the moments without a kernel, ∫₀¹ θ^q dθ.
pub(crate) fn plain_moments(scale: Dd) -> [Dd; MAX_NODES] {
    core::array::from_fn(|q| scale / Dd::from((q + 1) as f64))
}

/// The weights w with Σ_j w_j·r_j^q = moments_q for every q below the number of nodes: one weight a node, then zeros. All nodes
/// must be different.
///
/// The Vandermonde system is solved by divided differences (Björck and Pereyra 1970; Golub and Van Loan, Algorithm 4.6.2).
pub(crate) fn weights(nodes: &[Dd], moments: &[Dd; MAX_NODES]) -> [Dd; MAX_NODES] {
    let n = nodes.len().min(MAX_NODES);
    let (mut r, mut w) = ([Dd::ZERO; MAX_NODES], *moments);
    r.iter_mut().zip(nodes).for_each(|(r, node)| *r = *node);
    #[expect(
        clippy::indexing_slicing,
        clippy::needless_range_loop,
        reason = "as the algorithm is printed; n ≤ MAX_NODES, the length of both"
    )]
    let mut solve = || {
        for k in 0..n.saturating_sub(1) {
            for i in (k + 1..n).rev() {
                w[i] = w[i] - r[k] * w[i - 1];
            }
        }
        for k in (0..n.saturating_sub(1)).rev() {
            for i in k + 1..n {
                w[i] = w[i] / (r[i] - r[i - k - 1]);
            }
            for i in k..n - 1 {
                w[i] = w[i] - w[i + 1];
            }
        }
    };
    solve();
    core::array::from_fn(|j| if j < n { w.get(j).copied().unwrap_or(Dd::ZERO) } else { Dd::ZERO })
}

#[cfg(test)]
mod tests {
    use super::{MAX_NODES, exponential_moments, phi, weights};
    use crate::dd::Dd;

    fn assert_close(value: Dd, expected: f64, relative: f64) {
        let error = (value.to_f64() - expected).abs() / expected.abs();
        assert!(error <= relative, "{value:?} against {expected}: {error:e}");
    }

    #[test]
    fn phi_is_continuous_where_the_method_changes() {
        for k in 0..=MAX_NODES {
            for z in [1.0, -1.0] {
                let (inside, outside) = (phi(k, Dd::from(z)), phi(k, Dd::from(z * (1.0 + 1e-15))));
                assert_close(inside, outside.to_f64(), 3e-15);
            }
        }
        assert_close(phi(1, Dd::from(2.0)), 3.194_528_049_465_325, 1e-15);
        assert_close(phi(3, Dd::ZERO), 1.0 / 6.0, 1e-15);
    }

    /// Against `tests/oracle/methods.json`, which is not in the published package.
    #[test]
    fn phi_is_that_of_80_digits() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle/methods.json");
        let Ok(text) = std::fs::read_to_string(file) else { return };
        let records: serde_json::Value = serde_json::from_str(&text).unwrap();
        let table = records["phi"].as_array().unwrap();
        assert!(table.len() > 20);
        for row in table {
            let z = row[0].as_f64().unwrap();
            for k in 1..=MAX_NODES {
                let wanted: f64 = row[k].as_str().unwrap().parse().unwrap();
                assert_close(phi(k, Dd::from(z)), wanted, 3e-16);
            }
        }
    }

    /// h = 0.5, nodes 0, −0.8, −2.2 and, for the corrector, 1; 25 digits by another program.
    #[test]
    fn weights_have_their_known_digits() {
        let [zero, older, oldest] = [0.0, -4.0, -11.0].map(|fifths| Dd::quotient(fifths, 5.0));
        let data = |k: f64| exponential_moments(Dd::from(-0.5 * k), Dd::from(0.5 * k));
        let cases: [(&[Dd], f64, &[f64]); 4] = [
            (&[zero, older], 1.0, &[0.659_795_989_568_950_1, -0.266_326_649_281_583_56]),
            (
                &[zero, older, oldest],
                1.0,
                &[0.840_593_590_613_919_5, -0.550_437_165_209_392_6, 0.103_312_914_882_839_64],
            ),
            (
                &[zero, older, oldest],
                2.0,
                &[1.409_324_786_766_877_2, -0.958_549_900_209_186_1, 0.181_345_672_270_866_63],
            ),
            (
                &[Dd::ONE, zero, older, oldest],
                1.0,
                &[
                    0.161_757_596_404_804_13,
                    0.311_205_093_289_105_97,
                    -0.088_272_604_052_809_33,
                    0.008_779_254_646_265_794,
                ],
            ),
        ];
        for (nodes, k, expected) in cases {
            for (weight, expected) in weights(nodes, &data(k)).into_iter().zip(expected) {
                assert_close(weight, *expected, 3e-16);
            }
        }
    }
}
