//! Publishes to an MQTT broker, where Home Assistant finds one sensor by itself.
//!
//! Everything happens on the sink's own thread: it writes when there is news, and between news it
//! reads, pings, and connects again. Nothing is kept for a broker that is away but the newest state,
//! which is what a broker retains as well. MQTT 3.1.1, as little of it as a publisher needs.

mod link;
mod message;
mod options;
mod packet;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use self::link::Link;
use self::message::{Attributes, Topics};
use self::packet::{Connect, Packet};
use super::json::Line;
use super::{News, Refused, Sink};
use crate::error::Result;
use crate::live::{Event, Reading, Snapshot, State};

pub use options::{MqttOptions, Tls};

/// Longest pause between two attempts to connect.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long the broker may take to acknowledge the goodbye.
const GOODBYE: Duration = Duration::from_millis(300);

/// A publisher of states, events and attributes.
pub struct Mqtt {
    options: MqttOptions,
    topics: Topics,
    tls: Option<Arc<ClientConfig>>,
    line: Connection,
    now: Newest,
    buffer: Vec<u8>,
}

/// The connection and what is known of it.
struct Connection {
    link: Option<Link>,
    /// Number of the next publication that is to be acknowledged, and of those still without.
    number: u16,
    open: u32,
    heard: Instant,
    pinged: Instant,
    retry_at: Instant,
    pause: Duration,
    /// Why there is none.
    trouble: String,
}

/// What is published again on every connection.
#[derive(Default)]
struct Newest {
    event: Option<Event>,
    reading: Option<Reading>,
    counters: Option<Snapshot>,
    /// When the attributes were published last.
    published: Option<Instant>,
}

impl Mqtt {
    /// A publisher that connects as soon as it runs.
    ///
    /// # Errors
    /// An option that cannot be: an id that could leave its topic, a CA file that holds none.
    pub fn new(options: MqttOptions) -> Result<Self> {
        options.check()?;
        let now = Instant::now();
        Ok(Self {
            topics: Topics::new(&options),
            tls: link::trust(&options.tls)?,
            line: Connection {
                link: None,
                number: 1,
                open: 0,
                heard: now,
                pinged: now,
                retry_at: now,
                pause: options.retry,
                trouble: "not connected yet".into(),
            },
            now: Newest::default(),
            buffer: Vec::new(),
            options,
        })
    }

    /// Does something with the connection, made first if it is due; an error ends it.
    fn with_link(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<(), String>,
    ) -> Result<(), Refused> {
        let done = match self.line.link {
            Some(_) => act(self),
            None if Instant::now() >= self.line.retry_at => self.connect().and_then(|()| act(self)),
            None => return Err(Refused::Failed(self.line.trouble.clone())),
        };
        done.map_err(|words| {
            self.line.link = None;
            self.line.trouble = format!("{}: {words}", self.options.broker());
            self.line.retry_at = Instant::now() + jittered(self.line.pause);
            self.line.pause = (self.line.pause * 2).min(LONGEST_PAUSE);
            Refused::Failed(self.line.trouble.clone())
        })
    }

    fn connect(&mut self) -> Result<(), String> {
        let client = format!("edgeclip-{}", self.options.id);
        let keep_alive_s = self.options.keep_alive.as_secs().clamp(1, 3600);
        let hello = Connect {
            client: &client,
            keep_alive_s: u16::try_from(keep_alive_s).unwrap_or(30),
            will_topic: &self.topics.availability,
            will: "offline",
            user: self.options.user.as_deref(),
            password: self.options.password.as_deref(),
        };
        let mut link = Link::open(&self.options, self.tls.as_ref(), &hello)?;
        link.send(&packet::subscribe(&self.topics.status))?;
        let now = Instant::now();
        (self.line.heard, self.line.pinged) = (now, now);
        (self.line.link, self.line.open) = (Some(link), 0);
        self.announce()?;
        self.line.pause = self.options.retry;
        log::info!("mqtt: connected to {}", self.options.broker());
        Ok(())
    }

    /// All that a broker or Home Assistant that knows nothing needs.
    fn announce(&mut self) -> Result<(), String> {
        let config = message::announcement(&self.options, &self.topics);
        self.line
            .publish(&self.topics.config, config.as_bytes(), true)?;
        self.line
            .publish(&self.topics.availability, b"online", true)?;
        self.publish_state()
    }

    fn publish_state(&mut self) -> Result<(), String> {
        // Attributes first: who acts on the state finds them there.
        self.publish_attributes()?;
        // What a former run left at the broker holds no longer.
        let state = self
            .now
            .event
            .as_ref()
            .map_or(&State::Starting, |e| &e.state);
        let state = message::state(state);
        self.line
            .publish(&self.topics.state, state.as_bytes(), true)
    }

    fn publish_attributes(&mut self) -> Result<(), String> {
        let Newest {
            event,
            reading,
            counters,
            published,
        } = &mut self.now;
        let all = Attributes::new(event.as_ref(), reading.as_ref(), counters.as_ref());
        self.buffer.clear();
        serde_json::to_writer(&mut self.buffer, &all).map_err(|e| e.to_string())?;
        *published = Some(Instant::now());
        self.line
            .publish(&self.topics.attributes, &self.buffer, true)
    }

    fn take_event(&mut self, event: &Event) -> Result<(), Refused> {
        let begins = event.ended.is_none();
        if begins {
            self.now.event = Some(event.clone());
        }
        self.with_link(|me| {
            Line::from(event).write(&mut me.buffer)?;
            let line = me.buffer.trim_ascii_end();
            me.line.publish(&me.topics.event, line, false)?;
            if begins { me.publish_state() } else { Ok(()) }
        })
    }

    fn take_frame(&mut self, reading: &Reading) -> Result<(), Refused> {
        self.now.reading = Some(reading.clone());
        let every = self.options.attributes_every;
        if self.now.published.is_some_and(|p| p.elapsed() < every) {
            return Err(Refused::Idle);
        }
        // Also where it fails: the next is due a second later.
        self.now.published = Some(Instant::now());
        self.with_link(Self::publish_attributes)
    }

    /// Reads what has come, pings, and notices a broker that is silent.
    fn keep(&mut self) -> Result<(), String> {
        let keep_alive = self.options.keep_alive;
        // Bounded: somebody who floods a topic does not keep news waiting.
        for _ in 0..100 {
            let Some(packet) = self.line.receive(Duration::ZERO)? else {
                break;
            };
            if let Packet::Publish { topic, payload } = packet
                && topic == self.topics.status
                && payload == b"online"
            {
                self.announce()?;
            }
        }
        if self.line.pinged.elapsed() >= keep_alive / 2 {
            self.line.pinged = Instant::now();
            self.line.send(&packet::ping())?;
        }
        if self.line.heard.elapsed() >= keep_alive * 3 / 2 {
            return Err(format!(
                "silent for {:.0} s",
                self.line.heard.elapsed().as_secs_f32()
            ));
        }
        Ok(())
    }

    fn say_goodbye(&mut self) -> Result<(), String> {
        self.publish_state()?;
        self.line
            .publish(&self.topics.availability, b"offline", true)?;
        let until = Instant::now() + GOODBYE;
        while self.line.open > 0 && Instant::now() < until {
            self.line
                .receive(until.saturating_duration_since(Instant::now()))?;
        }
        self.line.send(&packet::disconnect())
    }
}

impl Connection {
    /// Publishes; what is retained is acknowledged, and counts as open until then.
    fn publish(&mut self, topic: &str, payload: &[u8], is_retained: bool) -> Result<(), String> {
        let number = is_retained.then_some(self.number);
        self.send(&packet::publish(topic, payload, is_retained, number))?;
        if is_retained {
            self.number = self.number.checked_add(1).unwrap_or(1);
            self.open += 1;
        }
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let link = self.link.as_mut().ok_or("not connected")?;
        link.send(bytes)
    }

    fn receive(&mut self, patience: Duration) -> Result<Option<Packet>, String> {
        let packet = match &mut self.link {
            Some(link) => link.receive(patience)?,
            None => None,
        };
        if packet.is_some() {
            self.heard = Instant::now();
        }
        if matches!(packet, Some(Packet::Acknowledged(_))) {
            self.open = self.open.saturating_sub(1);
        }
        Ok(packet)
    }
}

impl Sink for Mqtt {
    fn name(&self) -> &'static str {
        "mqtt"
    }

    fn wants_frames(&self) -> bool {
        true
    }

    fn wants_counters(&self) -> bool {
        true
    }

    fn take(&mut self, news: &News) -> Result<(), Refused> {
        match news {
            News::Event(event) => self.take_event(event),
            News::Frame(reading) => self.take_frame(reading),
            News::Counters(snapshot, _) => {
                self.now.counters = Some(*snapshot);
                Err(Refused::Idle)
            }
        }
    }

    fn every(&self) -> Option<Duration> {
        Some(Duration::from_millis(200))
    }

    fn idle(&mut self) -> Result<(), Refused> {
        if self.line.link.is_none() && Instant::now() < self.line.retry_at {
            return Err(Refused::Idle);
        }
        self.with_link(Self::keep)
    }

    fn close(&mut self) {
        if self.line.link.is_some()
            && let Err(words) = self.say_goodbye()
        {
            log::warn!("mqtt: {}: {words}", self.options.broker());
        }
    }
}

/// Up to a quarter longer, so that boards that lost a broker together do not come back together.
fn jittered(pause: Duration) -> Duration {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let share = now.map_or(0, |d| d.subsec_micros() % 256);
    pause + pause * share / 1024
}
