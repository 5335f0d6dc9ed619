//! One use of a configuration: what a pipeline passes at run time, and the plan that comes of it.

use crate::error::Error;
use crate::hub::SchedulerConfig;
use crate::hub::class::List;
use crate::hub::json::{config_error, few_digits};
use crate::path::Path;
use crate::plan::Plan;
use crate::solver::Solver;
use crate::timesteps::kept_by_strength;

/// What a pipeline passes to a scheduler at run time, from [`SchedulerConfig::run`] and its two siblings.
///
/// Which class takes which argument:
///
/// | argument | classes |
/// |---|---|
/// | a number of steps ([`SchedulerConfig::run`]) | all |
/// | a list of σ ([`SchedulerConfig::run_through_sigmas`]) | `EulerDiscreteScheduler`, `EDMEulerScheduler`, flow matching but for Heun; `UniPCMultistepScheduler` with `use_flow_sigmas` |
/// | a list of t ([`SchedulerConfig::run_through_times`]) | DDIM, DDPM, PNDM, CogVideoX, UnCLIP, LCM, TCD; `EulerDiscreteScheduler`, `HeunDiscreteScheduler`, `DPMSolverMultistepScheduler` and `DPMSolverSinglestepScheduler` without a spacing in σ; `FlowMatchEulerDiscreteScheduler`, `FlowMatchLCMScheduler` |
/// | [`Run::mu`] | with `use_dynamic_shifting`: flow matching but for Heun; DPM-Solver, DEIS and UniPC with `use_flow_sigmas` |
/// | [`Run::tokens`] | with `use_dynamic_shifting`: flow matching but for Heun |
/// | [`Run::eta`] | DDIM, `CogVideoXDDIMScheduler`, TCD; Euler ancestral, KDPM2 ancestral and DPM-Solver SDE. Through [`SchedulerConfig::compat`], DDIM and TCD only |
/// | [`Run::strength`] | all; LCM and TCD with a number of steps only |
///
/// An argument that the class does not take is an error of the plan. So is an argument that the file contradicts, and a missing μ.
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
    /// At these σ: noise/signal, or those of a flow.
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
    /// What a pipeline calls it.
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

    /// What to do instead, where a class does not take it.
    fn instead(self) -> &'static str {
        match self {
            Self::Sigmas | Self::Times => "pass the number of steps, or make a Path and give it to plan_builder_along",
            Self::Mu | Self::Tokens => "leave it out: it is for flows with use_dynamic_shifting",
            Self::Eta => "for noise on the way, give Ddim::new and Run::path to plan_builder_along",
            Self::Strength => "leave it out",
        }
    }
}

/// The sampler that a configuration chose.
pub(super) type AnySolver = Box<dyn Solver + Send + Sync>;

/// A path, and the sampler along it.
pub(super) struct Route {
    pub(super) path: Path,
    pub(super) solver: AnySolver,
    /// What multiplies the initial noise.
    pub(super) noise_scale: f64,
}

impl Route {
    /// A route that starts from z itself.
    pub(super) fn new(path: Path, solver: impl Solver + Send + Sync + 'static) -> Self {
        Self::boxed(path, Box::new(solver))
    }

    /// [`Route::new`] of a sampler that a configuration chose.
    pub(super) fn boxed(path: Path, solver: AnySolver) -> Self {
        Self { path, solver, noise_scale: 1.0 }
    }
}

impl<'a> Run<'a> {
    pub(super) fn new(config: &'a SchedulerConfig, calls: Calls) -> Self {
        Self { config, calls, mu: None, tokens: None, eta: None, strength: None }
    }

    /// μ of a dynamic shift, of which the σ of a flow are σ ← a·σ/(1 + (a − 1)·σ) with a = e^μ, or a = μ if `time_shift_type` is `linear`.
    ///
    /// A pipeline computes it from the size of the image; [`Run::tokens`] does so, too. Pass one of the two.
    pub fn mu(self, mu: f64) -> Self {
        Self { mu: Some(mu), ..self }
    }

    /// The number of the image's tokens, of which μ is a linear function: `base_shift` at `base_image_seq_len`, and `max_shift` at
    /// `max_image_seq_len`. A latent of 128×128 in patches of 2×2 has 4096.
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
    pub fn tokens(self, tokens: usize) -> Self {
        Self { tokens: Some(tokens), ..self }
    }

    /// η, how much noise is added on the way, in [0, 1]: of DDIM (0 by default), of the ancestral methods in σ (1), and γ of TCD (0.3).
    pub fn eta(self, eta: f64) -> Self {
        Self { eta: Some(eta), ..self }
    }

    /// Image-to-image: the last ⌊S·strength⌋ points of the path. LCM and TCD make S calls of what is left of their
    /// `original_inference_steps` instead.
    ///
    /// Sampling starts from the image with the noise of [`Plan::start`], and not from [`Run::noise_scale`]:
    ///
    /// ```
    /// use alphabar::forward::add_noise;
    /// use alphabar::hub::SchedulerConfig;
    ///
    /// let config = SchedulerConfig::from_json(r#"{"_class_name": "EulerDiscreteScheduler"}"#)?;
    /// let plan = config.run(20).strength(0.5).plan()?;
    /// let (image, z) = (vec![0.5_f32; 4], vec![-1.0; 4]);
    /// let x = add_noise(&image, &z, &[plan.start()])?;
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn strength(self, strength: f64) -> Self {
        Self { strength: Some(strength), ..self }
    }

    /// S, where no list is taken.
    pub(super) fn steps(&self) -> Result<usize, Error> {
        match &self.calls {
            Calls::Count(steps) => Ok(*steps),
            Calls::Sigmas(_) => Err(self.not_taken(Argument::Sigmas)),
            Calls::Times(_) => Err(self.not_taken(Argument::Times)),
        }
    }

    /// `Err` for an argument that is none of these, and not the strength, which all classes take.
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
        // Distilled classes make S calls of the part that is left.
        if let Some(strength) = self.strength.filter(|_| self.config.class.list() != List::Distilled) {
            route.path = route.path.with_strength(strength)?;
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

    /// The sampler, to run it along another path.
    ///
    /// ```
    /// use alphabar::hub::SchedulerConfig;
    ///
    /// let config = SchedulerConfig::from_json(r#"{"_class_name": "EulerDiscreteScheduler"}"#)?;
    /// let run = config.run(20);
    /// // s_churn = 10 of the class's step().
    /// let path = run.path()?.churned(config.schedule()?, 10.0, 0.05..=50.0, 1.0)?;
    /// let plan = config.plan_builder_along(&path).build(&run.solver()?)?;
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Run::plan`].
    pub fn solver(&self) -> Result<Box<dyn Solver + Send + Sync>, Error> {
        Ok(self.route()?.solver)
    }

    /// The plan. It tells the t and the input scale of each call.
    ///
    /// # Errors
    /// [`Error::Count`] for S outside the spacing's range; [`Error::Config`] with the name of an argument that the class does not take or the
    /// file contradicts, and for what [`SchedulerConfig::compat`] cannot imitate; [`Error::Parameter`] for a value outside its domain; those of
    /// [`PlanBuilder::build`](crate::PlanBuilder::build).
    pub fn plan(&self) -> Result<Plan, Error> {
        let Route { path, solver, .. } = self.route()?;
        self.config.plan_builder_along(&path).build(&solver)
    }

    /// What the initial noise z is multiplied by: sampling starts from x = scale·z, in the scale of the plan.
    ///
    /// 1 for most classes. It is the noise of the first level for classes in σ, unless their spacing is leading; √(σ_max² + 1) for EDM; σ_max
    /// for `ScoreSdeVeScheduler`. That is `init_noise_sigma` of diffusers, which for a table of β counts in units of x/√ᾱ.
    ///
    /// # Errors
    /// Those of [`Run::plan`].
    #[doc(alias = "init_noise_sigma")]
    pub fn noise_scale(&self) -> Result<f64, Error> {
        Ok(self.route()?.noise_scale)
    }
}
