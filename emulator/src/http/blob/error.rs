//! Refusals of the storage kind: XML with a code, and the code in a header.

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use iothub_protocol::Error;

use super::Request;
use super::answer::escape;
use crate::blobs::BlobError;

const ERROR_CODE: HeaderName = HeaderName::from_static("x-ms-error-code");

macro_rules! faults {
    ($($name:ident = $status:literal,)*) => {
        /// Codes of the storage service ("Common REST API error codes", "Blob service error
        /// codes").
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Fault {
            $($name,)*
        }

        impl Fault {
            fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            fn code(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

faults! {
    NotModified = 304,
    InvalidBlobType = 400,
    InvalidBlockId = 400,
    InvalidBlockList = 400,
    InvalidHeaderValue = 400,
    InvalidQueryParameterValue = 400,
    InvalidResourceName = 400,
    InvalidXmlDocument = 400,
    Crc64Mismatch = 400,
    Md5Mismatch = 400,
    MissingRequiredHeader = 400,
    OutOfRangeQueryParameterValue = 400,
    UnsupportedHeader = 400,
    UnsupportedQueryParameter = 400,
    NoAuthenticationInformation = 401,
    AuthenticationFailed = 403,
    AuthorizationFailure = 403,
    AuthorizationPermissionMismatch = 403,
    BlobNotFound = 404,
    ContainerNotFound = 404,
    BlobAlreadyExists = 409,
    BlockCountExceedsLimit = 409,
    ContainerAlreadyExists = 409,
    ConditionNotMet = 412,
    RequestBodyTooLarge = 413,
    InvalidRange = 416,
    InternalError = 500,
    OperationTimedOut = 500,
}

/// A refusal.
#[derive(Debug)]
pub(super) struct StorageError {
    status: u16,
    code: &'static str,
    message: String,
}

impl StorageError {
    pub(super) fn new(fault: Fault, message: impl Into<String>) -> Self {
        Self {
            status: fault.status(),
            code: fault.code(),
            message: message.into(),
        }
    }
}

/// What the hub, or a fault that was asked for, answers in place of storage.
impl From<&Error> for StorageError {
    fn from(error: &Error) -> Self {
        Self {
            status: error.code.http_status(),
            code: error.code.name(),
            message: error.message().to_owned(),
        }
    }
}

impl From<BlobError> for StorageError {
    fn from(error: BlobError) -> Self {
        let fault = match &error {
            BlobError::ContainerNotFound => Fault::ContainerNotFound,
            BlobError::ContainerAlreadyExists => Fault::ContainerAlreadyExists,
            BlobError::BlobNotFound => Fault::BlobNotFound,
            BlobError::BlobAlreadyExists => Fault::BlobAlreadyExists,
            BlobError::ConditionNotMet => Fault::ConditionNotMet,
            BlobError::NotModified => Fault::NotModified,
            BlobError::InvalidBlockList => Fault::InvalidBlockList,
            BlobError::TooManyBlocks => Fault::BlockCountExceedsLimit,
            BlobError::NoRoom(_) => Fault::RequestBodyTooLarge,
            BlobError::Io(source) => {
                tracing::error!(error = source as &dyn std::error::Error, "storage failed");
                Fault::InternalError
            }
        };
        Self::new(fault, error.to_string())
    }
}

/// The response for a refusal.
pub(super) fn refusal(request: &Request<'_>, error: &StorageError) -> Response {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let bodiless = request.parts.method == Method::HEAD || status == StatusCode::NOT_MODIFIED;
    let body = if bodiless {
        Body::empty()
    } else {
        Body::from(format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{}</Code><Message>{}\n\
             Time:{}</Message></Error>",
            error.code,
            escape(&error.message),
            request.now.to_iso(),
        ))
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if !bodiless {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    }
    headers.insert(ERROR_CODE, HeaderValue::from_static(error.code));
    response
}
