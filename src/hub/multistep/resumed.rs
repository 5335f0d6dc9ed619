//! Multistep runs that begin in the middle of a path: image-to-image.

use crate::error::Error;
use crate::hub::run::AnySolver;
use crate::path::{Leg, Legs, Path};
use crate::solver::{Row, Solver};

/// A sampler that runs along the last legs of a path only.
///
/// Whatever the sampler decides by the index of a step, such as its lower orders at the end, it decides by the index on the whole path. Its
/// history begins at the first leg that is left.
pub(super) struct Resumed {
    pub(super) whole: Path,
    pub(super) solver: AnySolver,
}

impl Solver for Resumed {
    fn name(&self) -> &'static str {
        self.solver.name()
    }

    fn rows(&self, legs: &Legs<'_>) -> Result<Vec<Row>, Error> {
        let whole = self.whole.legs()?;
        let skipped = whole.len().saturating_sub(legs.len());
        // On any other path, the sampler sees the given legs only.
        let same =
            |(leg, of_whole): (&Leg, &Leg)| (leg.call, leg.from, leg.to) == (of_whole.call, of_whole.from, of_whole.to);
        if skipped == 0 || !legs.iter().zip(whole.iter().skip(skipped)).all(same) {
            return self.solver.rows(legs);
        }
        let anew = |leg: &Leg| Leg { starts_over: leg.starts_over || leg.index == skipped, ..*leg };
        let rows = self.solver.rows(&Legs::new(whole.iter().map(anew).collect(), None))?;
        Ok(rows.into_iter().skip(skipped).map(|row| Row { leg: row.leg.saturating_sub(skipped), ..row }).collect())
    }
}
