//! DDPM with the noise and the rounding of diffusers.

use super::Precision;
use crate::error::{Error, require};
use crate::path::Leg;
use crate::plan::{Plan, PlanBuilder};
use crate::solver::{Combination, Ddpm, Solver, Variance};
use crate::timesteps::PathEnd;

/// The plan of `DDPMScheduler`, as diffusers computes it.
///
/// It goes along τ to clean data, even if τ has another end. Scalars are rounded to `f32`, the posterior variance is at least 1e-20, and
/// every step adds noise, except a step from t = 0.
///
/// ```text
/// α = ᾱ_t/ᾱ_s,  β = 1 − α                               each rounded to f32: β cancels
/// x_s = √ᾱ_s·β/(1−ᾱ_t)·x̂₀ + √α·(1−ᾱ_s)/(1−ᾱ_t)·x_t + σ·z   Eq. 7 (Ho et al. 2020)
/// ```
///
/// With [`Tables`](crate::compat::Tables) a run in `f32` agrees with diffusers to 1.5e-6 (S ≤ 100). With exact scalars it would differ by up to
/// 5e-6, and by up to 2e-4 in long runs.
///
/// If τ ends at t = 0, the result is clean data. Otherwise it contains noise. Its variance is 1 − ᾱ_t with
/// [`Variance::Beta`], 1e-20 with [`Variance::Posterior`], and between the two with [`Variance::LearnedRange`]. `learned` is not
/// imitated, because diffusers uses σ = √v, which is NaN for v < 0: [`Variance::Learned`] is unchanged. The direction of τ is
/// ignored.
///
/// # Errors
/// The errors of [`PlanBuilder::build`], and [`Error::Parameter`] at a step if 1 − ᾱ is 0 in `f32`.
///
/// ```
/// # use alphabar::{Ddpm, NoiseSchedule, Plan, Timesteps, Variance, compat};
/// let (schedule, tau) = (NoiseSchedule::ddpm()?, Timesteps::trailing(1000, 50)?);
/// let plan =
///     compat::ddpm(&Plan::builder(&schedule, &tau), &Ddpm::new(Variance::Beta))?;
/// let last = &plan.steps()[49];
/// assert_eq!(last.t, 19.0);
/// assert!((last.coefficients.d - schedule.level(19)?.noise()).abs() < 1e-5);
/// # Ok::<(), alphabar::Error>(())
/// ```
pub fn ddpm(plan: &PlanBuilder<'_>, method: &Ddpm) -> Result<Plan, Error> {
    let (schedule, tau) = plan.trained()?;
    let tau = tau.clone().generating().ending(PathEnd::Clean);
    let last = tau.as_slice().last().copied().unwrap_or(0);
    let method =
        DdpmOfDiffusers { method: *method, ends_noisy: last > 0, betas: Vec::new(), precision: Precision::F32 };
    plan.through(schedule, &tau).build(&method)
}

/// DDPM as diffusers computes it: each scalar is rounded, and whether a step adds noise depends on its t instead of its level.
#[derive(Clone, Debug)]
pub(crate) struct DdpmOfDiffusers {
    pub(crate) method: Ddpm,
    /// Whether the last t, from which the step goes to clean data, is above 0.
    pub(crate) ends_noisy: bool,
    /// β of each t, for UnCLIP; else empty. UnCLIP uses β of the table for a step from t to t − 1, and α = 1 − β for every step.
    pub(crate) betas: Vec<f64>,
    pub(crate) precision: Precision,
}

impl Solver for DdpmOfDiffusers {
    fn name(&self) -> &'static str {
        self.method.name()
    }

    fn combine(&self, leg: &Leg) -> Result<Combination, Error> {
        let exact = self.method.combine(leg)?;
        let hold = |value: f64| self.precision.hold(value);
        let [alpha_bar_t, alpha_bar_s] = [leg.from, leg.to].map(|level| hold(level.alpha_bar()));
        let (noise_t, noise_s) = (hold(1.0 - alpha_bar_t), hold(1.0 - alpha_bar_s));
        require(noise_t > 0.0, "1 − ᾱ in f32", noise_t, "above 0; this level has too little noise for f32")?;
        // Each scalar is rounded. 1 − α loses digits by cancellation, as in diffusers.
        let alpha = hold(alpha_bar_t / alpha_bar_s);
        let beta = self.beta_of(leg).map_or(hold(1.0 - alpha), hold);
        let alpha = if self.betas.is_empty() { alpha } else { hold(1.0 - beta) };
        let variance = hold(hold(noise_s / noise_t) * beta).max(hold(LEAST_VARIANCE));
        let (z, learned_noise) = match self.method.variance() {
            _ if leg.to.is_clean() && !self.ends_noisy => (exact.z, exact.learned_noise),
            Variance::Posterior => (hold(variance.sqrt()).into(), None),
            Variance::Beta => (hold(beta.sqrt()).into(), None),
            // exp(½·(f·ln β + (1−f)·ln β̃)) with f = (v+1)/2
            Variance::LearnedRange => {
                let [most, least] = [beta, variance].map(|variance| hold(libm::log(variance)));
                (libm::exp(0.25 * (most + least)).into(), Some(0.25 * (most - least)))
            }
            Variance::Learned => (exact.z, exact.learned_noise),
        };
        let x0 = hold(hold(hold(alpha_bar_s.sqrt()) * beta) / noise_t);
        let x = hold(hold(hold(alpha.sqrt()) * noise_s) / noise_t);
        Ok(Combination { x0: x0.into(), x: x.into(), z, learned_noise, ..exact })
    }
}

impl DdpmOfDiffusers {
    /// β of the table, if the step goes from t to t − 1.
    fn beta_of(&self, leg: &Leg) -> Option<f64> {
        let before = if leg.to.is_clean() { -1.0 } else { leg.s? };
        self.betas.get(leg.call.t as usize).copied().filter(|_| leg.call.t - 1.0 == before)
    }
}

/// The smallest β̃ of diffusers, which keeps its logarithm finite.
const LEAST_VARIANCE: f64 = 1e-20;
