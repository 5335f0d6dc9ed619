//! Where the network's file comes from.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use alphabar::BoxError;

/// The Python package that carries the network, at the only version that will do.
pub const PACKAGE: &str = "adaptive-terrain-diffusion==0.4.1";

/// The folder that it is brought to unless another is given: one that git ignores.
pub const CACHE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/terrain");

/// The package's line with the hash that pip checks.
const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/requirements.txt");
const WHEEL: &str = "adaptive_terrain_diffusion-0.4.1-py3-none-any.whl";
const IN_WHEEL: &str = "terrain_diffusion/weights/terrain_consistency_unet_difficulty100.onnx";

/// The network's file in a folder, brought there by pip (38 MB) unless it is there.
///
/// # Errors
/// A sentence that says how to get the file by hand, and why it could not be got here.
pub fn network_file(folder: &Path) -> Result<PathBuf, BoxError> {
    let file = folder.join(IN_WHEEL);
    if file.is_file() {
        return Ok(file);
    }
    download(folder).map_err(|reason| {
        format!(
            "no network in {}, and it could not be downloaded ({reason}); run `python3 -m pip download --no-deps {PACKAGE}`, \
             unpack the wheel, which is a zip archive, and give {IN_WHEEL} of it as --model",
            folder.display()
        )
    })?;
    if file.is_file() { Ok(file) } else { Err(format!("{PACKAGE} carries no {IN_WHEEL}").into()) }
}

fn download(folder: &Path) -> Result<(), BoxError> {
    fs::create_dir_all(folder).map_err(|error| format!("cannot make the folder: {error}"))?;
    eprintln!("downloading {PACKAGE} into {}", folder.display());
    let wheel = folder.join(WHEEL);
    if !wheel.is_file() {
        python(
            Command::new("python3")
                .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check"])
                .args(["--no-deps", "--only-binary=:all:", "--require-hashes", "--requirement", REQUIREMENTS, "--dest"])
                .arg(folder),
        )?;
    }
    python(Command::new("python3").args(["-m", "zipfile", "--extract"]).arg(&wheel).arg(folder))
}

/// Runs a command, and takes the last line of what it complains about for the reason of its failure.
fn python(command: &mut Command) -> Result<(), BoxError> {
    let output = command.output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "there is no python3 here".to_owned(),
        _ => format!("python3 does not start: {error}"),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    let last = message.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("python3 failed without a word");
    Err(last.trim().into())
}
