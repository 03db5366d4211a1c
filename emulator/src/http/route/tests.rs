//! Each row is found, and nothing else.

use iothub_protocol::http::path_segments;

use super::*;

/// The route of `GET /devices` and the like, as text.
fn found(request: &str) -> String {
    let (method, path) = request.split_once(' ').unwrap();
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let segments = path_segments(path).unwrap();
    match route(&method, &segments) {
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
fn every_row_has_a_route_of_its_own() {
    let mut routes = Vec::new();
    for row in ROWS {
        let route = found(row);
        assert!(
            !["UnknownPath", "WrongVerb"].contains(&route.as_str()),
            "{row}: {route}"
        );
        assert!(!routes.contains(&route), "{row}: {route} twice");
        routes.push(route);
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
        ("POST /devices%2Fquery", Route::Query),
        (
            "GET /messages/servicebound/Feedback",
            Route::Feedback(Receiver::Receive),
        ),
        (
            "GET /messages/servicebound/fileuploadnotifications",
            Route::FileNotifications(Receiver::Receive),
        ),
        (
            "GET /devices/d1/messages/devicebound",
            Route::Device(d1(), DeviceRoute::ReceiveC2d),
        ),
        (
            "POST /devices/d1/files/notifications/corr%3D%3D/",
            Route::Device(d1(), DeviceRoute::FinishUpload(Some("corr=="))),
        ),
    ] {
        assert_eq!(found(request), format!("{expected:?}"), "{request}");
    }
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
