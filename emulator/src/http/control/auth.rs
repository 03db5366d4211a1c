//! The auth doctor: why a credential is refused, and a right one to compare with.

use axum::extract::{Request, State};
use axum::response::Response;
use iothub_protocol::{ClientId, Error, json as members};
use serde_json::{Map, Value};

use super::{Control, client_id, object_of};
use crate::doctor::{Doctor, Question, SignRequest, Signatory, WhichKey};
use crate::http::answer;

/// Bytes of a request: a chain of certificates with room to spare.
const LARGEST: usize = 64 * 1024;
/// Further than a token has any reason to reach: a hundred years.
const FURTHEST: i64 = 100 * 365 * 86_400;

/// `POST /_emulator/auth/explain` with `{"text":"…","client":"d1","host":"…"}`, of which the text
/// alone is needed.
pub(super) async fn explain(State(control): State<Control>, request: Request) -> Response {
    let result = try_explain(&control, request).await;
    control.answer(result)
}

/// `POST /_emulator/auth/sign` with `{"client":"d1","key":"secondary","seconds":60}` or
/// `{"policy":"service"}`.
pub(super) async fn sign(State(control): State<Control>, request: Request) -> Response {
    let result = try_sign(&control, request).await;
    control.answer(result)
}

async fn try_explain(control: &Control, request: Request) -> Result<Response, Error> {
    let members = object_of(request, LARGEST).await?;
    let question = Question {
        text: text(&members, "text")?
            .ok_or_else(|| Error::argument_invalid("text is missing: what is to be explained"))?,
        client: client(&members)?,
        host: text(&members, "host")?,
    };
    let doctor = doctor(control).await?;
    // Trying keys is work, which others do not wait for.
    let report = tokio::task::spawn_blocking(move || doctor.explain(&question)).await;
    let report = report.map_err(|_| Error::argument_invalid("the text cannot be explained"))?;
    Ok(answer::value(&report.to_json()))
}

async fn try_sign(control: &Control, request: Request) -> Result<Response, Error> {
    let request = parse(&object_of(request, LARGEST).await?)?;
    let signed = doctor(control).await?.sign(&request)?;
    Ok(answer::value(&signed.to_json()))
}

async fn doctor(control: &Control) -> Result<Doctor, Error> {
    let access = control
        .perform(|hub, _, operator| hub.access_snapshot(operator))
        .await?;
    let host_name = control.info.hostname().to_owned();
    Ok(Doctor::of(&control.handle, access, host_name))
}

fn parse(members: &Map<String, Value>) -> Result<SignRequest, Error> {
    let signatory = match (text(members, "policy")?, client(members)?) {
        (Some(policy), client) => Signatory::Policy(policy, client),
        (None, Some(client)) => Signatory::Client(client),
        (None, None) => return Err(Error::argument_invalid("client or policy is missing")),
    };
    let key = match members::string(members, "key")?.unwrap_or("primary") {
        "primary" => WhichKey::Primary,
        "secondary" => WhichKey::Secondary,
        other => {
            let detail = format!("key must be primary or secondary, not {other:?}");
            return Err(Error::argument_invalid(detail));
        }
    };
    let seconds = match members::non_null(members, "seconds") {
        None => 3600,
        Some(value) => value
            .as_i64()
            .filter(|seconds| (-FURTHEST..=FURTHEST).contains(seconds))
            .ok_or_else(|| {
                Error::argument_invalid("seconds must be a whole number, at most 100 years")
            })?,
    };
    Ok(SignRequest {
        signatory,
        key,
        seconds,
        host: text(members, "host")?,
    })
}

/// An empty text is none.
fn text(members: &Map<String, Value>, name: &str) -> Result<Option<String>, Error> {
    let text = members::string(members, name)?.filter(|text| !text.trim().is_empty());
    Ok(text.map(str::to_owned))
}

fn client(members: &Map<String, Value>) -> Result<Option<ClientId>, Error> {
    text(members, "client")?
        .map(|text| client_id(text.trim()))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<SignRequest, Error> {
        parse(&members::parse_object(text.as_bytes()).unwrap())
    }

    #[test]
    fn who_signs_is_a_client_or_a_policy() {
        let client = parsed(r#"{"client":"d1/m1","key":"secondary","seconds":-5}"#).unwrap();
        let policy = parsed(r#"{"policy":"device","client":"d1"}"#).unwrap();
        let d1 = ClientId::parse("d1").unwrap();

        assert_eq!((client.key, client.seconds), (WhichKey::Secondary, -5));
        assert_eq!(
            policy.signatory,
            Signatory::Policy("device".into(), Some(d1))
        );
        assert_eq!((policy.key, policy.seconds), (WhichKey::Primary, 3600));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            "{}",
            r#"{"client":"a b"}"#,
            r#"{"client":"d1","key":"third"}"#,
            r#"{"client":"d1","seconds":"x"}"#,
            r#"{"client":"d1","seconds":1e300}"#,
        ] {
            assert!(parsed(text).is_err(), "{text}");
        }
    }
}
