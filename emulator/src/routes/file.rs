//! Appending to the files of an endpoint.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use iothub_hub::{BlobFormat, Endpoint, EndpointKind, Event};
use iothub_protocol::Timestamp;

use super::{Folder, document};

/// Appends events to the endpoint's file, or to the blobs of their partition and minutes.
pub(super) fn append(folder: &Folder, endpoint: &Endpoint, events: &[Event]) -> io::Result<()> {
    match &endpoint.kind {
        // The hub keeps those itself.
        EndpointKind::BuiltIn => Ok(()),
        EndpointKind::Lines => {
            let path = folder.path.join(format!("{}.jsonl", endpoint.name));
            write(folder, &path, events, document::line)
        }
        EndpointKind::Blobs(format) => {
            let same_blob = |a: &Event, b: &Event| {
                a.partition == b.partition && minute(a.enqueued) == minute(b.enqueued)
            };
            for events in events.chunk_by(same_blob) {
                let path = blob_path(folder, format, &events[0]);
                write(folder, &path, events, document::record)?;
            }
            Ok(())
        }
    }
}

fn write(
    folder: &Folder,
    path: &Path,
    events: &[Event],
    render: fn(&Event) -> serde_json::Value,
) -> io::Result<()> {
    let mut text = String::new();
    for event in events {
        text.push_str(&render(event).to_string());
        text.push('\n');
    }
    let attempt = |error: io::Error| {
        let attempt = format!("append to {}: {error}", path.display());
        io::Error::new(error.kind(), attempt)
    };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(attempt)?;
    }
    let mut options = OpenOptions::new();
    let mut file = options
        .create(true)
        .append(true)
        .open(path)
        .map_err(attempt)?;
    // In one piece, so that a line is there as a whole or not at all.
    file.write_all(text.as_bytes()).map_err(attempt)?;
    if folder.every_write_synced {
        file.sync_data().map_err(attempt)?;
    }
    Ok(())
}

/// `2026-01-31T23:59`.
fn minute(time: Timestamp) -> String {
    let mut text = time.to_iso();
    text.truncate("YYYY-MM-DDTHH:MM".len());
    text
}

fn blob_path(folder: &Folder, format: &BlobFormat, event: &Event) -> PathBuf {
    let time = minute(event.enqueued);
    let part = |from: usize, to: usize| time.get(from..to).unwrap_or("00");
    let name = format
        .name
        .replace("{iothub}", &folder.hub_name)
        .replace("{partition}", &event.partition.to_string())
        .replace("{YYYY}", part(0, 4))
        .replace("{MM}", part(5, 7))
        .replace("{DD}", part(8, 10))
        .replace("{HH}", part(11, 13))
        .replace("{mm}", part(14, 16));
    folder.path.join(&format.container).join(name)
}
