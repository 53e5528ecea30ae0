//! Turns the API's description into the JSON that the Worker serves, without what only people need.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

const DESCRIPTION: &str = "openapi.yaml";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={DESCRIPTION}");
    let yaml = fs::read_to_string(DESCRIPTION)?;
    let description: serde_json::Value = serde_saphyr::from_str(&yaml)?;
    let out = env::var("OUT_DIR")?;
    fs::write(
        Path::new(&out).join("openapi.json"),
        description.to_string(),
    )?;
    Ok(())
}
