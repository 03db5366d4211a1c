//! Names of containers and blobs ("Naming and referencing containers, blobs, and metadata").

use std::fmt;

/// A container's name: 3 to 63 lower-case letters, digits and single hyphens between them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerName(String);

/// Why a name is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Not a container's.
    #[error(
        "a container's name has 3 to 63 lower-case letters, digits and single hyphens between them"
    )]
    Container,
    /// Not a blob's.
    #[error("a blob's name has 1 to 1024 characters and at most 254 parts between slashes")]
    Blob,
}

impl ContainerName {
    /// The name, if it is one.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let good = (3..=63).contains(&text.len())
            && text.bytes().all(allowed)
            && !text.starts_with('-')
            && !text.ends_with('-')
            && !text.contains("--");
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName::Container)
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Refuses what is no blob's name.
pub fn check_blob_name(name: &str) -> Result<(), InvalidName> {
    const LONGEST: usize = 1024;
    const PARTS: usize = 254;
    let characters = name.chars().take(LONGEST + 1).count();
    if (1..=LONGEST).contains(&characters) && name.split('/').count() <= PARTS {
        Ok(())
    } else {
        Err(InvalidName::Blob)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_have_small_plain_names() {
        for good in ["uploads", "a-1", "123", &"x".repeat(63)] {
            assert!(ContainerName::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "ab",
            "Uploads",
            "a--b",
            "-ab",
            "ab-",
            "a.b",
            "$root",
            &"x".repeat(64),
        ] {
            assert_eq!(
                ContainerName::parse(bad),
                Err(InvalidName::Container),
                "{bad}"
            );
        }
    }

    #[test]
    fn blobs_have_nearly_any_name() {
        for good in ["a", "d1/f/x y.txt", "ü/..", &"é".repeat(1024)] {
            assert_eq!(check_blob_name(good), Ok(()), "{good}");
        }
        for bad in ["", &"x".repeat(1025), &"/".repeat(254)] {
            assert_eq!(check_blob_name(bad), Err(InvalidName::Blob), "{bad}");
        }
    }
}
