//! The scheduler configurations of released models, `tests/data`: what is read, where the network is called, and what diffusers makes of
//! them.
//!
//! `tests/data/README.md` says where each file comes from.

#![cfg(feature = "hub")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use alphabar::hub::SchedulerClass::{
    self, CogVideoXDdim, CosineDpmSolverMultistep, Ddim, Ddpm, DpmSolverMultistep, EdmDpmSolverMultistep,
    EulerAncestralDiscrete, EulerDiscrete, FlowMatchEulerDiscrete, Lcm, Pndm, ScoreSdeVe, Tcd, UnClip, UniPcMultistep,
};
use alphabar::hub::{Note, Run, SchedulerConfig};
use alphabar::{Error, Plan};

const EPSILON: &str = "ε-prediction";
const SAMPLE: &str = "x₀-prediction";
const V: &str = "v-prediction";
const FLOW: &str = "flow prediction";

/// The latent of an image of 1024×1024, in patches of 2×2.
const TOKENS: usize = 4096;

/// A released model, and the run that its pipeline makes of it.
#[derive(Clone, Copy)]
struct Model {
    file: &'static str,
    class: SchedulerClass,
    steps: usize,
    arguments: Arguments,
    prediction: &'static str,
    /// How often the network is called.
    calls: usize,
    /// The first t and the last.
    ends: [f64; 2],
    /// Those of diffusers 0.42.1, in f32.
    diffusers: [f64; 2],
}

/// What the pipeline passes beside the number of steps, or instead of it.
#[derive(Clone, Copy)]
enum Arguments {
    None,
    Tokens,
    /// σ = 1, 1 − 1/S, …, 1/S.
    Sigmas,
}

/// A model whose t are whole numbers, and those of diffusers.
fn model(
    file: &'static str,
    class: SchedulerClass,
    steps: usize,
    prediction: &'static str,
    [first, last]: [u16; 2],
) -> Model {
    let ends = [f64::from(first), f64::from(last)];
    Model { file, class, steps, arguments: Arguments::None, prediction, calls: steps, ends, diffusers: ends }
}

/// A flow with T = 1000: from pure noise to the σ of the last call.
fn flow(file: &'static str, steps: usize, last: f64, of_diffusers: f64) -> Model {
    let (ends, diffusers) = ([1000.0, 1000.0 * last], [1000.0, 1000.0 * of_diffusers]);
    Model { ends, diffusers, ..model(file, FlowMatchEulerDiscrete, steps, FLOW, [0; 2]) }
}

/// A flow with `shift`. diffusers ends its list at the shifted 1/T, and shifts that again.
fn shifted(file: &'static str, steps: usize, shift: f64) -> Model {
    flow(file, steps, shift_by(shift, 1.0 / steps as f64), shift_by(shift, shift_by(shift, 1e-3)))
}

/// A flow with e^μ for its shift, of μ on a line through (length, μ) = `base` and `max`. diffusers ends its list at the shifted 1/T.
fn dynamic(file: &'static str, steps: usize, base: (usize, f64), max: (usize, f64)) -> Model {
    let slope = (max.1 - base.1) / (max.0 - base.0) as f64;
    let shift = (base.1 + slope * (TOKENS - base.0) as f64).exp();
    with_tokens(flow(file, steps, shift_by(shift, 1.0 / steps as f64), shift_by(shift, 1e-3)))
}

fn with_tokens(model: Model) -> Model {
    Model { arguments: Arguments::Tokens, ..model }
}

fn shift_by(shift: f64, sigma: f64) -> f64 {
    shift * sigma / (1.0 + (shift - 1.0) * sigma)
}

/// A flow by UniPC, whose t is cut off. diffusers makes σ of S + 1 entries, from 1 − 1e-6 to 1/T.
fn wan(file: &'static str, steps: usize, shift: f64, of_diffusers: u16) -> Model {
    let ends = [1000.0, (1000.0 * shift_by(shift, 1.0 / steps as f64)).trunc()];
    Model { ends, ..model(file, UniPcMultistep, steps, FLOW, [999, of_diffusers]) }
}

fn quarter_log(sigma: f64) -> f64 {
    sigma.ln() / 4.0
}

fn arctan(sigma: f64) -> f64 {
    sigma.atan() * std::f64::consts::FRAC_2_PI
}

/// A model that receives other numbers than whole t, with the same ends in diffusers.
fn real(model: Model, ends: [f64; 2]) -> Model {
    Model { ends, diffusers: ends, ..model }
}

fn models() -> Vec<Model> {
    [latent_images(), flows(), others()].into_iter().flatten().collect()
}

fn latent_images() -> Vec<Model> {
    vec![
        Model { calls: 51, ..model("stable-diffusion-v1-5", Pndm, 50, EPSILON, [981, 1]) },
        Model { calls: 51, ..model("sd-image-variations", Pndm, 50, EPSILON, [980, 0]) },
        model("stable-diffusion-2-1", Ddim, 50, V, [981, 1]),
        model("stable-diffusion-x4-upscaler", Ddim, 75, V, [963, 1]),
        model("stable-diffusion-xl-base-1.0", EulerDiscrete, 50, EPSILON, [981, 1]),
        model("sdxl-turbo", EulerAncestralDiscrete, 1, EPSILON, [999, 999]),
        model("sd-turbo", EulerDiscrete, 1, EPSILON, [999, 999]),
        model("sdxl-lightning", EulerDiscrete, 4, EPSILON, [999, 249]),
        model("sdxl-lcm", Lcm, 4, EPSILON, [999, 259]),
        model("sdxl-tcd", Tcd, 4, EPSILON, [999, 259]),
        model("lcm-dreamshaper-v7", Lcm, 4, EPSILON, [999, 259]),
        model("kolors", EulerDiscrete, 50, EPSILON, [1079, 1]),
        model("pixart-xl-2-1024-ms", DpmSolverMultistep, 20, EPSILON, [999, 50]),
        model("hunyuan-dit", Ddpm, 50, V, [981, 1]),
        model("karlo-prior", UnClip, 25, SAMPLE, [999, 0]),
        model("instruct-pix2pix", EulerAncestralDiscrete, 100, EPSILON, [999, 0]),
        model("ldm-celebahq-256", Ddim, 200, EPSILON, [995, 0]),
        model("dit-xl-2-256", Ddim, 50, EPSILON, [980, 0]),
        model("fitv2-learned-range", Ddpm, 250, EPSILON, [999, 0]),
        real(
            model("playground-v2.5", EdmDpmSolverMultistep, 50, "EDM's prediction with σ_data = 0.5", [0; 2]),
            [quarter_log(80.0), quarter_log(0.002)],
        ),
    ]
}

fn flows() -> Vec<Model> {
    let (base, max) = ((256, 0.5), (4096, 1.15));
    vec![
        shifted("stable-diffusion-3-medium", 28, 3.0),
        shifted("stable-diffusion-3.5-large", 28, 3.0),
        shifted("z-image-turbo", 9, 3.0),
        shifted("flux.1-schnell", 4, 1.0),
        dynamic("flux.1-dev", 50, base, max),
        dynamic("flux.2-dev", 50, base, max),
        dynamic("flux.2-klein", 4, base, max),
        dynamic("bria-3.2", 30, base, max),
        dynamic("krea-2-turbo", 8, base, (6400, 1.15)),
        // The last σ is `shift_terminal`, whatever the shift.
        with_tokens(flow("qwen-image", 50, 0.02, 0.02)),
        with_tokens(flow("ltx-video", 50, 0.1, 0.1)),
        // diffusers begins at σ = 1 − 1/T, and cuts t off.
        Model {
            ends: [1000.0, 1000.0 * shift_by(3.0, 0.05)],
            ..model("sana-1600m-1024px", DpmSolverMultistep, 20, FLOW, [999, 136])
        },
        shifted("hunyuanvideo", 50, 7.0),
        wan("wan2.1-t2v-1.3b", 50, 3.0, 60),
        wan("wan2.2-t2v-a14b", 40, 3.0, 74),
        wan("wan2.2-ti2v-5b", 50, 5.0, 96),
        // Of inverted σ, t runs from noise at 0 to data at T.
        Model {
            prediction: "x₀ − ε",
            ends: [0.0, 1000.0 - 1000.0 / 64.0],
            diffusers: [0.0, 999.0],
            ..model("mochi-1-preview", FlowMatchEulerDiscrete, 64, FLOW, [0; 2])
        },
        Model {
            arguments: Arguments::Sigmas,
            ..real(model("minimax-music3", FlowMatchEulerDiscrete, 50, "x₀ − ε", [0; 2]), [0.0, 0.98])
        },
    ]
}

fn others() -> Vec<Model> {
    vec![
        // Video.
        real(model("stable-video-diffusion", EulerDiscrete, 25, V, [0; 2]), [quarter_log(700.0), quarter_log(0.002)]),
        model("cogvideox-2b", CogVideoXDdim, 50, V, [999, 19]),
        model("cogvideox-5b", CogVideoXDdim, 50, V, [999, 19]),
        // Three dimensions, depth.
        model("zero123plus", EulerAncestralDiscrete, 75, V, [999, 0]),
        model("hunyuan3d-paint-zero-snr", Ddim, 15, V, [999, 66]),
        model("marigold-depth-v1-0", Ddim, 10, V, [901, 1]),
        model("marigold-depth-v1-1", Ddim, 4, V, [999, 249]),
        model("marigold-depth-lcm-v1-0", Lcm, 4, V, [999, 259]),
        // Sound.
        model("audioldm2", Ddim, 200, EPSILON, [996, 1]),
        real(
            model("stable-audio-open-1.0", CosineDpmSolverMultistep, 100, "v-prediction with σ_data = 1", [0; 2]),
            [arctan(500.0), arctan(0.3)],
        ),
        // Pixels.
        model("ddpm-cifar10-32", Ddpm, 1000, EPSILON, [999, 0]),
        model("ddpm-cat-256", Ddpm, 1000, EPSILON, [999, 0]),
        model("ddpm-celebahq-256", Ddpm, 1000, EPSILON, [999, 0]),
        model("ddpm-butterflies-128", Ddpm, 1000, EPSILON, [999, 0]),
        model("deepfloyd-if-i", Ddpm, 100, EPSILON, [990, 0]),
        real(
            model("ncsnpp-ffhq-1024", ScoreSdeVe, 2000, "score prediction", [0; 2]),
            [1348.0, 0.01 * 134_800.0_f64.powf(1e-5)],
        ),
        // Robots.
        model("diffusion-policy", Ddpm, 16, EPSILON, [90, 0]),
        model("lerobot-diffusion-pusht", Ddpm, 100, EPSILON, [99, 0]),
    ]
}

/// Models whose class is refused, and its name.
const REFUSED: [(&str, &str); 2] = [("stable-cascade", "DDPMWuerstchenScheduler"), ("sana-sprint", "SCMScheduler")];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

fn json(file: &str) -> String {
    fs::read_to_string(folder().join(format!("{file}.json"))).unwrap()
}

impl Model {
    fn config(&self) -> Result<SchedulerConfig, Error> {
        SchedulerConfig::from_json(&json(self.file))
    }

    fn run<'a>(&self, config: &'a SchedulerConfig) -> Run<'a> {
        match self.arguments {
            Arguments::None => config.run(self.steps),
            Arguments::Tokens => config.run(self.steps).tokens(TOKENS),
            Arguments::Sigmas => {
                let last = self.steps as f64;
                config.run_through_sigmas((0..self.steps).map(|i| (last - i as f64) / last))
            }
        }
    }

    /// What is wrong with a plan whose ends are known to some digits.
    fn check(&self, plan: Result<Plan, Error>, ends: [f64; 2], digits: f64) -> Result<(), String> {
        let Self { file, calls, .. } = self;
        let plan = plan.map_err(|error| format!("{file}: {error}"))?;
        let steps = plan.steps();
        if steps.len() != *calls {
            return Err(format!("{file}: {} calls instead of {calls}", steps.len()));
        }
        let found = [steps[0].t, steps[steps.len() - 1].t];
        let near = |found: f64, end: f64| (found - end).abs() <= digits * end.abs().max(1.0);
        if !(near(found[0], ends[0]) && near(found[1], ends[1])) {
            return Err(format!("{file}: t from {} to {} instead of {ends:?}", found[0], found[1]));
        }
        Ok(())
    }
}

/// Calls `check` for all models, and lists what is wrong with any.
fn all(check: impl Fn(&Model, SchedulerConfig) -> Result<(), String>) {
    let of = |model: &Model| match model.config() {
        Ok(config) => check(model, config).err(),
        Err(error) => Some(format!("{}: {error}", model.file)),
    };
    let wrong: Vec<String> = models().iter().filter_map(of).collect();
    assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), models().len(), wrong.join("\n"));
}

/// No file is forgotten, here or in the list of where they come from.
#[test]
fn every_file_is_here() {
    let names = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let files: BTreeSet<String> = names.filter_map(|name| name.strip_suffix(".json").map(str::to_owned)).collect();
    let listed = models().into_iter().map(|model| model.file).chain(REFUSED.map(|(file, _)| file));
    assert_eq!(files, listed.map(str::to_owned).collect());
    let origins = fs::read_to_string(folder().join("README.md")).unwrap();
    for file in &files {
        assert_eq!(origins.matches(&format!("| `{file}.json` |")).count(), 1, "{file}");
    }
}

#[test]
fn classes_and_predictions() {
    all(|model, config| {
        let found = (config.class(), config.prediction().to_string());
        let expected = (model.class, model.prediction.to_owned());
        if found == expected { Ok(()) } else { Err(format!("{}: {found:?}", model.file)) }
    });
}

#[test]
fn plans() {
    all(|model, config| model.check(model.run(&config).plan(), model.ends, 1e-12));
}

/// The t of diffusers, whose lists are f32.
#[test]
fn plans_of_diffusers() {
    all(|model, config| model.check(model.run(&config.compat()).plan(), model.diffusers, 1e-6));
}

#[test]
fn written_and_read_again() {
    all(|model, config| {
        let written = config.to_json();
        let again = SchedulerConfig::from_json(&written).map_err(|error| format!("{}: {error}", model.file))?;
        let same = again.to_json() == written
            && (again.class(), again.prediction(), again.threshold())
                == (config.class(), config.prediction(), config.threshold())
            && (again.spacing(), again.end(), again.variance()) == (config.spacing(), config.end(), config.variance())
            && model.run(&again).plan().ok() == model.run(&config).plan().ok();
        if same { Ok(()) } else { Err(format!("{}: {written}", model.file)) }
    });
}

/// Every key of a released model is known.
#[test]
fn no_key_is_unknown() {
    all(|model, config| {
        let unknown: Vec<&str> = config.notes().iter().filter_map(unknown).collect();
        if unknown.is_empty() { Ok(()) } else { Err(format!("{}: {}", model.file, unknown.join(", "))) }
    });
}

fn unknown(note: &Note) -> Option<&str> {
    match note {
        Note::Unknown { key } => Some(key),
        _ => None,
    }
}

#[test]
fn refused_classes() {
    for (file, class) in REFUSED {
        let error = SchedulerConfig::from_json(&json(file)).unwrap_err().to_string();
        let expected = format!(
            "_class_name = {class} is not supported; hub::SchedulerClass lists the classes that are. To read the file as one of them \
             use SchedulerConfig::from_json_as"
        );
        assert_eq!(error, expected);
    }
}
