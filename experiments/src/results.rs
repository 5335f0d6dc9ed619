//! Numbers of a long computation, stored in a file as soon as they are known, and lines of tables.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::method::{METHODS, Method};
use crate::store;
use crate::trouble::{Result, Trouble};

#[derive(Debug, Default, Serialize, Deserialize)]
struct File {
    /// What the numbers belong to; numbers of other things are not mixed with them.
    of: String,
    numbers: BTreeMap<String, f64>,
}

/// Numbers by name, stored in a file.
#[derive(Debug)]
pub struct Results {
    path: PathBuf,
    file: File,
}

impl Results {
    /// Opens the numbers of a file; none if it does not exist yet.
    pub fn open(path: &Path, of: &str) -> Result<Self> {
        let mut results = Self { path: path.to_owned(), file: File { of: of.to_owned(), numbers: BTreeMap::new() } };
        results.join()?;
        Ok(results)
    }

    /// Merges the numbers of the file: another process may have added some.
    fn join(&mut self) -> Result<()> {
        let other = |what: String| Trouble::OtherResults { path: self.path.clone(), what };
        let bytes = match fs::read(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            bytes => bytes.map_err(|error| other(error.to_string()))?,
        };
        let file: File =
            serde_json::from_slice(&bytes).map_err(|error| other(format!("it cannot be read: {error}")))?;
        if file.of != self.file.of {
            return Err(other(format!("they are of {}, not of {}", file.of, self.file.of)));
        }
        self.file.numbers.extend(file.numbers);
        Ok(())
    }

    /// Whether the number with this name is known.
    #[must_use]
    pub fn known(&self, name: &str) -> bool {
        self.file.numbers.contains_key(name)
    }

    /// The number with this name. It is computed and stored if it is not known.
    pub fn get(&mut self, name: &str, compute: impl FnOnce() -> Result<f64>) -> Result<f64> {
        Ok(self.get_all([name], || Ok([compute()?]))?[0])
    }

    /// Numbers that are computed together, as [`Results::get`].
    pub fn get_all<const N: usize>(
        &mut self,
        names: [&str; N],
        compute: impl FnOnce() -> Result<[f64; N]>,
    ) -> Result<[f64; N]> {
        if names.iter().all(|name| self.known(name)) {
            return Ok(names.map(|name| self.file.numbers[name]));
        }
        let numbers = compute()?;
        self.join()?;
        for (name, number) in names.into_iter().zip(numbers) {
            if !number.is_finite() {
                return Err(Trouble::Options(format!("{name} came out as {number}")));
            }
            self.file.numbers.insert(name.to_owned(), number);
        }
        let text = serde_json::to_vec_pretty(&self.file).map_err(|error| Trouble::Options(error.to_string()))?;
        store::write(&self.path, &text)?;
        Ok(numbers)
    }
}

/// A line of a table as text: its name and its cells.
pub fn line<T>(name: &str, width: usize, cells: &[T], cell: impl Fn(&T) -> String) -> String {
    let cells: String = cells.iter().map(|value| format!("{:>12}", cell(value))).collect();
    format!("{name:>width$}{cells}\n")
}

/// The method and the S of number `index` of a table by method and S, row by row.
#[must_use]
pub fn cell_of(steps: &[usize], index: usize) -> (Method, usize) {
    (METHODS[index / steps.len()], steps[index % steps.len()])
}

/// A table with a row for each method of [`METHODS`] and a column for each S, from its numbers row by row.
pub fn by_method(steps: &[usize], numbers: &[f64], cell: impl Fn(&f64) -> String) -> String {
    let mut text = line("S", 8, steps, usize::to_string);
    for (method, row) in METHODS.iter().zip(numbers.chunks(steps.len().max(1))) {
        text += &line(&method.to_string(), 8, row, &cell);
    }
    text
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
        let mut beside = Results::open(&path, "a").unwrap();
        again.get("y", || Ok(1.0)).unwrap();
        beside.get("z", || Ok(2.0)).unwrap();
        assert!(Results::open(&path, "a").unwrap().known("y"));
        assert!(beside.get("w", || Ok(f64::NAN)).unwrap_err().to_string().contains("w came out as NaN"));
        let message = Results::open(&path, "b").unwrap_err().to_string();
        assert!(message.contains("of a, not of b") && message.contains("--out"), "{message}");
        fs::write(&path, b"{").unwrap();
        assert!(Results::open(&path, "a").unwrap_err().to_string().contains("cannot be read"));
    }
}
