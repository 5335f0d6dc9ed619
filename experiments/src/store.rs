//! Files that are either complete or do not exist: written under a temporary name, flushed, and renamed.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use crate::trouble::{Result, Trouble};

/// The entry of a file's header that holds the words.
const WORDS: &str = "alphabar";

/// Tensors by name, and words (text entries) about them.
pub type Saved = (HashMap<String, Tensor>, HashMap<String, String>);

/// Writes a file in one piece. After a kill or on a full disk, the old file is unchanged.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    // Processes of several machines may share a folder, and may have equal process numbers.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let temporary = path.with_extension(format!("{}-{now}.tmp", std::process::id()));
    let attempt = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = File::create_new(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    attempt().map_err(|source| {
        // An incomplete file is useless, and its space may be needed.
        let _ = fs::remove_file(&temporary);
        Trouble::Write { path: path.to_owned(), source }
    })
}

/// Saves named tensors and words as safetensors, in `f32` or, for smaller files, in `f16`.
pub fn save_tensors(
    path: &Path,
    tensors: &[(String, Tensor)],
    dtype: DType,
    words: impl IntoIterator<Item = (String, String)>,
) -> Result<()> {
    let mut parts = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let flat = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let (dtype, bytes): (_, Vec<u8>) = match dtype {
            DType::F16 => {
                (Dtype::F16, flat.iter().flat_map(|&value| half::f16::from_f32(value).to_le_bytes()).collect())
            }
            _ => (Dtype::F32, flat.iter().flat_map(|value| value.to_le_bytes()).collect()),
        };
        let largest = if dtype == Dtype::F16 { half::f16::MAX.to_f32() } else { f32::MAX };
        if !flat.iter().all(|value| value.abs() <= largest) {
            return Err(Trouble::Options(format!("{name} holds numbers that cannot be saved; try a smaller --rate")));
        }
        parts.push((name, tensor.dims().to_vec(), dtype, bytes));
    }
    let bad = |error: safetensors::SafeTensorError| Trouble::BadWeights {
        name: path.display().to_string(),
        what: error.to_string(),
    };
    let views = parts
        .iter()
        .map(|(name, shape, dtype, bytes)| Ok((name, TensorView::new(*dtype, shape.clone(), bytes).map_err(bad)?)))
        .collect::<Result<Vec<_>>>()?;
    // One entry for all words, because the order of a hash map is random: equal runs must give equal bytes.
    let words: BTreeMap<String, String> = words.into_iter().collect();
    let words = serde_json::to_string(&words).map_err(|error| Trouble::Options(error.to_string()))?;
    let words = HashMap::from([(WORDS.to_owned(), words)]);
    write(path, &safetensors::serialize(views, Some(words)).map_err(bad)?)
}

/// The tensors that [`save_tensors`] wrote, in `f32`, and the words.
pub fn load_tensors(bytes: &[u8]) -> Result<Saved, String> {
    let message = |error: safetensors::SafeTensorError| error.to_string();
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(message)?;
    let words =
        header.metadata().as_ref().and_then(|entries| entries.get(WORDS)).ok_or("this program did not write it")?;
    let words = serde_json::from_str(words).map_err(|error| error.to_string())?;
    let file = SafeTensors::deserialize(bytes).map_err(message)?;
    let mut tensors = HashMap::new();
    for (name, view) in file.iter() {
        let values: Vec<f32> = match view.dtype() {
            Dtype::F16 => {
                view.data().as_chunks().0.iter().map(|&bytes| half::f16::from_le_bytes(bytes).to_f32()).collect()
            }
            Dtype::F32 => view.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
            other => return Err(format!("{name} has elements of type {other:?}")),
        };
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(format!("{name} holds {value}"));
        }
        let tensor = Tensor::from_vec(values, view.shape(), &Device::Cpu).map_err(|error| error.to_string())?;
        tensors.insert(name.to_owned(), tensor);
    }
    Ok((tensors, words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_fails_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        // Nothing can be moved into the place of a folder that is not empty.
        let path = folder.path().join("kept");
        write(&path.join("inside"), b"old").unwrap();
        let error = write(&path, b"new").unwrap_err().to_string();
        assert!(error.contains("untouched"), "{error}");
        assert_eq!(fs::read(path.join("inside")).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_full_disk_is_a_sentence() {
        // The kernel's own full disk.
        if Path::new("/dev/full").exists() {
            let error = File::options().write(true).open("/dev/full").unwrap().write_all(b"x").unwrap_err();
            let message = Trouble::Write { path: "out".into(), source: error }.to_string();
            assert!(message.contains("No space left") && message.contains("goes on from it"), "{message}");
        }
    }

    #[test]
    fn tensors_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.safetensors");
        let tensor = Tensor::new(&[[1.0_f32, -2.5], [0.0, 3.0]], &Device::Cpu).unwrap();
        let words = HashMap::from([("seed".to_owned(), "7".to_owned())]);
        for dtype in [DType::F16, DType::F32] {
            save_tensors(&path, &[("w".to_owned(), tensor.clone())], dtype, words.clone()).unwrap();
            let (found, found_words) = load_tensors(&fs::read(&path).unwrap()).unwrap();
            assert_eq!(found["w"].to_vec2::<f32>().unwrap(), tensor.to_vec2::<f32>().unwrap());
            assert_eq!(found_words, words);
        }
    }

    #[test]
    fn corrupt_tensors_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.safetensors");
        let save = |values: [f32; 2], dtype| {
            let tensor = Tensor::new(&values, &Device::Cpu).unwrap();
            save_tensors(&path, &[("w".to_owned(), tensor)], dtype, HashMap::new())
        };
        assert!(save([1.0, f32::NAN], DType::F32).unwrap_err().to_string().contains("w holds"));
        assert!(save([1.0, 1e5], DType::F16).unwrap_err().to_string().contains("w holds"));
        assert!(!path.exists());
        save([1.0, 1e5], DType::F32).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        for end in [0, 7, 20, bytes.len() - 1] {
            assert!(load_tensors(&bytes[..end]).is_err(), "{end}");
        }
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
        assert!(load_tensors(&bytes).unwrap_err().contains("w holds NaN"));
    }
}
