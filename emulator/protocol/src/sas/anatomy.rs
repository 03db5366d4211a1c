//! The parts of a text that is meant as a token, whether it is one or not: for people who look for
//! the mistake. What a token is, [`super::SasToken::parse`] alone says.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet::{STANDARD as STANDARD_ALPHABET, URL_SAFE};
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose};
use percent_encoding::percent_decode_str;

use super::{SCHEME, strip_scheme};

/// The parts of a text that is meant as a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Anatomy<'a> {
    /// Whether the scheme stands in front, with its one blank.
    pub has_scheme: bool,
    /// The text that the parts were found in: decoded first, where all of it was percent-encoded.
    pub text: Cow<'a, str>,
    /// Whether all of it was percent-encoded.
    pub was_encoded: bool,
}

/// A part of a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Field<'a> {
    /// What stands before the first `=`.
    pub name: &'a str,
    /// What stands behind it.
    pub raw: &'a str,
    /// The same, percent-decoded.
    pub value: Cow<'a, str>,
}

/// How the text of a signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureForm {
    /// As it should be: base64, percent-encoded or not.
    Base64,
    /// Percent-encoded more than once.
    EncodedTwice,
    /// A `+` has become a blank, as where forms are decoded.
    PlusLost,
    /// Base64 with the alphabet for URLs.
    UrlSafe,
    /// Base64 without the `=` at its end.
    Unpadded,
    /// Hexadecimal digits.
    Hexadecimal,
    /// Whatever it is, it is not 32 bytes.
    Unreadable,
}

impl<'a> Anatomy<'a> {
    /// Takes a text apart.
    pub fn of(text: &'a str) -> Self {
        let text = text.trim();
        let was_encoded = !text.contains('=') && text.to_ascii_lowercase().contains("sr%3d");
        let text = match was_encoded {
            // The blank may have become a plus, as in forms.
            true => Cow::Owned(decoded(text).replacen("Signature+", "Signature ", 1)),
            false => Cow::Borrowed(text),
        };
        let has_scheme =
            strip_scheme(&text).is_some_and(|fields| !fields.starts_with(char::is_whitespace));
        Self {
            has_scheme,
            text,
            was_encoded,
        }
    }

    /// The fields in order, at most a dozen.
    pub fn fields(&self) -> Vec<Field<'_>> {
        self.body()
            .split('&')
            .filter(|part| !part.trim().is_empty())
            .take(MOST_FIELDS)
            .map(|part| {
                let (name, raw) = part.split_once('=').unwrap_or((part, ""));
                Field {
                    name: name.trim(),
                    raw,
                    value: percent_decode_str(raw).decode_utf8_lossy(),
                }
            })
            .collect()
    }

    /// The text of the field with this name, as it stands there. Where there is none that a token
    /// would be read by, blanks and case do not count.
    pub fn raw(&self, name: &str) -> Option<&str> {
        let exact = strip_scheme(&self.text).unwrap_or(&self.text);
        fn fields(text: &str) -> impl Iterator<Item = (&str, &str)> {
            text.split('&').filter_map(|part| part.split_once('='))
        }
        fields(exact)
            .find(|(other, _)| *other == name)
            .or_else(|| {
                fields(self.body()).find(|(other, _)| other.trim().eq_ignore_ascii_case(name))
            })
            .map(|(_, raw)| raw)
    }

    /// The text of a field, decoded.
    pub fn value(&self, name: &str) -> Option<Cow<'_, str>> {
        let raw = self.raw(name)?;
        Some(percent_decode_str(raw).decode_utf8_lossy())
    }

    /// The text with the scheme in front and nothing encoded that should not be: what may have been
    /// meant.
    pub fn mended(&self) -> String {
        format!("{SCHEME}{}", self.body())
    }

    /// The signature's bytes, and how they are written; no bytes if they cannot be read.
    pub fn signature(&self) -> (SignatureForm, Option<Vec<u8>>) {
        match self.raw("sig") {
            Some(raw) => read_signature(raw),
            None => (SignatureForm::Unreadable, None),
        }
    }

    fn body(&self) -> &str {
        let text = &*self.text;
        match text.split_at_checked(SCHEME.trim_end().len()) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case(SCHEME.trim_end()) => {
                rest.trim_start_matches([' ', '\t', ':', '='])
            }
            _ => text,
        }
    }
}

impl SignatureForm {
    /// What is wrong with it, for a person; `None`: nothing.
    pub fn fault(self) -> Option<&'static str> {
        match self {
            Self::Base64 => None,
            Self::EncodedTwice => Some("is percent-encoded twice"),
            Self::PlusLost => Some("has blanks where base64 has plus signs"),
            Self::UrlSafe => Some("is written in the base64 alphabet for URLs, with '-' and '_'"),
            Self::Unpadded => Some("lacks the '=' at its end"),
            Self::Hexadecimal => Some("is written in hexadecimal digits"),
            Self::Unreadable => Some("is not base64 of 32 bytes"),
        }
    }
}

fn read_signature(raw: &str) -> (SignatureForm, Option<Vec<u8>>) {
    let once = decoded(raw);
    let twice = decoded(&once);
    let standard = &general_purpose::STANDARD;
    let tries: [(SignatureForm, Option<Vec<u8>>); 6] = [
        (SignatureForm::Base64, standard.decode(&*once).ok()),
        (
            SignatureForm::PlusLost,
            standard.decode(once.replace(' ', "+")).ok(),
        ),
        (SignatureForm::EncodedTwice, standard.decode(&twice).ok()),
        (SignatureForm::Hexadecimal, from_hexadecimal(&once)),
        (SignatureForm::Unpadded, UNPADDED.decode(&*once).ok()),
        (SignatureForm::UrlSafe, URL.decode(&*once).ok()),
    ];
    tries
        .into_iter()
        .find_map(|(form, bytes)| {
            let bytes = bytes.filter(|bytes| bytes.len() == 32)?;
            Some((form, Some(bytes)))
        })
        .unwrap_or((SignatureForm::Unreadable, None))
}

fn from_hexadecimal(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..32)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok())
        .collect()
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Prints no signature.
impl std::fmt::Debug for Anatomy<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fields = self.fields();
        let names: Vec<&str> = fields.iter().map(|field| field.name).collect();
        f.debug_struct("Anatomy")
            .field("has_scheme", &self.has_scheme)
            .field("was_encoded", &self.was_encoded)
            .field("fields", &names)
            .finish_non_exhaustive()
    }
}

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_allow_trailing_bits(true)
    .with_decode_padding_mode(DecodePaddingMode::Indifferent);
const UNPADDED: GeneralPurpose = GeneralPurpose::new(&STANDARD_ALPHABET, LENIENT);
const URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

/// More than any token has.
const MOST_FIELDS: usize = 12;

#[cfg(test)]
mod tests {
    use super::super::{SasToken, SymmetricKey, sign};
    use super::*;
    use crate::Timestamp;
    use proptest::prelude::*;

    fn token() -> String {
        let key = SymmetricKey::from_bytes([0xfb; 32]);
        let expiry = Timestamp::from_unix_seconds(1_900_000_000);
        sign("hub/devices/d1", expiry, None, &key)
    }

    #[test]
    fn a_good_token_is_taken_apart() {
        let token = token();
        let anatomy = Anatomy::of(&token);

        assert!(anatomy.has_scheme && !anatomy.was_encoded);
        assert_eq!(anatomy.mended(), token);
        assert_eq!(anatomy.raw("sr"), Some("hub%2Fdevices%2Fd1"));
        assert_eq!(anatomy.fields()[0].value, "hub/devices/d1");
        assert_eq!(anatomy.fields().len(), 3);
        assert_eq!(anatomy.signature().0, SignatureForm::Base64);
        assert_eq!(SignatureForm::Base64.fault(), None);
    }

    #[test]
    fn what_is_wrong_with_a_signature_is_told_and_its_bytes_found() {
        let token = token();
        let anatomy = Anatomy::of(&token);
        let right = anatomy.signature().1.unwrap();
        let base64 = general_purpose::STANDARD.encode(&right);
        let hexadecimal: String = right.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(base64.contains('+') || base64.contains('/'), "{base64}");

        for (sig, form) in [
            (base64.clone(), SignatureForm::Base64),
            (
                anatomy.raw("sig").unwrap().replace('%', "%25"),
                SignatureForm::EncodedTwice,
            ),
            (
                base64.replace('+', "-").replace('/', "_"),
                SignatureForm::UrlSafe,
            ),
            (base64.trim_end_matches('=').into(), SignatureForm::Unpadded),
            (hexadecimal, SignatureForm::Hexadecimal),
        ] {
            let text = format!("SharedAccessSignature sr=hub&sig={sig}&se=1");
            assert_eq!(
                Anatomy::of(&text).signature(),
                (form, Some(right.clone())),
                "{sig}"
            );
        }
        let text = "SharedAccessSignature sr=hub&sig=AAAA&se=1";
        assert_eq!(
            Anatomy::of(text).signature(),
            (SignatureForm::Unreadable, None)
        );
    }

    #[test]
    fn a_plus_that_became_a_blank_is_seen() {
        let sig = general_purpose::STANDARD
            .encode([0xfb; 32])
            .replace('+', " ");
        let text = format!("SharedAccessSignature sr=hub&sig={sig}&se=1");

        assert_eq!(
            Anatomy::of(&text).signature(),
            (SignatureForm::PlusLost, Some(vec![0xfb; 32]))
        );
    }

    #[test]
    fn scheme_and_encoding_are_mended() {
        let token = token();
        let bare = token.strip_prefix(SCHEME).unwrap();
        let encoded =
            percent_encoding::utf8_percent_encode(&token, percent_encoding::NON_ALPHANUMERIC)
                .to_string();

        for text in [
            bare.to_owned(),
            format!("SharedAccessSignature  {bare}"),
            format!("SharedAccessSignature={bare}"),
            encoded.clone(),
            encoded.replace("%20", "+"),
        ] {
            let anatomy = Anatomy::of(&text);
            assert_eq!(anatomy.mended(), token, "{text}");
            assert!(!anatomy.has_scheme || anatomy.was_encoded, "{text}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".{0,100}") {
            let anatomy = Anatomy::of(&text);
            let _ = (anatomy.fields(), anatomy.signature(), anatomy.mended());
        }

        #[test]
        fn what_parses_is_taken_apart_alike(
            resource in "[a-z.]{1,20}/devices/[A-Za-z0-9.%_*-]{1,30}",
            policy in proptest::option::of("[a-zA-Z0-9_.-]{1,20}"),
        ) {
            let key = SymmetricKey::from_bytes([7; 32]);
            let text = sign(&resource, Timestamp::UNIX_EPOCH, policy.as_deref(), &key);
            let token = SasToken::parse(&text).unwrap();
            let anatomy = Anatomy::of(&text);

            prop_assert_eq!(anatomy.raw("sr"), Some(token.sr_text()));
            prop_assert_eq!(anatomy.raw("se"), Some(token.se_text()));
            prop_assert_eq!(anatomy.raw("skn"), policy.as_deref());
            prop_assert_eq!(anatomy.signature().0, SignatureForm::Base64);
        }
    }
}
