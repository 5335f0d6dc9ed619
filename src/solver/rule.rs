//! Rules that integrate a polynomial through earlier outputs exactly: the building block of all multistep methods.
//!
//! A rule takes x from level t to level s (as everywhere in this crate; h = λ_s − λ_t, λ = ln(signal/noise)). Its outputs are x̂₀, ε or
//! u at some levels. The node r_j of a level is its position in units of the step, in the kernel's variable: 0 at the level of x, 1 at
//! the level of x′.

use crate::dd::Dd;
use crate::error::Error;
use crate::level::NoiseLevel;
use crate::path::{Leg, Legs};
use crate::phi::{self, MAX_NODES};
use crate::prediction::Prediction;
use crate::solver::orders::Orders;
use crate::solver::{Combination, Row, each_leg};

/// Which output is interpolated, in which variable, and against which kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kernel {
    /// x̂₀ in λ (Lu et al. 2022b, Eq. 9; with τ Xue et al. 2023, Eq. 14), with k = 1 + τ²:
    ///
    /// x_s = (n_s/n_t)·e^{−τ²h}·x + s_s·Σ w_j·x̂₀_j + n_s·√(1 − e^{−2τ²h})·z,   Σ w_j·r_j^q = q!·k·h·φ_{q+1}(−k·h)
    Data { tau: f64 },
    /// ε in λ (Lu et al. 2022a, Eq. 3.4):
    ///
    /// x_s = (s_s/s_t)·x − (1 + τ²)·n_s·Σ w_j·ε_j + τ·n_s·√(e^{2h} − 1)·z,   Σ w_j·r_j^q = q!·h·φ_{q+1}(h)
    Noise { tau: f64 },
    /// ε in ρ = noise/signal: x_s/s_s = x/s_t + Σ w_j·ε_j,   Σ w_j·r_j^q = (ρ_s − ρ_t)/(q+1)
    Rho,
    /// u = ε − x₀ in the flow's σ = noise/(signal + noise), with v = signal + noise (Euler's step is Liu et al. 2023, Eq. 1):
    ///
    /// x_s/v_s = x/v_t + Σ w_j·u_j,   Σ w_j·r_j^q = (σ_s − σ_t)/(q+1)
    Flow,
}

/// x′ = x·x + Σ_j outputs_j·y_j + z·z, with the y_j in the order of the levels that the rule was made for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    pub(crate) x: Dd,
    pub(crate) outputs: [Dd; MAX_NODES],
    pub(crate) z: Dd,
}

impl Kernel {
    /// The form in which outputs are kept for later rows.
    pub(crate) fn output(self) -> Prediction {
        match self {
            Self::Data { .. } => Prediction::Sample,
            Self::Noise { .. } | Self::Rho => Prediction::Epsilon,
            Self::Flow => Prediction::Flow,
        }
    }

    /// Whether the steps add noise.
    fn is_noisy(self) -> bool {
        matches!(self, Self::Data { tau } | Self::Noise { tau } if tau > 0.0)
    }

    /// `Err` if steps add noise and this leg goes to more noise.
    pub(crate) fn require_denoising(self, leg: &Leg, method: &'static str) -> Result<(), Error> {
        if self.is_noisy() { leg.require_denoising(method) } else { Ok(()) }
    }

    /// The rule for a regular leg that integrates the polynomial through outputs at these levels exactly.
    pub(crate) fn rule(self, leg: &Leg, levels: &[NoiseLevel]) -> Rule {
        let mut nodes = [Dd::ZERO; MAX_NODES];
        nodes.iter_mut().zip(levels).for_each(|(node, level)| *node = self.node(leg, level));
        let nodes = nodes.get(..levels.len()).unwrap_or(&nodes);
        self.weighted(leg, &phi::weights(nodes, &self.moments(leg)))
    }

    /// The moments that the weights of a rule must have.
    pub(crate) fn moments(self, leg: &Leg) -> [Dd; MAX_NODES] {
        let h = leg.h_dd();
        match self {
            Self::Data { tau } => {
                let kh = (Dd::ONE + Dd::product(tau, tau)) * h;
                phi::exponential_moments(-kh, kh)
            }
            Self::Noise { .. } => phi::exponential_moments(h, h),
            Self::Rho => phi::plain_moments(leg.to.sigma_dd() - leg.from.sigma_dd()),
            Self::Flow => phi::plain_moments(leg.to.flow_sigma_dd() - leg.from.flow_sigma_dd()),
        }
    }

    /// Where a level lies in units of the step: 0 at its start, 1 at its end.
    pub(crate) fn node(self, leg: &Leg, level: &NoiseLevel) -> Dd {
        match self {
            Self::Data { .. } | Self::Noise { .. } => leg.from.lambda_to(level) / leg.h_dd(),
            Self::Rho => (level.sigma_dd() - leg.from.sigma_dd()) / (leg.to.sigma_dd() - leg.from.sigma_dd()),
            Self::Flow => {
                let from = leg.from.flow_sigma_dd();
                (level.flow_sigma_dd() - from) / (leg.to.flow_sigma_dd() - from)
            }
        }
    }

    /// The rule with these weights w.
    pub(crate) fn weighted(self, leg: &Leg, weights: &[Dd; MAX_NODES]) -> Rule {
        let (t, s, h) = (&leg.from, &leg.to, leg.h_dd());
        let (signal, noise) = (s.signal_dd(), s.noise_dd());
        let times = |factor: Dd| weights.map(|weight| factor * weight);
        let two = Dd::from(2.0);
        match self {
            Self::Data { tau } => {
                let tau2 = Dd::product(tau, tau);
                let (decay, spread) = if tau2.is_zero() {
                    (Dd::ONE, Dd::ZERO)
                } else {
                    // 1 − e^{−2τ²h} = 2τ²h·φ₁(−2τ²h)
                    let exponent = two * tau2 * h;
                    ((-(tau2 * h)).exp(), (exponent * phi::phi(1, -exponent)).sqrt())
                };
                Rule { x: noise / t.noise_dd() * decay, outputs: times(signal), z: noise * spread }
            }
            Self::Noise { tau } => {
                let tau2 = Dd::product(tau, tau);
                // e^{2h} − 1 = 2h·φ₁(2h)
                let spread = if tau == 0.0 { Dd::ZERO } else { (two * h * phi::phi(1, two * h)).sqrt() };
                Rule {
                    x: signal / t.signal_dd(),
                    outputs: times(-((Dd::ONE + tau2) * noise)),
                    z: Dd::from(tau) * noise * spread,
                }
            }
            Self::Rho => Rule { x: signal / t.signal_dd(), outputs: times(signal), z: Dd::ZERO },
            Self::Flow => {
                let total = signal + noise;
                Rule { x: total / (t.signal_dd() + t.noise_dd()), outputs: times(total), z: Dd::ZERO }
            }
        }
    }

    /// The first-order step, if λ is infinite at one end of the leg or does not change. `None` if the leg is regular.
    pub(crate) fn irregular(self, leg: &Leg) -> Option<Combination> {
        if leg.is_regular() {
            return None;
        }
        let (t, s) = (&leg.from, &leg.to);
        let zero = Dd::ZERO;
        let of = |x0, x, epsilon, z| Combination { x0, x, epsilon, z, learned_noise: None };
        Some(if leg.h() == 0.0 {
            of(zero, s.scale() / t.scale(), zero, zero)
        } else if s.is_clean() {
            of(s.signal_dd(), zero, zero, zero)
        } else if t.is_clean() {
            of(s.signal_dd(), zero, s.noise_dd(), zero)
        } else if self.is_noisy() {
            // x is pure noise, and new noise replaces all of it.
            of(s.signal_dd(), zero, zero, s.noise_dd())
        } else {
            of(s.signal_dd(), s.noise_dd() / t.noise_dd(), zero, zero)
        })
    }

    /// The row of this rule. The call at the start of the leg has the first weight of the outputs; the given ages have the next ones.
    ///
    /// The output of the call enters through x̂₀ and x, even if ε is interpolated, so that a threshold takes effect.
    pub(crate) fn row(self, leg: &Leg, rule: &Rule, ages: &[usize]) -> Row {
        let [newest, earlier @ ..] = rule.outputs;
        let combination = self.combination(leg, rule.x, newest, rule.z);
        Row::new(leg, combination).with_history_dd(ages.iter().copied().zip(earlier)).keeping(self.output())
    }

    /// x′ = x·x + output·y + z·z with y the output of the call, as weights of x̂₀ and x, so that a threshold takes effect.
    pub(crate) fn combination(self, leg: &Leg, x: Dd, output: Dd, z: Dd) -> Combination {
        let (t, zero) = (&leg.from, Dd::ZERO);
        let of = |x0, x, epsilon| Combination { x0, x, epsilon, z, learned_noise: None };
        if t.is_clean() && self.output() == Prediction::Epsilon {
            // At clean data x̂₀ does not determine ε.
            return of(zero, x, output);
        }
        match self {
            Self::Data { .. } => of(output, x, zero),
            // ε = (x − s·x̂₀)/n
            Self::Noise { .. } | Self::Rho => {
                let per_noise = output / t.noise_dd();
                of(-(per_noise * t.signal_dd()), x + per_noise, zero)
            }
            // u = ε − x̂₀
            Self::Flow => {
                let per_noise = output / t.noise_dd();
                of(-(per_noise * t.signal_dd()) - output, x + per_noise, zero)
            }
        }
    }

    /// The ages and levels of up to `most` outputs of earlier legs that a rule for this leg can interpolate, newest first.
    ///
    /// The search ends at a level at which the variable is infinite, and at the leg before which x was noised anew. It skips a second
    /// output at one level.
    pub(crate) fn earlier(self, legs: &Legs<'_>, leg: &Leg, most: usize) -> Vec<(usize, NoiseLevel)> {
        let mut found: Vec<(usize, NoiseLevel)> = Vec::new();
        let mut next = leg;
        while found.len() < most && !next.starts_over {
            let Some(before) = next.index.checked_sub(1).and_then(|index| legs.get(index)) else { break };
            let level = before.from;
            let last = found.last().map_or(leg.from, |(_, level)| *level);
            // The flow's σ and u are finite at pure noise.
            if level.is_clean() || level.is_pure_noise() && self != Self::Flow {
                break;
            }
            if !level.gap_to(&last).is_zero() {
                found.push((leg.index - before.index, level));
            }
            next = before;
        }
        found
    }
}

/// One row per leg, of the order that `orders` and the earlier outputs allow. `rule` makes the rule from the levels of the outputs.
///
/// With `full_to_clean`, the last step to clean data has its full order too. The variable of the kernel must be finite at clean data.
pub(crate) fn multistep(
    legs: &Legs<'_>,
    kernel: Kernel,
    orders: &Orders,
    method: &'static str,
    full_to_clean: bool,
    rule: impl Fn(&Leg, &[NoiseLevel]) -> Rule,
) -> Result<Vec<Row>, Error> {
    each_leg(legs, |leg| {
        kernel.require_denoising(leg, method)?;
        let to_clean = full_to_clean && leg.to.is_clean() && !leg.from.is_clean() && !leg.from.is_pure_noise();
        if let Some(first) = kernel.irregular(leg).filter(|_| !to_clean) {
            return Ok(Row::new(leg, first).keeping(kernel.output()));
        }
        let earlier = kernel.earlier(legs, leg, orders.of(leg) - 1);
        let (ages, older): (Vec<usize>, Vec<NoiseLevel>) = earlier.into_iter().unzip();
        let levels: Vec<NoiseLevel> = core::iter::once(leg.from).chain(older).collect();
        Ok(kernel.row(leg, &rule(leg, &levels), &ages))
    })
}

#[cfg(test)]
mod tests {
    use super::Kernel;
    use crate::level::NoiseLevel;
    use crate::path::Leg;

    /// Compares with `tests/oracle/methods.json`, which is not in the published package: each weight agrees within 1e-14, relative.
    #[test]
    fn rules_are_those_of_80_digits() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle/methods.json");
        let Ok(text) = std::fs::read_to_string(file) else { return };
        let records: serde_json::Value = serde_json::from_str(&text).unwrap();
        let rules = records["rules"].as_array().unwrap();
        assert!(rules.len() > 100);
        let mut worst = 0.0_f64;
        for record in rules {
            let level = |sigma: &serde_json::Value| {
                let sigma = sigma.as_f64().unwrap();
                match record["scale"].as_str().unwrap() {
                    "vp" => NoiseLevel::from_sigma(sigma),
                    "ve" => NoiseLevel::variance_exploding(sigma),
                    _ => NoiseLevel::flow(sigma),
                }
                .unwrap()
            };
            let tau = record["tau"].as_f64().unwrap();
            let kernel = match record["kernel"].as_str().unwrap() {
                "data" => Kernel::Data { tau },
                "noise" => Kernel::Noise { tau },
                _ => Kernel::Rho,
            };
            let levels: Vec<NoiseLevel> = record["sigmas"].as_array().unwrap().iter().map(level).collect();
            let rule = kernel.rule(&Leg::new(level(&record["from"]), level(&record["to"])), &levels);
            let outputs = record["outputs"].as_array().unwrap();
            let wanted = [&record["x"], &record["z"]].into_iter().chain(outputs);
            for (found, wanted) in [rule.x, rule.z].into_iter().chain(rule.outputs).zip(wanted) {
                let (found, wanted) = (found.to_f64(), wanted.as_str().unwrap().parse::<f64>().unwrap());
                let error = if found == wanted { 0.0 } else { ((found - wanted) / wanted).abs() };
                assert!(error <= 1e-14, "{found:e}, not {wanted:e} ({error:.1e}): {record}");
                worst = worst.max(error);
            }
        }
        println!("rules: {worst:.1e}");
    }
}
