//! Direct methods: the one operation whose caller waits for a device.

use bytes::Bytes;
use iothub_hub::{CallId, Hub, Principal};
use iothub_protocol::method::{MethodRequest, MethodResponse};
use iothub_protocol::{ClientId, Error, ErrorCode, Timestamp};
use tokio::sync::oneshot;

use super::HubHandle;
use crate::activity::{Operation, OperationKind};
use crate::clock::Stopwatch;
use crate::throttling::Load;

/// Cancels a call when its caller goes away.
struct CallGuard<'a> {
    handle: &'a HubHandle,
    operation: Operation<'a>,
    took: Stopwatch,
    id: Option<CallId>,
}

impl HubHandle {
    /// Calls a method and waits for its end. When the future is dropped, the call is cancelled.
    ///
    /// `authenticate` runs under the same lock as the call.
    pub async fn invoke_method(
        &self,
        client: &ClientId,
        request: MethodRequest,
        authenticate: impl FnOnce(&mut Hub, Timestamp) -> Result<Principal, Error>,
    ) -> Result<MethodResponse, Error> {
        let operation = OperationKind::InvokeMethod.on(client);
        self.invoke(operation, client, request, authenticate).await
    }

    /// As [`HubHandle::invoke_method`], for the command of a digital twin, which a device takes for
    /// a method.
    pub async fn invoke_command(
        &self,
        client: &ClientId,
        request: MethodRequest,
        authenticate: impl FnOnce(&mut Hub, Timestamp) -> Result<Principal, Error>,
    ) -> Result<MethodResponse, Error> {
        let operation = OperationKind::InvokeCommand.on(client);
        self.invoke(operation, client, request, authenticate).await
    }

    async fn invoke(
        &self,
        operation: Operation<'_>,
        client: &ClientId,
        request: MethodRequest,
        authenticate: impl FnOnce(&mut Hub, Timestamp) -> Result<Principal, Error>,
    ) -> Result<MethodResponse, Error> {
        let size = request.payload.as_ref().map_or(0, Bytes::len);
        let operation = match self.message_size() {
            None => operation,
            Some(unit) => operation.weighing(Load::of_method(unit, size)),
        };
        let took = Stopwatch::start();
        let sent = self
            .attempt(operation, |core, cx| {
                let caller = authenticate(&mut core.hub, cx.now())?;
                let id = core.hub.invoke_method(cx, &caller, client, request)?;
                let (sender, receiver) = oneshot::channel();
                core.callers.insert(id, sender);
                Ok((receiver, id))
            })
            .await;
        let (answer, id) = match sent {
            Ok((sent, _)) => sent,
            Err(refused) => {
                self.record(operation, took, Some(&refused));
                return Err(refused);
            }
        };
        let mut guard = CallGuard {
            handle: self,
            operation,
            took,
            id: Some(id),
        };
        let result = answer.await.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorCode::ServiceUnavailable,
                "the hub is stopping",
            ))
        });
        guard.id = None;
        self.record(operation, took, result.as_ref().err());
        result
    }

    fn cancel_call(&self, id: CallId) {
        self.lock().callers.remove(&id);
        let result = self.apply(|core, _| {
            core.hub.cancel_call(id);
            Ok(())
        });
        if let Err(error) = result {
            tracing::debug!(%error, "a call was not cancelled");
        }
    }
}

impl Drop for CallGuard<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.handle.cancel_call(id);
            let gone = Error::new(ErrorCode::RequestCanceled, "the caller has gone away");
            self.handle.record(self.operation, self.took, Some(&gone));
        }
    }
}
