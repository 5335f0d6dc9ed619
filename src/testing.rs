//! Conformance tests for implementations of [`Tensor`], [`HostTensor`] and [`RowReduce`].
//!
//! They check the properties that every sampler relies on. The backends of this crate pass them, and so should a custom backend. The
//! tests need a function that makes a tensor and one that reads it. They compare results with plain loops.
//!
//! ```
//! use alphabar::testing::{Arithmetic, Laws};
//!
//! let laws = Laws::new(
//!     Arithmetic::F32,
//!     |shape, elements| match shape {
//!         [_] => Ok(elements.iter().map(|x| *x as f32).collect::<Vec<f32>>()),
//!         _ => Err("a vector has one axis".into()),
//!     },
//!     |x| Ok(x.iter().copied().map(f64::from).collect()),
//! )
//! .one_row(); // a `Vec` is one sample, whatever its length
//! laws.tensor()?;
//! laws.host()?;
//! laws.reduce()?;
//! # Ok::<(), alphabar::testing::Violation>(())
//! ```

use core::fmt;

use crate::coefficients::{Coefficients, EpsilonAfter, Threshold};
use crate::error::{BoxError, Error};
use crate::level::NoiseLevel;
use crate::noise::{Draw, NoiseSource, NormalStream, SeededNoise};
use crate::prediction::Prediction;
use crate::solver::{Combination, Keeps};
use crate::tensor::{
    HostTensor, Memory, RowReduce, Rows, Stepped, Tensor, Weights, composed_step, divided, remembering_step,
};

/// The type in which a tensor computes. It may differ from the stored type: half precision is computed in `f32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arithmetic {
    /// Products and sums are rounded to `f32`.
    F32,
    /// Products and sums are rounded to `f64`.
    F64,
}

impl Arithmetic {
    /// Rounds a product or sum of two numbers of this type that was computed in `f64`. For `f32` the result is correctly rounded,
    /// because `f64` has more than twice the digits.
    fn round(self, value: f64) -> f64 {
        match self {
            Self::F32 => f64::from(value as f32),
            Self::F64 => value,
        }
    }
}

/// A law that an implementation breaks, and how.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Violation {
    /// The law.
    pub law: &'static str,
    /// The shape of the tensors that break it.
    pub shape: Vec<usize>,
    /// The value found and the value wanted.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "“{}” does not hold for shape {:?}: {}", self.law, self.shape, self.detail)
    }
}

impl core::error::Error for Violation {}

/// The conformance tests for one type of tensor and one type of element.
///
/// `make(shape, elements)` makes a tensor from elements in row-major order, which it rounds to its type. It returns an error for shapes
/// that the type does not have; the tests skip these shapes. `read` returns the elements. The [module](self) has an example.
pub struct Laws<M, R> {
    arithmetic: Arithmetic,
    make: M,
    read: R,
    shapes: Vec<Vec<usize>>,
    tolerance: f64,
    one_row: bool,
}

impl<M, R> fmt::Debug for Laws<M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Laws")
            .field("arithmetic", &self.arithmetic)
            .field("shapes", &self.shapes)
            .finish_non_exhaustive()
    }
}

impl<M, R> Laws<M, R> {
    /// The conformance tests for tensors that these two closures make and read.
    pub fn new<T>(arithmetic: Arithmetic, make: M, read: R) -> Self
    where
        M: Fn(&[usize], &[f64]) -> Result<T, BoxError>,
        R: Fn(&T) -> Result<Vec<f64>, BoxError>,
    {
        // All numbers of axes, single elements and rows, lengths around the widths of SIMD vectors and of the noise's groups.
        let shapes: [&[usize]; 13] = [
            &[],
            &[1],
            &[5],
            &[33],
            &[1, 1],
            &[3, 7],
            &[1, 16],
            &[2, 129],
            &[4, 1],
            &[2, 3, 5],
            &[3, 2, 4, 4],
            &[2, 3, 1, 2, 2],
            &[1, 1025],
        ];
        let shapes = shapes.iter().map(|shape| shape.to_vec()).collect();
        Self { arithmetic, make, read, shapes, tolerance: 0.0, one_row: false }
    }

    /// Sets the shapes to test, in place of the default ones.
    #[must_use]
    pub fn shapes<S: Into<Vec<usize>>>(mut self, shapes: impl IntoIterator<Item = S>) -> Self {
        self.shapes = shapes.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the tolerance of results, as a fraction of the sum of the magnitudes of their terms.
    ///
    /// The default is 0: results must equal those of a plain loop to the last bit, as on every CPU backend without fused multiply-adds.
    #[must_use]
    pub fn within(mut self, tolerance: f64) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// For types like `Vec`: a tensor of any shape is one sample, not a batch along axis 0.
    #[must_use]
    pub fn one_row(mut self) -> Self {
        self.one_row = true;
        self
    }
}

/// The outcome of a law for the tensors it is given; an error describes how they break it.
type Law = Result<(), String>;

impl<M, R> Laws<M, R> {
    /// Checks the laws of [`Tensor`].
    ///
    /// - A combination is a sum in the order of its terms. A weight of 0 drops its term.
    /// - NaN survives a clamp.
    /// - Shapes and numbers of rows must agree. Operands stay unchanged.
    /// - A step equals its formula: with one set of coefficients and with one per row, with and without memory.
    /// - The quantile and the functions for learned variances match their definitions, unless they return [`Error::Unsupported`].
    ///
    /// # Errors
    /// The first [`Violation`] found.
    pub fn tensor<T>(&self) -> Result<(), Violation>
    where
        T: Tensor,
        M: Fn(&[usize], &[f64]) -> Result<T, BoxError>,
        R: Fn(&T) -> Result<Vec<f64>, BoxError>,
    {
        self.for_each_shape(|at| {
            at.law("a tensor reads back as it was made", At::made_and_read)?;
            at.law("a combination is a sum in the order of its terms", At::combinations)?;
            at.law("a weight of 0 drops its term", At::zero_weights)?;
            at.law("NaN survives a term that counts", At::nan_survives)?;
            at.law("a clamp to ±bound keeps NaN", At::clamps)?;
            at.law("the quantile is that of the sorted magnitudes", At::quantiles)?;
            at.law("there is one weight for all samples or one per sample", At::numbers_of_rows)?;
            at.law("shapes agree, and nothing is broadcast", At::shapes_agree)?;
            at.law("a tensor without elements is refused", At::emptiness)?;
            at.law("a step is its formula", At::steps)?;
            at.law("a step that remembers is its formula", At::remembering_steps)?;
            at.law("a step checks that earlier outputs exist and have its shape", At::memory_is_checked)?;
            at.law("learned variances scale the noise", At::learned_variances)?;
            at.law("a step with a learned variance is its formula", At::learned_steps)
        })
    }

    /// Checks the laws of [`HostTensor`]: elements go to the host and back, a wrong number of elements is refused, and noise depends on
    /// the seed as documented.
    ///
    /// # Errors
    /// The first [`Violation`] found.
    pub fn host<T>(&self) -> Result<(), Violation>
    where
        T: HostTensor,
        M: Fn(&[usize], &[f64]) -> Result<T, BoxError>,
        R: Fn(&T) -> Result<Vec<f64>, BoxError>,
    {
        self.for_each_shape(|at| {
            at.law("elements go to the host and back", At::host_and_back)?;
            at.law("noise is that of its seed", At::noise)?;
            at.law("noise made within a step equals noise given to it", At::noise_within_steps)
        })
    }

    /// Checks the laws of [`RowReduce`]: inner products and variances of each row, to 1e-13 of the magnitudes that are summed.
    ///
    /// # Errors
    /// The first [`Violation`] found.
    pub fn reduce<T>(&self) -> Result<(), Violation>
    where
        T: RowReduce,
        M: Fn(&[usize], &[f64]) -> Result<T, BoxError>,
        R: Fn(&T) -> Result<Vec<f64>, BoxError>,
    {
        self.for_each_shape(|at| at.law("rows are reduced in f64", At::reductions))
    }

    fn for_each_shape<T>(&self, laws: impl Fn(&At<'_, M, R>) -> Result<(), Violation>) -> Result<(), Violation>
    where
        M: Fn(&[usize], &[f64]) -> Result<T, BoxError>,
    {
        let mut tried = 0;
        for shape in &self.shapes {
            let len: usize = shape.iter().product();
            let count = if self.one_row { 1 } else { shape.first().copied().unwrap_or(1) };
            if len == 0 || (self.make)(shape, &numbers(0, len)).is_err() {
                continue;
            }
            tried += 1;
            laws(&At { laws: self, shape, rows: Rows { count, len: len / count.max(1) } })?;
        }
        if tried == 0 {
            let detail = "none of the shapes could be made".to_owned();
            return Err(Violation { law: "a tensor reads back as it was made", shape: Vec::new(), detail });
        }
        Ok(())
    }
}

/// The conformance tests at one shape.
struct At<'a, M, R> {
    laws: &'a Laws<M, R>,
    shape: &'a [usize],
    rows: Rows,
}

impl<M, R> At<'_, M, R> {
    fn law(&self, law: &'static str, holds: impl Fn(&Self) -> Law) -> Result<(), Violation> {
        holds(self).map_err(|detail| Violation { law, shape: self.shape.to_vec(), detail })
    }

    fn len(&self) -> usize {
        self.rows.count * self.rows.len
    }

    fn row_of(&self, element: usize) -> usize {
        element / self.rows.len.max(1)
    }

    /// `Err` unless the values have equal bits, are both NaN, or are as close as the tolerance asks.
    fn same(&self, what: &str, found: &[f64], wanted: &[f64], magnitudes: &[f64]) -> Law {
        if found.len() != wanted.len() {
            return Err(format!("{what}: {} elements, expected {}", found.len(), wanted.len()));
        }
        for (element, (found, wanted)) in found.iter().zip(wanted).enumerate() {
            let slack = self.laws.tolerance * magnitudes.get(element).copied().unwrap_or(0.0);
            let same = found.to_bits() == wanted.to_bits()
                || found.is_nan() && wanted.is_nan()
                || slack > 0.0 && (found - wanted).abs() <= slack;
            if !same {
                return Err(format!("{what}: element {element} is {found:?}, expected {wanted:?}"));
            }
        }
        Ok(())
    }
}

impl<T, M, R> At<'_, M, R>
where
    T: Tensor,
    M: Fn(&[usize], &[f64]) -> Result<T, BoxError>,
    R: Fn(&T) -> Result<Vec<f64>, BoxError>,
{
    fn make(&self, elements: &[f64]) -> Result<T, String> {
        (self.laws.make)(self.shape, elements).map_err(|error| format!("`make` failed: {error}"))
    }

    fn read(&self, tensor: &T) -> Result<Vec<f64>, String> {
        (self.laws.read)(tensor).map_err(|error| format!("`read` failed: {error}"))
    }

    /// A tensor of numbers and what it holds after they are rounded to its type.
    fn numbers(&self, seed: u64) -> Result<(T, Vec<f64>), String> {
        let tensor = self.make(&numbers(seed, self.len()))?;
        let elements = self.read(&tensor)?;
        Ok((tensor, elements))
    }

    /// Results of the arithmetic, rounded to the type that elements are stored in.
    fn stored(&self, results: &[f64]) -> Result<Vec<f64>, String> {
        self.read(&self.make(results)?)
    }

    fn made_and_read(&self) -> Law {
        // Small integers are exact in every type.
        let elements: Vec<f64> = (0..self.len()).map(|i| (i % 17) as f64 - 8.0).collect();
        self.same("the tensor", &self.read(&self.make(&elements)?)?, &elements, &[])
    }

    fn combinations(&self) -> Law {
        let count = self.rows.count;
        let operands = (1..=5).map(|seed| self.numbers(seed)).collect::<Result<Vec<_>, _>>()?;
        for terms in 1..=operands.len() {
            let weights: Vec<Vec<f64>> = (0..terms).map(|term| numbers((10 * terms + term) as u64, count)).collect();
            for per_row in [false, true] {
                let weight =
                    |of_rows: &Vec<f64>, row: usize| of_rows.get(if per_row { row } else { 0 }).copied().unwrap_or(0.0);
                let given: Vec<(Weights<'_>, &T)> = weights
                    .iter()
                    .zip(&operands)
                    .map(|(of_rows, (tensor, _))| {
                        (if per_row { Weights::PerRow(of_rows) } else { Weights::All(weight(of_rows, 0)) }, tensor)
                    })
                    .collect();
                let found = T::linear_combination(&given).map_err(|error| error.to_string())?;
                let plain = |element: usize| {
                    let terms: Vec<(f64, f64)> = weights
                        .iter()
                        .zip(&operands)
                        .map(|(of_rows, (_, values))| (weight(of_rows, self.row_of(element)), at(values, element)))
                        .collect();
                    (sum(self.laws.arithmetic, &terms), terms.iter().map(|(k, t)| (k * t).abs()).sum::<f64>())
                };
                let (wanted, magnitudes): (Vec<f64>, Vec<f64>) = (0..self.len()).map(plain).unzip();
                let what = format!("{terms} terms, {}", if per_row { "weights per row" } else { "one weight" });
                self.same(&what, &self.read(&found)?, &self.stored(&wanted)?, &magnitudes)?;
            }
        }
        for (tensor, before) in &operands {
            self.same("an operand afterwards", &self.read(tensor)?, before, &[])?;
        }
        Ok(())
    }

    fn zero_weights(&self) -> Law {
        let (x, values) = self.numbers(1)?;
        let combine = |terms: &[(Weights<'_>, &T)]| T::linear_combination(terms).map_err(|error| error.to_string());
        for poison in [f64::NAN, f64::INFINITY] {
            let poisoned = self.make(&vec![poison; self.len()])?;
            for zero in [0.0, -0.0] {
                let first = combine(&[(zero.into(), &poisoned), (1.0.into(), &x)])?;
                let last = combine(&[(1.0.into(), &x), (zero.into(), &poisoned)])?;
                self.same("the rest, after it", &self.read(&first)?, &values, &[])?;
                self.same("the rest, before it", &self.read(&last)?, &values, &[])?;
            }
            // Row by row: every other row takes the poison.
            let weights: Vec<f64> = (0..self.rows.count).map(|row| (row % 2) as f64).collect();
            let mixed = self.read(&combine(&[(Weights::PerRow(&weights), &poisoned), (1.0.into(), &x)])?)?;
            for (element, (found, clean)) in mixed.iter().zip(&values).enumerate() {
                let right = if self.row_of(element) % 2 == 1 { !found.is_finite() } else { found == clean };
                if !right {
                    return Err(format!(
                        "weights per row: element {element} is {found:?}; the clean term has {clean:?} there"
                    ));
                }
            }
        }
        Ok(())
    }

    fn nan_survives(&self) -> Law {
        let (x, _) = self.numbers(1)?;
        let mut values = numbers(2, self.len());
        if let Some(last) = values.last_mut() {
            *last = f64::NAN;
        }
        let poisoned = self.make(&values)?;
        let found = T::linear_combination(&[(1.0.into(), &x), (0.5.into(), &poisoned)]).map_err(|e| e.to_string())?;
        let found = self.read(&found)?;
        let nan: Vec<usize> = (0..self.len()).filter(|element| at(&found, *element).is_nan()).collect();
        if nan == [self.len() - 1] { Ok(()) } else { Err(format!("NaN at {nan:?}, expected at the last element only")) }
    }

    fn clamps(&self) -> Law {
        let mut values = numbers(3, self.len());
        let special = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 1.5];
        for (value, special) in values.iter_mut().step_by(7).zip(special) {
            *value = special;
        }
        let bounds: Vec<f64> = (1..=self.rows.count).map(|row| 0.5 * row as f64).collect();
        for bound in [Weights::All(1.5), Weights::All(f64::INFINITY), Weights::PerRow(&bounds)] {
            let x = self.make(&values)?;
            let wanted: Result<Vec<f64>, Error> = self
                .read(&x)?
                .iter()
                .enumerate()
                .map(|(element, value)| Ok(clamped(*value, bound.of_row(self.row_of(element))?)))
                .collect();
            let wanted = self.stored(&wanted.map_err(|error| error.to_string())?)?;
            let found = x.clamp_abs(bound).map_err(|error| error.to_string())?;
            self.same(&format!("{bound:?}"), &self.read(&found)?, &wanted, &[])?;
        }
        Ok(())
    }

    /// Whether this backend has a quantile: the provided method returns `Unsupported`.
    fn has_quantile(&self) -> Result<bool, String> {
        match self.numbers(4)?.0.abs_quantile(0.5) {
            Ok(_) => Ok(true),
            Err(Error::Unsupported { .. }) => Ok(false),
            Err(other) => Err(other.to_string()),
        }
    }

    fn quantiles(&self) -> Law {
        if !self.has_quantile()? {
            return Ok(());
        }
        let (x, values) = self.numbers(4)?;
        for ratio in [0.0, 0.25, 0.5, 0.995, 1.0] {
            let wanted: Vec<f64> = values.chunks(self.rows.len).map(|row| sorted_quantile(row, ratio)).collect();
            let found = x.abs_quantile(ratio).map_err(|error| error.to_string())?;
            self.same(&format!("ratio {ratio}"), &found, &wanted, &wanted)?;
        }
        for wrong in [-0.1, 1.5, f64::NAN] {
            if !matches!(x.abs_quantile(wrong), Err(Error::Parameter { .. })) {
                return Err(format!("ratio {wrong} is not refused with Error::Parameter"));
            }
        }
        // NaN for the row that holds one, and for no other.
        let mut values = values;
        if let Some(last) = values.last_mut() {
            *last = f64::NAN;
        }
        let found = self.make(&values)?.abs_quantile(0.5).map_err(|error| error.to_string())?;
        let nan: Vec<usize> = (0..found.len()).filter(|row| at(&found, *row).is_nan()).collect();
        if nan == [self.rows.count - 1] {
            Ok(())
        } else {
            Err(format!("NaN for rows {nan:?}, expected for the last row only"))
        }
    }

    /// The distance from 1 to the next number of the element type. It makes tensors, so do not call it for each element.
    fn spacing(&self) -> Result<f64, String> {
        for spacing in [f64::EPSILON, f64::from(f32::EPSILON), 2_f64.powi(-10)] {
            if self.stored(&vec![1.0 + spacing; self.len()])?.first() == Some(&(1.0 + spacing)) {
                return Ok(spacing);
            }
        }
        Ok(2_f64.powi(-7))
    }

    fn learned_variances(&self) -> Law {
        let ((z, z_values), (v, v_values)) = (self.numbers(5)?, self.numbers(6)?);
        let spacing = self.spacing()?;
        let per_row = numbers(7, self.rows.count);
        let deviations: Vec<f64> = numbers(8, self.rows.count).into_iter().map(f64::abs).collect();
        // The last case has exp(100·v), which overflows `f32`, and a d that compensates for it; an exponent of 300 costs digits.
        for (k, d, rounding) in [
            (Weights::All(0.4), Weights::All(0.7), 0.0),
            (Weights::PerRow(&per_row), Weights::PerRow(&deviations), 0.0),
            (Weights::All(100.0), Weights::All(libm::exp(-300.0)), 1e-4),
        ] {
            let found = match z.times_exp(&v, k, d) {
                Ok(found) => self.read(&found)?,
                Err(Error::Unsupported { .. }) => break,
                Err(other) => return Err(other.to_string()),
            };
            for (element, (z, v)) in z_values.iter().zip(&v_values).enumerate() {
                let row = self.row_of(element);
                let [k, d] = [k, d].map(|weights| weights.of_row(row).unwrap_or(f64::NAN));
                let (found, wanted) = (at(&found, element), z * (d * libm::exp(k * v)));
                // An exponential is not correctly rounded everywhere, and k·v is rounded before it.
                let slack = (4e-6 + rounding + spacing) * wanted.abs();
                // 6e-8 is the smallest positive number in `f16`.
                if !((found - wanted).abs() <= slack + 6e-8) {
                    return Err(format!("element {element} is {found:?}, expected {d}·exp({k}·{v})·{z} = {wanted:?}"));
                }
            }
        }
        let [rows, channels, rest @ ..] = self.shape else { return Ok(()) };
        let inner: usize = rest.iter().product();
        match z.halve_channels() {
            Ok((first, second)) if channels % 2 == 0 => {
                let half = channels / 2 * inner;
                let wanted = |offset: usize| -> Vec<f64> {
                    let of_row = |row: usize| z_values.iter().skip(row * channels * inner + offset).take(half);
                    (0..*rows).flat_map(of_row).copied().collect()
                };
                self.same("the first half", &self.read(&first)?, &wanted(0), &[])?;
                self.same("the second half", &self.read(&second)?, &wanted(half), &[])?;
                match first.join_channels(&second) {
                    Ok(joined) => self.same("the halves joined", &self.read(&joined)?, &z_values, &[]),
                    Err(Error::Unsupported { .. }) => Ok(()),
                    Err(other) => Err(other.to_string()),
                }
            }
            Err(Error::Shape { .. }) if channels % 2 == 1 => Ok(()),
            Err(Error::Unsupported { .. }) => Ok(()),
            other => Err(format!("halving {channels} channels returned {:?}", other.err())),
        }
    }

    fn learned_steps(&self) -> Law {
        let text = |error: Error| error.to_string();
        let [x, m, v, z] = [7, 8, 6, 9].map(|seed| self.numbers(seed));
        let ((_, x), (m_tensor, m), (v_tensor, v), (z_tensor, z)) = (x?, m?, v?, z?);
        let output = || match m_tensor.join_channels(&v_tensor) {
            Ok(output) => Ok(Some(output)),
            Err(Error::Unsupported { .. } | Error::Shape { .. }) => Ok(None),
            Err(other) => Err(other.to_string()),
        };
        let spacing = self.spacing()?;
        for k in coefficients()? {
            if matches!(k.threshold, Threshold::Dynamic { .. }) {
                continue;
            }
            let Some(output) = output()? else { return Ok(()) };
            let z_tensor = k.needs_noise().then_some(&z_tensor);
            let found = match self.make(&x)?.step_learned(output, z_tensor, 0.4.into(), &[k]) {
                Ok(stepped) => self.read(&stepped.x)?,
                Err(Error::Unsupported { .. }) => return Ok(()),
                Err(other) => return Err(text(other)),
            };
            let scaled: Vec<f64> = z.iter().zip(&v).map(|(z, v)| z * libm::exp(0.4 * v)).collect();
            let [wanted, _] = stepped_row(Arithmetic::F64, &k, [&x, &m], &[], &scaled);
            for (element, (found, (wanted, magnitude))) in found.iter().zip(wanted).enumerate() {
                let slack = (4e-6 + 2.0 * spacing) * (1e-3 + magnitude);
                if !((found - wanted).abs() <= slack) {
                    return Err(format!("element {element} is {found:?}, expected {wanted:?}, with {k:?}"));
                }
            }
        }
        Ok(())
    }

    fn numbers_of_rows(&self) -> Law {
        let count = self.rows.count;
        let (x, _) = self.numbers(1)?;
        let (m, _) = self.numbers(2)?;
        for wrong in [0, count + 1] {
            let weights = vec![1.0; wrong];
            let k = vec![*coefficients()?.first().ok_or("no coefficients")?; wrong];
            let refused = [
                ("a combination", T::linear_combination(&[(1.0.into(), &x), (Weights::PerRow(&weights), &m)]).err()),
                ("a clamp", self.numbers(1)?.0.clamp_abs(Weights::PerRow(&weights)).err()),
                ("a step", self.numbers(1)?.0.step(self.numbers(2)?.0, None, &k).err()),
            ];
            for (what, error) in refused {
                match error {
                    Some(Error::Rows { expected, found }) if (expected, found) == (count, wrong) => {}
                    other => {
                        return Err(format!(
                            "{what} with {wrong} weights for {count} samples: {other:?}, expected Error::Rows"
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    fn shapes_agree(&self) -> Law {
        if !self.numbers(1)?.0.same_shape(&self.numbers(2)?.0).map_err(|error| error.to_string())? {
            return Err("same_shape is false for two tensors of one shape".to_owned());
        }
        let k = *coefficients()?.first().ok_or("no coefficients")?;
        for shape in other_shapes(self.shape) {
            // Shapes that the type does not have cannot be confused with others.
            let Ok(other) = (self.laws.make)(&shape, &numbers(5, shape.iter().product())) else { continue };
            let (x, _) = self.numbers(1)?;
            if x.same_shape(&other).map_err(|error| error.to_string())? {
                return Err(format!("same_shape is true for shape {shape:?}"));
            }
            let refused = [
                ("a combination", T::linear_combination(&[(1.0.into(), &x), (1.0.into(), &other)]).err()),
                (
                    "a combination in the other order",
                    T::linear_combination(&[(1.0.into(), &other), (1.0.into(), &x)]).err(),
                ),
                ("a combination with weight 0", T::linear_combination(&[(1.0.into(), &x), (0.0.into(), &other)]).err()),
                ("a step", x.step(other, None, &[k]).err()),
            ];
            for (what, error) in refused {
                if !matches!(error, Some(Error::Shape { .. })) {
                    return Err(format!("{what} with shape {shape:?}: {error:?}, expected Error::Shape"));
                }
            }
        }
        Ok(())
    }

    fn emptiness(&self) -> Law {
        let k = *coefficients()?.first().ok_or("no coefficients")?;
        for axis in 0..self.shape.len() {
            let mut shape = self.shape.to_vec();
            if let Some(len) = shape.get_mut(axis) {
                *len = 0;
            }
            let (Ok(x), Ok(m)) = ((self.laws.make)(&shape, &[]), (self.laws.make)(&shape, &[])) else { continue };
            let refused = [
                ("a combination", T::linear_combination(&[(1.0.into(), &x), (1.0.into(), &m)]).err()),
                ("a step", x.step(m, None, &[k]).err()),
            ];
            for (what, error) in refused {
                if !matches!(error, Some(Error::Empty { .. })) {
                    return Err(format!("{what} of shape {shape:?}: {error:?}, expected Error::Empty"));
                }
            }
        }
        Ok(())
    }

    fn steps(&self) -> Law {
        let dynamic = self.has_quantile()?;
        let mut all = coefficients()?;
        all.retain(|k| dynamic || !matches!(k.threshold, Threshold::Dynamic { .. }));
        // First one set for the whole batch, then another set for each row, which mixes forms and thresholds in one batch.
        let mut sets: Vec<Vec<Coefficients>> = all.iter().map(|k| vec![*k]).collect();
        for start in 0..all.len() {
            sets.push((0..self.rows.count).filter_map(|row| all.get((start + 7 * row) % all.len()).copied()).collect());
        }
        let (x, m, z) = (self.numbers(7)?.1, self.numbers(8)?.1, self.numbers(9)?.1);
        for k in sets {
            self.step(&k, &x, &m, Some(&z))?;
            if k.iter().any(Coefficients::needs_noise) {
                match self.make(&x)?.step(self.make(&m)?, None, &k) {
                    Err(Error::MissingNoise { d }) if d > 0.0 && k.iter().any(|k| k.d == d) => {}
                    other => return Err(format!("without z: {:?}, expected Error::MissingNoise", other.err())),
                }
            } else {
                self.step(&k, &x, &m, None)?;
            }
        }
        Ok(())
    }

    /// Compares the step with the formula, which is rounded to the stored type once, or with a composition of the backend's own
    /// operations, which also rounds x̂₀ to that type.
    fn step(&self, k: &[Coefficients], x: &[f64], m: &[f64], z: Option<&[f64]>) -> Law {
        let z_tensor = z.map(|z| self.make(z)).transpose()?;
        let found = self.make(x)?.step(self.make(m)?, z_tensor.as_ref(), k).map_err(|error| error.to_string())?;
        if let Some((z, tensor)) = z.zip(z_tensor.as_ref()) {
            self.same("z afterwards", &self.read(tensor)?, z, &[])?;
        }
        self.same_step(k, [x, m], &[], z, &found, || {
            composed_step(&self.make(x)?, &self.make(m)?, z_tensor.as_ref(), k).map_err(|error| error.to_string())
        })
    }

    fn same_step(
        &self,
        k: &[Coefficients],
        [x, m]: [&[f64]; 2],
        outputs: &[(usize, Vec<f64>)],
        z: Option<&[f64]>,
        found: &Stepped<T>,
        composed: impl Fn() -> Result<Stepped<T>, String>,
    ) -> Law {
        let of_row = |values: &[f64], row: usize| {
            let start = row * self.rows.len;
            values.get(start..start + self.rows.len).unwrap_or_default().to_vec()
        };
        let (mut next, mut kept) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
        for row in 0..self.rows.count {
            let Some(k) = k.get(row).or_else(|| k.first()) else { return Err("no coefficients".to_owned()) };
            let (x, m) = (of_row(x, row), of_row(m, row));
            let z = z.map_or(vec![0.0; self.rows.len], |z| of_row(z, row));
            let outputs: Vec<(usize, Vec<f64>)> = outputs.iter().map(|(age, y)| (*age, of_row(y, row))).collect();
            let [of_next, of_kept] = stepped_row(self.laws.arithmetic, k, [&x, &m], &outputs, &z);
            next.0.extend(of_next.iter().map(|(value, _)| *value));
            next.1.extend(of_next.iter().map(|(_, magnitude)| *magnitude));
            // The kept tensor is unspecified for rows that keep nothing.
            kept.0.extend(of_kept.iter().map(|(value, _)| k.kept.map_or(f64::NAN, |_| *value)));
            kept.1.extend(of_kept.iter().map(|(_, magnitude)| *magnitude));
        }
        let what = if k.len() == 1 { format!("{:?}", k.first()) } else { "coefficients per row".to_owned() };
        let keeps = k.iter().any(|k| k.kept.is_some());
        if found.kept.is_some() != keeps {
            return Err(format!("{what}: the step keeps an output: {}, expected {keeps}", found.kept.is_some()));
        }
        self.same_result(&what, &found.x, &next, || Ok(composed()?.x))?;
        let Some(y) = &found.kept else { return Ok(()) };
        self.same_result(&format!("what is kept, {what}"), y, &kept, || composed()?.kept.ok_or("nothing kept".into()))
    }

    /// Accepts any value where `wanted` is NaN.
    fn same_result(
        &self,
        what: &str,
        found: &T,
        (wanted, magnitudes): &(Vec<f64>, Vec<f64>),
        composed: impl Fn() -> Result<T, String>,
    ) -> Law {
        let specified = |values: &[f64]| -> Vec<f64> {
            values.iter().zip(wanted).map(|(value, wanted)| if wanted.is_nan() { 0.0 } else { *value }).collect()
        };
        let found = specified(&self.read(found)?);
        let as_formula = self.same(what, &found, &self.stored(&specified(wanted))?, magnitudes);
        if as_formula.is_err() {
            let composed = specified(&self.read(&composed()?)?);
            if self.same(what, &found, &composed, &[]).is_ok()
                && self.same(what, &composed, &specified(wanted), magnitudes).is_err()
            {
                // The step is composed of operations that obey their own laws.
                return Ok(());
            }
        }
        as_formula
    }

    /// The elements of earlier outputs: those of ages 1 to 4, and one that no row reads.
    fn outputs(&self) -> Result<Vec<(usize, Vec<f64>)>, String> {
        let read = (1..=4).map(|age| Ok((age, self.numbers(20 + age as u64)?.1)));
        read.chain([Ok((5, vec![f64::NAN; self.len()]))]).collect()
    }

    fn memory(&self, outputs: &[(usize, Vec<f64>)]) -> Result<Memory<T>, String> {
        let outputs = outputs.iter().map(|(age, y)| Ok((*age, self.make(y)?))).collect::<Result<Vec<_>, String>>()?;
        Memory::new(outputs).map_err(|error| error.to_string())
    }

    fn remembering_steps(&self) -> Law {
        let dynamic = self.has_quantile()?;
        let mut all = remembering()?;
        all.retain(|k| dynamic || !matches!(k.threshold, Threshold::Dynamic { .. }));
        let mut sets: Vec<Vec<Coefficients>> = all.iter().map(|k| vec![*k]).collect();
        for start in (0..all.len()).step_by(5) {
            sets.push(
                (0..self.rows.count).filter_map(|row| all.get((start + 11 * row) % all.len()).copied()).collect(),
            );
        }
        let (x, m, z) = (self.numbers(7)?.1, self.numbers(8)?.1, self.numbers(9)?.1);
        let outputs = self.outputs()?;
        let (memory, z_tensor) = (self.memory(&outputs)?, self.make(&z)?);
        for k in sets {
            let z_tensor = k.iter().any(Coefficients::needs_noise).then_some(&z_tensor);
            let step = self.make(&x)?.step_with_memory(self.make(&m)?, &memory, z_tensor, &k);
            let found = step.map_err(|error| error.to_string())?;
            self.same_step(&k, [&x, &m], &outputs, Some(&z), &found, || {
                remembering_step(&self.make(&x)?, &self.make(&m)?, &memory, z_tensor, &k)
                    .map_err(|error| error.to_string())
            })?;
        }
        for ((age, before), (_, tensor)) in outputs.iter().zip(memory.iter()) {
            self.same(&format!("the output of age {age} afterwards"), &self.read(tensor)?, before, &[])?;
        }
        Ok(())
    }

    fn memory_is_checked(&self) -> Law {
        let all = remembering()?;
        let refused = |memory: &Memory<T>, k: &Coefficients| -> Result<Option<Error>, String> {
            Ok(self.numbers(7)?.0.step_with_memory(self.numbers(8)?.0, memory, Some(&self.numbers(9)?.0), &[*k]).err())
        };
        let reads = |k: &&Coefficients| k.history.weight(2) != 0.0 && !matches!(k.threshold, Threshold::Dynamic { .. });
        for k in all.iter().filter(reads) {
            let mut outputs = self.outputs()?;
            outputs.retain(|(age, _)| *age != 2);
            match refused(&self.memory(&outputs)?, k)? {
                Some(Error::MissingHistory { age: 2 }) => {}
                other => return Err(format!("without the output of age 2: {other:?}, expected Error::MissingHistory")),
            }
            for shape in other_shapes(self.shape) {
                let Ok(other) = (self.laws.make)(&shape, &numbers(5, shape.iter().product())) else { continue };
                let rest = outputs.iter().map(|(age, y)| Ok((*age, self.make(y)?)));
                let rest = rest.chain([Ok((2, other))]).collect::<Result<Vec<_>, String>>()?;
                let memory = Memory::new(rest).map_err(|error| error.to_string())?;
                let error = refused(&memory, k)?;
                if !matches!(error, Some(Error::Shape { .. })) {
                    return Err(format!("an output with shape {shape:?}: {error:?}, expected Error::Shape"));
                }
            }
        }
        for k in all.iter().filter(|k| k.needs_noise()) {
            let x = self.numbers(7)?.0;
            let error = x.step_with_memory(self.numbers(8)?.0, &self.memory(&self.outputs()?)?, None, &[*k]).err();
            if !matches!(error, Some(Error::MissingNoise { .. })) {
                return Err(format!("without z: {error:?}, expected Error::MissingNoise"));
            }
        }
        Ok(())
    }
}

impl<T, M, R> At<'_, M, R>
where
    T: HostTensor,
    M: Fn(&[usize], &[f64]) -> Result<T, BoxError>,
    R: Fn(&T) -> Result<Vec<f64>, BoxError>,
{
    fn host_and_back(&self) -> Law {
        let (x, values) = self.numbers(1)?;
        let text = |error: Error| error.to_string();
        if x.rows_of_batch() != self.rows {
            return Err(format!("rows_of_batch is {:?}, expected {:?}", x.rows_of_batch(), self.rows));
        }
        self.same("to the host", &x.to_host().map_err(text)?, &values, &[])?;
        let other = self.stored(&numbers(2, self.len()))?;
        self.same("and back", &self.read(&x.from_host(other.clone()).map_err(text)?)?, &other, &[])?;
        let single: Vec<f32> = numbers(2, self.len()).into_iter().map(|value| value as f32).collect();
        let wanted = self.stored(&single.iter().copied().map(f64::from).collect::<Vec<f64>>())?;
        self.same("from f32", &self.read(&x.from_host_f32(single).map_err(text)?)?, &wanted, &[])?;
        for wrong in [0, self.len() - 1, self.len() + 1] {
            for result in [x.from_host(vec![0.0; wrong]), x.from_host_f32(vec![0.0; wrong])] {
                match result.err() {
                    Some(Error::Length { expected, found, .. }) if (expected, found) == (self.len(), wrong) => {}
                    other => {
                        return Err(format!(
                            "{wrong} elements for a tensor of {}: {other:?}, expected Error::Length",
                            self.len()
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// The noise of samples 7, 8, … of seed 3 at step 4, row by row.
    fn streams(&self) -> Vec<NormalStream> {
        (0..self.rows.count as u64).map(|row| NormalStream::new(3, 7 + row, Draw::Step(4).stream())).collect()
    }

    fn noise(&self) -> Law {
        let text = |error: Error| error.to_string();
        let wanted: Vec<f64> = self
            .streams()
            .iter()
            .flat_map(|stream| {
                let mut z = vec![0.0; self.rows.len];
                stream.fill(0, &mut z);
                z.into_iter().map(f64::from)
            })
            .collect();
        let wanted = self.stored(&wanted)?;
        let mut source = SeededNoise::new(3).from_sample(7);
        let z: T = source.noise(&self.numbers(1)?.0, Draw::Step(4)).map_err(text)?;
        self.same("a new tensor", &self.read(&z)?, &wanted, &[])?;
        let z: T = source.noise_into(self.numbers(1)?.0, Draw::Step(4)).map_err(text)?;
        self.same("over an old tensor", &self.read(&z)?, &wanted, &[])
    }

    fn noise_within_steps(&self) -> Law {
        let text = |error: Error| error.to_string();
        let (x, m) = (self.numbers(7)?.1, self.numbers(8)?.1);
        let z = self.numbers(1)?.0.fill_with_streams(&self.streams()).map_err(text)?;
        // In half precision, noise made within the step may be unrounded.
        let spacing = self.spacing()?;
        let rounding = if spacing > f64::from(f32::EPSILON) { spacing } else { 0.0 };
        let memory = self.memory(&self.outputs()?)?;
        for k in coefficients()?.into_iter().chain(remembering()?) {
            if matches!(k.threshold, Threshold::Dynamic { .. }) && !self.has_quantile()? {
                continue;
            }
            let within =
                self.make(&x)?.step_with_streams(self.make(&m)?, &memory, &self.streams(), &[k]).map_err(text)?;
            let given = self.make(&x)?.step_with_memory(self.make(&m)?, &memory, Some(&z), &[k]).map_err(text)?;
            match (&within.kept, &given.kept) {
                (None, None) => {}
                (Some(within), Some(given)) => {
                    self.same("what is kept", &self.read(within)?, &self.read(given)?, &[])?;
                }
                _ => return Err(format!("only one of the two steps keeps its output, with {k:?}")),
            }
            let (within, given) = (self.read(&within.x)?, self.read(&given.x)?);
            for (element, (within, given)) in within.iter().zip(&given).enumerate() {
                let slack = (rounding + self.laws.tolerance) * (8.0 + given.abs());
                if !(within.to_bits() == given.to_bits() || (within - given).abs() <= slack) {
                    return Err(format!("element {element} is {within:?}, but {given:?} with given noise, with {k:?}"));
                }
            }
        }
        Ok(())
    }
}

impl<T, M, R> At<'_, M, R>
where
    T: RowReduce,
    M: Fn(&[usize], &[f64]) -> Result<T, BoxError>,
    R: Fn(&T) -> Result<Vec<f64>, BoxError>,
{
    fn reductions(&self) -> Law {
        let text = |error: Error| error.to_string();
        let ((x, a), (y, b)) = (self.numbers(5)?, self.numbers(6)?);
        if x.row_len() != self.rows.len {
            return Err(format!("row_len is {}, expected {}", x.row_len(), self.rows.len));
        }
        let (dots, variances) = (x.row_dot(&y).map_err(text)?, x.row_variance().map_err(text)?);
        if (dots.len(), variances.len()) != (self.rows.count, self.rows.count) {
            return Err(format!("{} and {} results for {} rows", dots.len(), variances.len(), self.rows.count));
        }
        let len = self.rows.len as f64;
        for (row, (a, b)) in a.chunks(self.rows.len).zip(b.chunks(self.rows.len)).enumerate() {
            let dot: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
            let mean = a.iter().sum::<f64>() / len;
            let variance = a.iter().map(|a| (a - mean) * (a - mean)).sum::<f64>() / len;
            let slack = 1e-13 + self.laws.tolerance;
            if !((at(&dots, row) - dot).abs() <= slack * 9.0 * len
                && (at(&variances, row) - variance).abs() <= slack * 9.0)
            {
                return Err(format!(
                    "row {row}: dot and variance are {} and {}, expected {dot} and {variance}",
                    at(&dots, row),
                    at(&variances, row)
                ));
            }
        }
        Ok(())
    }
}

/// Numbers in (−3, 3), a different sequence for each seed (a Weyl sequence, scrambled).
fn numbers(seed: u64, len: usize) -> Vec<f64> {
    (1..=len as u64)
        .map(|i| {
            let word = i.wrapping_add(seed.wrapping_mul(1_000_003)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let word = (word ^ word >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (word >> 11) as f64 / (1_u64 << 53) as f64 * 6.0 - 3.0
        })
        .collect()
}

fn at(values: &[f64], index: usize) -> f64 {
    values.get(index).copied().unwrap_or(f64::NAN)
}

/// Shapes that must not be combined with this one, including all shapes that broadcasting would accept.
fn other_shapes(shape: &[usize]) -> Vec<Vec<usize>> {
    let len: usize = shape.iter().product();
    let mut others = vec![vec![], vec![1], vec![len], vec![len + 1], vec![1, len], vec![len, 1]];
    others.push(shape.iter().rev().copied().collect());
    others.push([shape, &[1]].concat());
    others.push([&[1], shape].concat());
    for axis in 0..shape.len() {
        for wrong in [1, 2 * shape.get(axis).copied().unwrap_or(1)] {
            let mut other = shape.to_vec();
            if let Some(len) = other.get_mut(axis) {
                *len = wrong;
            }
            others.push(other);
        }
    }
    others.retain(|other| other != shape);
    others
}

/// Σ kᵢ·tᵢ from left to right without the terms of weight 0. Each weight, product and sum is rounded.
fn sum(arithmetic: Arithmetic, terms: &[(f64, f64)]) -> f64 {
    let live = terms.iter().filter(|(weight, _)| *weight != 0.0);
    // −0 + x is x for every x.
    live.fold(-0.0, |sum, (weight, value)| {
        let product = arithmetic.round(arithmetic.round(*weight) * value);
        arithmetic.round(sum + product)
    })
}

fn clamped(value: f64, bound: f64) -> f64 {
    if value > bound {
        bound
    } else if value < -bound {
        -bound
    } else {
        value
    }
}

/// The quantile of the magnitudes, by sorting, with linear interpolation between order statistics.
fn sorted_quantile(row: &[f64], ratio: f64) -> f64 {
    let mut sorted: Vec<f64> = row.iter().map(|value| value.abs()).collect();
    sorted.sort_by(f64::total_cmp); // NaN last
    if sorted.last().is_none_or(|last| last.is_nan()) {
        return f64::NAN;
    }
    let position = ratio * (sorted.len() - 1) as f64;
    let (low, high) = (at(&sorted, position.floor() as usize), at(&sorted, position.ceil() as usize));
    if low == high { low } else { low + (high - low) * (position - position.floor()) }
}

/// x′ of a row and its kept output, by their formulas; each element with the sum of the magnitudes of its terms.
fn stepped_row(
    arithmetic: Arithmetic,
    k: &Coefficients,
    [x, m]: [&[f64]; 2],
    outputs: &[(usize, Vec<f64>)],
    z: &[f64],
) -> [Vec<(f64, f64)>; 2] {
    let x0: Vec<f64> = x.iter().zip(m).map(|(x, m)| sum(arithmetic, &[(k.p, *x), (k.q, *m)])).collect();
    let (bound, divisor) = match k.threshold {
        Threshold::None => (f64::INFINITY, 1.0),
        Threshold::Clip(range) => (range, 1.0),
        Threshold::Dynamic { ratio, max } => {
            let s = Threshold::dynamic_bound(sorted_quantile(&x0, ratio), max);
            (s, s)
        }
    };
    let bound = arithmetic.round(bound);
    let history: Vec<(f64, &Vec<f64>)> =
        outputs.iter().map(|(age, y)| (k.history.weight(*age), y)).filter(|(weight, _)| *weight != 0.0).collect();
    let [mut next, mut keeps] = [const { Vec::new() }; 2];
    for (e, ((x0, x), m)) in x0.iter().zip(x).zip(m).enumerate() {
        let clamped = clamped(*x0, bound);
        let (mut terms, kept) = if k.threshold == Threshold::None {
            let kept = k.kept.map(|kept| vec![(kept.folded_x, *x), (kept.folded_model, *m)]);
            (vec![(k.x, *x), (k.model, *m)], kept)
        } else {
            let kept = k.kept.map(|kept| vec![(divided(kept.x0, divisor), clamped), (kept.x, *x), (kept.model, *m)]);
            (vec![(divided(k.a, divisor), clamped), (k.b, *x), (k.c, *m)], kept)
        };
        terms.extend(history.iter().map(|(weight, y)| (*weight, at(y, e))));
        terms.push((k.d, at(z, e)));
        let within = (k.p * x).abs() + (k.q * m).abs();
        let magnitude = |terms: &[(f64, f64)]| terms.iter().map(|(k, t)| (k * t).abs()).sum::<f64>();
        next.push((sum(arithmetic, &terms), magnitude(&terms) + k.a.abs() * within));
        let kept_x0 = k.kept.map_or(0.0, |kept| kept.x0.abs());
        let kept = kept.unwrap_or_default();
        keeps.push((sum(arithmetic, &kept), magnitude(&kept) + kept_x0 * within));
    }
    [next, keeps]
}

/// Coefficients of all forms that a step can have: DDIM without and with noise, DDPM, and x̂₀ only; every threshold.
fn coefficients() -> Result<Vec<Coefficients>, String> {
    let level = NoiseLevel::from_alpha_bar(0.3).map_err(|error| error.to_string())?;
    let combinations = [
        Combination::new(0.8, 0.0, 0.5, 0.0),
        Combination::new(0.8, 0.0, 0.4, 0.3),
        Combination::new(0.3, 0.6, 0.0, 0.2),
        Combination::new(1.0, 0.0, 0.0, 0.0),
    ];
    let thresholds = [
        Threshold::None,
        Threshold::Clip(0.7),
        Threshold::Dynamic { ratio: 0.9, max: 2.5 },
        Threshold::Dynamic { ratio: 0.5, max: 100.0 },
    ];
    let mut all = Vec::new();
    for prediction in [Prediction::Epsilon, Prediction::Sample, Prediction::Velocity] {
        for combination in combinations {
            for threshold in thresholds {
                for epsilon in [EpsilonAfter::Network, EpsilonAfter::Threshold] {
                    let k = Coefficients::new(prediction, &level, combination, threshold, epsilon);
                    all.push(k.map_err(|error| error.to_string())?);
                }
            }
        }
    }
    Ok(all)
}

/// Coefficients of rows with memory, in all forms: they read zero to four earlier outputs, and keep x̂₀, ε, x or nothing.
fn remembering() -> Result<Vec<Coefficients>, String> {
    let text = |error: Error| error.to_string();
    let level = NoiseLevel::from_alpha_bar(0.3).map_err(text)?;
    let histories: [&[(usize, f64)]; 4] =
        [&[], &[(1, -0.4)], &[(3, 0.2), (2, -0.6)], &[(4, 0.1), (1, 0.7), (3, -0.3), (2, 0.5)]];
    let keeps = [
        None,
        Some((Keeps::Output(Prediction::Sample), 1)),
        Some((Keeps::Output(Prediction::Epsilon), 2)),
        Some((Keeps::X, 1)),
    ];
    let thresholds = [Threshold::None, Threshold::Clip(0.7), Threshold::Dynamic { ratio: 0.9, max: 2.5 }];
    let mut all = Vec::new();
    for (prediction, epsilon) in [
        (Prediction::Epsilon, EpsilonAfter::Network),
        (Prediction::Sample, EpsilonAfter::Threshold),
        (Prediction::Velocity, EpsilonAfter::Threshold),
    ] {
        for combination in [Combination::new(0.8, 0.3, 0.0, 0.0), Combination::new(0.5, 0.0, 0.4, 0.3)] {
            for threshold in thresholds {
                for (history, keeps) in
                    histories.iter().flat_map(|history| keeps.iter().map(move |keeps| (history, *keeps)))
                {
                    let k = Coefficients::new(prediction, &level, combination, threshold, epsilon).map_err(text)?;
                    let history = history.iter().copied();
                    all.push(k.remembering(history, keeps, prediction, &level).map_err(text)?);
                }
            }
        }
    }
    Ok(all)
}
