//! What an onlooker is told.

use iothub_hub::{End, Guarantee, IdentityChange, Notice, Settlement, TwinParts};
use iothub_protocol::registry::IdentitySpec;
use serde_json::json;

use crate::fixture::{Fixture, fixture, object};

fn told(hub: &Fixture) -> Vec<String> {
    hub.notices
        .iter()
        .map(|notice| match notice {
            Notice::Connected(client, transport) => format!("{client} connected over {transport}"),
            Notice::Disconnected(client, why) => format!("{client} gone: {why}"),
            Notice::MethodInvoked { name, .. } => format!("{name} called"),
            Notice::MethodEnded { name, .. } => format!("{name} ended"),
            Notice::TwinChanged { twin, written } => {
                let TwinParts {
                    tags,
                    desired,
                    reported,
                } = written;
                format!("{} written: {tags} {desired} {reported}", twin.client)
            }
            Notice::IdentityChanged { identity, how } => {
                let how = match how {
                    IdentityChange::Created => "created",
                    IdentityChange::Updated => "updated",
                    IdentityChange::Deleted => "deleted",
                };
                format!("{} {how}", identity.client)
            }
            Notice::C2dSent(message) => format!("{} sent", message.sequence),
            Notice::C2dDelivered {
                message,
                redelivered,
            } => format!("{} delivered, again: {redelivered}", message.sequence),
            Notice::C2dReturned(message) => format!("{} returned", message.sequence),
            Notice::C2dEnded(message, status) => format!("{} {}", message.sequence, status.name()),
        })
        .collect()
}

#[test]
fn an_identity_is_told_of_from_its_beginning_to_its_end() {
    let mut hub = fixture();

    hub.put("d1", IdentitySpec::default()).0.unwrap();
    assert_eq!(told(&hub), ["d1 created"]);
    hub.update("d1", IdentitySpec::default()).0.unwrap();
    assert_eq!(told(&hub), ["d1 updated"]);
    let session = hub.connect("d1");
    assert_eq!(told(&hub), ["d1 connected over test"]);
    hub.disconnect(session, End::Goodbye);
    assert_eq!(told(&hub).len(), 1);
    hub.delete("d1").0.unwrap();
    assert_eq!(told(&hub), ["d1 deleted"]);
}

#[test]
fn a_write_of_a_twin_tells_what_of_it_was_written() {
    let mut hub = fixture().device("d1");
    let session = hub.connect("d1");

    let patch = json!({"tags": {"a": 1}, "properties": {"desired": {"b": 2}}});
    hub.patch("d1", &patch).0.unwrap();
    assert_eq!(told(&hub), ["d1 written: true true false"]);
    let reported = object(json!({"c": 3}));
    let patched = hub.run(|hub, cx| hub.patch_reported(cx, session, &reported, None));
    patched.0.unwrap();
    assert_eq!(told(&hub), ["d1 written: false false true"]);
    hub.patch("d1", &json!({"properties": {"desired": {"b": {"$x": 1}}}}))
        .0
        .unwrap_err();
    assert!(hub.notices.is_empty());
}

#[test]
fn a_message_is_told_of_at_each_step() {
    let mut hub = fixture().device("d1");

    hub.send("d1", "", "m1").0.unwrap();
    assert_eq!(told(&hub), ["1 sent"]);
    let received = hub.fetch("d1").unwrap();
    assert_eq!(told(&hub), ["1 delivered, again: false"]);
    hub.settle("d1", received.lock, Settlement::Abandon)
        .0
        .unwrap();
    assert_eq!(told(&hub), ["1 returned"]);
    let session = hub.connect("d1");
    hub.receive(session, Guarantee::AtMostOnce);
    assert_eq!(told(&hub), ["1 delivered, again: true", "1 Success"]);
}
