//! Purging cloud-to-device messages; feedback and file notifications.

use iothub_backend::{ErrorKind, FeedbackStatus};
use iothub_protocol::Timestamp;

use crate::script::{Script, answer, line, no_content, ok};

#[tokio::test]
async fn purge_says_how_many_messages_are_gone() {
    let text = r#"{"totalMessagesPurged":3,"deviceId":"d1","moduleId":null}"#;
    let script = Script::play(vec![ok(text)]).await;

    assert_eq!(script.backend().c2d().purge("d1").await.unwrap(), 3);

    assert_eq!(
        line(&script.request(0)),
        "DELETE /devices/d1/commands?api-version=2021-04-12"
    );
}

#[tokio::test]
async fn feedback_is_received_completed_and_abandoned() {
    let records = r#"[{"originalMessageId":"m1","enqueuedTimeUtc":"2026-01-02T03:04:05.6Z",
        "statusCode":"success","description":"Success","deviceId":"d1","deviceGenerationId":"7"},
        {"originalMessageId":"m2","statusCode":"Lost","deviceId":"d2"}]"#;
    let script = Script::play(vec![
        answer("200 OK", "ETag: \"l/1\"\r\n", records),
        no_content(),
        no_content(),
        no_content(),
    ])
    .await;
    let backend = script.backend();

    let batch = backend.feedback().receive().await.unwrap().unwrap();
    backend
        .feedback()
        .complete(&batch.lock_token)
        .await
        .unwrap();
    backend.feedback().abandon(&batch.lock_token).await.unwrap();
    assert_eq!(backend.feedback().receive().await.unwrap(), None);

    assert_eq!(batch.lock_token, "l/1");
    let [first, second] = &batch.records[..] else {
        panic!("{:?}", batch.records)
    };
    assert_eq!(first.original_message_id, "m1");
    assert_eq!(first.status, FeedbackStatus::Success);
    assert_eq!(
        (
            first.device_id.as_str(),
            first.device_generation_id.as_str()
        ),
        ("d1", "7")
    );
    assert_eq!(
        first.enqueued_time,
        Timestamp::parse_iso("2026-01-02T03:04:05.6Z")
    );
    assert_eq!(second.status, FeedbackStatus::Other("Lost".into()));
    let lines = [
        "GET /messages/serviceBound/feedback?api-version=2021-04-12",
        "DELETE /messages/serviceBound/feedback/l%2F1?api-version=2021-04-12",
        "POST /messages/serviceBound/feedback/l%2F1/abandon?api-version=2021-04-12",
    ];
    for (index, expected) in lines.into_iter().enumerate() {
        assert_eq!(line(&script.request(index)), expected);
    }
}

#[tokio::test]
async fn feedback_without_a_lock_is_an_unexpected_answer() {
    let script = Script::play(vec![ok("[]")]).await;

    let error = script.backend().feedback().receive().await.unwrap_err();

    assert!(
        matches!(error.kind(), ErrorKind::UnexpectedAnswer(_)),
        "{error}"
    );
}

#[tokio::test]
async fn file_notification_is_read_alone_and_in_a_list() {
    let one = r#"{"deviceId":"d1","blobUri":"https://h/c/d1/f.txt","blobName":"d1/f.txt",
        "lastUpdatedTime":"2026-01-02T03:04:05+00:00","blobSizeInBytes":9,
        "enqueuedTimeUtc":"2026-01-02T03:04:06Z"}"#;
    let headers = "ETag: \"t\"\r\n";
    let script = Script::play(vec![
        answer("200 OK", headers, one),
        answer("200 OK", headers, &format!("[{one}]")),
        no_content(),
        no_content(),
        no_content(),
    ])
    .await;
    let backend = script.backend();
    let notifications = backend.file_notifications();

    let alone = notifications.receive().await.unwrap().unwrap();
    let listed = notifications.receive().await.unwrap().unwrap();
    notifications.complete("t").await.unwrap();
    notifications.abandon("t").await.unwrap();
    let none = notifications.receive().await.unwrap();

    assert_eq!((&alone, none), (&listed, None));
    assert_eq!(
        (alone.device_id.as_str(), alone.blob_name.as_str()),
        ("d1", "d1/f.txt")
    );
    assert_eq!(
        (alone.blob_size_in_bytes, alone.lock_token.as_str()),
        (9, "t")
    );
    assert!(alone.enqueued_time.is_some());
    assert_eq!(
        line(&script.request(2)),
        "DELETE /messages/serviceBound/filenotifications/t?api-version=2021-04-12"
    );
    assert_eq!(
        line(&script.request(3)),
        "POST /messages/serviceBound/filenotifications/t/abandon?api-version=2021-04-12"
    );
}
