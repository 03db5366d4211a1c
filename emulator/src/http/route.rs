//! What a method and a path mean: the route index of `spec/service.md` 0.8, row by row, built or
//! not. The only place where paths are compared.

use http::Method;
use iothub_protocol::identity::InvalidId;
use iothub_protocol::{ClientId, DeviceId, Error, ModuleId};

/// Every row, as people write it: what `README.md` lists, and a test compares.
#[cfg(test)]
pub(super) const ROWS: &[&str] = &[
    "GET /devices",
    "POST /devices",
    "POST /devices/query",
    "POST /devices/keys/regenerate",
    "GET /devices/{id}",
    "PUT /devices/{id}",
    "DELETE /devices/{id}",
    "DELETE /devices/{id}/commands",
    "POST /devices/{id}/applyConfigurationContent",
    "GET /devices/{id}/modules",
    "GET /devices/{id}/modules/{mid}",
    "PUT /devices/{id}/modules/{mid}",
    "DELETE /devices/{id}/modules/{mid}",
    "DELETE /devices/{id}/modules/{mid}/commands",
    "GET /twins/{id}",
    "PATCH /twins/{id}",
    "PUT /twins/{id}",
    "GET /twins/{id}/modules/{mid}",
    "PATCH /twins/{id}/modules/{mid}",
    "PUT /twins/{id}/modules/{mid}",
    "POST /twins/{id}/methods",
    "POST /twins/{id}/modules/{mid}/methods",
    "GET /statistics/devices",
    "GET /statistics/service",
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
    "POST /devices/{id}/modules/{mid}/messages/deviceBound",
    "GET /digitaltwins/{id}",
    "PATCH /digitaltwins/{id}",
    "POST /digitaltwins/{id}/commands/{name}",
    "POST /digitaltwins/{id}/components/{component}/commands/{name}",
    "POST /devices/{id}/messages/events",
    "GET /devices/{id}/messages/deviceBound",
    "DELETE /devices/{id}/messages/deviceBound/{lockToken}",
    "POST /devices/{id}/messages/deviceBound/{lockToken}/abandon",
    "POST /devices/{id}/modules/{mid}/messages/events",
    "GET /devices/{id}/modules/{mid}/messages/deviceBound",
    "DELETE /devices/{id}/modules/{mid}/messages/deviceBound/{lockToken}",
    "POST /devices/{id}/modules/{mid}/messages/deviceBound/{lockToken}/abandon",
    "POST /devices/{id}/files",
    "POST /devices/{id}/files/notifications",
    "POST /devices/{id}/files/notifications/{correlationId}",
];

/// An operation with what its path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// Row 1.
    ListDevices,
    /// Row 2.
    Bulk,
    /// Row 3.
    Query,
    /// Row 4.
    RegenerateKeys,
    /// Row 5.
    GetDevice(&'a str),
    /// Row 5.
    PutDevice(&'a str),
    /// Row 5.
    DeleteDevice(&'a str),
    /// Row 6, and its like for modules.
    PurgeC2d(Target<'a>),
    /// Row 7.
    ApplyConfiguration(&'a str),
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
    /// Row 15: a job that imports or exports the registry.
    ListRegistryJobs,
    /// Row 15.
    CreateRegistryJob,
    /// Row 15.
    GetRegistryJob(&'a str),
    /// Row 15.
    CancelRegistryJob(&'a str),
    /// Row 16: a scheduled job.
    ListJobs,
    /// Row 17.
    GetJob(&'a str),
    /// Row 17.
    PutJob(&'a str),
    /// Row 17.
    CancelJob(&'a str),
    /// Row 18.
    ListConfigurations,
    /// Row 18.
    TestConfigurationQueries,
    /// Row 19.
    GetConfiguration(&'a str),
    /// Row 19.
    PutConfiguration(&'a str),
    /// Row 19.
    DeleteConfiguration(&'a str),
    /// Row 20.
    Feedback(Receiver<'a>),
    /// Row 21.
    FileNotifications(Receiver<'a>),
    /// Row 22, and its like for modules.
    SendC2d(Target<'a>),
    /// Row 23.
    GetDigitalTwin(&'a str),
    /// Row 23.
    PatchDigitalTwin(&'a str),
    /// Rows 24 and 25.
    InvokeCommand(Command<'a>),
    /// Row 26: what devices ask for, with devices' credentials (`spec/device.md` 8 and 9).
    Device(Target<'a>, DeviceRoute<'a>),
}

/// What a device asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeviceRoute<'a> {
    /// Telemetry, one message or a batch.
    SendEvents,
    /// The next cloud-to-device message.
    ReceiveC2d,
    /// Completes the message under this lock, or rejects it.
    CompleteC2d(&'a str),
    /// Gives it back.
    AbandonC2d(&'a str),
    /// Begins a file upload.
    StartUpload,
    /// Ends one; the older form names it in the path.
    FinishUpload(Option<&'a str>),
}

/// Receiving and settling what is meant for back ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receiver<'a> {
    /// Locks the next one and answers it.
    Receive,
    /// Settles what is under this lock.
    Complete(&'a str),
    /// Gives it back.
    Abandon(&'a str),
}

/// A command of a digital twin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Command<'a> {
    /// The device.
    pub(super) device: &'a str,
    /// The component, unless it is a command of the root.
    pub(super) component: Option<&'a str>,
    /// The command.
    pub(super) name: &'a str,
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

impl<'a> Target<'a> {
    /// A device.
    pub(super) fn device(device: &'a str) -> Self {
        Self {
            device,
            module: None,
        }
    }

    /// A module of a device.
    pub(super) fn module(device: &'a str, module: &'a str) -> Self {
        Self {
            device,
            module: Some(module),
        }
    }

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
        [(W::Devices, _), (W::Query, _)] if verb == Verb::Post => Route::Query,
        [(W::Devices, _), (W::Keys, _), (W::Regenerate, _)] if verb == Verb::Post => {
            Route::RegenerateKeys
        }
        [(W::Devices, _), (_, device)] => match verb {
            Verb::Get => Route::GetDevice(device),
            Verb::Put => Route::PutDevice(device),
            Verb::Delete => Route::DeleteDevice(device),
            _ => return Err(Miss::WrongVerb),
        },
        [(W::Devices, _), (_, device), (W::Commands, _)] => match verb {
            Verb::Delete => Route::PurgeC2d(Target::device(device)),
            _ => return Err(Miss::WrongVerb),
        },
        [
            (W::Devices, _),
            (_, device),
            (W::Modules, _),
            (_, module),
            (W::Commands, _),
        ] => match verb {
            Verb::Delete => Route::PurgeC2d(Target::module(device, module)),
            _ => return Err(Miss::WrongVerb),
        },
        [
            (W::Devices, _),
            (_, device),
            (W::ApplyConfigurationContent, _),
        ] => match verb {
            Verb::Post => Route::ApplyConfiguration(device),
            _ => return Err(Miss::WrongVerb),
        },
        [(W::Devices, _), (_, device), (W::Modules, _)] => match verb {
            Verb::Get => Route::ListModules(device),
            _ => return Err(Miss::WrongVerb),
        },
        [(W::Devices, _), (_, device), (W::Modules, _), (_, module)] => {
            let target = Target::module(device, module);
            match verb {
                Verb::Get => Route::GetModule(target),
                Verb::Put => Route::PutModule(target),
                Verb::Delete => Route::DeleteModule(target),
                _ => return Err(Miss::WrongVerb),
            }
        }
        [(W::Twins, _), (_, device)] => twin(verb, Target::device(device))?,
        [(W::Twins, _), (_, device), (W::Modules, _), (_, module)] => {
            twin(verb, Target::module(device, module))?
        }
        [(W::Twins, _), (_, device), (W::Methods, _)] => method_call(verb, Target::device(device))?,
        [
            (W::Twins, _),
            (_, device),
            (W::Modules, _),
            (_, module),
            (W::Methods, _),
        ] => method_call(verb, Target::module(device, module))?,
        [(W::Statistics, _), (W::Devices, _)] => match verb {
            Verb::Get => Route::DeviceStatistics,
            _ => return Err(Miss::WrongVerb),
        },
        [(W::Statistics, _), (W::Service, _)] => match verb {
            Verb::Get => Route::ServiceStatistics,
            _ => return Err(Miss::WrongVerb),
        },
        [(W::Jobs, _)] => match verb {
            Verb::Get => Route::ListRegistryJobs,
            _ => return Err(Miss::WrongVerb),
        },
        [(W::Jobs, _), (W::Create, _)] if verb == Verb::Post => Route::CreateRegistryJob,
        [(W::Jobs, _), (W::V2, _), (W::Query, _)] if verb == Verb::Get => Route::ListJobs,
        [(W::Jobs, _), (W::V2, _), (_, id)] => match verb {
            Verb::Get => Route::GetJob(id),
            Verb::Put => Route::PutJob(id),
            _ => return Err(Miss::WrongVerb),
        },
        [(W::Jobs, _), (W::V2, _), (_, id), (W::Cancel, _)] => match verb {
            Verb::Post => Route::CancelJob(id),
            _ => return Err(Miss::WrongVerb),
        },
        [(W::Jobs, _), (_, id)] => match verb {
            Verb::Get => Route::GetRegistryJob(id),
            Verb::Delete => Route::CancelRegistryJob(id),
            _ => return Err(Miss::WrongVerb),
        },
        [(W::Configurations, _)] => match verb {
            Verb::Get => Route::ListConfigurations,
            _ => return Err(Miss::WrongVerb),
        },
        [(W::Configurations, _), (W::TestQueries, _)] if verb == Verb::Post => {
            Route::TestConfigurationQueries
        }
        [(W::Configurations, _), (_, id)] => match verb {
            Verb::Get => Route::GetConfiguration(id),
            Verb::Put => Route::PutConfiguration(id),
            Verb::Delete => Route::DeleteConfiguration(id),
            _ => return Err(Miss::WrongVerb),
        },
        [
            (W::Messages, _),
            (W::ServiceBound, _),
            (W::Feedback, _),
            ref rest @ ..,
        ] => Route::Feedback(receiver(verb, rest)?),
        // The documentation has the second spelling (`spec/service.md` 8).
        [
            (W::Messages, _),
            (W::ServiceBound, _),
            (W::FileNotifications | W::FileUploadNotifications, _),
            ref rest @ ..,
        ] => Route::FileNotifications(receiver(verb, rest)?),
        [
            (W::Devices, _),
            (_, device),
            (W::Modules, _),
            (_, module),
            ref rest @ ..,
        ] => device_side(verb, Target::module(device, module), rest)?,
        [(W::Devices, _), (_, device), ref rest @ ..] => {
            device_side(verb, Target::device(device), rest)?
        }
        [(W::DigitalTwins, _), (_, device)] => match verb {
            Verb::Get => Route::GetDigitalTwin(device),
            Verb::Patch => Route::PatchDigitalTwin(device),
            _ => return Err(Miss::WrongVerb),
        },
        [
            (W::DigitalTwins, _),
            (_, device),
            (W::Commands, _),
            (_, name),
        ] => command(
            verb,
            Command {
                device,
                component: None,
                name,
            },
        )?,
        [
            (W::DigitalTwins, _),
            (_, device),
            (W::Components, _),
            (_, component),
            (W::Commands, _),
            (_, name),
        ] => command(
            verb,
            Command {
                device,
                component: Some(component),
                name,
            },
        )?,
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

fn command<'a>(verb: Verb, command: Command<'a>) -> Result<Route<'a>, Miss> {
    if verb == Verb::Post {
        Ok(Route::InvokeCommand(command))
    } else {
        Err(Miss::WrongVerb)
    }
}

/// Rows 20 and 21, below the name of what is received.
fn receiver<'a>(verb: Verb, rest: &[(Word, &'a str)]) -> Result<Receiver<'a>, Miss> {
    match (verb, rest) {
        (Verb::Get, []) => Ok(Receiver::Receive),
        (Verb::Delete, [(_, lock)]) => Ok(Receiver::Complete(lock)),
        (Verb::Post, [(_, lock), (Word::Abandon, _)]) => Ok(Receiver::Abandon(lock)),
        (_, [] | [_] | [_, (Word::Abandon, _)]) => Err(Miss::WrongVerb),
        _ => Err(Miss::UnknownPath),
    }
}

/// Rows 22 and 26, below `/devices/{id}` and `/devices/{id}/modules/{mid}` (`spec/device.md` 8 and
/// 9). The two share a path: a back end sends to it, a device receives from it.
fn device_side<'a>(
    verb: Verb,
    target: Target<'a>,
    rest: &[(Word, &'a str)],
) -> Result<Route<'a>, Miss> {
    use Word as W;

    // Modules have no file upload (`spec/device.md` 8.4).
    if target.module.is_some() && matches!(rest, [(W::Files, _), ..]) {
        return Err(Miss::UnknownPath);
    }
    let of_device = |route| Ok(Route::Device(target, route));
    match (verb, rest) {
        (Verb::Post, [(W::Messages, _), (W::DeviceBound, _)]) => Ok(Route::SendC2d(target)),
        (Verb::Post, [(W::Messages, _), (W::Events, _)]) => of_device(DeviceRoute::SendEvents),
        (Verb::Get, [(W::Messages, _), (W::DeviceBound, _)]) => of_device(DeviceRoute::ReceiveC2d),
        (Verb::Delete, [(W::Messages, _), (W::DeviceBound, _), (_, lock)]) => {
            of_device(DeviceRoute::CompleteC2d(lock))
        }
        (
            Verb::Post,
            [
                (W::Messages, _),
                (W::DeviceBound, _),
                (_, lock),
                (W::Abandon, _),
            ],
        ) => of_device(DeviceRoute::AbandonC2d(lock)),
        (Verb::Post, [(W::Files, _)]) => of_device(DeviceRoute::StartUpload),
        (Verb::Post, [(W::Files, _), (W::Notifications, _)]) => {
            of_device(DeviceRoute::FinishUpload(None))
        }
        (Verb::Post, [(W::Files, _), (W::Notifications, _), (_, id)]) => {
            of_device(DeviceRoute::FinishUpload(Some(id)))
        }
        (
            _,
            [(W::Messages, _), (W::Events | W::DeviceBound, _)]
            | [(W::Messages, _), (W::DeviceBound, _), _]
            | [(W::Messages, _), (W::DeviceBound, _), _, (W::Abandon, _)]
            | [(W::Files, _)]
            | [(W::Files, _), (W::Notifications, _)]
            | [(W::Files, _), (W::Notifications, _), _],
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
    FileUploadNotifications = "fileuploadnotifications",
    Abandon = "abandon",
    Events = "events",
    Files = "files",
    Notifications = "notifications",
    DigitalTwins = "digitaltwins",
    Components = "components",
}

#[cfg(test)]
mod tests;
