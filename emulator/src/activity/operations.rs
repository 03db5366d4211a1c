//! The operations of the hub by name.

use iothub_protocol::ClientId;

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
    /// How many things it is about: the messages of a burst; otherwise one.
    pub items: u64,
    /// How much of throttles and quotas it takes.
    pub load: Load,
}

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
            items: 1,
            load: Load::ONE,
        }
    }

    /// This operation, about `client`.
    pub fn on(self, client: &ClientId) -> Operation<'_> {
        Operation {
            kind: self,
            client: Some(client),
            items: 1,
            load: Load::ONE,
        }
    }
}

impl Operation<'_> {
    /// This operation, when it is about so many things.
    #[must_use]
    pub fn of(self, items: usize) -> Self {
        Self {
            items: items as u64,
            ..self
        }
    }
}
