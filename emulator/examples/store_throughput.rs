//! Prints how many events a second the file store takes; see `docs/storage.md`.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use iothub_emulator::clock::HubClock;
use iothub_emulator::config::Durability;
use iothub_emulator::store::{FileOptions, FileStore, Store};
use iothub_hub::{AuthMethod, AuthScope, AuthType, Change, Event, EventSource, Origin};
use iothub_protocol::{ClientId, Clock, Message};

fn main() -> anyhow::Result<()> {
    let clock = HubClock::system();
    let origin = Arc::new(Origin {
        client: ClientId::parse("d1")?,
        generation: "1".into(),
        auth_method: AuthMethod {
            scope: AuthScope::Device,
            kind: AuthType::Sas,
        },
        model_id: None,
    });
    let message = Message {
        body: Bytes::from(vec![b'x'; 100]),
        ..Message::default()
    };
    for (durability, batch, commits) in [
        (Durability::Periodic, 1, 500_000),
        (Durability::Periodic, 64, 20_000),
        (Durability::EveryCommit, 1, 500_000),
        (Durability::EveryCommit, 64, 20_000),
    ] {
        let directory = tempfile::tempdir()?;
        let options = FileOptions {
            durability,
            ..FileOptions::default()
        };
        let mut store = FileStore::open(directory.path(), options)?;
        let started = clock.now();
        for commit in 0..commits {
            let first = commit / 4 * batch;
            let events = (first..first + batch)
                .map(|sequence| Event {
                    partition: (commit % 4) as u16,
                    sequence,
                    offset: sequence * 200,
                    enqueued: started,
                    source: EventSource::Telemetry,
                    origin: origin.clone(),
                    message: message.clone(),
                })
                .collect();
            store.commit(vec![Change::AppendEvents(events)])?;
        }
        let written = clock.now().since(started);
        store.close()?;
        let closed = clock.now().since(started);
        let rate = |elapsed: std::time::Duration| (commits * batch) as f64 / elapsed.as_secs_f64();
        writeln!(
            std::io::stdout(),
            "{durability:?}, {batch} a commit: {:.0} events/s written, {:.0} with the last sync",
            rate(written),
            rate(closed),
        )?;
    }
    Ok(())
}
