//! The blob service, as its clients see it.

use std::time::Duration;

use iothub_emulator::blobs::{BlobHeaders, BlobSettings, Blobs, Conditions, Home};
use iothub_protocol::Clock;
use iothub_protocol::sas::SymmetricKey;
use iothub_protocol::storage::{ContainerName, sign_blob};

use super::client::Reply;
use super::hub::TestHub;

const BLOCK_BLOB: (&str, &str) = ("x-ms-blob-type", "BlockBlob");

/// The path of a blob with a signature for everything.
fn signed(hub: &TestHub, blob: &str, permissions: &str) -> String {
    let account = &hub.handle.blobs().settings().account;
    let expires = hub.handle.clock().now() + Duration::from_secs(60);
    let sas = sign_blob(account, &uploads(), blob, permissions, expires);
    format!("/uploads/{}{sas}", blob.replace(' ', "%20"))
}

fn uploads() -> ContainerName {
    ContainerName::parse("uploads").unwrap()
}

async fn ask(hub: &TestHub, head: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    hub.connect().0.request(head, headers, body).await
}

fn refused(reply: &Reply) -> (u16, &str) {
    let code = reply.header("x-ms-error-code").unwrap_or("-");
    if !reply.body.is_empty() {
        assert_eq!(reply.header("content-type"), Some("application/xml"));
        assert!(
            reply.body.contains(&format!("<Code>{code}</Code>")),
            "{reply:?}"
        );
    }
    (reply.status, code)
}

#[tokio::test]
async fn a_blob_is_written_whole_and_read_in_parts() {
    let hub = TestHub::new();
    let path = signed(&hub, "d1/x y", "rwd");
    let headers = [
        BLOCK_BLOB,
        ("x-ms-version", "2021-12-02"),
        ("x-ms-client-request-id", "mine"),
        ("Content-Type", "text/plain"),
        ("x-ms-meta-kind", "report"),
    ];

    let put = ask(&hub, &format!("PUT {path}"), &headers, "0123456789").await;

    assert_eq!(put.status, 201, "{put:?}");
    for (name, value) in [
        ("etag", "\"0x8DC440CC9D977F7\""),
        ("last-modified", "Thu, 14 Mar 2024 09:54:49 GMT"),
        ("date", "Thu, 14 Mar 2024 09:54:49 GMT"),
        ("x-ms-version", "2021-12-02"),
        ("x-ms-client-request-id", "mine"),
        ("x-ms-request-server-encrypted", "true"),
        ("content-md5", "eB5eJF1ptWaXm4bijSPyxw=="),
        ("content-length", "0"),
    ] {
        assert_eq!(put.header(name), Some(value), "{name}");
    }
    assert!(put.header("x-ms-request-id").is_some());

    let get = format!("GET {path}");
    let whole = ask(&hub, &get, &[], "").await;
    assert_eq!((whole.status, whole.body.as_str()), (200, "0123456789"));
    assert_eq!(whole.header("content-type"), Some("text/plain"));
    assert_eq!(whole.header("x-ms-meta-kind"), Some("report"));
    assert_eq!(whole.header("x-ms-blob-type"), Some("BlockBlob"));
    for (headers, range, body) in [
        (&[("Range", "bytes=2-4")][..], "bytes 2-4/10", "234"),
        (
            &[("Range", "bytes=0-0"), ("x-ms-range", "bytes=8-99")],
            "bytes 8-9/10",
            "89",
        ),
    ] {
        let part = ask(&hub, &get, headers, "").await;
        assert_eq!((part.status, part.body.as_str()), (206, body));
        assert_eq!(part.header("content-range"), Some(range));
    }
    let beyond = ask(&hub, &get, &[("Range", "bytes=10-")], "").await;
    assert_eq!(refused(&beyond), (416, "InvalidRange"));
    let etag = whole.header("etag").unwrap();
    let same = ask(&hub, &get, &[("If-None-Match", etag)], "").await;
    assert_eq!(same.status, 304);

    let (mut client, _served) = hub.connect();
    client
        .write(format!("HEAD {path} HTTP/1.1\r\nHost: hub\r\n\r\n"))
        .await;
    let head = client.head().await.to_lowercase();
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("content-length: 10"), "{head}");

    let delete = ask(&hub, &format!("DELETE {path}"), &[], "").await;
    assert_eq!(delete.status, 202);
    assert_eq!(
        refused(&ask(&hub, &get, &[], "").await),
        (404, "BlobNotFound")
    );
}

#[tokio::test]
async fn blocks_become_a_blob_in_the_order_of_the_list() {
    let hub = TestHub::new();
    let path = signed(&hub, "d1/b", "rw");
    let block = |id: &str| format!("PUT {path}&comp=block&blockid={}", id.replace('=', "%3D"));
    let list = |ids: &[&str]| {
        let latest: String = ids
            .iter()
            .map(|id| format!("<Latest>{id}</Latest>"))
            .collect();
        format!("<?xml version=\"1.0\"?><BlockList>{latest}</BlockList>")
    };
    let commit = format!("PUT {path}&comp=blocklist");
    for (id, body) in [("Yg==", "world"), ("YQ==", "hello "), ("Yw==", "never")] {
        let reply = ask(&hub, &block(id), &[], body).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        assert!(reply.header("x-ms-content-crc64").is_some());
    }

    let unknown = ask(&hub, &commit, &[], &list(&["ZZZZ"])).await;
    assert_eq!(refused(&unknown), (400, "InvalidBlockList"));
    let blocks = format!("GET {path}&comp=blocklist&blocklisttype=all");
    let before = ask(&hub, &blocks, &[], "").await;
    assert!(before.body.contains("<CommittedBlocks></CommittedBlocks>"));
    assert!(
        before
            .body
            .contains("<Block><Name>Yg==</Name><Size>5</Size></Block>")
    );
    let content_type = [("x-ms-blob-content-type", "text/plain")];
    let committed = ask(&hub, &commit, &content_type, &list(&["YQ==", "Yg=="])).await;
    assert_eq!(committed.status, 201, "{committed:?}");

    let get = format!("GET {path}");
    let read = ask(&hub, &get, &[], "").await;
    assert_eq!(read.body, "hello world");
    assert_eq!(read.header("content-type"), Some("text/plain"));
    // A second list may name blocks of the blob itself.
    ask(&hub, &block("ZA=="), &[], "!").await;
    let again = list(&["Yg==", "ZA==", "YQ=="]);
    assert_eq!(ask(&hub, &commit, &[], &again).await.status, 201);
    assert_eq!(ask(&hub, &get, &[], "").await.body, "world!hello ");
    let empty = ask(&hub, &commit, &[], "<BlockList/>").await;
    assert_eq!(empty.status, 201);
    assert_eq!(ask(&hub, &get, &[], "").await.body, "");
}

#[tokio::test]
async fn refusals_are_of_the_storage_kind() {
    let hub = TestHub::new();
    let path = signed(&hub, "d1/x", "rw");
    let read_only = signed(&hub, "d1/x", "r");
    let put = format!("PUT {path}");
    let tampered = format!("PUT {}", path.replace("d1/x", "d1/y"));
    let none_match = [BLOCK_BLOB, ("If-None-Match", "*")];
    let md5 = [BLOCK_BLOB, ("Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA==")];
    let page = [("x-ms-blob-type", "PageBlob")];

    for (head, headers, body, expected) in [
        (put.as_str(), &[BLOCK_BLOB][..], "x", (201, "-")),
        (&put, &none_match, "x", (409, "BlobAlreadyExists")),
        (
            &put,
            &[BLOCK_BLOB, ("If-Match", "\"0x1\"")],
            "x",
            (412, "ConditionNotMet"),
        ),
        (&put, &[], "x", (400, "MissingRequiredHeader")),
        (&put, &page, "", (400, "InvalidBlobType")),
        (&put, &md5, "x", (400, "Md5Mismatch")),
        (&tampered, &[BLOCK_BLOB], "x", (403, "AuthenticationFailed")),
        (
            &format!("PUT {read_only}"),
            &[BLOCK_BLOB],
            "x",
            (403, "AuthorizationPermissionMismatch"),
        ),
        (
            &format!("DELETE {path}"),
            &[],
            "",
            (403, "AuthorizationPermissionMismatch"),
        ),
        (
            "GET /uploads/d1/x",
            &[],
            "",
            (401, "NoAuthenticationInformation"),
        ),
        (
            &format!("{put}&comp=block&blockid=%20"),
            &[],
            "x",
            (400, "InvalidBlockId"),
        ),
        (
            &format!("{put}&comp=blocklist"),
            &[],
            "no list",
            (400, "InvalidXmlDocument"),
        ),
        (
            &format!("{put}&comp=tier"),
            &[],
            "",
            (400, "UnsupportedQueryParameter"),
        ),
    ] {
        let reply = ask(&hub, head, headers, body).await;
        assert_eq!(refused(&reply), expected, "{head} {headers:?}");
    }
}

#[tokio::test]
async fn other_paths_stay_with_the_hub() {
    let hub = TestHub::new();
    hub.create("uploads").await;

    let device = hub.owner("GET /devices/uploads", "").await;
    let unknown = ask(&hub, "GET /nobody/knows", &[], "").await;
    let as_storage = ask(&hub, "GET /nobody/knows?sig=x", &[], "").await;

    assert_eq!(device.status, 200);
    assert_eq!(
        unknown.refusal(),
        "404 GenericNotFound ErrorCode:GenericNotFound;not emulated: GET /nobody/knows"
    );
    assert_eq!(refused(&as_storage).0, 403);
}

#[tokio::test]
async fn blobs_in_a_folder_survive_a_restart_and_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::Directory {
        path: folder.path().join("blobs"),
        sync: true,
    };
    let open = || {
        let settings = BlobSettings::with_key(SymmetricKey::from_bytes([7; 32]));
        Blobs::open(settings, &home).unwrap()
    };
    let now = TestHub::new().handle.clock().now();
    let write = |blobs: Blobs, name: &'static str, body: &'static str| async move {
        let mut draft = blobs.draft().await.unwrap();
        draft.write(body.into()).await.unwrap();
        let (content, _) = draft.finish().await.unwrap();
        let headers = BlobHeaders {
            content_type: Some("text/plain".into()),
            ..BlobHeaders::default()
        };
        blobs
            .put(
                &uploads(),
                name,
                content,
                headers,
                &Conditions::default(),
                now,
            )
            .await
            .unwrap()
    };

    let blobs = open();
    write(blobs.clone(), "../d1/x y", "first").await;
    let replaced = write(blobs.clone(), "../d1/x y", "second").await;
    write(blobs.clone(), "d1/gone", "third").await;
    let conditions = Conditions::default();
    blobs
        .delete(&uploads(), "d1/gone", &conditions)
        .await
        .unwrap();
    drop(blobs.draft().await.unwrap());
    drop(blobs);

    let blobs = open();
    let listed = blobs.list(&uploads(), "", None, "", 10).unwrap();
    assert_eq!(listed.blobs.len(), 1);
    let blob = &listed.blobs[0];
    assert_eq!((blob.name.as_str(), blob.content.len()), ("../d1/x y", 6));
    assert_eq!(blob.etag, replaced.etag);
    assert_eq!(blob.headers.content_type.as_deref(), Some("text/plain"));
    drop(replaced);
    let count = |path: &str| {
        let entries = std::fs::read_dir(folder.path().join("blobs").join(path));
        entries.unwrap().count()
    };
    assert_eq!(count("uploads/content"), 1);
    assert_eq!(count("uploads/properties"), 1);
    assert_eq!(count(".staging"), 0);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    // A later write has a later etag, whatever the clock says.
    assert!(write(blobs.clone(), "new", "").await.etag > listed.blobs[0].etag);
}

#[tokio::test]
async fn memory_for_blobs_is_bounded() {
    let settings = BlobSettings {
        memory_limit: 10,
        ..BlobSettings::with_key(SymmetricKey::from_bytes([7; 32]))
    };
    let blobs = Blobs::in_memory(settings);
    let mut first = blobs.draft().await.unwrap();
    first.write("12345678".into()).await.unwrap();

    let mut second = blobs.draft().await.unwrap();
    assert!(second.write("123".into()).await.is_err());
    drop(first);

    second.write("1234567890".into()).await.unwrap();
}
