//! Cloud-to-device messages, and those for a module's inputs, acknowledged when the application
//! takes them.

use tokio::sync::mpsc;

use iothub_protocol::Message;

/// Cloud-to-device messages, one after the other.
pub struct Messages {
    deliveries: mpsc::Receiver<Delivery>,
    receipts: mpsc::Sender<Receipt>,
}

/// Messages for a module's inputs, one after the other.
pub struct InputMessages {
    deliveries: mpsc::Receiver<Delivery>,
    receipts: mpsc::Sender<Receipt>,
}

/// A message on its way to the application.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// The input that it is for, where it is for one.
    pub(crate) input: Option<String>,
    pub(crate) message: Message,
    /// What acknowledges it; none when it came at QoS 0.
    pub(crate) receipt: Option<Receipt>,
}

/// Says which delivery is acknowledged: a packet of one connection, void on any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) link: u64,
    pub(crate) packet_id: u16,
}

impl Messages {
    pub(crate) fn new(
        deliveries: mpsc::Receiver<Delivery>,
        receipts: mpsc::Sender<Receipt>,
    ) -> Self {
        Self {
            deliveries,
            receipts,
        }
    }

    /// The next message; `None` once the client is closed or receives elsewhere. With this the
    /// message is complete for the hub (`spec/device.md` 5.3); one that was never taken comes again.
    pub async fn next(&mut self) -> Option<Message> {
        let delivery = take(&mut self.deliveries, &self.receipts).await?;
        Some(delivery.message)
    }
}

impl InputMessages {
    pub(crate) fn new(
        deliveries: mpsc::Receiver<Delivery>,
        receipts: mpsc::Sender<Receipt>,
    ) -> Self {
        Self {
            deliveries,
            receipts,
        }
    }

    /// The next message with the input that it is for; `None` once the client is closed or receives
    /// elsewhere. As with [`Messages::next`], taking it completes it.
    pub async fn next(&mut self) -> Option<(String, Message)> {
        let delivery = take(&mut self.deliveries, &self.receipts).await?;
        Some((delivery.input.unwrap_or_default(), delivery.message))
    }
}

async fn take(
    deliveries: &mut mpsc::Receiver<Delivery>,
    receipts: &mpsc::Sender<Receipt>,
) -> Option<Delivery> {
    let delivery = deliveries.recv().await?;
    if let Some(receipt) = delivery.receipt {
        // Full only when the connection is gone, and the receipt void with it.
        let _ = receipts.try_send(receipt);
    }
    Some(delivery)
}

/// How many messages wait for the application. The hub sends none that is beyond its own window
/// before earlier ones are acknowledged; one too many stays unacknowledged and comes again.
pub(crate) const BACKLOG: usize = 64;
