//! Makes of the API's description what the Worker serves, and names the release.
//!
//! The description becomes a JavaScript module beside the wasm, not bytes within it: every isolate
//! loads the wasm, hardly anybody asks for the description.

use std::collections::hash_map::DefaultHasher;
use std::error::Error;
use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::{env, fs};

const DESCRIPTION: &str = "openapi.yaml";

/// What answers are made by: when it changes, what clients cache may be out of date.
const SOURCES: [&str; 3] = ["src", "../domain/src", "../domain/data"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={DESCRIPTION}");
    let yaml = fs::read_to_string(DESCRIPTION)?;
    let description: serde_json::Value = serde_saphyr::from_str(&yaml)?;
    let json = description.to_string();
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("openapi.json"), &json)?;
    fs::write(out.join("description.rs"), module(&json)?)?;

    let mut hasher = DefaultHasher::new();
    hasher.write(json.as_bytes());
    for folder in SOURCES {
        println!("cargo:rerun-if-changed={folder}");
        add_folder(&mut hasher, Path::new(folder))?;
    }
    println!("cargo:rustc-env=RELEASE={:016x}", hasher.finish());
    Ok(())
}

/// The Rust declaration of a JavaScript function that returns the text.
fn module(text: &str) -> Result<String, Box<dyn Error>> {
    // JSON's texts are also JavaScript's, and Rust's debug form is a literal of Rust's.
    let script = format!(
        "export function description() {{ return {}; }}",
        serde_json::to_string(text)?
    );
    Ok(format!(
        "#[wasm_bindgen::prelude::wasm_bindgen(inline_js = {script:?})]\nextern \"C\" {{ fn description() -> String; }}\n"
    ))
}

fn add_folder(hasher: &mut DefaultHasher, folder: &Path) -> Result<(), Box<dyn Error>> {
    let entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    let mut paths: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            add_folder(hasher, &path)?;
        } else {
            hasher.write(&fs::read(path)?);
        }
    }
    Ok(())
}
