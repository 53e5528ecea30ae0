use super::*;

#[test]
fn an_entry_reads_back_as_it_was_normalised() {
    let now = parse_instant("2024-06-01T00:00:00.1234567Z").unwrap();
    let value: Value = serde_json::from_str(
        r#"{"category_id":"food_waste","disposal_method":"composted","weight_kg":0.30000000000000004,
            "location":{"latitude":13.75630,"longitude":1.005018e2},"notes":"ก","image_id":
            "3F2504E0-4F89-11D3-9A0C-0305E82C3301","offline_id":"a","carbonCredits":1e99}"#,
    )
    .unwrap();
    let entry = EntryIn::parse(&value, now).unwrap();
    assert_eq!(entry.logged_at, now);
    let json = entry.to_json();
    assert_eq!(json["weight_kg"].to_string(), "0.3");
    assert_eq!(
        json["location"].to_string(),
        r#"{"latitude":13.7563,"longitude":100.5018}"#
    );
    assert_eq!(json["image_id"], "3f2504e0-4f89-11d3-9a0c-0305e82c3301");
    assert!(json.get("place").is_none());
    assert_eq!(EntryIn::parse(&json, now).unwrap(), entry);
}

#[test]
fn what_no_field_can_keep_is_named_and_what_is_ignored_costs_nothing() {
    let now = parse_instant("2024-06-01T00:00:00Z").unwrap();
    let read = |more: &str| {
        let entry = r#"{"category_id":"food_waste","disposal_method":"composted","weight_kg":1"#;
        EntryIn::read(&format!("{entry},{more}}}"), now)
    };
    let deep = format!("{}1{}", r#"{"a":"#.repeat(200), "}".repeat(200));
    for ignored in [r#""categoryName":"\ud83d""#, &format!(r#""meta":{deep}"#)] {
        assert!(read(ignored).is_ok(), "{ignored}");
    }
    for field in [
        "notes",
        "place",
        "device_id",
        "offline_id",
        "image_id",
        "logged_at",
        "time_zone",
    ] {
        for bad in [r#""a\ud83d""#, r#""\ude00a""#, r#""a\u0000""#, &deep] {
            let errors = read(&format!(r#""{field}":{bad}"#)).unwrap_err();
            assert_eq!(
                (errors.len(), errors[0].field.as_ref()),
                (1, field),
                "{bad}"
            );
        }
    }
    assert_eq!(
        read(r#""notes":"\ud83c\udf7e""#).unwrap().notes.as_deref(),
        Some("🍾")
    );
    for no_entry in ["", "[]", "5", &"[".repeat(1_000)] {
        let errors = EntryIn::read(no_entry, now).unwrap_err();
        assert_eq!(errors[0].error, DomainError::NotAnObject);
    }
}

#[test]
fn a_field_by_itself_is_read_as_in_an_entry() {
    use DomainError as E;
    let now = parse_instant("2024-06-01T00:00:00Z").unwrap();
    let read = |name: &str, value: &str| field(name, Some(value), now);
    let long = |chars: usize| format!("\"{}\"", "ก".repeat(chars));
    for (name, value, stored) in [
        ("category_id", "\"food_waste\"", "food_waste"),
        ("disposal_method", "\"composted\"", "composted"),
        ("weight_kg", "0.30000000000000004", "0.300"),
        (
            "logged_at",
            "\"2024-06-01T00:00:00.1234567+00\"",
            "2024-06-01T00:00:00.123456Z",
        ),
        (
            "logged_at",
            "\"2001-06-01T07:00:00+07:00\"",
            "2001-06-01T00:00:00Z",
        ),
        ("time_zone", "\"Asia/Bangkok\"", "Asia/Bangkok"),
        ("location_lat", "13.75633095", "13.756331"),
        ("location_lng", "-180", "-180"),
        ("place", "\"\"", ""),
        (
            "image_id",
            "\"3F2504E0-4F89-11D3-9A0C-0305E82C3301\"",
            "3f2504e0-4f89-11d3-9a0c-0305e82c3301",
        ),
        ("device_id", "\"d\"", "d"),
        ("offline_id", "\"o\"", "o"),
    ] {
        assert_eq!(
            read(name, value),
            Ok(Some(stored.to_owned())),
            "{name} {value}"
        );
    }
    assert!(read("notes", &long(4_000)).is_ok());
    for (name, value, error) in [
        ("category_id", "\"gold\"", E::UnknownCategory),
        ("disposal_method", "1", E::MethodNotText),
        ("weight_kg", "\"1.5\"", E::WeightNotANumber),
        ("weight_kg", "0.009", E::WeightOutOfRange),
        ("logged_at", "\"2024-06-01T00:00:00\"", E::LoggedAtInvalid),
        ("logged_at", "\"05/11/2024 08:30\"", E::LoggedAtInvalid),
        ("logged_at", "\"now\"", E::LoggedAtInvalid),
        ("logged_at", "\"0000-01-01T00:00:00Z\"", E::LoggedAtTooOld),
        ("logged_at", "\"2024-06-02T00:00:00Z\"", E::LoggedAtInFuture),
        (
            "logged_at",
            "\"2567-06-01T00:00:00Z\"",
            E::LoggedAtBuddhistEra,
        ),
        ("time_zone", "7", E::TimeZoneInvalid),
        ("location_lat", "\"13\"", E::LocationInvalid),
        ("location_lat", "90.1", E::LatitudeOutOfRange),
        ("location_lng", "181", E::LongitudeOutOfRange),
        ("notes", "5", E::NotesInvalid),
        ("notes", "\"\\ud83d\"", E::NotesInvalid),
        ("notes", &long(4_001), E::NotesTooLong),
        ("place", &long(201), E::PlaceTooLong),
        ("image_id", "\"1\"", E::ImageIdInvalid),
        ("device_id", "\"\"", E::DeviceIdInvalid),
        ("offline_id", "17", E::OfflineIdInvalid),
        ("carbon_credits", "5", E::UnknownField),
    ] {
        assert_eq!(read(name, value), Err(error), "{name} {value}");
    }
    for (name, error) in [
        ("weight_kg", Some(E::WeightRequired)),
        ("logged_at", Some(E::LoggedAtRequired)),
        ("time_zone", Some(E::TimeZoneInvalid)),
        ("category_id", Some(E::CategoryRequired)),
        ("disposal_method", Some(E::MethodRequired)),
        ("notes", None),
        ("offline_id", None),
    ] {
        let expected = error.map_or(Ok(None), Err);
        assert_eq!(field(name, None, now), expected, "{name}");
        assert_eq!(read(name, "null"), expected, "{name}");
    }
}

#[test]
fn every_field_of_an_entry_stands_in_the_list_of_fields() {
    let now = parse_instant("2024-06-01T00:00:00Z").unwrap();
    let full = r#"{"category_id":"food_waste","disposal_method":"composted","weight_kg":1,"logged_at":
        "2024-05-31T00:00:00Z","time_zone":"Asia/Tokyo","location":{"latitude":1,"longitude":2},"notes":"a","place":"b",
        "image_id":"3f2504e0-4f89-11d3-9a0c-0305e82c3301","device_id":"c","offline_id":"d"}"#;
    let entry = EntryIn::read(full, now).unwrap().to_json();
    let mut fields: Vec<&str> = ENTRY_FIELDS.to_vec();
    fields.sort_unstable();
    let mut names: Vec<&String> = entry.as_object().unwrap().keys().collect();
    names.sort_unstable();
    assert_eq!(names, fields);
}

#[test]
fn device_ids_have_a_length() {
    assert_eq!(check_device_id("phone"), Ok(()));
    for bad in ["", "a\0b", &"x".repeat(101)] {
        assert_eq!(check_device_id(bad), Err(DomainError::DeviceIdInvalid));
    }
}

#[test]
fn a_uuid_has_36_signs_and_is_kept_in_lower_case() {
    let good = "6F1B0B1E-3c52-4f43-9a53-1f6a5a1f0c11";
    assert_eq!(uuid(good), Some(good.to_lowercase()));
    for text in [
        "",
        "6f1b0b1e",
        &good[..35],
        &format!("{good}1"),
        &"-".repeat(36),
        &"x".repeat(36),
        "6f1b0b1e03c52-4f43-9a53-1f6a5a1f0c11",
    ] {
        assert_eq!(uuid(text), None, "{text}");
    }
}
