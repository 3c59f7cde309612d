//! Addresses: `http://NAME:PASSWORD@HOST:PORT/PATH?QUERY`.

use std::fmt::Write;

use crate::error::{Error, Result};

/// An address in its parts. It prints without the login, which only [`Address::request`] tells.
pub(super) struct Address {
    /// Name or number to connect to, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// For people: without the login.
    pub(super) shown: String,
    /// Host and port as they were written.
    authority: String,
    path: String,
    login: Option<String>,
}

impl Address {
    /// # Errors
    /// It is no address of plain HTTP.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let shown = without_login(text);
        let wrong = |expected: &str| Error::invalid("camera", shown.clone(), expected);
        if text.chars().any(char::is_control) {
            return Err(wrong("an address in one line"));
        }
        let (_, rest) = text
            .split_once("://")
            .ok_or_else(|| wrong("http://HOST/PATH"))?;
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (login, authority) = match authority.rsplit_once('@') {
            Some((login, authority)) => (Some(unescape(login)), authority),
            None => (None, authority),
        };
        let (host, port) = host_and_port(authority).ok_or_else(|| {
            wrong("http://HOST:PORT/PATH; a password's `/`, `?`, `#` are written %2F, %3F, %23")
        })?;
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self {
            host: host.to_owned(),
            port,
            authority: authority.to_owned(),
            path: format!("{slash}{}", escape(path)),
            login: login.map(|login| base64(&login)),
            shown,
        })
    }

    /// The question for what lies there.
    pub(super) fn request(&self) -> String {
        let Self {
            path, authority, ..
        } = self;
        let login = match &self.login {
            Some(login) => format!("Authorization: Basic {login}\r\n"),
            None => String::new(),
        };
        let agent = concat!("edgeclip/", env!("CARGO_PKG_VERSION"));
        let kinds = "multipart/x-mixed-replace, image/jpeg, */*;q=0.1";
        format!(
            "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: {agent}\r\nAccept: {kinds}\r\n{login}Connection: close\r\n\r\n"
        )
    }
}

/// An address without the name and password that may stand in it.
pub(in crate::camera) fn without_login(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else {
        return address.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let port = rest[..end].rsplit_once(':').map_or("", |(_, port)| port);
    // What is no port is the beginning of a password with an unescaped slash or question mark.
    let has_port = port.bytes().all(|b| b.is_ascii_digit() || b == b']');
    let login = if has_port { &rest[..end] } else { rest };
    match login.rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => address.to_owned(),
    }
}

fn host_and_port(authority: &str) -> Option<(&str, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        // A number of IPv6 holds colons of its own.
        Some(rest) => rest.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().ok()?,
        None if port.is_empty() => 80,
        None => return None,
    };
    let is_host = !host.is_empty() && !host.contains([' ', '@', '\\']);
    is_host.then_some((host, port))
}

fn unescape(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let (mut plain, mut at) = (Vec::new(), 0);
    while let Some(&byte) = bytes.get(at) {
        let hex = text
            .get(at + 1..at + 3)
            .filter(|h| byte == b'%' && h.bytes().all(|b| b.is_ascii_hexdigit()));
        match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(escaped) => {
                plain.push(escaped);
                at += 3;
            }
            None => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    plain
}

/// What may not stand in a request, in its escaped form; what is escaped already stays.
fn escape(path: &str) -> String {
    let mut escaped = String::new();
    for byte in path.bytes() {
        match byte {
            b'!'..=b'~' => escaped.push(char::from(byte)),
            _ => write!(escaped, "%{byte:02X}").expect("a string takes all"),
        }
    }
    escaped
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let place = (bits >> (18 - 6 * digit)) & 63;
            let is_there = digit <= chunk.len();
            text.push(if is_there {
                char::from(DIGITS[place as usize])
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_apart() {
        for (text, host, port, line) in [
            ("http://cam", "cam", 80, "GET / HTTP"),
            ("http://cam:8080/a?b=c#d", "cam", 8080, "GET /a?b=c HTTP"),
            ("http://[::1]:81/é x", "::1", 81, "GET /%C3%A9%20x HTTP"),
            ("http://cam?a", "cam", 80, "GET /?a HTTP"),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((&*address.host, address.port), (host, port));
            assert!(address.request().starts_with(line), "{text}");
        }
    }

    #[test]
    fn a_login_goes_to_the_camera_and_nowhere_else() {
        let address = Address::parse("http://me:p%40s%s@cam/a").unwrap();
        assert_eq!(address.shown, "http://cam/a");
        // me:p@s%s
        let request = address.request();
        assert!(request.contains("\r\nAuthorization: Basic bWU6cEBzJXM=\r\n"));
        assert!(request.contains("\r\nHost: cam\r\n"));
    }

    #[test]
    fn what_is_no_address_is_refused_without_its_password() {
        for text in [
            "http://",
            "http://:80/",
            "http://cam:x/",
            "http://cam:99999/",
            "http://me:se/cret@cam/",
            "http://[::1/",
            "http://[::1]x/",
            "http://cam/a\r\nX: y",
        ] {
            let Err(words) = Address::parse(text) else {
                panic!("{text} is taken");
            };
            assert!(!words.to_string().contains("cret"), "{words}");
        }
    }

    #[test]
    fn base64_is_that_of_the_standard() {
        for (plain, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
    }
}
