//! What the daemon says on standard error: one line a message, bounded in rate, since peers cause most of it.

use std::fmt::{self, Display, Write as _};
use std::io::Write as _;
use std::time::Duration;

use crate::router::EventKind;
use crate::time::Time;

/// Lines that may come at once.
const BURST: u32 = 100;
/// Octets of most lines.
const LINE: usize = 256;
/// Another line may follow so long after the burst is used up.
const REFILL: Duration = Duration::from_millis(100);

/// The log.
#[derive(Debug)]
pub struct Log {
    name: String,
    is_verbose: bool,
    left: u32,
    refilled: Time,
    swallowed: u64,
}

impl Log {
    /// A log whose lines begin with a name.
    pub fn new(name: &str, is_verbose: bool) -> Log {
        let name = if name.is_empty() { "router-core" } else { name };
        Log { name: name.to_owned(), is_verbose, left: BURST, refilled: Time::ZERO, swallowed: 0 }
    }

    /// Says something, unless too much was said lately.
    pub fn say(&mut self, now: Time, message: impl Display) {
        if self.may_speak(now) {
            let mut lines = String::with_capacity(LINE);
            let swallowed = std::mem::take(&mut self.swallowed);
            if swallowed > 0 {
                let _ = writeln!(lines, "{now} {}: {swallowed} messages were left out", self.name);
            }
            let _ = writeln!(lines, "{now} {}: {message}", self.name);
            // Standard error keeps nothing back: a piece a call would be a call of the kernel each. Nobody can be told that it fails.
            let _ = std::io::stderr().write_all(lines.as_bytes());
        }
    }

    /// Says an event: memberships and entries only if asked to be verbose.
    pub fn event(&mut self, now: Time, event: &EventKind) {
        let is_detail = matches!(
            event,
            EventKind::MemberAdded { .. }
                | EventKind::MemberRemoved { .. }
                | EventKind::Upstream { .. }
                | EventKind::Downstream { .. }
                | EventKind::Assert { .. }
                | EventKind::EntryInstalled { .. }
                | EventKind::EntryRemoved { .. }
        );
        if self.is_verbose || !is_detail {
            self.say(now, Said(event));
        }
    }

    fn may_speak(&mut self, now: Time) -> bool {
        let earned = now.since(self.refilled).as_nanos() / REFILL.as_nanos();
        if earned > 0 {
            self.left = BURST.min(self.left.saturating_add(u32::try_from(earned).unwrap_or(BURST)));
            self.refilled = now;
        }
        if self.left == 0 {
            self.swallowed += 1;
            return false;
        }
        self.left -= 1;
        true
    }
}

/// An event as a person would say it.
struct Said<'a>(&'a EventKind);

impl Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            EventKind::Ready => f.write_str("ready"),
            EventKind::Interface { interface, up } => write!(f, "{interface} is {}", if *up { "up" } else { "down" }),
            EventKind::Querier { interface, elected: true, .. } => write!(f, "querier of {interface}"),
            EventKind::Querier { interface, querier: Some(other), .. } => {
                write!(f, "{other} is the querier of {interface}")
            }
            EventKind::Querier { interface, .. } => write!(f, "no querier of {interface}"),
            // The rest is said in the words of the event stream.
            other => match serde_json::to_string(other) {
                Ok(text) => f.write_str(&text),
                Err(_) => write!(f, "{other:?}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_the_log_recovers() {
        let mut log = Log::new("r1", false);
        let start = Time(1_000_000_000);
        let said = (0..1000).filter(|_| log.may_speak(start)).count();
        assert_eq!(said, BURST as usize);
        assert_eq!(log.swallowed, 900);
        assert!(log.may_speak(start + REFILL));
        assert!(!log.may_speak(start + REFILL));
        let later = start + Duration::from_secs(3600);
        assert_eq!((0..1000).filter(|_| log.may_speak(later)).count(), BURST as usize);
    }
}
