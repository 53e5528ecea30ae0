//! Which settings of social sign-in are taken and which are refused.

use super::tests::{local, read};
use super::*;
use std::collections::HashMap;

const PEM: &str = "-----BEGIN PRIVATE KEY-----\nAAEC\nAwQF\n-----END PRIVATE KEY-----\n";

fn complete() -> HashMap<&'static str, String> {
    let mut settings = local();
    for (name, value) in [
        ("LINE_CHANNEL_ID", "1650000000"),
        ("LINE_CHANNEL_SECRET", "0123456789abcdef0123456789abcdef"),
        ("LINE_REDIRECT_URIS", "https://app.example/line"),
        ("FACEBOOK_APP_ID", "2650000000"),
        ("FACEBOOK_APP_SECRET", "0123456789abcdef0123456789abcdef"),
        ("GOOGLE_CLIENT_IDS", "web.example, android.example,"),
        ("APPLE_CLIENT_IDS", "example.app,example.app.web"),
        ("APPLE_TEAM_ID", "TEAM000001"),
        ("APPLE_KEY_ID", "KEY0000001"),
        ("APPLE_PRIVATE_KEY", PEM),
        ("APPLE_TOKEN_SECRET", "0123456789abcdef0123456789abcdef"),
    ] {
        settings.insert(name, value.to_owned());
    }
    settings
}

fn good(settings: &HashMap<&'static str, String>) -> Config {
    read(settings).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn a_provider_s_name_finds_it() {
    for provider in Provider::ALL {
        assert_eq!(Provider::from_name(provider.name()), Some(provider));
        assert!(!provider.issuers().is_empty());
    }
    for name in ["", "LINE", "twitter"] {
        assert_eq!(Provider::from_name(name), None, "{name}");
    }
}

#[test]
fn without_its_id_a_provider_is_not_configured() {
    let social = good(&local()).social;
    assert!(social.line.is_none() && social.facebook.is_none());
    assert!(social.google.is_none() && social.apple.is_none());
}

#[test]
fn complete_settings_are_read_with_the_providers_own_addresses() {
    let social = good(&complete()).social;
    let line = social.line.unwrap();
    assert_eq!(line.channel_id(), "1650000000");
    assert_eq!(line.keys_url, "https://api.line.me/oauth2/v2.1/certs");
    assert_eq!(line.redirect_uris, ["https://app.example/line"]);
    let google = social.google.unwrap();
    assert_eq!(google.client_ids, ["web.example", "android.example"]);
    assert_eq!(social.facebook.unwrap().app_id(), "2650000000");
    let apple = social.apple.unwrap();
    assert_eq!(apple.private_key, [0, 1, 2, 3, 4, 5]);
    assert_eq!((apple.token_keys.len(), apple.client_ids.len()), (1, 2));
}

#[test]
fn a_key_is_read_without_its_first_and_last_line_too() {
    let mut settings = complete();
    settings.insert("APPLE_PRIVATE_KEY", "AAECAwQF".to_owned());
    assert_eq!(
        good(&settings).social.apple.unwrap().private_key,
        [0, 1, 2, 3, 4, 5]
    );
    settings.insert("APPLE_PRIVATE_KEY", "no key".to_owned());
    assert!(
        read(&settings)
            .err()
            .unwrap()
            .starts_with("APPLE_PRIVATE_KEY")
    );
}

#[test]
fn half_a_provider_is_refused_naming_what_is_missing() {
    for name in [
        "LINE_CHANNEL_SECRET",
        "FACEBOOK_APP_SECRET",
        "APPLE_TEAM_ID",
        "APPLE_KEY_ID",
        "APPLE_PRIVATE_KEY",
        "APPLE_TOKEN_SECRET",
    ] {
        let mut settings = complete();
        settings.remove(name);
        assert!(read(&settings).err().unwrap().starts_with(name), "{name}");
    }
    let mut settings = complete();
    settings.insert("LINE_CHANNEL_ID", "one,two".to_owned());
    assert!(
        read(&settings)
            .err()
            .unwrap()
            .starts_with("LINE_CHANNEL_ID")
    );
}

#[test]
fn local_issuers_replace_all_addresses_and_never_in_production() {
    let mut settings = complete();
    settings.insert("PROVIDERS_URL", "http://127.0.0.1:1/providers/".to_owned());
    settings.insert("LINE_REDIRECT_URIS", "http://localhost:1/line".to_owned());
    settings.insert("GOOGLE_CLIENT_IDS", "local-web".to_owned());
    let social = good(&settings).social;
    let apple = social.apple.unwrap();
    assert_eq!(
        apple.revoke_url,
        "http://127.0.0.1:1/providers/apple/revoke"
    );
    settings.insert("ENVIRONMENT", "production".to_owned());
    let problems = read(&settings).err().unwrap();
    for name in ["PROVIDERS_URL", "LINE_REDIRECT_URIS", "GOOGLE_CLIENT_IDS"] {
        assert!(problems.contains(name), "{name}: {problems}");
    }
    for name in ["FACEBOOK", "APPLE"] {
        assert!(!problems.contains(name), "{name}: {problems}");
    }
}
