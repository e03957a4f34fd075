//! `testbed inside receive`: receives a group in the node that it runs in, and reports.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::ends::Ends;
use super::interface;
use super::send::failure;
use crate::commands::receive::Options;
use crate::commands::{Failure, Outcome, Result, figures};
use crate::network::notifier::Notifier;
use crate::topology::plan::NodeId;
use crate::topology::steps::SourceFilter;
use crate::traffic::metrics::{Figures, join_latency};
use crate::traffic::{ARRIVALS_MAX, Place, Traffic};

/// Arguments of `testbed inside receive`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    options: Options,
}

/// What was received, as `--json` gives it.
#[derive(Debug, Serialize)]
struct Report {
    group: String,
    interface: String,
    /// Streams that were heard.
    streams: BTreeMap<String, Stream>,
    /// Packets without a stamp.
    unstamped: u64,
    doubts: Vec<String>,
}

/// What was received of one stream. Sent and lost are counted between the first and the last packet that arrived.
#[derive(Debug, Serialize)]
struct Stream {
    join_latency_ns: Option<u64>,
    #[serde(flatten)]
    figures: Figures,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result {
    let options = &args.options;
    let notifier = Arc::new(Notifier::new());
    let ends = Ends::catch(Arc::clone(&notifier))?;
    let (index, name) = interface::pick(options.interface.as_deref(), options.group)?;
    let sources = options.source.iter().copied().collect();
    let filter = if options.exclude || options.source.is_empty() {
        SourceFilter::Exclude(sources)
    } else {
        SourceFilter::Include(sources)
    };
    let place = Place { host: NodeId(0), name: "this node".into(), netns: None };
    let mut traffic = Traffic::new(notifier).map_err(|error| failure(&error))?;
    traffic.listen(options.group, options.port).map_err(|error| failure(&error))?;
    let joined = traffic.join(&place, index, options.group, &filter).map_err(|error| failure(&error))?;
    let group = figures::address_and_port(options.group, options.port);
    eprintln!("receiving {group} on {name}; Ctrl-C ends it");
    let arrived =
        || -> u64 { traffic.heard(place.host).iter().map(|id| traffic.arrived(*id, place.host) as u64).sum() };
    let enough = options.count.unwrap_or(ARRIVALS_MAX as u64);
    ends.wait(options.duration.map(|span| span.0), || arrived() >= enough);
    traffic.leave(&place, index, options.group).map_err(|error| failure(&error))?;
    let stream = |id| {
        let arrivals = traffic.arrivals(id, place.host, 0);
        let latency = join_latency(joined, &arrivals);
        Stream {
            join_latency_ns: latency.map(|latency| u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX)),
            figures: Figures::of_seen(&arrivals),
        }
    };
    let report = Report {
        group,
        interface: name,
        streams: traffic.heard(place.host).into_iter().map(|id| (id.to_string(), stream(id))).collect(),
        unstamped: traffic.strangers(place.host),
        doubts: traffic.doubts(),
    };
    if options.json {
        figures::print_json(&report)?;
    } else {
        report.print()?;
    }
    let arrived: u64 = report.streams.values().map(|s| s.figures.received + s.figures.duplicated).sum();
    let missed = options.count.is_some_and(|count| arrived < count);
    Ok(if missed { Outcome::CheckFailed } else { Outcome::Held }.into())
}

impl Report {
    fn print(&self) -> std::result::Result<(), Failure> {
        if self.streams.is_empty() {
            println!("no stamped packet of {} arrived on {}", self.group, self.interface);
        } else {
            let mut header = vec!["figure".to_owned()];
            header.extend(self.streams.keys().cloned());
            let columns: Vec<_> = self.streams.values().map(Stream::column).collect();
            let names = Stream::column(&Stream { join_latency_ns: None, figures: Figures::default() });
            let rows = names.iter().enumerate().map(|(row, (name, _))| {
                let values = columns.iter().map(|column| column[row].1.clone());
                std::iter::once((*name).to_owned()).chain(values).collect()
            });
            let header: Vec<&str> = header.iter().map(String::as_str).collect();
            figures::print_rows(&header, rows)?;
        }
        if self.unstamped > 0 {
            println!("{} packets without a stamp", self.unstamped);
        }
        figures::print_doubts(&self.doubts);
        Ok(())
    }
}

impl Stream {
    /// The rows of its column: the same names for every stream.
    fn column(&self) -> Vec<(&'static str, String)> {
        let figures = &self.figures;
        let nanoseconds = |n: u64| figures::span(std::time::Duration::from_nanos(n));
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        let latency = |get: fn(&crate::traffic::metrics::Latency) -> std::time::Duration| {
            or_none(figures.latency.as_ref().map(|latency| figures::span(get(latency))))
        };
        let ttls: Vec<String> = figures.ttls.keys().map(ToString::to_string).collect();
        vec![
            ("received", figures.received.to_string()),
            ("lost", figures.lost.to_string()),
            ("duplicated", figures.duplicated.to_string()),
            ("reordered", figures.reordered.to_string()),
            ("join latency", or_none(self.join_latency_ns.map(nanoseconds))),
            ("latency min", latency(|l| l.min)),
            ("latency p50", latency(|l| l.p50)),
            ("latency p95", latency(|l| l.p95)),
            ("latency p99", latency(|l| l.p99)),
            ("latency max", latency(|l| l.max)),
            ("jitter", or_none(figures.jitter.map(figures::span))),
            ("TTL", ttls.join(", ")),
            ("gaps", figures.gap_count.to_string()),
            ("longest gap", or_none(figures.longest_gap().map(figures::span))),
        ]
    }
}
