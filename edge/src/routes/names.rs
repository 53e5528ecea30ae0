//! What depends on the language and is therefore chosen here: names of categories, levels, achievements
//! and challenges, and the messages of errors inside answers.

use carbon_domain::{Lang, level, waste};
use serde_json::{Value, json};

/// Adds `category_name` and `category_icon` to an entry.
pub fn add_to_entry(entry: &mut Value, lang: Lang) {
    let category = entry["category_id"]
        .as_str()
        .and_then(|id| waste::current().category(id).ok());
    if let Some(category) = category {
        entry["category_name"] = json!(category.name(lang));
        entry["category_icon"] = json!(category.icon);
    }
}

/// Adds them to every entry of a list.
pub fn add_to_entries(entries: &mut Value, lang: Lang) {
    for entry in entries.as_array_mut().into_iter().flatten() {
        add_to_entry(entry, lang);
    }
}

/// Adds `level_name`, and `level_icon` where the shape has one, next to `current_level`.
pub fn add_level(user: &mut Value, lang: Lang, with_icon: bool) {
    let number = user["current_level"]
        .as_i64()
        .and_then(|number| i32::try_from(number).ok());
    let level = number.and_then(level::by_number);
    user["level_name"] = level.map_or(Value::Null, |level| json!(level.name(lang)));
    if with_icon {
        user["level_icon"] = level.map_or(Value::Null, |level| json!(level.icon));
    }
}

/// Adds `level_name` to a card; null where the level is not shown.
pub fn add_to_card(card: &mut Value, lang: Lang) {
    let number = card["level"]
        .as_i64()
        .and_then(|number| i32::try_from(number).ok());
    let level = number.and_then(level::by_number);
    card["level_name"] = level.map_or(Value::Null, |level| json!(level.name(lang)));
}

/// Members that come in both languages, as `name_th` and `name_en` and the like.
const LOCALIZED_MEMBERS: [[&str; 3]; 5] = [
    ["name", "name_th", "name_en"],
    ["title", "title_th", "title_en"],
    ["description", "description_th", "description_en"],
    ["message", "message_th", "message_en"],
    ["text", "text_th", "text_en"],
];

/// Leaves one language of everything that carries both, however deep it stands.
pub fn choose(value: &mut Value, lang: Lang) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| choose(item, lang)),
        Value::Object(members) => {
            members.values_mut().for_each(|member| choose(member, lang));
            for [name, th, en] in LOCALIZED_MEMBERS {
                let (th, en) = (members.remove(th), members.remove(en));
                let chosen = match lang {
                    Lang::Th => th.or(en),
                    Lang::En => en.or(th),
                };
                if let Some(chosen) = chosen {
                    members.insert(name.to_owned(), chosen);
                }
            }
        }
        _ => {}
    }
}

/// The same for some members of an answer.
pub fn choose_in(answer: &mut Value, members: &[&str], lang: Lang) {
    for name in members {
        if let Some(member) = answer.get_mut(name) {
            choose(member, lang);
        }
    }
}

/// Gives errors that carry both languages the shape of `details.fields`.
pub fn choose_message(error: &mut Value, lang: Lang) {
    if let Some(object) = error.as_object_mut() {
        object.remove("token");
    }
    choose(error, lang);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_and_users_get_names_in_the_caller_s_language() {
        let mut entry = json!({"category_id": "food_waste"});
        add_to_entry(&mut entry, Lang::En);
        assert_eq!(entry["category_name"], "Food Waste");
        assert!(entry["category_icon"].is_string());
        let mut user = json!({"current_level": 1});
        add_level(&mut user, Lang::Th, true);
        assert!(user["level_name"].is_string() && user["level_icon"].is_string());
        let mut unknown = json!({"current_level": null});
        add_level(&mut unknown, Lang::Th, false);
        assert_eq!(unknown, json!({"current_level": null, "level_name": null}));
    }

    #[test]
    fn a_card_names_the_level_that_it_shows() {
        let mut card = json!({"level": 2});
        add_to_card(&mut card, Lang::En);
        assert!(card["level_name"].is_string());
        let mut hidden = json!({"level": null});
        add_to_card(&mut hidden, Lang::En);
        assert_eq!(hidden, json!({"level": null, "level_name": null}));
    }

    #[test]
    fn a_deleted_entry_without_a_category_stays_as_it_is() {
        let mut entry = json!({"id": "x", "deleted": true});
        add_to_entry(&mut entry, Lang::En);
        assert_eq!(entry, json!({"id": "x", "deleted": true}));
    }

    #[test]
    fn an_error_keeps_one_message() {
        let mut error = json!({"field": "weight_kg", "token": "carbon.x", "code": "x", "message_th": "ก", "message_en": "a"});
        choose_message(&mut error, Lang::En);
        assert_eq!(
            error,
            json!({"field": "weight_kg", "code": "x", "message": "a"})
        );
        let mut none = Value::Null;
        choose_message(&mut none, Lang::En);
        assert_eq!(none, Value::Null);
    }

    #[test]
    fn one_language_is_left_however_deep() {
        let both = json!({
            "list": [{"id": "a", "name_th": "ก", "name_en": "a", "description_th": "ข", "description_en": "b"}],
            "deep": {"title_th": "ค", "title_en": "c", "progress": {"value": 1}},
            "name": "unchanged",
        });
        let mut thai = both.clone();
        choose(&mut thai, Lang::Th);
        assert_eq!(
            thai,
            json!({
                "list": [{"id": "a", "name": "ก", "description": "ข"}],
                "deep": {"title": "ค", "progress": {"value": 1}},
                "name": "unchanged",
            })
        );
        let mut english = both;
        choose_in(&mut english, &["deep", "missing"], Lang::En);
        assert_eq!(english["deep"]["title"], "c");
        assert_eq!(english["list"][0]["name_th"], "ก");
        assert!(english.get("missing").is_none());
    }
}
