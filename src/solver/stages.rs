//! Legs of several calls as rows: what Runge–Kutta and single-step methods share.
//!
//! Papers give the x of each call, and the end, by x at the start of the leg (b) and the outputs of the leg's calls:
//!
//! ```text
//! u_i = A_i·b + Σ_{j<i} B_ij·y_j
//! ```
//!
//! A run keeps u_i and the y_j, not b. From u_i on, with b eliminated:
//!
//! ```text
//! u_{i+1} = (A_{i+1}/A_i)·u_i + Σ_{j≤i} (B_{i+1,j} − (A_{i+1}/A_i)·B_ij)·y_j
//! ```
//!
//! Where u_i got noise, it stays in u_i, and what is added is the noise of the way from u_i to u_{i+1} alone.

use crate::dd::Dd;
use crate::error::Error;
use crate::level::NoiseLevel;
use crate::path::{Leg, Point};
use crate::phi::MAX_NODES;
use crate::solver::Row;
use crate::solver::rule::{Kernel, Rule};

/// The rows of a leg whose x goes through some inner points, each by its rule for x at the start of the leg and the outputs of the leg's
/// calls, from the first one on; and to the end of the leg by the last rule.
pub(crate) fn rows(kernel: Kernel, leg: &Leg, inner: &[(Point, Rule)], end: &Rule) -> Vec<Row> {
    let mut rows = Vec::with_capacity(inner.len() + 1);
    // Where x is: at the start of the leg, or where the row before led.
    let mut at = *leg;
    let mut before = None;
    for (call, (point, rule)) in inner.iter().enumerate() {
        let part = Leg { to: point.level, s: Some(point.t), lift: None, ..at };
        rows.push(Row { starts: leg.from, ..row(kernel, &part, before, rule, call) });
        at = Leg { call: *point, from: point.level, ..at };
        before = Some(rule);
    }
    rows.push(Row { starts: leg.from, ..row(kernel, &at, before, end, inner.len()) });
    rows
}

/// The row of a call: from where the rule `before` led to where `rule` leads.
pub(crate) fn row(kernel: Kernel, part: &Leg, before: Option<&Rule>, rule: &Rule, call: usize) -> Row {
    let ages: Vec<usize> = (1..=call).collect();
    match before {
        Some(before) => {
            let rest = eliminated(before, rule, call);
            let z = if before.z.is_zero() { rest.z } else { kernel.weighted(part, &[Dd::ZERO; MAX_NODES]).z };
            kernel.row(part, &Rule { z, ..rest }, &ages)
        }
        None => kernel.row(part, rule, &ages),
    }
}

/// The rule of a call without b = (u − Σ before_j·y_j)/before.x; its outputs from the newest one, that of this call, back.
fn eliminated(before: &Rule, rule: &Rule, call: usize) -> Rule {
    let x = rule.x / before.x;
    let mut outputs = rule.outputs;
    outputs.iter_mut().zip(before.outputs).for_each(|(output, before)| *output = *output - x * before);
    if let Some(calls) = outputs.get_mut(..=call) {
        calls.reverse();
    }
    Rule { x, outputs, z: rule.z }
}

/// The part of a leg that ends at this level.
pub(crate) fn until(leg: &Leg, level: NoiseLevel) -> Leg {
    Leg { to: level, ..*leg }
}

/// What the network is told at the end of a leg.
pub(crate) fn arrival(leg: &Leg) -> Result<Point, Error> {
    leg.arrives.ok_or(Error::NoProcess)
}
