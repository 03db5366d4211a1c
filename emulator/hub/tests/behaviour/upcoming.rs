//! What is due next, in words.

use iothub_hub::{Feature, Hub};
use iothub_protocol::method::MethodRequest;

use crate::fixture::{T0, client, fixture, secs};

#[test]
fn what_is_due_is_told_in_order_and_in_words() {
    let mut hub = fixture().device("d1").device("d2");
    hub.listening("d1", &[Feature::Methods]);
    hub.send("d2", "", "x").0.unwrap();
    hub.send("d2", "", "y").0.unwrap();
    hub.fetch("d2").unwrap();
    let operator = hub.operator.clone();
    for (id, wait) in [("d1", 0), ("d2", 5)] {
        let mut request = MethodRequest::new("reboot");
        request.connect_timeout = secs(wait);
        request.response_timeout = secs(20);
        let call = hub.run(|hub, cx| hub.invoke_method(cx, &operator, &client(id), request));
        call.0.unwrap();
    }

    let (all, total) = hub.hub.upcoming(100);
    let (first, of) = hub.hub.upcoming(1);

    let told: Vec<_> = all.iter().map(|it| it.what.as_str()).collect();
    assert_eq!(
        told,
        [
            "method call reboot to d2 finds nobody who listens",
            "method call reboot to d1 times out",
            "lock of c2d message 1 of d2 is lost",
            "c2d message 1 of d2 expires",
            "c2d message 2 of d2 expires",
            "token of d1 expires",
        ]
    );
    assert_eq!((all[0].due, total), (T0 + secs(5), 6));
    assert_eq!(all[5].client, Some(client("d1")));
    assert_eq!((first.as_slice(), of), (&all[..1], 6));
    assert_eq!(Hub::new(hub.hub.config().clone()).upcoming(1), (vec![], 0));
}

#[test]
fn batches_and_uploads_are_told_of_too() {
    let mut hub = fixture().device("d1").device("d2");
    for id in ["d1", "d2"] {
        hub.send(id, "iothub-ack=full", "x").0.unwrap();
        let received = hub.fetch(id).unwrap();
        hub.settle(id, received.lock, iothub_hub::Settlement::Complete)
            .0
            .unwrap();
    }
    let operator = hub.operator.clone();
    let upload = hub.run(|hub, cx| {
        let device = crate::fixture::device("d1");
        hub.start_upload(cx, &operator, &device, "d1/file".into())
    });
    let blob = upload.0.unwrap().blob.clone();

    let told: Vec<_> = hub
        .hub
        .upcoming(10)
        .0
        .into_iter()
        .map(|it| it.what)
        .collect();

    assert_eq!(
        told,
        [
            "feedback batch 1 is complete".to_owned(),
            format!("upload of {blob} by d1 times out"),
        ]
    );
}
