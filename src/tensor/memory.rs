//! What a run remembers of its earlier calls.

use crate::error::{Error, require_count};

/// The outputs of earlier network calls that later steps read: x̂₀ or ε. Empty for samplers without memory.
///
/// [`State`](crate::State) holds one. To store a run, save the pairs of [`Memory::iter`]; [`Memory::new`] makes a memory from
/// them.
///
/// ```
/// use alphabar::Memory;
///
/// let memory = Memory::new([(1, vec![0.5_f32]), (2, vec![0.4])])?;
/// assert_eq!(memory.get(2), Some(&vec![0.4]));
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Memory<T> {
    outputs: Vec<Output<T>>,
    /// Identifies the plan that kept these outputs; 0 if that is not known.
    mark: u64,
}

#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
struct Output<T> {
    age: usize,
    /// The largest age at which a step reads it.
    lasts: usize,
    tensor: T,
}

/// A memory without outputs.
impl<T> Default for Memory<T> {
    fn default() -> Self {
        Self { outputs: Vec::new(), mark: 0 }
    }
}

impl<T> Memory<T> {
    /// A memory of these outputs, each with its age: 1 for the output of the previous call.
    ///
    /// # Errors
    /// [`Error::Count`] for an age outside 1..=255, or more than 255 outputs.
    pub fn new(outputs: impl IntoIterator<Item = (usize, T)>) -> Result<Self, Error> {
        let mut memory = Self::default();
        for (age, tensor) in outputs {
            require_count("the age of an earlier output", age, 1, LONGEST)?;
            require_count("earlier outputs", memory.outputs.len() + 1, 1, LONGEST)?;
            memory.outputs.push(Output { age, lasts: LONGEST, tensor });
        }
        Ok(memory)
    }

    /// The output of the call `age` steps ago.
    #[must_use]
    pub fn get(&self, age: usize) -> Option<&T> {
        self.outputs.iter().find(|output| output.age == age).map(|output| &output.tensor)
    }

    /// The outputs with their ages.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        self.outputs.iter().map(|output| (output.age, &output.tensor))
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.outputs.is_empty()
    }

    /// This memory with each output replaced. Servers use it when a sample joins or leaves a batch.
    ///
    /// # Errors
    /// The first error of `replace`.
    pub fn try_map<U, E>(self, mut replace: impl FnMut(T) -> Result<U, E>) -> Result<Memory<U>, E> {
        let outputs = self
            .outputs
            .into_iter()
            .map(|Output { age, lasts, tensor }| Ok(Output { age, lasts, tensor: replace(tensor)? }));
        Ok(Memory { outputs: outputs.collect::<Result<_, _>>()?, mark: self.mark })
    }

    /// Moves on by one step: every output becomes one step older, and `kept` gets the age 1 and is kept for `lasts` steps.
    /// Returns an output that no step reads any more, for use as a buffer.
    pub fn advance(&mut self, kept: Option<T>, lasts: usize) -> Option<T> {
        let mut spare = None;
        self.advance_with(kept, lasts, |past| spare = Some(past));
        spare
    }

    /// Like [`Memory::advance`], but passes each output that no step reads any more to `past`.
    pub(crate) fn advance_with(&mut self, kept: Option<T>, lasts: usize, mut past: impl FnMut(T)) {
        self.outputs.iter_mut().for_each(|output| output.age += 1);
        // In place, without an allocation, and before the new output is added, so that the list does not grow beyond the outputs
        // in use.
        while let Some(index) = self.outputs.iter().position(|output| output.age > output.lasts) {
            past(self.outputs.swap_remove(index).tensor);
        }
        match kept {
            Some(tensor) if lasts > 0 => self.outputs.push(Output { age: 1, lasts: lasts.min(LONGEST), tensor }),
            Some(tensor) => past(tensor),
            None => {}
        }
    }

    /// One of the outputs, as a buffer.
    pub(crate) fn into_any(self) -> Option<T> {
        self.outputs.into_iter().next().map(|output| output.tensor)
    }

    /// `Err` if these outputs come from another plan than the one with this mark.
    pub(crate) fn check_mark(&self, mark: u64) -> Result<(), Error> {
        let known = self.mark != 0 && mark != 0 && !self.outputs.is_empty();
        if known && self.mark != mark { Err(Error::OtherPlan) } else { Ok(()) }
    }

    pub(crate) fn set_mark(&mut self, mark: u64) {
        self.mark = mark;
    }
}

/// The largest age.
const LONGEST: usize = u8::MAX as usize;
