//! Diffusion sampling as a library: noise schedules, subsequences τ of their steps, and the exact DDPM and DDIM step, for any
//! network on any tensor.
//!
//! All diffusion mathematics here is scalar `f64` and knows no tensor; all work on tensors is one affine update and knows no
//! diffusion; they meet in a handful of numbers. A whole trajectory is known before the first network call: it is a
//! [`Plan`], an immutable table of steps that can be printed, compared and shared.
//!
//! ```
//! use alphabar::{BoxError, Ddim, Draw, NoiseSchedule, NoiseSource, Plan, Point, SeededNoise, Timesteps, sample};
//! use ndarray::Array4;
//!
//! // What the network was trained with, which of its steps to take, and how.
//! let schedule = NoiseSchedule::ddpm()?;
//! let tau = Timesteps::trailing(schedule.len(), 50)?;
//! let plan = Plan::new(&schedule, &tau, &Ddim::deterministic())?;
//!
//! // The network: ε_θ(x, t). A closure will do.
//! let mut model = |x: &Array4<f32>, at: Point| {
//!     let _t = at.t; // what it is conditioned on
//!     Ok::<_, BoxError>(x * 0.5)
//! };
//!
//! // Noise to pictures.
//! let mut noise = SeededNoise::new(42);
//! let x = noise.noise(&Array4::zeros((2, 3, 8, 8)), Draw::Initial)?;
//! let pictures = sample(&plan, x, &mut model, &mut noise)?;
//! # Ok::<(), alphabar::Error>(())
//! ```
//!
//! # The loop by hand
//!
//! [`sample`] is this loop, which a server or a program with previews writes itself (or drives with [`Sampling`]):
//!
//! ```
//! # use alphabar::{Ddim, Draw, NoiseSchedule, NoiseSource, Plan, SeededNoise, Timesteps};
//! # let plan = Plan::new(&NoiseSchedule::ddpm()?, &Timesteps::trailing(1000, 10)?, &Ddim::new(0.5)?)?;
//! # let mut noise = SeededNoise::new(42);
//! # let unet = |x: &Vec<f32>, _t: usize| x.clone();
//! # let mut x = vec![0.1_f32; 4];
//! for step in plan.steps() {
//!     let eps = unet(&x, step.t);
//!     let z = if step.needs_noise() { Some(noise.noise(&x, Draw::Step(step.index))?) } else { None };
//!     x = step.apply(x, eps, z.as_ref())?;
//! }
//! # Ok::<(), alphabar::Error>(())
//! ```
//!
//! # Words
//!
//! `t` is the index that a network is fed, 0-based as in every released model; the papers count from 1. ᾱ_t is
//! `alphas_cumprod[t]`, the DDIM paper's α_t. A [`NoiseLevel`] is the pair (signal, noise) = (√ᾱ, √(1−ᾱ)); a step goes from level
//! t to level s. Clean data, the papers' "t = 0", is [`NoiseLevel::CLEAN`] and has no index.
//!
//! # What is where
//!
//! - The scalar half: [`NoiseSchedule`], [`NoiseLevel`], [`Timesteps`], [`Prediction`], the [`Solver`]s [`Ddim`] and [`Ddpm`],
//!   [`Plan`], and the distributions of [`posterior`] and terms of [`objective`].
//! - The tensor half: the trait [`Tensor`], for `Vec` and [`ndarray`] here and for anything by a newtype; [`Predictor`],
//!   [`NoiseSource`], [`sample()`](sample()), [`forward`], [`slerp`], and the exact predictors of [`mod@reference`].
//!
//! # Equivalences
//!
//! Each is tested.
//! - [`Ddim`] with η = 1 is [`Ddpm`] with the posterior variance, on any τ; under a threshold, with
//!   [`EpsilonAfter::Threshold`].
//! - σ̂ is [`Ddpm`] with the variance β, on any τ.
//! - [`Variance::LearnedRange`] is the posterior variance where the network says v = −1, and β where it says 1.
//! - [`Ddim`] with η = 0 is an Euler step in x/√ᾱ against √((1−ᾱ)/ᾱ).
//! - Predictions of ε, x₀, v and the score that stand for the same x₀ give the same step.

#![forbid(unsafe_code)]

mod coefficients;
pub mod compat;
mod dd;
mod error;
pub mod forward;
#[cfg(feature = "hub")]
pub mod hub;
mod interpolate;
mod level;
pub mod noise;
pub mod objective;
mod plan;
pub mod posterior;
mod prediction;
pub mod predictor;
pub mod reference;
mod sample;
mod schedule;
mod solver;
mod tensor;
#[cfg(feature = "testing")]
pub mod testing;
mod timesteps;

pub use coefficients::{Coefficients, EpsilonAfter, Threshold};
pub use error::{BoxError, Error};
pub use interpolate::slerp;
pub use level::NoiseLevel;
pub use noise::{Draw, NoNoise, NoiseSource, NormalStream, RngNoise, SampleKey, SeededNoise};
pub use plan::{Lint, Plan, PlanBuilder, Point, Step};
pub use posterior::Conditional;
pub use prediction::{Conversion, Prediction};
pub use predictor::{Guidance, Predictor, RescaledGuidance};
pub use sample::{Sampling, sample};
pub use schedule::{MAX_TRAIN_STEPS, NoiseSchedule};
pub use solver::{Combination, Ddim, Ddpm, Leg, Solver, Variance};
pub use tensor::{Element, ElementType, HostTensor, Real, RowReduce, Rows, Stepped, Tensor, Weights, step_in_place};
pub use timesteps::{Conditioning, Direction, PathEnd, Respacing, Timesteps};

/// The README's example, compiled and run with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;

/// The newtype of docs/backends.md under the law suite.
#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../docs/backends.md")]
struct BackendsDoctests;
