//! Which broker, as whom, and under which name.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result};

/// How publishing is done.
#[derive(Clone)]
pub struct MqttOptions {
    /// The broker's name or address.
    pub host: String,
    /// Its port; `None` is 1883, with TLS 8883.
    pub port: Option<u16>,
    /// Whether the line is encrypted, and who vouches for the broker.
    pub tls: Tls,
    /// Who we are at the broker.
    pub user: Option<String>,
    /// The secret for it.
    pub password: Option<String>,
    /// Names this board in topics: 1 to 64 of `a-z A-Z 0-9 _ -`.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Where Home Assistant looks for announcements.
    pub discovery: String,
    /// Attributes of frames are published at most this often.
    pub attributes_every: Duration,
    /// How often the broker hears of us at least.
    pub keep_alive: Duration,
    /// Pause before the second attempt to connect; it doubles up to a minute.
    pub retry: Duration,
}

/// Who vouches for the broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// Nobody: the line is plain, and so is the password.
    #[default]
    Off,
    /// The authorities that browsers trust.
    Public,
    /// Those in this file, as PEM.
    Ca(PathBuf),
}

impl MqttOptions {
    /// The broker of an address: `mqtt://[USER@]HOST[:PORT]`, or `mqtts://` for TLS, or the rest alone.
    ///
    /// # Errors
    /// It is no such address, or holds a password: command lines are seen by everybody on the board.
    pub fn at(address: &str, id: &str) -> Result<Self> {
        let wrong = |why: &str| {
            let form = "mqtt://[USER@]HOST[:PORT], or mqtts:// for TLS";
            // Not the address: it may hold a password.
            Err(Error::invalid("address of the MQTT broker", why, form))
        };
        let (tls, rest) = match address.split_once("://") {
            Some(("mqtt", rest)) => (Tls::Off, rest),
            Some(("mqtts", rest)) => (Tls::Public, rest),
            Some((other, _)) => return wrong(&format!("`{other}://`")),
            None => (Tls::Off, address),
        };
        let (user, place) = match rest.trim_end_matches('/').rsplit_once('@') {
            Some((user, _)) if user.contains(':') => {
                return wrong("a password in it: give it by file or environment");
            }
            Some((user, place)) => (Some(user.to_owned()), place),
            None => (None, rest.trim_end_matches('/')),
        };
        let Some((host, port)) = place_of(place) else {
            return wrong(&format!("`{place}`"));
        };
        Ok(Self {
            host,
            port,
            tls,
            user,
            password: None,
            id: id.to_owned(),
            name: id.to_owned(),
            discovery: "homeassistant".into(),
            attributes_every: Duration::from_secs(1),
            keep_alive: Duration::from_secs(30),
            retry: Duration::from_secs(1),
        })
    }

    pub(super) fn port(&self) -> u16 {
        let usual = if self.tls == Tls::Off { 1883 } else { 8883 };
        self.port.unwrap_or(usual)
    }

    /// `host:port`, for messages.
    pub(super) fn broker(&self) -> String {
        format!("{}:{}", self.host, self.port())
    }

    /// Checks what topics are built of: the id and the prefix.
    ///
    /// # Errors
    /// One of them could leave its topic.
    pub fn check(&self) -> Result<()> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if !(1..=64).contains(&self.id.len()) || !self.id.chars().all(plain) {
            let found = format!("{:?}", self.id);
            return Err(Error::invalid(
                "id for MQTT",
                found,
                "1 to 64 of a-z A-Z 0-9 _ -",
            ));
        }
        let d = &self.discovery;
        let is_path = d.split('/').all(|p| !p.is_empty() && p.chars().all(plain));
        if d.len() > 64 || !is_path {
            let expected = "words of a-z A-Z 0-9 _ - with / between, as homeassistant";
            return Err(Error::invalid(
                "prefix for discovery",
                format!("{d:?}"),
                expected,
            ));
        }
        let secrets = [&self.user, &self.password].into_iter().flatten();
        if let Some(long) = secrets.map(String::len).find(|len| *len > 1024) {
            return Err(Error::Limit {
                what: "bytes of the MQTT user or password",
                found: long as u64,
                limit: 1024,
            });
        }
        if self.password.is_some() && self.user.is_none() {
            return Err(Error::invalid(
                "MQTT user",
                "a password alone",
                "a user name with it",
            ));
        }
        Ok(())
    }
}

/// Host and port of `host`, `host:port`, `[v6]` and `[v6]:port`.
fn place_of(place: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match place.strip_prefix('[') {
        Some(v6) => {
            let (host, rest) = v6.split_once(']')?;
            match rest {
                "" => (host, None),
                _ => (host, Some(rest.strip_prefix(':')?)),
            }
        }
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let port = match port {
        Some(port) => Some(port.parse().ok().filter(|p| *p > 0)?),
        None => None,
    };
    let is_host = !host.is_empty() && !host.contains(['/', ' ', '?', '#']);
    is_host.then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_all_their_forms() {
        let read = |a: &str| {
            let o = MqttOptions::at(a, "x").unwrap();
            (o.broker(), o.tls == Tls::Public, o.user)
        };
        assert_eq!(read("pi"), ("pi:1883".into(), false, None));
        assert_eq!(read("10.0.0.1:99"), ("10.0.0.1:99".into(), false, None));
        assert_eq!(
            read("mqtt://ann@pi/"),
            ("pi:1883".into(), false, Some("ann".into()))
        );
        assert_eq!(read("mqtts://pi"), ("pi:8883".into(), true, None));
        assert_eq!(read("[::1]:7"), ("::1:7".into(), false, None));
        for wrong in [
            "",
            "http://pi",
            "pi:0",
            "pi:x",
            "pi:99999",
            "mqtt://ann:secret@pi",
            "a b",
            "[::1",
        ] {
            let words = MqttOptions::at(wrong, "x").err().unwrap().to_string();
            assert!(!words.contains("secret"), "{words}");
        }
    }

    #[test]
    fn an_id_that_could_leave_its_topic_is_refused() {
        let checked = |id: &str| MqttOptions::at("pi", id).unwrap().check();
        assert!(checked("front-door_2").is_ok());
        for id in ["", "a/b", "+", "#", "a b", "ü", &"x".repeat(65)] {
            assert!(checked(id).is_err(), "{id}");
        }
        let mut options = MqttOptions::at("pi", "x").unwrap();
        options.password = Some("alone".into());
        let words = options.check().unwrap_err().to_string();
        assert!(!words.contains("alone\""), "{words}");
        options.discovery = "a/#".into();
        assert!(options.check().is_err());
    }
}
