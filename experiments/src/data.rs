//! Fashion-MNIST: 60,000 training images and 10,000 held-out ones, 28×28 pixels, in ten classes.

use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};

use crate::store;
use crate::trouble::{Result, Trouble};

/// Pixels along a side.
pub const SIDE: usize = 28;
/// Pixels of an image.
pub const PIXELS: usize = SIDE * SIDE;
/// Classes.
pub const CLASSES: usize = 10;

/// The Debian package with the set.
const PACKAGE: &str = "dataset-fashion-mnist";
/// Where the package installs it.
const INSTALLED: &str = "usr/share/datasets/fashion-mnist";

/// One of the two parts of the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// 60,000 images.
    Train,
    /// 10,000 images.
    Test,
}

impl Part {
    fn count(self) -> usize {
        match self {
            Self::Train => 60_000,
            Self::Test => 10_000,
        }
    }

    fn files(self) -> [(&'static str, &'static str); 2] {
        match self {
            Self::Train => [
                ("train-images-idx3-ubyte.gz", "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7"),
                ("train-labels-idx1-ubyte.gz", "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056"),
            ],
            Self::Test => [
                ("t10k-images-idx3-ubyte.gz", "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa"),
                ("t10k-labels-idx1-ubyte.gz", "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05"),
            ],
        }
    }
}

/// Images with their classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    pixels: Vec<u8>,
    /// The class of each, 0 to 9.
    pub labels: Vec<u8>,
}

impl Images {
    /// Images from their bytes, [`PIXELS`] each.
    #[must_use]
    pub fn new(pixels: Vec<u8>, labels: Vec<u8>) -> Self {
        assert_eq!(pixels.len(), labels.len() * PIXELS);
        Self { pixels, labels }
    }

    /// The number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// The first `count` images.
    #[must_use]
    pub fn first(mut self, count: usize) -> Self {
        self.labels.truncate(count);
        self.pixels.truncate(self.labels.len() * PIXELS);
        self
    }

    /// A short hash of all pixels.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        hex(&Sha256::digest(&self.pixels)[..4])
    }

    /// Whether there are no images.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The pixels of one image, from −1 (black) to 1 (white).
    pub fn image(&self, index: usize) -> impl Iterator<Item = f32> + '_ {
        self.pixels[index * PIXELS..][..PIXELS].iter().map(|&byte| f32::from(byte) / 127.5 - 1.0)
    }

    /// The pixels of several images, in order.
    #[must_use]
    pub fn rows(&self, indices: impl IntoIterator<Item = usize>) -> Vec<f32> {
        indices.into_iter().flat_map(|index| self.image(index)).collect()
    }
}

/// The folder of the set: `named` if given, otherwise where Debian's package installs it, otherwise the cache that [`fetch`] fills.
#[must_use]
pub fn folder(named: Option<&Path>) -> PathBuf {
    let installed = Path::new("/").join(INSTALLED);
    match named {
        Some(folder) => folder.to_owned(),
        None if Part::Train.files().iter().all(|(name, _)| installed.join(name).is_file()) => installed,
        None => cache(),
    }
}

/// The cache folder, outside of the repository.
fn cache() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    base.unwrap_or_else(std::env::temp_dir).join("alphabar").join("fashion-mnist")
}

/// Reads a part of the set, and checks the hash and the size of each file.
pub fn load(folder: &Path, part: Part) -> Result<Images> {
    let [images, labels] = part.files().map(|(name, hash)| {
        let path = folder.join(name);
        let packed = fs::read(&path).map_err(|source| Trouble::NoData { path: path.clone(), source })?;
        let bad = |what: String| Trouble::BadData { path: path.clone(), what };
        let found = hex(&Sha256::digest(&packed));
        if found != hash {
            return Err(bad(format!("{} bytes with SHA-256 {found}, expected {hash}", packed.len())));
        }
        let mut bytes = Vec::new();
        GzDecoder::new(&packed[..]).read_to_end(&mut bytes).map_err(|error| bad(error.to_string()))?;
        Ok((path.clone(), bytes))
    });
    let (path, images) = images?;
    let pixels = idx(&images, &[part.count(), SIDE, SIDE]).map_err(|what| Trouble::BadData { path, what })?;
    let (path, labels) = labels?;
    let labels = idx(&labels, &[part.count()]).map_err(|what| Trouble::BadData { path, what })?;
    Ok(Images::new(pixels.to_vec(), labels.to_vec()))
}

/// The elements of an idx file. Its layout: 0, 0, 8 (for bytes), the number of axes, each axis in 32 bits, the elements.
fn idx<'a>(bytes: &'a [u8], shape: &[usize]) -> Result<&'a [u8], String> {
    let mut header = vec![0, 0, 8, shape.len() as u8];
    header.extend(shape.iter().flat_map(|axis| (*axis as u32).to_be_bytes()));
    let elements =
        bytes.strip_prefix(&header[..]).ok_or_else(|| format!("its header is not that of shape {shape:?}"))?;
    let expected: usize = shape.iter().product();
    if elements.len() == expected {
        Ok(elements)
    } else {
        Err(format!("it has {} elements, but its header says {expected}", elements.len()))
    }
}

/// Hexadecimal digits, two per byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut digits = String::new();
    for byte in bytes {
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

/// Downloads the set into a folder with Debian's own client, unpacks it and checks it. The package is not installed.
pub fn fetch(named: Option<&Path>) -> Result<PathBuf> {
    let folder = folder(named);
    if load(&folder, Part::Train).and(load(&folder, Part::Test)).is_ok() {
        return Ok(folder);
    }
    let folder = named.map_or_else(cache, Path::to_owned);
    fs::create_dir_all(&folder).map_err(Trouble::writing(&folder))?;
    let work = folder.join(format!("fetching-{}", std::process::id()));
    fs::create_dir_all(&work).map_err(Trouble::writing(&work))?;
    let outcome = unpack(&work, &folder);
    // A failure to remove the folder is not reported: the outcome of the download matters more.
    let _ = fs::remove_dir_all(&work);
    outcome?;
    load(&folder, Part::Train)?;
    load(&folder, Part::Test)?;
    Ok(folder)
}

fn unpack(work: &Path, folder: &Path) -> Result<()> {
    run(Command::new("apt-get").args(["--quiet", "download", PACKAGE]).current_dir(work))?;
    let package = fs::read_dir(work)
        .map_err(Trouble::writing(work))?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or_else(|| Trouble::Fetch("apt-get download left no package".to_owned()))?;
    run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(work))?;
    for (name, _) in [Part::Train, Part::Test].iter().flat_map(|part| part.files()) {
        let from = work.join(INSTALLED).join(name);
        let bytes = fs::read(&from).map_err(|error| Trouble::Fetch(format!("{}: {error}", from.display())))?;
        store::write(&folder.join(name), &bytes)?;
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let words = format!("{command:?}");
    let output = command.output().map_err(|error| Trouble::Fetch(format!("{words}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(Trouble::Fetch(format!("{words}: {}", errors.lines().last().unwrap_or("failed"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_data_set_is_a_sentence_that_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let error = load(folder.path(), Part::Train).unwrap_err().to_string();
        assert!(error.contains("-- fetch") && error.contains("train-images"), "{error}");
    }

    #[test]
    fn a_corrupt_data_set_is_found_by_its_hash() {
        let folder = tempfile::tempdir().unwrap();
        for (name, _) in Part::Test.files() {
            fs::write(folder.path().join(name), b"not gzip").unwrap();
        }
        let error = load(folder.path(), Part::Test).unwrap_err().to_string();
        assert!(error.contains("8 bytes with SHA-256"), "{error}");
    }

    #[test]
    fn an_idx_file_has_the_shape_that_its_header_says() {
        let bytes = [0, 0, 8, 1, 0, 0, 0, 2, 7, 9];
        assert_eq!(idx(&bytes, &[2]).unwrap(), [7, 9]);
        assert!(idx(&bytes, &[3]).is_err());
        assert!(idx(&bytes[..9], &[2]).is_err());
        assert!(idx(&bytes[..3], &[2]).is_err());
    }
}
