//! x
use crate::settings::Settings;
pub async fn run(_: &Settings) -> Result<(), String> {
    Ok(())
}
