//! Faults on demand: make an operation fail or wait, drop a connection.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use iothub_protocol::{ClientId, Error, ErrorCode, json as members};
use serde_json::{Map, Value, json};

use super::{Control, client_id, object_of};
use crate::activity::OperationKind;
use crate::faults::{ArmedFault, FaultAction, FaultRule};
use crate::http::{answer, body};

/// What a request asks for.
#[derive(Debug, PartialEq)]
enum Fault {
    /// From now on, as the rule says.
    Rule(FaultRule),
    /// End this connection, now.
    Drop(ClientId),
}

/// `POST /_emulator/faults`
pub(super) async fn add(State(control): State<Control>, request: Request) -> Response {
    let result = try_add(&control, request).await;
    control.answer(result)
}

/// `GET /_emulator/faults`: the rules, and how often each has seen an operation and acted on one.
pub(super) async fn list(State(control): State<Control>) -> Response {
    let rules: Vec<Value> = control
        .handle
        .faults()
        .rules()
        .iter()
        .map(rule_json)
        .collect();
    answer::value(&rules.into())
}

/// `DELETE /_emulator/faults`
pub(super) async fn clear(State(control): State<Control>) -> Response {
    control.handle.faults().clear();
    answer::no_content()
}

/// `GET /_emulator/faults/choices`: the operations that a rule can be for, and the codes that it can
/// fail them with.
pub(super) async fn choices() -> Response {
    let operations: Vec<&str> = OperationKind::ALL.iter().map(|kind| kind.name()).collect();
    let codes: Vec<Value> = ErrorCode::ALL
        .iter()
        .map(|code| {
            json!({
                "name": code.name(),
                "number": code.number(),
                "status": code.http_status(),
                "message": code.default_message(),
            })
        })
        .collect();
    answer::value(&json!({"operations": operations, "codes": codes}))
}

async fn try_add(control: &Control, request: Request) -> Result<Response, Error> {
    match parse(&object_of(request, body::ENTITY).await?)? {
        Fault::Rule(rule) => {
            let armed = ArmedFault {
                rule: rule.clone(),
                seen: 0,
                fired: 0,
            };
            if !control.handle.faults().arm(rule) {
                return Err(Error::argument_invalid(
                    "there are too many rules: clear them",
                ));
            }
            Ok(answer::json(
                StatusCode::CREATED,
                rule_json(&armed).to_string(),
            ))
        }
        Fault::Drop(client) => {
            control.drop_connection(&client).await?;
            Ok(answer::no_content())
        }
    }
}

fn parse(members: &Map<String, Value>) -> Result<Fault, Error> {
    let client = members::string(members, "client")?
        .map(client_id)
        .transpose()?;
    let action = match members::string(members, "fault")?.unwrap_or_default() {
        "fail" => FaultAction::Fail(code(members)?),
        "delay" => FaultAction::Delay(Duration::from_millis(
            whole_number(members, "millis")?.ok_or_else(|| missing("millis"))?,
        )),
        "drop" => return client.map(Fault::Drop).ok_or_else(|| missing("client")),
        other => {
            let detail = format!("fault must be fail, delay or drop, not {other:?}");
            return Err(Error::argument_invalid(detail));
        }
    };
    Ok(Fault::Rule(FaultRule {
        operation: operation(members)?,
        client,
        skip: whole_number(members, "nth")?.unwrap_or(1).max(1) - 1,
        count: whole_number(members, "count")?.unwrap_or(1),
        action,
    }))
}

fn operation(members: &Map<String, Value>) -> Result<OperationKind, Error> {
    let name = members::string(members, "operation")?.ok_or_else(|| missing("operation"))?;
    OperationKind::from_name(name).ok_or_else(|| {
        let names: Vec<_> = OperationKind::ALL.iter().map(|kind| kind.name()).collect();
        Error::argument_invalid(format!("operation must be one of {}", names.join(", ")))
    })
}

/// An error code by its name or its number.
fn code(members: &Map<String, Value>) -> Result<ErrorCode, Error> {
    let given = members::non_null(members, "code").ok_or_else(|| missing("code"))?;
    let known = match given {
        Value::String(name) => ErrorCode::from_name(name),
        other => other
            .as_u64()
            .and_then(|n| u32::try_from(n).ok())
            .and_then(ErrorCode::from_number),
    };
    known.ok_or_else(|| {
        Error::argument_invalid(format!(
            "code must be an error code, its name or number, not {given}"
        ))
    })
}

fn whole_number(members: &Map<String, Value>, name: &str) -> Result<Option<u64>, Error> {
    match members::non_null(members, name) {
        None => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or_else(|| {
            Error::argument_invalid(format!("{name} must be a whole number, not {value}"))
        }),
    }
}

fn missing(name: &str) -> Error {
    Error::argument_invalid(format!("{name} is missing"))
}

fn rule_json(armed: &ArmedFault) -> Value {
    let FaultRule {
        operation,
        client,
        skip,
        count,
        action,
    } = &armed.rule;
    let mut document = action_json(action);
    document["operation"] = operation.name().into();
    document["client"] = client.as_ref().map(ToString::to_string).into();
    document["nth"] = (skip + 1).into();
    document["count"] = (*count).into();
    document["seen"] = armed.seen.into();
    document["fired"] = armed.fired.into();
    document
}

fn action_json(action: &FaultAction) -> Value {
    match action {
        FaultAction::Fail(code) => json!({"fault": "fail", "code": code.name()}),
        FaultAction::Delay(delay) => {
            json!({"fault": "delay", "millis": u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)})
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Fault, Error> {
        parse(&members::parse_object(text.as_bytes()).unwrap())
    }

    #[test]
    fn a_failure_is_a_rule_with_a_code() {
        let fault = parsed(
            r#"{"fault":"fail","operation":"invokeMethod","code":"ThrottlingException","nth":3,
                "count":2,"client":"d1/m1"}"#,
        );

        assert_eq!(
            fault,
            Ok(Fault::Rule(FaultRule {
                operation: OperationKind::InvokeMethod,
                client: Some(ClientId::parse("d1/m1").unwrap()),
                skip: 2,
                count: 2,
                action: FaultAction::Fail(ErrorCode::ThrottlingException),
            }))
        );
    }

    #[test]
    fn a_delay_acts_on_the_next_operation_unless_it_says_otherwise() {
        let fault = parsed(r#"{"fault":"delay","operation":"getTwin","millis":250}"#);

        assert_eq!(
            fault,
            Ok(Fault::Rule(FaultRule {
                operation: OperationKind::GetTwin,
                client: None,
                skip: 0,
                count: 1,
                action: FaultAction::Delay(Duration::from_millis(250)),
            }))
        );
    }

    #[test]
    fn a_drop_names_a_client() {
        let fault = parsed(r#"{"fault":"drop","client":"d1"}"#);

        assert_eq!(fault, Ok(Fault::Drop(ClientId::parse("d1").unwrap())));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            r#"{}"#,
            r#"{"fault":"explode"}"#,
            r#"{"fault":"drop"}"#,
            r#"{"fault":"fail","operation":"invokeMethod"}"#,
            r#"{"fault":"fail","operation":"invokeMethod","code":"Nonsense"}"#,
            r#"{"fault":"fail","operation":"nonsense","code":429001}"#,
            r#"{"fault":"fail","operation":"getTwin","code":429001,"count":-1}"#,
            r#"{"fault":"delay","operation":"getTwin"}"#,
            r#"{"fault":"drop","client":"a b"}"#,
        ] {
            assert_eq!(
                parsed(text).unwrap_err().code,
                ErrorCode::ArgumentInvalid,
                "{text}"
            );
        }
    }
}
