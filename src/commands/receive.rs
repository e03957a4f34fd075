//! `testbed receive`: receive a stream in a node and report what arrived.

use std::ffi::OsString;
use std::net::IpAddr;

use router_core::time::Span;

use super::Result;
use super::labs::Which;
use super::send::{Arguments, group, in_node};

/// Arguments of `testbed receive`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Node to receive in.
    node: String,
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    which: Which,
}

/// What to receive; the same for the process in the node.
#[derive(Clone, Debug, PartialEq, clap::Args)]
pub struct Options {
    /// Multicast group to join.
    #[arg(long, value_parser = group)]
    pub group: IpAddr,
    /// UDP port to receive on.
    #[arg(long, default_value_t = 5001, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// Join only this source (SSM); may be given several times, or with commas.
    #[arg(long, value_delimiter = ',')]
    pub source: Vec<IpAddr>,
    /// Join all sources but those.
    #[arg(long, requires = "source")]
    pub exclude: bool,
    /// Interface to join on; the node's first with an address if absent.
    #[arg(long)]
    pub interface: Option<String>,
    /// End after this time: 10s, 1m 30s.
    #[arg(long)]
    pub duration: Option<Span>,
    /// End after so many packets; fewer are a failed check (exit status 1).
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Print the figures as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs the verb.
pub fn run(args: Args) -> Result {
    in_node(&args.which, &args.node, "receive", args.options.arguments())
}

impl Options {
    /// The options as arguments of `testbed inside receive`.
    fn arguments(&self) -> Vec<OsString> {
        let arguments = Arguments::default()
            .value("group", [self.group])
            .value("port", [self.port])
            .value("source", &self.source)
            .flag("exclude", self.exclude)
            .value("interface", self.interface.as_ref())
            .value("duration", self.duration)
            .value("count", self.count)
            .flag("json", self.json);
        arguments.0
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Program {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn options_reach_the_process_in_the_node_as_they_were_given() {
        for line in [
            "receive --group 239.1.1.1",
            "receive --group 239.1.1.1 --source 10.0.0.1,10.0.0.2 --source 10.0.0.3 --exclude --port 9",
            "receive --group ff3e::1 --interface eth1 --duration 1.5s --count 7 --json --source 2001:db8::1",
        ] {
            let given = Program::try_parse_from(line.split(' ')).unwrap().options;
            let arguments = std::iter::once("receive".into()).chain(given.arguments());
            assert_eq!(Program::try_parse_from(arguments).unwrap().options, given);
        }
        assert!(Program::try_parse_from(["receive", "--group", "239.1.1.1", "--exclude"]).is_err(), "exclude what?");
    }
}
