//! Sampling for diffusion and flow-matching models in Rust: noise schedules, timesteps and exact steps of DDPM, DDIM, Euler,
//! DPM-Solver++, UniPC and other samplers. It is what Hugging Face diffusers calls a *scheduler*, for any network, on ndarray,
//! candle, burn or your own tensor type.
//!
//! **Guide**: [Quick start](guide::quick_start) (a closure; candle with a model folder) · [Coming from diffusers](guide::coming_from_diffusers)
//! (also: why do my images differ?) ·
//! [Recipes](guide::recipes) (text to image, img2img, inpainting, guidance, previews, DDIM inversion, control loops, released models) ·
//! [Choosing settings](guide::choosing) · [Model folders](guide::model_folders) · [Seeds](guide::seeds) · [FAQ](guide::faq) ·
//! [all pages](guide)
//!
//! A [`Plan`] is a table of all sampling steps, computed before the first network call. It never changes; print it, check it, share it
//! among requests.
//!
//! ```
//! use alphabar::{BoxError, Ddim, Draw, NoiseSchedule, NoiseSource, Plan, Point};
//! use alphabar::{SeededNoise, Timesteps, sample};
//! use ndarray::Array4;
//!
//! let schedule = NoiseSchedule::ddpm()?; // the noise schedule of training, T = 1000
//! let tau = Timesteps::trailing(schedule.len(), 50)?; // S = 50 inference steps
//! let plan = Plan::new(&schedule, &tau, &Ddim::deterministic())?; // DDIM, η = 0
//! println!("{plan}"); // t, s, ᾱ and all coefficients
//!
//! // The network, ε_θ(x, t). The closure compiles only if both arguments have types.
//! let mut network = |x: &Array4<f32>, at: Point| {
//!     Ok::<_, BoxError>(x * (0.5 + at.t as f32 / 2000.0))
//! };
//!
//! let mut noise = SeededNoise::new(42);
//! let x = noise.noise(&Array4::zeros((2, 3, 8, 8)), Draw::Initial)?; // x_T
//! let images = sample(&plan, x, &mut network, &mut noise)?;
//! # Ok::<(), alphabar::Error>(())
//! ```
//!
//! A flow-matching model (Flux, Stable Diffusion 3, Qwen-Image, Wan) needs another path and another prediction; the rest stays:
//!
//! ```
//! use alphabar::{Ddim, Flow, Plan, Prediction};
//!
//! let path = Flow::flux(4096)?.path(28)?; // Flux dev, 1024×1024, 28 steps
//! let plan = Plan::builder_along(&path)
//!     .prediction(Prediction::Flow) // the network predicts u = ε − x₀
//!     .build(&Ddim::deterministic())?; // on a flow: Euler's step
//! assert!(plan.start().is_pure_noise());
//! # Ok::<(), alphabar::Error>(())
//! ```
//!
//! Axis 0 of a tensor is the batch; a `Vec` is one sample. [`sample`](sample()) is a short loop. A server, or a program that shows
//! previews, can write the loop itself, as below, or take the steps one by one with [`Sampling`]. A loop for a multistep sampler
//! also needs a [`State`].
//!
//! ```
//! # use alphabar::{Ddim, Draw, NoiseSchedule, NoiseSource, Plan, SeededNoise, Timesteps};
//! # let plan = Plan::new(&NoiseSchedule::ddpm()?, &Timesteps::trailing(1000, 10)?, &Ddim::new(0.5)?)?;
//! # let mut noise = SeededNoise::new(42);
//! # let unet = |x: &Vec<f32>, _t: f64| x.clone();
//! # let mut x = vec![0.1_f32; 4];
//! for step in plan.steps() {
//!     let eps = unet(&x, step.t);
//!     let z = if step.needs_noise() {
//!         Some(noise.noise(&x, Draw::Step(step.index))?)
//!     } else {
//!         None
//!     };
//!     x = step.apply(x, eps, z.as_ref())?;
//! }
//! # Ok::<(), alphabar::Error>(())
//! ```
//!
//! # What is where
//!
//! | you want | look at |
//! |---|---|
//! | a noise schedule (β, ᾱ) | [`NoiseSchedule`] |
//! | a flow (Flux, Stable Diffusion 3, Qwen-Image, Wan), a network with EDM's preconditioning | [`Flow`], [`FlowTime`], module [`flow`]; [`Edm`], [`SigmaTime`]; your own: [`Process`] |
//! | a noise level, in any scale | [`NoiseLevel`], [`Scale`] |
//! | inference steps: spacing, img2img strength, inversion | [`Timesteps`], [`Spacing`], [`PathEnd`], [`Conditioning`], [`Respacing`] |
//! | spacings of σ (Karras, exponential, beta, Align Your Steps, …), fractions of t, custom lists, churn | [`Path`], [`Point`], module [`spacing`] |
//! | a sampler | [`Ddim`], [`Ddpm`] with [`Variance`], [`Euler`], [`EulerAncestral`]; your own: [`Solver`]; one to store: [`BuiltinSolver`] |
//! | a multistep sampler | [`DpmSolverPp`], [`UniPc`], [`DpmSolver`], [`SaSolver`], [`Deis`], [`Lms`], [`Ipndm`], [`Pndm`], [`FlowAdamsBashforth`]; [`Orders`] |
//! | several calls a step | [`Heun`], [`Dpm2`], [`Rk4`], [`SingleStep`], [`TwoStage`], [`FlowHeun`] |
//! | noise on a flow | [`FlowSde`], [`EulerAncestral::rectified_flow`] |
//! | interpolation between two noises | [`slerp()`](slerp()) |
//! | few-step networks | [`Lcm`], [`Tcd`], [`Renoise`] |
//! | what the network predicts: ε, x₀, v, the score, a flow's u, EDM's F; clipping | [`Prediction`] (`Epsilon`, `Sample`, `Velocity`, …), [`CustomPrediction`], [`Threshold`], [`EpsilonAfter`] |
//! | the table of steps, warnings about it | [`Plan`], [`PlanBuilder`], [`Step`], [`Lint`]; to store it: [`PlanRecipe`] |
//! | the loop | [`sample()`](sample()), [`Sampling`], [`State`], [`Step::apply`]; in place, without allocation: [`step_in_place`] |
//! | a network, guidance (CFG) | [`Predictor`], [`Guidance`], [`GuidanceScale`], module [`predictor`] |
//! | noise | [`SeededNoise`], [`NoiseSource`], [`RngNoise`], [`noise::Brownian`] |
//! | the noise of torch, numpy, ComfyUI or the AUTOMATIC1111 web UI | modules [`noise::torch`], [`noise::numpy`], [`noise::comfyui`], [`noise::webui`] |
//! | tensors: `Vec`, [`Batch`], [`ndarray`]; with a feature candle, burn; your own | [`Tensor`], [`HostTensor`], [`RowReduce`], module [`testing`][tests-of-tensors] |
//! | training: noising, targets, distributions of t and σ, loss weights, the variational bound | modules [`forward`], [`objective`], [`posterior`] |
//! | `scheduler_config.json` of the Hugging Face Hub | module [`hub`][configurations] |
//! | the numbers of diffusers, where they differ | module [`compat`] |
//! | exact predictors, to test a sampler without a network | module [`mod@reference`] |
//!
//! # Features
//!
//! No feature is on by default. `candle011` and `burn022`: tensors of these frameworks. `hub`: configurations of the Hugging Face Hub. `simd` and
//! `rayon`: more speed, equal values. `half`: `f16` and `bf16`. `serde`: stores settings. `testing`: conformance tests for your own tensor type.
//!
//! # Equivalences
//!
//! Each is tested.
//! - [`Ddim`] with η = 1 is [`Ddpm`] with the posterior variance, on any timesteps; with clipping, if [`EpsilonAfter::Threshold`] is set.
//! - σ̂ is [`Ddpm`] with the variance β, on any timesteps.
//! - [`Variance::LearnedRange`] is the posterior variance if the network returns v = −1, and β if it returns v = 1.
//! - [`Ddim`] with η = 0 is an Euler step: of x/√ᾱ in √((1−ᾱ)/ᾱ), of x in σ on variance-exploding and on flow levels.
//! - [`Ddim`] with 0 ≤ η ≤ 1 on variance-exploding levels is the Euler ancestral sampler.
//! - [`DpmSolverPp`] and [`UniPc`] of order 1 are [`Ddim`] with η = 0. UniP-2 with bh2 is DPM-Solver++ 2M.
//! - [`UniPc`] with exact weights is [`DpmSolverPp`] with [`Interpolation::Exact`] if its corrector is off, and [`SaSolver`] with
//!   τ = 0 if its corrector is on.
//! - [`SaSolver`] of order 1 is [`Ddim`] with η² = (1 − e^{−2τ²h})/(1 − e^{−2h}), and gDDIM; without its corrector it is SDE-DPM-Solver++.
//! - [`Deis`] in log ρ is multistep [`DpmSolver`], in ρ it is [`Lms`]; [`Ipndm`] is [`Lms`] on equal steps of σ; [`FlowAdamsBashforth`] of order 1 is [`Ddim`].
//! - A step does not depend on the scale of its levels, apart from the scale of x.
//! - Predictions of different kinds that mean the same x₀ give the same step.
//!
#![cfg_attr(feature = "hub", doc = "[configurations]: crate::hub")]
#![cfg_attr(not(feature = "hub"), doc = "[configurations]: #features")]
#![cfg_attr(feature = "testing", doc = "[tests-of-tensors]: crate::testing")]
#![cfg_attr(not(feature = "testing"), doc = "[tests-of-tensors]: #features")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod coefficients;
pub mod compat;
mod dd;
mod edm;
mod error;
pub mod flow;
pub mod forward;
#[cfg(any(doc, doctest))]
pub mod guide;
#[cfg(feature = "hub")]
pub mod hub;
mod interpolate;
mod level;
pub mod noise;
mod normal;
pub mod objective;
mod path;
mod phi;
mod plan;
pub mod posterior;
mod prediction;
pub mod predictor;
pub mod reference;
mod sample;
mod schedule;
mod solver;
pub mod spacing;
mod state;
mod tensor;
#[cfg(feature = "testing")]
pub mod testing;
mod timesteps;

// What a network was trained on.
#[doc(inline)]
pub use edm::{Edm, SigmaTime};
#[doc(inline)]
pub use flow::{Flow, FlowTime};
#[doc(inline)]
pub use level::{NoiseLevel, Scale};
#[doc(inline)]
pub use prediction::{Conversion, CustomPrediction, Prediction, SigmaData};
#[doc(inline)]
pub use schedule::{MAX_TRAIN_STEPS, NoiseSchedule};

// Where the network is called.
#[doc(inline)]
pub use path::{Leg, Legs, Path, Point, Process};
#[doc(inline)]
pub use timesteps::{Conditioning, Direction, PathEnd, Respacing, Spacing, Timesteps};

// The steps.
#[doc(inline)]
pub use coefficients::{Coefficients, EpsilonAfter, History, Kept, MAX_HISTORY, Threshold};
#[doc(inline)]
pub use plan::{Lint, Plan, PlanBuilder, PlanRecipe, Step};
#[doc(inline)]
pub use posterior::Conditional;
#[doc(inline)]
pub use solver::{
    BuiltinSolver, Combination, Ddim, Ddpm, Deis, Dpm2, DpmSolver, DpmSolverPp, Euler, EulerAncestral, FinalOrder,
    FlowAdamsBashforth, FlowHeun, FlowSde, Heun, Interpolation, Ipndm, Lcm, Lms, Middle, Orders, Pndm, Renoise, Rk4,
    Row, SaSolver, SingleStep, Solver, Tau, Tcd, TwoStage, UniPc, UniPcWeights, Variance,
};

// A run.
#[doc(inline)]
pub use error::{BoxError, Error};
#[doc(inline)]
pub use interpolate::slerp;
#[doc(inline)]
pub use noise::{Draw, NoNoise, NoiseSource, NormalStream, RngNoise, SampleKey, SeededNoise};
#[doc(inline)]
pub use predictor::{Guidance, GuidanceScale, Predictor, RescaledGuidance};
#[doc(inline)]
pub use sample::{Sampling, sample};
#[doc(inline)]
pub use state::State;
#[doc(inline)]
pub use tensor::{
    Batch, Element, ElementType, HostTensor, Memory, Real, RowReduce, Rows, Stepped, Tensor, Weights, step_in_place,
    step_in_place_with_memory,
};

/// The README's examples, compiled and run with those of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
