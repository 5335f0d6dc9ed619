//! Saved weights: from a file, or those in the program.

use std::borrow::Cow;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::data::hex;
use crate::store::{self, Saved};
use crate::trouble::{Result, Trouble};

/// The bytes of a file of weights.
#[derive(Clone, Debug)]
pub struct Weights {
    name: String,
    bytes: Cow<'static, [u8]>,
    fingerprint: String,
}

impl Weights {
    /// The weights of the network: from `path`, or those in the program.
    pub fn network(path: Option<&Path>) -> Result<Self> {
        Self::of(path, "train", include_bytes!("../weights/ema.safetensors"))
    }

    /// The weights of the classifier: from `path`, or those in the program.
    pub fn classifier(path: Option<&Path>) -> Result<Self> {
        Self::of(path, "classifier", include_bytes!("../weights/classifier.safetensors"))
    }

    fn of(path: Option<&Path>, command: &'static str, own: &'static [u8]) -> Result<Self> {
        let (name, bytes) = match path {
            None => ("the program".to_owned(), Cow::Borrowed(own)),
            Some(path) => match std::fs::read(path) {
                Ok(bytes) => (path.display().to_string(), Cow::Owned(bytes)),
                Err(source) => return Err(Trouble::NoWeights { path: path.to_owned(), command, source }),
            },
        };
        let fingerprint = hex(&Sha256::digest(&bytes)[..4]);
        Ok(Self { name, bytes, fingerprint })
    }

    /// The first digits of the hash of the weights.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The tensors, and the words about them.
    pub fn open(&self) -> Result<Saved> {
        store::load_tensors(&self.bytes).map_err(|what| self.bad(what))
    }

    /// The error that these weights cannot be used, and why.
    #[must_use]
    pub fn bad(&self, what: String) -> Trouble {
        Trouble::BadWeights { name: self.name.clone(), what }
    }
}
