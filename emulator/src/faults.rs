//! The fault plan: rules that make a named operation fail or wait, and what has fired.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use iothub_protocol::{ClientId, Clock, Error, ErrorCode};

use crate::activity::{Operation, OperationKind};
use crate::timeline::{Timeline, What};

/// One rule. It looks at operations of its kind (and client, when it names one), lets `skip` of
/// them pass, then acts on the next `count`.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultRule {
    /// Which operation.
    pub operation: OperationKind,
    /// Only this device or module; `None`: any.
    pub client: Option<ClientId>,
    /// How many pass first.
    pub skip: u64,
    /// How many it acts on.
    pub count: u64,
    /// What it does.
    pub action: FaultAction,
}

/// What a rule does with an operation.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultAction {
    /// Answers this in the hub's place; the hub does not see the operation.
    Fail(ErrorCode),
    /// Makes it wait, on the emulator's clock, before the hub sees it.
    Delay(Duration),
}

/// In words, for who looks on.
impl fmt::Display for FaultAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fail(code) => write!(f, "answered {} in the hub's place", code.name()),
            Self::Delay(delay) => write!(f, "made it wait {} s", delay.as_secs_f64()),
        }
    }
}

/// A rule with what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ArmedFault {
    /// The rule.
    pub rule: FaultRule,
    /// How many operations it has looked at.
    pub seen: u64,
    /// How many it has acted on.
    pub fired: u64,
}

/// All rules.
#[derive(Debug, Default)]
pub struct FaultPlan {
    /// Lets the usual case, no rules, pass without the lock.
    any: AtomicBool,
    /// Guards the rules; held while they are looked through.
    rules: Mutex<Vec<ArmedFault>>,
}

/// Rules at a time; each operation passes them all.
const MOST_RULES: usize = 1000;

impl FaultPlan {
    /// Adds a rule; `false` when there are too many already.
    pub fn arm(&self, rule: FaultRule) -> bool {
        let mut rules = self.lock();
        if rules.len() >= MOST_RULES {
            return false;
        }
        rules.push(ArmedFault {
            rule,
            seen: 0,
            fired: 0,
        });
        self.any.store(true, Ordering::SeqCst);
        true
    }

    /// Removes every rule.
    pub fn clear(&self) {
        self.lock().clear();
        self.any.store(false, Ordering::SeqCst);
    }

    /// The rules and what became of them.
    pub fn rules(&self) -> Vec<ArmedFault> {
        self.lock().clone()
    }

    /// How many rules there are, and on how many operations they have acted.
    pub fn counts(&self) -> (u64, u64) {
        let rules = self.lock();
        let fired = rules.iter().map(|armed| armed.fired).sum();
        (rules.len() as u64, fired)
    }

    /// What every operation passes through before the hub sees it.
    pub(crate) async fn gate(
        &self,
        operation: Operation<'_>,
        clock: &dyn Clock,
        timeline: &Timeline,
    ) -> Result<(), Error> {
        if !self.any.load(Ordering::Relaxed) {
            return Ok(());
        }
        for action in self.actions_on(operation) {
            timeline.push(What::FaultFired {
                operation: operation.kind,
                client: operation.client.cloned(),
                action: action.to_string().into(),
            });
            match action {
                FaultAction::Fail(code) => {
                    return Err(Error::new(code, code.default_message()));
                }
                FaultAction::Delay(delay) => clock.sleep_until(clock.now() + delay).await,
            }
        }
        Ok(())
    }

    fn actions_on(&self, operation: Operation<'_>) -> Vec<FaultAction> {
        let mut actions = Vec::new();
        for armed in self.lock().iter_mut() {
            let rule = &armed.rule;
            let concerns = rule.operation == operation.kind
                && rule
                    .client
                    .as_ref()
                    .is_none_or(|client| Some(client) == operation.client);
            if !concerns {
                continue;
            }
            armed.seen += 1;
            if armed.seen > rule.skip && armed.fired < rule.count {
                armed.fired += 1;
                actions.push(rule.action.clone());
            }
        }
        actions
    }

    fn lock(&self) -> MutexGuard<'_, Vec<ArmedFault>> {
        self.rules
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
