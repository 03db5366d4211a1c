//! Direct methods: pending calls, their deadlines and their ends (`spec/device.md` 6,
//! `spec/service.md` 4).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use iothub_protocol::method::{MethodRequest, MethodResponse};
use iothub_protocol::{ClientId, Error, ErrorCode};

use crate::Hub;
use crate::access::{Permission, Principal};
use crate::cx::{Cx, Delivery, Effect, Notice};
use crate::deadlines::{DeadlineId, Due};
use crate::sessions::{Feature, SessionId};

/// Names a call while someone waits for its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

#[derive(Clone, Default)]
pub(crate) struct Methods {
    calls: BTreeMap<CallId, Call>,
    /// Calls that wait for their client to come and listen, oldest first.
    waiting: HashMap<ClientId, Vec<CallId>>,
    last: u64,
}

#[derive(Clone)]
struct Call {
    client: ClientId,
    name: Arc<str>,
    payload: Bytes,
    connect_timeout: Duration,
    response_timeout: Duration,
    state: State,
    deadline: DeadlineId,
    caller: Caller,
}

/// Who is told how a call ended.
#[derive(Clone, Copy)]
pub(crate) enum Caller {
    /// Someone outside, who waits for [`Effect::Complete`].
    Outside,
    /// The job that made it.
    Job,
}

#[derive(Clone, Copy)]
enum State {
    Waiting,
    Delivered { session: SessionId, request: u32 },
}

impl Methods {
    /// Whom a call is for, and which method.
    pub(crate) fn subject(&self, call: CallId) -> Option<(&ClientId, &str)> {
        let call = self.calls.get(&call)?;
        Some((&call.client, &call.name))
    }

    /// Nothing but where numbering goes on: who still holds a number must not meet it again.
    pub(crate) fn emptied(&self) -> Self {
        Self {
            last: self.last,
            ..Self::default()
        }
    }
}

impl Hub {
    /// Calls a method. The end comes as [`Effect::Complete`].
    ///
    /// Refuses at once with `DeviceNotFound` (also for a disabled device), `ModuleNotFound`,
    /// `DeviceNotOnline` when nobody listens and the caller does not want to wait,
    /// `MessageTooLarge`, or `DeviceMaximumInflightMethodExceeded`.
    pub fn invoke_method(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        client: &ClientId,
        request: MethodRequest,
    ) -> Result<CallId, Error> {
        caller.require(Permission::ServiceConnect)?;
        self.invoke(cx, client, request, Caller::Outside)
    }

    /// As [`Hub::invoke_method`], without a look at permissions.
    pub(crate) fn invoke(
        &mut self,
        cx: &mut Cx<'_>,
        client: &ClientId,
        request: MethodRequest,
        caller: Caller,
    ) -> Result<CallId, Error> {
        self.check_callable(client)?;
        let payload = request.payload.unwrap_or_default();
        if payload.len() > self.config.limits.method_payload {
            return Err(Error::new(
                ErrorCode::MessageTooLarge,
                format!("method payload of {} bytes", payload.len()),
            ));
        }
        let listening = self.sessions.find(client).and_then(|(session, state)| {
            state
                .subscriptions
                .get(Feature::Methods)
                .map(|_| (session, state.calls.len()))
        });
        let limit = self.config.limits.methods_in_flight;
        match listening {
            None if request.connect_timeout.is_zero() => {
                return Err(not_online(Duration::ZERO));
            }
            Some((_, in_flight)) if in_flight >= limit => {
                return Err(Error::new(
                    ErrorCode::DeviceMaximumInflightMethodExceeded,
                    format!("{client} has {in_flight} unanswered calls"),
                ));
            }
            None | Some(_) => {}
        }

        self.methods.last += 1;
        let id = CallId(self.methods.last);
        let deadline = self
            .deadlines
            .set(cx.now() + request.connect_timeout, Due::MethodConnect(id));
        let call = Call {
            client: client.clone(),
            name: request.name.into(),
            payload,
            connect_timeout: request.connect_timeout,
            response_timeout: request.response_timeout,
            state: State::Waiting,
            deadline,
            caller,
        };
        cx.notice(Notice::MethodInvoked {
            call: id,
            client: client.clone(),
            name: call.name.clone(),
            payload: call.payload.clone(),
        });
        self.methods.calls.insert(id, call);
        match listening {
            Some((session, _)) => self.deliver_call(cx, id, session),
            None => self
                .methods
                .waiting
                .entry(client.clone())
                .or_default()
                .push(id),
        }
        Ok(id)
    }

    /// Takes a client's answer. An answer to no open call of this session is ignored, as the real
    /// hub does (`spec/device.md` 6.3).
    pub fn complete_method(
        &mut self,
        cx: &mut Cx<'_>,
        session: SessionId,
        request: u32,
        response: MethodResponse,
    ) -> Result<(), Error> {
        let now = cx.now();
        let limit = self.config.limits.method_payload;
        let state = self.sessions.require(session)?;
        state.last_activity = now;
        if let Some(id) = state.calls.remove(&request) {
            let result = if response.payload.len() > limit {
                Err(Error::new(
                    ErrorCode::MessageTooLarge,
                    format!("method response of {} bytes", response.payload.len()),
                ))
            } else {
                Ok(response)
            };
            self.end_call(cx, id, result);
        }
        Ok(())
    }

    /// Forgets a call whose caller has gone away. A later answer is ignored.
    pub fn cancel_call(&mut self, id: CallId) {
        self.take_call(id);
    }

    pub(crate) fn release_waiting_calls(&mut self, cx: &mut Cx<'_>, session: SessionId) {
        let Some(client) = self.session_client(session).cloned() else {
            return;
        };
        for id in self.methods.waiting.remove(&client).unwrap_or_default() {
            self.deliver_call(cx, id, session);
        }
    }

    pub(crate) fn method_connect_timed_out(&mut self, cx: &mut Cx<'_>, id: CallId) {
        if let Some(timeout) = self.methods.calls.get(&id).map(|call| call.connect_timeout) {
            self.end_call(cx, id, Err(not_online(timeout)));
        }
    }

    pub(crate) fn method_response_timed_out(&mut self, cx: &mut Cx<'_>, id: CallId) {
        if let Some(timeout) = self
            .methods
            .calls
            .get(&id)
            .map(|call| call.response_timeout)
        {
            let error = Error::new(
                ErrorCode::GatewayTimeout,
                "Timed out waiting for the response from device.",
            );
            self.end_call(cx, id, Err(error.with_timeout(timeout)));
        }
    }

    pub(crate) fn fail_call(&mut self, cx: &mut Cx<'_>, id: CallId, code: ErrorCode) {
        self.end_call(cx, id, Err(Error::new(code, code.default_message())));
    }

    /// Ends the calls that wait for a client which no longer exists.
    pub(crate) fn fail_waiting_calls(&mut self, cx: &mut Cx<'_>, client: &ClientId) {
        for id in self.methods.waiting.remove(client).unwrap_or_default() {
            let code = match client.module {
                None => ErrorCode::DeviceNotFound,
                Some(_) => ErrorCode::ModuleNotFound,
            };
            self.fail_call(cx, id, code);
        }
    }

    pub(crate) fn fail_all_calls(&mut self, cx: &mut Cx<'_>) {
        let all: Vec<_> = self.methods.calls.keys().copied().collect();
        for id in all {
            self.fail_call(cx, id, ErrorCode::DeviceConnectionClosedRemotely);
        }
    }

    fn check_callable(&self, client: &ClientId) -> Result<(), Error> {
        let device = self.registry.device(&client.device);
        // The real hub does not tell a disabled device from an unknown one here.
        if device.is_none() || self.registry.is_disabled(&client.device) {
            return Err(Error::new(
                ErrorCode::DeviceNotFound,
                format!("Device {} not registered", client.device),
            ));
        }
        if self.registry.find(client).is_none() {
            return Err(Error::new(
                ErrorCode::ModuleNotFound,
                format!("Module {client} not registered"),
            ));
        }
        Ok(())
    }

    fn deliver_call(&mut self, cx: &mut Cx<'_>, id: CallId, session: SessionId) {
        let Some(call) = self.methods.calls.get_mut(&id) else {
            return;
        };
        let Ok(state) = self.sessions.require(session) else {
            return;
        };
        state.last_request = state.last_request.wrapping_add(1);
        let request = state.last_request;
        state.calls.insert(request, id);
        self.deadlines.cancel(call.deadline);
        call.deadline = self
            .deadlines
            .set(cx.now() + call.response_timeout, Due::MethodResponse(id));
        call.state = State::Delivered { session, request };
        let delivery = Delivery::MethodRequest {
            request,
            name: call.name.clone(),
            payload: std::mem::take(&mut call.payload),
        };
        cx.emit(Effect::Deliver(session, delivery));
    }

    fn end_call(&mut self, cx: &mut Cx<'_>, id: CallId, result: Result<MethodResponse, Error>) {
        let Some(call) = self.take_call(id) else {
            return;
        };
        cx.notice(Notice::MethodEnded {
            call: id,
            client: call.client,
            name: call.name,
            result: result.clone(),
        });
        match call.caller {
            Caller::Outside => cx.emit(Effect::Complete(id, result)),
            Caller::Job => self.job_call_ended(cx, id, result),
        }
    }

    fn take_call(&mut self, id: CallId) -> Option<Call> {
        let call = self.methods.calls.remove(&id)?;
        self.deadlines.cancel(call.deadline);
        match call.state {
            State::Waiting => {
                if let Some(waiting) = self.methods.waiting.get_mut(&call.client) {
                    waiting.retain(|&other| other != id);
                    if waiting.is_empty() {
                        self.methods.waiting.remove(&call.client);
                    }
                }
            }
            State::Delivered { session, request } => {
                if let Ok(state) = self.sessions.require(session) {
                    state.calls.remove(&request);
                }
            }
        }
        Some(call)
    }
}

fn not_online(timeout: Duration) -> Error {
    let code = ErrorCode::DeviceNotOnline;
    Error::new(code, code.default_message()).with_timeout(timeout)
}
