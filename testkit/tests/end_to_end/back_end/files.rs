//! Files that devices upload, and the notifications of them.

use iothub_testkit::TestHub;

use super::identities::register;

#[tokio::test]
async fn file_is_uploaded_and_a_back_end_is_told() {
    let hub = TestHub::start().await;
    register(&hub, &["d1"]).await;
    let backend = hub.backend();
    let large = vec![7; 5 * 1024 * 1024];

    let device = backend.on_behalf_of("d1");
    let small = device
        .upload_file("f/note 1.txt", "text".into(), "text/plain")
        .await
        .unwrap();
    let large_name = device
        .upload_file("large.bin", large.into(), "application/octet-stream")
        .await
        .unwrap();
    let notifications = backend.file_notifications();
    let first = notifications.receive().await.unwrap().unwrap();
    notifications.complete(&first.lock_token).await.unwrap();
    let second = notifications.receive().await.unwrap().unwrap();
    notifications.abandon(&second.lock_token).await.unwrap();
    let again = notifications.receive().await.unwrap().unwrap();

    assert_eq!(
        (small.as_str(), large_name.as_str()),
        ("d1/f/note 1.txt", "d1/large.bin")
    );
    assert_eq!(
        (first.device_id.as_str(), first.blob_name.as_str()),
        ("d1", small.as_str())
    );
    assert_eq!(first.blob_size_in_bytes, 4);
    assert_eq!(second.blob_size_in_bytes, 5 * 1024 * 1024);
    assert_eq!(again.blob_name, second.blob_name);
}
