//! Certificate authorities for devices: registered, proved, listed. The real hub has these under
//! its management API, whose names and bodies are used here (`spec/service.md` 12).

use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::header::IF_MATCH;
use http::{HeaderMap, StatusCode};
use iothub_hub::{Authority, Hub};
use iothub_protocol::registry::IfMatch;
use iothub_protocol::{Error, json as members};
use serde_json::{Map, Value, json};

use super::{Control, object_of};
use crate::certificates::{certificate_facts, decode, parse_authority};
use crate::http::{answer, body};

/// `GET /_emulator/certificates`
pub(super) async fn list(State(control): State<Control>) -> Response {
    let result = control
        .perform(|hub, _, operator| hub.authorities(operator))
        .await;
    control.answer(result.map(|all| {
        let all: Vec<_> = all.iter().map(|one| one.to_json(false)).collect();
        answer::value(&json!({"value": all}))
    }))
}

/// `GET /_emulator/certificates/{name}`
pub(super) async fn show(State(control): State<Control>, Path(name): Path<String>) -> Response {
    let result = control
        .perform(|hub, _, operator| hub.authority(operator, &name))
        .await;
    control.answer(result.map(|one| resource(StatusCode::OK, &one, false)))
}

/// `PUT /_emulator/certificates/{name}` with `{"properties":{"certificate":"…","isVerified":false}}`,
/// the certificate as PEM text or base64. An `If-Match` is needed to change what is there.
pub(super) async fn put(
    State(control): State<Control>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    let result = try_put(&control, &name, request).await;
    control.answer(result)
}

/// `DELETE /_emulator/certificates/{name}`
pub(super) async fn remove(
    State(control): State<Control>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    let if_match = if_match(&headers);
    let result = control
        .perform(|hub, cx, operator| hub.delete_authority(cx, operator, &name, &if_match))
        .await;
    control.answer(result.map(|()| answer::no_content()))
}

/// `POST /_emulator/certificates/{name}/generateVerificationCode`
pub(super) async fn generate_verification_code(
    State(control): State<Control>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    let if_match = if_match(&headers);
    let result = control
        .perform(|hub, cx, operator| hub.generate_verification_code(cx, operator, &name, &if_match))
        .await;
    control.answer(result.map(|one| resource(StatusCode::OK, &one, true)))
}

/// `POST /_emulator/certificates/{name}/verify` with `{"certificate":"…"}`: one that the authority
/// signed, and whose common name is the code.
pub(super) async fn verify(
    State(control): State<Control>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    let result = try_verify(&control, &name, request).await;
    control.answer(result)
}

async fn try_put(control: &Control, name: &str, request: Request) -> Result<Response, Error> {
    let if_match = if_match(request.headers());
    let document = object_of(request, body::ENTITY).await?;
    // Older versions of the management API have the members at the top.
    let properties = members::object(&document, "properties")?.unwrap_or(&document);
    let certificate =
        parse_authority(certificate_text(properties)?).map_err(Error::argument_invalid)?;
    let is_verified = match members::non_null(properties, "isVerified") {
        None => None,
        Some(Value::Bool(is_verified)) => Some(*is_verified),
        Some(_) => return Err(Error::argument_invalid("isVerified must be true or false")),
    };
    let authority = control
        .perform(|hub, cx, operator| {
            hub.put_authority(cx, operator, name, certificate, is_verified, &if_match)
        })
        .await?;
    let status = match if_match {
        IfMatch::Absent => StatusCode::CREATED,
        IfMatch::Any | IfMatch::ETag(_) => StatusCode::OK,
    };
    Ok(resource(status, &authority, false))
}

async fn try_verify(control: &Control, name: &str, request: Request) -> Result<Response, Error> {
    let if_match = if_match(request.headers());
    let document = object_of(request, body::ENTITY).await?;
    let proof = decode(certificate_text(&document)?).map_err(Error::argument_invalid)?;
    // Signatures are verified before the lock is taken.
    let facts = certificate_facts(&[proof], || control.handle.inspect(Hub::trust_anchors))
        .ok_or_else(|| Error::argument_invalid("not an X.509 certificate"))?;
    let authority = control
        .perform(|hub, cx, operator| hub.verify_authority(cx, operator, name, &facts, &if_match))
        .await?;
    Ok(resource(StatusCode::OK, &authority, false))
}

fn certificate_text(document: &Map<String, Value>) -> Result<&str, Error> {
    members::string(document, "certificate")?
        .ok_or_else(|| Error::argument_invalid("certificate is missing"))
}

fn if_match(headers: &HeaderMap) -> IfMatch {
    let header = headers.get(IF_MATCH);
    IfMatch::parse(header.map(|value| value.to_str().unwrap_or("?")))
}

fn resource(status: StatusCode, authority: &Authority, with_code: bool) -> Response {
    let mut response = answer::entity(&authority.to_json(with_code), &authority.etag);
    *response.status_mut() = status;
    response
}
