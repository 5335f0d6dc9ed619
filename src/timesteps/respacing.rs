//! OpenAI's respacing strings.

use core::fmt;
use core::str::FromStr;

use super::spacing::round_half_even;
use crate::error::{Error, shortened};
use crate::schedule::MAX_TRAIN_STEPS;

/// OpenAI's `timestep_respacing`: "ddim50", or numbers of steps in equal sections of 0..T, "10,20,30".
///
/// ```
/// use alphabar::Respacing;
///
/// assert_eq!("ddim50".parse::<Respacing>()?, Respacing::Ddim(50));
/// assert_eq!(
///     "10,20,30".parse::<Respacing>()?,
///     Respacing::Sections(vec![10, 20, 30])
/// );
/// assert_eq!(Respacing::Ddim(50).to_string(), "ddim50");
/// assert!("ddim".parse::<Respacing>().is_err());
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "String", into = "String")
)]
#[doc(alias = "timestep_respacing")]
#[doc(alias = "space_timesteps")]
pub enum Respacing {
    /// "ddimN": the entries 0, i, 2i, … below T, with the smallest stride i that gives exactly N of them.
    Ddim(usize),
    /// "a,b,c": 0..T is cut into sections of (nearly) equal size, one for each number. Each section gives its number of entries,
    /// spread evenly from its first to its last.
    Sections(Vec<usize>),
}

impl Respacing {
    /// The entries in rising order.
    pub(super) fn entries(&self, train_steps: usize) -> Result<Vec<usize>, Error> {
        match self {
            Self::Ddim(steps) => {
                let stride = (1..=train_steps).find(|stride| train_steps.div_ceil(*stride) == *steps);
                let stride = stride.ok_or_else(|| {
                    let possible = (1..=train_steps).contains(steps).then(|| {
                        format!("; use \"{steps}\" (evenly spread) or Timesteps::trailing({train_steps}, {steps})")
                    });
                    let cure = possible.unwrap_or_default();
                    self.error(format!("no stride takes {steps} entries out of {train_steps}{cure}"))
                })?;
                Ok((0..train_steps).step_by(stride).collect())
            }
            Self::Sections(counts) => {
                if counts.is_empty() || counts.len() > train_steps {
                    return Err(self.error(format!("cannot cut {train_steps} entries into {} sections", counts.len())));
                }
                let (size, longer) = (train_steps / counts.len(), train_steps % counts.len());
                let mut entries = Vec::new();
                let mut start = 0;
                for (section, &count) in counts.iter().enumerate() {
                    let size = size + usize::from(section < longer);
                    if count > size {
                        return Err(self.error(format!("section {section} has {size} entries, not the {count} wanted")));
                    }
                    let stride = if count > 1 { (size - 1) as f64 / (count - 1) as f64 } else { 1.0 };
                    // The position is accumulated, as in OpenAI's code.
                    let mut position = 0.0;
                    for _ in 0..count {
                        entries.push(start + round_half_even(position));
                        position += stride;
                    }
                    start += size;
                }
                if entries.is_empty() {
                    return Err(self.error("it selects no entries; use a count above 0".to_owned()));
                }
                Ok(entries)
            }
        }
    }

    fn error(&self, reason: String) -> Error {
        Error::Respacing { text: shortened(&self.to_string()), reason }
    }
}

impl fmt::Display for Respacing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ddim(steps) => write!(f, "ddim{steps}"),
            Self::Sections(counts) => {
                for (i, count) in counts.iter().enumerate() {
                    write!(f, "{}{count}", if i == 0 { "" } else { "," })?;
                }
                Ok(())
            }
        }
    }
}

impl FromStr for Respacing {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let error = |reason| Error::Respacing { text: shortened(text), reason };
        let number = |digits: &str| {
            let unread = |cause| error(format!("{:?} is not a number of steps: {cause}", shortened(digits)));
            digits.trim().parse::<usize>().map_err(unread)
        };
        if let Some(steps) = text.strip_prefix("ddim") {
            return number(steps).map(Self::Ddim);
        }
        let counts: Vec<usize> = text.split(',').take(MAX_TRAIN_STEPS + 1).map(number).collect::<Result<_, _>>()?;
        if counts.len() > MAX_TRAIN_STEPS {
            return Err(error(format!("more than {MAX_TRAIN_STEPS} sections")));
        }
        Ok(Self::Sections(counts))
    }
}

#[cfg(feature = "serde")]
impl TryFrom<String> for Respacing {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

#[cfg(feature = "serde")]
impl From<Respacing> for String {
    fn from(respacing: Respacing) -> Self {
        respacing.to_string()
    }
}
