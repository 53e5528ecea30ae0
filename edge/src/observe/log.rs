//! What the operator sees: one line of JSON for each request. Never bodies, tokens, codes or full
//! phone numbers.

use serde_json::{Value, json};

pub struct FinishedRequest<'a> {
    pub request_id: &'a str,
    pub method: &'a str,
    /// The route's pattern, not its path, which may name people and things.
    pub route: &'a str,
    pub status: u16,
    /// How long it took (the runtime's clock stands still between calls to the outside).
    pub milliseconds: i64,
    /// The envelope's code, if it failed.
    pub code: Option<&'a str>,
    /// What only the log may say.
    pub internal: Option<&'a str>,
}

/// The line for a request.
pub fn line(finished: &FinishedRequest) -> String {
    let level = if finished.status >= 500 {
        "error"
    } else {
        "info"
    };
    let mut line = json!({
        "level": level,
        "event": "request",
        "request_id": finished.request_id,
        "method": finished.method,
        "route": finished.route,
        "status": finished.status,
        "ms": finished.milliseconds,
    });
    if let Some(code) = finished.code {
        line["code"] = Value::from(code);
    }
    if let Some(internal) = finished.internal {
        line["internal"] = Value::from(mask_numbers(internal));
    }
    line.to_string()
}

/// The line for something that happened outside a request's answer.
pub fn event_line(level: &str, event: &str, request_id: &str, what: &str) -> String {
    json!({"level": level, "event": event, "request_id": request_id, "what": mask_numbers(what)})
        .to_string()
}

/// Replaces runs of six digits and more (codes, phone numbers) by stars, so that no library's error
/// text can carry them into a log.
fn mask_numbers(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut run = String::new();
    for character in text.chars().chain(std::iter::once('\0')) {
        if character.is_ascii_digit() {
            run.push(character);
            continue;
        }
        let long = run.len() >= 6;
        masked.push_str(if long { "******" } else { &run });
        run.clear();
        masked.push(character);
    }
    masked.pop();
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phones_and_codes_are_masked() {
        assert_eq!(mask_numbers("to +66812345678: 503"), "to +******: 503");
        assert_eq!(mask_numbers("code 123456"), "code ******");
        assert_eq!(mask_numbers("PT404 12345 ไทย"), "PT404 12345 ไทย");
        assert_eq!(mask_numbers(""), "");
    }

    #[test]
    fn a_line_is_json_with_the_route_and_no_path() {
        let text = line(&FinishedRequest {
            request_id: "r",
            method: "GET",
            route: "/waste/entries/{id}",
            status: 503,
            milliseconds: 12,
            code: Some("SERVICE_UNAVAILABLE"),
            internal: Some("rpc x: no answer in time"),
        });
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["level"], "error");
        assert_eq!(line["route"], "/waste/entries/{id}");
        assert_eq!(line["internal"], "rpc x: no answer in time");
    }
}
