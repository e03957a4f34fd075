//! `testbed inside send`: sends a stream from the node that it runs in, and reports.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::ends::Ends;
use super::interface;
use crate::commands::send::Options;
use crate::commands::{Failure, Outcome, Result, figures};
use crate::network::notifier::Notifier;
use crate::topology::plan::NodeId;
use crate::traffic::{Place, StreamSpec, Traffic, TrafficError};

/// Arguments of `testbed inside send`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    options: Options,
}

/// What was sent, as `--json` gives it.
#[derive(Debug, Serialize)]
struct Report {
    stream: String,
    group: String,
    interface: String,
    sent: u64,
    not_sent: u64,
    /// Why packets were not sent: how many by each answer of the kernel.
    refused: BTreeMap<String, u64>,
    octets: u64,
    seconds: f64,
    rate: f64,
    lateness_max_ns: u64,
    doubts: Vec<String>,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result {
    let options = &args.options;
    let notifier = Arc::new(Notifier::new());
    let ends = Ends::catch(Arc::clone(&notifier))?;
    let (index, name) = interface::pick(options.interface.as_deref(), options.group)?;
    let spec = StreamSpec {
        name: "stream".into(),
        interface: index,
        source: options.source,
        group: options.group,
        groups: 1,
        port: options.port,
        rate: options.rate,
        size: options.size,
        ttl: options.ttl,
        count: options.count,
        burst: options.burst,
    };
    let mut traffic = Traffic::new(notifier).map_err(|error| failure(&error))?;
    let place = Place { host: NodeId(0), name: "this node".into(), netns: None };
    let stream = traffic.start(&place, &spec).map_err(|error| failure(&error))?;
    let progress = || traffic.progress(stream).unwrap_or_default();
    ends.wait(options.duration.map(|span| span.0), || progress().ended);
    traffic.stop(stream).map_err(|error| failure(&error))?;
    let progress = traffic.progress(stream).unwrap_or_default();
    let sent = traffic.sent(stream, 0);
    let seconds = match (sent.first(), sent.last()) {
        (Some(first), Some(last)) => last.since(*first).as_secs_f64(),
        _ => 0.0,
    };
    let report = Report {
        stream: stream.to_string(),
        group: figures::address_and_port(options.group, options.port),
        interface: name,
        sent: progress.sent,
        not_sent: progress.not_sent(),
        refused: progress
            .refused
            .iter()
            .map(|(error, count)| (std::io::Error::from_raw_os_error(*error).to_string(), *count))
            .collect(),
        octets: progress.sent * options.size as u64,
        seconds,
        // n packets span n − 1 intervals.
        rate: if seconds > 0.0 { (progress.sent - 1) as f64 / seconds } else { 0.0 },
        lateness_max_ns: u64::try_from(progress.lateness_max.as_nanos()).unwrap_or(u64::MAX),
        doubts: traffic.doubts(),
    };
    if options.json {
        figures::print_json(&report)?;
    } else {
        report.print()?;
    }
    Ok(Outcome::Held.into())
}

impl Report {
    fn print(&self) -> std::result::Result<(), Failure> {
        let lateness = std::time::Duration::from_nanos(self.lateness_max_ns);
        let mut rows = vec![
            ("stream", self.stream.clone()),
            ("to", format!("{} by {}", self.group, self.interface)),
            ("sent", self.sent.to_string()),
            ("not sent", self.not_sent.to_string()),
            ("time", format!("{:.3} s", self.seconds)),
            ("rate", format!("{:.1} pps", self.rate)),
            ("latest packet", format!("{} late", figures::span(lateness))),
        ];
        rows.extend(self.refused.iter().map(|(error, count)| ("not sent", format!("{count}: {error}"))));
        figures::print_rows(&["figure", "value"], rows.into_iter().map(|(name, value)| vec![name.into(), value]))?;
        figures::print_doubts(&self.doubts);
        Ok(())
    }
}

/// A fault of the options, or of the machine.
pub(super) fn failure(error: &TrafficError) -> Failure {
    match error {
        TrafficError::Spec { .. } | TrafficError::FilterFamily { .. } => Failure::bad_input(error.to_string()),
        _ => Failure::machine(error.to_string()),
    }
}
