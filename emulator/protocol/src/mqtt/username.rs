//! The user name of a CONNECT (`spec/device.md` 2.3).

use std::fmt;

use crate::identity::InvalidId;
use crate::property_bag::{decode, encode};
use crate::{ClientId, DeviceId, ModuleId};

/// What a user name says: `host/device[/module]/?api-version=…&…`. Prints in this form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserName {
    /// The hub, as it was written; compare ignoring case.
    pub host: String,
    /// Who connects; has to equal the client id.
    pub client: ClientId,
    /// Without it twin operations are refused (`spec/device.md` Q17).
    pub api_version: Option<String>,
    /// `DeviceClientType`: free text about the SDK.
    pub client_type: Option<String>,
    /// `model-id`: the device's Plug and Play model.
    pub model_id: Option<String>,
    /// `auth-chain`: the way through nested edge devices; of no effect.
    pub auth_chain: Option<String>,
}

/// Why a text is no user name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserNameError {
    /// Host or device is not there.
    #[error("not of the form host/device[/module]/?api-version=...: host or device is missing")]
    Missing,
    /// More segments than a module's user name has.
    #[error("not of the form host/device[/module]/?api-version=...: too many segments")]
    TooMany,
    /// Device or module has a name that none can have.
    #[error(transparent)]
    InvalidId(#[from] InvalidId),
}

/// Parameters that mark the last segment of a legacy user name as the query.
const KEYS: [&str; 4] = [
    "api-version=",
    "DeviceClientType=",
    "model-id=",
    "auth-chain=",
];

impl UserName {
    /// Reads the form of today and the legacy ones: the query without its `?`, or no query at all.
    pub fn parse(text: &str) -> Result<Self, UserNameError> {
        let (path, query) = split_query(text);
        let mut segments = path.split('/');
        let host = segments
            .next()
            .filter(|host| !host.is_empty())
            .ok_or(UserNameError::Missing)?;
        let device = segments
            .next()
            .filter(|device| !device.is_empty())
            .ok_or(UserNameError::Missing)?;
        let module = segments.next();
        if segments.next().is_some() {
            return Err(UserNameError::TooMany);
        }

        let client = ClientId {
            device: DeviceId::parse(device)?,
            module: module.map(ModuleId::parse).transpose()?,
        };
        let mut name = Self::new(host, client);
        name.read_query(query);
        Ok(name)
    }

    /// A user name without parameters.
    pub fn new(host: impl Into<String>, client: ClientId) -> Self {
        Self {
            host: host.into(),
            client,
            api_version: None,
            client_type: None,
            model_id: None,
            auth_chain: None,
        }
    }

    /// Parameters in any order, values decoded, the first of duplicates, others ignored (T4).
    fn read_query(&mut self, query: &str) {
        // The one legacy form with an unescaped slash joins its two parameters by a slash.
        let query = query.replace("/DeviceClientType=", "&DeviceClientType=");
        for pair in query.split('&') {
            let Some((key, value)) = pair.split_once('=') else {
                continue;
            };
            let field = match key {
                "api-version" => &mut self.api_version,
                "DeviceClientType" => &mut self.client_type,
                "model-id" => &mut self.model_id,
                "auth-chain" => &mut self.auth_chain,
                _ => continue,
            };
            field.get_or_insert_with(|| decode(value).into_owned());
        }
    }
}

/// Splits a user name into `host/device[/module]` and the query, without the `?`.
fn split_query(text: &str) -> (&str, &str) {
    // Only the `?` of the last segment starts the query: device and module ids may begin with one.
    // Host and device are never the query.
    let third = text.match_indices('/').nth(1).map(|(at, _)| at + 1);
    let Some(third) = third else {
        return (text, "");
    };
    let last = text.rfind('/').map_or(0, |at| at + 1);
    let start = if text[last..].starts_with('?') || last == text.len() {
        Some(last)
    } else {
        // A legacy query, which may contain slashes.
        std::iter::once(third)
            .chain(
                text[third..]
                    .match_indices('/')
                    .map(|(at, _)| third + at + 1),
            )
            .find(|at| {
                KEYS.iter()
                    .any(|key| unmarked(&text[*at..]).starts_with(key))
            })
    };
    match start {
        Some(start) => (&text[..start - 1], unmarked(&text[start..])),
        None => (text, ""),
    }
}

fn unmarked(query: &str) -> &str {
    query.strip_prefix('?').unwrap_or(query)
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/?", self.host, self.client)?;
        let parameters = [
            ("api-version", &self.api_version),
            ("DeviceClientType", &self.client_type),
            ("auth-chain", &self.auth_chain),
            ("model-id", &self.model_id),
        ];
        let mut separator = "";
        for (key, value) in parameters {
            if let Some(value) = value {
                write!(f, "{separator}{key}={}", encode(value))?;
                separator = "&";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "myhub.azure-devices.net";

    fn parse(rest: &str) -> UserName {
        UserName::parse(&format!("{HOST}/{rest}")).unwrap()
    }

    fn named(client: &str) -> UserName {
        UserName::new(HOST, ClientId::parse(client).unwrap())
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn user_names_of_the_sdks_are_read() {
        // `spec/device.md` 2.3: Python, Node with a raw model id in front, C with lower-case digits,
        // a Python module.
        assert_eq!(
            parse(
                "dev1/?api-version=2019-10-01&DeviceClientType=azure-iot-device-iothub-py%2F2.14.0\
                 %28python%29&model-id=dtmi%3Acom%3Aexample%3AThermostat%3B1"
            ),
            UserName {
                api_version: some("2019-10-01"),
                client_type: some("azure-iot-device-iothub-py/2.14.0(python)"),
                model_id: some("dtmi:com:example:Thermostat;1"),
                ..named("dev1")
            }
        );
        assert_eq!(
            parse(
                "dev1/?api-version=2021-04-12&model-id=dtmi:com:example:Thermostat;1\
                 &DeviceClientType=azure-iot-device%2F1.18.4%20(node%20v20%3B)"
            ),
            UserName {
                api_version: some("2021-04-12"),
                client_type: some("azure-iot-device/1.18.4 (node v20;)"),
                model_id: some("dtmi:com:example:Thermostat;1"),
                ..named("dev1")
            }
        );
        assert_eq!(
            parse(
                "dev1/?api-version=2020-09-30&DeviceClientType=iothubclient%2f1.x%20(native%3b%20\
                 Linux%3b%20x86_64)"
            ),
            UserName {
                api_version: some("2020-09-30"),
                client_type: some("iothubclient/1.x (native; Linux; x86_64)"),
                ..named("dev1")
            }
        );
        assert_eq!(
            parse("dev1/mod1/?api-version=2019-10-01"),
            UserName {
                api_version: some("2019-10-01"),
                ..named("dev1/mod1")
            }
        );
    }

    #[test]
    fn legacy_user_names_are_read() {
        assert_eq!(
            parse("dev1/api-version=2016-11-14"),
            UserName {
                api_version: some("2016-11-14"),
                ..named("dev1")
            }
        );
        assert_eq!(
            parse(
                "dev1/mod1/api-version=2017-06-30/DeviceClientType=\
                 Microsoft.Azure.Devices.Client/1.5.1-preview-003"
            ),
            UserName {
                api_version: some("2017-06-30"),
                client_type: some("Microsoft.Azure.Devices.Client/1.5.1-preview-003"),
                ..named("dev1/mod1")
            }
        );
        assert_eq!(parse("dev1"), named("dev1"));
        assert_eq!(parse("dev1/"), named("dev1"));
        assert_eq!(parse("dev1/mod1"), named("dev1/mod1"));
        assert_eq!(parse("dev1/mod1/"), named("dev1/mod1"));
        assert_eq!(parse("dev1/?"), named("dev1"));
    }

    #[test]
    fn only_the_question_mark_of_the_last_segment_starts_the_query() {
        assert_eq!(parse("?dev"), named("?dev"));
        assert_eq!(
            parse("?dev/?mod?/?api-version=1"),
            UserName {
                api_version: some("1"),
                ..named("?dev/?mod?")
            }
        );
    }

    #[test]
    fn the_first_duplicate_wins_and_unknown_keys_are_ignored() {
        assert_eq!(
            parse("dev1/?x=y&api-version=1&api-version=2&flag&a+b=c"),
            UserName {
                api_version: some("1"),
                ..named("dev1")
            }
        );
    }

    #[test]
    fn what_has_no_host_or_device_is_refused() {
        for bad in ["", "/", "host", "host/", "/dev1", "host//?api-version=1"] {
            assert_eq!(UserName::parse(bad), Err(UserNameError::Missing), "{bad}");
        }
        assert_eq!(
            UserName::parse("h/d/m/x/?api-version=1"),
            Err(UserNameError::TooMany)
        );
        assert!(matches!(
            UserName::parse("h/d e"),
            Err(UserNameError::InvalidId(_))
        ));
        assert!(matches!(
            UserName::parse("h/d//?a=b"),
            Err(UserNameError::InvalidId(_))
        ));
    }

    #[test]
    fn printed_user_names_round_trip() {
        let name = UserName {
            api_version: some("2021-04-12"),
            client_type: some("iothub-device/0.1.0 (rust; é)"),
            model_id: some("dtmi:com:example:Thermostat;1"),
            auth_chain: some("leaf;edge1"),
            ..named("dev1/?mod")
        };

        assert_eq!(UserName::parse(&name.to_string()), Ok(name));
        assert_eq!(
            UserName::parse(&named("d/?m").to_string()),
            Ok(named("d/?m"))
        );
        assert_eq!(
            UserName {
                api_version: some("2021-04-12"),
                ..named("dev1")
            }
            .to_string(),
            "myhub.azure-devices.net/dev1/?api-version=2021-04-12"
        );
    }
}
