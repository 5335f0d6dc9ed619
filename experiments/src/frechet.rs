//! The Fréchet distance between Gaussians fitted to two sets of features: the formula of FID (Heusel et al. 2017, Eq. 6).

use chacha20::ChaCha8Rng;
use nalgebra::{DMatrix, DVector};
use rand::{RngExt, SeedableRng};

/// Mean and covariance of features.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    mean: DVector<f64>,
    covariance: DMatrix<f64>,
}

impl Moments {
    /// The moments of features of `dim` numbers each, stored in order; `None` for fewer than two features.
    #[must_use]
    pub fn of(features: &[f32], dim: usize) -> Option<Self> {
        let count = features.len().checked_div(dim)?;
        if count < 2 {
            return None;
        }
        let rows = DMatrix::from_row_iterator(count, dim, features.iter().take(count * dim).map(|&f| f64::from(f)));
        let mean = rows.row_mean().transpose();
        let centred = DMatrix::from_fn(count, dim, |row, column| rows[(row, column)] - mean[column]);
        let covariance = centred.transpose() * &centred / (count as f64 - 1.0);
        Some(Self { mean, covariance })
    }

    /// The moments of independent features with known (mean, variance).
    #[must_use]
    pub fn independent(features: &[(f64, f64)]) -> Self {
        let mean = DVector::from_iterator(features.len(), features.iter().map(|(mean, _)| *mean));
        let variances = DVector::from_iterator(features.len(), features.iter().map(|(_, variance)| *variance));
        Self { mean, covariance: DMatrix::from_diagonal(&variances) }
    }

    /// The Fréchet distance ‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2·(Σ₁·Σ₂)^½).
    ///
    /// tr (Σ₁·Σ₂)^½ is the sum of the square roots of the eigenvalues of Σ₁^½·Σ₂·Σ₁^½. That matrix is symmetric, so no root of an
    /// asymmetric matrix is needed.
    #[must_use]
    pub fn frechet(&self, other: &Self) -> f64 {
        let root = root(&self.covariance);
        let product = &root * &other.covariance * &root;
        let symmetric = (&product + product.transpose()) * 0.5;
        // Rounding may make eigenvalues of a singular covariance slightly negative.
        let cross: f64 = symmetric.symmetric_eigenvalues().iter().map(|value| value.max(0.0).sqrt()).sum();
        (&self.mean - &other.mean).norm_squared() + self.covariance.trace() + other.covariance.trace() - 2.0 * cross
    }
}

/// Resampling number `number`: as many features, drawn with replacement.
///
/// The standard deviation of a statistic over resamplings estimates the standard deviation of the statistic (bootstrap, Efron 1979).
#[must_use]
pub fn resampled(features: &[f32], dim: usize, number: u64) -> Vec<f32> {
    let count = features.len().checked_div(dim).unwrap_or(0);
    let mut rng = ChaCha8Rng::seed_from_u64(number);
    let rows = (0..count).map(|_| rng.random_range(0..count));
    rows.flat_map(|row| &features[row * dim..(row + 1) * dim]).copied().collect()
}

/// The standard deviation of some numbers.
#[must_use]
pub fn deviation(numbers: &[f64]) -> f64 {
    let count = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / count;
    (numbers.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / (count - 1.0)).sqrt()
}

/// The symmetric root of a symmetric positive semidefinite matrix.
fn root(matrix: &DMatrix<f64>) -> DMatrix<f64> {
    let eigen = matrix.clone().symmetric_eigen();
    let roots = DMatrix::from_diagonal(&eigen.eigenvalues.map(|value| value.max(0.0).sqrt()));
    &eigen.eigenvectors * roots * eigen.eigenvectors.transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diagonal_gaussians_have_the_distance_of_their_dimensions() {
        let make = |mean: [f64; 3], variance: [f64; 3]| Moments {
            mean: DVector::from_column_slice(&mean),
            covariance: DMatrix::from_diagonal(&DVector::from_column_slice(&variance)),
        };
        let (a, b) = (make([0.0, 1.0, 2.0], [1.0, 4.0, 0.0]), make([0.5, 1.0, 0.0], [9.0, 1.0, 0.25]));
        let expected = 0.25 + 4.0 + (1.0_f64 - 3.0).powi(2) + (2.0_f64 - 1.0).powi(2) + 0.25;
        assert!((a.frechet(&b) - expected).abs() < 1e-12);
        assert!((b.frechet(&a) - expected).abs() < 1e-12);
        assert!(a.frechet(&a).abs() < 1e-12);
    }

    #[test]
    fn a_rotation_of_both_changes_nothing() {
        // (Σ₁·Σ₂)^½ of matrices that do not commute: for 2×2, tr √M = √(tr M + 2·√det M).
        let a: DMatrix<f64> = DMatrix::from_row_slice(2, 2, &[2.0, 0.7, 0.7, 1.0]);
        let b: DMatrix<f64> = DMatrix::from_row_slice(2, 2, &[1.0, -0.4, -0.4, 3.0]);
        let product = &a * &b;
        let cross = (product.trace() + 2.0 * product.determinant().sqrt()).sqrt();
        let expected = a.trace() + b.trace() - 2.0 * cross;
        let moments = |covariance| Moments { mean: DVector::zeros(2), covariance };
        assert!((moments(a).frechet(&moments(b)) - expected).abs() < 1e-12);
    }

    #[test]
    fn resampling_finds_the_error_of_a_mean() {
        // The mean of n numbers of variance v has the standard deviation √(v/n).
        let numbers: Vec<f32> = (0..900).map(|i| (i % 3) as f32).collect();
        let mean = |number| f64::from(resampled(&numbers, 1, number).iter().sum::<f32>()) / 900.0;
        let means: Vec<f64> = (0..400).map(mean).collect();
        let expected = (2.0 / 3.0 / 900.0_f64).sqrt();
        assert!((deviation(&means) / expected - 1.0).abs() < 0.12, "{} {expected}", deviation(&means));
        // Rows stay whole.
        assert!(resampled(&[1.0, -1.0, 2.0, -2.0], 2, 7).chunks(2).all(|row| row[0] == -row[1]));
        assert!((deviation(&[1.0, 3.0]) - 2.0_f64.sqrt()).abs() < 1e-15);
    }

    #[test]
    fn moments_are_those_of_the_features() {
        let moments = Moments::of(&[1.0, 2.0, 3.0, 6.0, 5.0, 4.0], 2).unwrap();
        assert_eq!(moments.mean.as_slice(), [3.0, 4.0]);
        assert_eq!(moments.covariance.as_slice(), [4.0, 2.0, 2.0, 4.0]);
        assert!(Moments::of(&[1.0, 2.0], 2).is_none() && Moments::of(&[1.0], 0).is_none());
    }
}
