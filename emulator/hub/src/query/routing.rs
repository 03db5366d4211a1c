//! Conditions of message routes: the same expressions over a message (`spec/service.md` 5.6).

use std::cell::OnceCell;

use iothub_protocol::property_bag::SystemProperty;
use iothub_protocol::{Error, Message};
use serde_json::Value;

use super::ast::{Comparison, Expr, RawPath, Segment};
use super::eval::{Row, is_true};
use super::functions::{Dialect, Function};
use super::item::{Item, compare};
use super::lexer::refused;
use super::parser::Parser;
use super::rows::{DESIRED, REPORTED, at, members, section};
use crate::packed::PackedTwin;
use crate::telemetry::Event;

/// Which messages a route takes.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteCondition {
    expression: Expr<RoutePath>,
    needs_twin: bool,
}

/// A message to judge.
#[derive(Clone, Copy, Debug)]
pub struct RouteSubject<'a> {
    /// The message as it will be stored.
    pub event: &'a Event,
    /// The twin of its sender, as it is now.
    pub twin: Option<&'a PackedTwin>,
}

/// What a path of a route means.
#[derive(Clone, Debug, PartialEq)]
enum RoutePath {
    /// An application property, its name in lower case.
    Property(Box<str>),
    /// A system property; should there be none of the name, an application property.
    System(Box<str>),
    Body(Vec<Segment>),
    Twin(Vec<Segment>),
}

struct Subject<'a> {
    of: RouteSubject<'a>,
    /// The body as JSON, once somebody has asked.
    body: OnceCell<Option<Value>>,
}

impl RouteCondition {
    /// Reads a condition; refuses with `ArgumentInvalid`, which tells the place and what was
    /// expected there.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let raw = Parser::new(text, Dialect::Routes)?.condition()?;
        let mut needs_twin = false;
        let expression = raw.try_map(&mut |path| {
            let path = RoutePath::of(text, path)?;
            needs_twin |= matches!(path, RoutePath::Twin(_));
            Ok::<_, Error>(path)
        })?;
        Ok(Self {
            expression,
            needs_twin,
        })
    }

    /// Whether it asks about the sender's twin, so that one has to be given.
    pub fn needs_twin(&self) -> bool {
        self.needs_twin
    }

    /// Whether the route takes the message; what is not exactly true is not.
    pub fn matches(&self, subject: &RouteSubject<'_>) -> bool {
        let subject = Subject {
            of: *subject,
            body: OnceCell::new(),
        };
        is_true(&self.expression, &subject)
    }
}

impl RoutePath {
    fn of(text: &str, path: RawPath) -> Result<Self, Error> {
        let mut segments = path.segments;
        let first = match segments.first() {
            Some(Segment::Name(name)) => name.to_ascii_lowercase(),
            Some(Segment::Index(_)) | None => String::new(),
        };
        match first.as_str() {
            "$body" => return Ok(Self::Body(segments.split_off(1))),
            "$twin" => return Ok(Self::Twin(segments.split_off(1))),
            _ => {}
        }
        // The name of a property may have dots, which look like steps of a path.
        let mut name = String::new();
        for segment in &segments {
            let separator = if name.is_empty() { "" } else { "." };
            match segment {
                Segment::Name(part) => name += &format!("{separator}{}", part.to_ascii_lowercase()),
                Segment::Index(_) => return Err(refused(text, path.at, "a property has no parts")),
            }
        }
        if let Some(illegal) = name.chars().find(|&c| is_illegal(c)) {
            let what = format!("{illegal:?} cannot stand in the name of a property");
            return Err(refused(text, path.at, what));
        }
        Ok(if first.starts_with('$') {
            Self::System(name.into())
        } else {
            Self::Property(name.into())
        })
    }
}

/// What no name of a property has (`spec/service.md` 5.6).
fn is_illegal(c: char) -> bool {
    c.is_whitespace() || "()<>@,;:\\\"/?={}".contains(c)
}

impl Row<RoutePath> for Subject<'_> {
    fn get<'a>(&'a self, path: &'a RoutePath) -> Item<'a> {
        let message = &self.of.event.message;
        match path {
            RoutePath::Property(name) => match application(message, name) {
                // These are documented without the sign in front, too.
                Item::Undefined => match &**name {
                    "enqueuedtime" => self.system("$enqueuedtime"),
                    "iothub-connection-device-id" => self.system("$connectiondeviceid"),
                    "iothub-connection-module-id" => self.system("$connectionmoduleid"),
                    _ => Item::Undefined,
                },
                item => item,
            },
            RoutePath::System(name) => match self.system(name) {
                Item::Undefined => match application(message, name) {
                    Item::Undefined => application(message, name.trim_start_matches('$')),
                    item => item,
                },
                item => item,
            },
            RoutePath::Body(below) => match (below.first(), self.body()) {
                (Some(Segment::Index(_)), _) | (_, None) => Item::Undefined,
                (_, Some(body)) => at(body, below),
            },
            RoutePath::Twin(below) => self.twin(below),
        }
    }

    /// A property is always a text: what looks like a number has to be made one by `AS_NUMBER`
    /// before it compares with numbers.
    fn compare(&self, how: Comparison, left: &Item<'_>, right: &Item<'_>) -> Option<bool> {
        match (left, right) {
            (text @ Item::Text(_), Item::Number(_)) | (Item::Number(_), text @ Item::Text(_))
                if Function::AsNumber.call(std::slice::from_ref(text)) != Item::Undefined =>
            {
                None
            }
            _ => compare(how, left, right),
        }
    }
}

impl Subject<'_> {
    fn system(&self, name: &str) -> Item<'_> {
        let event = self.of.event;
        let client = &event.origin.client;
        let property = |property| match event.message.properties.system(property) {
            Some(text) => Item::Text(text),
            None => Item::Undefined,
        };
        let optional = |text: Option<&'_ str>| match text {
            Some(text) => Item::owned(text.into()),
            None => Item::Undefined,
        };
        match name {
            "$contenttype" => property(SystemProperty::ContentType),
            "$contentencoding" => property(SystemProperty::ContentEncoding),
            "$messageid" => property(SystemProperty::MessageId),
            "$correlationid" => property(SystemProperty::CorrelationId),
            "$userid" => property(SystemProperty::UserId),
            "$to" => property(SystemProperty::To),
            "$dt-subject" => property(SystemProperty::Component),
            "$iothub-interface-id" => property(SystemProperty::InterfaceId),
            "$dt-dataschema" => optional(event.origin.model_id.as_deref()),
            "$connectiondeviceid" | "$iothub-connection-device-id" => {
                Item::text(client.device.as_str())
            }
            "$connectionmoduleid" | "$iothub-connection-module-id" => {
                optional(client.module.as_ref().map(|module| module.as_str()))
            }
            "$enqueuedtime" | "$iothub-enqueuedtime" => Item::owned(event.enqueued.to_iso().into()),
            "$iothub-message-source" => Item::text(event.source.name()),
            _ => Item::Undefined,
        }
    }

    fn body(&self) -> Option<&Value> {
        let body = self.body.get_or_init(|| json_body(&self.of.event.message));
        body.as_ref()
    }

    fn twin(&self, path: &[Segment]) -> Item<'_> {
        let (Some(twin), Some((Segment::Name(first), below))) = (self.of.twin, path.split_first())
        else {
            return Item::Undefined;
        };
        let names = |wanted: &str| first.eq_ignore_ascii_case(wanted);
        if names("tags") {
            return members(twin.tags(), below);
        }
        match below.split_first() {
            Some((Segment::Name(name), below)) if names("properties") => {
                if name.eq_ignore_ascii_case("desired") {
                    section(twin, DESIRED, below)
                } else if name.eq_ignore_ascii_case("reported") {
                    section(twin, REPORTED, below)
                } else {
                    Item::Undefined
                }
            }
            _ if names("deviceid") && below.is_empty() => {
                Item::owned(self.of.event.origin.client.device.as_str().into())
            }
            _ => Item::Undefined,
        }
    }
}

/// An application property, whatever its case; always a text.
fn application<'a>(message: &'a Message, name: &str) -> Item<'a> {
    let named = message.properties.iter().filter(|(key, _)| {
        key.eq_ignore_ascii_case(name) && SystemProperty::from_wire(key).is_none()
    });
    // The last one counts when there are several (`spec/device.md` 4.3).
    named
        .last()
        .map_or(Item::Undefined, |(_, value)| Item::Text(value))
}

/// The body, if the message says that it is JSON and in which Unicode encoding
/// (`spec/device.md` 4.7).
pub(crate) fn json_body(message: &Message) -> Option<Value> {
    let content_type = message.properties.system(SystemProperty::ContentType)?;
    let content_type = content_type.split(';').next().unwrap_or_default().trim();
    if !content_type.eq_ignore_ascii_case("application/json") {
        return None;
    }
    let encoding = message.properties.system(SystemProperty::ContentEncoding)?;
    let body = &message.body;
    match encoding.trim().to_ascii_lowercase().as_str() {
        "utf-8" => serde_json::from_slice(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)).ok(),
        "utf-16" | "utf-16le" => serde_json::from_str(&utf_16(body)?).ok(),
        "utf-32" | "utf-32le" => serde_json::from_str(&utf_32(body)?).ok(),
        _ => None,
    }
}

/// Little-endian, unless a byte order mark says otherwise.
fn utf_16(bytes: &[u8]) -> Option<String> {
    let (bytes, is_big) = match bytes {
        [0xfe, 0xff, rest @ ..] => (rest, true),
        [0xff, 0xfe, rest @ ..] => (rest, false),
        rest => (rest, false),
    };
    let units = bytes.chunks(2).map(|pair| {
        let pair: [u8; 2] = pair.try_into().ok()?;
        Some(if is_big {
            u16::from_be_bytes(pair)
        } else {
            u16::from_le_bytes(pair)
        })
    });
    String::from_utf16(&units.collect::<Option<Vec<_>>>()?).ok()
}

fn utf_32(bytes: &[u8]) -> Option<String> {
    let (bytes, is_big) = match bytes {
        [0, 0, 0xfe, 0xff, rest @ ..] => (rest, true),
        [0xff, 0xfe, 0, 0, rest @ ..] => (rest, false),
        rest => (rest, false),
    };
    let characters = bytes.chunks(4).map(|four| {
        let four: [u8; 4] = four.try_into().ok()?;
        let code = if is_big {
            u32::from_be_bytes(four)
        } else {
            u32::from_le_bytes(four)
        };
        char::from_u32(code)
    });
    characters.collect()
}
