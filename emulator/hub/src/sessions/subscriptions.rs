//! What a client listens to, and how surely it wants to be sent it.

/// A kind of thing a client can ask to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// Direct method calls.
    Methods,
    /// Answers to its twin requests.
    TwinResponses,
    /// Changes of desired properties.
    DesiredChanges,
    /// Cloud-to-device messages.
    C2d,
    /// Messages routed to a module's inputs.
    Inputs,
}

/// How surely a client wants to be sent something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guarantee {
    /// Sent once, not acknowledged.
    AtMostOnce,
    /// Sent until acknowledged.
    AtLeastOnce,
}

/// What a client has asked to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subscriptions([Option<Guarantee>; 5]);

impl Feature {
    /// Every feature.
    pub const ALL: [Self; 5] = [
        Self::Methods,
        Self::TwinResponses,
        Self::DesiredChanges,
        Self::C2d,
        Self::Inputs,
    ];

    /// The name people see.
    pub fn name(self) -> &'static str {
        match self {
            Self::Methods => "methods",
            Self::TwinResponses => "twinResponses",
            Self::DesiredChanges => "desiredChanges",
            Self::C2d => "c2d",
            Self::Inputs => "inputs",
        }
    }
}

impl Subscriptions {
    /// How surely `feature` is to be sent; `None` when it is not.
    pub fn get(&self, feature: Feature) -> Option<Guarantee> {
        self.0[feature as usize]
    }

    /// Adds, changes or removes one.
    pub fn set(&mut self, feature: Feature, guarantee: Option<Guarantee>) {
        self.0[feature as usize] = guarantee;
    }

    /// The features that are subscribed to.
    pub fn features(&self) -> impl Iterator<Item = Feature> + '_ {
        Feature::ALL
            .into_iter()
            .filter(|&feature| self.get(feature).is_some())
    }
}
