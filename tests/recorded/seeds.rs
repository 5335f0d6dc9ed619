//! Noise and whole runs from a seed alone, against torch 2.15, numpy 2.4 and diffusers 0.42: `tests/seeds/seeds.json`, recorded by
//! `tests/seeds/record.py`. `tests/seeds/README.md` explains the records.
//!
//! `cargo test --test recorded seeds -- --nocapture` prints how many values were compared, and the largest deviations.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use alphabar::noise::comfyui::ComfyUi;
use alphabar::noise::numpy::{DefaultRng, Numpy, RandomState, StandardNormal};
use alphabar::noise::torch::{Cpu, Generator};
use alphabar::noise::webui::{RandomSource, WebUi};
use alphabar::{
    BoxError, Ddim, Ddpm, Draw, Element, ElementType, Error, NoiseSchedule, NoiseSource, Plan, Point, Timesteps,
    Variance, sample,
};
use ndarray::{Array1, ArrayD, IxDyn};
use serde_json::Value;

use crate::parity::{F32, Worst, count, deviation, integers, load, model, number, numbers, text};

static RECORDS: LazyLock<Vec<Value>> = LazyLock::new(|| load("tests/seeds/seeds.json"));

fn records(kind: &'static str) -> Vec<&'static Value> {
    let found: Vec<_> = RECORDS.iter().filter(|record| record["kind"] == kind).collect();
    assert!(!found.is_empty(), "{kind}");
    found
}

/// FNV-1a over 32-bit words, as `record.py` has it.
fn hash(mut bytes: Vec<u8>) -> String {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let words = bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap()));
    let hash =
        words.fold(0xcbf2_9ce4_8422_2325_u64, |hash, word| (hash ^ u64::from(word)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

/// An element as torch lays it in memory.
trait Stored: Element {
    fn bytes(self) -> Vec<u8>;
}

impl Stored for f32 {
    fn bytes(self) -> Vec<u8> {
        self.to_le_bytes().to_vec()
    }
}

impl Stored for f64 {
    fn bytes(self) -> Vec<u8> {
        self.to_le_bytes().to_vec()
    }
}

#[cfg(feature = "half")]
impl Stored for half::f16 {
    fn bytes(self) -> Vec<u8> {
        self.to_le_bytes().to_vec()
    }
}

#[cfg(feature = "half")]
impl Stored for half::bf16 {
    fn bytes(self) -> Vec<u8> {
        self.to_le_bytes().to_vec()
    }
}

fn stored<E: Stored>(values: &[E]) -> Vec<u8> {
    values.iter().flat_map(|value| value.bytes()).collect()
}

/// The first and the last four values.
fn ends<E: Element>(values: &[E]) -> Vec<f64> {
    let (first, last) = (&values[..4], &values[values.len() - 4..]);
    first.iter().chain(last).map(|value| value.to_f64()).collect()
}

fn seed(record: &Value) -> u64 {
    record["seed"].as_u64().unwrap()
}

fn seeds(record: &Value, key: &str) -> Vec<u64> {
    record[key].as_array().unwrap().iter().map(|seed| seed.as_u64().unwrap()).collect()
}

fn shape(record: &Value) -> Vec<usize> {
    integers(&record["shape"]).into_iter().map(|len| len as usize).collect()
}

/// Runs `$body` with a type alias for the record's element type; without the feature `half` its records are passed over.
macro_rules! with_type {
    ($name:expr, $element:ident => $body:expr) => {
        match $name {
            "f32" => {
                type $element = f32;
                $body
            }
            "f64" => {
                type $element = f64;
                $body
            }
            #[cfg(feature = "half")]
            "f16" => {
                type $element = half::f16;
                $body
            }
            #[cfg(feature = "half")]
            "bf16" => {
                type $element = half::bf16;
                $body
            }
            #[cfg(not(feature = "half"))]
            "f16" | "bf16" => Default::default(),
            other => panic!("{other}"),
        }
    };
}

/// Whether last bits can be compared: torch takes the C library's functions for f64, and so does the crate. They are those of
/// the GNU C library.
const GNU: bool = cfg!(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"));

fn torch_draws<E: Stored>(record: &Value) -> (Generator, Vec<E>) {
    let mut generator = Generator::new(seed(record));
    let mut joined = Vec::new();
    for len in integers(&record["lengths"]) {
        let mut z = vec![E::default(); len as usize];
        if text(record, "kind") == "randn" {
            generator.randn(&mut z);
        } else {
            generator.rand(&mut z);
        }
        joined.extend(z);
    }
    (generator, joined)
}

fn same_draws<E: Stored>(record: &Value) -> usize {
    let (generator, z) = torch_draws::<E>(record);
    assert_eq!(ends(&z), numbers(&record["ends"]), "{} {}", text(record, "type"), seed(record));
    assert_eq!(hash(stored(&z)), text(record, "hash"), "{} {}", text(record, "type"), seed(record));
    // And torch could go on from here.
    assert_eq!(hash(generator.to_bytes()), text(record, "state"));
    z.len()
}

#[test]
fn torch_s_normals_and_uniforms_bit_for_bit() {
    let mut compared = BTreeMap::new();
    for record in records("randn").into_iter().chain(records("rand")) {
        let name = text(record, "type");
        if name == "f64" && !GNU {
            continue;
        }
        let values: usize = with_type!(name, E => same_draws::<E>(record));
        *compared.entry((text(record, "kind"), name)).or_insert(0) += values;
    }
    println!("values that equal torch's: {compared:?}");
    assert_eq!(compared[&("randn", "f32")], 699_186);
}

#[test]
fn the_latents_of_seed_0_and_42() {
    for record in records("latents") {
        let z = Cpu::new(seed(record)).noise(&Array1::<f32>::zeros(4 * 64 * 64), Draw::Initial).unwrap();
        let z = z.as_slice().unwrap();
        assert_eq!(ends(z), numbers(&record["ends"]));
        assert_eq!(hash(stored(z)), text(record, "hash"));
        assert_eq!(z.iter().map(|z| f64::from(*z)).sum::<f64>(), number(&record["sum"]));
    }
    let [record] = records("shape")[..] else { panic!() };
    let z = Cpu::new(seed(record)).noise(&ArrayD::<f32>::zeros(shape(record)), Draw::Initial).unwrap();
    assert_eq!(hash(stored(z.as_slice().unwrap())), text(record, "hash"));
}

#[cfg(feature = "half")]
fn normals<E: Element>(generator: &mut Generator, len: usize) -> Vec<f64> {
    let mut z = vec![E::default(); len];
    generator.randn(&mut z);
    z.into_iter().map(E::to_f64).collect()
}

#[cfg(feature = "half")]
fn uniforms<E: Element>(generator: &mut Generator, len: usize) -> Vec<f64> {
    let mut z = vec![E::default(); len];
    generator.rand(&mut z);
    z.into_iter().map(E::to_f64).collect()
}

#[test]
#[cfg(feature = "half")]
fn draws_of_every_kind_one_after_the_other() {
    let [record] = records("mixed")[..] else { panic!() };
    let mut generator = Generator::new(seed(record));
    for draw in record["ops"].as_array().unwrap() {
        let op = draw["op"].as_array().unwrap();
        let (name, at) = (op[0].as_str().unwrap(), |i: usize| op[i].as_i64().unwrap());
        let found: Vec<f64> = match name {
            "randn" => with_type!(op[1].as_str().unwrap(), E => normals::<E>(&mut generator, at(2) as usize)),
            "rand" => with_type!(op[1].as_str().unwrap(), E => uniforms::<E>(&mut generator, at(2) as usize)),
            "randint" => {
                let drawn = generator.randint(at(1), at(2), at(3) as usize).unwrap();
                drawn.into_iter().map(|value| value as f64).collect()
            }
            "randperm" => generator.randperm(at(1) as usize).unwrap().into_iter().map(|value| value as f64).collect(),
            other => panic!("{other}"),
        };
        assert_eq!(found, numbers(&draw["values"]), "{op:?}");
        // A state that is stored and read goes on in the same way.
        generator = Generator::from_bytes(&generator.to_bytes()).unwrap();
    }
    assert_eq!(hash(generator.to_bytes()), text(record, "state"));
}

#[test]
fn skipping_is_drawing_and_forgetting() {
    let types = [ElementType::F32, ElementType::F64, ElementType::F16, ElementType::Bf16];
    for element_type in types {
        for len in [1, 2, 3, 15, 16, 17, 100, 700] {
            for (before, draws) in [(0, 1), (1, 3), (5, 4), (0, 0), (1, 0)] {
                let (mut drawn, mut skipped) = (Generator::new(9), Generator::new(9));
                for generator in [&mut drawn, &mut skipped] {
                    generator.randn(&mut vec![0.0_f32; before]);
                }
                for _ in 0..draws {
                    match element_type {
                        ElementType::F64 => drawn.randn(&mut vec![0.0_f64; len]),
                        #[cfg(feature = "half")]
                        ElementType::F16 => drawn.randn(&mut vec![half::f16::ZERO; len]),
                        #[cfg(feature = "half")]
                        ElementType::Bf16 => drawn.randn(&mut vec![half::bf16::ZERO; len]),
                        ElementType::F32 => drawn.randn(&mut vec![0.0_f32; len]),
                        _ => drawn.skip_randn(element_type, len, 1),
                    }
                }
                skipped.skip_randn(element_type, len, draws);
                assert_eq!(drawn, skipped, "{element_type:?} {len} {before} {draws}");
            }
        }
    }
}

#[test]
fn numpy_s_normals_bit_for_bit() {
    if !GNU {
        return;
    }
    let mut compared = 0;
    for record in records("RandomState") {
        let mut source = Numpy::new(RandomState::new(u32::try_from(seed(record)).unwrap()));
        let mut joined = Vec::new();
        for len in integers(&record["lengths"]) {
            joined.extend(source.noise(&vec![0.0_f64; len as usize], Draw::Initial).unwrap());
        }
        assert_eq!(ends(&joined), numbers(&record["ends"]));
        assert_eq!(hash(stored(&joined)), text(record, "hash"));
        compared += joined.len();
    }
    for record in records("default_rng") {
        let mut rng = DefaultRng::new(seed(record));
        let z: Vec<f64> = (0..count(record, "values")).map(|_| rng.standard_normal()).collect();
        assert_eq!(ends(&z), numbers(&record["ends"]), "{}", seed(record));
        assert_eq!(hash(stored(&z)), text(record, "hash"), "{}", seed(record));
        compared += z.len();
    }
    println!("values that equal numpy's: {compared}");
    assert_eq!(compared, 550_033);
}

#[test]
fn the_web_ui_s_conventions() {
    for record in records("webui") {
        let (seeds, shape) = (seeds(record, "seeds"), shape(record));
        let like = ArrayD::<f32>::zeros([&[seeds.len()], &shape[..]].concat());
        let source = match text(record, "source") {
            "CPU" => RandomSource::Cpu,
            "NV" => RandomSource::Nv,
            other => panic!("{other}"),
        };
        let ui = || WebUi::new(seeds.iter().copied()).source(source);
        let exact = source == RandomSource::Cpu;
        let check = |z: &ArrayD<f32>, expected: &Value, bound: f64| {
            let (found, expected) = (ends(z.as_slice().unwrap()), numbers(expected));
            assert!(deviation(&found, &expected) <= bound, "{found:?} {expected:?}");
        };
        let rounding = if exact { 0.0 } else { 1e-6 };

        let mut plain = ui();
        for (k, expected) in record["plain"].as_array().unwrap().iter().enumerate() {
            let draw = if k == 0 { Draw::Initial } else { Draw::Step(k - 1) };
            check(&plain.noise(&like, draw).unwrap(), expected, rounding);
        }

        let strength = number(&record["strength"]);
        let mut varied =
            ui().variations(self::seeds(record, "variations"), strength, [shape[0], shape[1], shape[2]]).unwrap();
        let z = varied.noise(&like, Draw::Initial).unwrap();
        let found: Vec<f64> = z.iter().map(|z| f64::from(*z)).collect();
        let error = deviation(&found, &numbers(&record["varied"]));
        println!("variation seeds, {}: {error:.1e}", text(record, "source"));
        assert!(error < 2e-6, "{error:e}");
        // The variation does not touch the steps.
        check(&varied.noise(&like, Draw::Step(0)).unwrap(), &record["plain"][1], rounding);

        let mut with_delta = ui().eta_noise_seed_delta(record["delta"].as_i64().unwrap());
        check(&with_delta.noise(&like, Draw::Initial).unwrap(), &record["plain"][0], rounding);
        for (k, expected) in record["with_delta"].as_array().unwrap().iter().enumerate() {
            check(&with_delta.noise(&like, Draw::Step(k)).unwrap(), expected, rounding);
        }
    }
}

#[test]
fn comfy_ui_s_conventions() {
    let [record] = records("comfyui")[..] else { panic!() };
    let like = ArrayD::<f32>::zeros(shape(record));
    let mut ui = ComfyUi::on_cpu(seed(record));
    let check = |z: &ArrayD<f32>, expected: &Value| assert_eq!(ends(z.as_slice().unwrap()), numbers(expected));
    check(&ui.noise(&like, Draw::Initial).unwrap(), &record["initial"]);
    for (k, expected) in record["steps"].as_array().unwrap().iter().enumerate() {
        check(&ui.noise(&like, Draw::Step(k)).unwrap(), expected);
    }
    let indices = integers(&record["batch_indices"]).into_iter().map(|index| index as usize);
    let mut indexed = ComfyUi::on_cpu(seed(record)).batch_indices(indices).unwrap();
    check(&indexed.noise(&like, Draw::Initial).unwrap(), &record["indexed"]);
}

/// The scheduler's seeded run in the terms of the crate: the plan, and by how much x_T is scaled.
fn plan(record: &Value) -> (Plan, f64) {
    let schedule = NoiseSchedule::linear(1000, 1e-4, 0.02).unwrap();
    let steps = count(record, "steps");
    let tau = match text(record, "scheduler") {
        "ddpm" => Timesteps::leading(1000, steps, 0),
        _ => Timesteps::trailing(1000, steps),
    }
    .unwrap();
    let expected: Vec<usize> = integers(&record["timesteps"]).into_iter().map(|t| t as usize).collect();
    assert_eq!(tau.as_slice(), expected);
    let plan = match text(record, "scheduler") {
        "ddpm" => Plan::new(&schedule, &tau, &Ddpm::new(Variance::Posterior)),
        // Of the first order, DPM-Solver++ for SDEs is DDIM with η = 1, and so is Euler's ancestral method.
        _ => Plan::new(&schedule, &tau, &Ddim::new(1.0).unwrap()),
    }
    .unwrap();
    // diffusers scales Euler's x_T, which is at σ, by σ and not by √(1 + σ²).
    let scale = if text(record, "scheduler") == "euler ancestral" { plan.start().noise() } else { 1.0 };
    (plan, scale)
}

#[test]
fn a_seeded_run_of_diffusers_from_the_seed_alone() {
    let mut worst = Worst::of("seeded runs of diffusers");
    let mut values = 0;
    for record in records("run") {
        let (plan, scale) = plan(record);
        let mut noise = match seeds(record, "seeds")[..] {
            [seed] => Cpu::new(seed),
            ref seeds => Cpu::per_sample(seeds.iter().copied()),
        };
        let like = ArrayD::<f32>::zeros(IxDyn(&shape(record)));
        let x = noise.noise(&like, Draw::Initial).unwrap() * scale as f32;
        let mut network = |x: &ArrayD<f32>, at: Point| Ok::<_, BoxError>(model(x, at.t as usize));
        let x = sample(&plan, x, &mut network, &mut noise).unwrap();
        let found: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
        let at = format!("{}, S = {}", text(record, "scheduler"), plan.len());
        worst.see(deviation(&found, &numbers(&record["x"])), F32, &at);
        values += found.len();
    }
    println!("{values} elements of x");
    worst.report(28);
}

#[test]
fn a_list_of_generators_has_one_for_each_sample() {
    let like = ArrayD::<f32>::zeros(IxDyn(&[3, 8]));
    let error = Cpu::per_sample([1, 2]).noise(&like, Draw::Initial).unwrap_err();
    assert!(matches!(error, Error::Rows { expected: 3, found: 2 }), "{error}");
}
