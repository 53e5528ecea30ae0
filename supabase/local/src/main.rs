//! Local stand-ins for the parts of the system that no package registry carries.
//!
//! `carbon-local auth` has the tables and the behaviour of Supabase Auth, `carbon-local realtime` brings
//! what the database sends to its listeners, `carbon-local gateway` is the origin's public interface (keys, routes,
//! the Worker's secret) and `carbon-local inbox` shows the messages that would have been sent. None of them
//! is part of a production build, and each of them refuses to start there.

mod api_page;
mod auth;
mod counter;
mod gateway;
mod inbox;
mod json;
mod outbound;
mod providers;
mod realtime;
mod serve;
mod settings;

use settings::Settings;
use std::process::ExitCode;

const USAGE: &str =
    "usage: carbon-local auth | realtime | gateway | inbox (settings come from the environment)";

#[tokio::main]
async fn main() -> ExitCode {
    let Some(name) = std::env::args().nth(1) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match run(&name, &Settings::from_environment()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("carbon-local {name}: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn run(name: &str, settings: &Settings) -> Result<(), String> {
    if settings.text("ENVIRONMENT") == Some("production") {
        return Err(
            "refuses to run with ENVIRONMENT=production: use the real Supabase services there"
                .into(),
        );
    }
    match name {
        "auth" => auth::run(settings).await,
        "gateway" => gateway::run(settings).await,
        "realtime" => realtime::run(settings).await,
        "inbox" => inbox::run(settings).await,
        _ => Err(format!("unknown subcommand. {USAGE}")),
    }
}
