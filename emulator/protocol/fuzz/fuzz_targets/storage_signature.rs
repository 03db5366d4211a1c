//! Signatures of storage requests: no panic, and nobody gets in without the key.
#![no_main]

use iothub_protocol::Timestamp;
use iothub_protocol::sas::SymmetricKey;
use iothub_protocol::storage::{
    Account, ContainerName, Query, SignedRequest, verify_sas, verify_shared_key,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let account = Account {
        name: "acct".into(),
        key: SymmetricKey::from_bytes([7; 32]),
    };
    let container = ContainerName::parse("uploads").ok();
    let query = Query::parse(text);
    let now = Timestamp::UNIX_EPOCH;
    assert!(verify_sas(&account, &query, container.as_ref(), Some("b"), now).is_err());
    let request = SignedRequest {
        verb: "GET",
        path: text,
        query: &query,
        headers: &[("x-ms-date", text)],
    };
    assert!(verify_shared_key(&account, &request, text).is_err());
});
