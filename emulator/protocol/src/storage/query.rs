//! Parameters of a storage request.

use percent_encoding::percent_decode_str;

/// Decoded parameters, in order. A `+` stands for itself: signatures may come unencoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Splits and decodes what follows the `?`; a `?` of its own is skipped.
    pub fn parse(text: &str) -> Self {
        let text = text.strip_prefix('?').unwrap_or(text);
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        Self(
            text.split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(name, value)| (decode(name), decode(value)))
                .collect(),
        )
    }

    /// The first value of a parameter, whatever the case of its name.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// As [`Self::find`]; empty when there is none.
    pub fn value(&self, name: &str) -> &str {
        self.find(name).unwrap_or_default()
    }

    /// Every parameter.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_a_plus_stays() {
        let query = Query::parse("?comp=block&BlockId=YQ%3D%3D&sig=a+b/c=&flag&&");

        assert_eq!(query.value("blockid"), "YQ==");
        assert_eq!(query.value("sig"), "a+b/c=");
        assert_eq!(query.find("flag"), Some(""));
        assert_eq!(query.find("none"), None);
        assert_eq!(query.pairs().count(), 4);
    }
}
