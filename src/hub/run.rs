//! One use of a configuration: what a pipeline passes at run time, and the plan that follows from it.

use crate::error::Error;
use crate::hub::SchedulerConfig;
use crate::hub::class::List;
use crate::hub::json::{config_error, few_digits};
use crate::path::Path;
use crate::plan::Plan;
use crate::solver::Solver;
use crate::timesteps::kept_by_strength;

/// A configuration with the arguments that a pipeline passes at run time.
///
/// Start one with [`SchedulerConfig::run`], [`SchedulerConfig::run_through_sigmas`] or [`SchedulerConfig::run_through_times`]. Which class takes
/// which argument:
///
/// | argument | classes |
/// |---|---|
/// | a number of steps ([`SchedulerConfig::run`]) | all |
/// | a list of σ ([`SchedulerConfig::run_through_sigmas`]) | `EulerDiscreteScheduler`, `EDMEulerScheduler`, flow matching except Heun; `UniPCMultistepScheduler` with `use_flow_sigmas` |
/// | a list of t ([`SchedulerConfig::run_through_times`]) | DDIM, DDPM, PNDM, CogVideoX, UnCLIP, LCM, TCD; `EulerDiscreteScheduler`, `HeunDiscreteScheduler`, `DPMSolverMultistepScheduler` and `DPMSolverSinglestepScheduler` without a spacing in σ; `FlowMatchEulerDiscreteScheduler`, `FlowMatchLCMScheduler` |
/// | [`Run::mu`] | with `use_dynamic_shifting`: flow matching except Heun; DPM-Solver, DEIS and UniPC with `use_flow_sigmas` |
/// | [`Run::tokens`] | with `use_dynamic_shifting`: flow matching except Heun |
/// | [`Run::eta`] | DDIM, `CogVideoXDDIMScheduler`, TCD; Euler ancestral, KDPM2 ancestral and DPM-Solver SDE. With [`SchedulerConfig::compat`], DDIM and TCD only |
/// | [`Run::strength`] | all; LCM and TCD with a number of steps only |
///
/// [`Run::plan`] returns an error for an argument that the class does not take or that contradicts the file, and for a missing μ.
///
/// ```
/// use alphabar::hub::SchedulerConfig;
///
/// let config = SchedulerConfig::from_json(r#"{"_class_name": "DDIMScheduler"}"#)?;
/// // img2img: the last 60 % of 50 steps, with η = 0.3.
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
    /// At these σ: noise/signal, or the flow's σ.
    Sigmas(Vec<f64>),
    /// At these t.
    Times(Vec<f64>),
}

/// An argument of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Argument {
    Sigmas,
    Times,
    Mu,
    Tokens,
    Eta,
    Strength,
}

impl Argument {
    /// Its name in a pipeline of diffusers.
    fn name(self) -> &'static str {
        match self {
            Self::Sigmas => "sigmas",
            Self::Times => "timesteps",
            Self::Mu => "mu",
            Self::Tokens => "tokens",
            Self::Eta => "eta",
            Self::Strength => "strength",
        }
    }

    /// What to do instead, if a class does not take it.
    fn instead(self) -> &'static str {
        match self {
            Self::Sigmas | Self::Times => "pass the number of steps, or make a Path and pass it to plan_builder_along",
            Self::Mu | Self::Tokens => "leave it out: only flows with use_dynamic_shifting take it",
            Self::Eta => "for a sampler that adds noise, pass Run::path to plan_builder_along and build with Ddim::new",
            Self::Strength => "leave it out",
        }
    }
}

/// The sampler of a configuration.
pub(super) type AnySolver = Box<dyn Solver + Send + Sync>;

/// A path, the sampler that runs along it, and the scale of the initial noise.
pub(super) struct Route {
    pub(super) path: Path,
    pub(super) solver: AnySolver,
    /// The factor of the initial noise.
    pub(super) noise_scale: f64,
}

impl Route {
    /// A route that starts from z itself.
    pub(super) fn new(path: Path, solver: impl Solver + Send + Sync + 'static) -> Self {
        Self::boxed(path, Box::new(solver))
    }

    /// [`Route::new`] with a boxed sampler.
    pub(super) fn boxed(path: Path, solver: AnySolver) -> Self {
        Self { path, solver, noise_scale: 1.0 }
    }
}

impl<'a> Run<'a> {
    pub(super) fn new(config: &'a SchedulerConfig, calls: Calls) -> Self {
        Self { config, calls, mu: None, tokens: None, eta: None, strength: None }
    }

    /// Sets μ of a dynamic shift, which moves the σ of a flow: σ ← a·σ/(1 + (a − 1)·σ) with a = e^μ, or a = μ if `time_shift_type` is `linear`.
    ///
    /// A pipeline computes μ from the size of the image, and so does [`Run::tokens`]. Pass one of the two.
    pub fn mu(self, mu: f64) -> Self {
        Self { mu: Some(mu), ..self }
    }

    /// Sets the number of tokens of the image, from which μ of a dynamic shift is computed.
    ///
    /// μ is a linear function of the number: `base_shift` at `base_image_seq_len`, and `max_shift` at `max_image_seq_len`. A latent of 128×128
    /// in patches of 2×2 has 4096 tokens. Flux.2 is different: its pipeline computes μ from the tokens and S. Pass
    /// [`flow::flux2_mu`](crate::flow::flux2_mu) to [`Run::mu`].
    ///
    /// ```
    /// use alphabar::hub::SchedulerConfig;
    ///
    /// let json = r#"{"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": true}"#;
    /// let flux = SchedulerConfig::from_json(json)?;
    /// assert_eq!(flux.run(28).tokens(4096).plan()?, flux.run(28).mu(1.15).plan()?);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[doc(alias = "image_seq_len")]
    #[doc(alias = "calculate_shift")]
    pub fn tokens(self, tokens: usize) -> Self {
        Self { tokens: Some(tokens), ..self }
    }

    /// Sets η in [0, 1], which scales the noise that is added at each step. For TCD it is γ.
    ///
    /// Defaults: 0 for DDIM, 1 for the ancestral and SDE methods in σ, 0.3 for TCD.
    pub fn eta(self, eta: f64) -> Self {
        Self { eta: Some(eta), ..self }
    }

    /// img2img: keeps only the last ⌊S·strength⌋ points of the path, the least noisy ones.
    ///
    /// LCM and TCD shorten the list of `original_inference_steps` instead, and make S network calls along the rest. Sampling starts from the
    /// image with noise added at the level [`Plan::start`]; [`Run::noise_scale`] is not used:
    ///
    /// ```
    /// use alphabar::forward::add_noise;
    /// use alphabar::hub::SchedulerConfig;
    ///
    /// let config =
    ///     SchedulerConfig::from_json(r#"{"_class_name": "EulerDiscreteScheduler"}"#)?;
    /// let plan = config.run(20).strength(0.5).plan()?;
    /// let (image, z) = (vec![0.5_f32; 4], vec![-1.0; 4]);
    /// let x = add_noise(&image, &z, &[plan.start()])?;
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[doc(alias = "img2img")]
    #[doc(alias = "image-to-image")]
    pub fn strength(self, strength: f64) -> Self {
        Self { strength: Some(strength), ..self }
    }

    /// S, for classes that take no list.
    pub(super) fn steps(&self) -> Result<usize, Error> {
        match &self.calls {
            Calls::Count(steps) => Ok(*steps),
            Calls::Sigmas(_) => Err(self.not_taken(Argument::Sigmas)),
            Calls::Times(_) => Err(self.not_taken(Argument::Times)),
        }
    }

    /// `Err` for an argument that is not in `taken`. The strength is not checked, because all classes take it.
    pub(super) fn takes(&self, taken: &[Argument]) -> Result<(), Error> {
        let given = [
            (Argument::Sigmas, matches!(self.calls, Calls::Sigmas(_))),
            (Argument::Times, matches!(self.calls, Calls::Times(_))),
            (Argument::Mu, self.mu.is_some()),
            (Argument::Tokens, self.tokens.is_some()),
            (Argument::Eta, self.eta.is_some()),
        ];
        match given.into_iter().find(|(argument, given)| *given && !taken.contains(argument)) {
            Some((argument, _)) => Err(self.not_taken(argument)),
            None => Ok(()),
        }
    }

    fn not_taken(&self, argument: Argument) -> Error {
        self.refused(argument, &format!("is not an argument of {}; {}", self.config.class, argument.instead()))
    }

    pub(super) fn has_strength(&self) -> bool {
        self.strength.is_some()
    }

    /// How many of `count` timesteps the strength leaves.
    pub(super) fn kept_of(&self, count: usize) -> Result<usize, Error> {
        self.strength.map_or(Ok(count), |strength| kept_by_strength(count, strength))
    }

    /// The error of an argument, with its value.
    pub(super) fn refused(&self, argument: Argument, reason: &str) -> Error {
        let value = match argument {
            Argument::Sigmas | Argument::Times => None,
            Argument::Mu => self.mu,
            Argument::Tokens => self.tokens.map(|tokens| tokens as f64),
            Argument::Eta => self.eta,
            Argument::Strength => self.strength,
        };
        config_error(argument.name(), &value.map_or("[…]".to_owned(), few_digits), reason)
    }

    fn route(&self) -> Result<Route, Error> {
        let mut route = self.config.sampler.route(self)?;
        // Distilled classes have used the strength already: they make S calls along a shorter list.
        if let Some(strength) = self.strength.filter(|_| self.config.class.list() != List::Distilled) {
            route.path = route.path.with_strength(strength)?;
        }
        Ok(route)
    }

    /// The path: the points at which the network is called, with level and t, and the level of the end.
    ///
    /// # Errors
    /// The errors of [`Run::plan`], except those of the sampler.
    pub fn path(&self) -> Result<Path, Error> {
        Ok(self.route()?.path)
    }

    /// The sampler, to run it along another path.
    ///
    /// ```
    /// use alphabar::hub::SchedulerConfig;
    ///
    /// let config =
    ///     SchedulerConfig::from_json(r#"{"_class_name": "EulerDiscreteScheduler"}"#)?;
    /// let run = config.run(20);
    /// // s_churn = 10 of the class's step().
    /// let path = run.path()?.churned(config.schedule()?, 10.0, 0.05..=50.0, 1.0)?;
    /// let plan = config.plan_builder_along(&path).build(&run.solver()?)?;
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`Run::plan`].
    pub fn solver(&self) -> Result<Box<dyn Solver + Send + Sync>, Error> {
        Ok(self.route()?.solver)
    }

    /// The plan of the run. Its steps have the t and the input scale of each network call.
    ///
    /// # Errors
    /// - [`Error::Count`] for S outside the range of the spacing.
    /// - [`Error::Config`] with the name of an argument that the class does not take or that contradicts the file, and for settings that
    ///   [`SchedulerConfig::compat`] cannot imitate.
    /// - [`Error::Parameter`] for a value outside its domain.
    /// - The errors of [`PlanBuilder::build`](crate::PlanBuilder::build).
    pub fn plan(&self) -> Result<Plan, Error> {
        let Route { path, solver, .. } = self.route()?;
        self.config.plan_builder_along(&path).build(&solver)
    }

    /// The factor of the initial noise z: sampling starts from x = scale·z, in the scale of the plan.
    ///
    /// It is 1 for most classes. For classes in σ it is the noise of the first level if their spacing is not leading, and 1 if it is. For EDM it
    /// is √(σ_max² + 1), and for `ScoreSdeVeScheduler` σ_max. It takes the place of `init_noise_sigma` in diffusers, which is in the scale
    /// x/√ᾱ for a table of β: Euler with the file of SDXL and 30 steps has 1 here and 11.5 there.
    ///
    /// # Errors
    /// The errors of [`Run::plan`].
    #[doc(alias = "init_noise_sigma")]
    pub fn noise_scale(&self) -> Result<f64, Error> {
        Ok(self.route()?.noise_scale)
    }
}
