//! Which operations share which throttle, and which of them count as messages of the day. What a
//! tier allows is the hub's knowledge; here is how operations are weighed.

use iothub_hub::Throttle;

use crate::activity::{Operation, OperationKind};

/// How much of its throttle and of the day's messages an operation takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Operations, or pieces of 4 KB where the throttle counts those.
    pub count: u64,
    /// Messages, where the operation is metered.
    pub messages: u64,
}

/// What the daily quota means to an operation. Microsoft's `iot-hub-devguide-pricing` lists what is
/// charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quota {
    /// Nothing.
    Free,
    /// It is refused once the quota is used up (`spec/device.md` 2.4).
    Checked,
    /// That too, and it is charged.
    Charged,
}

impl Load {
    /// One operation, one message.
    pub const ONE: Self = Self {
        count: 1,
        messages: 1,
    };

    /// So many operations.
    pub fn of(count: usize) -> Self {
        Self {
            count: count as u64,
            ..Self::ONE
        }
    }

    /// Messages of these sizes, when `unit` bytes count as one.
    pub fn of_messages(unit: usize, sizes: impl Iterator<Item = usize>) -> Self {
        let none = Self {
            count: 0,
            messages: 0,
        };
        sizes.fold(none, |sum, size| Self {
            count: sum.count + 1,
            messages: sum.messages + pieces(size, unit),
        })
    }

    /// A method with a payload of this size. Its throttle counts what goes to the device in pieces
    /// of 4 KB, whatever the tier.
    pub fn of_method(unit: usize, size: usize) -> Self {
        Self {
            count: pieces(size, 4096),
            messages: pieces(size, unit),
        }
    }
}

fn pieces(size: usize, unit: usize) -> u64 {
    size.div_ceil(unit).max(1) as u64
}

impl Operation<'_> {
    /// This operation, when it is more than one.
    #[must_use]
    pub fn weighing(self, load: Load) -> Self {
        Self { load, ..self }
    }
}

impl OperationKind {
    /// The throttle that it is subject to.
    pub(crate) fn throttle(self) -> Option<Throttle> {
        Some(match self {
            Self::PutDevice
            | Self::GetDevice
            | Self::ListDevices
            | Self::DeleteDevice
            | Self::PutModule
            | Self::GetModule
            | Self::ListModules
            | Self::DeleteModule
            | Self::BulkRegistry
            | Self::RegenerateKeys => Throttle::Registry,
            Self::Connect => Throttle::Connections,
            Self::SendTelemetry => Throttle::DeviceToCloud,
            Self::SendC2d => Throttle::CloudToDevice,
            Self::ReceiveC2d => Throttle::CloudToDeviceReceives,
            Self::StartUpload => Throttle::Uploads,
            Self::Query => Throttle::Queries,
            Self::InvokeMethod | Self::InvokeCommand => Throttle::Methods,
            Self::GetOwnTwin | Self::GetTwin | Self::GetDigitalTwin => Throttle::TwinReads,
            Self::PatchReported | Self::PatchTwin | Self::ReplaceTwin | Self::PatchDigitalTwin => {
                Throttle::TwinUpdates
            }
            Self::PutJob
            | Self::GetJob
            | Self::ListJobs
            | Self::CancelJob
            | Self::PutRegistryJob
            | Self::GetRegistryJob
            | Self::ListRegistryJobs
            | Self::CancelRegistryJob => Throttle::Jobs,
            Self::PutConfiguration
            | Self::GetConfiguration
            | Self::ListConfigurations
            | Self::DeleteConfiguration
            | Self::TestConfigurationQueries
            | Self::ApplyConfiguration => Throttle::Configurations,
            Self::Disconnect
            | Self::RenewToken
            | Self::AnnounceModel
            | Self::Subscribe
            | Self::Unsubscribe
            | Self::AnswerMethod
            | Self::GetStatistics
            | Self::SettleC2d
            | Self::GrantC2d
            | Self::PurgeC2d
            | Self::ReceiveFeedback
            | Self::SettleFeedback
            | Self::FinishUpload
            | Self::ReceiveFileNotification
            | Self::SettleFileNotification
            | Self::AccessBlob
            | Self::RunRegistryJob
            | Self::ReadEvents
            | Self::Control => return None,
        })
    }

    /// What the daily quota means to it.
    pub(crate) fn quota(self) -> Quota {
        match self {
            Self::SendTelemetry
            | Self::SendC2d
            | Self::InvokeMethod
            | Self::InvokeCommand
            | Self::GetOwnTwin
            | Self::GetTwin
            | Self::GetDigitalTwin
            | Self::PatchReported
            | Self::PatchTwin
            | Self::ReplaceTwin
            | Self::PatchDigitalTwin
            | Self::Query
            | Self::StartUpload
            | Self::FinishUpload => Quota::Charged,
            Self::Connect => Quota::Checked,
            _ => Quota::Free,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_in_pieces_and_none_is_less_than_one() {
        let load = Load::of_messages(4096, [0, 1, 4096, 4097].into_iter());

        assert_eq!(
            load,
            Load {
                count: 4,
                messages: 5
            }
        );
        assert_eq!(
            Load::of_method(512, 5000),
            Load {
                count: 2,
                messages: 10
            }
        );
    }
}
