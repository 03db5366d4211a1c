//! What a request's head tells about who asks, and for what.

use http::Method;
use http::header::{AUTHORIZATION, HOST, HeaderMap};
use http::request::Parts;
use iothub_hub::Credentials;
use iothub_protocol::http::X_HTTP_METHOD_OVERRIDE;

/// The proof that a back end offers: the header's value is the token itself
/// (`spec/service.md` 1.1).
pub(super) fn credentials(headers: &HeaderMap) -> Credentials<'_> {
    match headers.get(AUTHORIZATION).map(|value| value.to_str()) {
        None => Credentials::None,
        // What is not ASCII is no token either, and is refused as one.
        Some(token) => Credentials::Token(token.unwrap_or_default()),
    }
}

/// The host that the client believes to speak to.
pub(super) fn host(parts: &Parts) -> &str {
    match parts.headers.get(HOST) {
        Some(host) => host.to_str().unwrap_or_default(),
        None => parts
            .uri
            .authority()
            .map_or("", |authority| authority.as_str()),
    }
}

/// The method that is meant: the Java SDK sends PATCH as POST with a header
/// (`spec/service.md` 0.2, item 4).
pub(super) fn method(parts: &Parts) -> Method {
    let overridden = parts.method == Method::POST
        && parts
            .headers
            .get(X_HTTP_METHOD_OVERRIDE)
            .is_some_and(|method| method.as_bytes().eq_ignore_ascii_case(b"PATCH"));
    if overridden {
        Method::PATCH
    } else {
        parts.method.clone()
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn head(method: Method, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri("/devices");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn only_a_post_is_overridden_and_only_by_patch() {
        let with =
            |method, value| super::method(&head(method, &[("X-HTTP-Method-Override", value)]));

        assert_eq!(with(Method::POST, "PATCH"), Method::PATCH);
        assert_eq!(with(Method::POST, "patch"), Method::PATCH);
        assert_eq!(with(Method::POST, "DELETE"), Method::POST);
        assert_eq!(with(Method::GET, "PATCH"), Method::GET);
    }
}
