//! Faults on purpose: named operations that fail or wait.

use std::time::Duration;

use iothub_emulator::HubHandle;
use iothub_emulator::activity::OperationKind;
use iothub_emulator::faults::{FaultAction, FaultRule};
use iothub_protocol::{ClientId, ErrorCode};

/// The fault plan of one hub.
#[derive(Clone, Copy)]
pub struct Faults<'a> {
    handle: &'a HubHandle,
}

impl<'a> Faults<'a> {
    pub(crate) fn new(handle: &'a HubHandle) -> Self {
        Self { handle }
    }

    /// A fault of the next operation of this kind; see [`Fault`] for others than the next.
    pub fn next(self, operation: OperationKind) -> Fault<'a> {
        let action = FaultAction::Delay(Duration::ZERO);
        let rule = FaultRule {
            operation,
            client: None,
            skip: 0,
            count: 1,
            action,
        };
        Fault {
            handle: self.handle,
            rule,
        }
    }

    /// How many operations a fault has hit so far.
    pub fn fired(self) -> u64 {
        self.handle
            .faults()
            .rules()
            .iter()
            .map(|armed| armed.fired)
            .sum()
    }

    /// Takes back all faults.
    pub fn clear(self) {
        self.handle.faults().clear();
    }
}

/// A fault that is being described; [`Self::fails_with`] or [`Self::delays`] sets it.
#[must_use = "there is no fault before it is said what it does"]
pub struct Fault<'a> {
    handle: &'a HubHandle,
    rule: FaultRule,
}

impl Fault<'_> {
    /// Only operations on, or of, this device (`"d1"`) or module (`"d1/m1"`).
    ///
    /// # Panics
    ///
    /// When nobody can have this name.
    pub fn on(mut self, client: &str) -> Self {
        let id = ClientId::parse(client).unwrap_or_else(|error| panic!("{client:?}: {error}"));
        self.rule.client = Some(id);
        self
    }

    /// Lets this many operations pass first.
    pub fn after(mut self, operations: u64) -> Self {
        self.rule.skip = operations;
        self
    }

    /// Hits this many operations; one unless said.
    pub fn times(mut self, operations: u64) -> Self {
        self.rule.count = operations;
        self
    }

    /// The operation is refused with `code`; the hub never sees it.
    pub fn fails_with(self, code: ErrorCode) {
        self.arm(FaultAction::Fail(code));
    }

    /// The operation waits, by the hub's clock, before the hub sees it.
    pub fn delays(self, delay: Duration) {
        self.arm(FaultAction::Delay(delay));
    }

    fn arm(self, action: FaultAction) {
        self.handle.faults().arm(FaultRule {
            action,
            ..self.rule
        });
    }
}
