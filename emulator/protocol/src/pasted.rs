//! What a person pastes when a login is refused: which kind of credential it is, freed of what
//! came along with it.
//!
//! Nothing is judged here. What is taken away has never been part of a credential: a header's
//! name, quotes around it, the line breaks of a terminal. Everything else stays as it is, since it
//! may be the very reason of the refusal.

use crate::sas::SymmetricKey;

/// A recognised text.
#[derive(Clone, PartialEq, Eq)]
pub struct Pasted {
    /// What it is.
    pub kind: PastedKind,
    /// The credential itself.
    pub text: String,
    /// What stood around it or in between.
    pub removed: Vec<Wrapping>,
}

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PastedKind {
    /// A shared access signature of a hub, or what is meant as one.
    Token,
    /// `Name=value;…` of a device, module, policy, event hub or storage account.
    ConnectionString,
    /// One or more certificates.
    Certificate,
    /// A certificate's private key, without the certificate.
    PrivateKey,
    /// The user name of a CONNECT.
    UserName,
    /// A symmetric key by itself.
    Key,
    /// The digest of a certificate, in hexadecimal.
    Thumbprint,
    /// A URL, or its query, with a signature of the storage kind.
    StorageSignature,
    /// A JSON web token.
    WebToken,
    /// Nothing but blanks.
    Nothing,
    /// None of these.
    Unknown,
}

/// What stood around a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrapping {
    /// Blanks in front or behind.
    Blanks,
    /// Characters that cannot be seen, such as a byte order mark.
    Invisible,
    /// The name of a header, member, option or variable in front, and what ended it behind.
    Name,
    /// Quotes around it.
    Quotes,
    /// Line breaks in between.
    LineBreaks,
    /// Line breaks in between, written as backslash and `n`.
    EscapedLineBreaks,
    /// A separator behind it.
    Separator,
}

/// Recognises a text and takes away what stands around the credential. The work is proportional to
/// the length of the text.
pub fn recognise(text: &str) -> Pasted {
    let mut pasted = Pasted {
        kind: PastedKind::Unknown,
        text: text.to_owned(),
        removed: Vec::new(),
    };
    pasted.drop_invisible();
    if pasted.text.contains(PEM_MARK) {
        pasted.unfold_pem();
        return pasted;
    }
    pasted.trim();
    pasted.unquote();
    pasted.cut_name();
    pasted.join_lines();
    pasted.trim();
    pasted.kind = kind_of(&pasted.text);
    pasted
}

impl Pasted {
    fn drop_invisible(&mut self) {
        let is_invisible = |c: char| {
            matches!(
                c,
                '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{ad}' | '\0'
            )
        };
        if self.text.contains(is_invisible) {
            self.text.retain(|c| !is_invisible(c));
            self.note(Wrapping::Invisible);
        }
    }

    /// Lines of PEM text as they should be, whatever JSON or a shell made of them.
    fn unfold_pem(&mut self) {
        if self.text.contains("\\n") {
            self.text = self.text.replace("\\r", "").replace("\\n", "\n");
            self.note(Wrapping::EscapedLineBreaks);
        }
        self.kind = if self.text.contains("-----BEGIN CERTIFICATE")
            || self.text.contains("-----BEGIN TRUSTED CERTIFICATE")
        {
            PastedKind::Certificate
        } else {
            PastedKind::PrivateKey
        };
        let start = self.text.find(PEM_MARK).unwrap_or_default();
        if !self.text[..start].trim().is_empty() {
            self.note(Wrapping::Name);
        }
        self.text.drain(..start);
    }

    fn trim(&mut self) {
        let trimmed = self.text.trim();
        if trimmed.len() < self.text.len() {
            self.text = trimmed.to_owned();
            self.note(Wrapping::Blanks);
        }
    }

    /// Takes away quotes that stand around all of it.
    fn unquote(&mut self) {
        for _ in 0..DEEPEST {
            let inner = QUOTES.iter().find_map(|&(open, close)| {
                let inner = self.text.strip_prefix(open)?.strip_suffix(close)?;
                (!inner.contains([open, close])).then(|| inner.to_owned())
            });
            let Some(inner) = inner else {
                return;
            };
            self.text = inner;
            self.note(Wrapping::Quotes);
            self.trim();
        }
    }

    /// Takes away what a token or connection string was the value of: `Authorization: …`,
    /// `{"sas": "…"}`, `export IOTHUB_DEVICE_CONNECTION_STRING='…'`.
    fn cut_name(&mut self) {
        let Some(start) = start_of_credential(&self.text).filter(|&start| start > 0) else {
            return;
        };
        let (before, credential) = self.text.split_at(start);
        let end = match open_quote(before).and_then(|close| credential.find(close)) {
            // A quote within quotes has a backslash before it.
            Some(end) => credential[..end].trim_end_matches('\\').len(),
            None => credential.len(),
        };
        self.text = credential[..end].to_owned();
        self.note(Wrapping::Name);
        self.trim();
    }

    fn join_lines(&mut self) {
        for escaped in ["\\r\\n", "\\n"] {
            if self.text.ends_with(escaped) {
                self.text.truncate(self.text.len() - escaped.len());
                self.note(Wrapping::EscapedLineBreaks);
            }
        }
        if self.text.contains(['\n', '\r']) {
            // A terminal breaks in the middle of a word, an editor indents what follows. The one
            // blank that a token has may have become the break.
            let mut joined = String::with_capacity(self.text.len());
            for line in self.text.split(['\n', '\r']) {
                let line = line.trim().trim_end_matches('\\').trim_end();
                joined.push_str(line);
                if joined.eq_ignore_ascii_case(SCHEME) {
                    joined.push(' ');
                }
            }
            self.text = joined;
            self.note(Wrapping::LineBreaks);
        }
        if let Some(rest) = self.text.strip_suffix([',', ';'])
            && !rest.contains(';')
        {
            self.text = rest.to_owned();
            self.note(Wrapping::Separator);
        }
    }

    fn note(&mut self, wrapping: Wrapping) {
        if !self.removed.contains(&wrapping) {
            self.removed.push(wrapping);
        }
    }
}

/// What closes the last quote that is still open at the end of the text.
fn open_quote(text: &str) -> Option<char> {
    let mut open: Option<(usize, char)> = None;
    for &(opening, closing) in &QUOTES {
        let is_open = match opening == closing {
            true => text.matches(opening).count() % 2 == 1,
            false => text.rfind(opening) > text.rfind(closing),
        };
        let at = text.rfind(opening).filter(|_| is_open);
        if let Some(at) = at.filter(|&at| open.is_none_or(|(last, _)| at > last)) {
            open = Some((at, closing));
        }
    }
    open.map(|(_, closing)| closing)
}

/// Where a token or connection string begins, if there is one.
fn start_of_credential(text: &str) -> Option<usize> {
    // Bytes keep their places: only ASCII letters change.
    let lower = text.to_ascii_lowercase();
    let member = MEMBERS
        .iter()
        .filter_map(|member| find_word(&lower, member))
        .min();
    // A connection string may hold a token, never the other way round.
    member.or_else(|| find_word(&lower, "sharedaccesssignature"))
}

/// Where `word` stands by itself, not as the end of a longer word.
fn find_word(text: &str, word: &str) -> Option<usize> {
    text.match_indices(word)
        .map(|(at, _)| at)
        .find(|&at| !text[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
}

fn kind_of(text: &str) -> PastedKind {
    let lower = text.to_ascii_lowercase();
    let has = |name: &str| find_word(&lower, name).is_some();
    if text.is_empty() {
        PastedKind::Nothing
    } else if MEMBERS.iter().any(|member| lower.starts_with(member)) {
        PastedKind::ConnectionString
    } else if has("sig=") && has("se=") && (has("sv=") || has("sp=")) {
        PastedKind::StorageSignature
    } else if lower.starts_with("sharedaccesssignature")
        || (lower.contains("sig=") && (has("se=") || has("sr=")))
        || (lower.contains("sig%3d") && lower.contains("sr%3d"))
    {
        PastedKind::Token
    } else if is_thumbprint(text) {
        PastedKind::Thumbprint
    } else if lower.contains("api-version=") || looks_like_user_name(text) {
        PastedKind::UserName
    } else if text.starts_with("eyJ") && text.matches('.').count() == 2 {
        PastedKind::WebToken
    } else if text.starts_with("MI") && text.len() > LONGEST_KEY && is_base64(text) {
        PastedKind::Certificate
    } else if SymmetricKey::parse(text).is_ok() || (text.len() >= 20 && is_base64(text)) {
        PastedKind::Key
    } else {
        PastedKind::Unknown
    }
}

/// `host/device[/module]`, the host with a dot in it or the local one.
fn looks_like_user_name(text: &str) -> bool {
    let mut segments = text.split('/');
    let host = segments.next().unwrap_or_default();
    let is_host = host.contains('.') || host.eq_ignore_ascii_case("localhost");
    is_host && !text.contains([' ', '=']) && segments.clone().count() <= 3 && {
        let device = segments.next().unwrap_or_default();
        !device.is_empty()
    }
}

fn is_thumbprint(text: &str) -> bool {
    let digits = |c: char| c.is_ascii_hexdigit();
    let count = text.chars().filter(|&c| digits(c)).count();
    matches!(count, 40 | 64) && text.chars().all(|c| digits(c) || c == ':' || c == ' ')
}

fn is_base64(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"+/=-_".contains(&byte))
}

/// Prints no secret.
impl std::fmt::Debug for Pasted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pasted")
            .field("kind", &self.kind)
            .field("removed", &self.removed)
            .finish_non_exhaustive()
    }
}

/// Members that begin a connection string, in lower case.
const MEMBERS: [&str; 11] = [
    "hostname=",
    "gatewayhostname=",
    "deviceid=",
    "moduleid=",
    "sharedaccesskeyname=",
    "sharedaccesskey=",
    "endpoint=",
    "entitypath=",
    "defaultendpointsprotocol=",
    "accountname=",
    "blobendpoint=",
];

const QUOTES: [(char, char); 6] = [
    ('"', '"'),
    ('\'', '\''),
    ('`', '`'),
    ('“', '”'),
    ('‘', '’'),
    ('<', '>'),
];

const SCHEME: &str = "SharedAccessSignature";
const PEM_MARK: &str = "-----BEGIN";
/// Quotes within quotes.
const DEEPEST: usize = 4;
/// Characters of the longest key, and some.
const LONGEST_KEY: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TOKEN: &str = "SharedAccessSignature sr=hub%2Fdevices%2Fd1&sig=AAAA%3D&se=1900000000";
    const STRING: &str = "HostName=hub;DeviceId=d1;SharedAccessKey=MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=";

    #[test]
    fn a_token_is_found_in_what_surrounds_it() {
        for (text, removed) in [
            (TOKEN.to_owned(), vec![]),
            (format!(" {TOKEN}\n"), vec![Wrapping::Blanks]),
            (format!("\u{feff}{TOKEN}"), vec![Wrapping::Invisible]),
            (format!("Authorization: {TOKEN}"), vec![Wrapping::Name]),
            (format!("\"{TOKEN}\""), vec![Wrapping::Quotes]),
            (format!("{{\"sas\": \"{TOKEN}\"}}"), vec![Wrapping::Name]),
            (
                format!("curl -H 'authorization: {TOKEN}'"),
                vec![Wrapping::Name],
            ),
            (TOKEN.replace("&se", "\n   &se"), vec![Wrapping::LineBreaks]),
            (TOKEN.replace(' ', "\r\n"), vec![Wrapping::LineBreaks]),
            (
                TOKEN.replace("devices", "dev\nices"),
                vec![Wrapping::LineBreaks],
            ),
            (format!("{TOKEN}\\n"), vec![Wrapping::EscapedLineBreaks]),
            (format!("{TOKEN},"), vec![Wrapping::Separator]),
        ] {
            let pasted = recognise(&text);

            assert_eq!(pasted.kind, PastedKind::Token, "{text}");
            assert_eq!(pasted.text, TOKEN, "{text}");
            assert_eq!(pasted.removed, removed, "{text}");
        }
    }

    #[test]
    fn what_may_be_the_reason_of_a_refusal_stays() {
        for text in [
            "sr=hub&sig=AAAA&se=1",
            "SharedAccessSignature%20sr%3Dhub%26sig%3DAAAA%26se%3D1",
            "SharedAccessSignature  sr=hub&sig=AAAA&se=1",
            "SharedAccessSignature sr=hub%252Fdevices&sig=A A&se=x",
        ] {
            let pasted = recognise(text);

            assert_eq!(
                (pasted.kind, pasted.text.as_str()),
                (PastedKind::Token, text)
            );
            assert!(pasted.removed.is_empty(), "{text}");
        }
    }

    #[test]
    fn a_connection_string_is_found_in_an_assignment() {
        for text in [
            STRING.to_owned(),
            format!("export IOTHUB_DEVICE_CONNECTION_STRING=\"{STRING}\""),
            format!("{{ \"connectionString\": \"{STRING}\" }}"),
            STRING.replace(";Shared", ";\n  Shared"),
        ] {
            let pasted = recognise(&text);

            assert_eq!(pasted.kind, PastedKind::ConnectionString, "{text}");
            assert_eq!(pasted.text, STRING, "{text}");
        }
    }

    #[test]
    fn kinds_are_told_apart() {
        use PastedKind::*;

        for (text, kind) in [
            ("", Nothing),
            (" \n", Nothing),
            ("hello", Unknown),
            (
                "-----BEGIN CERTIFICATE-----\\nMIIB\\n-----END CERTIFICATE-----",
                Certificate,
            ),
            (
                "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----",
                PrivateKey,
            ),
            (
                "myhub.azure-devices.net/d1/?api-version=2021-04-12",
                UserName,
            ),
            ("localhost/d1", UserName),
            ("localhost/d1/m1/", UserName),
            ("MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=", Key),
            (
                "CF:7F:25:35:46:18:0E:A5:21:47:22:EB:92:4F:A7:56:AF:9B:CA:FB",
                Thumbprint,
            ),
            (
                "Endpoint=sb://h/;SharedAccessKeyName=a;SharedAccessKey=b",
                ConnectionString,
            ),
            (
                "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=b",
                ConnectionString,
            ),
            (
                "https://h/a/c/b?sv=2018-03-28&sr=b&sig=x&se=y&sp=rw",
                StorageSignature,
            ),
            ("eyJ0eXAi.eyJhdWQi.c2ln", WebToken),
        ] {
            assert_eq!(recognise(text).kind, kind, "{text}");
        }
    }

    #[test]
    fn debug_output_holds_no_secret() {
        assert!(!format!("{:?}", recognise(STRING)).contains("MTIz"));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics_and_nothing_is_made_up(text in ".{0,120}") {
            let pasted = recognise(&text);
            prop_assert!(pasted.text.len() <= text.len() + 1);
        }

        #[test]
        fn what_is_recognised_is_recognised_again(
            before in "[ \"'a-zA-Z:={]{0,12}",
            middle in "[a-z%&=;]{0,20}",
            after in "[ \"'},;]{0,4}",
        ) {
            let once = recognise(&format!("{before}{TOKEN}{middle}{after}"));
            prop_assert_eq!(once.kind, recognise(&once.text).kind);
        }
    }
}
