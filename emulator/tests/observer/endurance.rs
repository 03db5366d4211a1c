//! Observers that come and go, are slow or many: the bus and the hub do not notice.

use std::time::Duration;

use iothub_protocol::Clock;
use iothub_protocol::mqtt::packet::{ClientPacket, Unsubscribe};

use super::world::{ALONE, GRANTED, World, within};

#[tokio::test]
async fn hubs_of_one_name_do_not_see_each_other() {
    let _alone = ALONE.lock().await;
    let (one, other) = (World::start("h"), World::start("h"));
    let _seen = one.device("one").await;
    let mut observer = one.watching("hub/h/devices/#").await;
    assert_eq!(observer.message().await.0, "hub/h/devices/one/connection");

    let stranger = other.device("other").await;
    let mut neighbour = other.watching("hub/h/devices/#").await;
    assert_eq!(
        neighbour.message().await.0,
        "hub/h/devices/other/connection"
    );
    stranger.send(&["not for one"]).await;
    assert_eq!(neighbour.message().await.1, "not for one");

    let seen = one.device("two").await;
    seen.send(&["for one"]).await;
    assert_eq!(observer.message().await.0, "hub/h/devices/two/connection");
    assert_eq!(observer.message().await.1, "for one");
    one.end().await;
    other.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bus_survives_subscribing_and_unsubscribing_without_end() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let device = world.device("d1").await;
    let mut witness = world.watching("hub/h/devices/nobody/telemetry").await;
    let mut restless = world.observer().await;

    let traffic = async {
        for _ in 0..200 {
            device.send(&["x"; 50]).await;
            tokio::task::yield_now().await;
        }
    };
    let churn = async {
        for round in 0..2000_u16 {
            let filter = format!(
                "hub/h/devices/{}/telemetry",
                if round % 2 == 0 { "d1" } else { "+" }
            );
            assert_eq!(restless.subscribe(&[&filter]).await, [GRANTED]);
            let filters = vec![filter];
            restless
                .send(&ClientPacket::Unsubscribe(Unsubscribe {
                    packet_id: 1,
                    filters,
                }))
                .await;
        }
    };
    tokio::join!(traffic, churn);

    let mut honest = world.watching("hub/h/devices/d1/telemetry").await;
    device.send(&["still here"]).await;
    while honest.message().await.1 != "still here" {}
    assert!(witness.is_alive().await, "the router is the one it was");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bus_survives_observers_that_leave_in_a_burst() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let device = world.device("d1").await;
    let body = "x".repeat(100);
    let bodies = vec![body.as_str(); 500];
    let mut witness = world.watching("hub/h/devices/nobody/telemetry").await;

    for round in 0..60 {
        let mut politely = world.watching("#").await;
        let silently = world.watching("hub/#").await;
        device.send(&bodies).await;
        // One that has read something and says goodbye, and one that just goes.
        assert!(!politely.message().await.0.is_empty());
        if round % 2 == 0 {
            politely.send(&ClientPacket::Disconnect).await;
        }
        device.send(&bodies).await;
        drop(silently);
    }

    let mut honest = world.watching("hub/h/devices/d1/telemetry").await;
    device.send(&["still here"]).await;
    while honest.message().await.1 != "still here" {}
    assert!(witness.is_alive().await, "the router is the one it was");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observer_that_does_not_read_holds_up_nobody() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let device = world.device("d1").await;
    let _asleep = world.watching("#").await;
    let mut awake = world.watching("hub/h/devices/d1/telemetry").await;
    let body = "x".repeat(100 * 1024);

    let reading = async {
        let mut last = String::new();
        while last != "end" {
            last = awake.message().await.1;
        }
    };
    let sending = async {
        for _ in 0..200 {
            device.send(&[body.as_str()]).await;
        }
        // Whoever is slow may miss some, so the end is said until it is heard.
        loop {
            device.send(&["end"]).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = within(reading) => {}
        () = sending => {}
    }
    world.end().await;
}

#[tokio::test]
async fn the_end_of_the_hub_is_the_end_of_its_observers() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let _device = world.device("d1").await;
    let mut observer = world.watching("#").await;

    within(world.end()).await;

    assert!(observer.is_closed().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observer_that_is_too_slow_is_told_how_much_it_missed() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let device = world.device("d1").await;
    let mut slow = world.observer().await;
    let filters = ["hub/h/devices/d1/telemetry", "hub/h/log/dropped"];
    assert_eq!(slow.subscribe(&filters).await, [GRANTED, GRANTED]);
    let body = "x".repeat(200 * 1024);

    for _ in 0..400 {
        device.send(&[body.as_str()]).await;
        tokio::task::yield_now().await;
    }

    let told = async {
        loop {
            device.send(&["more"]).await;
            let (topic, payload, _) = slow.message().await;
            if topic == "hub/h/log/dropped" {
                let losses: serde_json::Value = serde_json::from_str(&payload).unwrap();
                let count = |name: &str| losses[name].as_u64().unwrap();
                if count("missed") + count("dropped") > 0 {
                    return;
                }
            }
        }
    };
    within(told).await;
    world.end().await;
}

#[tokio::test]
async fn the_hubs_time_is_not_the_observers() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let mut observer = world.watching("hub/h/devices/d1/#").await;

    let clock = world.handle.clock();
    clock.advance_to(clock.now() + Duration::from_secs(86_400));
    tokio::task::yield_now().await;

    assert!(observer.is_alive().await);
    world.end().await;
}
