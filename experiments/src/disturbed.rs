//! Table 1 for exact denoisers with a known error added: does a network's error hide the paper's order?
//!
//! A trained network is a smooth function with a fixed error: it is wrong in the same way each time a sampler comes to the same x and t. So
//! is this error: a fixed random field of x and of λ (half the log-SNR), of variance 1 and length 1, times a share of ε's standard
//! deviation:
//!
//! ```text
//! ε_r(x, λ) = ε*(x, λ) + r·g(x, λ)        g_j(x, λ) = √(2/K)·Σ_k cos(ω_jk·x + ν_jk·λ + φ_jk),  ω, ν ~ N(0, 1),  φ uniform
//! ```
//!
//! (Rahimi and Recht 2007: a draw of a Gaussian process with a squared-exponential covariance.)

use alphabar::reference::{DataDistribution, Gaussian};
use alphabar::{Draw, NoiseSchedule, NoiseSource, Point, Prediction, SeededNoise, predictor, sample};
use chacha20::ChaCha8Rng;
use ndarray::Array2;
use rand::{RngExt, SeedableRng};
use std::f64::consts::TAU;

use crate::exact::DIMENSIONS;
use crate::frechet::Moments;
use crate::method::{METHODS, Method};
use crate::parallel;
use crate::results::{by_method, cell_of};
use crate::trouble::{Result, Trouble};

/// The standard deviations of the error, as shares of ε's.
pub const SHARES: [f64; 4] = [0.0, 0.05, 0.1, 0.2];

/// The number of waves K of the field in each dimension.
const WAVES: usize = 48;

/// A wave: its frequencies in x and in λ, and its phase.
struct Wave {
    x: Vec<f64>,
    lambda: f64,
    phase: f64,
}

/// The field g, by dimension.
pub struct Field {
    waves: Vec<Vec<Wave>>,
}

impl Field {
    /// A draw of the field.
    pub fn new(dim: usize, seed: u64) -> Result<Self> {
        let normal: Array2<f64> =
            SeededNoise::new(seed).noise(&Array2::zeros((dim * WAVES, dim + 1)), Draw::Initial)?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut waves = normal.rows().into_iter().map(|row| {
            let row = row.to_vec();
            Wave { x: row[..dim].to_vec(), lambda: row[dim], phase: rng.random_range(0.0..TAU) }
        });
        Ok(Self { waves: (0..dim).map(|_| waves.by_ref().take(WAVES).collect()).collect() })
    }

    /// g at x, one number per dimension.
    fn at<'a>(&'a self, x: &'a [f64], lambda: f64) -> impl Iterator<Item = f64> + 'a {
        self.waves.iter().map(move |waves| {
            let cosines = waves.iter().map(|Wave { x: frequencies, lambda: along, phase }| {
                let turned: f64 = frequencies.iter().zip(x).map(|(frequency, x)| frequency * x).sum();
                libm::cos(turned + along * lambda + phase)
            });
            (2.0 / WAVES as f64).sqrt() * cosines.sum::<f64>()
        })
    }
}

/// Table 1 with an error of this share: the Fréchet distance of `count` samples from the Gaussian data of [`crate::exact`].
pub fn table1(method: Method, steps: usize, share: f64, field: &Field, count: usize) -> Result<f64> {
    let (means, variances): (Vec<f64>, Vec<f64>) = DIMENSIONS.into_iter().unzip();
    let data = Gaussian::new(means, variances)?;
    let plan = method.plan(&NoiseSchedule::ddpm()?, steps)?;
    let mut network = predictor::from_fn(Prediction::Epsilon, |x: &Array2<f64>, at: Point| {
        let mut epsilon: Vec<f64> = x.iter().copied().collect();
        data.epsilon(&mut epsilon, &at.level);
        let lambda = 0.5 * at.level.log_snr();
        for (row, x) in epsilon.chunks_mut(DIMENSIONS.len()).zip(x.rows()) {
            let x = x.to_vec();
            row.iter_mut().zip(field.at(&x, lambda)).for_each(|(epsilon, g)| *epsilon += share * g);
        }
        Array2::from_shape_vec(x.dim(), epsilon)
    });
    let mut noise = SeededNoise::new(1);
    let x = noise.noise(&Array2::zeros((count, DIMENSIONS.len())), Draw::Initial)?;
    let drawn = sample(&plan, x, &mut network, &mut noise)?;
    let features: Vec<f32> = drawn.iter().map(|x| *x as f32).collect();
    let found = Moments::of(&features, DIMENSIONS.len())
        .ok_or_else(|| Trouble::Options("a distance needs at least two samples; raise --count".to_owned()))?;
    Ok(found.frechet(&Moments::independent(&DIMENSIONS)))
}

/// The tables as text, one for each share of error.
pub fn report(steps: &[usize], count: usize, seed: u64) -> Result<String> {
    let field = Field::new(DIMENSIONS.len(), seed)?;
    let cells = METHODS.len() * steps.len();
    let numbers = parallel::map(SHARES.len() * cells, |index| {
        let (method, steps) = cell_of(steps, index % cells);
        table1(method, steps, SHARES[index / cells], &field, count)
    })?;
    let mut text =
        format!("Fréchet distance of {count} samples from Gaussian data in {} dimensions\n", DIMENSIONS.len());
    for (share, numbers) in SHARES.iter().zip(numbers.chunks(cells.max(1))) {
        let table = by_method(steps, numbers, |number| format!("{number:.2e}"));
        text += &format!("\nan error of {share} ε\n{table}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::gaussian_table1;

    /// Without an error the table is the one in closed form, up to sampling noise.
    #[test]
    fn without_an_error_the_table_is_the_exact_one() {
        let field = Field::new(DIMENSIONS.len(), 1).unwrap();
        for method in [Method::Eta(0.0), Method::Eta(1.0)] {
            let exact = gaussian_table1(&NoiseSchedule::ddpm().unwrap(), method, 10).unwrap();
            let found = table1(method, 10, 0.0, &field, 4000).unwrap();
            assert!((found - exact).abs() < 0.1 * exact, "{found} and {exact}");
        }
    }

    /// As on images: with an error η = 0 is best only at few steps, and σ̂ goes from the worst to one of the best.
    #[test]
    fn an_error_makes_noise_look_better_at_many_steps() {
        let field = Field::new(DIMENSIONS.len(), 1).unwrap();
        let at = |method, steps, share| table1(method, steps, share, &field, 500).unwrap();
        let (ddim, ddpm, hat) = (Method::Eta(0.0), Method::Eta(1.0), Method::SigmaHat);
        assert!(at(ddim, 100, 0.0) < at(ddpm, 100, 0.0));
        assert!(at(ddim, 10, 0.2) < at(ddpm, 10, 0.2) && at(ddpm, 10, 0.2) < at(hat, 10, 0.2));
        assert!(at(ddpm, 100, 0.2) < at(ddim, 100, 0.2) && at(hat, 100, 0.2) < at(ddim, 100, 0.2));
    }

    #[test]
    fn the_field_has_variance_1_and_is_a_function() {
        let field = Field::new(2, 3).unwrap();
        let at = |i: usize| field.at(&[0.37 * i as f64, -1.1 * i as f64], 0.2 * i as f64).collect::<Vec<_>>();
        let all: Vec<f64> = (0..4000).flat_map(at).collect();
        let variance = all.iter().map(|g| g * g).sum::<f64>() / all.len() as f64;
        assert!((variance - 1.0).abs() < 0.15, "{variance}");
        assert_eq!(at(7), at(7));
    }
}
