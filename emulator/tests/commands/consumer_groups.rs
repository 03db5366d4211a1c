//! `consumer-group`.

use serde_json::{Value, json};

use crate::served::Served;
use crate::words;

#[test]
fn groups_are_made_listed_shown_and_deleted() {
    let served = Served::start(&[]);
    let names = |listed: &Value| -> Value {
        let all = listed.as_array().unwrap().iter();
        all.map(|group| group["name"].clone()).collect()
    };

    let made = served.json(&words("consumer-group create --hub-name h -n readers"));
    let shown = served.json(&words("consumer-group show -n Readers"));
    let listed = served.json(&words("consumer-group list --event-hub-name events"));
    served.json(&words("consumer-group delete --name readers"));
    let gone = served.error(&words("consumer-group show -n readers"));

    assert_eq!(made, shown);
    assert_eq!(names(&listed), json!(["$Default", "readers"]));
    assert!(gone.contains("'readers' could not be found"), "{gone}");
    let left = served.json(&words("consumer-group list"));
    assert_eq!(names(&left), json!(["$Default"]));
}
