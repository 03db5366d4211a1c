//! What goes over the wire without a lasting connection: against servers that play a script.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iothub_device::{
    ErrorCode, ErrorKind, HttpDeviceClient, HttpModuleClient, Message, PropertyBag, SystemProperty,
    json_message,
};
use iothub_protocol::sas::SasToken;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

const KEY: &str = "SharedAccessKey=MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=";
const BLOCK: usize = 4 * 1024 * 1024;

/// Answers each request, on a connection of its own, with the next of `answers`, and keeps what was
/// asked.
struct Script {
    address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

#[derive(Clone, Debug)]
struct Request {
    head: String,
    body: Vec<u8>,
}

impl Script {
    async fn play(answers: &[&str]) -> Self {
        Self::play_with(answers, None).await
    }

    async fn play_with(answers: &[&str], tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let answers: Vec<_> = answers.iter().map(|&answer| answer.to_owned()).collect();
        tokio::spawn(async move {
            for answer in answers {
                let (stream, _) = listener.accept().await.unwrap();
                match &tls {
                    None => serve(stream, &answer, &seen).await,
                    Some(tls) => serve(tls.accept(stream).await.unwrap(), &answer, &seen).await,
                }
            }
        });
        Self {
            address: format!("localhost:{port}"),
            requests,
        }
    }

    fn device(&self) -> HttpDeviceClient {
        HttpDeviceClient::builder(&format!("HostName=hub.example;DeviceId=d#1;{KEY}"))
            .http_address(&self.address)
            .build()
            .unwrap()
    }

    fn request(&self, index: usize) -> Request {
        self.requests.lock().unwrap()[index].clone()
    }

    fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

impl Request {
    fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    answer: &str,
    seen: &Mutex<Vec<Request>>,
) {
    let request = read_request(&mut stream).await;
    seen.lock().unwrap().push(request);
    stream.write_all(answer.as_bytes()).await.unwrap();
    let _ = stream.shutdown().await;
}

async fn read_request<S: AsyncRead + Unpin>(stream: &mut S) -> Request {
    let mut bytes = Vec::new();
    loop {
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
        let Some(end) = bytes.windows(4).position(|part| part == b"\r\n\r\n") else {
            continue;
        };
        let mut request = Request {
            head: String::from_utf8(bytes[..end].to_vec()).unwrap(),
            body: bytes[end + 4..].to_vec(),
        };
        let length = request.header("content-length");
        let length: usize = length.map_or(0, |length| length.parse().unwrap());
        while request.body.len() < length {
            assert_ne!(stream.read_buf(&mut request.body).await.unwrap(), 0);
        }
        return request;
    }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

fn done() -> String {
    "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n".to_owned()
}

fn created() -> String {
    answer("201 Created", "", "")
}

fn lost_lock() -> String {
    answer(
        "412 Precondition Failed",
        "iothub-errorcode: DeviceMessageLockLost\r\n",
        r#"{"Message":"ErrorCode:DeviceMessageLockLost;the lock is lost","ExceptionMessage":""}"#,
    )
}

fn full_message() -> Message {
    let mut properties = PropertyBag::new();
    properties.push_system(SystemProperty::MessageId, "m1");
    properties.push_system(SystemProperty::ContentType, "application/json");
    properties.push("k1", "v+ 1/%");
    Message {
        properties,
        body: "{}".into(),
    }
}

#[tokio::test]
async fn a_message_is_a_request_with_its_properties_as_headers() {
    let hub = Script::play(&[&done()]).await;

    hub.device().send_telemetry(full_message()).await.unwrap();

    let request = hub.request(0);
    assert_eq!(
        request.line(),
        "POST /devices/d%231/messages/events?api-version=2021-04-12 HTTP/1.1"
    );
    assert_eq!(request.header("iothub-messageid"), Some("m1"));
    assert_eq!(
        request.header("iothub-contenttype"),
        Some("application/json")
    );
    assert_eq!(request.header("iothub-app-k1"), Some("v+ 1/%"));
    assert_eq!(request.body, b"{}");
    let token = SasToken::parse(request.header("authorization").unwrap()).unwrap();
    assert_eq!(token.resource(), "hub.example/devices/d#1");
}

#[tokio::test]
async fn a_batch_is_one_request() {
    let hub = Script::play(&[&done()]).await;

    hub.device()
        .send_telemetry_batch(&[full_message(), json_message(&json!(2))])
        .await
        .unwrap();

    let request = hub.request(0);
    assert_eq!(
        request.header("content-type"),
        Some("application/vnd.microsoft.iothub.json")
    );
    let batch = request.json();
    assert_eq!(
        batch[0],
        json!({
            "body": "e30=",
            "base64Encoded": true,
            "properties": {
                "iothub-messageid": "m1",
                "iothub-contenttype": "application/json",
                "iothub-app-k1": "v+ 1/%",
            },
        })
    );
    assert_eq!(batch[1]["body"], STANDARD.encode("2"));
}

#[tokio::test]
async fn what_is_too_large_is_not_sent() {
    let hub = Script::play(&[]).await;
    let half = Message {
        body: vec![0; 128 * 1024 + 1].into(),
        ..Message::default()
    };

    let refused = hub
        .device()
        .send_telemetry_batch(&[half.clone(), half])
        .await
        .unwrap_err();

    assert!(matches!(refused.kind(), ErrorKind::TooLarge { .. }));
    assert_eq!(hub.count(), 0);
}

#[tokio::test]
async fn a_cloud_to_device_message_is_locked_and_settled() {
    let headers = "ETag: \"6a3f-77\"\r\niothub-messageid: m7\r\niothub-sequencenumber: 12\r\n\
         iothub-enqueuedtime: 8/6/2018 10:33:10 PM\r\niothub-deliverycount: 1\r\n\
         iothub-ack: full\r\niothub-app-K: v\r\n";
    let received = answer("200 OK", headers, "hello");
    let hub = Script::play(&[&received, &done(), &done(), &done(), &lost_lock(), &done()]).await;
    let device = hub.device();

    let message = device
        .receive_locked_for(Duration::from_secs(90))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(message.lock_token, "6a3f-77");
    assert_eq!((message.sequence_number, message.delivery_count), (12, 1));
    assert_eq!(message.enqueued_time, "8/6/2018 10:33:10 PM");
    assert_eq!(message.message.body, "hello");
    let properties = &message.message.properties;
    assert_eq!(properties.system(SystemProperty::MessageId).unwrap(), "m7");
    assert_eq!(properties.get("iothub-ack").unwrap(), "full");
    assert_eq!(properties.get("k").unwrap(), "v");
    device.complete(&message).await.unwrap();
    device.reject(&message).await.unwrap();
    device.abandon(&message).await.unwrap();
    let lost = device.complete(&message).await.unwrap_err();
    assert_eq!(lost.code(), Some(ErrorCode::DeviceMessageLockLost));
    assert_eq!(device.receive().await.unwrap(), None);

    let lines: Vec<_> = (0..4).map(|n| hub.request(n).line().to_owned()).collect();
    let path = "/devices/d%231/messages/devicebound";
    let version = "?api-version=2021-04-12";
    assert_eq!(
        lines,
        [
            format!("GET {path}{version} HTTP/1.1"),
            format!("DELETE {path}/6a3f-77{version} HTTP/1.1"),
            format!("DELETE {path}/6a3f-77{version}&reject HTTP/1.1"),
            format!("POST {path}/6a3f-77/abandon{version} HTTP/1.1"),
        ]
    );
    assert_eq!(
        hub.request(0).header("iothub-messagelocktimeout"),
        Some("90")
    );
    assert_eq!(hub.request(1).header("if-match"), Some("\"6a3f-77\""));
}

#[tokio::test]
async fn a_module_has_its_own_path_and_token() {
    let hub = Script::play(&[&done()]).await;
    let connection_string = format!("HostName=hub.example;DeviceId=d1;ModuleId=m1;{KEY}");
    let module = HttpModuleClient::builder(&connection_string)
        .http_address(&hub.address)
        .build()
        .unwrap();

    module
        .send_telemetry(json_message(&json!(1)))
        .await
        .unwrap();

    let request = hub.request(0);
    assert!(
        request
            .line()
            .starts_with("POST /devices/d1/modules/m1/messages/events?")
    );
    let token = SasToken::parse(request.header("authorization").unwrap()).unwrap();
    assert_eq!(token.resource(), "hub.example/devices/d1/modules/m1");
}

#[tokio::test]
async fn a_refusal_carries_the_hubs_code() {
    let refusal = answer(
        "401 Unauthorized",
        "iothub-errorcode: IotHubUnauthorizedAccess\r\n",
        r#"{"Message":"ErrorCode:IotHubUnauthorizedAccess;Unauthorized","ExceptionMessage":""}"#,
    );
    let hub = Script::play(&[&refusal]).await;

    let error = hub.device().receive().await.unwrap_err();

    assert_eq!(error.code(), Some(ErrorCode::IotHubUnauthorizedAccess));
    let ErrorKind::Refused(refusal) = error.kind() else {
        panic!("{error}");
    };
    assert_eq!(refusal.status, 401);
}

#[tokio::test]
async fn nobody_at_the_address_is_said_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let connection_string = format!("HostName=hub.example;DeviceId=d1;{KEY}");
    let device = HttpDeviceClient::builder(&connection_string)
        .http_address(address)
        .build()
        .unwrap();

    let error = device.receive().await.unwrap_err();

    assert!(
        matches!(error.kind(), ErrorKind::Unreachable(_)),
        "{error:?}"
    );
}

#[test]
fn unusable_settings_are_refused() {
    let device = format!("HostName=h;DeviceId=d1;{KEY}");
    let module = format!("HostName=h;DeviceId=d1;ModuleId=m1;{KEY}");
    for error in [
        HttpDeviceClient::new(&module).err(),
        HttpModuleClient::new(&device).err(),
        HttpDeviceClient::new("HostName=h;DeviceId=d1;x509=true").err(),
        HttpDeviceClient::builder(&device)
            .https_address("a b")
            .build()
            .err(),
        HttpDeviceClient::builder(&device)
            .ca_pem("none")
            .build()
            .err(),
    ] {
        assert!(matches!(error.unwrap().kind(), ErrorKind::Configuration(_)));
    }
}

/// A blob storage with TLS: itself, and the authority to trust.
async fn storage(answers: &[&str]) -> (Script, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap();
    let tls = TlsAcceptor::from(Arc::new(config));
    let script = Script::play_with(answers, Some(tls)).await;
    (script, certificate.pem())
}

fn place(storage: &Script) -> String {
    let place = json!({
        "correlationId": "MjAy/+==",
        "hostName": storage.address,
        "containerName": "uploads",
        "blobName": "d#1/f/x y.txt",
        "sasToken": "?sv=2018-03-28&sr=b&sig=a%2Bb%3D&sp=rw",
    });
    answer("200 OK", "", &place.to_string())
}

fn uploader(hub: &Script, ca: &str) -> HttpDeviceClient {
    HttpDeviceClient::builder(&format!("HostName=hub.example;DeviceId=d#1;{KEY}"))
        .http_address(&hub.address)
        .ca_pem(ca)
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_small_file_goes_in_one_piece() {
    let (storage, ca) = storage(&[&created()]).await;
    let hub = Script::play(&[&place(&storage), &done()]).await;

    uploader(&hub, &ca)
        .upload_file("f/x y.txt", "content")
        .await
        .unwrap();

    let asked = hub.request(0);
    assert_eq!(
        asked.line(),
        "POST /devices/d%231/files?api-version=2021-04-12 HTTP/1.1"
    );
    assert_eq!(asked.json(), json!({"blobName": "f/x y.txt"}));
    let put = storage.request(0);
    assert_eq!(
        put.line(),
        "PUT /uploads/d%231/f/x%20y.txt?sv=2018-03-28&sr=b&sig=a%2Bb%3D&sp=rw HTTP/1.1"
    );
    assert_eq!(put.header("x-ms-blob-type"), Some("BlockBlob"));
    assert_eq!(put.header("authorization"), None);
    assert_eq!(put.body, b"content");
    let told = hub.request(1);
    assert_eq!(
        told.line(),
        "POST /devices/d%231/files/notifications?api-version=2021-04-12 HTTP/1.1"
    );
    assert_eq!(
        told.json(),
        json!({"correlationId": "MjAy/+==", "isSuccess": true, "statusCode": 200,
               "statusDescription": "OK"})
    );
}

#[tokio::test]
async fn a_large_file_goes_as_blocks_and_their_list() {
    let (storage, ca) = storage(&[&created(), &created(), &created()]).await;
    let hub = Script::play(&[&place(&storage), &done()]).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large");
    let mut content = vec![1_u8; BLOCK];
    content.push(2);
    std::fs::write(&path, &content).unwrap();

    uploader(&hub, &ca)
        .upload_file_from("f/x y.txt", &path)
        .await
        .unwrap();

    let (first, second, list) = (storage.request(0), storage.request(1), storage.request(2));
    assert!(
        first.line().contains("&comp=block&blockid=MDAwMDAw "),
        "{}",
        first.line()
    );
    assert_eq!(first.body, &content[..BLOCK]);
    assert!(second.line().contains("&comp=block&blockid=MDAwMDAx "));
    assert_eq!(second.body, [2]);
    assert!(list.line().contains("&sp=rw&comp=blocklist "));
    assert_eq!(
        String::from_utf8(list.body).unwrap(),
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList><Latest>MDAwMDAw</Latest>\
         <Latest>MDAwMDAx</Latest></BlockList>"
    );
    assert_eq!(hub.request(1).json()["isSuccess"], true);
}

#[tokio::test]
async fn four_mebibytes_and_nothing_are_one_piece() {
    for content in [vec![3_u8; BLOCK], Vec::new()] {
        let (storage, ca) = storage(&[&created()]).await;
        let hub = Script::play(&[&place(&storage), &done()]).await;

        uploader(&hub, &ca)
            .upload_file("f", content.clone())
            .await
            .unwrap();

        assert_eq!(storage.request(0).body, content);
    }
}

#[tokio::test]
async fn the_hub_is_told_when_the_storage_refuses() {
    let refusal = answer(
        "403 Forbidden",
        "x-ms-error-code: AuthenticationFailed\r\n",
        "<Error/>",
    );
    let (storage, ca) = storage(&[&refusal]).await;
    let hub = Script::play(&[&place(&storage), &done()]).await;

    let error = uploader(&hub, &ca)
        .upload_file("f", "content")
        .await
        .unwrap_err();

    let expected = ErrorKind::StorageRefused {
        status: 403,
        message: "AuthenticationFailed".into(),
    };
    assert_eq!(error.kind(), &expected);
    let told = hub.request(1).json();
    assert_eq!(
        (&told["isSuccess"], &told["statusCode"]),
        (&json!(false), &json!(403))
    );
}

#[tokio::test]
async fn a_storage_that_is_not_trusted_gets_nothing() {
    let (_, other_ca) = storage(&[]).await;
    let (untrusted, _) = storage(&[&created()]).await;
    let hub = Script::play(&[&place(&untrusted), &done()]).await;

    let error = uploader(&hub, &other_ca)
        .upload_file("f", "content")
        .await
        .unwrap_err();

    assert!(matches!(error.kind(), ErrorKind::Untrusted(_)), "{error:?}");
    assert_eq!(hub.request(1).json()["isSuccess"], false);
    assert_eq!(untrusted.count(), 0);
}

#[tokio::test]
async fn the_steps_can_be_taken_one_by_one() {
    let (storage, ca) = storage(&[]).await;
    let hub = Script::play(&[&place(&storage), &done()]).await;
    let device = uploader(&hub, &ca);

    let info = device.get_storage_info_for_blob("f").await.unwrap();
    device
        .notify_blob_upload_status(&info.correlation_id, false, 404, "gone")
        .await
        .unwrap();

    assert!(
        info.url()
            .ends_with("/d%231/f/x%20y.txt?sv=2018-03-28&sr=b&sig=a%2Bb%3D&sp=rw")
    );
    assert!(
        !format!("{info:?}").contains("sig="),
        "a secret is not shown"
    );
    assert_eq!(
        hub.request(1).json(),
        json!({"correlationId": "MjAy/+==", "isSuccess": false, "statusCode": 404,
               "statusDescription": "gone"})
    );
}

#[tokio::test]
async fn a_file_that_is_not_there_asks_for_no_place() {
    let hub = Script::play(&[]).await;

    let error = hub
        .device()
        .upload_file_from("f", "/nowhere/at/all")
        .await
        .unwrap_err();

    assert!(matches!(error.kind(), ErrorKind::File(_)), "{error}");
    assert_eq!(hub.count(), 0);
}
