//! Imports and exports of the registry (`spec/service.md` 6.5).

use iothub_emulator::blobs::{BlobSettings, Blobs};
use iothub_emulator::registry_jobs::{self, Folders};
use iothub_protocol::sas::SymmetricKey;
use serde_json::{Value, json};

use super::hub::TestHub;

/// A hub whose jobs are carried out, and which may use this folder.
fn hub(folder: &std::path::Path) -> TestHub {
    let blobs = Blobs::in_memory(BlobSettings {
        folders: Folders::Below(folder.to_owned()),
        ..BlobSettings::with_key(SymmetricKey::from_bytes([7; 32]))
    });
    let hub = TestHub::with_blobs(blobs);
    tokio::spawn(registry_jobs::run(hub.handle.clone()));
    hub
}

fn uri(folder: &std::path::Path) -> String {
    format!("file://{}", folder.display())
}

/// Creates a job and waits for its end.
async fn carry_out(hub: &TestHub, job: &Value) -> Value {
    let created = hub.owner("POST /jobs/create", &job.to_string()).await;
    assert_eq!(created.status, 200, "{created:?}");
    let job = created.json();
    assert_eq!(job["status"], "enqueued");
    let path = format!("GET /jobs/{}", job["jobId"].as_str().unwrap());
    loop {
        let job = hub.owner(&path, "").await.json();
        if !matches!(job["status"].as_str(), Some("enqueued" | "running")) {
            return job;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_registry_goes_out_and_in_by_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(folder.path());
    for client in ["d1", "d1/m1", "d2"] {
        hub.create(client).await;
    }
    let uri = uri(folder.path());

    let export = json!({"type": "export", "outputBlobContainerUri": uri});
    let exported = carry_out(&hub, &export).await;
    assert_eq!(exported["status"], "completed", "{exported}");
    assert_eq!(exported["progress"], 100);
    let path = folder.path().join("devices.txt");
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(
        (&lines[1]["id"], &lines[1]["moduleId"]),
        (&json!("d1"), &json!("m1"))
    );
    for device in ["d1", "d2"] {
        hub.owner(&format!("DELETE /devices/{device}"), "").await;
    }

    std::fs::write(
        &path,
        format!("{text}no json\n{{\"id\":\"d9\",\"importMode\":\"update\"}}"),
    )
    .unwrap();
    let import = json!({
        "type": "import",
        "inputBlobContainerUri": uri,
        "outputBlobContainerUri": uri,
    });
    let imported = carry_out(&hub, &import).await;

    assert_eq!(imported["status"], "completed", "{imported}");
    assert_eq!(
        hub.owner("GET /devices/d1/modules/m1", "").await.status,
        200
    );
    let device = hub.owner("GET /devices/d2", "").await.json();
    assert_eq!(device["authentication"], lines[2]["authentication"]);
    let log = std::fs::read_to_string(folder.path().join("importErrors.log")).unwrap();
    let codes: Vec<_> = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["errorCode"].clone())
        .collect();
    assert_eq!(codes, [400_006, 404_001]);
    let names: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    let all = hub.owner("GET /jobs", "").await.json();
    assert_eq!(all.as_array().unwrap().len(), 2);
    assert_eq!(all[0]["type"], "import");
    // Elsewhere such a job is but known to exist.
    let id = all[0]["jobId"].as_str().unwrap();
    let other = hub.owner(&format!("GET /jobs/v2/{id}"), "").await;
    assert_eq!(
        (other.status, &other.json()["type"]),
        (200, &json!("unknown"))
    );
}

#[tokio::test]
async fn children_may_stand_before_their_parents() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(folder.path());
    let scope = "ms-azure-iot-edge://edge-638000000000000000";
    let lines = [
        json!({"id": "leaf", "deviceScope": scope}),
        json!({"id": "leaf", "moduleId": "m1"}),
        json!({"id": "edge", "capabilities": {"iotEdge": true}, "deviceScope": scope}),
        json!({"id": "lost", "deviceScope": "ms-azure-iot-edge://nobody-1"}),
    ];
    let text: Vec<String> = lines.iter().map(Value::to_string).collect();
    std::fs::write(folder.path().join("devices.txt"), text.join("\n")).unwrap();
    let uri = uri(folder.path());

    let job = json!({
        "type": "import",
        "inputBlobContainerUri": uri,
        "outputBlobContainerUri": uri,
    });
    carry_out(&hub, &job).await;

    let leaf = hub.owner("GET /devices/leaf", "").await.json();
    assert_eq!(leaf["parentScopes"], json!([scope]));
    assert_eq!(
        hub.owner("GET /devices/leaf/modules/m1", "").await.status,
        200
    );
    let log = std::fs::read_to_string(folder.path().join("importErrors.log")).unwrap();
    assert!(
        log.starts_with(r#"{"deviceId":"lost","errorCode":400028,"#),
        "{log}"
    );
    assert_eq!(log.lines().count(), 1);
}

#[tokio::test]
async fn jobs_that_cannot_be_done_are_not_created() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(folder.path());
    let good = uri(folder.path());

    for (job, code) in [
        (json!({}), "ArgumentInvalid"),
        (json!({"type": "export"}), "ArgumentInvalid"),
        (
            json!({"type": "export", "outputBlobContainerUri": "https://a.blob.core.windows.net/c?sig=x"}),
            "BlobContainerValidationError",
        ),
        (
            json!({"type": "export", "outputBlobContainerUri": "file:///"}),
            "BlobContainerValidationError",
        ),
        (
            json!({"type": "export", "storageAuthenticationType": "identityBased",
                   "outputBlobContainerUri": "https://hub/nothing"}),
            "BlobContainerValidationError",
        ),
        (
            json!({"type": "import", "inputBlobContainerUri": good, "outputBlobContainerUri": good}),
            "BlobContainerValidationError",
        ),
    ] {
        let reply = hub.owner("POST /jobs/create", &job.to_string()).await;
        let found = (reply.status, reply.header("iothub-errorcode"));
        assert_eq!(found, (400, Some(code)), "{job}");
    }
    let unsigned = hub.connect().0.request("POST /jobs/create", &[], "").await;
    assert_eq!(unsigned.status, 401);
    assert_eq!(hub.owner("GET /jobs", "").await.body, "[]");
    let unknown = hub.owner("GET /jobs/j1", "").await;
    assert_eq!(unknown.header("iothub-errorcode"), Some("JobNotFound"));
    assert_eq!(hub.owner("DELETE /jobs/j1", "").await.status, 404);
}

#[tokio::test]
async fn a_job_that_waits_holds_up_the_next_until_it_is_cancelled() {
    // Nobody carries jobs out here.
    let hub = TestHub::new();
    let job = json!({
        "type": "export",
        "storageAuthenticationType": "identityBased",
        "outputBlobContainerUri": "https://hub/uploads",
    })
    .to_string();

    let first = hub.owner("POST /jobs/create", &job).await.json();
    let refused = hub.owner("POST /jobs/create", &job).await;
    let id = first["jobId"].as_str().unwrap();
    let quoted = format!("\"{id}\"");
    let cancelled = hub
        .owner_with(&format!("DELETE /jobs/{id}"), &[("If-Match", &quoted)], "")
        .await;

    assert_eq!(
        (refused.status, refused.header("iothub-errorcode")),
        (403, Some("JobQuotaExceeded"))
    );
    assert_eq!(cancelled.status, 204);
    let job = hub.owner(&format!("GET /jobs/{id}"), "").await.json();
    assert_eq!(job["status"], "cancelled");
}

#[tokio::test]
async fn configurations_go_out_and_in_when_they_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(folder.path());
    let content = r#"{"content":{"deviceContent":{"properties.desired.a":1}},"priority":3}"#;
    let put = hub.owner("PUT /configurations/c1", content).await;
    assert_eq!(put.status, 200, "{put:?}");
    let uri = uri(folder.path());
    let export = json!({
        "type": "export",
        "outputBlobContainerUri": uri,
        "includeConfigurations": true,
    });

    carry_out(&hub, &export).await;
    let path = folder.path().join("configurations.txt");
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(hub.owner("DELETE /configurations/c1", "").await.status, 204);
    let unknown = r#"{"id":"c2","importMode":"update"}"#;
    std::fs::write(&path, format!("{text}{unknown}\n")).unwrap();
    let import = json!({
        "type": "import",
        "inputBlobContainerUri": uri,
        "outputBlobContainerUri": uri,
        "includeConfigurations": true,
    });
    let imported = carry_out(&hub, &import).await;

    assert_eq!(imported["status"], "completed", "{imported}");
    let again = hub.owner("GET /configurations/c1", "").await.json();
    assert_eq!(again["priority"], 3);
    assert_eq!(again["content"], put.json()["content"]);
    let log = std::fs::read_to_string(folder.path().join("importErrors.log")).unwrap();
    assert!(
        log.starts_with(r#"{"deviceId":"c2","errorCode":404301,"#),
        "{log}"
    );
}
