//! `generate-sas-token`.

use iothub_protocol::sas::{SasToken, SymmetricKey};

use crate::served::Served;
use crate::{words, words_and};

#[test]
fn tokens_are_made_for_modules_and_from_connection_strings() {
    let served = Served::start(&[]);
    served.json(&words("device-identity create -d d1"));
    let module = served.json(&words("module-identity create -d d1 -m m1"));
    let key = module["authentication"]["symmetricKey"]["primaryKey"]
        .as_str()
        .unwrap();
    let key = SymmetricKey::parse(key).unwrap();
    let string = served.json(&words("module-identity connection-string show -d d1 -m m1"));
    let string = string["connectionString"].as_str().unwrap();

    let by_name = served.json(&words("generate-sas-token -d d1 -m m1"));
    let by_string = served.json(&words_and("generate-sas-token --cs", &[string]));

    for token in [by_name, by_string] {
        let token = SasToken::parse(token["sas"].as_str().unwrap()).unwrap();
        assert_eq!(token.resource(), "localhost/devices/d1/modules/m1");
        assert!(token.is_signed_with(&key));
        assert_eq!(token.policy(), None);
    }
}
