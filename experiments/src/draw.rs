//! Samples of a seed, an infinite sequence, and files of samples that any process may make.
//!
//! Sample i is a function of the weights, the plan, the seed and i. Its noise comes from [`SeededNoise`], and the network computes
//! each image as a matrix product of its own ([`crate::ops`]). So how samples are batched changes the speed only.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use alphabar::{Draw, NoiseSource, Plan, Point, Predictor, SeededNoise, predictor, sample};
use candle_core::{DType, Device, Tensor};

use crate::data::{PIXELS, SIDE};
use crate::method::Method;
use crate::net::UNet;
use crate::progress::Progress;
use crate::shard::Shard;
use crate::trouble::{Result, Trouble};
use crate::weights::Weights;
use crate::{parallel, store};

/// Samples of one network call: few, so that their activations stay in the cache.
pub const PIECE: u64 = 16;

/// Samples of a file.
pub const PER_FILE: u64 = 64;

/// The initial noise x_T of piece `piece`.
pub fn latents(seed: u64, piece: u64) -> Result<Tensor> {
    let like = Tensor::zeros((PIECE as usize, PIXELS), DType::F32, &Device::Cpu)?;
    Ok(SeededNoise::new(seed).from_sample(piece * PIECE).noise(&like, Draw::Initial)?)
}

/// The network as a predictor that says what it predicts, so that it does not run in a plan for another prediction.
pub fn predictor_of(net: &UNet) -> impl Predictor<Tensor> + '_ {
    predictor::from_fn(net.objective().prediction(), |x: &Tensor, at: Point| net.predict(x, at))
}

/// The samples of piece `piece` of a seed.
pub fn piece(net: &UNet, plan: &Plan, seed: u64, piece: u64) -> Result<Tensor> {
    let mut model = predictor_of(net);
    let mut noise = SeededNoise::new(seed).from_sample(piece * PIECE);
    Ok(sample(plan, latents(seed, piece)?, &mut model, &mut noise)?)
}

/// Samples `range` of a seed, one a row.
pub fn draw(net: &UNet, plan: &Plan, seed: u64, range: Range<u64>) -> Result<Tensor> {
    if range.is_empty() {
        return Err(Trouble::Options("the range of samples is empty; give a --count of at least 1".to_owned()));
    }
    let first = range.start / PIECE;
    let pieces = range.end.div_ceil(PIECE) - first;
    let pieces = parallel::map(pieces as usize, |index| piece(net, plan, seed, first + index as u64))?;
    let skip = (range.start - first * PIECE) as usize;
    let wanted = (range.end - range.start) as usize;
    Ok(Tensor::cat(&pieces, 0)?.narrow(0, skip, wanted)?)
}

/// Pixels as bytes: from −1 (black) to 1 (white), rounded and clipped.
pub fn bytes(x: &Tensor) -> Result<Vec<u8>> {
    // A cast from float to integer saturates, and maps NaN to 0.
    Ok(x.flatten_all()?.to_vec1::<f32>()?.into_iter().map(|x| ((x + 1.0) * 127.5).round() as u8).collect())
}

/// A set of samples in a folder, as idx files of [`PER_FILE`] images.
pub struct Samples<'a> {
    net: &'a UNet,
    /// Part of the file names. It holds the hash of the weights, so that files of other weights are never used.
    name: String,
    plan: Plan,
    seed: u64,
    range: Range<u64>,
    folder: PathBuf,
}

impl<'a> Samples<'a> {
    /// Samples `range` of a seed.
    pub fn new(
        (net, weights): (&'a UNet, &Weights),
        (method, steps): (Method, usize),
        (seed, range): (u64, Range<u64>),
        folder: &Path,
    ) -> Result<Self> {
        let plan = net.objective().plan(method, steps)?;
        Ok(Self::of_plan((net, weights), (plan, format!("{}-s{steps}", method.key())), (seed, range), folder))
    }

    /// Samples `range` of a seed, by a custom plan with a name for its files.
    pub fn of_plan(
        (net, weights): (&'a UNet, &Weights),
        (plan, name): (Plan, String),
        (seed, range): (u64, Range<u64>),
        folder: &Path,
    ) -> Self {
        let name = format!("{}-{name}-seed{seed}", weights.fingerprint());
        Self { net, name, plan, seed, range, folder: folder.to_owned() }
    }

    /// The work of a shard: network evaluations, counted per image.
    #[must_use]
    pub fn work(&self, shard: Shard) -> u64 {
        self.calls(self.kept(shard))
    }

    fn calls(&self, samples: u64) -> u64 {
        samples * self.plan.len() as u64
    }

    /// The files of a shard, numbered from the first file of the seed.
    fn files(&self, shard: Shard) -> Range<u64> {
        let (first, end) = (self.range.start / PER_FILE, self.range.end.div_ceil(PER_FILE));
        let share = shard.share(end.saturating_sub(first));
        first + share.start..first + share.end
    }

    fn path(&self, file: u64) -> PathBuf {
        self.folder.join(format!("{}-{:010}.idx3-ubyte", self.name, file * PER_FILE))
    }

    fn header() -> Vec<u8> {
        let axes = [PER_FILE as u32, SIDE as u32, SIDE as u32];
        [0, 0, 8, 3].into_iter().chain(axes.iter().flat_map(|axis| axis.to_be_bytes())).collect()
    }

    /// Whether a file exists with its full size. Files are written in one piece, so it is then complete.
    fn is_there(&self, file: u64) -> bool {
        let expected = Self::header().len() + PER_FILE as usize * PIXELS;
        fs::metadata(self.path(file)).is_ok_and(|found| found.len() == expected as u64)
    }

    /// The pixels of a file's samples that were asked for.
    fn read(&self, file: u64) -> Result<Vec<u8>> {
        let path = self.path(file);
        let bad =
            |what: String| Trouble::Options(format!("{}: {what}; delete the file and start again", path.display()));
        let bytes = fs::read(&path).map_err(|error| bad(error.to_string()))?;
        let pixels =
            bytes.strip_prefix(&Self::header()[..]).ok_or_else(|| bad("it is not a file of samples".to_owned()))?;
        let place = |sample: u64| sample.saturating_sub(file * PER_FILE).min(PER_FILE) as usize * PIXELS;
        let wanted = pixels.get(place(self.range.start)..place(self.range.end));
        let pixels = wanted.ok_or_else(|| bad("it is truncated".to_owned()))?;
        Ok(pixels.to_vec())
    }

    /// Draws the missing files of a shard.
    pub fn make(&self, shard: Shard, progress: &Progress) -> Result<()> {
        let files = self.files(shard);
        let missing: Vec<u64> = files.clone().filter(|&file| !self.is_there(file)).collect();
        progress.skip(self.calls(PER_FILE) * (files.end - files.start - missing.len() as u64));
        // The pieces of a file are divided among the cores. The one that is done last writes the file.
        let pieces = (PER_FILE / PIECE) as usize;
        let parts: Vec<Mutex<Vec<Option<Vec<u8>>>>> = missing.iter().map(|_| Mutex::new(vec![None; pieces])).collect();
        parallel::map(missing.len() * pieces, |index| {
            let (file, number) = (missing[index / pieces], index % pieces);
            let drawn = piece(self.net, &self.plan, self.seed, file * pieces as u64 + number as u64)?;
            let drawn = bytes(&drawn)?;
            progress.more(self.calls(PIECE));
            let mut parts = parts[index / pieces].lock().unwrap_or_else(PoisonError::into_inner);
            parts[number] = Some(drawn);
            if parts.iter().all(Option::is_some) {
                let bytes =
                    [Self::header()].into_iter().chain(parts.drain(..).flatten()).flatten().collect::<Vec<u8>>();
                store::write(&self.path(file), &bytes)?;
            }
            Ok(())
        })?;
        Ok(())
    }

    /// The number of samples in a shard's files. Files are always full, so this may exceed the number that was asked for.
    #[must_use]
    pub fn kept(&self, shard: Shard) -> u64 {
        let files = self.files(shard);
        (files.end - files.start) * PER_FILE
    }

    /// The folder of the files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The pixels of the first file, if it belongs to this shard.
    pub fn first(&self, shard: Shard) -> Result<Option<Vec<u8>>> {
        let first = self.range.start / PER_FILE;
        self.files(shard).contains(&first).then(|| self.read(first)).transpose()
    }

    /// Maps the pixels of each file, from −1 to 1, in order and on all cores.
    pub fn map<R: Send>(&self, of: impl Fn(Vec<f32>) -> Result<R> + Sync) -> Result<Vec<R>> {
        let files = self.files(Shard::WHOLE);
        parallel::map((files.end - files.start) as usize, |index| {
            of(self.read(files.start + index as u64)?.into_iter().map(|byte| f32::from(byte) / 127.5 - 1.0).collect())
        })
    }
}
