//! What the route agent tells: one JSON object a line, appended to `agent.log` in the lab's state directory.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use nix::time::{ClockId, clock_gettime};
use router_core::time::Time;
use serde::{Deserialize, Serialize};

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When, `CLOCK_MONOTONIC` nanoseconds: for news of an interface when the agent read it, for routes when the kernel
    /// had taken them.
    pub time: Time,
    /// The node's name.
    pub node: String,
    /// What.
    pub what: What,
    /// The interface, for news of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Prefixes whose route was added, moved or withdrawn.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub changed: usize,
    /// Why the kernel refused a route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// What can happen to a node's unicast routing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// An interface lost its carrier.
    CarrierLost,
    /// Its carrier is back.
    CarrierBack,
    /// It was taken down by its administrator.
    Down,
    /// It was taken up again.
    Up,
    /// A silent cut became known ([`super::agent::Message::Cut`]).
    CutNoticed,
    /// The end of a silent cut became known.
    CutMended,
    /// The node's routes were brought in line.
    RoutesMoved,
    /// The kernel refused a route; it is tried again.
    RouteRefused,
    /// News were lost (a full socket buffer), so everything was read anew.
    Resynchronised,
}

/// The log while it is written.
#[derive(Debug)]
pub struct Log {
    file: Option<File>,
}

impl Log {
    /// Opens a log for appending, made if it is not there.
    ///
    /// # Errors
    /// Those of opening the file.
    pub fn open(path: &Path) -> io::Result<Log> {
        Ok(Log { file: Some(OpenOptions::new().create(true).append(true).open(path)?) })
    }

    /// Appends a line. One that cannot be written is lost and said on standard error once: routes matter more.
    pub fn write(&mut self, record: &Record) {
        let Some(file) = &mut self.file else { return };
        let Ok(mut line) = serde_json::to_vec(record) else { return };
        line.push(b'\n');
        if let Err(error) = file.write_all(&line) {
            eprintln!("route agent: its log cannot be written: {error}");
            self.file = None;
        }
    }
}

/// Now, on the clock of the log.
pub fn now() -> Time {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap_or(nix::sys::time::TimeSpec::new(0, 0));
    Time(now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back() {
        let text = r#"{"time":12,"node":"r1","what":"routes-moved","changed":3}"#;
        let record: Record = serde_json::from_str(text).unwrap();
        assert_eq!((record.what, record.changed, record.time), (What::RoutesMoved, 3, Time(12)));
        assert_eq!(serde_json::to_string(&record).unwrap(), text);
    }

    #[test]
    fn lines_are_appended() {
        let directory = std::env::temp_dir().join(format!("testbed-log-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("agent.log");
        let record = Record {
            time: now(),
            node: "r1".into(),
            what: What::CarrierLost,
            interface: Some("eth0".into()),
            changed: 0,
            why: None,
        };
        for _ in 0..2 {
            Log::open(&path).unwrap().write(&record);
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert_eq!(serde_json::from_str::<Record>(text.lines().next().unwrap()).unwrap(), record);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
