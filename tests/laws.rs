//! The tensors of this crate under the public law suite, and tensors that break its laws, one each.

#![cfg(feature = "testing")]

use alphabar::testing::{Arithmetic, Laws, Violation};
use alphabar::{
    Batch, BoxError, Coefficients, Element, Error, History, HostTensor, Memory, RowReduce, Stepped, Tensor, Threshold,
    Weights,
};
use ndarray::{Array, ArrayD, Dimension, Ix0, Ix1, Ix2, Ix3, Ix4, IxDyn, ShapeBuilder};

fn all<T: HostTensor + RowReduce>(
    arithmetic: Arithmetic,
    one_row: bool,
    shapes: &[&[usize]],
    make: impl Fn(&[usize], &[f64]) -> Result<T, BoxError>,
    read: impl Fn(&T) -> Result<Vec<f64>, BoxError>,
) -> Result<(), Violation> {
    let mut laws = Laws::new(arithmetic, make, read);
    if one_row {
        laws = laws.one_row();
    }
    if !shapes.is_empty() {
        laws = laws.shapes(shapes.iter().map(|shape| shape.to_vec()));
    }
    laws.tensor()?;
    laws.host()?;
    laws.reduce()
}

fn vectors<E: Element>(arithmetic: Arithmetic) -> Result<(), Violation> {
    let make = |shape: &[usize], elements: &[f64]| match shape {
        [_] => Ok(elements.iter().map(|x| E::from_f64(*x)).collect::<Vec<E>>()),
        _ => Err("a vector has one axis".into()),
    };
    let read = |x: &Vec<E>| Ok(x.iter().map(|x| x.to_f64()).collect());
    // Around the borders of vectors, of groups of noise and of blocks.
    let lengths = [1, 2, 7, 8, 15, 16, 17, 33, 127, 128, 129, 1023, 1024, 1025, 4095, 4096, 4097];
    let shapes = lengths.map(|len| vec![len]);
    all(arithmetic, true, &shapes.each_ref().map(Vec::as_slice), make, read)
}

fn arrays<E: Element, D: Dimension>(arithmetic: Arithmetic, column_major: bool) -> Result<(), Violation> {
    let make = |shape: &[usize], elements: &[f64]| {
        let elements = elements.iter().map(|x| E::from_f64(*x)).collect();
        let standard = ArrayD::from_shape_vec(IxDyn(shape), elements)?;
        let mut laid_out = if column_major {
            ArrayD::from_elem(IxDyn(shape).f(), E::default())
        } else {
            ArrayD::from_elem(IxDyn(shape), E::default())
        };
        laid_out.assign(&standard);
        Ok(laid_out.into_dimensionality::<D>()?)
    };
    let read = |x: &Array<E, D>| Ok(x.iter().map(|x| x.to_f64()).collect());
    all(arithmetic, false, &[], make, read)
}

fn arrays_of_all_dimensions<E: Element>(arithmetic: Arithmetic) {
    for column_major in [false, true] {
        arrays::<E, Ix0>(arithmetic, column_major).unwrap();
        arrays::<E, Ix1>(arithmetic, column_major).unwrap();
        arrays::<E, Ix2>(arithmetic, column_major).unwrap();
        arrays::<E, Ix3>(arithmetic, column_major).unwrap();
        arrays::<E, Ix4>(arithmetic, column_major).unwrap();
        arrays::<E, IxDyn>(arithmetic, column_major).unwrap();
    }
}

#[test]
fn vectors_obey_the_laws() {
    vectors::<f32>(Arithmetic::F32).unwrap();
    vectors::<f64>(Arithmetic::F64).unwrap();
}

fn batches<E: Element>(arithmetic: Arithmetic) -> Result<(), Violation> {
    let make = |shape: &[usize], elements: &[f64]| match shape {
        [rows, _] if !elements.is_empty() => Ok(Batch::new(elements.iter().map(|x| E::from_f64(*x)).collect(), *rows)?),
        _ => Err("a batch has two axes and is not empty".into()),
    };
    let read = |x: &Batch<E>| Ok(x.as_slice().iter().map(|x| x.to_f64()).collect());
    all(arithmetic, false, &[&[1, 1], &[3, 7], &[1, 16], &[2, 128], &[4, 1]], make, read)
}

#[test]
fn batches_obey_the_laws() {
    batches::<f32>(Arithmetic::F32).unwrap();
    batches::<f64>(Arithmetic::F64).unwrap();
}

#[test]
fn arrays_obey_the_laws() {
    arrays_of_all_dimensions::<f32>(Arithmetic::F32);
    arrays_of_all_dimensions::<f64>(Arithmetic::F64);
}

#[cfg(feature = "half")]
#[test]
fn half_precision_obeys_the_laws() {
    vectors::<half::f16>(Arithmetic::F32).unwrap();
    vectors::<half::bf16>(Arithmetic::F32).unwrap();
    arrays::<half::f16, IxDyn>(Arithmetic::F32, false).unwrap();
    arrays::<half::bf16, IxDyn>(Arithmetic::F32, true).unwrap();
}

// Tensors that are wrong, each in its own way.

#[derive(Clone, Copy, PartialEq, Debug)]
enum Fault {
    None,
    Zero,
    Clamp,
    FirstRowsWeight,
    Broadcast,
    Order,
    Fused,
    RoundsWeightsTwice,
    AnyRows,
    Empty,
    NoiseDropped,
    Quantile,
    Forgets,
    OlderOutputs,
    MissingIsNothing,
    KeepsUnclamped,
    KeepsNothing,
    OutputsAfterNoise,
}

/// The required methods in plain loops, and a fault.
#[derive(Clone, Debug)]
struct Mine {
    shape: Vec<usize>,
    values: Vec<f32>,
    fault: Fault,
}

impl Mine {
    fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }
    fn row(&self, element: usize) -> usize {
        if self.fault == Fault::FirstRowsWeight { 0 } else { element / (self.values.len() / self.rows()) }
    }
    fn check(&self, bounds: &Weights<'_>) -> Result<(), Error> {
        if self.fault == Fault::AnyRows { Ok(()) } else { bounds.check_rows(self.rows()) }
    }
}

impl Tensor for Mine {
    fn linear_combination(terms: &[(Weights<'_>, &Self)]) -> Result<Self, Error> {
        let first = terms[0].1;
        let fault = first.fault;
        if first.values.is_empty() && fault != Fault::Empty {
            return Err(Error::Empty { operand: "x", shape: first.shape.clone() });
        }
        let mut sums = vec![-0.0_f32; first.values.len()];
        let in_order: Vec<_> =
            if fault == Fault::Order { terms.iter().rev().collect() } else { terms.iter().collect() };
        for (weights, tensor) in in_order {
            if tensor.shape != first.shape && !(fault == Fault::Broadcast && tensor.values.len() == 1) {
                let (expected, found) = (first.shape.clone(), tensor.shape.clone());
                return Err(Error::Shape { operand: "an operand", expected, found });
            }
            first.check(weights)?;
            for (element, sum) in sums.iter_mut().enumerate() {
                let weight = weights.of_row(first.row(element))?;
                let value = tensor.values[if tensor.values.len() == 1 { 0 } else { element }];
                match fault {
                    Fault::Fused => *sum = (weight as f32).mul_add(value, *sum),
                    Fault::RoundsWeightsTwice => *sum = (f64::from(*sum) + weight * f64::from(value)) as f32,
                    Fault::Zero => *sum += weight as f32 * value,
                    _ if weight == 0.0 => {}
                    _ => *sum += weight as f32 * value,
                }
            }
        }
        Ok(Self { values: sums, ..first.clone() })
    }

    fn clamp_abs(mut self, bound: Weights<'_>) -> Result<Self, Error> {
        self.check(&bound)?;
        for element in 0..self.values.len() {
            let bound = bound.of_row(self.row(element))? as f32;
            let value = self.values[element];
            self.values[element] =
                if self.fault == Fault::Clamp { value.max(-bound).min(bound) } else { value.clamp(-bound, bound) };
        }
        Ok(self)
    }

    fn abs_quantile(&self, ratio: f64) -> Result<Vec<f64>, Error> {
        if self.fault != Fault::Quantile {
            return Err(Error::Unsupported { operation: "the quantile" });
        }
        let quantile = |row: &[f32]| {
            let mut sorted: Vec<f64> = row.iter().map(|x| f64::from(x.abs())).collect();
            sorted.sort_by(f64::total_cmp);
            sorted[(ratio * (row.len() - 1) as f64).round() as usize] // the nearest, not between two
        };
        Ok(self.values.chunks(self.values.len() / self.rows()).map(quantile).collect())
    }

    fn step(self, m: Self, z: Option<&Self>, rows: &[Coefficients]) -> Result<Stepped<Self>, Error> {
        let z = if self.fault == Fault::NoiseDropped { None } else { z };
        let weights = |of: fn(&Coefficients) -> f64| rows.iter().map(of).collect::<Vec<f64>>();
        let (p, q, a, b, c, d) = (
            weights(|k| k.p),
            weights(|k| k.q),
            weights(|k| k.a),
            weights(|k| k.b),
            weights(|k| k.c),
            weights(|k| k.d),
        );
        let (folded_x, folded_m) = (weights(|k| k.x), weights(|k| k.model));
        if let (Some(k), None) = (rows.iter().find(|k| k.needs_noise()), z) {
            if self.fault != Fault::NoiseDropped {
                return Err(Error::MissingNoise { d: k.d });
            }
        }
        let clip = rows.iter().map(|k| if let alphabar::Threshold::Clip(range) = k.threshold { range } else { 0.0 });
        let clip: Vec<f64> = clip.collect();
        let folded = clip.iter().map(|range| f64::from(u8::from(*range == 0.0))).collect::<Vec<_>>();
        let x0 = Self::linear_combination(&[(all_or_each(&p), &self), (all_or_each(&q), &m)])?;
        let bound: Vec<f64> = clip.iter().map(|range| if *range == 0.0 { f64::INFINITY } else { *range }).collect();
        let x0 = x0.clamp_abs(all_or_each(&bound))?;
        let pick = |with: &[f64], without: &[f64]| -> Vec<f64> {
            (0..rows.len()).map(|row| if folded[row] == 1.0 { without[row] } else { with[row] }).collect()
        };
        let zero = vec![0.0; rows.len()];
        let (a, b, c) = (pick(&a, &zero), pick(&b, &folded_x), pick(&c, &folded_m));
        let mut terms = vec![(all_or_each(&a), &x0), (all_or_each(&b), &self), (all_or_each(&c), &m)];
        terms.extend(z.map(|z| (all_or_each(&d), z)));
        Ok(Stepped::new(Self::linear_combination(&terms)?, None))
    }

    fn step_with_memory(
        self,
        m: Self,
        memory: &Memory<Self>,
        z: Option<&Self>,
        rows: &[Coefficients],
    ) -> Result<Stepped<Self>, Error> {
        let fault = self.fault;
        let mut outputs: Vec<(usize, Sound)> = memory.iter().map(|(age, y)| (age, Sound(y.clone()))).collect();
        let mut rows = rows.to_vec();
        for k in &mut rows {
            let terms: Vec<(usize, f64)> = k.history.iter().collect();
            match fault {
                Fault::Forgets => k.history = History::default(),
                Fault::OlderOutputs => k.history = History::new(terms.iter().map(|(age, g)| (age % 4 + 1, *g)))?,
                Fault::MissingIsNothing => {
                    k.history = History::new(terms.into_iter().filter(|(age, _)| memory.get(*age).is_some()))?;
                }
                Fault::KeepsUnclamped if k.threshold != Threshold::None => {
                    k.kept.iter_mut().for_each(|kept| {
                        (kept.x0, kept.x, kept.model) = (0.0, kept.folded_x, kept.folded_model);
                    });
                }
                Fault::KeepsNothing => k.kept = None,
                Fault::OutputsAfterNoise => {
                    // In the place of an output, noise is added before the others.
                    let Some((age, _)) = terms.last().filter(|_| k.needs_noise()) else { continue };
                    let (age, d) = (*age, k.d);
                    let g = k.history.weight(age);
                    let y = outputs.iter().find(|(of, _)| *of == age).map(|(_, y)| y.0.clone());
                    let z = z.cloned();
                    if let (Some(y), Some(z)) = (y, z) {
                        let swapped = terms.iter().map(|(of, g)| if *of == age { (*of, d) } else { (*of, *g) });
                        k.history = History::new(swapped)?;
                        k.d = g.abs();
                        let sign = if g < 0.0 { -1.0 } else { 1.0 };
                        outputs.retain(|(of, _)| *of != age);
                        outputs.push((age, Sound(z)));
                        let y = Mine::linear_combination(&[(sign.into(), &y)])?;
                        let stepped =
                            Sound(self).step_with_memory(Sound(m), &Memory::new(outputs)?, Some(&Sound(y)), &rows)?;
                        return Ok(of_sound(stepped));
                    }
                }
                _ => {}
            }
        }
        let z = z.cloned().map(Sound);
        Sound(self).step_with_memory(Sound(m), &Memory::new(outputs)?, z.as_ref(), &rows).map(of_sound)
    }
}

fn of_sound(stepped: Stepped<Sound>) -> Stepped<Mine> {
    let Stepped { x, kept, .. } = stepped;
    let next = Stepped::new(x.0, None);
    match kept {
        Some(kept) => next.keeping(kept.0),
        None => next,
    }
}

/// The required functions of [`Mine`], and the provided rest.
struct Sound(Mine);

impl Tensor for Sound {
    fn linear_combination(terms: &[(Weights<'_>, &Self)]) -> Result<Self, Error> {
        Mine::linear_combination(&terms.iter().map(|(weights, Self(tensor))| (*weights, tensor)).collect::<Vec<_>>())
            .map(Self)
    }

    fn clamp_abs(self, bound: Weights<'_>) -> Result<Self, Error> {
        self.0.clamp_abs(bound).map(Self)
    }
}

fn all_or_each(weights: &[f64]) -> Weights<'_> {
    if let [weight] = weights { Weights::All(*weight) } else { Weights::PerRow(weights) }
}

fn broken_law(fault: Fault) -> Option<&'static str> {
    let make = |shape: &[usize], elements: &[f64]| {
        Ok(Mine { shape: shape.to_vec(), values: elements.iter().map(|x| *x as f32).collect(), fault })
    };
    let read = |x: &Mine| Ok(x.values.iter().copied().map(f64::from).collect());
    let laws = Laws::new(Arithmetic::F32, make, read).shapes([[3, 7], [2, 33]]);
    laws.tensor().err().map(|violation| violation.law)
}

#[test]
fn each_fault_breaks_the_law_it_should() {
    for (fault, law) in [
        (Fault::None, None),
        (Fault::Zero, Some("a weight of 0 drops its term")),
        (Fault::Clamp, Some("a clamp to ±bound keeps NaN")),
        (Fault::FirstRowsWeight, Some("a combination is a sum in the order of its terms")),
        (Fault::Broadcast, Some("shapes agree, and nothing is broadcast")),
        (Fault::Order, Some("a combination is a sum in the order of its terms")),
        (Fault::Fused, Some("a combination is a sum in the order of its terms")),
        (Fault::RoundsWeightsTwice, Some("a combination is a sum in the order of its terms")),
        (Fault::AnyRows, Some("there is one weight for all samples or one per sample")),
        (Fault::Empty, Some("a tensor without elements is refused")),
        (Fault::NoiseDropped, Some("a step is its formula")),
        (Fault::Forgets, Some("a step that remembers is its formula")),
        (Fault::OlderOutputs, Some("a step that remembers is its formula")),
        (Fault::MissingIsNothing, Some("a step checks that earlier outputs exist and have its shape")),
        (Fault::KeepsUnclamped, Some("a step that remembers is its formula")),
        (Fault::KeepsNothing, Some("a step that remembers is its formula")),
        (Fault::OutputsAfterNoise, Some("a step that remembers is its formula")),
        (Fault::Quantile, Some("the quantile is that of the sorted magnitudes")),
    ] {
        assert_eq!(broken_law(fault), law, "{fault:?}");
    }
}

#[test]
fn a_suite_that_tries_nothing_does_not_pass() {
    let laws = Laws::new(Arithmetic::F32, |_, _| Err::<Vec<f32>, _>("never".into()), |_| Ok(Vec::new()));
    assert_eq!(laws.tensor().unwrap_err().detail, "none of the shapes could be made");
}

#[test]
fn a_tolerance_lets_fused_products_through() {
    let make = |shape: &[usize], elements: &[f64]| {
        let values = elements.iter().map(|x| *x as f32).collect();
        Ok(Mine { shape: shape.to_vec(), values, fault: Fault::Fused })
    };
    let read = |x: &Mine| Ok(x.values.iter().copied().map(f64::from).collect());
    // A fused product does not drop a weight of 0 either, so the law after it is the one broken.
    let broken = Laws::new(Arithmetic::F32, make, read).within(1e-6).tensor().unwrap_err();
    assert_eq!(broken.law, "a weight of 0 drops its term");
}
