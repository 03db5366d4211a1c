//! Direct methods on the device's side: what is called, and who answers.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::{Value, json};

/// A call of a direct method, as it reaches the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodCall {
    /// Which method is called.
    pub name: String,
    /// JSON text; empty when the caller sent no payload (`spec/device.md` 6.4).
    pub payload: Bytes,
}

/// What the device answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodResponse {
    /// Handed to the caller as it is; the numbers of HTTP are customary.
    pub status: i32,
    /// JSON text, or nothing.
    pub payload: Bytes,
}

impl MethodCall {
    /// The payload as JSON, if there is one and it is JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.payload).ok()
    }
}

impl MethodResponse {
    /// A status and nothing else.
    pub fn empty(status: i32) -> Self {
        Self {
            status,
            payload: Bytes::new(),
        }
    }

    /// A status and a payload.
    pub fn json(status: i32, payload: &Value) -> Self {
        Self {
            status,
            payload: payload.to_string().into(),
        }
    }
}

/// Answers calls of one method, or of all that nobody else answers.
pub(crate) type Handler = Arc<dyn Fn(MethodCall) -> Answer + Send + Sync>;
pub(crate) type Answer = Pin<Box<dyn Future<Output = MethodResponse> + Send>>;

/// The handlers of a client. The lock guards the tables alone; no handler runs under it.
#[derive(Default)]
pub(crate) struct Handlers {
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    by_name: HashMap<String, Handler>,
    fallback: Option<Handler>,
}

impl Handlers {
    /// Makes `handler` answer calls of `name` from now on.
    pub(crate) fn set(&self, name: String, handler: Handler) {
        self.tables().by_name.insert(name, handler);
    }

    /// Makes `handler` answer calls of methods without a handler of their own.
    pub(crate) fn set_fallback(&self, handler: Handler) {
        self.tables().fallback = Some(handler);
    }

    /// Forgets every handler. They often hold a clone of the client, which then ends too.
    pub(crate) fn clear(&self) {
        let tables = std::mem::take(&mut *self.tables());
        // Dropped here, outside the lock: a handler's drop may do anything.
        drop(tables);
    }

    /// The answer to a call, yet to be computed.
    pub(crate) fn answer(&self, call: MethodCall) -> Answer {
        let handler = {
            let tables = self.tables();
            tables
                .by_name
                .get(&call.name)
                .or(tables.fallback.as_ref())
                .cloned()
        };
        match handler {
            Some(handler) => handler(call),
            None => {
                let message = format!("there is no method {:?}", call.name);
                let response = MethodResponse::json(404, &json!({"message": message}));
                Box::pin(std::future::ready(response))
            }
        }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts a handler as a caller writes it into the form that is kept.
pub(crate) fn handler<F, A>(handler: F) -> Handler
where
    F: Fn(MethodCall) -> A + Send + Sync + 'static,
    A: Future<Output = MethodResponse> + Send + 'static,
{
    Arc::new(move |call| Box::pin(handler(call)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answering(status: i32) -> Handler {
        handler(move |_| async move { MethodResponse::empty(status) })
    }

    fn call(name: &str) -> MethodCall {
        MethodCall {
            name: name.into(),
            payload: Bytes::new(),
        }
    }

    #[tokio::test]
    async fn own_handler_comes_before_the_fallback_and_the_fallback_before_404() {
        let handlers = Handlers::default();
        handlers.set("known".into(), answering(200));

        assert_eq!(handlers.answer(call("known")).await.status, 200);
        assert_eq!(handlers.answer(call("unknown")).await.status, 404);

        handlers.set_fallback(answering(201));
        assert_eq!(handlers.answer(call("known")).await.status, 200);
        assert_eq!(handlers.answer(call("unknown")).await.status, 201);
    }
}
