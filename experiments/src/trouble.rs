//! The errors of the experiments. Each message says what to do.

use std::path::{Path, PathBuf};

/// An error of these programs.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The data set is missing.
    #[error(
        "the data set is missing: {}: {source}; get it with `cargo run --release -p alphabar-experiments -- fetch`, or \
         pass its folder with --data", .path.display()
    )]
    NoData {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        source: std::io::Error,
    },
    /// A file of the data set has other contents than expected.
    #[error("{} is not the data set's file: {what}; delete it and run `-- fetch` again", .path.display())]
    BadData {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A command that gets the data set failed.
    #[error(
        "cannot get the data set: {0}; on Debian, run `apt-get install dataset-fashion-mnist`; elsewhere, put its four idx.gz \
         files into a folder and pass that with --data"
    )]
    Fetch(String),
    /// A file of weights is missing.
    #[error(
        "there are no weights at {}: {source}; pass the file that `-- {command}` made, or no file for the weights in the \
         program", .path.display()
    )]
    NoWeights {
        /// The file.
        path: PathBuf,
        /// The command that makes it.
        command: &'static str,
        /// Why it cannot be read.
        source: std::io::Error,
    },
    /// A file of weights cannot be read, or belongs to another network.
    #[error("{name} does not hold the weights that are needed: {what}; restore the file or train anew")]
    BadWeights {
        /// The file, or the program itself.
        name: String,
        /// What is wrong with them.
        what: String,
    },
    /// A checkpoint cannot be read, or belongs to another run.
    #[error(
        "the checkpoint {} cannot be used: {what}; choose another folder with --out, or delete it to start from scratch",
        .path.display()
    )]
    BadCheckpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A file of results cannot be read, or belongs to other options.
    #[error("{} is not for these results: {what}; choose another folder with --out, or move the file away", .path.display())]
    OtherResults {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: String,
    },
    /// A file could not be written.
    #[error(
        "cannot write {}: {source}; the old file is untouched, and when the cause is removed the same command goes on from it",
        .path.display()
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A shard does not exist.
    #[error("{0}")]
    Shard(String),
    /// Options are not valid.
    #[error("{0}")]
    Options(String),
    /// An error of alphabar.
    #[error(transparent)]
    Alphabar(#[from] alphabar::Error),
    /// An error of the tensor framework.
    #[error("the tensor framework failed: {0}")]
    Candle(#[from] candle_core::Error),
}

impl Trouble {
    /// The error of writing to `path`, for `map_err`.
    pub fn writing(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Write { path, source }
    }
}

/// A result with [`Trouble`].
pub type Result<T, E = Trouble> = std::result::Result<T, E>;
