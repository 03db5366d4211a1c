//! What architecture and manifests promise, read from the sources themselves.

use std::path::{Path, PathBuf};

const HUB: &str = env!("CARGO_MANIFEST_DIR");

/// The hub decides, and what carries its decisions is not its business: no wire protocol is named
/// in it, comments included.
#[test]
fn no_wire_protocol_is_named_in_the_hub() {
    let mut found = Vec::new();
    for file in sources(&Path::new(HUB).join("src")) {
        for (number, line) in text(&file).lines().enumerate() {
            let words = line.split(|c: char| !c.is_ascii_alphanumeric());
            let named = words.map(str::to_ascii_lowercase).any(|word| {
                [
                    "mqtt",
                    "mqtts",
                    "amqp",
                    "amqps",
                    "http",
                    "https",
                    "websocket",
                ]
                .contains(&word.as_str())
            });
            if named {
                found.push(format!(
                    "{}:{}: {}",
                    file.display(),
                    number + 1,
                    line.trim()
                ));
            }
        }
    }

    assert!(found.is_empty(), "{found:#?}");
}

/// No runtime, socket, file watcher, clock or source of randomness can come in unnoticed: whoever
/// adds a dependency adds it here, and says why it is pure.
#[test]
fn hub_and_protocol_depend_on_nothing_impure() {
    let pure = [
        "base64",
        "bytes",
        "hmac",
        "imbl",
        "iothub-protocol",
        "percent-encoding",
        "serde",
        "serde_json",
        "sha2",
        "thiserror",
        "uuid",
    ];

    for manifest in ["Cargo.toml", "../protocol/Cargo.toml"] {
        for dependency in dependencies(&Path::new(HUB).join(manifest)) {
            assert!(
                pure.contains(&dependency.as_str()),
                "{dependency} in {manifest}"
            );
        }
    }
}

/// The lints that ban clocks, files, sockets and the environment are in force in both crates.
#[test]
fn lints_ban_clocks_files_and_sockets() {
    for lints in [".clippy.toml", "../protocol/.clippy.toml"] {
        let text = text(&Path::new(HUB).join(lints));
        for banned in [
            "std::time::Instant::now",
            "std::time::SystemTime::now",
            "std::thread::sleep",
            "std::fs::File",
            "std::net::TcpStream",
            "std::env::var",
        ] {
            assert!(
                text.contains(&format!("\"{banned}\"")),
                "{banned} in {lints}"
            );
        }
    }
}

/// Signing, the error table, the topic grammar, the property bag and the merge are each in one
/// place, so that two of them can never disagree.
#[test]
fn shared_pieces_exist_once() {
    for (piece, home) in [
        ("pub fn sign(resource:", "protocol/src/sas.rs"),
        ("pub fn is_signed_with(", "protocol/src/sas.rs"),
        ("error_codes! {", "protocol/src/error.rs"),
        ("pub struct PropertyBag(", "protocol/src/property_bag.rs"),
        ("pub fn merge(", "protocol/src/twin/merge.rs"),
        ("pub enum DeviceTopic", "protocol/src/mqtt/topic/device.rs"),
    ] {
        let root = Path::new(HUB).join("..");
        let mut folders: Vec<_> = ["hub/src", "protocol/src", "src"]
            .map(|it| root.join(it))
            .into();
        folders
            .extend(["../device/src", "../backend/src", "../testkit/src"].map(|it| root.join(it)));
        let homes: Vec<_> = folders
            .iter()
            .flat_map(|folder| sources(folder))
            .filter(|file| text(file).contains(piece))
            .collect();

        assert_eq!(homes.len(), 1, "{piece} is in {homes:?}");
        assert!(homes[0].ends_with(home), "{piece} is in {homes:?}");
    }
}

/// Names in the `[dependencies]` of a manifest.
fn dependencies(manifest: &Path) -> Vec<String> {
    text(manifest)
        .lines()
        .skip_while(|line| line.trim() != "[dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', '=', ' ']).next())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    #[allow(clippy::disallowed_methods, reason = "this test reads the sources")]
    let entries = std::fs::read_dir(folder);
    let Ok(entries) = entries else {
        return Vec::new();
    };
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("a folder of sources can be read").path())
        .flat_map(|path| {
            if path.is_dir() {
                sources(&path)
            } else {
                vec![path]
            }
        })
        .filter(|path| path.extension().is_some_and(|it| it == "rs"))
        .collect();
    files.sort();
    files
}

fn text(file: &Path) -> String {
    #[allow(clippy::disallowed_methods, reason = "this test reads the sources")]
    let text = std::fs::read_to_string(file);
    text.unwrap_or_else(|error| panic!("read {}: {error}", file.display()))
}
