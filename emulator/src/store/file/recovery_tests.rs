//! What is there after a start: whole commits, and all of those that were acknowledged.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use iothub_hub::{Change, Event, PartitionHead, Subscriptions};
use iothub_protocol::registry::Authentication;
use proptest::prelude::*;

use super::{FileOptions, FileStore};
use crate::config::Durability;
use crate::store::samples::{client, events, identity, twin};
use crate::store::{Store, StoreError};

const OPTIONS: FileOptions = FileOptions {
    partitions: 2,
    retention_bytes: 64 * 1024,
    durability: Durability::Periodic,
    compact_above: u64::MAX,
};

/// The files of a directory.
type Image = BTreeMap<PathBuf, Vec<u8>>;

/// What a store says it holds.
#[derive(Clone, Debug, Default, PartialEq)]
struct Content {
    state: Vec<Change>,
    events: Vec<(u64, Vec<Event>)>,
}

fn open(path: &Path) -> Result<FileStore, StoreError> {
    FileStore::open(path, OPTIONS)
}

fn content(store: &mut FileStore) -> Result<Content, StoreError> {
    let mut state = Vec::new();
    store.load(&mut |change| state.push(change))?;
    let events = (0..OPTIONS.partitions)
        .map(|id| {
            Ok((
                store.first_sequence(id),
                store.read_events(id, 0, usize::MAX)?,
            ))
        })
        .collect::<Result<_, StoreError>>()?;
    Ok(Content { state, events })
}

/// Opens a copy of `image` and says what is in it.
fn restored(image: &Image) -> Result<Content, StoreError> {
    let directory = tempfile::tempdir().unwrap();
    for (path, bytes) in image {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    content(&mut open(directory.path())?)
}

fn image(directory: &Path) -> Image {
    let mut image = Image::new();
    for folder in ["", "events"] {
        for entry in fs::read_dir(directory.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let name = path.strip_prefix(directory).unwrap().to_owned();
                image.insert(name, fs::read(path).unwrap());
            }
        }
    }
    image
}

/// Commits of every shape.
fn commits() -> Vec<Vec<Change>> {
    let put = |id| identity(id, Authentication::CertificateAuthority);
    let append = |partition, first, count| Change::AppendEvents(events(partition, first, count));
    let head = PartitionHead {
        next_sequence: 50,
        next_offset: 5_000,
    };
    vec![
        vec![put("d1"), twin("d1", 1), Change::PutEntropy(3)],
        vec![append(0, 0, 1)],
        vec![append(0, 1, 3)],
        vec![
            put("d1/m1"),
            twin("d1/m1", 1),
            append(1, 0, 2),
            append(0, 4, 1),
        ],
        vec![Change::PutSubscriptions(
            client("d1"),
            Subscriptions::default(),
        )],
        vec![append(1, 2, 1)],
        vec![append(0, 5, 2), Change::DeleteIdentity(client("d1/m1"))],
        vec![Change::PutPartitionHead(1, head)],
        vec![append(1, 50, 2)],
        vec![append(0, 7, 1), put("d2"), Change::Reset],
        vec![append(0, 0, 2)],
        vec![put("d3"), twin("d3", 7), append(0, 2, 1)],
        vec![Change::DeleteSubscriptions(client("d3")), twin("d3", 8)],
    ]
}

/// Does all commits; answers, before the first and after each, the files and what is in them.
fn history() -> Vec<(Image, Content)> {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path()).unwrap();
    let mut history = vec![(image(directory.path()), content(&mut store).unwrap())];
    for commit in commits() {
        store.commit(commit).unwrap();
        history.push((image(directory.path()), content(&mut store).unwrap()));
    }
    history
}

#[test]
fn what_was_committed_is_there_after_a_sudden_end() {
    for (step, (image, content)) in history().iter().enumerate() {
        assert_eq!(&restored(image).unwrap(), content, "after commit {step}");
    }
}

#[test]
fn a_commit_that_was_being_written_is_there_or_not_but_never_in_part() {
    let history = history();
    for (step, pair) in history.windows(2).enumerate() {
        let [(before, old), (after, new)] = pair else {
            unreachable!("windows of two")
        };
        let mut between = before.clone();
        // Files are written in this order: state first.
        let mut grown: Vec<_> = after
            .iter()
            .filter(|(path, now)| before.get(*path) != Some(now))
            .collect();
        grown.sort_by_key(|(path, _)| path.starts_with("events"));
        for (path, now) in grown {
            let start = before.get(path).map_or(0, Vec::len);
            for length in (start..now.len())
                .step_by(11)
                .chain([now.len() - 1, now.len()])
            {
                between.insert(path.clone(), now[..length].to_vec());
                let found = restored(&between).unwrap();
                assert!(
                    found == *old || found == *new,
                    "commit {step}, {} cut at {length}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn a_file_that_ends_anywhere_holds_a_prefix() {
    let history = history();
    let (last, whole) = history.last().unwrap();
    for (path, bytes) in last {
        for length in (0..bytes.len()).step_by(7) {
            let mut cut = last.clone();
            cut.insert(path.clone(), bytes[..length].to_vec());
            let result = restored(&cut);
            if path.starts_with("events") {
                // Nothing else suffers; what the journal has of the events is put back.
                let found = result.unwrap();
                for ((_, found), (_, whole)) in found.events.iter().zip(&whole.events) {
                    assert!(
                        found.iter().all(|event| whole.contains(event)),
                        "cut at {length}"
                    );
                }
                assert_eq!(documents(&found), documents(whole), "cut at {length}");
            } else if let Ok(found) = result {
                let found = documents(&found);
                let known = history
                    .iter()
                    .any(|(_, content)| documents(content) == found);
                assert!(known, "cut at {length}");
            } else {
                // Segments of a reset that the journal does not know are not thrown away.
                assert!(
                    matches!(result, Err(StoreError::Damaged { .. })),
                    "cut at {length}"
                );
            }
        }
    }
}

/// The state without the event log.
fn documents(content: &Content) -> Vec<&Change> {
    let is_document = |change: &&Change| !matches!(change, Change::PutPartitionHead(..));
    content.state.iter().filter(is_document).collect()
}

#[test]
fn damage_in_the_middle_is_an_error_that_names_file_and_offset() {
    let history = history();
    let (last, _) = history.last().unwrap();
    let (path, bytes) = last
        .iter()
        .find(|(path, _)| path.extension() == Some("journal".as_ref()))
        .unwrap();
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    let mut image = last.clone();
    image.insert(path.clone(), flipped);

    let error = restored(&image).unwrap_err().to_string();

    let name = path.display().to_string();
    assert!(
        error.contains(&name) && error.contains("at offset"),
        "{error}"
    );
}

#[test]
fn a_compaction_keeps_everything_wherever_it_is_interrupted() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path()).unwrap();
    for commit in commits() {
        store.commit(commit).unwrap();
    }
    let expected = content(&mut store).unwrap();
    drop(store);
    let before = image(directory.path());
    let after = {
        let store = open(directory.path()).unwrap();
        wait_for_snapshot(directory.path(), 1);
        drop(store);
        image(directory.path())
    };
    let snapshot = PathBuf::from(format!("state-{:020}.snapshot", 1));
    let journal = PathBuf::from(format!("state-{:020}.journal", 1));
    let unfinished = PathBuf::from(format!("state-{:020}.snapshot.new", 1));
    let with = |mut image: Image, path: &PathBuf, bytes: &[u8]| {
        image.insert(path.clone(), bytes.to_vec());
        image
    };

    assert_eq!(restored(&after).unwrap(), expected);
    assert!(!after.contains_key(&PathBuf::from(format!("state-{:020}.journal", 0))));
    let begun = with(before, &journal, &after[&journal]);
    assert_eq!(
        restored(&begun).unwrap(),
        expected,
        "the next journal has begun"
    );
    let torn = with(begun.clone(), &journal, &after[&journal][..5]);
    assert_eq!(
        restored(&torn).unwrap(),
        expected,
        "the next journal is being begun"
    );
    let written = with(
        begun,
        &unfinished,
        &after[&snapshot][..after[&snapshot].len() / 2],
    );
    assert_eq!(
        restored(&written).unwrap(),
        expected,
        "the snapshot is being written"
    );
    let renamed = with(written, &snapshot, &after[&snapshot]);
    assert_eq!(
        restored(&renamed).unwrap(),
        expected,
        "the snapshot is there"
    );
}

#[test]
fn a_journal_that_outgrows_the_state_is_compacted() {
    let directory = tempfile::tempdir().unwrap();
    let options = FileOptions {
        compact_above: 10_000,
        ..OPTIONS
    };
    let mut store = FileStore::open(directory.path(), options).unwrap();

    for version in 1..2000 {
        store.commit(vec![twin("d1", version)]).unwrap();
    }
    let expected = content(&mut store).unwrap();
    store.close().unwrap();
    drop(store);

    let size: usize = image(directory.path()).values().map(Vec::len).sum();
    assert!(size < 200_000, "{size} bytes of files for one twin");
    assert_eq!(
        content(&mut open(directory.path()).unwrap()).unwrap(),
        expected
    );
}

#[test]
fn retention_survives_a_start_and_old_segments_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path()).unwrap();
    for first in (0..1000).step_by(4) {
        store
            .commit(vec![Change::AppendEvents(events(1, first, 4))])
            .unwrap();
    }
    let first = store.first_sequence(1);
    drop(store);

    let store = open(directory.path()).unwrap();

    assert!(first > 0);
    assert_eq!(store.first_sequence(1), first);
    for from in (first..1000).step_by(37) {
        let expected = events(1, from, (1000 - from).min(50));
        assert_eq!(
            store.read_events(1, from, 50).unwrap(),
            expected,
            "from {from}"
        );
    }
    let files = image(directory.path());
    let kept: usize = files
        .iter()
        .filter(|(path, _)| path.starts_with("events"))
        .map(|(_, bytes)| bytes.len())
        .sum();
    assert!((20_000..=40_000).contains(&kept), "{kept} bytes of events");
}

#[test]
fn a_directory_has_one_user_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = open(directory.path()).unwrap();

    let error = open(directory.path()).err().unwrap();
    first.close().unwrap();

    assert!(
        error
            .to_string()
            .contains(&directory.path().display().to_string()),
        "{error}"
    );
    assert!(matches!(error, StoreError::InUse { .. }));
    open(directory.path()).unwrap();
    let refused = first.commit(vec![Change::PutEntropy(1)]).unwrap_err();
    assert!(matches!(refused, StoreError::Stopped { .. }), "{refused}");
}

#[cfg(unix)]
#[test]
fn files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("data");
    let mut store = open(&directory).unwrap();
    store
        .commit(vec![Change::AppendEvents(events(0, 0, 1))])
        .unwrap();
    drop(store);

    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join("events")), 0o700);
    for path in image(&directory).keys() {
        assert_eq!(mode(&directory.join(path)), 0o600, "{}", path.display());
    }
}

#[test]
fn fewer_partitions_leave_the_others_files_alone() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path()).unwrap();
    store
        .commit(vec![Change::AppendEvents(events(1, 0, 3))])
        .unwrap();
    drop(store);

    drop(
        FileStore::open(
            directory.path(),
            FileOptions {
                partitions: 1,
                ..OPTIONS
            },
        )
        .unwrap(),
    );

    let store = open(directory.path()).unwrap();
    assert_eq!(store.read_events(1, 0, 10).unwrap(), events(1, 0, 3));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn damaged_files_are_refused_or_restored_without_panic(
        file in any::<proptest::sample::Index>(),
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        end in proptest::option::of(any::<proptest::sample::Index>()),
    ) {
        let mut image = final_image();
        let path = file.get(&image.keys().cloned().collect::<Vec<_>>()).clone();
        let bytes = image.get_mut(&path).unwrap();
        if !bytes.is_empty() {
            for (index, value) in flips {
                let at = index.index(bytes.len());
                bytes[at] = value;
            }
            if let Some(end) = end {
                bytes.truncate(end.index(bytes.len()));
            }
        }
        if let Err(error) = restored(&image) {
            prop_assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
        }
    }
}

/// Files with a snapshot, a journal, and several segments.
fn final_image() -> Image {
    static IMAGE: std::sync::OnceLock<Image> = std::sync::OnceLock::new();
    let make = || {
        let directory = tempfile::tempdir().unwrap();
        let mut store = open(directory.path()).unwrap();
        for commit in commits() {
            store.commit(commit).unwrap();
        }
        drop(store);
        let mut store = open(directory.path()).unwrap();
        wait_for_snapshot(directory.path(), 1);
        for first in (3..100).step_by(3) {
            store
                .commit(vec![
                    Change::AppendEvents(events(0, first, 3)),
                    twin("d3", first),
                ])
                .unwrap();
        }
        drop(store);
        image(directory.path())
    };
    IMAGE.get_or_init(make).clone()
}

/// Waits until a compaction has left a snapshot and nothing that it stands for.
fn wait_for_snapshot(directory: &Path, number: u64) {
    let old = directory.join(format!("state-{:020}.journal", number - 1));
    while old.exists() {
        std::thread::yield_now();
    }
}
