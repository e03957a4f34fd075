//! Reads what the route agent writes down, as far as it has come.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use crate::network::{Happening, HappeningKind};
use crate::routes::log::{Record, What};
use crate::topology::plan::Plan;

/// Records that are kept; a log that is longer is read no further.
const RECORDS_MAX: usize = 200_000;

/// The agent's log, read so far.
#[derive(Debug)]
pub struct RouteLog {
    path: PathBuf,
    file: Option<File>,
    line: Vec<u8>,
    happenings: Vec<Happening>,
}

impl RouteLog {
    /// A log that may not be there yet.
    pub fn new(path: PathBuf) -> RouteLog {
        RouteLog { path, file: None, line: Vec::new(), happenings: Vec::new() }
    }

    /// Everything in it.
    ///
    /// # Errors
    /// Those of reading; that there is no file is none.
    pub fn read(&mut self, plan: &Plan) -> io::Result<&[Happening]> {
        if self.file.is_none() {
            match File::open(&self.path) {
                Ok(file) => self.file = Some(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if let Some(file) = &mut self.file {
            let mut octets = [0; 16 * 1024];
            while self.happenings.len() < RECORDS_MAX {
                let count = file.read(&mut octets)?;
                if count == 0 {
                    break;
                }
                for part in octets[..count].split_inclusive(|octet| *octet == b'\n') {
                    self.line.extend_from_slice(part);
                    if part.ends_with(b"\n") {
                        if let Ok(record) = serde_json::from_slice::<Record>(&self.line) {
                            self.happenings.push(happening(plan, record));
                        }
                        self.line.clear();
                    }
                }
            }
        }
        Ok(&self.happenings)
    }
}

fn happening(plan: &Plan, record: Record) -> Happening {
    let interface = record.interface.as_deref().unwrap_or("an interface");
    let (kind, what) = match record.what {
        What::CarrierLost => (HappeningKind::Carrier, format!("{interface} lost its carrier")),
        What::CarrierBack => (HappeningKind::Carrier, format!("{interface} has its carrier back")),
        What::Down => (HappeningKind::Carrier, format!("{interface} was taken down")),
        What::Up => (HappeningKind::Carrier, format!("{interface} was taken up")),
        What::CutNoticed => (HappeningKind::Routes, format!("noticed that {interface} carries nothing")),
        What::CutMended => (HappeningKind::Routes, format!("noticed that {interface} works again")),
        What::RoutesMoved => (HappeningKind::Routes, format!("{} unicast routes moved", record.changed)),
        What::RouteRefused => {
            let why = record.why.as_deref().unwrap_or("without a reason");
            (HappeningKind::Routes, format!("the kernel refused a unicast route: {why}"))
        }
        What::Resynchronised => (HappeningKind::Routes, "all interfaces and routes were read anew".into()),
    };
    Happening { time: record.time, node: plan.find_node(&record.node), group: None, what, kind }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    use crate::network::Time;

    #[test]
    fn a_growing_log_is_read_line_by_line() {
        let path = std::env::temp_dir().join(format!("testbed-route-log-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let plan = super::super::tests::plan();
        let mut log = RouteLog::new(path.clone());
        assert!(log.read(&plan).unwrap().is_empty());
        let mut file = File::create(&path).unwrap();
        file.write_all(b"{\"time\":5,\"node\":\"h\",\"what\":\"carrier-lost\",\"interface\":\"eth0\"}\n{\"time\":7,")
            .unwrap();
        assert_eq!(log.read(&plan).unwrap().len(), 1);
        file.write_all(b"\"node\":\"nobody\",\"what\":\"routes-moved\",\"changed\":3}\n").unwrap();
        let seen = log.read(&plan).unwrap();
        assert_eq!(
            (seen[0].time, seen[0].what.as_str(), seen[0].kind),
            (Time(5), "eth0 lost its carrier", HappeningKind::Carrier)
        );
        assert_eq!(seen[0].node, plan.find_node("h"));
        assert_eq!((seen[1].time, seen[1].what.as_str(), seen[1].node), (Time(7), "3 unicast routes moved", None));
        std::fs::remove_file(&path).unwrap();
    }
}
