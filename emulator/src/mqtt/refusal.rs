//! Which CONNACK code a refusal becomes (`spec/device.md` 2.4).

use iothub_protocol::ErrorCode;
use iothub_protocol::mqtt::packet::ConnAckCode;

use super::DisabledConnack;

/// The code for a refused CONNECT. What passes by itself is 3, which SDKs retry; everything about
/// who the client is, is 5 (2.4; 4 is never used by the real hub).
pub(super) fn connack_code(code: ErrorCode, disabled: DisabledConnack) -> ConnAckCode {
    match code.http_status() {
        429 | 500..=599 => ConnAckCode::ServerUnavailable,
        _ if code == ErrorCode::IotHubQuotaExceeded => ConnAckCode::ServerUnavailable,
        _ if code == ErrorCode::DeviceDisabled
            && disabled == DisabledConnack::ServerUnavailable =>
        {
            ConnAckCode::ServerUnavailable
        }
        _ => ConnAckCode::NotAuthorized,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_unavailable_and_the_rest_not_authorized() {
        for (code, wanted) in [
            (
                ErrorCode::IotHubUnauthorizedAccess,
                ConnAckCode::NotAuthorized,
            ),
            (ErrorCode::DeviceDisabled, ConnAckCode::NotAuthorized),
            (ErrorCode::DeviceNotFound, ConnAckCode::NotAuthorized),
            (
                ErrorCode::ThrottlingException,
                ConnAckCode::ServerUnavailable,
            ),
            (
                ErrorCode::IotHubQuotaExceeded,
                ConnAckCode::ServerUnavailable,
            ),
            (
                ErrorCode::ServiceUnavailable,
                ConnAckCode::ServerUnavailable,
            ),
        ] {
            let found = connack_code(code, DisabledConnack::default());
            assert_eq!(found, wanted, "{code:?}");
        }
    }

    #[test]
    fn a_disabled_device_is_refused_as_chosen() {
        let chosen = DisabledConnack::ServerUnavailable;

        let code = connack_code(ErrorCode::DeviceDisabled, chosen);

        assert_eq!(code, ConnAckCode::ServerUnavailable);
    }
}
