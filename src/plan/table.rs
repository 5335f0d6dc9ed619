//! A plan as a printed table.

use core::fmt;

use super::Plan;
use crate::coefficients::Threshold;
use crate::dd::Dd;
use crate::error::Digits;
use crate::level::NoiseLevel;
use crate::prediction::Prediction;

impl fmt::Display for Plan {
    /// Prints a table with one line per step: t, s, their ᾱ (or their noise, if levels are not variance-preserving), the coefficients in
    /// use, and σ = d.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let threshold = self.steps.iter().map(|step| step.coefficients.threshold).find(|it| *it != Threshold::None);
        let thresholded = threshold.is_some();
        let limit = threshold.map(|threshold| format!(", {threshold}")).unwrap_or_default();
        writeln!(f, "{}, {}{limit}, {} steps", self.method, self.prediction, self.len())?;
        let mut ages: Vec<usize> =
            self.steps.iter().flat_map(|step| step.coefficients.history.iter()).map(|(age, _)| age).collect();
        ages.sort_unstable();
        ages.dedup();
        let earlier = if ages.is_empty() { "" } else { " + Σ g·y" };
        if thresholded {
            writeln!(f, "x̂₀ = threshold(p·x + q·m)   x′ = a·x̂₀ + b·x + c·m{earlier} + d·z")?;
        } else {
            writeln!(f, "x′ = A·x + B·m{earlier} + d·z")?;
        }
        if let Some(kept) = self.steps.iter().find_map(|step| step.coefficients.kept) {
            writeln!(f, "y₋ⱼ: the {} of j calls before; its column has the weight g", name_of_kept(kept.output))?;
        }
        // ᾱ determines a variance-preserving level. For levels in other scales, users know the noise (their σ).
        let preserving = self.steps.iter().all(|step| step.from.scale() == Dd::ONE && step.to.scale() == Dd::ONE);
        let shown = |level: &NoiseLevel| if preserving { level.alpha_bar() } else { level.noise() };
        let [t, s] = if preserving { ["ᾱ_t", "ᾱ_s"] } else { ["noise_t", "noise_s"] };
        let width = self.steps.iter().map(|step| Digits::time(step.t).to_string().len()).max().unwrap_or(0).max(6);
        write!(f, "{:>4} {:>width$} {:>width$} {t:>11} {s:>11}", "step", "t", "s")?;
        let names: &[&str] = if thresholded { &["p", "q", "a", "b", "c", "σ = d"] } else { &["A", "B", "σ = d"] };
        for name in names {
            write!(f, " {name:>11}")?;
        }
        for age in &ages {
            write!(f, " {:>11}", format!("y₋{}", subscript(*age)))?;
        }
        for step in &self.steps {
            let s = step.s.map_or_else(|| "clean".to_owned(), |s| Digits::time(s).to_string());
            let (t, from, to) = (Digits::time(step.t).to_string(), shown(&step.from), shown(&step.to));
            write!(f, "\n{:>4} {t:>width$} {s:>width$} {} {}", step.index, Cell(from), Cell(to))?;
            let k = &step.coefficients;
            let values: &[f64] = if thresholded { &[k.p, k.q, k.a, k.b, k.c, k.d] } else { &[k.x, k.model, k.d] };
            for value in values {
                write!(f, " {}", Cell(*value))?;
            }
            for age in &ages {
                match k.history.weight(*age) {
                    0.0 => write!(f, " {:>11}", "")?,
                    weight => write!(f, " {}", Cell(weight))?,
                }
            }
        }
        Ok(())
    }
}

/// A short name of the output that is kept.
fn name_of_kept(output: Option<Prediction>) -> String {
    match output {
        None => "x".to_owned(),
        Some(Prediction::Sample) => "x̂₀".to_owned(),
        Some(Prediction::Epsilon) => "ε".to_owned(),
        Some(other) => other.name().into_owned(),
    }
}

fn subscript(number: usize) -> String {
    number.to_string().chars().filter_map(|digit| "₀₁₂₃₄₅₆₇₈₉".chars().nth(digit.to_digit(10)? as usize)).collect()
}

/// A number in eleven columns.
struct Cell(f64);

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.0.abs();
        if magnitude == 0.0 || (1e-3..1e4).contains(&magnitude) {
            write!(f, "{:>11.6}", self.0)
        } else {
            write!(f, "{:>11.3e}", self.0)
        }
    }
}
