//! `/openapi.json`: the description of this API, for generators of clients.

use crate::error::ApiError;
use crate::http::call::Call;
use crate::http::reply::{Caching, Reply};

// `openapi.yaml` as JSON, made when the Worker is built; in a JavaScript module beside the wasm.
#[cfg(target_arch = "wasm32")]
include!(concat!(env!("OUT_DIR"), "/description.rs"));

/// The same where there is no JavaScript.
#[cfg(not(target_arch = "wasm32"))]
fn description() -> String {
    include_str!(concat!(env!("OUT_DIR"), "/openapi.json")).to_owned()
}

/// The description changes with a release; an hour later everybody has the new one.
const MAX_AGE_SECS: u32 = 3_600;

/// `GET /openapi.json`: OpenAPI 3.1, outside the envelope, because generators read it.
pub async fn openapi(_: &Call) -> Result<Reply, ApiError> {
    Ok(Reply::raw(&description())
        .cached(Caching::Public(MAX_AGE_SECS))
        .tagged("description".to_owned()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use carbon_domain::province;
    use carbon_domain::waste::current;
    use serde_json::Value;

    use crate::router::{Access, ROUTES};

    const METHODS: [&str; 8] = [
        "get", "put", "post", "delete", "options", "head", "patch", "trace",
    ];

    fn description() -> Value {
        serde_json::from_str(&super::description()).unwrap()
    }

    /// Every operation as "METHOD path" with its description.
    fn operations(description: &Value) -> Vec<(String, &Value)> {
        let mut found = Vec::new();
        for (path, item) in description["paths"].as_object().unwrap() {
            for method in METHODS {
                if let Some(operation) = item.get(method) {
                    found.push((format!("{} {path}", method.to_uppercase()), operation));
                }
            }
        }
        found
    }

    fn words<'a>(list: impl IntoIterator<Item = &'a Value>) -> BTreeSet<&'a str> {
        list.into_iter().filter_map(Value::as_str).collect()
    }

    #[test]
    fn it_describes_the_routes_there_are_and_no_others() {
        let description = description();
        let described: BTreeSet<String> = operations(&description)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let routes: BTreeSet<String> = ROUTES
            .iter()
            .map(|route| format!("{} {}", route.method, route.pattern))
            .collect();
        assert_eq!(described, routes);
    }

    #[test]
    fn it_asks_for_a_token_where_the_routes_do() {
        let description = description();
        let operations = operations(&description);
        for route in ROUTES {
            let name = format!("{} {}", route.method, route.pattern);
            let (_, operation) = operations.iter().find(|(n, _)| *n == name).unwrap();
            let security = operation
                .get("security")
                .unwrap_or(&description["security"])
                .as_array()
                .unwrap();
            let bearer = security.iter().any(|way| way.get("bearer").is_some());
            let free = security.iter().any(|way| way.get("bearer").is_none());
            let access = match (bearer, free) {
                (true, false) => Access::User,
                (true, true) => Access::Optional,
                _ => Access::Anyone,
            };
            assert_eq!(access, route.access, "{name}");
            assert_eq!(
                operation["responses"].get("401").is_some(),
                bearer
                    || ["/hooks/", "/operator/"]
                        .iter()
                        .any(|area| route.pattern.starts_with(area))
                    || {
                        ["/auth/verify-otp", "/auth/refresh", "/metrics"].contains(&route.pattern)
                    },
                "{name}"
            );
        }
    }

    #[test]
    fn operations_have_names_of_their_own_and_say_what_they_answer() {
        let description = description();
        let mut names = BTreeSet::new();
        for (name, operation) in operations(&description) {
            let id = operation["operationId"].as_str().unwrap();
            assert!(names.insert(id), "{id} twice");
            assert!(operation["summary"].is_string(), "{name}");
            for status in ["405", "500"] {
                assert!(operation["responses"].get(status).is_some(), "{name}");
            }
        }
    }

    #[test]
    fn categories_methods_and_provinces_are_those_of_the_domain() {
        let description = description();
        let schemas = &description["components"]["schemas"];
        let listed = |name: &str| words(schemas[name]["enum"].as_array().unwrap());
        let categories = &current().categories;
        assert_eq!(
            listed("CategoryId"),
            categories.iter().map(|c| c.id).collect()
        );
        let methods = categories.iter().flat_map(|c| c.methods.iter());
        assert_eq!(listed("MethodId"), methods.map(|m| m.id).collect());
        assert_eq!(
            listed("Province"),
            province::all()
                .iter()
                .map(|province| province.iso)
                .collect()
        );
        let pairs = schemas["EntryIn"]["oneOf"].as_array().unwrap();
        assert_eq!(pairs.len(), categories.len());
        for pair in pairs {
            let pair = &pair["properties"];
            let id = pair["category_id"]["const"].as_str().unwrap();
            let methods = pair["disposal_method"]["enum"].as_array().unwrap();
            let category = current().category(id).unwrap();
            assert_eq!(
                words(methods),
                category.methods.iter().map(|method| method.id).collect()
            );
        }
    }
}
