//! One record per operation: the log line and the counters.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use iothub_protocol::{ClientId, Error};

use crate::throttling::Load;

macro_rules! operations {
    ($($kind:ident = $name:literal,)*) => {
        /// The name of an operation, for logs, counters and fault rules.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum OperationKind {
            $(#[doc = concat!("`", $name, "`")] $kind,)*
        }

        impl OperationKind {
            /// Every operation.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// Its name as people write it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }
        }
    };
}

operations! {
    Connect = "connect",
    Disconnect = "disconnect",
    RenewToken = "renewToken",
    AnnounceModel = "announceModel",
    Subscribe = "subscribe",
    Unsubscribe = "unsubscribe",
    SendTelemetry = "sendTelemetry",
    InvokeMethod = "invokeMethod",
    AnswerMethod = "answerMethod",
    GetOwnTwin = "getOwnTwin",
    PatchReported = "patchReported",
    GetTwin = "getTwin",
    PatchTwin = "patchTwin",
    ReplaceTwin = "replaceTwin",
    PutDevice = "putDevice",
    GetDevice = "getDevice",
    ListDevices = "listDevices",
    DeleteDevice = "deleteDevice",
    PutModule = "putModule",
    GetModule = "getModule",
    ListModules = "listModules",
    DeleteModule = "deleteModule",
    BulkRegistry = "bulkRegistry",
    GetStatistics = "getStatistics",
    RegenerateKeys = "regenerateKeys",
    Query = "query",
    SendC2d = "sendC2d",
    ReceiveC2d = "receiveC2d",
    SettleC2d = "settleC2d",
    GrantC2d = "grantC2d",
    PurgeC2d = "purgeC2d",
    ReceiveFeedback = "receiveFeedback",
    SettleFeedback = "settleFeedback",
    StartUpload = "startUpload",
    FinishUpload = "finishUpload",
    ReceiveFileNotification = "receiveFileNotification",
    SettleFileNotification = "settleFileNotification",
    AccessBlob = "accessBlob",
    PutJob = "putJob",
    GetJob = "getJob",
    ListJobs = "listJobs",
    CancelJob = "cancelJob",
    PutRegistryJob = "putRegistryJob",
    GetRegistryJob = "getRegistryJob",
    ListRegistryJobs = "listRegistryJobs",
    CancelRegistryJob = "cancelRegistryJob",
    RunRegistryJob = "runRegistryJob",
    PutConfiguration = "putConfiguration",
    GetConfiguration = "getConfiguration",
    ListConfigurations = "listConfigurations",
    DeleteConfiguration = "deleteConfiguration",
    TestConfigurationQueries = "testConfigurationQueries",
    ApplyConfiguration = "applyConfiguration",
    GetDigitalTwin = "getDigitalTwin",
    PatchDigitalTwin = "patchDigitalTwin",
    InvokeCommand = "invokeCommand",
    ReadEvents = "readEvents",
    Control = "control",
}

/// Which operation, and whom it is about.
#[derive(Clone, Copy, Debug)]
pub struct Operation<'a> {
    /// Which.
    pub kind: OperationKind,
    /// The device or module, where it is about one.
    pub client: Option<&'a ClientId>,
    /// How much of throttles and quotas it takes.
    pub load: Load,
}

/// Counts operations and what was asked for and is not emulated.
#[derive(Debug)]
pub struct Activity {
    succeeded: Vec<AtomicU64>,
    refused: Vec<AtomicU64>,
    /// Guards the counts of things that are not emulated; held for one addition.
    not_emulated: Mutex<BTreeMap<String, u64>>,
}

/// Distinct things that are not emulated are counted up to this many, so that a hostile peer
/// cannot fill the memory with invented paths.
const NOT_EMULATED_CAPACITY: usize = 1000;

impl OperationKind {
    /// The operation with this name, ignoring case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|kind| kind.name().eq_ignore_ascii_case(name))
    }

    /// This operation, about nobody in particular.
    pub fn hub_wide(self) -> Operation<'static> {
        Operation {
            kind: self,
            client: None,
            load: Load::ONE,
        }
    }

    /// This operation, about `client`.
    pub fn on(self, client: &ClientId) -> Operation<'_> {
        Operation {
            kind: self,
            client: Some(client),
            load: Load::ONE,
        }
    }
}

impl Default for Activity {
    fn default() -> Self {
        let zeros = || {
            OperationKind::ALL
                .iter()
                .map(|_| AtomicU64::new(0))
                .collect()
        };
        Self {
            succeeded: zeros(),
            refused: zeros(),
            not_emulated: Mutex::default(),
        }
    }
}

impl Activity {
    /// Records the end of an operation.
    pub(crate) fn record(&self, operation: Operation<'_>, refusal: Option<&Error>) {
        let counters = if refusal.is_none() {
            &self.succeeded
        } else {
            &self.refused
        };
        counters[operation.kind as usize].fetch_add(1, Ordering::Relaxed);
        let name = operation.kind.name();
        let client = operation.client.map(tracing::field::display);
        match refusal {
            None => tracing::debug!(operation = name, client, "done"),
            Some(error) => tracing::info!(operation = name, client, %error, "refused"),
        }
    }

    /// Records that something was asked for that is not emulated.
    pub fn record_not_emulated(&self, what: &str) {
        tracing::warn!("not emulated: {what}");
        let mut counts = lock(&self.not_emulated);
        if let Some(count) = counts.get_mut(what) {
            *count += 1;
        } else if counts.len() < NOT_EMULATED_CAPACITY {
            counts.insert(what.to_owned(), 1);
        }
    }

    /// What was asked for and is not emulated, with how often.
    pub fn not_emulated(&self) -> BTreeMap<String, u64> {
        lock(&self.not_emulated).clone()
    }

    /// How often each operation succeeded and was refused.
    pub fn counts(&self) -> impl Iterator<Item = (OperationKind, u64, u64)> + '_ {
        OperationKind::ALL.iter().map(|&kind| {
            let index = kind as usize;
            (
                kind,
                self.succeeded[index].load(Ordering::Relaxed),
                self.refused[index].load(Ordering::Relaxed),
            )
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}
