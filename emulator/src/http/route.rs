//! What a method and a path mean: the route index of `spec/service.md` 0.8, row by row, built or
//! not. The only place where paths are compared.

use http::Method;
use iothub_protocol::identity::InvalidId;
use iothub_protocol::{ClientId, DeviceId, Error, ModuleId};

/// An operation with what its path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// Row 1.
    ListDevices,
    /// Row 2.
    Bulk,
    /// Row 5.
    GetDevice(&'a str),
    /// Row 5.
    PutDevice(&'a str),
    /// Row 5.
    DeleteDevice(&'a str),
    /// Row 8.
    ListModules(&'a str),
    /// Row 9.
    GetModule(Target<'a>),
    /// Row 9.
    PutModule(Target<'a>),
    /// Row 9.
    DeleteModule(Target<'a>),
    /// Rows 10 and 11.
    GetTwin(Target<'a>),
    /// Rows 10 and 11.
    PatchTwin(Target<'a>),
    /// Rows 10 and 11.
    ReplaceTwin(Target<'a>),
    /// Rows 12 and 13.
    InvokeMethod(Target<'a>),
    /// Row 14.
    DeviceStatistics,
    /// Row 14.
    ServiceStatistics,
    /// An operation of the real hub's that a back end asks for and that is not built.
    Unbuilt(&'static str),
    /// The same, asked for by devices, with devices' credentials.
    UnbuiltForDevices(&'static str),
}

/// A device or module as the path names it; not checked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    /// The device.
    pub(super) device: &'a str,
    /// The module, if it is one.
    pub(super) module: Option<&'a str>,
}

/// Why a request has no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Miss {
    /// Nothing has this path.
    UnknownPath,
    /// Something has, and does not know the verb.
    WrongVerb,
}

impl Target<'_> {
    /// Checks the names; refuses with `ArgumentInvalid`.
    pub(super) fn client(self) -> Result<ClientId, Error> {
        let invalid = |error: InvalidId| Error::argument_invalid(error.to_string());
        let device = DeviceId::parse(self.device).map_err(invalid)?;
        let module = self
            .module
            .map(ModuleId::parse)
            .transpose()
            .map_err(invalid)?;
        Ok(ClientId { device, module })
    }
}

/// The route of a request. `segments` are those of the decoded path. Literal segments win over
/// ids, for the verbs that they know.
pub(super) fn route<'a>(method: &Method, segments: &'a [String]) -> Result<Route<'a>, Miss> {
    use Route::{Unbuilt, UnbuiltForDevices};
    use Word as W;

    let verb = Verb::of(method);
    let mut words = [(Word::Other, ""); LONGEST];
    let Some(words) = words.get_mut(..segments.len()) else {
        return Err(Miss::UnknownPath);
    };
    for (word, segment) in words.iter_mut().zip(segments) {
        *word = (Word::of(segment), segment);
    }
    // Once a path has matched, a verb that it does not know is the caller's mistake.
    let route = match *words {
        [(W::Devices, _)] => match verb {
            Verb::Get => Route::ListDevices,
            Verb::Post => Route::Bulk,
            _ => return Err(Miss::WrongVerb),
        },
        [(W::Devices, _), (W::Query, _)] if verb == Verb::Post => Unbuilt("POST /devices/query"),
        [(W::Devices, _), (W::Keys, _), (W::Regenerate, _)] if verb == Verb::Post => {
            Unbuilt("POST /devices/keys/regenerate")
        }
        [(W::Devices, _), (_, device)] => match verb {
            Verb::Get => Route::GetDevice(device),
            Verb::Put => Route::PutDevice(device),
            Verb::Delete => Route::DeleteDevice(device),
            _ => return Err(Miss::WrongVerb),
        },
        [(W::Devices, _), _, (W::Commands, _)] => match verb {
            Verb::Delete => Unbuilt("DELETE /devices/{id}/commands"),
            _ => return Err(Miss::WrongVerb),
        },
        [(W::Devices, _), _, (W::ApplyConfigurationContent, _)] => match verb {
            Verb::Post => Unbuilt("POST /devices/{id}/applyConfigurationContent"),
            _ => return Err(Miss::WrongVerb),
        },
        [(W::Devices, _), (_, device), (W::Modules, _)] => match verb {
            Verb::Get => Route::ListModules(device),
            _ => return Err(Miss::WrongVerb),
        },
        [(W::Devices, _), (_, device), (W::Modules, _), (_, module)] => {
            let target = Target {
                device,
                module: Some(module),
            };
            match verb {
                Verb::Get => Route::GetModule(target),
                Verb::Put => Route::PutModule(target),
                Verb::Delete => Route::DeleteModule(target),
                _ => return Err(Miss::WrongVerb),
            }
        }
        [(W::Twins, _), (_, device)] => twin(
            verb,
            Target {
                device,
                module: None,
            },
        )?,
        [(W::Twins, _), (_, device), (W::Modules, _), (_, module)] => twin(
            verb,
            Target {
                device,
                module: Some(module),
            },
        )?,
        [(W::Twins, _), (_, device), (W::Methods, _)] => method_call(
            verb,
            Target {
                device,
                module: None,
            },
        )?,
        [
            (W::Twins, _),
            (_, device),
            (W::Modules, _),
            (_, module),
            (W::Methods, _),
        ] => method_call(
            verb,
            Target {
                device,
                module: Some(module),
            },
        )?,
        [(W::Statistics, _), (W::Devices, _)] => match verb {
            Verb::Get => Route::DeviceStatistics,
            _ => return Err(Miss::WrongVerb),
        },
        [(W::Statistics, _), (W::Service, _)] => match verb {
            Verb::Get => Route::ServiceStatistics,
            _ => return Err(Miss::WrongVerb),
        },
        [(W::Jobs, _)] => match verb {
            Verb::Get => Unbuilt("GET /jobs"),
            _ => return Err(Miss::WrongVerb),
        },
        [(W::Jobs, _), (W::Create, _)] if verb == Verb::Post => Unbuilt("POST /jobs/create"),
        [(W::Jobs, _), (W::V2, _), (W::Query, _)] if verb == Verb::Get => {
            Unbuilt("GET /jobs/v2/query")
        }
        [(W::Jobs, _), (W::V2, _), _] => match verb {
            Verb::Get => Unbuilt("GET /jobs/v2/{id}"),
            Verb::Put => Unbuilt("PUT /jobs/v2/{id}"),
            _ => return Err(Miss::WrongVerb),
        },
        [(W::Jobs, _), (W::V2, _), _, (W::Cancel, _)] => match verb {
            Verb::Post => Unbuilt("POST /jobs/v2/{id}/cancel"),
            _ => return Err(Miss::WrongVerb),
        },
        [(W::Jobs, _), _] => match verb {
            Verb::Get => Unbuilt("GET /jobs/{id}"),
            Verb::Delete => Unbuilt("DELETE /jobs/{id}"),
            _ => return Err(Miss::WrongVerb),
        },
        [(W::Configurations, _)] => match verb {
            Verb::Get => Unbuilt("GET /configurations"),
            _ => return Err(Miss::WrongVerb),
        },
        [(W::Configurations, _), (W::TestQueries, _)] if verb == Verb::Post => {
            Unbuilt("POST /configurations/testQueries")
        }
        [(W::Configurations, _), _] => match verb {
            Verb::Get => Unbuilt("GET /configurations/{id}"),
            Verb::Put => Unbuilt("PUT /configurations/{id}"),
            Verb::Delete => Unbuilt("DELETE /configurations/{id}"),
            _ => return Err(Miss::WrongVerb),
        },
        [
            (W::Messages, _),
            (W::ServiceBound, _),
            (W::Feedback, _),
            ref rest @ ..,
        ] => match (verb, rest) {
            (Verb::Get, []) => Unbuilt("GET /messages/serviceBound/feedback"),
            (Verb::Delete, [_]) => Unbuilt("DELETE /messages/serviceBound/feedback/{lockToken}"),
            (Verb::Post, [_, (W::Abandon, _)]) => {
                Unbuilt("POST /messages/serviceBound/feedback/{lockToken}/abandon")
            }
            (_, [] | [_] | [_, (W::Abandon, _)]) => return Err(Miss::WrongVerb),
            _ => return Err(Miss::UnknownPath),
        },
        [
            (W::Messages, _),
            (W::ServiceBound, _),
            (W::FileNotifications, _),
            ref rest @ ..,
        ] => match (verb, rest) {
            (Verb::Get, []) => Unbuilt("GET /messages/serviceBound/filenotifications"),
            (Verb::Delete, [_]) => {
                Unbuilt("DELETE /messages/serviceBound/filenotifications/{lockToken}")
            }
            (Verb::Post, [_, (W::Abandon, _)]) => {
                Unbuilt("POST /messages/serviceBound/filenotifications/{lockToken}/abandon")
            }
            (_, [] | [_] | [_, (W::Abandon, _)]) => return Err(Miss::WrongVerb),
            _ => return Err(Miss::UnknownPath),
        },
        // Rows 22 and 26 share a path: a back end sends, a device receives.
        [(W::Devices, _), _, (W::Messages, _), (W::DeviceBound, _)] if verb == Verb::Post => {
            Unbuilt("POST /devices/{id}/messages/deviceBound")
        }
        [(W::Devices, _), _, (W::Modules, _), _, ref rest @ ..]
        | [(W::Devices, _), _, ref rest @ ..] => UnbuiltForDevices(device_side(verb, rest)?),
        [(W::DigitalTwins, _), _] => match verb {
            Verb::Get => Unbuilt("GET /digitaltwins/{id}"),
            Verb::Patch => Unbuilt("PATCH /digitaltwins/{id}"),
            _ => return Err(Miss::WrongVerb),
        },
        [(W::DigitalTwins, _), _, (W::Commands, _), _] => match verb {
            Verb::Post => Unbuilt("POST /digitaltwins/{id}/commands/{name}"),
            _ => return Err(Miss::WrongVerb),
        },
        [
            (W::DigitalTwins, _),
            _,
            (W::Components, _),
            _,
            (W::Commands, _),
            _,
        ] => match verb {
            Verb::Post => Unbuilt("POST /digitaltwins/{id}/components/{component}/commands/{name}"),
            _ => return Err(Miss::WrongVerb),
        },
        _ => return Err(Miss::UnknownPath),
    };
    Ok(route)
}

fn twin(verb: Verb, target: Target<'_>) -> Result<Route<'_>, Miss> {
    match verb {
        Verb::Get => Ok(Route::GetTwin(target)),
        Verb::Patch => Ok(Route::PatchTwin(target)),
        Verb::Put => Ok(Route::ReplaceTwin(target)),
        Verb::Post | Verb::Delete | Verb::Other => Err(Miss::WrongVerb),
    }
}

fn method_call(verb: Verb, target: Target<'_>) -> Result<Route<'_>, Miss> {
    if verb == Verb::Post {
        Ok(Route::InvokeMethod(target))
    } else {
        Err(Miss::WrongVerb)
    }
}

/// Row 26, below `/devices/{id}` and `/devices/{id}/modules/{mid}` (`spec/device.md` 8 and 9).
fn device_side(verb: Verb, rest: &[(Word, &str)]) -> Result<&'static str, Miss> {
    use Word as W;

    match (verb, rest) {
        (Verb::Post, [(W::Messages, _), (W::Events, _)]) => {
            Ok("POST /devices/{id}/messages/events")
        }
        (Verb::Get, [(W::Messages, _), (W::DeviceBound, _)]) => {
            Ok("GET /devices/{id}/messages/deviceBound")
        }
        (Verb::Delete, [(W::Messages, _), (W::DeviceBound, _), _]) => {
            Ok("DELETE /devices/{id}/messages/deviceBound/{lockToken}")
        }
        (Verb::Post, [(W::Messages, _), (W::DeviceBound, _), _, (W::Abandon, _)]) => {
            Ok("POST /devices/{id}/messages/deviceBound/{lockToken}/abandon")
        }
        (Verb::Post, [(W::Files, _)]) => Ok("POST /devices/{id}/files"),
        (Verb::Post, [(W::Files, _), (W::Notifications, _)]) => {
            Ok("POST /devices/{id}/files/notifications")
        }
        (
            _,
            [(W::Messages, _), (W::Events | W::DeviceBound, _)]
            | [(W::Messages, _), (W::DeviceBound, _), _]
            | [(W::Messages, _), (W::DeviceBound, _), _, (W::Abandon, _)]
            | [(W::Files, _)]
            | [(W::Files, _), (W::Notifications, _)],
        ) => Err(Miss::WrongVerb),
        _ => Err(Miss::UnknownPath),
    }
}

/// The verbs that routes know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Get,
    Put,
    Post,
    Patch,
    Delete,
    Other,
}

impl Verb {
    fn of(method: &Method) -> Self {
        match *method {
            Method::GET => Self::Get,
            Method::PUT => Self::Put,
            Method::POST => Self::Post,
            Method::PATCH => Self::Patch,
            Method::DELETE => Self::Delete,
            _ => Self::Other,
        }
    }
}

/// Segments of the longest route: `/devices/{d}/modules/{m}/messages/deviceBound/{lock}/abandon`.
const LONGEST: usize = 8;

macro_rules! words {
    ($($word:ident = $text:literal,)*) => {
        /// A literal segment, whatever its case (`spec/service.md` 0.2, item 3).
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Word {
            $($word,)*
            /// An id, or nothing known.
            Other,
        }

        impl Word {
            fn of(segment: &str) -> Self {
                $(if segment.eq_ignore_ascii_case($text) { return Self::$word; })*
                Self::Other
            }
        }
    };
}

words! {
    Devices = "devices",
    Twins = "twins",
    Modules = "modules",
    Methods = "methods",
    Query = "query",
    Keys = "keys",
    Regenerate = "regenerate",
    Commands = "commands",
    ApplyConfigurationContent = "applyConfigurationContent",
    Statistics = "statistics",
    Service = "service",
    Jobs = "jobs",
    V2 = "v2",
    Create = "create",
    Cancel = "cancel",
    Configurations = "configurations",
    TestQueries = "testQueries",
    Messages = "messages",
    ServiceBound = "serviceBound",
    DeviceBound = "deviceBound",
    Feedback = "feedback",
    FileNotifications = "filenotifications",
    Abandon = "abandon",
    Events = "events",
    Files = "files",
    Notifications = "notifications",
    DigitalTwins = "digitaltwins",
    Components = "components",
}

#[cfg(test)]
mod tests {
    use iothub_protocol::http::path_segments;

    use super::*;

    /// The route of `GET /devices` and the like, as text.
    fn found(request: &str) -> String {
        let (method, path) = request.split_once(' ').unwrap();
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let segments = path_segments(path).unwrap();
        match route(&method, &segments) {
            Ok(Route::Unbuilt(what)) => format!("unbuilt {what}"),
            Ok(Route::UnbuiltForDevices(what)) => format!("for devices {what}"),
            Ok(route) => format!("{route:?}"),
            Err(miss) => format!("{miss:?}"),
        }
    }

    fn d1() -> Target<'static> {
        Target {
            device: "d1",
            module: None,
        }
    }

    fn m1() -> Target<'static> {
        Target {
            device: "d1",
            module: Some("m1"),
        }
    }

    #[test]
    fn every_built_row_is_found() {
        for (request, expected) in [
            ("GET /devices", Route::ListDevices),
            ("POST /devices", Route::Bulk),
            ("GET /devices/d1", Route::GetDevice("d1")),
            ("PUT /devices/d1", Route::PutDevice("d1")),
            ("DELETE /devices/d1", Route::DeleteDevice("d1")),
            ("GET /devices/d1/modules", Route::ListModules("d1")),
            ("GET /devices/d1/modules/m1", Route::GetModule(m1())),
            ("PUT /devices/d1/modules/m1", Route::PutModule(m1())),
            ("DELETE /devices/d1/modules/m1", Route::DeleteModule(m1())),
            ("GET /twins/d1", Route::GetTwin(d1())),
            ("PATCH /twins/d1", Route::PatchTwin(d1())),
            ("PUT /twins/d1", Route::ReplaceTwin(d1())),
            ("GET /twins/d1/modules/m1", Route::GetTwin(m1())),
            ("PATCH /twins/d1/modules/m1", Route::PatchTwin(m1())),
            ("PUT /twins/d1/modules/m1", Route::ReplaceTwin(m1())),
            ("POST /twins/d1/methods", Route::InvokeMethod(d1())),
            (
                "POST /twins/d1/modules/m1/methods",
                Route::InvokeMethod(m1()),
            ),
            ("GET /statistics/devices", Route::DeviceStatistics),
            ("GET /statistics/service", Route::ServiceStatistics),
        ] {
            assert_eq!(found(request), format!("{expected:?}"), "{request}");
        }
    }

    #[test]
    fn every_row_that_is_not_built_is_known() {
        for row in [
            "POST /devices/query",
            "POST /devices/keys/regenerate",
            "DELETE /devices/{id}/commands",
            "POST /devices/{id}/applyConfigurationContent",
            "GET /jobs",
            "POST /jobs/create",
            "GET /jobs/{id}",
            "DELETE /jobs/{id}",
            "GET /jobs/v2/query",
            "GET /jobs/v2/{id}",
            "PUT /jobs/v2/{id}",
            "POST /jobs/v2/{id}/cancel",
            "GET /configurations",
            "POST /configurations/testQueries",
            "GET /configurations/{id}",
            "PUT /configurations/{id}",
            "DELETE /configurations/{id}",
            "GET /messages/serviceBound/feedback",
            "DELETE /messages/serviceBound/feedback/{lockToken}",
            "POST /messages/serviceBound/feedback/{lockToken}/abandon",
            "GET /messages/serviceBound/filenotifications",
            "DELETE /messages/serviceBound/filenotifications/{lockToken}",
            "POST /messages/serviceBound/filenotifications/{lockToken}/abandon",
            "POST /devices/{id}/messages/deviceBound",
            "GET /digitaltwins/{id}",
            "PATCH /digitaltwins/{id}",
            "POST /digitaltwins/{id}/commands/{name}",
            "POST /digitaltwins/{id}/components/{component}/commands/{name}",
        ] {
            assert_eq!(found(row), format!("unbuilt {row}"));
        }
        for row in [
            "GET /devices/{id}/messages/deviceBound",
            "DELETE /devices/{id}/messages/deviceBound/{lockToken}",
            "POST /devices/{id}/messages/deviceBound/{lockToken}/abandon",
            "POST /devices/{id}/messages/events",
            "POST /devices/{id}/files",
            "POST /devices/{id}/files/notifications",
        ] {
            assert_eq!(found(row), format!("for devices {row}"));
            let of_module = row.replace("{id}", "{id}/modules/{mid}");
            assert_eq!(found(&of_module), format!("for devices {row}"));
        }
    }

    #[test]
    fn paths_are_read_as_every_client_writes_them() {
        for (request, expected) in [
            ("GET /devices/", Route::ListDevices),
            ("POST /devices/", Route::Bulk),
            ("GET /Devices/d1", Route::GetDevice("d1")),
            ("GET /devices/D1", Route::GetDevice("D1")),
            ("GET /devices%2Fd1", Route::GetDevice("d1")),
            ("GET /twins%2Fd1%2Fmodules%2Fm1", Route::GetTwin(m1())),
            ("GET /devices/a%2Bb+c", Route::GetDevice("a+b+c")),
            ("GET /devices/devices", Route::GetDevice("devices")),
            ("GET /devices/query", Route::GetDevice("query")),
            ("PUT /devices/query", Route::PutDevice("query")),
            ("POST /TWINS/d1/METHODS", Route::InvokeMethod(d1())),
        ] {
            assert_eq!(found(request), format!("{expected:?}"), "{request}");
        }
        assert_eq!(
            found("POST /devices%2Fquery"),
            "unbuilt POST /devices/query"
        );
        assert_eq!(
            found("GET /messages/servicebound/Feedback"),
            "unbuilt GET /messages/serviceBound/feedback"
        );
    }

    #[test]
    fn a_known_path_refuses_other_verbs_and_an_unknown_path_all() {
        for request in [
            "PATCH /devices",
            "POST /devices/d1",
            "POST /devices/d1/modules",
            "POST /twins/d1",
            "DELETE /twins/d1/modules/m1",
            "GET /twins/d1/methods",
            "PUT /statistics/devices",
            "PUT /devices/d1/messages/events",
            "GET /jobs/v2/j1/cancel",
            "PUT /digitaltwins/d1",
            "TRACE /devices/d1",
        ] {
            assert_eq!(found(request), "WrongVerb", "{request}");
        }
        for request in [
            "GET /",
            "GET /device",
            "GET /twins",
            "POST /$admin/exportRegistry",
            "GET /devices/d1/twins",
            "GET /devices/d1/modules/m1/methods",
            "GET /messages/serviceBound",
            "GET /1/2/3/4/5/6/7/8/9",
        ] {
            assert_eq!(found(request), "UnknownPath", "{request}");
        }
    }

    #[test]
    fn ids_are_checked_when_they_are_used() {
        assert_eq!(m1().client().unwrap().to_string(), "d1/m1");
        for bad in ["", "a b", "ä"] {
            assert!(
                Target {
                    device: bad,
                    module: None
                }
                .client()
                .is_err()
            );
            assert!(
                Target {
                    device: "d1",
                    module: Some(bad)
                }
                .client()
                .is_err()
            );
        }
    }
}
