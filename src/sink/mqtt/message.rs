//! What is published, and where: topics, the announcement for Home Assistant, attributes.

use serde::Serialize;
use serde_json::json;

use super::super::Utc;
use super::super::json::{label, reason, share, tops};
use super::options::MqttOptions;
use crate::live::{Event, Reading, Snapshot, State, Top};
use crate::text::printable;

/// Longest state that Home Assistant takes, in characters.
const STATE_CHARS: usize = 255;

pub(super) struct Topics {
    pub(super) state: String,
    pub(super) attributes: String,
    pub(super) availability: String,
    pub(super) event: String,
    pub(super) config: String,
    /// Where Home Assistant says that it has started.
    pub(super) status: String,
}

impl Topics {
    pub(super) fn new(options: &MqttOptions) -> Self {
        let (id, discovery) = (&options.id, &options.discovery);
        Self {
            state: format!("edgeclip/{id}/state"),
            attributes: format!("edgeclip/{id}/attributes"),
            availability: format!("edgeclip/{id}/availability"),
            event: format!("edgeclip/{id}/event"),
            config: format!("{discovery}/sensor/{id}/config"),
            status: format!("{discovery}/status"),
        }
    }
}

/// One sensor of one device. It has no `expire_after`: a state may last for days.
pub(super) fn announcement(options: &MqttOptions, topics: &Topics) -> String {
    let unique = format!("edgeclip_{}", options.id);
    let version = env!("CARGO_PKG_VERSION");
    json!({
        "name": "Recognised",
        "unique_id": unique,
        "state_topic": topics.state,
        "json_attributes_topic": topics.attributes,
        "availability_topic": topics.availability,
        "payload_available": "online",
        "payload_not_available": "offline",
        "icon": "mdi:eye",
        "device": {
            "identifiers": [unique],
            "name": options.name,
            "manufacturer": "edgeclip",
            "model": "edgeclip",
            "sw_version": version,
        },
        "origin": { "name": "edgeclip", "sw_version": version },
    })
    .to_string()
}

/// The state as one harmless word or name. Never empty: that would delete what is retained.
pub(super) fn state(state: &State) -> String {
    let word: String = printable(state.word()).chars().take(STATE_CHARS).collect();
    if word.is_empty() {
        return "?".into();
    }
    word
}

/// What is known beside the state.
#[derive(Serialize)]
pub(super) struct Attributes<'a> {
    state: &'static str,
    label: Option<&'a str>,
    p: Option<f64>,
    since: Option<Utc>,
    reason: Option<&'a str>,
    #[serde(serialize_with = "tops")]
    top: &'a [Option<Top>],
    frame: Option<u64>,
    time: Option<Utc>,
    latency_ms: Option<f64>,
    fps: Option<f64>,
}

impl<'a> Attributes<'a> {
    /// Of the newest event and the newest frame. A fault has no frame.
    pub(super) fn new(
        event: Option<&'a Event>,
        reading: Option<&'a Reading>,
        counters: Option<&Snapshot>,
    ) -> Self {
        let settled = event.map_or(&State::Starting, |e| &e.state);
        let reading = reading.filter(|_| !matches!(settled, State::Fault(_)));
        // A frame of before the event says nothing of its class.
        let p = match reading {
            Some(r) if r.state == *settled => Some(r.p),
            _ => event.map(|e| e.confidence),
        };
        let tenth = |x: f64| (x * 10.0).round() / 10.0;
        Self {
            state: settled.kind(),
            label: label(settled),
            p: p.filter(|_| label(settled).is_some()).map(share),
            since: event.map(|e| Utc(e.started)),
            reason: reason(settled),
            top: reading.map_or(&[], |r| &r.top),
            frame: reading.map(|r| r.frame),
            time: reading.map(|r| Utc(r.taken)),
            latency_ms: reading.map(|r| tenth(r.latency.as_secs_f64() * 1e3)),
            fps: counters.map(|c| tenth(f64::from(c.fps))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{class, event, fault, frame};
    use super::*;

    fn attributes(event: &Event, reading: Option<&Reading>) -> serde_json::Value {
        let all = Attributes::new(Some(event), reading, None);
        serde_json::from_str(&serde_json::to_string(&all).unwrap()).unwrap()
    }

    #[test]
    fn attributes_are_of_the_state_and_of_the_newest_frame() {
        let reading = frame(9);
        let said = attributes(&event(1, class("cat")), Some(&reading));
        assert_eq!(
            (&said["label"], &said["p"]),
            (&json!("cat"), &json!(0.9634))
        );
        assert_eq!(said["top"][1], json!({ "label": "dog", "p": 0.03 }));
        assert_eq!(
            (&said["frame"], &said["latency_ms"]),
            (&json!(9), &json!(38.4))
        );
        assert_eq!(said["since"], "2026-11-25T10:12:03.123Z");
        // The frame is of another state than the event.
        assert_eq!(
            attributes(&event(1, class("dog")), Some(&reading))["p"],
            json!(0.96)
        );
        let broken = attributes(&event(1, fault("gone")), Some(&reading));
        assert_eq!(
            (&broken["state"], &broken["reason"]),
            (&json!("fault"), &json!("gone"))
        );
        assert_eq!(
            (&broken["top"], &broken["frame"]),
            (&json!([]), &json!(null))
        );
    }

    #[test]
    fn no_state_is_empty_too_long_or_harmful() {
        assert_eq!(state(&class("blue mug")), "blue mug");
        assert_eq!(state(&class("")), "?");
        assert_eq!(state(&class(&"ü".repeat(500))).chars().count(), 255);
        assert_eq!(state(&class("a\0\nb")), "a\u{fffd}\u{fffd}b");
        assert_eq!(state(&fault("gone")), "fault");
    }

    #[test]
    fn a_hostile_name_stays_inside_the_announcement() {
        let mut options = MqttOptions::at("pi", "door").unwrap();
        options.name = "a\",\"state_topic\":\"evil\n".into();
        let topics = Topics::new(&options);
        let said = announcement(&options, &topics);
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["state_topic"], "edgeclip/door/state");
        assert_eq!(said["device"]["name"], options.name);
    }
}
