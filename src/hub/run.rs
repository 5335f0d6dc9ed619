//! One use of a configuration: what a pipeline passes at run time, and the plan that comes of it.

use crate::coefficients::EpsilonAfter;
use crate::error::Error;
use crate::hub::class::List;
use crate::hub::json::config_error;
use crate::hub::{Sampler, SchedulerConfig};
use crate::path::Path;
use crate::plan::Plan;
use crate::solver::Solver;
use crate::timesteps::kept_by_strength;

/// What a pipeline passes to a scheduler at run time, from [`SchedulerConfig::run`].
///
/// ```
/// use alphabar::hub::SchedulerConfig;
///
/// let config = SchedulerConfig::from_json(r#"{"_class_name": "DDIMScheduler"}"#)?;
/// // img2img: the last 60 % of 50 calls, with η = 0.3.
/// let plan = config.run(50).strength(0.6).eta(0.3).plan()?;
/// assert_eq!(plan.len(), 30);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Run<'a> {
    pub(super) config: &'a SchedulerConfig,
    pub(super) calls: Calls,
    pub(super) mu: Option<f64>,
    pub(super) tokens: Option<usize>,
    pub(super) eta: Option<f64>,
    strength: Option<f64>,
}

/// Where the network is called.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Calls {
    /// S calls, spaced as the configuration says.
    Count(usize),
    /// At these σ, in the class's own meaning of σ.
    Sigmas(Vec<f64>),
    /// At these t.
    Times(Vec<f64>),
}

/// A path, and the sampler along it.
pub(super) struct Route {
    pub(super) path: Path,
    pub(super) solver: Box<dyn Solver + Send + Sync>,
    /// What multiplies the initial noise.
    pub(super) noise_scale: f64,
    /// Which ε goes with a thresholded x̂₀.
    pub(super) epsilon: EpsilonAfter,
}

impl Route {
    /// A route that starts from z itself.
    pub(super) fn new(path: Path, solver: impl Solver + Send + Sync + 'static) -> Self {
        Self::boxed(path, Box::new(solver))
    }

    /// [`Route::new`] of a sampler that a configuration chose.
    pub(super) fn boxed(path: Path, solver: Box<dyn Solver + Send + Sync>) -> Self {
        Self { path, solver, noise_scale: 1.0, epsilon: EpsilonAfter::default() }
    }
}

impl<'a> Run<'a> {
    pub(super) fn new(config: &'a SchedulerConfig, calls: Calls) -> Self {
        Self { config, calls, mu: None, tokens: None, eta: None, strength: None }
    }

    /// μ of a dynamic shift. A pipeline computes it from the size of the image; [`Run::tokens`] does so, too.
    pub fn mu(self, mu: f64) -> Self {
        Self { mu: Some(mu), ..self }
    }

    /// The number of the image's tokens, from which the configuration's `base_shift`, `max_shift` and their lengths make μ. A latent of
    /// 128×128 in patches of 2×2 has 4096.
    #[doc(alias = "image_seq_len")]
    pub fn tokens(self, tokens: usize) -> Self {
        Self { tokens: Some(tokens), ..self }
    }

    /// η of DDIM, TCD and Euler ancestral: how much noise is added on the way.
    pub fn eta(self, eta: f64) -> Self {
        Self { eta: Some(eta), ..self }
    }

    /// The last ⌊S·strength⌋ points alone: image-to-image. Noise the image to [`Plan::start`]. LCM and TCD make S calls of what is left of
    /// their `original_inference_steps`.
    pub fn strength(self, strength: f64) -> Self {
        Self { strength: Some(strength), ..self }
    }

    /// S, for a class that takes no lists.
    pub(super) fn steps(&self) -> Result<usize, Error> {
        match &self.calls {
            Calls::Count(steps) => Ok(*steps),
            Calls::Sigmas(_) => Err(self.refused("sigmas", "is not an argument of this class")),
            Calls::Times(_) => Err(self.refused("timesteps", "is not an argument of this class")),
        }
    }

    pub(super) fn has_strength(&self) -> bool {
        self.strength.is_some()
    }

    /// How many of `count` timesteps the strength leaves.
    pub(super) fn kept_of(&self, count: usize) -> Result<usize, Error> {
        self.strength.map_or(Ok(count), |strength| kept_by_strength(count, strength))
    }

    /// An argument that this configuration does not take.
    pub(super) fn refused(&self, argument: &'static str, reason: &str) -> Error {
        config_error(argument, self.config.class.name(), reason)
    }

    fn route(&self) -> Result<Route, Error> {
        let config = self.config;
        let mut route = match (&config.sampler, &config.trained) {
            (Sampler::Table(settings), Some(trained)) => settings.route(trained, self),
            (Sampler::Sigma(settings), Some(trained)) => settings.route(trained, self),
            (Sampler::Multistep(settings), Some(trained)) => settings.route(trained, self),
            (Sampler::Flow(settings), _) => settings.route(self),
            (Sampler::Continuous(settings), _) => settings.route(self),
            (Sampler::Table(_) | Sampler::Sigma(_) | Sampler::Multistep(_), None) => Err(config.without_betas()),
        }?;
        // Distilled classes make S calls of the part that is left.
        match self.strength {
            Some(strength) if config.class.list() != List::Distilled => {
                route.path = route.path.with_strength(strength)?;
            }
            _ => {}
        }
        Ok(route)
    }

    /// The path: at which levels the network is called, and what it is told there.
    ///
    /// # Errors
    /// Those of [`Run::plan`], but for the sampler's.
    pub fn path(&self) -> Result<Path, Error> {
        Ok(self.route()?.path)
    }

    /// The sampler.
    ///
    /// # Errors
    /// Those of [`Run::plan`].
    pub fn solver(&self) -> Result<Box<dyn Solver + Send + Sync>, Error> {
        Ok(self.route()?.solver)
    }

    /// The plan. It tells the t and the input scale of each call.
    ///
    /// # Errors
    /// [`Error::Count`] for S outside the spacing's range; [`Error::Config`] with the key that an argument contradicts, such as a μ without
    /// `use_dynamic_shifting`; those of [`PlanBuilder::build`](crate::PlanBuilder::build).
    pub fn plan(&self) -> Result<Plan, Error> {
        let Route { path, solver, epsilon, .. } = self.route()?;
        self.config.plan_builder_along(&path).epsilon_after(epsilon).build(&solver)
    }

    /// What the initial noise z is multiplied by: sampling starts from x = scale·z, in the scale of the plan.
    ///
    /// 1 for most classes. Classes that diffusers runs in σ start where it starts: Euler's `init_noise_sigma`, in this scale.
    ///
    /// # Errors
    /// Those of [`Run::plan`].
    #[doc(alias = "init_noise_sigma")]
    pub fn noise_scale(&self) -> Result<f64, Error> {
        Ok(self.route()?.noise_scale)
    }
}
