//! File-upload notifications (`spec/amqp.md` 5.3).

use iothub_emulator::Emulator;
use iothub_emulator::activity::OperationKind;
use iothub_hub::{BlobFacts, Principal};
use iothub_protocol::DeviceId;
use iothub_protocol::upload::UploadEnd;
use serde_json::json;

use crate::client::Client;
use crate::hub::{frozen_emulator, noon, register};

pub(crate) const ADDRESS: &str = "/messages/serviceBound/filenotifications";

/// Uploads a file of this name from d1.
pub(crate) async fn add(emulator: &Emulator, name: &str) {
    let device = DeviceId::parse("d1").unwrap();
    let operator = Principal::operator();
    let operation = OperationKind::FinishUpload.hub_wide();
    let blob = format!("d1/{name}");
    let done = emulator
        .handle()
        .call(operation, |hub, cx| {
            let upload = hub.start_upload(cx, &operator, &device, blob)?;
            let end = UploadEnd {
                correlation_id: upload.correlation_id.to_string(),
                success: true,
                status_code: None,
                status_description: None,
            };
            hub.finish_upload(cx, &operator, &device, &end, |name| {
                Some(BlobFacts {
                    uri: format!("https://localhost/uploads/{name}"),
                    size: 5,
                    last_modified: noon(),
                })
            })
        })
        .await;
    done.unwrap();
}

#[tokio::test]
async fn a_notification_tells_of_one_file() {
    let emulator = frozen_emulator().await;
    register(&emulator, "d1").await;
    let mut client = Client::service(&emulator, "service").await;
    let link = client.attach_receiver(ADDRESS, 1).await.unwrap();
    add(&emulator, "f.txt").await;

    let (delivery, message) = client.receive(link).await;

    assert_eq!(delivery.tag.len(), 16);
    let media_type = message.properties.content_type.as_ref().unwrap();
    assert_eq!(
        media_type.as_str(),
        "application/vnd.microsoft.iothub.filenotification.json"
    );
    let told: serde_json::Value = serde_json::from_slice(&message.data().unwrap()).unwrap();
    assert_eq!(
        told,
        json!({
            "deviceId": "d1",
            "blobUri": "https://localhost/uploads/d1/f.txt",
            "blobName": "d1/f.txt",
            "lastUpdatedTime": "2030-03-17T17:46:40+00:00",
            "blobSizeInBytes": 5,
            "enqueuedTimeUtc": noon().to_iso(),
        })
    );
}
