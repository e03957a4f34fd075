//! The daemon's control socket: a stream socket, one JSON object a line.
//!
//! | request | answer |
//! |---|---|
//! | `{"show": "interfaces"}` (or another word of [`Show`]) | one line, see [`crate::show::Shown`] |
//! | `{"show": {"rp-of": "239.1.1.1"}}` | the same, `rp` with one mapping at most |
//! | `{"events": true}` | the events so far that are still kept, then each new one as it comes, see [`crate::router::Event`] |
//! | anything else | `{"error": "..."}` |
//!
//! A subscriber who has missed events, because they are no longer kept, gets `{"dropped": N}` first. One who does not read
//! is disconnected.

pub mod client;
pub mod server;

use serde::{Deserialize, Serialize};

use crate::router::Event;
use crate::show::Show;

/// Octets of a request at most, its end of line included.
pub const REQUEST_MAX: usize = 4096;

/// What a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// What the router believes.
    Show(Show),
    /// Events from now on, after those that are kept; the value is `true`.
    Events(bool),
}

/// A line of the event stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EventLine {
    /// Events that a subscriber has missed, so many.
    Dropped {
        /// Their number.
        dropped: u64,
    },
    /// An event.
    Event(Event),
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Why.
    pub error: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::EventKind;
    use crate::time::Time;

    #[test]
    fn requests_read_as_documented() {
        let request = |text| serde_json::from_str::<Request>(text);
        assert_eq!(request(r#"{"show": "groups"}"#).unwrap(), Request::Show(Show::Groups));
        let group = std::net::IpAddr::from([239, 1, 1, 1]);
        assert_eq!(request(r#"{"show": {"rp-of": "239.1.1.1"}}"#).unwrap(), Request::Show(Show::RpOf(group)));
        assert_eq!(request(r#"{"events": true}"#).unwrap(), Request::Events(true));
        assert!(request(r#"{"show": "weather"}"#).is_err());
        assert!(request(r#"{"show": "groups", "events": true}"#).is_err());
    }

    #[test]
    fn an_event_line_reads_back() {
        let event = Event { time: Time(5), kind: EventKind::Interface { interface: "eth0".into(), up: true } };
        let line = serde_json::to_string(&event).unwrap();
        assert_eq!(line, r#"{"time":5,"event":"interface","interface":"eth0","up":true}"#);
        assert_eq!(serde_json::from_str::<EventLine>(&line).unwrap(), EventLine::Event(event));
        assert_eq!(serde_json::from_str::<EventLine>(r#"{"dropped":3}"#).unwrap(), EventLine::Dropped { dropped: 3 });
    }
}
