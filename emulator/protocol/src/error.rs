//! The one table of what the hub answers when it refuses, and the error type that carries it.

use std::fmt;
use std::time::Duration;

use crate::{ClientId, DeviceId};

/// A refusal by the hub: a code and, for people, what it was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Which refusal it is.
    pub code: ErrorCode,
    /// What it was about, for a person; never a secret.
    pub detail: String,
    /// The time limit that ran out, where one did.
    pub timeout: Option<Duration>,
}

impl Error {
    /// A refusal with its subject.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            timeout: None,
        }
    }

    /// Adds the time limit that ran out.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// What to tell a person: the detail, or the code's own sentence when there is none.
    pub fn message(&self) -> &str {
        if self.detail.is_empty() {
            self.code.default_message()
        } else {
            &self.detail
        }
    }

    /// Code 400004: an argument breaks a rule; `detail` says which.
    pub fn argument_invalid(detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::ArgumentInvalid, detail)
    }

    /// Code 400006: the body is not JSON at all.
    pub fn format(detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::IotHubFormatError, detail)
    }

    /// Code 401002. The detail is for the log: over HTTP all such refusals look the same
    /// (`spec/service.md` 1.1), which `http::error_body` sees to.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::IotHubUnauthorizedAccess, detail)
    }

    /// Code 404001, spelled `ErrorCode:DeviceNotFound;{id}`.
    pub fn device_not_found(id: &DeviceId) -> Self {
        Self::new(ErrorCode::DeviceNotFound, id.as_str())
    }

    /// 404001 for a device, 404010 for a module.
    pub fn client_not_found(client: &ClientId) -> Self {
        match &client.module {
            None => Self::device_not_found(&client.device),
            Some(_) => Self::new(ErrorCode::ModuleNotFound, client.to_string()),
        }
    }

    /// Code 409001.
    pub fn device_already_exists(id: &DeviceId) -> Self {
        let detail = format!("A device with ID '{id}' is already registered.");
        Self::new(ErrorCode::DeviceAlreadyExists, detail)
    }

    /// 409001 for a device, 409301 for a module.
    pub fn client_already_exists(client: &ClientId) -> Self {
        match &client.module {
            None => Self::device_already_exists(&client.device),
            Some(module) => {
                let device = &client.device;
                let detail = format!(
                    "A module with ID '{module}' is already registered on device '{device}'."
                );
                Self::new(ErrorCode::ModuleAlreadyExistsOnDevice, detail)
            }
        }
    }

    /// Code 400011.
    pub fn defined_multiple_times(id: &str) -> Self {
        let detail = format!("DeviceDefinedMultipleTimes, device ID {id}");
        Self::new(ErrorCode::DeviceDefinedMultipleTimes, detail)
    }

    /// Code 412001: `If-Match` names another etag than `current`.
    pub fn precondition_failed(current: &str) -> Self {
        let detail = format!("Precondition failed: the current etag is {current}");
        Self::new(ErrorCode::PreconditionFailed, detail)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({}): {}",
            self.code.name(),
            self.code.number(),
            self.message()
        )
    }
}

impl std::error::Error for Error {}

macro_rules! error_codes {
    ($($name:ident = $number:literal, $amqp:literal, $message:literal;)*) => {
        /// What the hub answers when it refuses (`spec/service.md` 0.7).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ErrorCode {
            $(#[doc = concat!(stringify!($number), ": `", $message, "`")] $name,)*
        }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The six-digit number; its first three digits are the HTTP status.
            pub const fn number(self) -> u32 {
                match self { $(Self::$name => $number,)* }
            }

            /// The name as it stands in bodies and in the `iothub-errorcode` header.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// The AMQP error condition.
            pub const fn amqp_condition(self) -> &'static str {
                match self { $(Self::$name => $amqp,)* }
            }

            /// A sentence for people when there is nothing more precise to say.
            pub const fn default_message(self) -> &'static str {
                match self { $(Self::$name => $message,)* }
            }
        }
    };
}

error_codes! {
    // 400: the request
    GenericBadRequest = 400000, "amqp:not-allowed", "the request is malformed";
    InvalidProtocolVersion = 400001, "amqp:not-allowed", "the api-version is missing or not valid";
    DeviceInvalidResultCount = 400002, "amqp:not-allowed",
        "the number of results asked for is not valid";
    InvalidOperation = 400003, "amqp:not-allowed", "the operation is not valid here";
    ArgumentInvalid = 400004, "com.microsoft:argument-error", "BadRequest";
    ArgumentNull = 400005, "com.microsoft:argument-error", "BadRequest";
    IotHubFormatError = 400006, "com.microsoft:argument-error", "the body is not valid JSON";
    DeviceStorageEntitySerializationError = 400007, "amqp:not-allowed",
        "the device entity cannot be serialized";
    BlobContainerValidationError = 400008, "amqp:not-allowed", "the blob container cannot be used";
    ImportWarningExistsError = 400009, "amqp:not-allowed", "the import produced warnings";
    InvalidSchemaVersion = 400010, "amqp:not-allowed", "the schema version is not valid";
    DeviceDefinedMultipleTimes = 400011, "amqp:not-allowed",
        "a device is defined more than once in one call";
    DeserializationError = 400012, "com.microsoft:argument-error",
        "the body cannot be deserialized";
    BulkRegistryOperationFailure = 400013, "amqp:not-allowed",
        "at least one element of the bulk operation failed";
    DefaultStorageEndpointNotConfigured = 400014, "amqp:not-allowed",
        "no storage account is configured for file upload";
    InvalidFileUploadCorrelationId = 400015, "amqp:not-allowed",
        "the correlation id of the file upload is not known";
    ExpiredFileUploadCorrelationId = 400016, "amqp:not-allowed",
        "the correlation id of the file upload has expired";
    InvalidStorageEndpoint = 400017, "amqp:not-allowed", "the storage endpoint is not valid";
    InvalidMessagingEndpoint = 400018, "amqp:not-allowed", "the messaging endpoint is not valid";
    InvalidFileUploadCompletionStatus = 400019, "amqp:not-allowed",
        "the completion status of the file upload is not valid";
    InvalidStorageEndpointOrBlob = 400020, "amqp:not-allowed",
        "the storage endpoint or blob is not valid";
    RequestCanceled = 400021, "com.microsoft:operation-cancelled", "the request was cancelled";
    InvalidStorageEndpointProperty = 400022, "amqp:not-allowed",
        "a property of the storage endpoint is not valid";
    EtagDoesNotMatch = 400023, "com.microsoft:precondition-failed", "the etag does not match";
    RequestTimedOut = 400024, "com.microsoft:timeout", "the request timed out";
    UnsupportedOperationOnReplica = 400025, "amqp:not-allowed",
        "the operation is not supported on a replica";
    NullMessage = 400026, "com.microsoft:argument-error", "the message is empty";
    ConnectionForcefullyClosedOnNewConnection = 400027, "amqp:link:stolen",
        "a new connection of the same identity took over";
    InvalidDeviceScope = 400028, "amqp:not-allowed", "the device scope is not known or not allowed";
    ConnectionForcefullyClosedOnFaultInjection = 400029, "amqp:connection:forced",
        "the connection was closed by an injected fault";
    ConnectionRejectedOnFaultInjection = 400030, "amqp:connection:forced",
        "the connection was refused by an injected fault";
    InvalidEndpointAuthenticationType = 400031, "amqp:not-allowed",
        "the authentication type of the endpoint is not valid";
    ManagedIdentityNotEnabled = 400032, "amqp:not-allowed", "no managed identity is enabled";
    InvalidPolicyKey = 400035, "amqp:not-allowed", "the policy key to regenerate is not valid";
    BulkRegenerateDeviceKeyOperationFailure = 400036, "amqp:not-allowed",
        "at least one key could not be regenerated";
    InvalidRouteTestInput = 400100, "amqp:not-allowed", "the input of the route test is not valid";
    InvalidSourceOnRoute = 400101, "amqp:not-allowed", "the source of the route is not valid";
    RoutingNotEnabled = 400102, "amqp:not-allowed", "routing is not enabled";
    InvalidContentEncodingOrType = 400103, "amqp:not-allowed",
        "the content encoding or type is not valid";
    CannotRegisterModuleToModule = 400301, "amqp:not-allowed", "a module cannot have modules";
    TenantHubRoutingNotEnabled = 400302, "amqp:not-allowed",
        "routing is not enabled for the tenant hub";
    InvalidConfigurationTargetCondition = 400401, "amqp:not-allowed",
        "the target condition of the configuration is not valid";
    InvalidConfigurationContent = 400402, "amqp:not-allowed",
        "the content of the configuration is not valid";
    CannotModifyImmutableConfigurationContent = 400403, "amqp:not-allowed",
        "the content of a configuration cannot be changed";
    InvalidConfigurationCustomMetricsQuery = 400404, "amqp:not-allowed",
        "a metrics query of the configuration is not valid";
    InvalidPnPInterfaceDefinition = 400501, "amqp:not-allowed",
        "the interface definition is not valid";
    InvalidPnPDesiredProperties = 400502, "amqp:not-allowed",
        "the desired properties do not fit the model";
    InvalidPnPReportedProperties = 400503, "amqp:not-allowed",
        "the reported properties do not fit the model";
    InvalidPnPWritableReportedProperties = 400504, "amqp:not-allowed",
        "the writable reported properties do not fit the model";
    InvalidDigitalTwinJsonPatch = 400505, "amqp:not-allowed", "the JSON patch is not valid";
    InvalidDigitalTwinPayload = 400506, "amqp:not-allowed",
        "the payload of the digital twin is not valid";
    InvalidDigitalTwinPatch = 400507, "amqp:not-allowed",
        "the patch of the digital twin is not valid";
    InvalidDigitalTwinPatchPath = 400508, "amqp:not-allowed",
        "a path in the patch of the digital twin is not valid";
    // 401: who asks
    GenericUnauthorized = 401000, "amqp:unauthorized-access", "Unauthorized";
    IotHubNotFound = 401001, "com.microsoft:iot-hub-not-found-error", "the hub is not known";
    IotHubUnauthorizedAccess = 401002, "amqp:unauthorized-access", "Unauthorized";
    IotHubUnauthorized = 401003, "amqp:unauthorized-access", "Unauthorized";
    ElasticPoolNotFound = 401004, "amqp:unauthorized-access", "the elastic pool is not known";
    SystemModuleModifyUnauthorizedAccess = 401100, "amqp:unauthorized-access",
        "a system module cannot be changed";
    // 403: limits
    GenericForbidden = 403000, "amqp:not-allowed", "the operation is forbidden";
    IotHubSuspended = 403001, "com.microsoft:iot-hub-suspended", "the hub is suspended";
    IotHubQuotaExceeded = 403002, "com.microsoft:quota-exceeded", "the quota of the hub is used up";
    JobQuotaExceeded = 403003, "com.microsoft:quota-exceeded", "too many jobs are running";
    DeviceMaximumQueueDepthExceeded = 403004, "amqp:resource-limit-exceeded",
        "the queue of the device is full";
    IotHubMaxCbsTokenExceeded = 403005, "amqp:resource-limit-exceeded",
        "too many tokens on one connection";
    DeviceMaximumActiveFileUploadLimitExceeded = 403006, "amqp:resource-limit-exceeded",
        "Number of active file upload requests exceeded limit";
    DeviceMaximumQueueSizeExceeded = 403007, "amqp:resource-limit-exceeded",
        "the queue of the device holds too many bytes";
    RoutingEndpointResponseForbidden = 403008, "amqp:not-allowed", "the routing endpoint refused";
    InvalidMessageExpiryTime = 403009, "com.microsoft:argument-error",
        "the expiry time of the message is not valid";
    OperationNotAvailableInCurrentTier = 403010, "amqp:not-allowed",
        "the operation is not available in this tier";
    KeyEncryptionKeyRevoked = 403011, "amqp:not-allowed", "the customer-managed key is revoked";
    DeviceDisabled = 403012, "com.microsoft:entity-disabled", "the device is disabled";
    DeviceModelMaxPropertiesExceeded = 403100, "amqp:resource-limit-exceeded",
        "the model has too many properties";
    DeviceModelMaxIndexablePropertiesExceeded = 403101, "amqp:resource-limit-exceeded",
        "the model has too many indexable properties";
    DeviceMaximumInflightMethodExceeded = 403800, "amqp:resource-limit-exceeded",
        "too many method calls of the device are in flight";
    // 404: what was asked for
    GenericNotFound = 404000, "amqp:not-found", "not found";
    DeviceNotFound = 404001, "amqp:not-found", "the device is not registered";
    JobNotFound = 404002, "amqp:not-found", "the job is not known";
    QuotaMetricNotFound = 404004, "amqp:not-found", "the quota metric is not known";
    SystemPropertyNotFound = 404005, "amqp:not-found", "the system property is not known";
    AmqpAddressNotFound = 404006, "amqp:not-found", "the address is not known";
    RoutingEndpointResponseNotFound = 404007, "amqp:not-found", "the routing endpoint is not known";
    CertificateNotFound = 404008, "amqp:not-found", "the certificate is not known";
    ElasticPoolTenantHubNotFound = 404009, "amqp:not-found", "the tenant hub is not known";
    ModuleNotFound = 404010, "amqp:not-found", "the module is not registered";
    AzureTableStoreNotFound = 404011, "amqp:not-found", "the table is not known";
    IotHubFailingOver = 404012, "amqp:not-found", "the hub is failing over";
    FeatureNotSupported = 404013, "amqp:not-implemented", "the feature is not supported";
    DigitalTwinInterfaceNotFound = 404014, "amqp:not-found", "the interface is not known";
    QueryStoreClusterNotFound = 404101, "amqp:not-found", "the query store is not known";
    DeviceNotOnline = 404103, "amqp:not-found",
        "The operation failed because the requested device isn't online or hasn't registered \
         the direct method callback. To learn more, see https://aka.ms/iothub404103";
    DeviceConnectionClosedRemotely = 404104, "amqp:not-found", "Device unavailable";
    ConfigurationNotFound = 404301, "amqp:not-found", "the configuration is not known";
    GroupNotFound = 404302, "amqp:not-found", "the group is not known";
    DigitalTwinModelNotFound = 404401, "amqp:not-found", "the model is not known";
    InterfaceNameModelNotFound = 404402, "amqp:not-found", "the interface name is not known";
    // 405: how it was asked
    GenericMethodNotAllowed = 405000, "amqp:not-allowed", "the operation is not allowed";
    OperationNotAllowedInCurrentState = 405102, "amqp:not-allowed",
        "the operation is not allowed in this state";
    ImportDevicesNotSupported = 405103, "amqp:not-allowed", "importing devices is not supported";
    BulkAddDevicesNotSupported = 405104, "amqp:not-allowed",
        "adding devices in bulk is not supported";
    // 409: what is there already
    GenericConflict = 409000, "amqp:not-allowed", "Conflict";
    DeviceAlreadyExists = 409001, "com.microsoft:device-already-exists", "Conflict";
    LinkCreationConflict = 409002, "amqp:link:stolen", "another link of this kind exists";
    CallbackSubscriptionConflict = 409003, "amqp:not-allowed",
        "another subscription of this kind exists";
    ModelAlreadyExists = 409101, "amqp:not-allowed", "the model exists already";
    DeviceLocked = 409102, "amqp:resource-locked", "the device is locked";
    DeviceJobAlreadyExists = 409103, "amqp:not-allowed", "a job of the device exists already";
    JobAlreadyExists = 409104, "amqp:not-allowed", "the job exists already";
    ModuleAlreadyExistsOnDevice = 409301, "amqp:not-allowed", "the module exists already";
    ConfigurationAlreadyExists = 409401, "amqp:not-allowed", "the configuration exists already";
    ApplyConfigurationAlreadyInProgressOnDevice = 409402, "amqp:not-allowed",
        "a configuration is being applied to the device";
    DigitalTwinModelAlreadyExists = 409501, "amqp:not-allowed", "the model exists already";
    DigitalTwinModelExistsWithOtherModelType = 409502, "amqp:not-allowed",
        "the model exists with another type";
    InterfaceNameModelAlreadyExists = 409503, "amqp:not-allowed",
        "the interface name exists already";
    // 412: what the caller took for granted
    GenericPreconditionFailed = 412000, "com.microsoft:precondition-failed",
        "a precondition failed";
    PreconditionFailed = 412001, "com.microsoft:precondition-failed",
        "Precondition failed: the etag does not match";
    DeviceMessageLockLost = 412002, "com.microsoft:message-lock-lost",
        "the lock of the message is lost";
    JobRunPreconditionFailed = 412003, "com.microsoft:precondition-failed",
        "a precondition of the job run failed";
    InflightMessagesInLink = 412004, "com.microsoft:precondition-failed",
        "messages of the link are in flight";
    CredentialManagementPreconditionFailed = 412005, "com.microsoft:precondition-failed",
        "a precondition of credential management failed";
    // 413: too much
    GenericRequestEntityTooLarge = 413000, "amqp:link:message-size-exceeded",
        "the request is too large";
    MessageTooLarge = 413001, "amqp:link:message-size-exceeded", "the message is too large";
    TooManyDevices = 413002, "amqp:resource-limit-exceeded", "too many devices in one call";
    TooManyModulesOnDevice = 413003, "amqp:resource-limit-exceeded",
        "too many modules on the device";
    ConfigurationCountLimitExceeded = 413101, "amqp:resource-limit-exceeded",
        "too many configurations";
    DigitalTwinModelCountLimitExceeded = 413201, "amqp:resource-limit-exceeded", "too many models";
    InterfaceNameCompressionModelCountLimitExceeded = 413202, "amqp:resource-limit-exceeded",
        "too many interface names";
    // 415: the wrong kind
    GenericUnsupportedMediaType = 415000, "amqp:not-allowed", "the media type is not supported";
    IncompatibleDataType = 415101, "amqp:not-allowed", "the data type does not fit";
    // 429: too often
    GenericTooManyRequests = 429000, "com.microsoft:device-container-throttled",
        "too many requests";
    ThrottlingException = 429001, "com.microsoft:device-container-throttled", "too many requests";
    ThrottleBacklogLimitExceeded = 429002, "com.microsoft:device-container-throttled",
        "too many requests are waiting";
    ThrottlingBacklogTimeout = 429003, "com.microsoft:device-container-throttled",
        "the request waited too long";
    ThrottlingMaxActiveJobCountExceeded = 429004, "com.microsoft:device-container-throttled",
        "too many jobs are active";
    DeviceThrottlingLimitExceeded = 429005, "com.microsoft:device-container-throttled",
        "the device sends too many requests";
    // 499 and 5xx: the hub
    ClientClosedRequest = 499000, "com.microsoft:operation-cancelled",
        "the client closed the request";
    ServerError = 500001, "amqp:internal-error", "the hub failed";
    JobCancelled = 500002, "com.microsoft:operation-cancelled", "the job was cancelled";
    GenericTimeout = 500008, "com.microsoft:timeout", "the operation timed out";
    InvalidThrottleParameter = 500009, "amqp:internal-error", "a throttle is not set up";
    ModelRepoEndpointError = 500301, "amqp:internal-error", "the model repository failed";
    ResolutionError = 500302, "amqp:internal-error", "the model cannot be resolved";
    GenericBadGateway = 502000, "amqp:internal-error",
        "the device answered something that cannot be passed on";
    GenericServiceUnavailable = 503000, "com.microsoft:server-busy", "the hub is not available";
    ServiceUnavailable = 503001, "com.microsoft:server-busy", "the hub is not available";
    PartitionNotFound = 503003, "amqp:not-found", "the partition is not known";
    IotHubActivationFailed = 503004, "amqp:internal-error", "the hub could not be activated";
    ServerBusy = 503005, "com.microsoft:server-busy", "the hub is busy";
    IotHubRestoring = 503006, "com.microsoft:server-busy", "the hub is being restored";
    ReceiveLinkOpensThrottled = 503008, "com.microsoft:server-busy",
        "too many receive links are being opened";
    ConnectionUnavailable = 503101, "amqp:connection:forced", "the connection is not available";
    DeviceUnavailable = 503102, "amqp:internal-error", "the device is not available";
    ConfigurationNotAvailable = 503201, "amqp:internal-error", "the configuration is not available";
    GroupNotAvailable = 503202, "amqp:internal-error", "the group is not available";
    HostingServiceNotAvailable = 503301, "amqp:internal-error",
        "the hosting service is not available";
    GenericGatewayTimeout = 504000, "com.microsoft:timeout", "no answer in time";
    GatewayTimeout = 504101, "com.microsoft:timeout",
        "Timed out waiting for the response from device.";
}

impl ErrorCode {
    /// The HTTP status: the first three digits of the number.
    pub const fn http_status(self) -> u16 {
        (self.number() / 1000) as u16
    }

    /// The code with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.number() == number)
    }

    /// The code with this name, ignoring case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.name().eq_ignore_ascii_case(name))
    }

    /// The least specific code of an HTTP status, for an answer that names none: the `Generic…`
    /// code of the status, or of its class.
    pub fn generic(http_status: u16) -> Self {
        let of_status = Self::from_number(u32::from(http_status) * 1000);
        of_status.unwrap_or(match http_status {
            504 => Self::GatewayTimeout,
            500.. => Self::ServerError,
            _ => Self::GenericBadRequest,
        })
    }

    /// Whether the same call may succeed later without being changed.
    pub const fn is_transient(self) -> bool {
        matches!(self.http_status(), 429 | 500 | 503 | 504)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_found_again() {
        for &code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_number(code.number()), Some(code));
            assert_eq!(
                ErrorCode::from_name(&code.name().to_lowercase()),
                Some(code)
            );
            assert!((400..=504).contains(&code.http_status()), "{code}");
            assert!(!code.default_message().is_empty(), "{code}");
        }
    }

    /// Conditions that clients know (`spec/amqp.md` 4.1).
    const CONDITIONS: [&str; 22] = [
        "amqp:connection:forced",
        "amqp:internal-error",
        "amqp:link:message-size-exceeded",
        "amqp:link:stolen",
        "amqp:not-allowed",
        "amqp:not-found",
        "amqp:not-implemented",
        "amqp:resource-limit-exceeded",
        "amqp:resource-locked",
        "amqp:unauthorized-access",
        "com.microsoft:argument-error",
        "com.microsoft:device-already-exists",
        "com.microsoft:device-container-throttled",
        "com.microsoft:entity-disabled",
        "com.microsoft:iot-hub-not-found-error",
        "com.microsoft:iot-hub-suspended",
        "com.microsoft:message-lock-lost",
        "com.microsoft:operation-cancelled",
        "com.microsoft:precondition-failed",
        "com.microsoft:quota-exceeded",
        "com.microsoft:server-busy",
        "com.microsoft:timeout",
    ];

    #[test]
    fn every_code_has_a_condition_that_clients_know_and_that_fits_its_status() {
        for &code in ErrorCode::ALL {
            let condition = code.amqp_condition();
            assert!(CONDITIONS.contains(&condition), "{code}: {condition}");
            // Clients try again after some conditions and give up after others: the class of the
            // status is not to say otherwise.
            let retried = [
                "amqp:internal-error",
                "amqp:connection:forced",
                "com.microsoft:server-busy",
                "com.microsoft:timeout",
                "com.microsoft:operation-cancelled",
            ]
            .contains(&condition);
            let of_the_hub = code.http_status() >= 499;
            assert!(
                of_the_hub || !retried || code.http_status() == 400,
                "{code}"
            );
            if code.http_status() == 401 {
                let unauthorized = condition == "amqp:unauthorized-access";
                assert!(unauthorized || code == ErrorCode::IotHubNotFound, "{code}");
            }
            if code.http_status() == 404 {
                let missing = condition == "amqp:not-found";
                assert!(missing || code == ErrorCode::FeatureNotSupported, "{code}");
            }
        }
    }

    #[test]
    fn what_clients_tell_apart_has_its_own_condition() {
        use ErrorCode as E;
        for (code, condition) in [
            (E::DeviceNotFound, "amqp:not-found"),
            (E::ModuleNotFound, "amqp:not-found"),
            (E::PartitionNotFound, "amqp:not-found"),
            (E::IotHubUnauthorizedAccess, "amqp:unauthorized-access"),
            (E::InvalidOperation, "amqp:not-allowed"),
            (
                E::DeviceMaximumQueueDepthExceeded,
                "amqp:resource-limit-exceeded",
            ),
            (E::MessageTooLarge, "amqp:link:message-size-exceeded"),
            (E::ArgumentInvalid, "com.microsoft:argument-error"),
            (E::InvalidMessageExpiryTime, "com.microsoft:argument-error"),
            (E::DeviceMessageLockLost, "com.microsoft:message-lock-lost"),
            (E::PreconditionFailed, "com.microsoft:precondition-failed"),
            (
                E::DeviceAlreadyExists,
                "com.microsoft:device-already-exists",
            ),
            (
                E::ThrottlingException,
                "com.microsoft:device-container-throttled",
            ),
            (E::IotHubQuotaExceeded, "com.microsoft:quota-exceeded"),
            (E::IotHubSuspended, "com.microsoft:iot-hub-suspended"),
            (E::IotHubNotFound, "com.microsoft:iot-hub-not-found-error"),
            (E::DeviceDisabled, "com.microsoft:entity-disabled"),
            (E::GatewayTimeout, "com.microsoft:timeout"),
            (E::ServerBusy, "com.microsoft:server-busy"),
            (E::ServerError, "amqp:internal-error"),
            (
                E::ConnectionForcefullyClosedOnNewConnection,
                "amqp:link:stolen",
            ),
        ] {
            assert_eq!(code.amqp_condition(), condition, "{code}");
        }
    }

    #[test]
    fn a_status_without_a_generic_code_falls_back_to_its_class() {
        assert_eq!(ErrorCode::generic(404), ErrorCode::GenericNotFound);
        assert_eq!(ErrorCode::generic(418), ErrorCode::GenericBadRequest);
        assert_eq!(ErrorCode::generic(500), ErrorCode::ServerError);
        assert_eq!(ErrorCode::generic(599), ErrorCode::ServerError);
    }

    #[test]
    fn known_texts_are_spelled_as_the_service_spells_them() {
        let id = DeviceId::parse("x").unwrap();

        assert_eq!(
            Error::device_already_exists(&id).detail,
            "A device with ID 'x' is already registered."
        );
        assert_eq!(
            Error::defined_multiple_times("x").detail,
            "DeviceDefinedMultipleTimes, device ID x"
        );
        assert_eq!(Error::device_not_found(&id).detail, "x");
    }
}
