//! Table 1 for trained networks whose error is known: how small the error must be for the paper's order.
//!
//! The data are eight Gaussians on a ring in the plane, so the exact ε is known. The networks are perceptrons with residual blocks,
//! trained like the U-Net (Ho et al. 2020, Algorithm 1) for different numbers of steps.

use alphabar::reference::{DataDistribution, Gaussian, GaussianMixture};
use alphabar::{
    BoxError, Draw, NoiseLevel, NoiseSchedule, NoiseSource, Plan, Point, Prediction, SeededNoise, forward, predictor,
    sample,
};
use candle_core::{DType, Device, Tensor};
use chacha20::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use std::f64::consts::{PI, TAU};

use crate::adam::Adam;
use crate::exact::wasserstein;
use crate::method::METHODS;
use crate::net::{Affine, Params, embed};
use crate::objective::Objective;
use crate::ops::First;
use crate::parallel;
use crate::results::{by_method, cell_of};
use crate::trouble::{Result, Trouble};

/// Optimiser steps of the networks that are compared.
pub const TRAINED: [u64; 4] = [300, 1000, 4000, 16_000];

/// Gaussians on the ring, their distance from the centre and the standard deviation of each.
const PARTS: usize = 8;
const RADIUS: f64 = 0.8;
const STD: f64 = 0.05;

/// Points of a training step.
const BATCH: usize = 1024;
/// The largest learning rate, and the decay of the average of weights.
const RATE: f64 = 3e-3;
const DECAY: f64 = 0.999;
/// Channels of the network, and sines and cosines of t.
const WIDTH: usize = 96;
const SINES: usize = 64;
const BLOCKS: usize = 3;

/// Samples that are drawn at once.
const PIECE: usize = 1000;
/// Directions in which samples are compared with the data.
const DIRECTIONS: usize = 16;
/// Levels at which a network is compared with the exact one.
const LEVELS: usize = 20;

fn centre(part: usize) -> [f64; 2] {
    let angle = TAU * part as f64 / PARTS as f64;
    [RADIUS * libm::cos(angle), RADIUS * libm::sin(angle)]
}

/// The data.
fn ring() -> Result<GaussianMixture> {
    let parts = (0..PARTS).map(|part| Ok((1.0, Gaussian::new(centre(part), [STD * STD; 2])?)));
    Ok(GaussianMixture::new(parts.collect::<Result<Vec<_>>>()?)?)
}

/// `count` draws of the data (count, 2), a function of the seed and of `from`: another `from` gives independent draws.
fn draws(seed: u64, from: u64, count: usize) -> Result<Vec<f32>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(from + 1);
    let z: Vec<f64> = SeededNoise::new(!seed).from_sample(from).noise(&vec![0.0; 2 * count], Draw::Initial)?;
    let points = z.chunks(2).flat_map(|z| {
        let centre = centre(rng.random_range(0..PARTS));
        [centre[0] + STD * z[0], centre[1] + STD * z[1]]
    });
    Ok(points.map(|x| x as f32).collect())
}

/// ε_θ(x, t): an affine map, blocks x + W·silu(norm(W·silu(norm(x)))), and an affine map.
struct Perceptron {
    input: Affine,
    blocks: Vec<[Affine; 2]>,
    output: Affine,
}

impl Perceptron {
    fn new(params: &mut Params) -> candle_core::Result<Self> {
        let block = |params: &mut Params, index: usize| {
            Ok([
                Affine::pixel(params, &format!("{index}.first"), WIDTH, WIDTH, 1.4)?,
                Affine::pixel(params, &format!("{index}.second"), WIDTH, WIDTH, 0.0)?,
            ])
        };
        Ok(Self {
            input: Affine::pixel(params, "input", 2 + SINES, WIDTH, 1.0)?,
            blocks: (0..BLOCKS).map(|index| block(params, index)).collect::<candle_core::Result<_>>()?,
            output: Affine::pixel(params, "output", WIDTH, 2, 0.0)?,
        })
    }

    /// x (B, 2) at its t to (B, 2).
    fn forward(&self, x: &Tensor, ts: &[f64]) -> candle_core::Result<Tensor> {
        // A point is a pixel to the layers.
        let x = Tensor::cat(&[x, &embed(ts, SINES)?], 1)?.unsqueeze(0)?.unsqueeze(0)?;
        let mut h = self.input.forward(First::Nothing, &x)?;
        for [first, second] in &self.blocks {
            h = (&h + second.forward(First::NormSilu, &first.forward(First::NormSilu, &h)?)?)?;
        }
        self.output.forward(First::NormSilu, &h)?.squeeze(0)?.squeeze(0)
    }
}

/// A network after so many optimiser steps, with averaged weights.
fn trained(steps: u64, seed: u64) -> Result<Perceptron> {
    let mut params = Params::random(seed);
    let net = Perceptron::new(&mut params)?;
    let mut adam = Adam::new(params.list.clone(), DECAY)?;
    for step in 0..steps {
        let first = step * BATCH as u64;
        let x0 = Tensor::from_vec(draws(seed, first, BATCH)?, (BATCH, 2), &Device::Cpu)?;
        let (levels, ts) = Objective::Epsilon.draw(BATCH, &mut ChaCha8Rng::seed_from_u64(seed ^ step))?;
        let epsilon = SeededNoise::new(seed).from_sample(first).noise(&x0, Draw::Initial)?;
        let predicted = net.forward(&forward::add_noise(&x0, &epsilon, &levels)?, &ts)?;
        let loss = (predicted - epsilon)?.sqr()?.mean_all()?;
        let done = step as f64 / steps as f64;
        adam.step(&params.gradients(&loss.backward()?)?, RATE * (0.5 + 0.5 * libm::cos(PI * done)))?;
    }
    let averages = adam.averages()?.into_iter().collect();
    Ok(Perceptron::new(&mut Params::given(averages))?)
}

/// What draws the samples.
enum Network {
    Exact(GaussianMixture),
    Trained(Perceptron),
}

impl Network {
    fn epsilon(&self, x: &Tensor, t: f64, level: &NoiseLevel) -> Result<Tensor> {
        match self {
            Self::Exact(data) => {
                let mut epsilon: Vec<f64> = x.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
                data.epsilon(&mut epsilon, level);
                Ok(Tensor::from_vec(epsilon, x.shape(), &Device::Cpu)?.to_dtype(DType::F32)?)
            }
            Self::Trained(net) => Ok(net.forward(x, &vec![t; x.dim(0)?])?),
        }
    }

    /// √(E‖ε_θ − ε*‖²/E‖ε*‖²) over points of the data noised to 20 levels: the share of ε that is wrong.
    fn share(&self, count: usize, seed: u64) -> Result<f64> {
        let (exact, schedule) = (Self::Exact(ring()?), NoiseSchedule::ddpm()?);
        let [mut wrong, mut all] = [0.0_f64; 2];
        for level in 0..LEVELS {
            let t = (2 * level + 1) * schedule.len() / (2 * LEVELS);
            let at = schedule.level(t)?;
            let x0 = Tensor::from_vec(draws(!seed, (level * count) as u64, count)?, (count, 2), &Device::Cpu)?;
            let noise = SeededNoise::new(seed).noise(&x0, Draw::Step(level))?;
            let x = forward::add_noise(&x0, &noise, &vec![at; count])?;
            let (found, right) = (self.epsilon(&x, t as f64, &at)?, exact.epsilon(&x, t as f64, &at)?);
            wrong += f64::from((found - &right)?.sqr()?.sum_all()?.to_scalar::<f32>()?);
            all += f64::from(right.sqr()?.sum_all()?.to_scalar::<f32>()?);
        }
        Ok((wrong / all).sqrt())
    }

    /// Samples along a plan, (count, 2); sample i is the same in every call.
    fn draw(&self, plan: &Plan, count: usize, seed: u64) -> Result<Vec<f32>> {
        let mut network = predictor::from_fn(Prediction::Epsilon, |x: &Tensor, at: Point| {
            self.epsilon(x, at.t, &at.level).map_err(BoxError::from)
        });
        let mut points = Vec::with_capacity(2 * count);
        for from in (0..count).step_by(PIECE) {
            let like = Tensor::zeros((PIECE.min(count - from), 2), DType::F32, &Device::Cpu)?;
            let mut noise = SeededNoise::new(seed).from_sample(from as u64);
            let x = noise.noise(&like, Draw::Initial)?;
            points.extend(sample(plan, x, &mut network, &mut noise)?.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(points)
    }
}

/// The sliced Wasserstein distance between samples and the data: W₁ of their projections, the mean over directions.
fn distance(points: &[f32]) -> f64 {
    let directions = (0..DIRECTIONS).map(|direction| {
        let (sin, cos) = libm::sincos(PI * (direction as f64 + 0.5) / DIRECTIONS as f64);
        let along = |[x, y]: [f64; 2]| cos * x + sin * y;
        let parts: Vec<_> = (0..PARTS).map(|part| (1.0 / PARTS as f64, along(centre(part)), STD)).collect();
        wasserstein(points.chunks(2).map(|point| along([point[0].into(), point[1].into()])).collect(), &parts)
    });
    directions.sum::<f64>() / DIRECTIONS as f64
}

/// A table of distances for the exact ε and one for each number of optimiser steps, with the share of ε that is wrong.
pub fn report(trainings: &[u64], steps: &[usize], count: usize, seed: u64) -> Result<String> {
    if count == 0 {
        return Err(Trouble::Options("there is no sample to measure: raise --count".to_owned()));
    }
    let schedule = NoiseSchedule::ddpm()?;
    // The longest training first, so that no core waits for it at the end.
    let nets = parallel::map(trainings.len(), |index| trained(trainings[trainings.len() - 1 - index], seed))?;
    let exact = ("the exact ε".to_owned(), Network::Exact(ring()?));
    let nets = trainings.iter().zip(nets.into_iter().rev());
    let nets = nets.map(|(steps, net)| (format!("{steps} optimiser steps"), Network::Trained(net)));
    let mut text = format!(
        "Sliced Wasserstein distance of {count} samples from {PARTS} Gaussians on a ring; {count} draws of the data: {:.4}\n",
        distance(&draws(seed, 1 << 40, count)?)
    );
    for (name, net) in [exact].into_iter().chain(nets) {
        let numbers = parallel::map(METHODS.len() * steps.len(), |index| {
            let (method, steps) = cell_of(steps, index);
            Ok(distance(&net.draw(&method.plan(&schedule, steps)?, count, seed)?))
        })?;
        let share = 100.0 * net.share(count.min(4000), seed)?;
        let table = by_method(steps, &numbers, |number| format!("{number:.4}"));
        text += &format!("\n{name}: {share:.1} % of ε is wrong\n{table}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::Method;

    /// A network of a few hundred steps is wrong by a known share, and a longer training makes it smaller.
    #[test]
    fn training_makes_the_share_smaller() {
        let share = |steps| Network::Trained(trained(steps, 1).unwrap()).share(500, 1).unwrap();
        let (untrained, short, longer) = (share(0), share(40), share(200));
        // A network that begins as nothing is wrong in all of ε.
        assert!((untrained - 1.0).abs() < 1e-6, "{untrained}");
        assert!(longer < 0.8 * short && short < 0.9, "{short}, {longer}");
    }

    /// The exact ε has the paper's order at few steps, and converges to the data.
    #[test]
    fn the_exact_network_has_the_order_of_the_paper() {
        let exact = Network::Exact(ring().unwrap());
        let at = |method: Method, steps| {
            distance(&exact.draw(&method.plan(&NoiseSchedule::ddpm().unwrap(), steps).unwrap(), 2000, 1).unwrap())
        };
        assert_eq!(exact.share(100, 1).unwrap(), 0.0);
        let few = [Method::Eta(0.0), Method::Eta(1.0), Method::SigmaHat].map(|method| at(method, 10));
        assert!(few[0] < few[1] && few[1] < few[2], "{few:?}");
        assert!(at(Method::Eta(0.0), 100) < 0.5 * few[0]);
    }

    /// The distance of the data itself is that of a finite number of draws, and a shift is found.
    #[test]
    fn the_distance_is_that_of_a_shift() {
        let points = draws(1, 0, 8000).unwrap();
        assert!(distance(&points) < 0.02);
        let shifted: Vec<f32> = points.chunks(2).flat_map(|point| [point[0] + 0.3, point[1]]).collect();
        // The mean of |cos| over directions is 2/π.
        assert!((distance(&shifted) - 0.3 * 2.0 / std::f64::consts::PI).abs() < 0.02);
    }
}
