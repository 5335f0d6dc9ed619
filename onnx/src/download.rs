//! Downloads the network's file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use alphabar::BoxError;

/// The Python package that contains the network. Only this version works.
pub const PACKAGE: &str = "adaptive-terrain-diffusion==0.4.1";

/// The default folder of the download. git ignores it.
pub const CACHE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/terrain");

/// The requirements file: the package, with the hash that pip checks.
const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/requirements.txt");
const WHEEL: &str = "adaptive_terrain_diffusion-0.4.1-py3-none-any.whl";
const IN_WHEEL: &str = "terrain_diffusion/weights/terrain_consistency_unet_difficulty100.onnx";

/// The path of the network's file in a folder. pip downloads the file (38 MB) if it is missing.
///
/// # Errors
/// If the download fails. The message says why, and how to get the file by hand.
pub fn network_file(folder: &Path) -> Result<PathBuf, BoxError> {
    let file = folder.join(IN_WHEEL);
    if file.is_file() {
        return Ok(file);
    }
    download(folder).map_err(|reason| {
        format!(
            "no network in {}, and the download failed ({reason}); run `python3 -m pip download --no-deps {PACKAGE}`, \
             unpack the wheel (a zip archive), and pass its file {IN_WHEEL} with --model",
            folder.display()
        )
    })?;
    if file.is_file() { Ok(file) } else { Err(format!("{PACKAGE} does not contain {IN_WHEEL}").into()) }
}

fn download(folder: &Path) -> Result<(), BoxError> {
    fs::create_dir_all(folder).map_err(|error| format!("cannot create the folder: {error}"))?;
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

/// Runs a command. If it fails, the error is the last line of its stderr.
fn python(command: &mut Command) -> Result<(), BoxError> {
    let output = command.output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "python3 is not installed".to_owned(),
        _ => format!("python3 does not start: {error}"),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    let last = message.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("python3 failed without a message");
    Err(last.trim().into())
}
