//! Measures a case on demand, for a script that measures other programs in between.
//!
//! Reads lines "size;case" and answers each with the seconds per call.

use std::collections::HashMap;
use std::io::{BufRead, Write, stdin, stdout};

use alphabar::BoxError;
use alphabar_peers::{Case, SIZES, cases, repetitions};

fn main() -> Result<(), BoxError> {
    let mut sets: HashMap<String, (usize, Vec<Case>)> = HashMap::new();
    for line in stdin().lock().lines() {
        let line = line?;
        let (size, name) = line.split_once(';').ok_or("a line must have the form size;case")?;
        let (_, rows, len) = SIZES.iter().find(|(known, ..)| *known == size).ok_or("unknown size")?;
        if !sets.contains_key(size) {
            // Only one size is held at a time, as in the script.
            sets.clear();
            sets.insert(size.to_owned(), (repetitions(rows * len), cases(*rows, *len)?));
        }
        let (repetitions, set) = sets.get_mut(size).ok_or("unknown size")?;
        let case = set.iter_mut().find(|case| case.name == name).ok_or("unknown case")?;
        println!("{:e}", case.seconds(*repetitions)?);
        stdout().flush()?;
    }
    Ok(())
}
