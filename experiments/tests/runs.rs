//! Runs that are killed and resumed, shards, and bad input, with tiny networks and made-up images.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use alphabar_experiments::data::{Images, PIXELS};
use alphabar_experiments::method::{Method, Spaced, round_trip};
use alphabar_experiments::net::{UNet, Widths};
use alphabar_experiments::objective::Objective;
use alphabar_experiments::train::{Place, Recipe, Run};
use alphabar_experiments::weights::Weights;
use alphabar_experiments::{classifier, draw, figures, pictures, table1, table2};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use candle_core::{Device, Tensor};

fn images() -> Images {
    let pixels = (0..20 * PIXELS).map(|i| ((i * 37 + i / PIXELS * 11) % 256) as u8).collect();
    Images::new(pixels, vec![0; 20])
}

fn recipe() -> Recipe {
    let widths = Widths::of(4);
    Recipe { objective: Objective::Epsilon, seed: 5, steps: 8, batch: 6, rate: 1e-3, decay: 0.9, widths }
}

fn place(folder: &Path) -> Place {
    Place { folder: folder.to_owned(), every: Duration::from_mins(1) }
}

#[test]
fn a_resumed_run_has_the_bits_of_one_that_was_never_killed() {
    let images = images();
    let [whole, parts] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let expected = Run::new(recipe(), &images, 3).unwrap().finish(&place(whole.path())).unwrap();
    let mut killed = Run::new(recipe(), &images, 3).unwrap();
    for _ in 0..4 {
        killed.step().unwrap();
    }
    killed.save(parts.path()).unwrap();
    // What comes after the last checkpoint is lost.
    killed.step().unwrap();
    drop(killed);
    let mut resumed = Run::new(recipe(), &images, 3).unwrap();
    assert!(resumed.resume(parts.path()).unwrap());
    assert_eq!(resumed.steps(), 4);
    let found = resumed.finish(&place(parts.path())).unwrap();
    assert!(fs::read(expected).unwrap() == fs::read(found).unwrap());
    for file in ["checkpoint.safetensors", "log.txt"] {
        assert!(fs::read(whole.path().join(file)).unwrap() == fs::read(parts.path().join(file)).unwrap(), "{file}");
    }
}

#[test]
fn training_lowers_the_loss() {
    let images = images();
    let mut run = Run::new(Recipe { steps: 60, rate: 4e-3, ..recipe() }, &images, 3).unwrap();
    let losses: Vec<f64> = (0..60).map(|_| run.step().unwrap()).collect();
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    // A network that says nothing has a loss of 1.
    assert!((mean(&losses[..3]) - 1.0).abs() < 0.1);
    assert!(mean(&losses[50..]) < 0.9, "{losses:?}");
}

/// A rectified flow is trained, saved, loaded and sampled by the same program: its weights say what they are.
#[test]
fn a_flow_is_trained_and_sampled_along_its_path() {
    let images = images();
    let folder = tempfile::tempdir().unwrap();
    let flow = Recipe { objective: Objective::Flow, steps: 60, rate: 4e-3, ..recipe() };
    let mut run = Run::new(flow.clone(), &images, 3).unwrap();
    let losses: Vec<f64> = (0..60).map(|_| run.step().unwrap()).collect();
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    // A network that says nothing has the loss of u = ε − x₀, which is 1 and the mean square of a pixel.
    assert!(mean(&losses[50..]) < 0.9 * mean(&losses[..3]), "{losses:?}");
    let path = Run::new(Recipe { steps: 2, ..flow }, &images, 3).unwrap().finish(&place(folder.path())).unwrap();
    let net = UNet::load(&Weights::network(Some(&path)).unwrap()).unwrap();
    assert_eq!(net.objective(), Objective::Flow);
    let plan = net.objective().plan(Method::Eta(0.0), 4).unwrap();
    assert_eq!(plan.steps().iter().map(|step| step.t).collect::<Vec<_>>(), [1000.0, 750.0, 500.0, 250.0]);
    let drawn = draw::piece(&net, &plan, 1, 0).unwrap();
    assert!(drawn.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().all(|x| x.is_finite()));
    // Weights from before there were two objectives are ε's.
    let old = UNet::load(&Weights::network(None).unwrap()).unwrap();
    assert_eq!(old.objective(), Objective::Epsilon);
}

#[test]
fn a_checkpoint_of_another_run_or_a_corrupt_one_is_not_taken() {
    let images = images();
    let folder = tempfile::tempdir().unwrap();
    Run::new(recipe(), &images, 3).unwrap().save(folder.path()).unwrap();
    let message = Run::new(Recipe { seed: 6, ..recipe() }, &images, 3).unwrap().resume(folder.path()).unwrap_err();
    assert!(message.to_string().contains("--out"), "{message}");
    let path = folder.path().join("checkpoint.safetensors");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(Run::new(recipe(), &images, 3).unwrap().resume(folder.path()).is_err());
    // And it is still there.
    assert_eq!(fs::metadata(&path).unwrap().len(), bytes.len() as u64 / 2);
}

/// Weights of a tiny network.
fn weights(folder: &Path) -> PathBuf {
    let images = images();
    let mut run = Run::new(Recipe { steps: 2, ..recipe() }, &images, 3).unwrap();
    run.finish(&place(folder)).unwrap()
}

/// The program, in an environment without engines of jobs.
fn program(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alphabar-experiments"));
    for (name, _) in std::env::vars() {
        if ["OMPI_", "PMI_", "SLURM_", "SGE_", "LSB_", "PBS_"].iter().any(|engine| name.starts_with(engine)) {
            command.env_remove(name);
        }
    }
    command.args(arguments).arg("--out").arg(folder).arg("--data").arg(folder.join("no-data"));
    command
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder.join("samples"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn the_union_of_the_shards_is_what_one_process_makes() {
    let made = tempfile::tempdir().unwrap();
    let weights = weights(made.path());
    let weights = weights.to_str().unwrap();
    let [one, two] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let arguments = ["sample", "--weights", weights, "--count", "150", "--steps", "3", "--eta", "1"];
    assert!(program(one.path(), &arguments).status.success());
    for shard in ["1/2", "0/2"] {
        assert!(program(two.path(), &[&arguments[..], &["--shard", shard]].concat()).status.success());
    }
    let whole = files(one.path());
    assert_eq!(whole.len(), 3);
    assert_eq!(whole, files(two.path()));
    assert_eq!(fs::read(one.path().join("samples.png")).unwrap(), fs::read(two.path().join("samples.png")).unwrap());
    // At the same time, as mpirun starts them.
    let ranks = tempfile::tempdir().unwrap();
    let start = |rank| {
        let mut command = command(ranks.path(), &arguments);
        command.env("OMPI_COMM_WORLD_RANK", rank).env("OMPI_COMM_WORLD_SIZE", "2").spawn().unwrap()
    };
    for mut process in ["0", "1"].map(start) {
        assert!(process.wait().unwrap().success());
    }
    assert_eq!(whole, files(ranks.path()));
    // Samples [a, b) of the sequence.
    let part = tempfile::tempdir().unwrap();
    let range = ["sample", "--weights", weights, "--from", "70", "--count", "60", "--steps", "3", "--eta", "1"];
    assert!(program(part.path(), &range).status.success());
    assert_eq!(whole[1..], files(part.path()));
    // A file that a kill or a full disk cut is made again; the others are left.
    let cut = two.path().join("samples").join(&whole[1].0);
    fs::write(&cut, &whole[1].1[..100]).unwrap();
    assert!(program(two.path(), &arguments).status.success());
    assert_eq!(whole, files(two.path()));
}

#[test]
fn sample_i_is_the_same_whichever_range_it_is_drawn_in() {
    let made = tempfile::tempdir().unwrap();
    let net = UNet::load(&Weights::network(Some(&weights(made.path()))).unwrap()).unwrap();
    let plan = Method::Eta(0.5).plan(&alphabar::NoiseSchedule::ddpm().unwrap(), 3).unwrap();
    let whole = draw::draw(&net, &plan, 1, 0..40).unwrap();
    let part = draw::draw(&net, &plan, 1, 13..35).unwrap();
    let whole = whole.narrow(0, 13, 22).unwrap();
    assert_eq!(whole.to_vec2::<f32>().unwrap(), part.to_vec2::<f32>().unwrap());
}

#[test]
fn bad_input_is_a_sentence_that_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let corrupt = folder.path().join("corrupt.safetensors");
    fs::write(&corrupt, b"not weights").unwrap();
    let good = weights(folder.path());
    let other = folder.path().join("classifier-is-no-network.safetensors");
    let bytes = fs::read(&good).unwrap();
    fs::write(&other, &bytes[..bytes.len() - 3]).unwrap();
    let (corrupt, good, other) = (corrupt.to_str().unwrap(), good.to_str().unwrap(), other.to_str().unwrap());
    let cases: [(&[&str], &str); 12] = [
        (&["sample", "--weights", "/nowhere/w"], "that `-- train` made"),
        (&["sample", "--weights", corrupt], "restore the file or train anew"),
        (&["sample", "--weights", other], "restore the file or train anew"),
        (&["sample", "--weights", good, "--shard", "2/2"], "the 2 parts are 0/2 to 1/2"),
        (&["sample", "--weights", good, "--shard", "half"], "of the form i/n"),
        (&["sample", "--weights", good, "--count", "0"], "0 is not in 1.."),
        (&["sample", "--weights", good, "--steps", "1001"], "1001"),
        (&["sample", "--weights", good, "--steps", "501"], "a number that divides 1000"),
        (&["train"], "-- fetch"),
        (&["train", "--width", "0"], "0 is not in 1..=512"),
        (&["table1"], "-- fetch"),
        (&["table2", "--weights", good], "-- fetch"),
    ];
    for (arguments, expected) in cases {
        let output = program(folder.path(), arguments);
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        assert!(message.contains(expected) && !message.contains("panicked"), "{arguments:?}: {message}");
    }
}

#[test]
fn a_classifier_that_was_killed_goes_on_to_the_same() {
    let images = images();
    let folder = tempfile::tempdir().unwrap();
    let (path, accuracy) = classifier::train(folder.path(), &images, &images, 4, 1).unwrap();
    let expected = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    // From its checkpoint, which is of the end.
    assert_eq!(classifier::train(folder.path(), &images, &images, 4, 1).unwrap(), (path.clone(), accuracy));
    assert_eq!(fs::read(&path).unwrap(), expected);
    let other = images.first(19);
    assert!(classifier::train(folder.path(), &other, &other, 4, 1).unwrap_err().to_string().contains("19 images"));
}

#[test]
fn tables_are_what_they_say_and_are_computed_once() {
    let images = images();
    let folder = tempfile::tempdir().unwrap();
    let network = Weights::network(Some(&weights(folder.path()))).unwrap();
    let (path, _) = classifier::train(folder.path(), &images, &images, 2, 1).unwrap();
    let inputs = table1::Inputs {
        weights: &network,
        classifier: &Weights::classifier(Some(&path)).unwrap(),
        train: &images,
        test: &images,
        steps: &[2, 5],
        spaced: Spaced::Linear,
        count: 70,
        seed: 3,
        folder: &folder.path().join("table1"),
    };
    let table = table1::run(&inputs).unwrap();
    // Images are at no distance from themselves.
    assert!(table.contains("20 held-out images: 0.000") || table.contains("20 held-out images: -0.000"), "{table}");
    // The table of differences: each row minus the first, with a deviation of its own.
    let first = |line: &str| {
        line.rsplit_once(' ').unwrap().1.split_once('±').map(|(x, y)| [x, y].map(|n| n.parse::<f64>().unwrap()))
    };
    let rows = |from: &str| {
        let lines = table[table.find(from).unwrap()..].lines().skip(1);
        lines.map_while(|line| line.contains('±').then(|| first(line).unwrap())).collect::<Vec<_>>()
    };
    let (numbers, differences) = (rows("       S "), rows("Minus the number of η = 0"));
    assert_eq!((numbers.len(), differences.len()), (5, 4), "{table}");
    for (number, difference) in numbers[1..].iter().zip(&differences) {
        assert!((number[0] - numbers[0][0] - difference[0]).abs() < 0.011 && difference[1] >= 0.0, "{table}");
    }
    let samples = |entry: &fs::DirEntry| entry.path().extension().is_some_and(|extension| extension == "idx3-ubyte");
    for entry in fs::read_dir(inputs.folder).unwrap().map(Result::unwrap).filter(samples) {
        fs::remove_file(entry.path()).unwrap();
    }
    assert_eq!(table1::run(&inputs).unwrap(), table);
    assert_eq!(fs::read_dir(inputs.folder).unwrap().map(Result::unwrap).filter(samples).count(), 0);

    let table = table2::run(&network, &images, &[2, 5], 17, folder.path()).unwrap();
    assert_eq!(table2::run(&network, &images, &[2, 5], 17, folder.path()).unwrap(), table);
    let net = UNet::load(&network).unwrap();
    let schedule = alphabar::NoiseSchedule::ddpm().unwrap();
    let (encode, decode) = round_trip(&schedule, 5, alphabar::Conditioning::Source).unwrap();
    let x0 = images.rows(0..17);
    let x = Tensor::from_slice(&x0, (17, PIXELS), &Device::Cpu).unwrap();
    let mut model = |x: &Tensor, at: alphabar::Point| net.predict(x, at);
    let latent = alphabar::sample(&encode, x, &mut model, &mut alphabar::NoNoise).unwrap();
    let back = alphabar::sample(&decode, latent, &mut model, &mut alphabar::NoNoise).unwrap();
    let back = back.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    // In [0, 1].
    let squared = |(a, b): (&f32, &f32)| (f64::from(*a) / 2.0 - f64::from(*b) / 2.0).powi(2);
    let error = x0.iter().zip(&back).map(squared).sum::<f64>() / x0.len() as f64;
    let message = table.lines().find(|line| line.contains("conditioned on the source")).unwrap();
    assert_eq!(message.split_whitespace().last().unwrap(), format!("{error:.1e}"), "{table}");
}

#[test]
fn figures_are_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let net = UNet::load(&Weights::network(Some(&weights(folder.path()))).unwrap()).unwrap();
    assert!(figures::time_against_steps(&net, &[2, 4], folder.path()).unwrap().contains("straight line"));
    figures::samples_by_eta(&net, 1, &[2, 3], folder.path()).unwrap();
    figures::same_noise(&net, 1, &[2, 4], 3, folder.path()).unwrap();
    figures::interpolation(&net, 1, 3, 2, folder.path()).unwrap();
    figures::predictions_of_x0(&net, 1, 12, 2, folder.path()).unwrap();
    // Images of 56 pixels, 2 pixels apart.
    let sheet = |columns: u32, rows: u32| (columns * 58 - 2, rows * 58 - 2);
    let expected = [
        ("fig3-samples.png", (130 + 2 * (8 * 60 + 20), 60 + 3 * (2 * 60 + 20))),
        ("fig4-time.png", (640, 420)),
        ("fig5-same-noise.png", sheet(3, 2)),
        ("fig6-interpolation.png", sheet(11, 2)),
        ("x0-along-the-way.png", sheet(10, 2)),
    ];
    for (name, size) in expected {
        assert_eq!(image::image_dimensions(folder.path().join(name)).unwrap(), size, "{name}");
    }
}

#[test]
fn pictures_are_drawn_and_those_of_the_docs_are_in_rustdoc() {
    let folder = tempfile::tempdir().unwrap();
    let net = UNet::load(&Weights::network(Some(&weights(folder.path()))).unwrap()).unwrap();
    let drawn = [
        (pictures::spacings(folder.path()).unwrap(), (1400, 820)),
        (pictures::eta_steps(&net, 1, &[2, 4], folder.path()).unwrap(), (634, 1068)),
        (pictures::calls(&[4, 5], 1, folder.path()).unwrap(), (1400, 640)),
    ];
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/images");
    for (path, size) in drawn {
        assert_eq!(image::image_dimensions(&path).unwrap(), size, "{}", path.display());
        for path in [docs.join(path.file_name().unwrap()), path] {
            let text = fs::read_to_string(path.with_extension("png.b64")).unwrap();
            assert!(BASE64_STANDARD.decode(text).unwrap() == fs::read(&path).unwrap(), "{}", path.display());
        }
    }
    // The only one that needs neither weights nor minutes.
    let [found, expected] = [folder.path(), &docs].map(|folder| image::open(folder.join("spacings.png")).unwrap());
    assert!(found == expected, "draw the pictures again: `-- pictures --out docs/images`");
}
