//! The rooms of the crate and the doors between them: imports run one way.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The top-level module of each file, and those that it imports by `crate::`, documentation and unit tests aside.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    fn visit(folder: &Path, room: Option<&str>, found: &mut BTreeMap<String, BTreeSet<String>>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let room = room.unwrap_or(&stem).to_owned();
            if path.is_dir() {
                visit(&path, Some(&room), found);
            } else if path.extension().is_some_and(|extension| extension == "rs") && stem != "lib" {
                let text = fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]").next().unwrap();
                let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                for line in lines {
                    for part in line.split("crate::").skip(1) {
                        let name: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                        // In capitals, a name at the root: the error type alone names the levels and predictions that it tells of.
                        if name.chars().next().is_some_and(char::is_lowercase) && name != room {
                            found.entry(room.clone()).or_default().insert(name);
                        }
                    }
                }
            }
        }
    }
    let mut found = BTreeMap::new();
    visit(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), None, &mut found);
    found
}

#[test]
fn imports_run_one_way() {
    let imports = imports();
    assert!(imports.len() > 15 && imports["plan"].contains("level"), "the imports are not found: {imports:?}");
    // Rooms are taken away as long as one imports nothing that is left.
    let mut left = imports.clone();
    while let Some(room) =
        left.iter().find(|(_, of)| of.iter().all(|other| !left.contains_key(other))).map(|(room, _)| room.clone())
    {
        left.remove(&room);
    }
    assert!(left.is_empty(), "these modules import each other in a circle, or what does: {left:#?}");
}

#[test]
fn the_scalar_half_knows_no_tensor() {
    const SCALAR: [&str; 14] = [
        "coefficients",
        "dd",
        "edm",
        "error",
        "flow",
        "level",
        "path",
        "plan",
        "posterior",
        "prediction",
        "schedule",
        "solver",
        "spacing",
        "timesteps",
    ];
    const TENSOR: [&str; 9] =
        ["tensor", "noise", "normal", "predictor", "sample", "forward", "reference", "interpolate", "testing"];
    for (room, others) in imports() {
        if SCALAR.contains(&room.as_str()) {
            let beyond: Vec<_> = others.iter().filter(|other| TENSOR.contains(&other.as_str())).collect();
            assert!(beyond.is_empty(), "{room} imports {beyond:?}");
        }
    }
}
