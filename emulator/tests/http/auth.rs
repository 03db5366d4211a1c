//! `/_emulator/auth`: why a credential is refused, and a right one.

use serde_json::{Value, json};

use crate::hub::TestHub;

async fn explain(hub: &TestHub, question: Value) -> Value {
    let reply = hub
        .control("POST auth/explain", &question.to_string())
        .await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

async fn sign(hub: &TestHub, request: Value) -> Value {
    let reply = hub.control("POST auth/sign", &request.to_string()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

#[tokio::test]
async fn what_is_signed_is_explained_and_lets_its_holder_in() {
    let hub = TestHub::new();
    hub.create("d1").await;
    hub.create("d1/m1").await;

    let signed = sign(&hub, json!({"client": "d1", "seconds": 60})).await;
    let report = explain(&hub, json!({"text": signed["token"]})).await;
    let module = sign(&hub, json!({"client": "d1/m1", "key": "secondary"})).await;
    let service = sign(&hub, json!({"policy": "service"})).await;

    assert_eq!(signed["resource"], "hub/devices/d1");
    assert_eq!(signed["expires"], "2024-03-14T09:55:49Z");
    assert_eq!(signed["client_id"], "d1");
    assert_eq!(signed["user_name"], "hub/d1/?api-version=2021-04-12");
    assert_eq!(
        (&report["kind"], &report["verdict"], &report["refusal"]),
        (&json!("sas"), &json!("accepted"), &Value::Null)
    );
    assert_eq!(
        report["signed"]["string_to_sign"],
        "hub%2Fdevices%2Fd1\n1710410149"
    );
    assert_eq!(report["signed"]["made_with"], "primary key of device d1");
    assert_eq!(report["decoded"][0]["name"], "sr");
    for (text, kind) in [
        (&module["connection_string"], "connectionString"),
        (&service["token"], "sas"),
        (&service["connection_string"], "connectionString"),
        (&module["user_name"], "userName"),
    ] {
        let report = explain(&hub, json!({"text": text})).await;
        assert_eq!(
            (&report["verdict"], &report["kind"]),
            (&json!("accepted"), &json!(kind)),
            "{report}"
        );
    }
}

#[tokio::test]
async fn an_expired_token_is_told_by_the_frozen_clock() {
    let hub = TestHub::new();
    hub.create("d1").await;

    let signed = sign(&hub, json!({"client": "d1", "seconds": -3600})).await;
    let report = explain(&hub, json!({"text": signed["token"], "client": "d1"})).await;

    assert_eq!(report["verdict"], "refused");
    assert_eq!(report["refusal"]["code"], "IotHubUnauthorizedAccess");
    let finding = &report["findings"][0];
    assert_eq!(
        (&finding["level"], &finding["code"]),
        (&json!("error"), &json!("expired"))
    );
    let why = finding["why"].as_str().unwrap();
    assert!(
        why.starts_with("The hub's clock shows 2024-03-14T09:54:49Z and stands still."),
        "{why}"
    );
}

#[tokio::test]
async fn the_storage_account_is_known() {
    let hub = TestHub::new();
    let account = &hub.handle.blobs().settings().account;
    let string = |key: &str| {
        format!(
            "DefaultEndpointsProtocol=https;AccountName={};AccountKey={key};\
             BlobEndpoint=https://hub/{};",
            account.name, account.name
        )
    };

    let right = explain(&hub, json!({"text": string(&account.key.to_base64())})).await;
    let wrong = string("MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=");
    let wrong = explain(&hub, json!({"text": wrong})).await;
    let url = "https://hub/iothubemulator/uploads/d1/a.txt?sv=2018-03-28&sr=b&sig=AAAA&\
               se=2030-01-01T00%3A00%3A00Z&sp=rw";
    let url = explain(&hub, json!({"text": url})).await;

    assert_eq!(right["verdict"], "accepted", "{right}");
    assert_eq!(wrong["findings"][0]["code"], "unknown-key", "{wrong}");
    assert_eq!(url["kind"], "storageSignature");
    assert_eq!(url["findings"][0]["code"], "unknown-signature", "{url}");
}

#[tokio::test]
async fn nonsense_is_refused() {
    let hub = TestHub::new();
    for (path, body) in [
        ("explain", "{}"),
        ("explain", r#"{"text":" "}"#),
        ("explain", r#"{"text":"x","client":"a b"}"#),
        ("explain", "no JSON"),
        ("sign", "{}"),
        ("sign", r#"{"policy":"nobody"}"#),
        ("sign", r#"{"policy":"service","seconds":1e20}"#),
    ] {
        let reply = hub.control(&format!("POST auth/{path}"), body).await;
        assert_eq!(reply.status, 400, "{path} {body}: {reply:?}");
    }
    let unknown = hub
        .control("POST auth/sign", r#"{"client":"nobody"}"#)
        .await;
    assert_eq!(unknown.status, 404);
    let large = json!({"text": "x".repeat(100_000)}).to_string();
    let large = hub.control("POST auth/explain", &large).await;
    assert_eq!(large.status, 413, "{large:?}");
}
