//! Steps composed of the required operations, for tensors that do not override `step`.

use crate::coefficients::{Coefficients, Kept, Threshold};
use crate::error::Error;
use crate::tensor::{Memory, Stepped, Tensor, Weights};

/// [`Tensor::step`] from the required methods alone. Tests compare backends that override `step` with it.
///
/// A row without a threshold is folded into one combination. If only some rows of a batch have a threshold, x̂₀ has the weight 0
/// in the others.
pub(crate) fn composed_step<T: Tensor>(
    x: &T,
    m: &T,
    z: Option<&T>,
    rows: &[Coefficients],
) -> Result<Stepped<T>, Error> {
    let z = noise_term(z, rows)?;
    let x0 = thresholded_x0(x, m, rows)?;
    let [a, b, c, d] = step_weights(rows, x0.as_ref().map(|(_, divisor)| divisor));
    let mut terms = Vec::with_capacity(4);
    terms.extend(x0.as_ref().map(|(x0, _)| (a.weights(), x0)));
    terms.extend([(b.weights(), x), (c.weights(), m)]);
    terms.extend(z.map(|z| (d.weights(), z)));
    Ok(Stepped::new(T::linear_combination(&terms)?, None))
}

/// [`Tensor::step_with_memory`] from the required methods alone. x̂₀ is made once, for x′ and for y.
pub(crate) fn remembering_step<T: Tensor>(
    x: &T,
    m: &T,
    memory: &Memory<T>,
    z: Option<&T>,
    rows: &[Coefficients],
) -> Result<Stepped<T>, Error> {
    let z = noise_term(z, rows)?;
    let ages = ages(memory, rows)?;
    let x0 = thresholded_x0(x, m, rows)?;
    let divisor = x0.as_ref().map(|(_, divisor)| divisor);
    let [a, b, c, d] = step_weights(rows, divisor);
    let history: Vec<PerRow> = ages.iter().map(|age| PerRow::new(rows, |k| k.history.weight(*age))).collect();
    let mut terms = Vec::with_capacity(4 + ages.len());
    terms.extend(x0.as_ref().map(|(x0, _)| (a.weights(), x0)));
    terms.extend([(b.weights(), x), (c.weights(), m)]);
    let outputs = ages.iter().filter_map(|age| memory.get(*age));
    terms.extend(history.iter().map(PerRow::weights).zip(outputs));
    terms.extend(z.map(|z| (d.weights(), z)));
    let next = Stepped::new(T::linear_combination(&terms)?, None);
    if rows.iter().all(|k| k.kept.is_none()) {
        return Ok(next);
    }
    let [a, b, c] = kept_weights(rows, divisor);
    let mut terms = Vec::with_capacity(3);
    terms.extend(x0.as_ref().map(|(x0, _)| (a.weights(), x0)));
    terms.extend([(b.weights(), x), (c.weights(), m)]);
    Ok(next.keeping(T::linear_combination(&terms)?))
}

/// The ages of all outputs that some row reads, the youngest first.
pub(super) fn ages<T>(memory: &Memory<T>, rows: &[Coefficients]) -> Result<Vec<usize>, Error> {
    let mut ages: Vec<usize> = Vec::new();
    for (age, _) in rows.iter().flat_map(|k| k.history.iter()) {
        if !ages.contains(&age) {
            memory.get(age).ok_or(Error::MissingHistory { age })?;
            ages.push(age);
        }
    }
    ages.sort_unstable();
    Ok(ages)
}

/// The weights of x̂₀, x and m in what is kept. A row without a threshold is folded.
pub(super) fn kept_weights(rows: &[Coefficients], divisor: Option<&PerRow>) -> [PerRow; 3] {
    let of = |thresholded: fn(&Kept) -> f64, folded: fn(&Kept) -> f64| {
        PerRow::new(rows, |k| match (&k.kept, k.threshold) {
            (None, _) => 0.0,
            (Some(kept), Threshold::None) => folded(kept),
            (Some(kept), _) => thresholded(kept),
        })
    };
    let a = of(|kept| kept.x0, |_| 0.0);
    let a = match divisor {
        Some(divisor) => a.divided_by(divisor),
        None => a,
    };
    [a, of(|kept| kept.x, |kept| kept.folded_x), of(|kept| kept.model, |kept| kept.folded_model)]
}

/// [`Tensor::step_learned`] by a step without a learned variance. The noise is scaled first, and then has the weight 1.
pub(super) fn learned_step<T: Tensor>(
    x: T,
    output: &T,
    z: Option<&T>,
    k: Weights<'_>,
    rows: &[Coefficients],
) -> Result<Stepped<T>, Error> {
    let z = noise_term(z, rows)?;
    let (m, v) = output.halve_channels()?;
    let z = z.map(|z| z.times_exp(&v, k, PerRow::new(rows, |k| k.d).weights())).transpose()?;
    // m is half of the network's output, so its buffer is too small for the next output.
    Ok(Stepped::new(x.step(m, z.as_ref(), &with_unit_noise(rows))?.x, None))
}

/// The coefficients for noise that is already scaled.
pub(super) fn with_unit_noise(rows: &[Coefficients]) -> Vec<Coefficients> {
    rows.iter().map(|k| Coefficients { d: if k.needs_noise() { 1.0 } else { 0.0 }, ..*k }).collect()
}

/// x̂₀ and its divisor, if some row has a threshold.
pub(super) fn thresholded_x0<T: Tensor>(x: &T, m: &T, rows: &[Coefficients]) -> Result<Option<(T, PerRow)>, Error> {
    if rows.iter().all(|k| k.threshold == Threshold::None) { Ok(None) } else { bounded_x0(x, m, rows).map(Some) }
}

/// The weights of x̂₀, x, m and z in x′. A row without a threshold is folded: x̂₀ has the weight 0 in it.
pub(super) fn step_weights(rows: &[Coefficients], divisor: Option<&PerRow>) -> [PerRow; 4] {
    let a = PerRow::new(rows, |k| if k.threshold == Threshold::None { 0.0 } else { k.a });
    let b = PerRow::new(rows, |k| if k.threshold == Threshold::None { k.x } else { k.b });
    let c = PerRow::new(rows, |k| if k.threshold == Threshold::None { k.model } else { k.c });
    let a = match divisor {
        Some(divisor) => a.divided_by(divisor),
        None => a,
    };
    [a, b, c, PerRow::new(rows, |k| k.d)]
}

/// x̂₀ = threshold(p·x + q·m), as the step uses it.
pub(crate) fn predicted_x0<T: Tensor>(x: &T, m: &T, rows: &[Coefficients]) -> Result<T, Error> {
    let (x0, divisor) = bounded_x0(x, m, rows)?;
    if divisor.values.iter().all(|s| *s == 1.0) {
        return Ok(x0);
    }
    let scale = PerRow { values: vec![1.0] }.divided_by(&divisor);
    T::linear_combination(&[(scale.weights(), &x0)])
}

/// p·x + q·m clamped to each row's bound, and the s by which dynamic thresholding then divides it (1 for other thresholds).
fn bounded_x0<T: Tensor>(x: &T, m: &T, rows: &[Coefficients]) -> Result<(T, PerRow), Error> {
    let (p, q) = (PerRow::new(rows, |k| k.p), PerRow::new(rows, |k| k.q));
    bounded(T::linear_combination(&[(p.weights(), x), (q.weights(), m)])?, rows)
}

/// x̂₀ clamped, and its divisor.
pub(super) fn bounded<T: Tensor>(x0: T, rows: &[Coefficients]) -> Result<(T, PerRow), Error> {
    let mut bound = PerRow::new(rows, |k| match k.threshold {
        Threshold::Clip(range) => range,
        _ => f64::INFINITY,
    });
    let mut divisor = PerRow::new(rows, |_| 1.0);
    for (index, k) in rows.iter().enumerate() {
        if let Threshold::Dynamic { ratio, max } = k.threshold {
            // Each row with dynamic thresholding costs a pass, unless all share one set of coefficients.
            let quantiles = x0.abs_quantile(ratio)?;
            let at = if rows.len() == 1 { None } else { Some(index) };
            let bounds: Vec<f64> = quantiles.iter().map(|quantile| Threshold::dynamic_bound(*quantile, max)).collect();
            // The divisor makes a row with a NaN all NaN. A clamp to ±NaN would panic in some backends.
            bound.set(at, bounds.iter().map(|bound| if bound.is_nan() { f64::INFINITY } else { *bound }));
            divisor.set(at, bounds.iter().copied());
        }
    }
    let x0 = if bound.values.iter().all(|bound| *bound == f64::INFINITY) { x0 } else { x0.clamp_abs(bound.weights())? };
    Ok((x0, divisor))
}

/// A number for the batch (one entry) or for each row (as many entries as rows).
pub(super) struct PerRow {
    values: Vec<f64>,
}

impl PerRow {
    pub(super) fn new(rows: &[Coefficients], of: impl Fn(&Coefficients) -> f64) -> Self {
        Self { values: rows.iter().map(of).collect() }
    }

    pub(super) fn weights(&self) -> Weights<'_> {
        match self.values[..] {
            [value] => Weights::All(value),
            _ => Weights::PerRow(&self.values),
        }
    }

    /// Replaces the value of one row, or of all.
    fn set(&mut self, at: Option<usize>, mut new: impl Iterator<Item = f64>) {
        match at {
            None => self.values = new.collect(),
            Some(row) => {
                if let (Some(value), Some(new)) = (self.values.get_mut(row), new.nth(row)) {
                    *value = new;
                }
            }
        }
    }

    pub(super) fn divided_by(&self, divisor: &Self) -> Self {
        let values = match (&self.values[..], &divisor.values[..]) {
            ([value], divisors) => divisors.iter().map(|divisor| divided(*value, *divisor)).collect(),
            (values, [divisor]) => values.iter().map(|value| divided(*value, *divisor)).collect(),
            (values, divisors) => {
                values.iter().zip(divisors).map(|(value, divisor)| divided(*value, *divisor)).collect()
            }
        };
        Self { values }
    }
}

/// A weight divided by a dynamic threshold, which may be NaN. A weight of 0 stays 0, and drops its term.
pub(crate) fn divided(weight: f64, divisor: f64) -> f64 {
    if weight == 0.0 { 0.0 } else { weight / divisor }
}

/// z, if some row adds noise. `Err` if z is missing then.
pub(crate) fn noise_term<'a, T>(z: Option<&'a T>, rows: &[Coefficients]) -> Result<Option<&'a T>, Error> {
    match (rows.iter().find(|k| k.needs_noise()), z) {
        (None, _) => Ok(None),
        (Some(_), Some(z)) => Ok(Some(z)),
        (Some(k), None) => Err(Error::MissingNoise { d: k.d }),
    }
}
