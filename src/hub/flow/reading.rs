//! Reads the settings of flow-matching classes, and notes where they differ from diffusers.

use core::num::NonZeroU32;

use super::{Method, Settings, Shift};
use crate::error::Error;
use crate::flow::DynamicShift;
use crate::hub::json::config_error;
use crate::hub::read::Reader;
use crate::hub::shift::{DynamicType, read_static, read_terminal};
use crate::hub::{Ignored, Quirk, SchedulerClass};
use crate::schedule::MAX_TRAIN_STEPS;

static DOUBLE_SHIFT: Quirk = Quirk {
    key: "shift",
    here: "the σ 1, 1 − 1/S, …, 1/S are shifted once",
    diffusers: "spaces σ evenly from 1 to the shifted 1/T and shifts them a second time, unless a list of σ is passed",
    by: 1.3,
    in_compat: true,
};

static ENDS: Quirk = Quirk {
    key: "num_train_timesteps",
    here: "the σ before the shift are 1, 1 − 1/S, …, 1/S",
    diffusers: "spaces σ evenly from 1 to 1/T, unless a list of σ is passed",
    by: 1.7,
    in_compat: true,
};

static TIMES: Quirk = Quirk {
    key: "num_train_timesteps",
    here: "a list of t stands for the levels σ = t/T",
    diffusers: "shifts and spaces these σ again, but passes the t of the list to the network",
    by: 0.71,
    in_compat: true,
};

static WITHOUT_NOISE: Quirk = Quirk {
    key: "s_noise",
    here: "0 leaves the noise of each step out",
    diffusers: "steps to the smaller σ at which noise would be added, and then treats x as if it were at the next σ",
    by: 0.51,
    in_compat: true,
};

impl Settings {
    pub(in crate::hub) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let steps = reader.count("num_train_timesteps", 1000, 1, MAX_TRAIN_STEPS)?;
        let train_steps = u32::try_from(steps).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
        let shift = shift(reader)?;
        let terminal = read_terminal(reader)?;
        let spread = reader.spread()?;
        let inverted = reader.get("invert_sigmas").filter(|entry| !entry.is_null());
        let method = method(reader)?;
        let is_inverted = inverted.map_or(Ok(false), |entry| entry.flag())?;
        if let (true, true, Some(entry)) = (is_inverted, method != Method::Euler, inverted) {
            let reason =
                "contradicts the noise that this sampler adds: in diffusers the path would end in noise. Remove it";
            return Err(entry.error(reason));
        }
        let settings = Self { method, train_steps, shift, terminal, spread, inverted: is_inverted };
        settings.note(reader);
        Ok(settings)
    }

    fn note(&self, reader: &mut Reader<'_>) {
        let unshifted = self.shift == Shift::Static(1.0);
        match self.shift {
            Shift::Static(_) if !unshifted => reader.quirk(&DOUBLE_SHIFT),
            _ => reader.quirk(&ENDS),
        }
        let takes_times = matches!(self.method, Method::Euler | Method::Renoise);
        if takes_times && !self.inverted && (!unshifted || self.terminal.is_some() || self.spread.is_some()) {
            reader.quirk(&TIMES);
        }
        if matches!(self.method, Method::Ancestral { eta, noise: 0.0 } if eta > 0.0) {
            reader.quirk(&WITHOUT_NOISE);
        }
    }
}

fn shift(reader: &mut Reader<'_>) -> Result<Shift, Error> {
    if !reader.flag("use_dynamic_shifting", false)? {
        // It has no effect here, but an unknown word is refused, as in diffusers.
        if let Some(entry) =
            reader.peek("time_shift_type").filter(|_| reader.class != SchedulerClass::FlowMatchHeunDiscrete)
        {
            if !matches!(entry.text, "null" | "\"exponential\"" | "\"linear\"") {
                return Err(entry.error("is not one of exponential, linear"));
            }
        }
        return Ok(Shift::Static(read_static(reader, "shift")?));
    }
    let of = reader.choice("time_shift_type", DynamicType::Exponential, &DynamicType::NAMES)?;
    let most = 1_000_000_000;
    let base_len = reader.count("base_image_seq_len", 256, 1, most)?;
    let max_len = reader.count("max_image_seq_len", 4096, 1, most)?;
    if base_len == max_len {
        let reason = "equals base_image_seq_len, but μ needs two different lengths";
        return Err(config_error("max_image_seq_len", &max_len.to_string(), reason));
    }
    let base = reader.number("base_shift", 0.5, |mu| mu.abs() <= 1e6, "is not inside [−1e6, 1e6]")?;
    let max = reader.number("max_shift", 1.15, |mu| mu.abs() <= 1e6, "is not inside [−1e6, 1e6]")?;
    Ok(Shift::Dynamic { of, by_tokens: DynamicShift::new((base_len, base), (max_len, max)) })
}

fn method(reader: &mut Reader<'_>) -> Result<Method, Error> {
    match reader.class {
        SchedulerClass::FlowMatchHeunDiscrete => Ok(Method::Heun),
        SchedulerClass::FlowMatchLcm => {
            if let Some(entry) = reader.given("scale_factors") {
                if !entry.numbers()?.is_empty() {
                    let reason = "is not supported: it changes the size of x between steps, which a plan cannot do";
                    return Err(entry.error(reason));
                }
            }
            Ok(Method::Renoise)
        }
        SchedulerClass::LtxEulerAncestralRf => {
            let eta = reader.number("eta", 1.0, |eta| (0.0..=1.0).contains(&eta), "is not inside [0, 1]")?;
            if eta == 0.0 {
                let noise = reader.given("s_noise");
                reader.ignored_if_given([noise], Ignored::Off("eta"));
                return Ok(Method::Ancestral { eta, noise: 1.0 });
            }
            let noise =
                reader.number("s_noise", 1.0, |noise| (0.0..=1e6).contains(&noise), "is not inside [0, 1e6]")?;
            Ok(Method::Ancestral { eta, noise })
        }
        _ => Ok(if reader.flag("stochastic_sampling", false)? { Method::Renoise } else { Method::Euler }),
    }
}
