//! One request, as its operation needs it: who asks, with which conditions and parameters.

use std::borrow::Cow;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{AUTHORIZATION, IF_MATCH};
use http::request::Parts;
use hyper::body::Incoming;
use iothub_hub::{CertificateFacts, Credentials, Cx, Hub, Principal};
use iothub_protocol::http::{API_VERSION_PARAMETER, is_valid_api_version};
use iothub_protocol::registry::IfMatch;
use iothub_protocol::{ClientId, Error, ErrorCode, Timestamp};
use percent_encoding::percent_decode_str;

use super::recorded::Recorded;
use super::{auth, body};
use crate::activity::{Operation, OperationKind};
use crate::certificates::certificate_facts;
use crate::handle::HubHandle;
use crate::transport::Peer;

/// A request's head with the hub that it is for.
pub(super) struct Call<'a> {
    handle: &'a HubHandle,
    parts: &'a Parts,
    segments: &'a [String],
    caller: Caller<'a>,
    recorded: &'a Recorded<'a>,
}

/// In whose name a request is.
#[derive(Clone, Copy)]
pub(super) enum Caller<'a> {
    /// Whoever the request proves to be.
    Peer(&'a Peer),
    /// The people who run the emulator, who need no proof beyond that of the control API.
    Operator(&'a Peer),
}

impl<'a> Caller<'a> {
    fn peer(self) -> &'a Peer {
        match self {
            Self::Peer(peer) | Self::Operator(peer) => peer,
        }
    }
}

impl<'a> Call<'a> {
    pub(super) fn new(
        handle: &'a HubHandle,
        parts: &'a Parts,
        segments: &'a [String],
        caller: Caller<'a>,
        recorded: &'a Recorded<'a>,
    ) -> Self {
        Self {
            handle,
            parts,
            segments,
            caller,
            recorded,
        }
    }

    /// The request's headers.
    pub(super) fn headers(&self) -> &'a HeaderMap {
        &self.parts.headers
    }

    /// The host that the client believes to speak to, with its port if it named one.
    pub(super) fn host(&self) -> &'a str {
        auth::host(self.parts)
    }

    pub(super) fn handle(&self) -> &'a HubHandle {
        self.handle
    }

    /// Authenticates a back end and performs one operation, under one lock: whatever else is wrong with a
    /// request, one that is not authorized does not learn of it.
    pub(super) async fn perform<R>(
        &self,
        operation: Operation<'_>,
        f: impl FnOnce(&mut Hub, &mut Cx<'_>, &Principal) -> Result<R, Error>,
    ) -> Result<R, Error> {
        self.handle
            .call(operation, |hub, cx| {
                let caller = self.authenticate(hub, cx.now())?;
                f(hub, cx, &caller)
            })
            .await
    }

    /// As [`Call::perform`], and works the answer out from what the hub gave, outside of its lock.
    pub(super) async fn perform_then<R, T, F>(
        &self,
        operation: Operation<'_>,
        f: impl FnOnce(&mut Hub, &mut Cx<'_>, &Principal) -> Result<R, Error>,
        rest: impl FnOnce(R) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let authenticated = |hub: &mut Hub, cx: &mut Cx<'_>| {
            let caller = self.authenticate(hub, cx.now())?;
            f(hub, cx, &caller)
        };
        let handle = self.handle;
        handle.call_then(operation, authenticated, rest).await
    }

    /// Who asks; refuses with `IotHubUnauthorizedAccess`, then with `InvalidProtocolVersion`
    /// (`spec/service.md` 0.3, 1.1).
    pub(super) fn authenticate(&self, hub: &Hub, now: Timestamp) -> Result<Principal, Error> {
        if let Caller::Operator(_) = self.caller {
            return Ok(Principal::operator());
        }
        let credentials = auth::credentials(&self.parts.headers);
        let caller = hub.authenticate_service(now, self.host(), self.segments, credentials)?;
        self.check_api_version()?;
        Ok(caller)
    }

    /// Authenticates the device or module that asks, and performs one operation, under one lock.
    pub(super) async fn perform_as<R>(
        &self,
        operation: Operation<'_>,
        client: &ClientId,
        f: impl FnOnce(&mut Hub, &mut Cx<'_>, &Principal) -> Result<R, Error>,
    ) -> Result<R, Error> {
        // Read before the lock is taken: a certificate is work.
        let certificate = self.certificate();
        self.handle
            .call(operation, |hub, cx| {
                let caller =
                    self.authenticate_client(hub, cx.now(), client, certificate.as_ref())?;
                f(hub, cx, &caller)
            })
            .await
    }

    /// A device or module proves itself by a token or by the certificate of its TLS connection
    /// (`spec/device.md` 9.1). One that is disabled is told that it does not exist (9.6).
    fn authenticate_client(
        &self,
        hub: &Hub,
        now: Timestamp,
        client: &ClientId,
        certificate: Option<&CertificateFacts>,
    ) -> Result<Principal, Error> {
        let credentials = match (auth::credentials(&self.parts.headers), certificate) {
            (Credentials::None, Some(facts)) => Credentials::Certificate(facts),
            (credentials, _) => credentials,
        };
        let caller = hub
            .authenticate_client_anywhere(now, client, credentials)
            .map_err(|error| match error.code {
                ErrorCode::DeviceDisabled => Error::new(ErrorCode::DeviceNotFound, error.detail),
                _ => error,
            })?;
        self.check_api_version()?;
        Ok(caller)
    }

    /// What the connection's certificate proves; of interest only where there is no token.
    fn certificate(&self) -> Option<CertificateFacts> {
        if self.parts.headers.contains_key(AUTHORIZATION) {
            return None;
        }
        let tls = self.caller.peer().tls.as_ref()?;
        certificate_facts(&tls.certificates, || {
            self.handle.inspect(Hub::trust_anchors)
        })
    }

    fn check_api_version(&self) -> Result<(), Error> {
        let version = self.parameter(API_VERSION_PARAMETER);
        if version.is_some_and(|version| is_valid_api_version(&version)) {
            return Ok(());
        }
        let detail = "the query needs an api-version such as 2021-04-12";
        Err(Error::new(ErrorCode::InvalidProtocolVersion, detail))
    }

    /// The body, if it is neither too large nor too late.
    pub(super) async fn read(&self, body: Incoming, limit: usize) -> Result<Bytes, Error> {
        let body = body::read(&self.parts.headers, body, limit).await?;
        self.recorded.body(&body);
        Ok(body)
    }

    /// The condition that the caller makes (`spec/service.md` 2.3).
    pub(super) fn if_match(&self) -> IfMatch {
        let header = self.parts.headers.get(IF_MATCH);
        // What is not ASCII is no etag of ours, so that it matches none.
        IfMatch::parse(header.map(|value| value.to_str().unwrap_or("?")))
    }

    /// A parameter of the query, decoded.
    pub(super) fn parameter(&self, name: &str) -> Option<Cow<'a, str>> {
        parameter(self.parts.uri.query().unwrap_or_default(), name)
    }
}

/// The operation about `client`, or about nobody when the path names nobody that can exist.
pub(super) fn about(kind: OperationKind, client: &Result<ClientId, Error>) -> Operation<'_> {
    match client {
        Ok(client) => kind.on(client),
        Err(_) => kind.hub_wide(),
    }
}

/// The client, or why the path names none.
pub(super) fn known(client: &Result<ClientId, Error>) -> Result<&ClientId, Error> {
    client.as_ref().map_err(Clone::clone)
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| percent_decode_str(value).decode_utf8_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_and_decoded() {
        let query = "top=5&api-version=2021%2D04-12&flag";

        assert_eq!(
            parameter(query, "api-version").as_deref(),
            Some("2021-04-12")
        );
        assert_eq!(parameter(query, "Top").as_deref(), Some("5"));
        assert_eq!(parameter(query, "flag").as_deref(), Some(""));
        assert_eq!(parameter(query, "version"), None);
        assert_eq!(parameter("", "top"), None);
    }
}
