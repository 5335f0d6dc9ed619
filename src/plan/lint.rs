//! Warnings about plans: settings that are legal but often mistakes.

use core::fmt;

use super::{Plan, Step};
use crate::coefficients::Threshold;
use crate::error::Digits;
use crate::level::NoiseLevel;

/// ᾱ up to which a level counts as pure noise: 3 % of the amplitude.
const LITTLE_SIGNAL: f64 = 1e-3;
/// 1−ᾱ up to which a level counts as clean: 3 % of the amplitude. Stable Diffusion's first level has 8.5e-4.
const LITTLE_NOISE: f64 = 1e-3;
/// The factor above which the rounding of `f32` is visible in eight bits: 2⁻²⁴·1000·128 is about 1/130.
const LARGE_FACTOR: f64 = 1e3;

/// The relative error of a sum of weights above which f32 tables do not explain it.
const WRONG_SUM: f64 = 1e-2;
/// The σ above which the last step, to clean data and of the first order, loses more than a higher order gains before it.
const LONG_LAST_STEP: f64 = 0.15;
/// How many times longer in λ than the previous step a step that extrapolates may be.
const UNEVEN: f64 = 5.0;

impl Plan {
    /// Warnings: legal settings that often turn out to be mistakes. Empty if there are none.
    ///
    /// Plans with the settings of released models have none, for example Stable Diffusion's with leading or trailing spacing, DDPM's,
    /// and those of diffusion policies.
    ///
    /// ```
    /// # use alphabar::{Ddim, Lint, NoiseSchedule, Plan, Timesteps};
    /// let schedule = NoiseSchedule::stable_diffusion()?;
    /// let plan = |tau| Plan::new(&schedule, &tau, &Ddim::deterministic());
    /// assert!(plan(Timesteps::trailing(1000, 4)?)?.lint().is_empty());
    /// // The first of 4 leading steps starts at t = 751, where √ᾱ = 0.23: the network expects 23 % of an image there.
    /// assert!(matches!(plan(Timesteps::leading(1000, 4, 1)?)?.lint()[..], [Lint::StartsWithSignal { t: 751.0, .. }]));
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    #[doc(alias = "warnings")]
    pub fn lint(&self) -> Vec<Lint> {
        let mut found = Vec::new();
        found.extend(self.starts_with_signal());
        let generates = self.steps.iter().any(|step| step.from.gap_to(&step.to).to_f64() < 0.0);
        if generates && self.end().one_minus_alpha_bar() > LITTLE_NOISE {
            found.push(Lint::EndsAboveClean { alpha_bar: self.end().alpha_bar() });
        }
        for (step, next) in self.steps.iter().zip(self.steps.iter().skip(1)) {
            if step.to != next.from {
                let (arrives, leaves) = (step.to.alpha_bar(), next.from.alpha_bar());
                found.push(Lint::Disconnected { index: step.index, arrives, leaves });
            }
        }
        for step in &self.steps {
            let index = step.index;
            if let Some(eta) = step.eta.filter(|&eta| eta > 1.0) {
                found.push(Lint::EtaAboveOne { index, eta });
            }
            // A row that reads earlier outputs may correct x without changing its level.
            if step.from == step.to && step.coefficients.history.is_empty() {
                found.push(Lint::StandsStill { index, t: step.t });
            }
            let factors = factors(step).into_iter().filter(|(_, factor)| factor.abs() > LARGE_FACTOR);
            found.extend(factors.map(|(of, factor)| Lint::Amplifies { index, of, factor }));
        }
        found.extend(self.steps.iter().filter_map(|step| self.loses_signal(step)));
        if self.remembers() {
            found.extend(self.long_last_step());
            found.extend(self.uneven_steps());
        }
        if !found.iter().any(|lint| matches!(lint, Lint::Amplifies { .. })) {
            found.extend(self.amplifies_along());
        }
        found
    }

    fn starts_with_signal(&self) -> Option<Lint> {
        let step = self.steps.iter().max_by(|a, b| {
            let (a, b) = (noisier_end(a), noisier_end(b));
            a.one_minus_alpha_bar().total_cmp(&b.one_minus_alpha_bar())
        })?;
        let level = noisier_end(step);
        let t = if step.from == level { step.t } else { step.s.unwrap_or(step.t) };
        let alpha_bar = level.alpha_bar();
        (alpha_bar > LITTLE_SIGNAL && !self.from_noise).then_some(Lint::StartsWithSignal { t, alpha_bar })
    }

    /// A warning if the weights of a step do not sum to the signal of the level where it arrives. If the clean data is 1 and ε is 0 at
    /// all levels, x, the outputs and x′ are known.
    fn loses_signal(&self, step: &Step) -> Option<Lint> {
        let k = &step.coefficients;
        let (m, _) = self.prediction.of_x0_and_epsilon(&step.from).ok()?;
        let mut terms = vec![k.x * step.from.signal(), k.model * m];
        for (age, weight) in k.history.iter() {
            let earlier = self.steps.get(step.index.checked_sub(age)?)?;
            let y = match earlier.coefficients.kept?.output {
                Some(output) => output.of_x0_and_epsilon(&earlier.from).ok()?.0,
                None => earlier.from.signal(),
            };
            terms.push(weight * y);
        }
        let (found, expected) = (terms.iter().sum::<f64>(), step.to.signal());
        let size = terms.iter().map(|term| term.abs()).sum::<f64>().max(expected);
        ((found - expected).abs() > WRONG_SUM * size).then_some(Lint::LosesSignal {
            index: step.index,
            found,
            expected,
        })
    }

    fn long_last_step(&self) -> Option<Lint> {
        let last = self.steps.last().filter(|step| step.to.is_clean())?;
        let sigma = last.from.sigma();
        (sigma > LONG_LAST_STEP).then_some(Lint::LongLastStep { index: last.index, sigma })
    }

    /// Warnings for steps that extrapolate earlier outputs too far.
    fn uneven_steps(&self) -> impl Iterator<Item = Lint> + '_ {
        self.steps.iter().zip(self.steps.iter().skip(1)).filter_map(|(before, step)| {
            let reads = !step.coefficients.history.is_empty() && before.to == step.from;
            let [gap, earlier] = [step, before].map(|step| step.from.lambda_to(&step.to).to_f64().abs());
            let ratio = gap / earlier;
            (reads && ratio > UNEVEN && ratio.is_finite()).then_some(Lint::UnevenSteps { index: step.index, ratio })
        })
    }

    /// A warning if the steps from some step to the end together multiply an error of x too much. It names the step from which the factor
    /// is largest.
    fn amplifies_along(&self) -> Option<Lint> {
        let last = self.steps.last()?.to.scale().to_f64();
        // Backwards from the end: the derivatives of the result with respect to x at each step, and to the output that the step keeps.
        let mut moved: Vec<f64> = vec![1.0; self.steps.len() + 1];
        let mut by_output: Vec<f64> = vec![0.0; self.steps.len()];
        let mut worst = (0, 0.0);
        for (index, step) in self.steps.iter().enumerate().rev() {
            let k = &step.coefficients;
            let after = moved.get(index + 1).copied().unwrap_or(1.0);
            for (age, weight) in k.history.iter() {
                if let Some(by) = index.checked_sub(age).and_then(|earlier| by_output.get_mut(earlier)) {
                    *by += weight * after;
                }
            }
            // A threshold bounds x̂₀, and with it the errors that x̂₀ passes on.
            let bounded = k.threshold != Threshold::None;
            let k_x = if bounded { k.b } else { k.x };
            let y_x = k.kept.map_or(0.0, |kept| if bounded { kept.x } else { kept.folded_x });
            let here = k_x * after + y_x * by_output.get(index).copied().unwrap_or(0.0);
            moved.get_mut(index).into_iter().for_each(|moved| *moved = here);
            // In the variance-preserving scale, in which x has the size of data.
            let factor = here.abs() * step.from.scale().to_f64() / last;
            if factor > worst.1 {
                worst = (index, factor);
            }
        }
        let (index, factor) = worst;
        (factor > LARGE_FACTOR).then_some(Lint::AmplifiesAlong { index, factor })
    }
}

fn noisier_end(step: &Step) -> NoiseLevel {
    if step.from.gap_to(&step.to).to_f64() > 0.0 { step.to } else { step.from }
}

/// The factors by which the step multiplies errors of its operands, in the form that is used: with a threshold or without.
fn factors(step: &Step) -> Vec<(&'static str, f64)> {
    let k = &step.coefficients;
    let (of_x, of_rest) = scales(step);
    match k.threshold {
        Threshold::None => vec![("x", k.x * of_x), ("m", k.model * of_rest), ("z", k.d * of_rest)],
        _ => vec![
            ("x in x̂₀", k.a * k.p * of_x),
            ("m in x̂₀", k.a * k.q * of_rest),
            ("x̂₀", k.a * of_rest),
            ("x", k.b * of_x),
            ("m", k.c * of_rest),
            ("z", k.d * of_rest),
        ],
    }
}

/// The factors that convert coefficients to the variance-preserving scale, in which x has the size of data: one for coefficients of x, one
/// for coefficients of quantities that have the size of data in every scale.
fn scales(step: &Step) -> (f64, f64) {
    let (from, to) = (step.from.scale().to_f64(), step.to.scale().to_f64());
    (from / to, 1.0 / to)
}

/// A warning about a plan: [`Plan::lint`]. Printing it says what to do.
///
/// ```
/// use alphabar::Lint;
///
/// let warning = Lint::StandsStill { index: 49, t: 0.0 };
/// assert!(
///     warning
///         .to_string()
///         .starts_with("step 49 (t = 0) does not change the noise level")
/// );
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Lint {
    /// The noisiest level of the path still holds signal, so pure noise is only an approximation of x there. Normal for img2img.
    ///
    /// Not reported if the path starts in the noisiest eighth of a trained table, or in the noisier half of another process's σ.
    StartsWithSignal {
        /// The time of that level.
        t: f64,
        /// ᾱ of that level.
        alpha_bar: f64,
    },
    /// The result still contains noise, more than 3 % of the amplitude.
    EndsAboveClean {
        /// ᾱ of the result.
        alpha_bar: f64,
    },
    /// η > 1 adds more noise than DDPM.
    EtaAboveOne {
        /// The index of the step.
        index: usize,
        /// η of the step.
        eta: f64,
    },
    /// A step from a level to itself: a wasted network call.
    StandsStill {
        /// The index of the step.
        index: usize,
        /// The time of the step.
        t: f64,
    },
    /// A step ends at another level than the next one starts from, as in some plans of [`compat`](crate::compat).
    Disconnected {
        /// The index of the step.
        index: usize,
        /// ᾱ at which the step ends.
        arrives: f64,
        /// ᾱ from which the next step starts.
        leaves: f64,
    },
    /// The weights of a step do not sum to the signal of the level where it arrives. A mistake in a custom sampler.
    ///
    /// Even a network that predicts the clean data exactly does not reach it with such a step.
    LosesSignal {
        /// The index of the step.
        index: usize,
        /// The signal of x′ if x₀ is 1.
        found: f64,
        /// The signal of the level where the step arrives.
        expected: f64,
    },
    /// The last step goes to clean data from much noise.
    ///
    /// This step is of the first order in every sampler. Its error against the ODE exceeds what a sampler with memory gains before it.
    /// With few calls it can still be the better choice.
    LongLastStep {
        /// The index of the step.
        index: usize,
        /// σ = noise/signal at the start of the step.
        sigma: f64,
    },
    /// A step of a sampler with memory is much longer than the previous one, so it extrapolates far.
    UnevenSteps {
        /// The index of the step.
        index: usize,
        /// Length of the step divided by that of the previous one, in λ = ln(signal/noise).
        ratio: f64,
    },
    /// A coefficient so large that the rounding errors of `f32` become visible.
    Amplifies {
        /// The index of the step.
        index: usize,
        /// What the coefficient multiplies.
        of: &'static str,
        /// The coefficient.
        factor: f64,
    },
    /// Several steps together multiply errors of x so much that the rounding errors of `f32` become visible, though none of them does so
    /// alone.
    AmplifiesAlong {
        /// The index of the first of these steps; the last one is the last of the plan.
        index: usize,
        /// The product of their coefficients of x.
        factor: f64,
    },
}

/// The advice about rounding errors that grow.
const CURE: &str = "f32 rounding may become visible. Use f64 for x, v- or x₀-prediction, or clipping";

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StartsWithSignal { t, alpha_bar } => write!(
                f,
                "the noisiest level (t = {t}) still holds {:.1} % signal (√ᾱ), so pure noise is only an approximation of x \
                 there. Normal for img2img, and for models that are run with leading spacing; otherwise use Timesteps::trailing",
                100.0 * alpha_bar.sqrt(),
                t = Digits::time(*t)
            ),
            Self::EndsAboveClean { alpha_bar } => write!(
                f,
                "the result still contains {:.1} % noise (it ends at ᾱ = {}, not at clean data). Use \
                 .ending(PathEnd::Clean), unless the model's configuration has set_alpha_to_one = false",
                100.0 * (1.0 - alpha_bar).sqrt(),
                Digits::few(*alpha_bar)
            ),
            Self::EtaAboveOne { index, eta } => write!(
                f,
                "step {index}: η = {eta} is outside the usual 0..1 and adds more noise than DDPM; images may be noisy"
            ),
            Self::StandsStill { index, t } => write!(
                f,
                "step {index} (t = {t}) does not change the noise level: a wasted network call. Leave t = {t} out, or end \
                 at PathEnd::Clean",
                t = Digits::time(*t)
            ),
            Self::Disconnected { index, arrives, leaves } => write!(
                f,
                "step {index} ends at ᾱ = {arrives:.6}, but the next one starts from ᾱ = {leaves:.6}. This reproduces \
                 diffusers (module compat); for the correct path use Plan::builder(…).build(…)"
            ),
            Self::LosesSignal { index, found, expected } => write!(
                f,
                "step {index} ends with signal {found:.6}, but its level has {expected:.6}: the weights of x̂₀, x and earlier outputs \
                 do not sum to the first-order weight. Correct these weights in the sampler"
            ),
            Self::LongLastStep { index, sigma } => write!(
                f,
                "step {index} goes from σ = {} to clean data in one step of the first order. Its error exceeds what a higher order gains \
                 before it. To follow the ODE closely, use a spacing in λ that ends at a lower σ (Path::karras, Path::exponential)",
                Digits::few(*sigma)
            ),
            Self::UnevenSteps { index, ratio } => write!(
                f,
                "step {index} is {ratio:.1} times as long in λ as the previous step, so it extrapolates earlier outputs too far. Use an \
                 even spacing in λ, or a lower order at this step (Orders)"
            ),
            Self::Amplifies { index, of, factor } => write!(f, "step {index} multiplies {of} by {factor:.3e}: {CURE}"),
            Self::AmplifiesAlong { index, factor } => {
                write!(f, "the steps from {index} on together multiply errors of x by {factor:.3e}: {CURE}")
            }
        }
    }
}
