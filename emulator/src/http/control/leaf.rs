//! A certificate for a device or module, made where it is needed.

use std::path::PathBuf;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use iothub_protocol::{Clock, Error, ErrorCode, Timestamp, json as members};
use serde_json::{Map, Value, json};

use super::{Control, client_id, object_of};
use crate::certificates::{
    CertificateError, DeviceAuthority, Issued, KeyType, Validity, self_signed,
};
use crate::http::{answer, body, error};

/// What is wanted.
struct Wish {
    common_name: String,
    days: i64,
    key_type: KeyType,
    /// The directory of the authority that is to sign; `None`: nobody does.
    authority: Option<PathBuf>,
}

/// `POST /_emulator/certificates/leaf` with
/// `{"commonName":"d1","days":365,"keyType":"p256","signed":false}`: a certificate with a new key,
/// self-signed, or by the authority that `certs device` signs with. The hub keeps neither.
pub(super) async fn make(
    State(control): State<Control>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    // An authority may have this name, too: what one does with it has other verbs.
    if name != "leaf" {
        let (method, path) = (request.method(), request.uri().path());
        return control.refusal(&error::wrong_verb(&control.handle, method, path));
    }
    let result = try_make(&control, request).await;
    control.answer(result)
}

async fn try_make(control: &Control, request: Request) -> Result<Response, Error> {
    let document = object_of(request, body::ENTITY).await?;
    let wish = Wish::parse(control, &document)?;
    let validity = validity(control.handle.clock().now(), wish.days);
    let (name, key_type) = (wish.common_name, wish.key_type);
    // An RSA key may take a second.
    let made = tokio::task::spawn_blocking(move || match wish.authority {
        None => Ok((self_signed(&name, key_type, validity)?, None)),
        Some(dir) => {
            let authority = DeviceAuthority::of_devices(&dir)?;
            let issued = authority.issue(&name, key_type, validity)?;
            Ok((issued, Some(authority.certificate_pem().to_owned())))
        }
    });
    let failed = |error: &dyn std::error::Error| {
        Error::new(ErrorCode::ServerError, format!("certificate: {error}"))
    };
    let made: Result<(Issued, Option<String>), CertificateError> =
        made.await.map_err(|error| failed(&error))?;
    let (issued, authority) = made.map_err(|error| failed(&error))?;
    let thumbprints = issued.thumbprints();
    let mut told = json!({
        "certificate": issued.chain_pem,
        "private_key": issued.key_pem,
        "thumbprint_sha1": thumbprints.sha1_hex,
        "thumbprint_sha256": thumbprints.sha256_hex,
        "not_before": validity.not_before.to_iso(),
        "not_after": validity.not_after.to_iso(),
    });
    if let Some(authority) = authority {
        told["authority"] = authority.into();
    }
    Ok(answer::value(&told))
}

/// From 2020 on, so that an emulator whose clock is set back takes it, too.
fn validity(now: Timestamp, days: i64) -> Validity {
    let not_after = now.unix_seconds() + days * DAY;
    Validity {
        not_before: Timestamp::from_unix_seconds(YEAR_2020.min(not_after - DAY)),
        not_after: Timestamp::from_unix_seconds(not_after),
    }
}

impl Wish {
    fn parse(control: &Control, document: &Map<String, Value>) -> Result<Self, Error> {
        let common_name = members::string(document, "commonName")?
            .ok_or_else(|| Error::argument_invalid("commonName is missing"))?;
        let days = match members::non_null(document, "days") {
            None => 365,
            Some(days) => days
                .as_i64()
                .filter(|days| (-MOST_DAYS..=MOST_DAYS).contains(days))
                .ok_or_else(|| Error::argument_invalid("days must be a whole number of days"))?,
        };
        let key_type = match members::string(document, "keyType")? {
            None => KeyType::default(),
            Some(name) => key_type(name)
                .ok_or_else(|| Error::argument_invalid("keyType must be p256 or rsa2048"))?,
        };
        let is_signed = match members::non_null(document, "signed") {
            None => false,
            Some(Value::Bool(signed)) => *signed,
            Some(_) => return Err(Error::argument_invalid("signed must be true or false")),
        };
        let dir = control.info.ca_file().and_then(std::path::Path::parent);
        let authority = match (is_signed, dir) {
            (false, _) => None,
            (true, Some(dir)) => Some(dir.to_owned()),
            (true, None) => {
                return Err(Error::argument_invalid(
                    "this emulator keeps no certificates in a directory, and has no authority that \
                     could sign",
                ));
            }
        };
        Ok(Self {
            // The name of a device or module, which a verification code also could be.
            common_name: client_id(common_name)?.to_string(),
            days,
            key_type,
            authority,
        })
    }
}

fn key_type(name: &str) -> Option<KeyType> {
    match name.to_ascii_lowercase().as_str() {
        "p256" => Some(KeyType::P256),
        "rsa2048" => Some(KeyType::Rsa2048),
        _ => None,
    }
}

const DAY: i64 = 86_400;
const YEAR_2020: i64 = 1_577_836_800;
/// A hundred years.
const MOST_DAYS: i64 = 36_500;
