//! Changes as bytes. The numbers here are a format: they stay (`docs/storage.md`).

use std::num::NonZeroU64;
use std::sync::Arc;

use bytes::Bytes;
use iothub_hub::{
    AuthMethod, AuthScope, AuthType, C2dMessage, Change, Document, DocumentKind, Event,
    EventSource, Feature, Guarantee, Identity, Origin, PackedTwin, PartitionHead, PartitionId,
    Subscriptions, Twin,
};
use iothub_protocol::property_bag::PropertyBag;
use iothub_protocol::registry::{Authentication, Status};
use iothub_protocol::sas::SymmetricKey;
use iothub_protocol::twin::{Author, Metadata, Section};
use iothub_protocol::{ClientId, DeviceId, Message, ModuleId};

use super::codec::{Decoded, Decoder, Encode, MAX_DEPTH, Malformed};

const PUT_IDENTITY: u8 = 1;
const DELETE_IDENTITY: u8 = 2;
const PUT_TWIN: u8 = 3;
const PUT_SUBSCRIPTIONS: u8 = 4;
const DELETE_SUBSCRIPTIONS: u8 = 5;
const APPEND_EVENTS: u8 = 6;
const PUT_PARTITION_HEAD: u8 = 7;
const PUT_ENTROPY: u8 = 8;
const RESET: u8 = 9;
const PUT_C2D: u8 = 10;
const DELETE_C2D: u8 = 11;
const PUT_DOCUMENT: u8 = 12;
const DELETE_DOCUMENT: u8 = 13;
const PUT_CONFIGURED_TWIN: u8 = 14;

const SAS: u8 = 1;
const SELF_SIGNED: u8 = 2;
const CERTIFICATE_AUTHORITY: u8 = 3;
const NO_AUTHENTICATION: u8 = 4;

/// Appends a change.
pub(super) fn encode(out: &mut Vec<u8>, change: &Change) {
    match change {
        Change::PutIdentity(identity) => {
            out.byte(PUT_IDENTITY);
            encode_identity(out, identity);
        }
        Change::DeleteIdentity(client) => {
            out.byte(DELETE_IDENTITY);
            encode_client(out, client);
        }
        Change::PutTwin(client, twin) => {
            let twin = twin.unpack(client.clone());
            let configured = twin.desired.metadata.is_signed();
            out.byte(if configured {
                PUT_CONFIGURED_TWIN
            } else {
                PUT_TWIN
            });
            encode_twin(out, &twin);
            if configured {
                encode_signatures(out, &twin.desired.metadata);
            }
        }
        Change::PutSubscriptions(client, subscriptions) => {
            out.byte(PUT_SUBSCRIPTIONS);
            encode_client(out, client);
            for feature in Feature::ALL {
                out.byte(match subscriptions.get(feature) {
                    None => 0,
                    Some(Guarantee::AtMostOnce) => 1,
                    Some(Guarantee::AtLeastOnce) => 2,
                });
            }
        }
        Change::DeleteSubscriptions(client) => {
            out.byte(DELETE_SUBSCRIPTIONS);
            encode_client(out, client);
        }
        Change::AppendEvents(events) => {
            out.byte(APPEND_EVENTS);
            out.number(events.first().map_or(0, |event| event.partition.into()));
            encode_events(out, events);
        }
        Change::PutPartitionHead(partition, head) => {
            out.byte(PUT_PARTITION_HEAD);
            out.number((*partition).into());
            encode_head(out, *head);
        }
        Change::PutEntropy(counter) => {
            out.byte(PUT_ENTROPY);
            out.number(*counter);
        }
        Change::Reset => out.byte(RESET),
        Change::PutC2d(message) => {
            out.byte(PUT_C2D);
            encode_c2d(out, message);
        }
        Change::DeleteC2d(client, sequence) => {
            out.byte(DELETE_C2D);
            encode_client(out, client);
            out.number(*sequence);
        }
        Change::PutDocument(document) => {
            out.byte(PUT_DOCUMENT);
            out.byte(document.kind.number());
            out.text(&document.key);
            out.value(&document.value);
        }
        Change::DeleteDocument(kind, key) => {
            out.byte(DELETE_DOCUMENT);
            out.byte(kind.number());
            out.text(key);
        }
    }
}

/// The changes of a whole payload.
pub(super) fn decode_all(payload: Bytes) -> Decoded<Vec<Change>> {
    let mut input = Decoder::new(payload);
    let mut changes = Vec::new();
    while !input.is_at_end() {
        changes.push(decode(&mut input)?);
    }
    Ok(changes)
}

fn decode(input: &mut Decoder) -> Decoded<Change> {
    Ok(match input.byte()? {
        PUT_IDENTITY => Change::PutIdentity(Arc::new(decode_identity(input)?)),
        DELETE_IDENTITY => Change::DeleteIdentity(decode_client(input)?),
        PUT_TWIN => put_twin(decode_twin(input)?),
        PUT_CONFIGURED_TWIN => {
            let mut twin = decode_twin(input)?;
            decode_signatures(input, &mut twin.desired.metadata)?;
            put_twin(twin)
        }
        PUT_SUBSCRIPTIONS => {
            let client = decode_client(input)?;
            let mut subscriptions = Subscriptions::default();
            for feature in Feature::ALL {
                subscriptions.set(
                    feature,
                    match input.byte()? {
                        0 => None,
                        1 => Some(Guarantee::AtMostOnce),
                        2 => Some(Guarantee::AtLeastOnce),
                        _ => return Err(Malformed("a guarantee")),
                    },
                );
            }
            Change::PutSubscriptions(client, subscriptions)
        }
        DELETE_SUBSCRIPTIONS => Change::DeleteSubscriptions(decode_client(input)?),
        APPEND_EVENTS => {
            let partition = decode_partition(input)?;
            Change::AppendEvents(decode_events(input, partition)?)
        }
        PUT_PARTITION_HEAD => {
            Change::PutPartitionHead(decode_partition(input)?, decode_head(input)?)
        }
        PUT_ENTROPY => Change::PutEntropy(input.number()?),
        RESET => Change::Reset,
        PUT_C2D => Change::PutC2d(Arc::new(decode_c2d(input)?)),
        DELETE_C2D => Change::DeleteC2d(decode_client(input)?, input.number()?),
        PUT_DOCUMENT => Change::PutDocument(Document {
            kind: decode_kind(input)?,
            key: input.text()?.into(),
            value: Arc::new(input.json()?),
        }),
        DELETE_DOCUMENT => Change::DeleteDocument(decode_kind(input)?, input.text()?.into()),
        _ => return Err(Malformed("a kind of change")),
    })
}

pub(super) fn encode_head(out: &mut Vec<u8>, head: PartitionHead) {
    out.number(head.next_sequence);
    out.number(head.next_offset);
}

pub(super) fn decode_head(input: &mut Decoder) -> Decoded<PartitionHead> {
    Ok(PartitionHead {
        next_sequence: input.number()?,
        next_offset: input.number()?,
    })
}

pub(super) fn decode_partition(input: &mut Decoder) -> Decoded<PartitionId> {
    PartitionId::try_from(input.number()?).map_err(|_| Malformed("a partition"))
}

/// Appends events of one partition. The first one's sequence number stands first, so that it can
/// be had alone. An origin stands where it is another than the event's before.
pub(super) fn encode_events(out: &mut Vec<u8>, events: &[Event]) {
    out.number(events.first().map_or(0, |event| event.sequence));
    out.number(events.len() as u64);
    let mut origin: Option<&Arc<Origin>> = None;
    for event in events {
        out.number(event.sequence);
        out.number(event.offset);
        out.time(event.enqueued);
        out.byte(source_number(event.source));
        let is_new = origin.is_none_or(|origin| !Arc::ptr_eq(origin, &event.origin));
        out.option(is_new.then_some(&event.origin), |out, origin| {
            encode_origin(out, origin)
        });
        origin = Some(&event.origin);
        out.text(event.message.properties.as_encoded());
        out.bytes(&event.message.body);
    }
}

pub(super) fn decode_events(input: &mut Decoder, partition: PartitionId) -> Decoded<Vec<Event>> {
    input.number()?;
    let mut last: Option<Arc<Origin>> = None;
    input.list(|input| {
        let sequence = input.number()?;
        let offset = input.number()?;
        // What follows the event has to be a number too.
        if sequence == u64::MAX || offset > u64::MAX / 2 {
            return Err(Malformed("a sequence number and an offset"));
        }
        let enqueued = input.time()?;
        let source = decode_source(input)?;
        if let Some(origin) = input.option(decode_origin)? {
            last = Some(Arc::new(origin));
        }
        let origin = last.clone().ok_or(Malformed("an origin"))?;
        let message = decode_message(input)?;
        Ok(Event {
            partition,
            sequence,
            offset,
            enqueued,
            source,
            origin,
            message,
        })
    })
}

fn source_number(source: EventSource) -> u8 {
    match source {
        EventSource::Telemetry => 1,
        EventSource::DeviceLifecycle => 2,
        EventSource::TwinChange => 3,
        EventSource::ConnectionState => 4,
        EventSource::JobLifecycle => 5,
        EventSource::DigitalTwinChange => 6,
    }
}

fn decode_source(input: &mut Decoder) -> Decoded<EventSource> {
    let number = input.byte()?;
    EventSource::ALL
        .into_iter()
        .find(|&source| source_number(source) == number)
        .ok_or(Malformed("an event's source"))
}

fn encode_origin(out: &mut Vec<u8>, origin: &Origin) {
    encode_client(out, &origin.client);
    out.text(&origin.generation);
    out.byte(match origin.auth_method.scope {
        AuthScope::Hub => 0,
        AuthScope::Device => 1,
        AuthScope::Module => 2,
    });
    out.byte(match origin.auth_method.kind {
        AuthType::Sas => 0,
        AuthType::X509 => 1,
    });
    out.option(origin.model_id.as_deref(), |out, id| out.text(id));
}

fn decode_origin(input: &mut Decoder) -> Decoded<Origin> {
    let client = decode_client(input)?;
    let generation = input.text()?.into();
    let scope = match input.byte()? {
        0 => AuthScope::Hub,
        1 => AuthScope::Device,
        2 => AuthScope::Module,
        _ => return Err(Malformed("the scope of a credential")),
    };
    let kind = match input.byte()? {
        0 => AuthType::Sas,
        1 => AuthType::X509,
        _ => return Err(Malformed("the kind of a credential")),
    };
    let auth_method = AuthMethod { scope, kind };
    Ok(Origin {
        client,
        generation,
        auth_method,
        model_id: input.option(Decoder::string)?,
    })
}

fn encode_c2d(out: &mut Vec<u8>, message: &C2dMessage) {
    encode_client(out, &message.client);
    out.number(message.sequence);
    out.time(message.enqueued);
    out.time(message.expires);
    out.number(message.delivery_count.into());
    out.text(&message.generation);
    out.text(message.message.properties.as_encoded());
    out.bytes(&message.message.body);
}

fn decode_c2d(input: &mut Decoder) -> Decoded<C2dMessage> {
    Ok(C2dMessage {
        client: decode_client(input)?,
        sequence: input.number()?,
        enqueued: input.time()?,
        expires: input.time()?,
        delivery_count: u32::try_from(input.number()?).map_err(|_| Malformed("a count"))?,
        generation: input.text()?.into(),
        message: decode_message(input)?,
    })
}

fn decode_message(input: &mut Decoder) -> Decoded<Message> {
    let properties = PropertyBag::from_encoded(input.bytes()?).map_err(|_| Malformed("UTF-8"))?;
    Ok(Message {
        properties,
        body: input.bytes()?,
    })
}

fn decode_kind(input: &mut Decoder) -> Decoded<DocumentKind> {
    DocumentKind::from_number(input.byte()?).ok_or(Malformed("a kind of document"))
}

fn encode_client(out: &mut Vec<u8>, client: &ClientId) {
    out.text(client.device.as_str());
    out.option(client.module.as_ref(), |out, module| {
        out.text(module.as_str())
    });
}

fn decode_client(input: &mut Decoder) -> Decoded<ClientId> {
    let device = DeviceId::parse(input.text()?).map_err(|_| Malformed("a device id"))?;
    let module = input
        .option(|input| ModuleId::parse(input.text()?).map_err(|_| Malformed("a module id")))?;
    Ok(ClientId { device, module })
}

fn encode_identity(out: &mut Vec<u8>, identity: &Identity) {
    encode_client(out, &identity.client);
    out.text(&identity.generation);
    out.text(&identity.etag);
    out.flag(identity.status == Status::Enabled);
    out.option(identity.status_reason.as_deref(), |out, reason| {
        out.text(reason)
    });
    out.time(identity.status_updated);
    out.time(identity.connection_state_updated);
    out.time(identity.last_activity);
    match &identity.authentication {
        Authentication::Sas { primary, secondary } => {
            out.byte(SAS);
            out.bytes(primary.as_bytes());
            out.bytes(secondary.as_bytes());
        }
        Authentication::SelfSigned { primary, secondary } => {
            out.byte(SELF_SIGNED);
            out.text(primary);
            out.option(secondary.as_deref(), |out, thumbprint| out.text(thumbprint));
        }
        Authentication::CertificateAuthority => out.byte(CERTIFICATE_AUTHORITY),
        Authentication::None => out.byte(NO_AUTHENTICATION),
    }
    out.flag(identity.iot_edge);
    out.option(identity.device_scope.as_deref(), |out, scope| {
        out.text(scope)
    });
    out.number(identity.parent_scopes.len() as u64);
    for scope in &identity.parent_scopes {
        out.text(scope);
    }
    out.option(identity.managed_by.as_deref(), |out, manager| {
        out.text(manager)
    });
}

fn decode_identity(input: &mut Decoder) -> Decoded<Identity> {
    Ok(Identity {
        client: decode_client(input)?,
        generation: input.text()?.into(),
        etag: input.string()?,
        status: if input.flag()? {
            Status::Enabled
        } else {
            Status::Disabled
        },
        status_reason: input.option(Decoder::string)?,
        status_updated: input.time()?,
        connection_state_updated: input.time()?,
        last_activity: input.time()?,
        authentication: match input.byte()? {
            SAS => Authentication::Sas {
                primary: SymmetricKey::from_bytes(input.bytes()?.to_vec()),
                secondary: SymmetricKey::from_bytes(input.bytes()?.to_vec()),
            },
            SELF_SIGNED => Authentication::SelfSigned {
                primary: input.string()?,
                secondary: input.option(Decoder::string)?,
            },
            CERTIFICATE_AUTHORITY => Authentication::CertificateAuthority,
            NO_AUTHENTICATION => Authentication::None,
            _ => return Err(Malformed("a kind of authentication")),
        },
        iot_edge: input.flag()?,
        device_scope: input.option(Decoder::string)?,
        parent_scopes: input.list(Decoder::string)?,
        managed_by: input.option(Decoder::string)?,
    })
}

fn encode_twin(out: &mut Vec<u8>, twin: &Twin) {
    encode_client(out, &twin.client);
    out.map(&twin.tags);
    encode_section(out, &twin.desired);
    encode_section(out, &twin.reported);
    out.number(twin.version);
    out.number(twin.etag);
    out.text(&twin.model_id);
}

fn decode_twin(input: &mut Decoder) -> Decoded<Twin> {
    Ok(Twin {
        client: decode_client(input)?,
        tags: input.map()?,
        desired: decode_section(input)?,
        reported: decode_section(input)?,
        version: input.number()?,
        etag: input.number()?,
        model_id: input.string()?,
    })
}

fn put_twin(twin: Twin) -> Change {
    let packed = PackedTwin::pack(&twin);
    Change::PutTwin(twin.client, packed)
}

fn encode_section(out: &mut Vec<u8>, section: &Section) {
    out.map(&section.value);
    encode_metadata(out, &section.metadata);
    out.number(section.version);
}

fn decode_section(input: &mut Decoder) -> Decoded<Section> {
    Ok(Section {
        value: input.map()?,
        metadata: decode_metadata(input, MAX_DEPTH)?,
        version: input.number()?,
    })
}

fn encode_metadata(out: &mut Vec<u8>, metadata: &Metadata) {
    out.time(metadata.last_updated);
    out.number(metadata.last_updated_version.map_or(0, NonZeroU64::get));
    out.number(metadata.children.len() as u64);
    for (name, child) in &metadata.children {
        out.text(name);
        encode_metadata(out, child);
    }
}

fn decode_metadata(input: &mut Decoder, depth: usize) -> Decoded<Metadata> {
    let depth = depth
        .checked_sub(1)
        .ok_or(Malformed("metadata less deep"))?;
    Ok(Metadata {
        last_updated: input.time()?,
        last_updated_version: NonZeroU64::new(input.number()?),
        last_updated_by: None,
        children: input.list(|input| {
            let name = input.text()?.into();
            Ok((name, decode_metadata(input, depth)?))
        })?,
    })
}

/// Which configuration wrote what: each of them once, with its paths.
fn encode_signatures(out: &mut Vec<u8>, metadata: &Metadata) {
    let signatures = metadata.signatures();
    let mut authors: Vec<&Arc<Author>> = Vec::new();
    for (_, author) in &signatures {
        if !authors.contains(author) {
            authors.push(author);
        }
    }
    out.number(authors.len() as u64);
    for author in &authors {
        out.text(&author.configuration);
        out.text(&author.digest);
        let paths: Vec<_> = signatures.iter().filter(|(_, by)| *by == *author).collect();
        out.number(paths.len() as u64);
        for (path, _) in paths {
            out.number(path.len() as u64);
            for name in path {
                out.text(name);
            }
        }
    }
}

fn decode_signatures(input: &mut Decoder, metadata: &mut Metadata) -> Decoded<()> {
    let authors = input.list(|input| {
        let author = Arc::new(Author {
            configuration: input.text()?.into(),
            digest: input.text()?.into(),
        });
        let paths = input.list(|input| input.list(Decoder::string))?;
        Ok((author, paths))
    })?;
    for (author, paths) in authors {
        for path in paths {
            let path: Vec<_> = path.iter().map(String::as_str).collect();
            metadata.sign(&path, &author);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::samples;

    fn encoded(changes: &[Change]) -> Vec<u8> {
        let mut out = Vec::new();
        for change in changes {
            encode(&mut out, change);
        }
        out
    }

    #[test]
    fn every_kind_of_change_round_trips() {
        let changes = samples::changes();

        assert_eq!(decode_all(encoded(&changes).into()), Ok(changes));
    }

    #[test]
    fn a_truncated_payload_is_refused_or_ends_between_changes() {
        let changes = samples::changes();
        let bytes = encoded(&changes);

        for length in 0..bytes.len() {
            if let Ok(decoded) = decode_all(Bytes::copy_from_slice(&bytes[..length])) {
                assert_eq!(decoded, changes[..decoded.len()], "cut at {length}");
            }
        }
    }

    proptest! {
        #[test]
        fn flipped_bytes_are_decoded_without_panic(
            flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        ) {
            let mut bytes = encoded(&samples::changes());
            for (index, value) in flips {
                let at = index.index(bytes.len());
                bytes[at] = value;
            }
            let _ = decode_all(bytes.into());
        }

        #[test]
        fn any_bytes_are_decoded_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_all(bytes.into());
        }
    }
}
