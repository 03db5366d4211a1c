//! What people paste: no panic, nothing grows, and what is recognised is recognised again.
#![no_main]

use iothub_protocol::pasted::recognise;
use iothub_protocol::sas::{Anatomy, SasToken, SymmetricKey, how_made};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let pasted = recognise(text);
    assert!(pasted.text.len() <= text.len() + 1);
    let anatomy = Anatomy::of(&pasted.text);
    let (_, signature) = anatomy.signature();
    let fields = anatomy.fields();
    if let Ok(token) = SasToken::parse(&pasted.text) {
        assert_eq!(anatomy.raw("sr"), Some(token.sr_text()));
        assert!(!fields.is_empty());
    }
    if let (Some(sr), Some(se), Some(signature)) =
        (anatomy.raw("sr"), anatomy.raw("se"), signature)
        && sr.len() < 1000
    {
        let key = SymmetricKey::from_bytes([1; 32]);
        let _ = how_made(&signature, sr, se, &key, &["localhost".to_owned()]);
    }
});
