//! How much there is.

use iothub_hub::{Census, Settlement, Statistics};

use crate::fixture::fixture;

#[test]
fn identities_and_waiting_messages_are_counted_as_they_come_and_go() {
    let mut hub = fixture().device("d1").device("d2").module("d1/m1");
    for client in ["d1", "d1", "d2"] {
        hub.send(client, "", "hello").0.unwrap();
    }
    let devices = |total| Statistics {
        total,
        enabled: total,
        disabled: 0,
    };

    let full = hub.hub.census();
    let received = hub.fetch("d1").unwrap();
    let locked = hub.hub.census();
    hub.settle("d1", received.lock, Settlement::Complete)
        .0
        .unwrap();
    let settled = hub.hub.census();
    hub.delete("d1").0.unwrap();
    let deleted = hub.hub.census();

    let census = |total, modules, c2d_waiting| Census {
        devices: devices(total),
        modules,
        c2d_waiting,
    };
    assert_eq!(full, census(2, 1, 3));
    assert_eq!(locked, census(2, 1, 3));
    assert_eq!(settled, census(2, 1, 2));
    assert_eq!(deleted, census(1, 0, 1));
}
