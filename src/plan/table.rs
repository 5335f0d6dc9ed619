//! A plan as a printed table.

use core::fmt;

use super::Plan;
use crate::coefficients::Threshold;

impl fmt::Display for Plan {
    /// A table with one line a step: t, s, their ᾱ, the coefficients in use, and σ = d.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let thresholded = self.steps.iter().any(|step| step.coefficients.threshold != Threshold::None);
        writeln!(f, "{}, {}, {} steps", self.method, self.prediction, self.len())?;
        if thresholded {
            writeln!(f, "x̂₀ = threshold(p·x + q·m)   x′ = a·x̂₀ + b·x + c·m + d·z")?;
        } else {
            writeln!(f, "x′ = A·x + B·m + d·z")?;
        }
        write!(f, "{:>4} {:>6} {:>6} {:>11} {:>11}", "step", "t", "s", "ᾱ_t", "ᾱ_s")?;
        let names: &[&str] = if thresholded { &["p", "q", "a", "b", "c", "σ = d"] } else { &["A", "B", "σ = d"] };
        for name in names {
            write!(f, " {name:>11}")?;
        }
        for step in &self.steps {
            let s = step.s.map_or_else(|| "clean".to_owned(), |s| s.to_string());
            let (from, to) = (step.from.alpha_bar(), step.to.alpha_bar());
            write!(f, "\n{:>4} {:>6} {s:>6} {} {}", step.index, step.t, Cell(from), Cell(to))?;
            let k = &step.coefficients;
            let values: &[f64] = if thresholded { &[k.p, k.q, k.a, k.b, k.c, k.d] } else { &[k.x, k.model, k.d] };
            for value in values {
                write!(f, " {}", Cell(*value))?;
            }
        }
        Ok(())
    }
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
