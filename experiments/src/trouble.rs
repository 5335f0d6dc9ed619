//! What can go wrong, each with a sentence that says what to do.

use std::path::{Path, PathBuf};

/// Any failure of these programs.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The images are not where they should be.
    #[error(
        "the data set is not there: {}: {source}; get it with `cargo run --release -p alphabar-experiments -- fetch`, or \
         name its folder with --data", .path.display()
    )]
    NoData {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        source: std::io::Error,
    },
    /// The images are not what they should be.
    #[error("{} is not the data set's file: {what}; delete it and run `-- fetch` again", .path.display())]
    BadData {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A command that gets the data set failed.
    #[error(
        "cannot get the data set: {0}; on Debian, `apt-get install dataset-fashion-mnist` puts it where it is found, and \
         elsewhere its four idx.gz files do in a folder named by --data"
    )]
    Fetch(String),
    /// No weights.
    #[error(
        "there are no weights at {}: {source}; name the file that `-- {command}` made, or no file for the weights that come \
         with the program", .path.display()
    )]
    NoWeights {
        /// The file.
        path: PathBuf,
        /// The command that makes it.
        command: &'static str,
        /// Why it cannot be read.
        source: std::io::Error,
    },
    /// Weights that cannot be read, or belong to another network.
    #[error("{name} does not hold the weights that are needed: {what}; restore the file or train anew")]
    BadWeights {
        /// Whose they are.
        name: String,
        /// What is wrong with them.
        what: String,
    },
    /// A checkpoint that cannot be read, or of another run.
    #[error("the checkpoint {} is of no use: {what}; name another folder with --out, or delete it to begin anew", .path.display())]
    BadCheckpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Results that cannot be read, or of another set of options.
    #[error("{} is not for these results: {what}; name another folder with --out, or move the file away", .path.display())]
    OtherResults {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: String,
    },
    /// A file could not be written.
    #[error(
        "cannot write {}: {source}; what was there before is untouched, and the same command goes on from it once that is \
         mended", .path.display()
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A shard that does not exist.
    #[error("{0}")]
    Shard(String),
    /// Options that do not fit.
    #[error("{0}")]
    Options(String),
    /// The sampler.
    #[error(transparent)]
    Alphabar(#[from] alphabar::Error),
    /// The framework.
    #[error("the tensor framework failed: {0}")]
    Candle(#[from] candle_core::Error),
}

impl Trouble {
    /// For `map_err` where a file is written.
    pub fn writing(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Write { path, source }
    }
}

/// A result with it.
pub type Result<T, E = Trouble> = std::result::Result<T, E>;
