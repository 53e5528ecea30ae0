//! `/api` of the inbox: the description of the HTTP API as a page to read, rendered in the browser by Redoc.
//!
//! Files are read for each request, so an edited description shows after a reload. Nothing is fetched from elsewhere.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::{Html, IntoResponse};
use axum::routing::get;

use crate::settings::Settings;

/// Scripts and styles of the page itself only: Redoc would otherwise load its maker's logo.
const POLICY: &str = "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'unsafe-inline'; \
                      img-src 'self' data:; font-src data:; worker-src blob:; connect-src 'self'";

const PAGE: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
    <meta name=\"viewport\" content=\"width=device-width\"><title>Carbon-Pixels API</title>\
    <style>body{margin:0}a[href^='https://redocly.com']{display:none}</style>\
    <div id=\"page\"></div><script src=\"/api/redoc.js\"></script>\
    <script>Redoc.init('/api/openapi.yaml', {hideDownloadButtons: true}, document.getElementById('page'))</script>";

/// Where the files are; a path that is not set has no file.
struct Files {
    description: Option<PathBuf>,
    redoc: Option<PathBuf>,
}

/// The page, the description and the script. `OPENAPI_FILE` and `REDOC_FILE` name the files.
pub fn router(settings: &Settings) -> Router {
    let files = Files {
        description: settings.text("OPENAPI_FILE").map(PathBuf::from),
        redoc: settings.text("REDOC_FILE").map(PathBuf::from),
    };
    Router::new()
        .route("/api", get(page))
        .route("/api/openapi.yaml", get(description))
        .route("/api/redoc.js", get(redoc))
        .with_state(Arc::new(files))
}

async fn page() -> Response<Body> {
    let mut response = Html(PAGE).into_response();
    response.headers_mut().insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(POLICY),
    );
    response
}

async fn description(State(files): State<Arc<Files>>) -> Response<Body> {
    file(files.description.as_ref(), "application/yaml")
}

async fn redoc(State(files): State<Arc<Files>>) -> Response<Body> {
    file(files.redoc.as_ref(), "text/javascript; charset=utf-8")
}

fn file(path: Option<&PathBuf>, content_type: &'static str) -> Response<Body> {
    match path.map(std::fs::read) {
        Some(Ok(bytes)) => ([(header::CONTENT_TYPE, content_type)], bytes).into_response(),
        _ => (
            StatusCode::NOT_FOUND,
            "not there: `cargo xtask up` installs it",
        )
            .into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_page_shows_the_description_with_a_script_of_its_own() {
        let path = std::env::temp_dir().join(format!("openapi-{}.yaml", uuid::Uuid::new_v4()));
        std::fs::write(&path, "openapi: 3.1.0\n").unwrap();
        let files = Arc::new(Files {
            description: Some(path.clone()),
            redoc: None,
        });
        let page = page().await;
        let policy = &page.headers()[header::CONTENT_SECURITY_POLICY];
        assert!(policy.to_str().unwrap().starts_with("default-src 'none'"));
        assert!(PAGE.contains("/api/redoc.js") && PAGE.contains("/api/openapi.yaml"));
        let answer = description(State(files.clone())).await;
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/yaml");
        assert_eq!(redoc(State(files)).await.status(), StatusCode::NOT_FOUND);
        std::fs::remove_file(path).unwrap();
    }
}
