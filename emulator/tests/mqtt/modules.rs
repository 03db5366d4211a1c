//! What modules do and devices do not: inputs and outputs (`spec/device.md` 10); and the model that
//! a client names at connect (`spec/device.md` 15).

use crate::client::{Client, connect, emulator, publish, register, subscribe, token};
use iothub_hub::Principal;
use iothub_protocol::ClientId;
use iothub_protocol::mqtt::packet::{QoS, ServerPacket, SubAckCode};

#[tokio::test]
async fn a_module_sends_to_an_output_and_listens_to_its_inputs() {
    let emulator = emulator().await;
    register(&emulator, "d1").await;
    let mut module = Client::online(&emulator, "d1/m1").await;

    let inputs = ("devices/d1/modules/m1/inputs/#", QoS::AtMostOnce);
    let everything = ("devices/d1/modules/m1/#", QoS::AtMostOnce);
    module.send(&subscribe(3, &[inputs, everything])).await;
    let granted = SubAckCode::Granted(QoS::AtMostOnce);
    assert_eq!(
        module.next().await,
        Some(ServerPacket::SubAck {
            packet_id: 3,
            codes: vec![granted, granted]
        })
    );

    let topic = "devices/d1/modules/m1/messages/events/%24.on=alerts&%24.mid=x&k=v";
    module
        .send(&publish(topic, QoS::AtLeastOnce, 4, b"hot"))
        .await;
    assert_eq!(module.next().await, Some(ServerPacket::PubAck(4)));

    let handle = emulator.handle();
    let events: Vec<_> = (0..4)
        .flat_map(|partition| handle.read_events(partition, 0, usize::MAX).unwrap())
        .collect();
    let [event] = &events[..] else {
        panic!("not one event: {events:?}");
    };
    assert_eq!(event.origin.client, ClientId::parse("d1/m1").unwrap());
    let properties = event.message.properties.as_encoded();
    assert!(properties.contains("%24.on=alerts"), "{properties}");
}

#[tokio::test]
async fn the_model_of_the_latest_connect_stands_in_the_twin() {
    let emulator = emulator().await;
    let key = register(&emulator, "d1").await;
    let token = token(&emulator, "d1", &key);
    let id = ClientId::parse("d1").unwrap();

    // With the api-version that the Python SDK sends (`spec/device.md` 15), raw and encoded.
    for (parameter, model) in [
        ("&model-id=dtmi:com:example:A;1", "dtmi:com:example:A;1"),
        (
            "&DeviceClientType=x&model-id=dtmi%3Acom%3Aexample%3AB%3B2",
            "dtmi:com:example:B;2",
        ),
        ("", ""),
    ] {
        let mut request = connect("d1", &token);
        request.username = Some(format!("localhost/d1/?api-version=2019-10-01{parameter}"));
        let (client, _) = Client::enter(&emulator, request).await;

        let twin = emulator
            .handle()
            .inspect(|hub| hub.twin(&Principal::operator(), &id).unwrap().0);
        assert_eq!(twin["modelId"], model);
        drop(client);
    }
}
