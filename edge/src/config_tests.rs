//! Which settings are taken and which are refused.

use super::*;
use std::collections::HashMap;

pub fn local() -> HashMap<&'static str, String> {
    HashMap::from([
        ("ENVIRONMENT", "local".to_owned()),
        ("SUPABASE_URL", "http://127.0.0.1:54321/".to_owned()),
        ("ANON_KEY", "anon".to_owned()),
        ("SERVICE_ROLE_KEY", "service".to_owned()),
        ("JWT_SECRET", "j".repeat(32)),
        ("NAMES_SECRET", "n".repeat(32)),
        ("CODE_SECRET", "c".repeat(32)),
        ("EDGE_SECRET", "e".repeat(32)),
        ("EDGE_ADDRESS_SECRET", "a".repeat(32)),
        ("METRICS_TOKEN", "m".repeat(32)),
        (
            "HOOK_SECRET",
            "v1,whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(),
        ),
        ("SMS_PROVIDER", "inbox".to_owned()),
        ("INBOX_URL", "http://127.0.0.1:54325".to_owned()),
    ])
}

pub fn read(settings: &HashMap<&'static str, String>) -> Result<Config, String> {
    Config::read(|name| settings.get(name).cloned())
}

#[test]
fn local_settings_are_read() {
    let config = read(&local()).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.supabase_url, "http://127.0.0.1:54321");
    assert_eq!(config.jwt_issuer, "http://127.0.0.1:54321/auth/v1");
    assert_eq!(config.origins, Origins::Loopback);
    assert_eq!(config.app_url, "http://localhost:3000");
}

#[test]
fn links_begin_with_the_address_of_the_app() {
    let mut settings = local();
    settings.insert("APP_URL", "https://app.example/".to_owned());
    assert_eq!(read(&settings).unwrap().app_url, "https://app.example");
}

#[test]
fn production_refuses_a_laptop_s_settings_naming_each() {
    let mut settings = local();
    settings.insert("ENVIRONMENT", "production".to_owned());
    settings.insert("JWT_SECRET", format!("local-{}", "j".repeat(32)));
    let problems = read(&settings).err().unwrap();
    for name in [
        "SUPABASE_URL",
        "SMS_PROVIDER",
        "ALLOWED_ORIGINS",
        "APP_URL",
        "JWT_SECRET",
        "TURNSTILE_SECRET",
    ] {
        assert!(problems.contains(name), "{name}: {problems}");
    }
}

#[test]
fn missing_and_weak_secrets_are_refused_without_showing_them() {
    for name in [
        "JWT_SECRET",
        "EDGE_SECRET",
        "EDGE_ADDRESS_SECRET",
        "HOOK_SECRET",
        "METRICS_TOKEN",
        "NAMES_SECRET",
        "CODE_SECRET",
    ] {
        let mut settings = local();
        settings.insert(name, "weak-secret".to_owned());
        let problems = read(&settings).err().unwrap();
        assert!(problems.starts_with(name) && !problems.contains("weak-secret"));
        settings.remove(name);
        assert!(read(&settings).err().unwrap().contains(name));
    }
    let mut settings = local();
    settings.remove("ENVIRONMENT");
    assert!(read(&settings).is_err());
}

#[test]
fn a_real_provider_needs_its_account_and_has_one_address_in_production() {
    let mut settings = local();
    settings.insert("SMS_PROVIDER", "thaibulksms".to_owned());
    let problems = read(&settings).err().unwrap();
    for name in ["THAIBULKSMS_KEY", "THAIBULKSMS_SECRET", "SMS_SENDER"] {
        assert!(problems.contains(name), "{name}: {problems}");
    }
    settings.insert("THAIBULKSMS_KEY", "key-of-the-account".to_owned());
    settings.insert("THAIBULKSMS_SECRET", "secret-of-the-account".to_owned());
    settings.insert("SMS_SENDER", "ชื่อ".to_owned());
    assert!(read(&settings).err().unwrap().starts_with("SMS_SENDER"));
    settings.insert("SMS_SENDER", "CarbonPix".to_owned());
    assert!(read(&settings).is_ok());
    settings.insert("SMS_URL", "http://127.0.0.1:54325/thaibulksms".to_owned());
    assert!(read(&settings).is_ok());
    settings.insert("ENVIRONMENT", "production".to_owned());
    let problems = read(&settings).err().unwrap();
    assert!(problems.contains("SMS_URL"), "{problems}");
    assert!(!problems.contains("of-the-account"), "{problems}");
    settings.remove("SMS_URL");
    assert!(!read(&settings).err().unwrap().contains("SMS_"));
}

#[test]
fn production_lifts_no_limits_and_knows_no_test_number_that_is_not_named_twice() {
    let mut settings = local();
    for (name, value) in [
        ("NO_LIMITS", "true"),
        ("TEST_PHONE", "0812345678"),
        ("TEST_CODE", "123456"),
        ("TURNSTILE_SECRET", "secret"),
        ("TURNSTILE_URL", "http://127.0.0.1:1"),
        ("OPERATOR_TOKENS", &format!("local:{}", "0".repeat(64))),
    ] {
        settings.insert(name, value.to_owned());
    }
    let config = read(&settings).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(config.no_limits && config.turnstile.is_some() && config.operators.is_some());
    assert_eq!(config.test_number.unwrap().phone, "+66812345678");
    settings.insert("ENVIRONMENT", "production".to_owned());
    let problems = read(&settings).err().unwrap();
    for name in [
        "NO_LIMITS",
        "TEST_PHONE",
        "TURNSTILE_URL",
        "OPERATOR_TOKENS",
    ] {
        assert!(problems.contains(name), "{name}: {problems}");
    }
    settings.insert("ALLOW_TEST_PHONE", "0812345678".to_owned());
    assert!(!read(&settings).err().unwrap().contains("TEST_PHONE"));
}

#[test]
fn settings_that_are_no_numbers_or_codes_are_refused() {
    for (name, value) in [
        ("SMS_BUDGET_PER_DAY", "many"),
        ("TEST_CODE", "12345"),
        ("TEST_PHONE", "021234567"),
        ("NO_LIMITS", "yes"),
    ] {
        let mut settings = local();
        settings.insert("TEST_PHONE", "0812345678".to_owned());
        settings.insert("TEST_CODE", "123456".to_owned());
        settings.insert(name, value.to_owned());
        assert!(read(&settings).err().unwrap().contains(name), "{name}");
    }
    assert_eq!(read(&local()).ok().unwrap().sms_budget_per_day, 2_000);
}

#[test]
fn a_key_of_codes_may_be_followed_by_the_one_it_replaces() {
    let with = |value: String| {
        let mut settings = local();
        settings.insert("CODE_SECRET", value);
        read(&settings)
    };
    let (new, old) = ("n".repeat(32), "o".repeat(32));
    assert!(with(format!("{new}|{old}")).is_ok());
    for bad in [
        format!("{new}|"),
        format!("{new}|weak"),
        format!("{new}|{old}|{old}"),
    ] {
        let problems = with(bad).err().unwrap();
        assert!(problems.starts_with("CODE_SECRET") && !problems.contains("weak"));
    }
    let mut settings = local();
    settings.insert("ENVIRONMENT", "production".to_owned());
    settings.insert("CODE_SECRET", format!("{new}|local-{old}"));
    settings.insert("NAMES_SECRET", format!("local-{old}"));
    let problems = read(&settings).err().unwrap();
    assert!(problems.contains("CODE_SECRET was made for local use"));
    assert!(problems.contains("NAMES_SECRET was made for local use"));
}

#[test]
fn each_operator_has_a_name_and_two_tokens_at_most() {
    let digest = |digit: &str| digit.repeat(64);
    let with = |value: String| {
        let mut settings = local();
        settings.insert("OPERATOR_TOKENS", value);
        read(&settings)
    };
    let two = format!(
        "nok:{}, nok:{},dao.p:{}",
        digest("a"),
        digest("b"),
        digest("c")
    );
    let operators = with(two).ok().unwrap().operators.unwrap();
    let names: Vec<&str> = operators.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["nok", "nok", "dao.p"]);
    assert_eq!(operators[0].digest, [0xAA; 32]);
    for bad in [
        "nok".to_owned(),
        format!("nok:{}", "a".repeat(63)),
        format!("nok:{}", "g".repeat(64)),
        format!("Nok:{}", digest("a")),
        format!(":{}", digest("a")),
        format!("{}:{}", "n".repeat(41), digest("a")),
        format!("nok:{},", digest("a")),
        format!("nok:{0},nok:{0},nok:{0}", digest("a")),
    ] {
        let problems = with(bad.clone()).err().unwrap();
        assert!(problems.starts_with("OPERATOR_TOKENS"), "{bad}: {problems}");
    }
}

#[test]
fn an_app_s_own_scheme_may_be_listed() {
    for origin in [
        "https://app.example",
        "https://app.example:8443",
        "https://localhost",
        "capacitor://localhost",
        "ionic://localhost",
        "tauri://localhost",
        "com.example.carbon://app",
    ] {
        assert!(is_listable(origin, Environment::Production), "{origin}");
    }
    for origin in [
        "",
        "*",
        "null",
        "capacitor:",
        "capacitor://",
        "capacitor://localhost/",
        "capacitor://local host",
        "Capacitor://localhost",
        "https://app.example/",
        "https://app.example/a",
        "https://a@app.example",
        "https://*.example",
        "https://app.example:port",
        "http://app.example",
        "file://disk",
        "1app://localhost",
    ] {
        assert!(!is_listable(origin, Environment::Production), "{origin}");
    }
    assert!(is_listable("http://localhost:5173", Environment::Local));
    assert!(is_listable("http://[::1]:5173", Environment::Local));
    let list = Origins::List(vec!["capacitor://localhost".to_owned()]);
    assert!(list.allow("capacitor://localhost") && !list.allow("ionic://localhost"));
}

#[test]
fn origins_are_compared_exactly() {
    let list = Origins::List(vec!["https://app.example".to_owned()]);
    assert!(list.allow("https://app.example"));
    for origin in ["https://app.example.evil", "http://app.example", "null", ""] {
        assert!(!list.allow(origin), "{origin}");
    }
    assert!(Origins::Loopback.allow("http://localhost:5173"));
    assert!(Origins::Loopback.allow("http://127.0.0.1"));
    for origin in [
        "http://localhost.evil",
        "http://localhost:80.evil",
        "https://x",
    ] {
        assert!(!Origins::Loopback.allow(origin), "{origin}");
    }
}

#[test]
fn names_of_senders_are_short_and_latin() {
    for good in ["CarbonPix", "OTP_SMS", "A-b.", "Elevenchars"] {
        assert!(is_sender(good), "{good}");
    }
    for bad in ["", "abc", "TwelveLetter", "has space", "รหัส", "a+b+c"] {
        assert!(!is_sender(bad), "{bad}");
    }
}

#[test]
fn an_account_s_key_and_secret_are_sent_by_basic_authentication() {
    let account = ThaiBulkSms::new(
        "http://127.0.0.1:1".to_owned(),
        "key",
        "secret",
        "CarbonPix".to_owned(),
    );
    assert_eq!(account.authorization, "Basic a2V5OnNlY3JldA==");
}

#[test]
fn a_moderation_service_has_a_secure_address_and_a_key() {
    let config = read(&local()).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(config.moderation.is_none());
    let mut settings = local();
    settings.insert("MODERATION_URL", "ftp://moderation.example".to_owned());
    let problems = read(&settings).err().unwrap();
    for name in ["MODERATION_URL", "MODERATION_KEY"] {
        assert!(problems.contains(name), "{name}: {problems}");
    }
    settings.insert("MODERATION_URL", "https://moderation.example/v1".to_owned());
    settings.insert("MODERATION_KEY", "key".to_owned());
    let config = read(&settings).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(
        config.moderation.map(|service| service.url).as_deref(),
        Some("https://moderation.example/v1")
    );
}
