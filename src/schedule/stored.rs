//! The stored form of a schedule: a map with one family, `{"linear": {…}}`, and with `"then": […]` if the schedule was changed.

use core::fmt;

use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Error;
use crate::schedule::recipe::{Change, Constant, Cosine, Family, Jsd, Laplace, MAX_CHANGES, Ramp};
use crate::schedule::{MAX_TRAIN_STEPS, NoiseSchedule};

const FAMILIES: &[&str] =
    &["linear", "scaled_linear", "sigmoid", "constant", "cosine", "jsd", "laplace", "betas", "alpha_bars", "then"];

impl Serialize for NoiseSchedule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (family, then) = (&self.recipe.family, &self.recipe.then);
        let mut map = serializer.serialize_map(Some(1 + usize::from(!then.is_empty())))?;
        match family {
            Family::Linear(it) => map.serialize_entry("linear", it),
            Family::ScaledLinear(it) => map.serialize_entry("scaled_linear", it),
            Family::Sigmoid(it) => map.serialize_entry("sigmoid", it),
            Family::Constant(it) => map.serialize_entry("constant", it),
            Family::Cosine(it) => map.serialize_entry("cosine", it),
            Family::Jsd(it) => map.serialize_entry("jsd", it),
            Family::Laplace(it) => map.serialize_entry("laplace", it),
            Family::Betas(list) => map.serialize_entry("betas", list),
            Family::AlphaBars(list) => map.serialize_entry("alpha_bars", list),
        }?;
        if !then.is_empty() {
            map.serialize_entry("then", then)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for NoiseSchedule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries)
    }
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = NoiseSchedule;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a noise schedule, such as {\"linear\": {\"train_steps\": …, \"beta_start\": …, \"beta_end\": …}}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NoiseSchedule, A::Error> {
        let (mut schedule, mut then): (Option<NoiseSchedule>, Option<Vec<Change>>) = (None, None);
        while let Some(key) = map.next_key::<String>()? {
            if key == "then" {
                if then.is_some() {
                    return Err(A::Error::duplicate_field("then"));
                }
                then = Some(map.next_value::<Bounded<Change, MAX_CHANGES>>()?.0);
                continue;
            }
            if schedule.is_some() {
                return Err(A::Error::custom("a noise schedule has one family, not two"));
            }
            let made = match key.as_str() {
                "linear" => {
                    let Ramp { train_steps, beta_start, beta_end } = map.next_value()?;
                    NoiseSchedule::linear(train_steps, beta_start, beta_end)
                }
                "scaled_linear" => {
                    let Ramp { train_steps, beta_start, beta_end } = map.next_value()?;
                    NoiseSchedule::scaled_linear(train_steps, beta_start, beta_end)
                }
                "sigmoid" => {
                    let Ramp { train_steps, beta_start, beta_end } = map.next_value()?;
                    NoiseSchedule::sigmoid(train_steps, beta_start, beta_end)
                }
                "constant" => {
                    let Constant { train_steps, beta } = map.next_value()?;
                    NoiseSchedule::constant(train_steps, beta)
                }
                "cosine" => {
                    let Cosine { train_steps, offset, max_beta } = map.next_value()?;
                    NoiseSchedule::cosine_with(train_steps, offset, max_beta)
                }
                "jsd" => {
                    let Jsd { train_steps } = map.next_value()?;
                    NoiseSchedule::jsd(train_steps)
                }
                "laplace" => {
                    let Laplace { train_steps, mu, b } = map.next_value()?;
                    NoiseSchedule::laplace(train_steps, mu, b)
                }
                "betas" => NoiseSchedule::from_betas(map.next_value::<Bounded<f64, MAX_TRAIN_STEPS>>()?.0),
                "alpha_bars" => NoiseSchedule::from_alpha_bars(map.next_value::<Bounded<f64, MAX_TRAIN_STEPS>>()?.0),
                _ => return Err(A::Error::unknown_field(&key.chars().take(40).collect::<String>(), FAMILIES)),
            };
            schedule = Some(made.map_err(A::Error::custom)?);
        }
        let schedule = schedule.ok_or_else(|| A::Error::invalid_length(0, &self))?;
        let changed = then.unwrap_or_default().into_iter().try_fold(schedule, |schedule, change| match change {
            Change::RescaleZeroTerminalSnr => schedule.rescale_zero_terminal_snr(),
            Change::Shifted(k) => schedule.shifted(k),
        });
        changed.map_err(|error: Error| A::Error::custom(error))
    }
}

/// A list of at most `MOST` items; more are not read.
struct Bounded<T, const MOST: usize>(Vec<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for Bounded<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T, const MOST: usize>(core::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Items<T, MOST> {
            type Value = Bounded<T, MOST>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MOST} items")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = sequence.next_element()? {
                    if items.len() == MOST {
                        return Err(A::Error::invalid_length(MOST + 1, &self));
                    }
                    items.push(item);
                }
                Ok(Bounded(items))
            }
        }

        deserializer.deserialize_seq(Items(core::marker::PhantomData))
    }
}
