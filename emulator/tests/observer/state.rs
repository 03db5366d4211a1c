//! The last state, which a subscription is told first.

use super::world::{ALONE, CONNECTED, GRANTED, World, message, patch, register};

#[tokio::test]
async fn a_late_observer_is_told_the_last_connection_state() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let stays = world.device("stays").await;
    let leaves = world.device("leaves").await;
    let mut early = world.watching("hub/h/devices/leaves/connection").await;
    assert_eq!(early.message().await.1, CONNECTED);

    leaves.leave();

    let gone = early.message().await;
    let mut late = world.watching("hub/h/devices/+/connection").await;
    let mut told = [late.message().await, late.message().await];
    told.sort();
    assert!(!gone.2, "{gone:?}");
    assert_eq!(
        told,
        [
            message(
                "hub/h/devices/leaves/connection",
                r#"{"state":"disconnected"}"#,
                true
            ),
            message("hub/h/devices/stays/connection", CONNECTED, true),
        ]
    );
    assert_eq!(
        gone.1,
        r#"{"state":"disconnected","reason":"disconnected"}"#
    );
    drop(stays);
    world.end().await;
}

#[tokio::test]
async fn subscribing_anew_tells_retained_state_anew() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let _device = world.device("d1").await;
    let mut observer = world.observer().await;

    for _ in 0..3 {
        assert_eq!(observer.subscribe(&["hub/h/devices/d1/#"]).await, [GRANTED]);
        let told = observer.message().await;
        assert_eq!(
            told,
            message("hub/h/devices/d1/connection", CONNECTED, true)
        );
    }
    world.end().await;
}

#[tokio::test]
async fn a_bus_that_opens_late_tells_what_there_is() {
    let _alone = ALONE.lock().await;
    let handle = World::hub("h");
    let (written, _untouched) = (
        register(&handle, "written").await,
        register(&handle, "untouched").await,
    );
    patch(&handle, &written, 7).await;
    let world = World::open(handle, "h", None);

    let mut observer = world.watching("hub/h/devices/#").await;

    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(observer.message().await);
    }
    let gone = r#"{"state":"disconnected"}"#;
    assert_eq!(
        told,
        [
            message("hub/h/devices/untouched/connection", gone, true),
            message("hub/h/devices/written/connection", gone, true),
            message(
                "hub/h/devices/written/twin/desired",
                r#"{"value":7,"$version":2}"#,
                true
            ),
        ]
    );
    assert!(observer.is_alive().await);
    world.end().await;
}
