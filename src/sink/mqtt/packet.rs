//! The packets of MQTT 3.1.1 that a publisher sends and reads (OASIS standard, chapters 2 and 3).

/// Longest packet that is read: more than anybody says about being online.
const LONGEST: usize = 256 * 1024;

/// Who connects, and what the broker says for it when it is gone.
pub(super) struct Connect<'a> {
    pub(super) client: &'a str,
    pub(super) keep_alive_s: u16,
    pub(super) will_topic: &'a str,
    pub(super) will: &'a str,
    pub(super) user: Option<&'a str>,
    pub(super) password: Option<&'a str>,
}

/// What a broker sends.
#[derive(Debug, PartialEq)]
pub(super) enum Packet {
    /// The answer to a connection: 0 is yes.
    Answer(u8),
    Publish {
        topic: String,
        payload: Vec<u8>,
    },
    /// It has the publication of that number.
    Acknowledged(u16),
    /// Of no concern: an answer to a ping, or to a subscription.
    Other,
}

impl Connect<'_> {
    /// A clean session with a retained will that the broker delivers at least once.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let credentials =
            u8::from(self.user.is_some()) << 7 | u8::from(self.password.is_some()) << 6;
        let mut body = b"\x00\x04MQTT\x04".to_vec();
        // Will retained, at least once, will, clean session.
        body.push(credentials | 0b0010_1110);
        body.extend(self.keep_alive_s.to_be_bytes());
        for text in [self.client, self.will_topic, self.will] {
            put(&mut body, text);
        }
        for text in [self.user, self.password].into_iter().flatten() {
            put(&mut body, text);
        }
        packet(0x10, &body)
    }
}

/// A publication; with a number it is acknowledged.
pub(super) fn publish(
    topic: &str,
    payload: &[u8],
    is_retained: bool,
    number: Option<u16>,
) -> Vec<u8> {
    let mut body = Vec::with_capacity(topic.len() + payload.len() + 4);
    put(&mut body, topic);
    if let Some(number) = number {
        body.extend(number.to_be_bytes());
    }
    body.extend(payload);
    packet(
        0x30 | u8::from(number.is_some()) << 1 | u8::from(is_retained),
        &body,
    )
}

/// Asks for one topic, at most once each.
pub(super) fn subscribe(topic: &str) -> Vec<u8> {
    // Answers to it are not waited for, so that any number does.
    let mut body = vec![0xff, 0xff];
    put(&mut body, topic);
    body.push(0);
    packet(0x82, &body)
}

pub(super) fn ping() -> Vec<u8> {
    packet(0xc0, &[])
}

/// The end in good order: no last will is published.
pub(super) fn disconnect() -> Vec<u8> {
    packet(0xe0, &[])
}

/// Text with its length. All of ours is shorter than the 65535 bytes there are: the options say so.
fn put(body: &mut Vec<u8>, text: &str) {
    let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
    body.extend(len.to_be_bytes());
    body.extend(&text.as_bytes()[..usize::from(len)]);
}

fn packet(head: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 5);
    out.push(head);
    let mut left = body.len();
    loop {
        let low = (left % 128) as u8;
        left /= 128;
        out.push(if left > 0 { low | 0x80 } else { low });
        if left == 0 {
            break;
        }
    }
    out.extend(body);
    out
}

/// The first packet of what has come, with its length, once it has come whole.
pub(super) fn first(bytes: &[u8]) -> Result<Option<(Packet, usize)>, String> {
    let (mut len, mut at) = (0, 1);
    loop {
        let Some(byte) = bytes.get(at) else {
            return Ok(None);
        };
        len |= usize::from(byte & 0x7f) << (7 * (at - 1));
        at += 1;
        if byte & 0x80 == 0 {
            break;
        }
        if at > 4 {
            return Err("the broker does not speak MQTT: check the port".into());
        }
    }
    if len > LONGEST {
        return Err(format!(
            "a packet of {len} bytes, at most {LONGEST} are read"
        ));
    }
    let Some(body) = bytes.get(at..at + len) else {
        return Ok(None);
    };
    let packet = read(bytes[0], body).ok_or("a packet is cut short: check the port")?;
    Ok(Some((packet, at + len)))
}

fn read(head: u8, body: &[u8]) -> Option<Packet> {
    let number = |at: usize| Some(u16::from_be_bytes([*body.get(at)?, *body.get(at + 1)?]));
    Some(match head >> 4 {
        2 => Packet::Answer(*body.get(1)?),
        3 => {
            let end = 2 + usize::from(number(0)?);
            let topic = String::from_utf8_lossy(body.get(2..end)?).into_owned();
            // We ask for the simplest kind; another kind has its number here.
            let is_numbered = head & 0b0110 != 0;
            let payload = body.get(end + if is_numbered { 2 } else { 0 }..)?.to_vec();
            Packet::Publish { topic, payload }
        }
        4 => Packet::Acknowledged(number(0)?),
        _ => Packet::Other,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes as the standard's own figures have them.
    #[test]
    fn packets_are_those_of_the_standard() {
        let connect = Connect {
            client: "a",
            keep_alive_s: 10,
            will_topic: "t",
            will: "off",
            user: Some("u"),
            password: Some("p"),
        };
        assert_eq!(
            connect.bytes(),
            b"\x10\x1b\x00\x04MQTT\x04\xee\x00\x0a\x00\x01a\x00\x01t\x00\x03off\x00\x01u\x00\x01p"
        );
        assert_eq!(publish("a/b", b"x", false, None), b"\x30\x06\x00\x03a/bx");
        assert_eq!(
            publish("a/b", b"x", true, Some(10)),
            b"\x33\x08\x00\x03a/b\x00\x0ax"
        );
        assert_eq!(subscribe("a/b"), b"\x82\x08\xff\xff\x00\x03a/b\x00");
        assert_eq!((ping(), disconnect()), (vec![0xc0, 0], vec![0xe0, 0]));
        assert_eq!(
            publish("t", &[0; 200], false, None)[..3],
            [0x30, 0xcb, 0x01]
        );
    }

    #[test]
    fn what_a_broker_sends_is_read_when_it_is_whole() {
        let bytes = [
            &b"\x20\x02\x00\x05"[..],
            &publish("t", b"online", false, None),
            b"\x40\x02\x00\x0a\xd0\x00",
        ]
        .concat();
        let (mut rest, mut packets) = (&bytes[..], Vec::new());
        while let Some((packet, len)) = first(rest).unwrap() {
            for cut in 0..len {
                assert_eq!(first(&rest[..cut]), Ok(None));
            }
            packets.push(packet);
            rest = &rest[len..];
        }
        let online = Packet::Publish {
            topic: "t".into(),
            payload: b"online".to_vec(),
        };
        assert_eq!(
            packets,
            [
                Packet::Answer(5),
                online,
                Packet::Acknowledged(10),
                Packet::Other
            ]
        );
    }

    #[test]
    fn another_protocol_is_refused_before_memory_is_asked_for() {
        assert!(first(b"\x20\xff\xff\xff\xff\xff").is_err());
        assert!(first(b"\x30\xff\xff\xff\x7f").is_err());
        assert!(first(b"\x40\x00").is_err());
        assert!(first(b"\x30\x02\x00\xff").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(Some((_, len))) = first(&bytes) {
                prop_assert!(len <= bytes.len());
            }
        }
    }
}
