//! Legs with several calls as rows: the common part of Runge–Kutta and single-step methods.
//!
//! Papers write u_i, the x of call i, and x at the end in terms of b, the x at the start of the leg, and the outputs of the leg's calls:
//!
//! ```text
//! u_i = A_i·b + Σ_{j<i} B_ij·y_j
//! ```
//!
//! A run keeps u_i and the y_j, but not b. With b eliminated:
//!
//! ```text
//! u_{i+1} = (A_{i+1}/A_i)·u_i + Σ_{j≤i} (B_{i+1,j} − (A_{i+1}/A_i)·B_ij)·y_j
//! ```
//!
//! Noise that was added to u_i stays in it. The row adds only the noise of the part from u_i to u_{i+1}.

use crate::dd::Dd;
use crate::error::Error;
use crate::level::NoiseLevel;
use crate::path::{Leg, Point};
use crate::phi::MAX_NODES;
use crate::solver::Row;
use crate::solver::rule::{Kernel, Rule};

/// The rows of a leg with calls at inner points.
///
/// Each rule gives the x at its point from the x at the start of the leg and the outputs of the leg's calls, the first call's first. The
/// rule `end` gives the x at the end of the leg.
pub(crate) fn rows(kernel: Kernel, leg: &Leg, inner: &[(Point, Rule)], end: &Rule) -> Vec<Row> {
    let mut rows = Vec::with_capacity(inner.len() + 1);
    // Starts where x is now: at the start of the leg, or where the previous row arrived.
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

/// The row of a call: from the point to which the rule `before` leads to the point to which `rule` leads.
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

/// The rule of a call with b = (u − Σ before_j·y_j)/before.x eliminated. Its outputs are in the order of age: this call's first.
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

/// What the network receives at the end of a leg.
pub(crate) fn arrival(leg: &Leg) -> Result<Point, Error> {
    leg.arrives.ok_or(Error::NoProcess)
}
