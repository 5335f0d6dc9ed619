//! Tables 1 and 2 for data with a known exact denoiser: without training noise, and with exact distances.
//!
//! For Gaussian data each step of DDIM is affine in x, so the samples are Gaussian too. Their mean and variance, two numbers per
//! dimension, are carried through the plan. So the Fréchet distance (which on features is called FID) is exact and not an
//! estimate. For a mixture and for a finite set of points, samples are drawn with the library's loop and compared with the
//! distribution function.

use alphabar::reference::{DataDistribution, FiniteData, Gaussian, GaussianMixture};
use alphabar::{Conditioning, Draw, NoNoise, NoiseLevel, NoiseSchedule, NoiseSource, Plan, SeededNoise, sample};
use ndarray::Array2;

use crate::method::{METHODS, Method, TABLE1_STEPS, TABLE2_STEPS, round_trip};
use crate::results::{by_method, line};
use crate::trouble::{Result, Trouble};

/// (μ, v) of the Gaussian data in each dimension. The variances fall, as those of images do along their principal axes.
pub const DIMENSIONS: [(f64, f64); 6] = [(0.5, 0.4), (-0.3, 0.1), (0.1, 0.03), (0.0, 0.01), (0.0, 0.003), (0.0, 0.001)];

/// The mixture: (weight, mean, standard deviation).
pub const MIXTURE: [(f64, f64, f64); 3] = [(0.3, -0.8, 0.05), (0.5, 0.1, 0.1), (0.2, 0.7, 0.02)];

/// The finite set: points on the line, each blurred by N(0, h²) with h = [`BANDWIDTH`].
pub const POINTS: [f64; 5] = [-0.9, -0.5, 0.0, 0.2, 0.8];
/// The bandwidth h of [`POINTS`].
pub const BANDWIDTH: f64 = 0.03;

/// The k of the exact denoiser's ε = k·(x − √ᾱ·μ) at a level, for data of variance v.
fn slope(level: &NoiseLevel, variance: f64) -> f64 {
    level.noise() / (level.alpha_bar() * variance + level.one_minus_alpha_bar())
}

/// The mean and variance of the result of a plan that starts from x ~ N(m, w), with the exact denoiser of N(μ, v).
///
/// A step x′ = A·x + B·ε + d·z with ε = k·(x − √ᾱ·μ) gives m′ = A·m + B·k·(m − √ᾱ·μ) and w′ = (A + B·k)²·w + d².
fn through(plan: &Plan, (mean, variance): (f64, f64), start: (f64, f64)) -> (f64, f64) {
    plan.steps().iter().fold(start, |(m, w), step| {
        let k = slope(&step.conditioned_on, variance);
        let (a, b, d) = (step.coefficients.x, step.coefficients.model, step.coefficients.d);
        let factor = a + b * k;
        (factor * m - b * k * step.conditioned_on.signal() * mean, factor * factor * w + d * d)
    })
}

/// Table 1 for Gaussian data: the Fréchet distance of a method's samples from the data, squared as in FID,
/// Σ (m − μ)² + (√w − √v)².
pub fn gaussian_table1(schedule: &NoiseSchedule, method: Method, steps: usize) -> Result<f64> {
    let plan = method.plan(schedule, steps)?;
    let squared = DIMENSIONS.iter().map(|&(mean, variance)| {
        let (m, w) = through(&plan, (mean, variance), (0.0, 1.0));
        (m - mean).powi(2) + (w.sqrt() - variance.sqrt()).powi(2)
    });
    Ok(squared.sum())
}

/// Table 2 for Gaussian data: E‖x₀ − x₀′‖² per dimension after encoding and decoding.
///
/// The round trip is x₀′ = F·x₀ + c, so the error is ((F − 1)·μ + c)² + (F − 1)²·v.
pub fn gaussian_table2(schedule: &NoiseSchedule, conditioning: Conditioning, steps: usize) -> Result<f64> {
    let (encode, decode) = round_trip(schedule, steps, conditioning)?;
    let squared = DIMENSIONS.iter().map(|&(mean, variance)| {
        // An affine map is known from its values at 0 and at 1.
        let there_and_back = |x: f64| {
            let (latent, _) = through(&encode, (mean, variance), (x, 0.0));
            through(&decode, (mean, variance), (latent, 0.0)).0
        };
        let offset = there_and_back(0.0);
        let factor = there_and_back(1.0) - offset;
        ((factor - 1.0) * mean + offset).powi(2) + (factor - 1.0).powi(2) * variance
    });
    Ok(squared.sum::<f64>() / DIMENSIONS.len() as f64)
}

/// The share of a mixture of (weight, mean, standard deviation) on the line that lies below x.
fn share_below(mixture: &[(f64, f64, f64)], x: f64) -> f64 {
    let share = |&(weight, mean, std): &(f64, f64, f64)| {
        weight * 0.5 * libm::erfc((mean - x) / (std * std::f64::consts::SQRT_2))
    };
    mixture.iter().map(share).sum()
}

/// The Wasserstein distance W₁ = ∫ |F_n(x) − F(x)| dx between samples and a mixture of (weight, mean, standard deviation) on the line.
#[must_use]
pub fn wasserstein(mut samples: Vec<f64>, mixture: &[(f64, f64, f64)]) -> f64 {
    samples.sort_by(f64::total_cmp);
    let count = samples.len() as f64;
    // The midpoint rule on 6000 cells from −3 to 3, which hold the whole mixture. Samples outside add their distance.
    let (low, cells, width) = (-3.0, 6000, 1e-3);
    let outside: f64 = samples.iter().map(|x| (x.abs() - 3.0).max(0.0)).sum::<f64>() / count;
    let inside: f64 = (0..cells)
        .map(|cell| {
            let x = low + (f64::from(cell) + 0.5) * width;
            let empirical = samples.partition_point(|sample| *sample <= x) as f64 / count;
            (empirical - share_below(mixture, x)).abs() * width
        })
        .sum();
    inside + outside
}

/// One-dimensional distributions, sampled with the library's loop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Line {
    /// [`MIXTURE`].
    Mixture,
    /// [`POINTS`], each blurred with the bandwidth [`BANDWIDTH`].
    Finite,
}

impl Line {
    pub(crate) fn components(self) -> Vec<(f64, f64, f64)> {
        match self {
            Self::Mixture => MIXTURE.to_vec(),
            Self::Finite => POINTS.iter().map(|&point| (1.0 / POINTS.len() as f64, point, BANDWIDTH)).collect(),
        }
    }

    pub(crate) fn distribution(self) -> Result<Box<dyn DataDistribution>> {
        Ok(match self {
            Self::Mixture => {
                let parts =
                    MIXTURE.iter().map(|&(weight, mean, std)| Ok((weight, Gaussian::new([mean], [std * std])?)));
                Box::new(GaussianMixture::new(parts.collect::<Result<Vec<_>, alphabar::Error>>()?)?)
            }
            Self::Finite => Box::new(FiniteData::new(1, POINTS)?.with_bandwidth(BANDWIDTH)?),
        })
    }

    /// The share of the distribution below x at a noise level.
    pub(crate) fn below_at(self, level: &NoiseLevel, x: f64) -> f64 {
        let (signal, noise) = (level.signal(), level.noise());
        let noised = |(weight, mean, std): (f64, f64, f64)| (weight, signal * mean, (signal * std).hypot(noise));
        share_below(&self.components().into_iter().map(noised).collect::<Vec<_>>(), x)
    }

    /// The quantile of clean data, by bisection: the x below which a share of the distribution lies.
    pub(crate) fn quantile(self, share: f64) -> f64 {
        let (mut low, mut high) = (-4.0, 4.0);
        for _ in 0..100 {
            let middle = 0.5 * (low + high);
            if self.below_at(&NoiseLevel::CLEAN, middle) < share { low = middle } else { high = middle }
        }
        0.5 * (low + high)
    }

    /// The Wasserstein distance W₁ between samples and this distribution.
    #[must_use]
    pub fn wasserstein(self, samples: Vec<f64>) -> f64 {
        wasserstein(samples, &self.components())
    }

    /// `count` draws of the distribution itself. Their distance is the smallest that an estimate from samples can show.
    pub fn draws(self, count: usize, seed: u64) -> Result<Vec<f64>> {
        let noise: Array2<f64> =
            SeededNoise::new(seed).from_sample(1 << 32).noise(&Array2::zeros((count, 2)), Draw::Initial)?;
        let components = self.components();
        Ok(noise
            .rows()
            .into_iter()
            .map(|z| {
                // One normal chooses the component, through its distribution function; the other is the noise of the component.
                let mut place = 0.5 * libm::erfc(-z[0] / std::f64::consts::SQRT_2);
                let mut chosen = components[components.len() - 1];
                for component in &components {
                    if place < component.0 {
                        chosen = *component;
                        break;
                    }
                    place -= component.0;
                }
                chosen.1 + chosen.2 * z[1]
            })
            .collect())
    }

    /// Table 1: W₁ of `count` samples, with equal noise for all methods and S.
    pub fn table1(self, schedule: &NoiseSchedule, method: Method, steps: usize, count: usize) -> Result<f64> {
        let plan = method.plan(schedule, steps)?;
        let distribution = self.distribution()?;
        let mut network = alphabar::reference::Exact::new(&*distribution, alphabar::Prediction::Epsilon);
        let mut noise = SeededNoise::new(1);
        let x: Array2<f64> = noise.noise(&Array2::zeros((count, 1)), Draw::Initial)?;
        let drawn = sample(&plan, x, &mut network, &mut noise)?;
        Ok(self.wasserstein(drawn.into_raw_vec_and_offset().0))
    }

    /// Table 2: mean squared error of `count` draws of the data after encoding and decoding.
    pub fn table2(
        self,
        schedule: &NoiseSchedule,
        conditioning: Conditioning,
        steps: usize,
        count: usize,
    ) -> Result<f64> {
        let (encode, decode) = round_trip(schedule, steps, conditioning)?;
        let distribution = self.distribution()?;
        let mut network = alphabar::reference::Exact::new(&*distribution, alphabar::Prediction::Epsilon);
        let x0 = Array2::from_shape_fn((count, 1), {
            let draws = self.draws(count, 2)?;
            move |(row, _)| draws[row]
        });
        let latent = sample(&encode, x0.clone(), &mut network, &mut NoNoise)?;
        let back = sample(&decode, latent, &mut network, &mut NoNoise)?;
        Ok((back - x0).mapv(|difference| difference * difference).sum() / count as f64)
    }
}

/// All tables as text. `count` is the number of samples of the tables that need samples.
pub fn report(count: usize) -> Result<String> {
    let schedule = NoiseSchedule::ddpm()?;
    let mut text = String::new();
    let mut table1 = |title: &str, entry: &dyn Fn(Method, usize) -> Result<f64>| {
        let cells = METHODS.iter().flat_map(|&method| TABLE1_STEPS.map(|steps| entry(method, steps)));
        let table = by_method(&TABLE1_STEPS, &cells.collect::<Result<Vec<_>>>()?, |number| format!("{number:.2e}"));
        text += &format!("Table 1, {title}\n{table}\n");
        Ok::<_, Trouble>(())
    };
    table1("Gaussian data in 6 dimensions: Fréchet distance, in closed form", &|method, steps| {
        gaussian_table1(&schedule, method, steps)
    })?;
    for (name, data) in
        [("a mixture of three Gaussians", Line::Mixture), ("five points blurred by N(0, h²)", Line::Finite)]
    {
        let floor = data.wasserstein(data.draws(count, 1)?);
        let title =
            format!("{name}: Wasserstein distance of {count} samples; for draws of the data itself it is {floor:.5}");
        table1(&title, &|method, steps| data.table1(&schedule, method, steps, count))?;
    }
    text += &format!("Table 2, squared error per dimension\n{}", line("S", 24, &TABLE2_STEPS, usize::to_string));
    for conditioning in [Conditioning::Source, Conditioning::Destination] {
        let mut row = |name: &str, entry: &dyn Fn(usize) -> Result<f64>| {
            let errors = TABLE2_STEPS.iter().map(|&steps| entry(steps)).collect::<Result<Vec<_>>>()?;
            let name = format!("{name}, {conditioning:?}").to_lowercase();
            text += &line(&name, 24, &errors, |error| format!("{error:.1e}"));
            Ok::<_, Trouble>(())
        };
        row("gaussian", &|steps| gaussian_table2(&schedule, conditioning, steps))?;
        row("mixture", &|steps| Line::Mixture.table2(&schedule, conditioning, steps, count.min(2000)))?;
        row("points", &|steps| Line::Finite.table2(&schedule, conditioning, steps, count.min(2000)))?;
    }
    Ok(text)
}
