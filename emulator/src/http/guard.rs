//! What stands in front of the control API and everything else that is for the people who run the
//! emulator: which hosts it answers to, that no page of another origin uses it, and, where one is
//! set, the admin token.
//!
//! A page that a person has open anywhere can make the browser send requests here. It must neither
//! change nor read anything: not by naming this address (the browser then tells the page's origin),
//! and not by having its own name resolve to this address (the request then names a host that is
//! not the emulator's). The service and device endpoints need none of this: nothing is done there
//! without a signature.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::response::Response;
use http::HeaderMap;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, COOKIE, HOST, HeaderName, HeaderValue, ORIGIN, SET_COOKIE,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use iothub_protocol::{Error, ErrorCode};

use super::answer;
use super::login::Login;
use crate::secret::Secret;
use crate::transport::Peer;

/// Who may use the control API and the dashboard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlAccess {
    /// Hosts that it answers to, beside addresses, local names and the hub's own.
    pub hosts: Vec<HostPattern>,
    /// What one has to know; `None`: nothing.
    pub token: Option<Secret>,
}

/// A host name, or all names below one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    name: String,
    below: bool,
}

/// Why a text names no host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a host name nor *.NAME; a port does not belong to it")]
pub struct HostPatternError(String);

/// Lets requests through, or says why not.
#[derive(Debug, Default)]
pub struct Guard {
    hosts: Vec<HostPattern>,
    login: Option<Login>,
}

/// Endings of names that no public name server answers for.
const LOCAL: [&str; 3] = [".localhost", ".local", ".internal"];
/// Bytes of a host name.
const LONGEST_NAME: usize = 253;
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

impl HostPattern {
    /// Reads `NAME` or `*.NAME`.
    pub fn parse(text: &str) -> Result<Self, HostPatternError> {
        let (below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        if !is_name(name) {
            return Err(HostPatternError(text.to_owned()));
        }
        Ok(Self {
            name: name.to_ascii_lowercase(),
            below,
        })
    }

    fn matches(&self, host: &str) -> bool {
        if !self.below {
            return host == self.name;
        }
        let above = host.strip_suffix(&self.name);
        above.is_some_and(|above| above.len() > 1 && above.ends_with('.'))
    }
}

impl Guard {
    /// Lets in what `access` says, and requests to the hub's own names. Of those, the ones that are
    /// no names (a certificate may be for an address) need no mention.
    pub fn new<'a>(access: &ControlAccess, own_names: impl IntoIterator<Item = &'a str>) -> Self {
        let own = own_names
            .into_iter()
            .filter_map(|name| HostPattern::parse(name).ok());
        Self {
            hosts: access.hosts.iter().cloned().chain(own).collect(),
            login: access.token.as_ref().map(Login::new),
        }
    }

    /// Refuses hosts that are not the emulator's, and pages of other origins.
    pub(super) fn check_origin(&self, parts: &Parts) -> Result<(), Error> {
        let host = self.check_host(parts)?;
        let headers = &parts.headers;
        let foreign_origin = headers
            .get_all(ORIGIN)
            .iter()
            .any(|origin| !is_origin_of(origin, host));
        // Browsers tell it also where they leave the origin out: of images, scripts, links.
        let foreign_site = headers
            .get_all(FETCH_SITE)
            .iter()
            .any(|site| site == "cross-site" || site == "same-site");
        if foreign_origin || foreign_site {
            return Err(forbidden("pages of other origins may not use this"));
        }
        Ok(())
    }

    /// Refuses whoever does not know the admin token.
    pub(super) fn check_token(&self, parts: &Parts, peer: &Peer) -> Result<(), Error> {
        let Some(login) = &self.login else {
            return Ok(());
        };
        let headers = &parts.headers;
        if let Some(value) = headers.get(AUTHORIZATION)
            && let Some(token) = bearer(value)
        {
            if login.is_token(token) {
                return Ok(());
            }
            tracing::warn!(peer = %peer.address, "a wrong admin token");
        }
        if cookies(headers, &cookie_name(headers)).any(|value| login.is_cookie(value)) {
            return Ok(());
        }
        Err(Error::new(
            ErrorCode::GenericUnauthorized,
            "the admin token is needed: as `Authorization: Bearer TOKEN`, or by a login",
        ))
    }

    /// Answers `POST /_emulator/login` with a cookie for the token.
    pub(super) fn log_in(
        &self,
        headers: &HeaderMap,
        token: &str,
        peer: &Peer,
    ) -> Result<Response, Error> {
        let mut response = answer::no_content();
        let Some(login) = &self.login else {
            // Everybody is in already.
            return Ok(response);
        };
        if !login.is_token(token) {
            tracing::warn!(peer = %peer.address, "a login with a wrong admin token");
            return Err(Error::new(
                ErrorCode::GenericUnauthorized,
                "this is not the admin token",
            ));
        }
        set_cookie(&mut response, headers, peer, login.cookie(), "");
        Ok(response)
    }

    /// Answers `POST /_emulator/logout`: the browser forgets the cookie.
    pub(super) fn log_out(headers: &HeaderMap, peer: &Peer) -> Response {
        let mut response = answer::no_content();
        set_cookie(&mut response, headers, peer, "", "; Max-Age=0");
        response
    }

    /// The host that the request is for, if it is one of the emulator's.
    fn check_host<'a>(&self, parts: &'a Parts) -> Result<&'a str, Error> {
        let mut named = parts.headers.get_all(HOST).iter();
        let (host, more) = (named.next(), named.next());
        let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
        // What an absolute target names counts before the header.
        let target = parts.uri.authority().map(|authority| authority.as_str());
        let agrees = target.is_none_or(|target| target.eq_ignore_ascii_case(host));
        if more.is_none() && agrees && self.is_own(host) {
            return Ok(host);
        }
        let shown: String = host.chars().take(LONGEST_NAME).collect();
        let name = name_of(host).filter(|name| is_name(name));
        Err(forbidden(format!(
            "{shown:?} is no host that this answers to; if it is meant to be one, start the \
             emulator with --allow-host {}",
            name.unwrap_or("NAME")
        )))
    }

    fn is_own(&self, host: &str) -> bool {
        let Some(name) = name_of(host) else {
            return false;
        };
        if let Some(address) = name.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
            return address.parse::<Ipv6Addr>().is_ok();
        }
        if name.parse::<Ipv4Addr>().is_ok() {
            return true;
        }
        // A name that ends in a dot is the same name.
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        is_name(&name)
            && (!name.contains('.')
                || LOCAL.iter().any(|ending| name.ends_with(ending))
                || self.hosts.iter().any(|pattern| pattern.matches(&name)))
    }
}

/// What keeps an answer from pages of other origins, and out of caches, whatever the request told.
pub(super) fn seal(headers: &mut HeaderMap) {
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (RESOURCE_POLICY, "same-origin"),
        (CACHE_CONTROL, "no-store"),
    ] {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
}

/// What a refusal for want of a token has, too. Browsers do not ask the user for a bearer token.
pub(super) fn challenge(headers: &mut HeaderMap) {
    let challenge = HeaderValue::from_static("Bearer realm=\"iothub-emulator\"");
    headers.insert(WWW_AUTHENTICATE, challenge);
}

fn forbidden(why: impl Into<String>) -> Error {
    Error::new(ErrorCode::GenericForbidden, why.into())
}

/// A host without its port; `None`: it is none.
fn name_of(host: &str) -> Option<&str> {
    let is_port = |port: &str| port.parse::<u16>().is_ok();
    if host.starts_with('[') {
        let end = host.find(']')? + 1;
        let (name, port) = host.split_at(end);
        return (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then_some(name);
    }
    match host.split_once(':') {
        None => Some(host),
        Some((name, port)) => is_port(port).then_some(name),
    }
}

fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    text.len() <= LONGEST_NAME && text.split('.').all(is_label)
}

fn is_origin_of(origin: &HeaderValue, host: &str) -> bool {
    let origin = origin.to_str().unwrap_or_default();
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("Bearer")
        .then_some(token.trim())
}

/// Browsers keep the cookies of all ports of a host together, so each port has a name of its own.
fn cookie_name(headers: &HeaderMap) -> String {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let port = host.and_then(|host| host.rsplit_once(':'));
    let port = port.and_then(|(_, port)| port.parse::<u16>().ok());
    match port {
        Some(port) => format!("iothub_emulator_{port}"),
        None => "iothub_emulator".to_owned(),
    }
}

fn cookies<'a>(headers: &'a HeaderMap, wanted: &'a str) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter_map(move |(name, value)| (name == wanted).then_some(value))
}

fn set_cookie(response: &mut Response, headers: &HeaderMap, peer: &Peer, value: &str, more: &str) {
    let name = cookie_name(headers);
    let secure = if peer.tls.is_some() { "; Secure" } else { "" };
    let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{more}");
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    fn guard(hosts: &[&str], own: &[&str]) -> Guard {
        let hosts = hosts.iter().map(|it| HostPattern::parse(it).unwrap());
        let access = ControlAccess {
            hosts: hosts.collect(),
            token: None,
        };
        Guard::new(&access, own.iter().copied())
    }

    fn head(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri("/_emulator/info");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn addresses_local_names_and_the_hubs_own_are_let_in() {
        let guard = guard(
            &["emu.example.org", "*.dev.example.org"],
            &["hub.test", "*.h.test"],
        );
        for host in [
            "localhost",
            "localhost:8080",
            "LocalHost:8080",
            "localhost.",
            "127.0.0.1",
            "127.0.0.1:8080",
            "192.168.1.7:1",
            "[::1]",
            "[::1]:8080",
            "emulator",
            "my_emulator:80",
            "a.localhost:3",
            "printer.local",
            "host.docker.internal:8080",
            "hub.test:443",
            "a.h.test",
            "EMU.example.org:8080",
            "x.dev.example.org",
            "x.y.dev.example.org",
        ] {
            assert!(guard.is_own(host), "{host}");
        }
    }

    #[test]
    fn other_hosts_are_not() {
        let guard = guard(&["*.dev.example.org", "emu.example.org"], &["hub.test"]);
        for host in [
            "",
            ".",
            ":8080",
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "evil.example:8080",
            "notlocalhost.com",
            "a.hub.test",
            "dev.example.org",
            "xdev.example.org",
            ".dev.example.org",
            "emu.example.org.evil.example",
            "localhost:http",
            "localhost:99999",
            "localhost:1:2",
            "[::1",
            "[::1]x",
            "[evil.example]",
            "user@localhost",
            "local host",
            "localhost/",
            "h\u{e9}st",
        ] {
            assert!(!guard.is_own(host), "{host:?}");
        }
    }

    #[test]
    fn names_with_ports_schemes_or_stars_elsewhere_are_no_patterns() {
        for text in [
            "", "*", "*.", "a:1", "http://a", "a.*.b", "a b", "a..b", "*.*.a",
        ] {
            assert!(HostPattern::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_page_of_another_origin_is_refused_whatever_it_does() {
        let guard = Guard::default();
        let allowed = |headers: &[(&str, &str)]| guard.check_origin(&head(headers)).is_ok();
        let host = ("host", "localhost:8080");

        assert!(allowed(&[host]));
        assert!(allowed(&[host, ("origin", "http://localhost:8080")]));
        assert!(allowed(&[host, ("sec-fetch-site", "same-origin")]));
        assert!(allowed(&[host, ("sec-fetch-site", "none")]));
        for foreign in [
            ("origin", "http://localhost:9000"),
            ("origin", "http://127.0.0.1:8080"),
            ("origin", "https://evil.example"),
            ("origin", "localhost:8080"),
            ("origin", "null"),
            ("origin", ""),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert!(!allowed(&[host, foreign]), "{foreign:?}");
        }
        assert!(!allowed(&[]));
        assert!(!allowed(&[host, ("host", "evil.example")]));
    }

    #[test]
    fn the_refusal_of_a_host_names_the_option() {
        let refused = |host| {
            let error = Guard::default().check_origin(&head(&[("host", host)]));
            error.unwrap_err().detail
        };

        assert!(refused("emu.example:8080").ends_with("--allow-host emu.example"));
        assert!(refused("<script>").ends_with("--allow-host NAME"));
    }

    proptest! {
        #[test]
        fn no_host_makes_it_fail_and_none_below_a_public_name_is_let_in(host in "\\PC{0,40}") {
            let guard = Guard::default();
            guard.is_own(&host);
            let public = format!("{host}.example");
            prop_assert!(!guard.is_own(&public), "{}", public);
        }
    }
}
