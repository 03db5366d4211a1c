//! Configurations (`spec/service.md` 7).

use axum::response::Response;
use hyper::body::Incoming;
use iothub_hub::ConfigurationReading;
use iothub_protocol::configuration::{ConfigurationId, ConfigurationSpec, Content, QueriesTest};
use iothub_protocol::{Error, ErrorCode, json};
use serde_json::Value;

use crate::activity::OperationKind;
use crate::http::call::{Call, about, known};
use crate::http::route::Target;
use crate::http::{answer, body};

/// `GET /configurations?top=`
pub(super) async fn list(call: &Call<'_>) -> Result<Response, Error> {
    let top = match call.parameter("top") {
        None => Ok(None),
        Some(text) => match text.parse() {
            Ok(0) | Err(_) => Err(Error::argument_invalid(format!(
                "top must be a number from 1, not {text}"
            ))),
            Ok(top) => Ok(Some(top)),
        },
    };
    let operation = OperationKind::ListConfigurations.hub_wide();
    let reading = call
        .perform(operation, |hub, _, caller| hub.configurations(caller, top?))
        .await?;
    let configurations: Vec<Value> = printed(reading)
        .await?
        .into_iter()
        .map(|(configuration, _)| configuration)
        .collect();
    Ok(answer::value(&configurations.into()))
}

/// `POST /configurations/testQueries`
pub(super) async fn test_queries(call: &Call<'_>, body: Incoming) -> Result<Response, Error> {
    let test = call
        .read(body, body::ENTITY)
        .await
        .and_then(|body| QueriesTest::parse(&body));
    let operation = OperationKind::TestConfigurationQueries.hub_wide();
    let result = call
        .perform(operation, |hub, _, caller| {
            hub.test_configuration_queries(caller, &test?)
        })
        .await?;
    Ok(answer::value(&result))
}

/// `GET /configurations/{id}`
pub(super) async fn get(call: &Call<'_>, id: &str) -> Result<Response, Error> {
    let id = ConfigurationId::parse(id);
    let operation = OperationKind::GetConfiguration.hub_wide();
    let reading = call
        .perform(operation, |hub, _, caller| hub.configuration(caller, &id?))
        .await?;
    one(reading).await
}

/// `PUT /configurations/{id}`: creates without `If-Match`, updates with.
pub(super) async fn put(call: &Call<'_>, id: &str, body: Incoming) -> Result<Response, Error> {
    let id = ConfigurationId::parse(id);
    let spec = call
        .read(body, body::ENTITY)
        .await
        .and_then(|body| ConfigurationSpec::parse(&body));
    let operation = OperationKind::PutConfiguration.hub_wide();
    let reading = call
        .perform(operation, |hub, cx, caller| {
            hub.put_configuration(cx, caller, &id?, spec?, &call.if_match())
        })
        .await?;
    one(reading).await
}

/// `DELETE /configurations/{id}`
pub(super) async fn delete(call: &Call<'_>, id: &str) -> Result<Response, Error> {
    let id = ConfigurationId::parse(id);
    let operation = OperationKind::DeleteConfiguration.hub_wide();
    call.perform(operation, |hub, cx, caller| {
        hub.delete_configuration(cx, caller, &id?, &call.if_match())
    })
    .await?;
    Ok(answer::no_content())
}

/// `POST /devices/{id}/applyConfigurationContent`
pub(super) async fn apply(
    call: &Call<'_>,
    device: &str,
    body: Incoming,
) -> Result<Response, Error> {
    let client = Target::device(device).client();
    let content = call
        .read(body, body::ENTITY)
        .await
        .and_then(|body| Content::from_value(&json::parse(&body)?));
    let operation = about(OperationKind::ApplyConfiguration, &client);
    call.perform(operation, |hub, cx, caller| {
        hub.apply_configuration_content(cx, caller, &known(&client)?.device, &content?)
    })
    .await?;
    Ok(answer::no_content())
}

async fn one(reading: ConfigurationReading) -> Result<Response, Error> {
    let mut printed = printed(reading).await?;
    match printed.pop() {
        Some((configuration, etag)) => Ok(answer::entity(&configuration, &etag)),
        None => Err(Error::new(
            ErrorCode::ServerError,
            "there is nothing to print",
        )),
    }
}

/// Metrics are counted on a thread of their own, so that nobody waits for them but their caller.
async fn printed(reading: ConfigurationReading) -> Result<Vec<(Value, String)>, Error> {
    if reading.is_quick() {
        return Ok(reading.to_json());
    }
    tokio::task::spawn_blocking(move || reading.to_json())
        .await
        .map_err(|error| Error::new(ErrorCode::ServerError, error.to_string()))
}
