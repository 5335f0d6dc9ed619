//! Predictor and corrector of one step as one row of the table.
//!
//! A corrector repeats a step after the network was called where the step arrived. It uses the new output, but the same x, the same
//! factor A and the same noise. The predicted and the corrected x therefore differ only by outputs, and no second x has to be kept.
//! P and C are the weights of predictor and corrector, A′ and P′ those of the predictor of the next step, and y_j is the output of
//! leg j:
//!
//! ```text
//! x      = A·x^c_before + Σ P_j·y_j + d·z                    the x of the network call
//! x^c    = A·x^c_before + Σ C_j·y_j + d·z  =  x + Σ (C_j − P_j)·y_j
//! x′     = A′·x^c + Σ P′_j·y_j             =  A′·x + Σ (A′·(C_j − P_j) + P′_j)·y_j
//! ```

use crate::dd::Dd;
use crate::error::Error;
use crate::level::NoiseLevel;
use crate::path::{Leg, Legs};
use crate::phi::{self, MAX_NODES};
use crate::solver::rule::{Kernel, Rule};
use crate::solver::{Row, each_leg};

/// The quantity that a sampler with a corrector interpolates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub(crate) enum Form {
    /// x̂₀: the data form.
    #[default]
    Data,
    /// ε: the noise form.
    Noise,
}

impl Form {
    pub(crate) fn kernel(self, tau: f64) -> Kernel {
        match self {
            Self::Data => Kernel::Data { tau },
            Self::Noise => Kernel::Noise { tau },
        }
    }
}

/// The choices of a sampler with a corrector at one leg.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice {
    pub(crate) kernel: Kernel,
    /// How many outputs the predictor interpolates; it takes fewer if fewer exist.
    pub(crate) predictor: usize,
    /// How many outputs the corrector interpolates, the new one included; 0 for no corrector.
    pub(crate) corrector: usize,
    /// The first moment of a rule of two outputs, if it is not the exact one.
    pub(crate) first_moment: Option<Dd>,
}

impl Choice {
    /// The rule through these outputs.
    fn rule(&self, leg: &Leg, outputs: &[(usize, NoiseLevel)]) -> Rule {
        let nodes: Vec<Dd> = outputs.iter().map(|(_, level)| self.kernel.node(leg, level)).collect();
        let mut moments = self.kernel.moments(leg);
        if let (2, [_, first, ..], Some(chosen)) = (nodes.len(), &mut moments, self.first_moment) {
            *first = chosen;
        }
        self.kernel.weighted(leg, &phi::weights(&nodes, &moments))
    }
}

/// The leg index and the level of up to `count` outputs, newest first: the output of the call at the start of this leg, then earlier ones.
fn outputs(kernel: Kernel, legs: &Legs<'_>, leg: &Leg, count: usize) -> Vec<(usize, NoiseLevel)> {
    let earlier = kernel.earlier(legs, leg, count.saturating_sub(1));
    let earlier = earlier.into_iter().map(|(age, level)| (leg.index.saturating_sub(age), level));
    core::iter::once((leg.index, leg.from)).chain(earlier).take(count).collect()
}

/// Weights of outputs, by the index of their leg.
#[derive(Clone, Debug, Default)]
struct Terms(Vec<(usize, Dd)>);

impl Terms {
    fn add(&mut self, leg: usize, weight: Dd) {
        match self.0.iter_mut().find(|(of, _)| *of == leg) {
            Some((_, sum)) => *sum = *sum + weight,
            None => self.0.push((leg, weight)),
        }
    }

    fn add_all(&mut self, outputs: &[(usize, NoiseLevel)], weights: [Dd; MAX_NODES], factor: Dd) {
        outputs.iter().zip(weights).for_each(|((of, _), weight)| self.add(*of, factor * weight));
    }
}

/// One row per leg, for a predictor with a corrector.
pub(crate) fn predict_and_correct(
    legs: &Legs<'_>,
    name: &'static str,
    choose: impl Fn(&Leg) -> Choice,
) -> Result<Vec<Row>, Error> {
    // C − P of the step that arrived at the start of this leg.
    let mut arrived = Terms::default();
    each_leg(legs, |leg| {
        let correction = core::mem::take(&mut arrived);
        let choice = choose(leg);
        let kernel = choice.kernel;
        kernel.require_denoising(leg, name)?;
        let mut terms = Terms::default();
        terms.add(leg.index, Dd::ZERO); // this leg's output comes first
        let (x, z) = match kernel.irregular(leg) {
            // Nothing to correct: no correction is due, or the step drops x, as a step to clean data does.
            Some(combination) if correction.0.is_empty() || combination.x.is_zero() => {
                return Ok(Row::new(leg, combination).keeping(kernel.output()));
            }
            // Between equal levels, and to pure noise: x′ is a multiple of x.
            Some(combination) => (combination.x, combination.z),
            None => {
                let known = outputs(kernel, legs, leg, choice.predictor);
                let predictor = choice.rule(leg, &known);
                terms.add_all(&known, predictor.outputs, Dd::ONE); // P′
                if choice.corrector > 0 && is_called_where_it_arrives(legs, leg) {
                    let mut with_new = outputs(kernel, legs, leg, choice.corrector - 1);
                    with_new.insert(0, (leg.index + 1, leg.to));
                    arrived.add_all(&with_new, choice.rule(leg, &with_new).outputs, Dd::ONE); // C
                    arrived.add_all(&known, predictor.outputs, -Dd::ONE); // −P
                }
                (predictor.x, predictor.z)
            }
        };
        correction.0.iter().for_each(|(of, weight)| terms.add(*of, x * *weight)); // A′·(C − P)
        let mut terms = terms.0.into_iter();
        let own = terms.next().map_or(Dd::ZERO, |(_, weight)| weight);
        let history = terms.map(|(of, weight)| (leg.index.abs_diff(of), weight));
        let combination = kernel.combination(leg, x, own, z);
        Ok(Row::new(leg, combination).with_history_dd(history).keeping(kernel.output()))
    })
}

/// Whether the network is called next where this leg arrives, with the x that arrives there. False for the last leg, if churn
/// follows (it lifts x to another level before the call), and if x is noised anew.
fn is_called_where_it_arrives(legs: &Legs<'_>, leg: &Leg) -> bool {
    legs.get(leg.index + 1).is_some_and(|next| !next.starts_over && next.from == leg.to)
}

#[cfg(test)]
mod tests {
    use crate::level::NoiseLevel;
    use crate::path::{Leg, Legs};
    use crate::solver::{DpmSolverPp, Orders, Solver, UniPc};

    /// After x is noised anew, no earlier step is corrected and no earlier output is interpolated.
    #[test]
    fn a_leg_that_starts_over_starts_the_method_over() {
        let sigmas = [9.0, 5.0, 3.0, 1.0, 0.4, 0.1];
        let levels = sigmas.map(|sigma| NoiseLevel::from_sigma(sigma).unwrap());
        let legs = |starts_over: bool| {
            let legs = levels
                .windows(2)
                .enumerate()
                .map(|(index, ends)| Leg { starts_over: starts_over && index == 2, ..Leg::new(ends[0], ends[1]) });
            Legs::new(legs.collect(), None)
        };
        let solver = UniPc::new(2).unwrap().orders(Orders::new(2).unwrap());
        let (through, anew) = (solver.rows(&legs(false)).unwrap(), solver.rows(&legs(true)).unwrap());
        assert_eq!(through[..2], anew[..2]);
        let ages = |row: &crate::solver::Row| row.history.iter().map(|(age, _)| *age).collect::<Vec<_>>();
        assert_eq!(through.iter().map(ages).collect::<Vec<_>>(), [vec![], vec![1], vec![1, 2], vec![1, 2], vec![1, 2]]);
        assert_eq!(anew.iter().map(ages).collect::<Vec<_>>(), [vec![], vec![1], vec![], vec![1], vec![1, 2]]);
        let first = DpmSolverPp::multistep(1).unwrap().rows(&legs(true)).unwrap();
        assert_eq!(anew[2].combination, first[2].combination);
    }
}
