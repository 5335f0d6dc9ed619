//! A network from an ONNX file as a predictor for alphabar. tract runs it.
//!
//! The network is a U-Net that generates terrain, from the Python package adaptive-terrain-diffusion 0.4.1 (Youwei Yu, MIT). It follows
//! the EDM convention (Karras et al. 2022): it receives y = x₀ + σ·n and σ, and returns x₀. [`Edm`] converts between that convention and
//! alphabar's.

mod download;
pub mod relief;

pub use download::{CACHE, PACKAGE, network_file};

use std::path::Path;

use alphabar::{BoxError, NoiseLevel, NoiseSchedule, Point, Prediction, Predictor};
use ndarray::{Array1, Array4};
use tract_onnx::prelude::{
    Arc, DatumExt, Framework, InferenceFact, InferenceModelExt, IntoRunnable, IntoTValue, IntoTensor, TractError,
    TypedRunnableModel, onnx, tvec,
};

/// A batch of terrains, [batch, 1, 128, 128], in the network's units, from −1 to 1.
pub type Terrains = Array4<f32>;

/// Cells along a side of a terrain.
pub const SIDE: usize = 128;
/// The largest σ: there the network treats its input as pure noise.
pub const SIGMA_MAX: f64 = 80.0;
/// The least σ of the network's training.
pub const SIGMA_MIN: f64 = 0.002;

/// A denoiser D(y; σ) of the EDM convention as a predictor of x₀.
///
/// EDM has y = x₀ + σ·n, alphabar x = √ᾱ·x₀ + √(1−ᾱ)·n. With ᾱ = 1/(1 + σ²) they differ by a factor only, y = x/√ᾱ (Song et al.
/// 2021, Eq. 14). The network receives σ = √((1−ᾱ)/ᾱ), and no t.
pub struct Edm<D>(pub D);

impl<D> Predictor<Terrains> for Edm<D>
where
    D: FnMut(Terrains, f64) -> Result<Terrains, BoxError>,
{
    fn predict(&mut self, x: &Terrains, at: Point) -> Result<Terrains, BoxError> {
        let signal = at.level.signal();
        if at.level.is_pure_noise() {
            return Err(
                "an EDM network cannot receive pure noise, because its σ is infinite; start at a finite σ".into()
            );
        }
        let y = x.mapv(|x| (f64::from(x) / signal) as f32);
        (self.0)(y, at.level.sigma())
    }

    fn prediction(&self) -> Prediction {
        Prediction::Sample
    }
}

/// A schedule of T noise levels with EDM's spacing, from σ_min at t = 0 to σ_max at t = T−1 (Karras et al. 2022, Eq. 5, which counts in
/// the other direction):
///
/// σ_t = (σ_min^(1/ρ) + t/(T−1)·(σ_max^(1/ρ) − σ_min^(1/ρ)))^ρ with ρ = 7
///
/// The network does not depend on T, so any T works that is large enough for the timesteps. Evenly spaced t give EDM's spacing of σ.
///
/// # Errors
/// [`alphabar::Error::Count`] unless 2 ≤ T.
pub fn karras(train_steps: usize) -> Result<NoiseSchedule, alphabar::Error> {
    const RHO: f64 = 7.0;
    let (low, high) = (SIGMA_MIN.powf(1.0 / RHO), SIGMA_MAX.powf(1.0 / RHO));
    let levels = (0..train_steps).map(|t| {
        let share = t as f64 / (train_steps - 1) as f64;
        let sigma = (low + share * (high - low)).powf(RHO); // Eq. 5
        Ok(NoiseLevel::from_sigma(sigma)?.alpha_bar())
    });
    NoiseSchedule::from_alpha_bars(levels.collect::<Result<Vec<_>, alphabar::Error>>()?)
}

/// The network, for batches of one size.
#[derive(Clone)]
pub struct Network {
    model: Arc<TypedRunnableModel>,
    /// One for each terrain of a batch, from 0 to 1.
    difficulties: Array1<f32>,
}

impl Network {
    /// Reads the network for a batch of terrains with these difficulties, from 1 (smooth) to 100 (rough), one per terrain.
    ///
    /// # Errors
    /// If the file cannot be read as this network, or if a difficulty is outside 1..=100 or none is given.
    pub fn load(file: &Path, difficulties: &[u8]) -> Result<Self, BoxError> {
        if let Some(wrong) = difficulties.iter().find(|difficulty| !(1..=100).contains(*difficulty)) {
            return Err(format!("difficulty {wrong} must be in 1..=100").into());
        }
        let batch = difficulties.len();
        if batch == 0 {
            return Err("no difficulty is given; give one for each terrain of the batch".into());
        }
        let read = || {
            // The file's inputs, in this order: noisy, sigma, difficulty.
            let shapes: [&[usize]; 3] = [&[batch, 1, SIDE, SIDE], &[batch], &[batch]];
            let mut model = onnx().model_for_path(file)?;
            for (input, shape) in shapes.into_iter().enumerate() {
                model = model.with_input_fact(input, InferenceFact::from(f32::fact(shape)))?;
            }
            model.into_optimized()?.into_runnable()
        };
        let model = read().map_err(|error| format!("cannot read the network in {}: {error:#}", file.display()))?;
        let difficulties = difficulties.iter().map(|&difficulty| f32::from(difficulty - 1) / 99.0).collect();
        Ok(Self { model, difficulties })
    }

    /// The denoised batch D(y; σ).
    ///
    /// # Errors
    /// If y has another shape than the network was read for, or if tract fails.
    pub fn denoise(&self, y: Terrains, sigma: f64) -> Result<Terrains, BoxError> {
        let batch = self.difficulties.len();
        if y.shape() != [batch, 1, SIDE, SIDE] {
            let found = y.shape();
            return Err(format!("the network was read for [{batch}, 1, {SIDE}, {SIDE}], but y has {found:?}").into());
        }
        let sigmas = Array1::from_elem(batch, sigma as f32);
        let inputs = tvec!(y.into_tvalue(), sigmas.into_tvalue(), self.difficulties.clone().into_tvalue());
        let run = || match self.model.run(inputs)?.into_iter().next() {
            Some(x0) => x0.into_tensor().into_plain_array::<f32>(),
            None => Err(TractError::msg("it has no output")),
        };
        let x0 = run().map_err(|error| format!("the network failed: {error:#}"))?;
        Ok(x0.into_dimensionality()?)
    }

    /// The network as a predictor. Several runs may share one network at once.
    pub fn predictor(&self) -> impl Predictor<Terrains> + '_ {
        Edm(|y, sigma| self.denoise(y, sigma))
    }
}
