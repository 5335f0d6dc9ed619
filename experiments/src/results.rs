//! Numbers of a long computation, kept in a file as they come.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::store;
use crate::trouble::{Result, Trouble};

#[derive(Debug, Default, Serialize, Deserialize)]
struct File {
    /// What the numbers are of; others are not mixed with them.
    of: String,
    numbers: BTreeMap<String, f64>,
}

/// Numbers by their names.
#[derive(Debug)]
pub struct Results {
    path: PathBuf,
    file: File,
}

impl Results {
    /// Those of a file, or none if it is not there yet.
    pub fn open(path: &Path, of: &str) -> Result<Self> {
        let other = |what: String| Trouble::OtherResults { path: path.to_owned(), what };
        let file = match fs::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                File { of: of.to_owned(), numbers: BTreeMap::new() }
            }
            Err(error) => return Err(other(error.to_string())),
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|error| other(format!("it cannot be read: {error}")))?
            }
        };
        if file.of == of {
            Ok(Self { path: path.to_owned(), file })
        } else {
            Err(other(format!("{}, not {of}", file.of)))
        }
    }

    /// Whether the number of this name is there.
    #[must_use]
    pub fn known(&self, name: &str) -> bool {
        self.file.numbers.contains_key(name)
    }

    /// The number of this name, computed and kept unless it is there.
    pub fn get(&mut self, name: &str, compute: impl FnOnce() -> Result<f64>) -> Result<f64> {
        if let Some(&number) = self.file.numbers.get(name) {
            return Ok(number);
        }
        let number = compute()?;
        self.file.numbers.insert(name.to_owned(), number);
        let text = serde_json::to_vec_pretty(&self.file).map_err(|error| Trouble::Options(error.to_string()))?;
        store::write(&self.path, &text)?;
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_kept_and_not_mixed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.json");
        let mut results = Results::open(&path, "a").unwrap();
        assert_eq!(results.get("x", || Ok(0.1 + 0.2)).unwrap(), 0.1 + 0.2);
        drop(results);
        let mut again = Results::open(&path, "a").unwrap();
        assert_eq!(again.get("x", || panic!("computed twice")).unwrap(), 0.1 + 0.2);
        let told = Results::open(&path, "b").unwrap_err().to_string();
        assert!(told.contains("a, not b") && told.contains("delete"), "{told}");
        fs::write(&path, b"{").unwrap();
        assert!(Results::open(&path, "a").unwrap_err().to_string().contains("cannot be read"));
    }
}
