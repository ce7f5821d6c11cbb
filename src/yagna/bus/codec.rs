//! Packets of the bus, and their bytes.
//!
//! A packet is its length in four bytes, the highest first, and a protobuf message with one field: its
//! number tells the kind of the packet, its value is the message of that kind. Bytes that are no packet
//! give an error, never a panic, and a packet has a size: [`PACKET_MAX`].

use thiserror::Error;

/// The largest packet that is taken. A frame of a node has 64 KiB at most.
pub const PACKET_MAX: usize = 1 << 20;

const HELLO: u64 = 1;
const REGISTER: u64 = 2;
const REGISTERED: u64 = 3;
const UNREGISTER: u64 = 4;
const UNREGISTERED: u64 = 5;
const CALL: u64 = 6;
const REPLY: u64 = 7;
const SUBSCRIBE: u64 = 8;
const SUBSCRIBED: u64 = 9;
const UNSUBSCRIBE: u64 = 10;
const UNSUBSCRIBED: u64 = 11;
const BROADCAST: u64 = 12;
const BROADCASTED: u64 = 13;
const PING: u64 = 14;
const PONG: u64 = 15;

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED32: u64 = 5;

/// What goes over the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// The first packet of each side.
    Hello(Hello),
    /// Calls to names that begin with this one come to the sender.
    Register {
        /// The name.
        service: String,
    },
    /// The answer to `Register`.
    Registered {
        /// 0, 400 for a name that is none, or 409 for one that another client has.
        code: u32,
        /// What the daemon says to it.
        message: String,
    },
    /// Calls to this name come to the sender no more.
    Unregister {
        /// The name.
        service: String,
    },
    /// The answer to `Unregister`.
    Unregistered {
        /// 0, or 404 for a name that the sender does not have.
        code: u32,
    },
    /// A call.
    Call(Call),
    /// What came of a call.
    Reply(Reply),
    /// What is told of this topic comes to the sender.
    Subscribe {
        /// The topic.
        topic: String,
    },
    /// The answer to `Subscribe`.
    Subscribed,
    /// It comes no more.
    Unsubscribe {
        /// The topic.
        topic: String,
    },
    /// The answer to `Unsubscribe`.
    Unsubscribed {
        /// 0, or 404 for a topic that the sender has not subscribed to.
        code: u32,
    },
    /// Something is told to all who have subscribed.
    Broadcast(Broadcast),
    /// The answer to `Broadcast`.
    Broadcasted,
    /// Asks whether the other side is there.
    Ping,
    /// It is.
    Pong,
    /// A packet that a client has nothing to do with, by the number of its kind.
    Other(u64),
}

/// Who speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The name of the program.
    pub name: String,
    /// Its version.
    pub version: String,
    /// One of a kind: the daemon ends an older connection with the same one.
    pub instance: [u8; 16],
}

/// A call by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Who calls.
    pub caller: String,
    /// What is called.
    pub address: String,
    /// What the reply names.
    pub id: String,
    /// What is said.
    pub data: Vec<u8>,
    /// Whether the caller wants no reply.
    pub no_reply: bool,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Of which one.
    pub id: String,
    /// 0, 400 where there is no such service, or 500 where it failed.
    pub code: u32,
    /// Whether more of the reply follows.
    pub is_partial: bool,
    /// The answer; the reason as text if the code is not 0.
    pub data: Vec<u8>,
}

/// What is told to all who have subscribed to a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broadcast {
    /// Who tells.
    pub caller: String,
    /// What is told.
    pub data: Vec<u8>,
    /// Of which topic.
    pub topic: String,
}

/// Bytes that are no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadPacket {
    /// Its length is above [`PACKET_MAX`].
    #[error("a packet of {0} bytes; at most {PACKET_MAX} are taken")]
    TooLong(usize),
    /// It ends before it should, or has a value that cannot be.
    #[error("a packet that is no protobuf message")]
    Malformed,
    /// Text in it is no text.
    #[error("a packet whose text is not UTF-8")]
    NotText,
}

/// Makes packets of bytes as they come.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    /// How many of them have been taken.
    taken: usize,
}

impl Packet {
    /// Adds the bytes of the packet to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend([0; 4]);
        match self {
            Self::Hello(Hello { name, version, instance }) => {
                let fields = [(1, name.as_bytes()), (2, version.as_bytes()), (3, &instance[..])];
                put(HELLO, &fields, &[], out);
            }
            Self::Register { service } => put(REGISTER, &[(1, service.as_bytes())], &[], out),
            Self::Registered { code, message } => {
                put(REGISTERED, &[(2, message.as_bytes())], &[(1, u64::from(*code))], out);
            }
            Self::Call(Call { caller, address, id, data, no_reply }) => {
                let texts = [(1, caller.as_bytes()), (2, address.as_bytes()), (3, id.as_bytes())];
                let fields = [texts[0], texts[1], texts[2], (4, data.as_slice())];
                put(CALL, &fields, &[(5, u64::from(*no_reply))], out);
            }
            Self::Reply(Reply { id, code, is_partial, data }) => {
                let numbers = [(2, u64::from(*code)), (3, u64::from(*is_partial))];
                put(REPLY, &[(1, id.as_bytes()), (4, data)], &numbers, out);
            }
            Self::Unregister { service } => {
                put(UNREGISTER, &[(1, service.as_bytes())], &[], out);
            }
            Self::Unregistered { code } => put(UNREGISTERED, &[], &[(1, (*code).into())], out),
            Self::Subscribe { topic } => put(SUBSCRIBE, &[(1, topic.as_bytes())], &[], out),
            Self::Subscribed => put(SUBSCRIBED, &[], &[], out),
            Self::Unsubscribe { topic } => put(UNSUBSCRIBE, &[(1, topic.as_bytes())], &[], out),
            Self::Unsubscribed { code } => put(UNSUBSCRIBED, &[], &[(1, (*code).into())], out),
            Self::Broadcast(Broadcast { caller, data, topic }) => {
                let fields = [(1, caller.as_bytes()), (2, data), (3, topic.as_bytes())];
                put(BROADCAST, &fields, &[], out);
            }
            Self::Broadcasted => put(BROADCASTED, &[], &[], out),
            Self::Ping => put(PING, &[], &[], out),
            Self::Pong => put(PONG, &[], &[], out),
            Self::Other(kind) => put(*kind, &[], &[], out),
        }
        let length = u32::try_from(out.len() - start - 4).expect("a packet has less than 4 GiB");
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }

    /// The bytes of the packet.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    fn read(bytes: &[u8]) -> Result<Self, BadPacket> {
        let mut rest = bytes;
        let (kind, value) = field(&mut rest)?;
        let Value::Bytes(body) = value else { return Err(BadPacket::Malformed) };
        let fields = Fields::read(body)?;
        Ok(match kind {
            HELLO => Self::Hello(Hello {
                name: fields.text(1)?,
                version: fields.text(2)?,
                instance: fields.bytes(3).try_into().map_err(|_| BadPacket::Malformed)?,
            }),
            REGISTER => Self::Register { service: fields.text(1)? },
            REGISTERED => Self::Registered { code: fields.code(1)?, message: fields.text(2)? },
            CALL => Self::Call(Call {
                caller: fields.text(1)?,
                address: fields.text(2)?,
                id: fields.text(3)?,
                data: fields.bytes(4).to_vec(),
                no_reply: fields.number(5) != 0,
            }),
            REPLY => Self::Reply(Reply {
                id: fields.text(1)?,
                code: fields.code(2)?,
                is_partial: fields.number(3) != 0,
                data: fields.bytes(4).to_vec(),
            }),
            UNREGISTER => Self::Unregister { service: fields.text(1)? },
            UNREGISTERED => Self::Unregistered { code: fields.code(1)? },
            SUBSCRIBE => Self::Subscribe { topic: fields.text(1)? },
            SUBSCRIBED => Self::Subscribed,
            UNSUBSCRIBE => Self::Unsubscribe { topic: fields.text(1)? },
            UNSUBSCRIBED => Self::Unsubscribed { code: fields.code(1)? },
            BROADCAST => Self::Broadcast(Broadcast {
                caller: fields.text(1)?,
                data: fields.bytes(2).to_vec(),
                topic: fields.text(3)?,
            }),
            BROADCASTED => Self::Broadcasted,
            PING => Self::Ping,
            PONG => Self::Pong,
            other => Self::Other(other),
        })
    }
}

impl Decoder {
    /// Takes more bytes.
    pub fn extend(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next packet; none if its bytes are not all there.
    ///
    /// # Errors
    ///
    /// If the bytes are no packet: the connection is of no more use.
    pub fn next_packet(&mut self) -> Result<Option<Packet>, BadPacket> {
        let rest = &self.bytes[self.taken..];
        let Some((header, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*header)).unwrap_or(usize::MAX);
        if length > PACKET_MAX {
            return Err(BadPacket::TooLong(length));
        }
        let Some(bytes) = rest.get(..length) else { return Ok(None) };
        let packet = Packet::read(bytes)?;
        self.taken += 4 + length;
        Ok(Some(packet))
    }
}

/// A message of this kind. What is empty or 0 is left out, as protobuf does.
fn put(kind: u64, bytes: &[(u64, &[u8])], numbers: &[(u64, u64)], out: &mut Vec<u8>) {
    let bytes = bytes.iter().filter(|(_, value)| !value.is_empty());
    let numbers = numbers.iter().filter(|(_, value)| *value != 0);
    let length: usize = bytes
        .clone()
        .map(|(number, value)| {
            varint_size(number << 3) + varint_size(value.len() as u64) + value.len()
        })
        .chain(
            numbers.clone().map(|(number, value)| varint_size(number << 3) + varint_size(*value)),
        )
        .sum();
    put_varint(kind << 3 | LENGTH, out);
    put_varint(length as u64, out);
    for (number, value) in bytes {
        put_varint(number << 3 | LENGTH, out);
        put_varint(value.len() as u64, out);
        out.extend_from_slice(value);
    }
    for (number, value) in numbers {
        put_varint(number << 3 | VARINT, out);
        put_varint(*value, out);
    }
}

/// Seven bits to a byte, the lowest first; all but the last have the eighth bit.
fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value > 0x7f {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn varint_size(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros();
    usize::try_from(bits.div_ceil(7)).unwrap_or(usize::MAX)
}

fn varint(rest: &mut &[u8]) -> Result<u64, BadPacket> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().ok_or(BadPacket::Malformed)?;
        *rest = after;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            return Err(BadPacket::Malformed);
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(BadPacket::Malformed)
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Of a kind that no packet has.
    Skipped,
}

fn field<'a>(rest: &mut &'a [u8]) -> Result<(u64, Value<'a>), BadPacket> {
    let tag = varint(rest)?;
    let value = match tag & 7 {
        VARINT => Value::Number(varint(rest)?),
        LENGTH => {
            let length = varint(rest)?;
            Value::Bytes(take(rest, length)?)
        }
        FIXED64 => take(rest, 8).map(|_| Value::Skipped)?,
        FIXED32 => take(rest, 4).map(|_| Value::Skipped)?,
        _ => return Err(BadPacket::Malformed),
    };
    Ok((tag >> 3, value))
}

fn take<'a>(rest: &mut &'a [u8], length: u64) -> Result<&'a [u8], BadPacket> {
    let length = usize::try_from(length).map_err(|_| BadPacket::Malformed)?;
    let (value, after) = rest.split_at_checked(length).ok_or(BadPacket::Malformed)?;
    *rest = after;
    Ok(value)
}

/// The fields 1 to 5 of a message; the last one of a number counts.
#[derive(Default)]
struct Fields<'a> {
    bytes: [&'a [u8]; 6],
    numbers: [u64; 6],
}

impl<'a> Fields<'a> {
    fn read(mut rest: &'a [u8]) -> Result<Self, BadPacket> {
        let mut fields = Self::default();
        while !rest.is_empty() {
            let (number, value) = field(&mut rest)?;
            let Ok(at) = usize::try_from(number) else { continue };
            match value {
                Value::Bytes(bytes) if at < 6 => fields.bytes[at] = bytes,
                Value::Number(value) if at < 6 => fields.numbers[at] = value,
                Value::Bytes(_) | Value::Number(_) | Value::Skipped => {}
            }
        }
        Ok(fields)
    }

    const fn bytes(&self, number: usize) -> &'a [u8] {
        self.bytes[number]
    }

    fn text(&self, number: usize) -> Result<String, BadPacket> {
        String::from_utf8(self.bytes[number].to_vec()).map_err(|_| BadPacket::NotText)
    }

    const fn number(&self, number: usize) -> u64 {
        self.numbers[number]
    }

    fn code(&self, number: usize) -> Result<u32, BadPacket> {
        u32::try_from(self.numbers[number]).map_err(|_| BadPacket::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::{BadPacket, Broadcast, Call, Decoder, Hello, PACKET_MAX, Packet, Reply};

    fn packet() -> impl Strategy<Value = Packet> {
        let data = || vec(any::<u8>(), 0..300);
        let call = (".*", ".*", ".*", data(), any::<bool>()).prop_map(
            |(caller, address, id, data, no_reply)| {
                Packet::Call(Call { caller, address, id, data, no_reply })
            },
        );
        let reply =
            (".*", any::<u32>(), any::<bool>(), data()).prop_map(|(id, code, is_partial, data)| {
                Packet::Reply(Reply { id, code, is_partial, data })
            });
        let hello = (".*", ".*", any::<[u8; 16]>())
            .prop_map(|(name, version, instance)| Packet::Hello(Hello { name, version, instance }));
        prop_oneof![
            call,
            reply,
            hello,
            ".*".prop_map(|service| Packet::Register { service }),
            (any::<u32>(), ".*").prop_map(|(code, message)| Packet::Registered { code, message }),
            ".*".prop_map(|service| Packet::Unregister { service }),
            any::<u32>().prop_map(|code| Packet::Unregistered { code }),
            ".*".prop_map(|topic| Packet::Subscribe { topic }),
            Just(Packet::Subscribed),
            ".*".prop_map(|topic| Packet::Unsubscribe { topic }),
            any::<u32>().prop_map(|code| Packet::Unsubscribed { code }),
            (".*", vec(any::<u8>(), 0..300), ".*").prop_map(|(caller, data, topic)| {
                Packet::Broadcast(Broadcast { caller, data, topic })
            }),
            Just(Packet::Broadcasted),
            Just(Packet::Ping),
            Just(Packet::Pong),
            (16..1000_u64).prop_map(Packet::Other),
        ]
    }

    fn decoded(decoder: &mut Decoder) -> Result<Vec<Packet>, BadPacket> {
        std::iter::from_fn(|| decoder.next_packet().transpose()).collect()
    }

    proptest! {
        #[test]
        fn packets_come_out_as_they_went_in_however_they_are_cut(
            packets in vec(packet(), 0..6),
            piece in 1..40_usize,
        ) {
            let bytes: Vec<u8> = packets.iter().flat_map(Packet::to_bytes).collect();
            let (mut decoder, mut found) = (Decoder::default(), Vec::new());

            for piece in bytes.chunks(piece) {
                decoder.extend(piece);
                found.extend(decoded(&mut decoder)?);
            }

            prop_assert_eq!(found, packets);
        }

        #[test]
        fn any_bytes_are_packets_or_an_error(bytes in vec(any::<u8>(), 0..400)) {
            let mut decoder = Decoder::default();
            let length = u32::try_from(bytes.len()).expect("a few");
            decoder.extend(&length.to_be_bytes());
            decoder.extend(&bytes);

            // Neither panics nor waits: all of the packet is there.
            prop_assert!(decoder.next_packet() != Ok(None));
        }

        #[test]
        fn a_packet_with_a_changed_byte_is_a_packet_or_an_error(
            packet in packet(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut bytes = packet.to_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let mut decoder = Decoder::default();
            decoder.extend(&bytes);

            let found = decoded(&mut decoder);

            prop_assert!(found.is_err() || found.is_ok_and(|found| found.len() <= 2));
        }
    }

    #[test]
    fn bytes_are_those_of_the_daemon() {
        // As a daemon of 0.17.6 takes them.
        assert_eq!(Packet::Ping.to_bytes(), [0, 0, 0, 2, 0x72, 0]);
        let call = Call {
            caller: "a".to_owned(),
            address: "/b".to_owned(),
            id: "1".to_owned(),
            data: vec![9; 2],
            no_reply: true,
        };
        let bytes = [
            &[0, 0, 0, 18, 0x32, 16][..],
            &[0x0a, 1, b'a', 0x12, 2, b'/', b'b', 0x1a, 1, b'1', 0x22, 2, 9, 9, 0x28, 1],
        ];
        assert_eq!(Packet::Call(call).to_bytes(), bytes.concat());
    }

    #[test]
    fn what_is_too_long_is_not_waited_for() {
        let mut decoder = Decoder::default();
        decoder.extend(&u32::MAX.to_be_bytes());

        let error = decoder.next_packet().expect_err("too long");

        assert_eq!(error, BadPacket::TooLong(0xffff_ffff));
        assert!(error.to_string().contains(&PACKET_MAX.to_string()), "{error}");
    }
}
