//! `testbed send`: send a stamped stream from a node.

use std::ffi::OsString;
use std::fmt::Display;
use std::net::IpAddr;

use router_core::time::Span;

use super::labs::Which;
use super::{Failure, Result, exec};
use crate::lab::client::Command;
use crate::traffic::stamp::{LENGTH, PAYLOAD_MAX};
use crate::traffic::{BURST_MAX, RATE_MAX, RATE_MIN};

/// Arguments of `testbed send`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Node to send from.
    node: String,
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    which: Which,
}

/// What to send; the same for the process in the node.
#[derive(Clone, Debug, PartialEq, clap::Args)]
pub struct Options {
    /// Multicast group to send to.
    #[arg(long, value_parser = group)]
    pub group: IpAddr,
    /// UDP port to send to.
    #[arg(long, default_value_t = 5001, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// Packets a second: 100, 1000pps, 20kpps.
    #[arg(long, default_value = "100", value_parser = rate)]
    pub rate: f64,
    /// UDP payload in octets.
    #[arg(long, default_value_t = 200, value_parser = size)]
    pub size: usize,
    /// TTL or hop limit.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u8).range(1..))]
    pub ttl: u8,
    /// End after so many packets.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// End after this time: 10s, 1m 30s.
    #[arg(long)]
    pub duration: Option<Span>,
    /// Packets sent back to back at each tick; the rate stays what it is.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(BURST_MAX)))]
    pub burst: u32,
    /// Interface to send by; the node's first with an address if absent.
    #[arg(long)]
    pub interface: Option<String>,
    /// Address to send from; the interface's if absent.
    #[arg(long)]
    pub source: Option<IpAddr>,
    /// Print the figures as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs the verb.
pub fn run(args: Args) -> Result {
    in_node(&args.which, &args.node, "send", args.options.arguments())
}

/// Runs a part of this program in a node of a lab. Ctrl-C reaches it, and it ends with its figures.
pub(super) fn in_node(which: &Which, node: &str, part: &str, arguments: Vec<OsString>) -> Result {
    let lab = which.choose()?;
    let testbed =
        std::env::current_exe().map_err(|error| Failure::machine(format!("where is this program? {error}")))?;
    let argv = [testbed.into(), "inside".into(), part.into()].into_iter().chain(arguments);
    exec::execute(&lab, Command::new(Some(node), argv))
}

/// Writes options as arguments again.
#[derive(Default)]
pub(super) struct Arguments(pub Vec<OsString>);

impl Arguments {
    /// `--name=value`, if there is one.
    pub fn value(mut self, name: &str, value: impl IntoIterator<Item = impl Display>) -> Arguments {
        self.0.extend(value.into_iter().map(|value| format!("--{name}={value}").into()));
        self
    }

    /// `--name`, if it is set.
    pub fn flag(mut self, name: &str, set: bool) -> Arguments {
        if set {
            self.0.push(format!("--{name}").into());
        }
        self
    }
}

impl Options {
    /// The options as arguments of `testbed inside send`.
    fn arguments(&self) -> Vec<OsString> {
        let arguments = Arguments::default()
            .value("group", [self.group])
            .value("port", [self.port])
            .value("rate", [self.rate])
            .value("size", [self.size])
            .value("ttl", [self.ttl])
            .value("count", self.count)
            .value("duration", self.duration)
            .value("burst", [self.burst])
            .value("interface", self.interface.as_ref())
            .value("source", self.source)
            .flag("json", self.json);
        arguments.0
    }
}

/// Reads a multicast group.
pub(super) fn group(text: &str) -> std::result::Result<IpAddr, String> {
    let address: IpAddr = text.parse().map_err(|_| "it is no IP address: write it like 239.1.1.1".to_owned())?;
    if address.is_multicast() {
        Ok(address)
    } else {
        Err("it is no multicast address: those lie in 224.0.0.0/4 and ff00::/8".into())
    }
}

fn rate(text: &str) -> std::result::Result<f64, String> {
    let (number, scale) = match text.strip_suffix("pps").map(str::trim_end) {
        None => (text, 1.0),
        Some(number) => number.strip_suffix('k').map_or((number, 1.0), |number| (number, 1000.0)),
    };
    let rate = number.trim().parse::<f64>().map(|number| number * scale);
    match rate {
        Ok(rate) if (RATE_MIN..=RATE_MAX).contains(&rate) => Ok(rate),
        Ok(_) => Err(format!("a rate lies between {RATE_MIN} and {RATE_MAX} packets a second")),
        Err(_) => Err("it is no rate: write it like 100, 1000pps or 20kpps".into()),
    }
}

fn size(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(size) if (LENGTH..=PAYLOAD_MAX).contains(&size) => Ok(size),
        _ => Err(format!("a payload has {LENGTH} (the stamp) to {PAYLOAD_MAX} octets")),
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
            "send --group 239.1.1.1",
            "send --group ff3e::1 --port 9 --rate 12.5kpps --size 32 --ttl 1 --count 7 --duration 90s --burst 3 --interface eth1 --source ::1 --json",
        ] {
            let given = Program::try_parse_from(line.split(' ')).unwrap().options;
            let arguments = std::iter::once("send".into()).chain(given.arguments());
            assert_eq!(Program::try_parse_from(arguments).unwrap().options, given);
        }
    }

    #[test]
    fn rates_read_as_files_have_them() {
        assert_eq!(rate("100"), Ok(100.0));
        assert_eq!(rate("0.5pps"), Ok(0.5));
        assert_eq!(rate("20kpps"), Ok(20_000.0));
        assert_eq!(rate("20 kpps"), Ok(20_000.0));
        for text in ["", "pps", "fast", "0", "-1", "nan", "inf", "1e12", "10k"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn groups_and_sizes_are_checked_at_once() {
        assert!(group("239.1.1.1").is_ok() && group("ff3e::1").is_ok());
        assert!(group("10.0.0.1").is_err() && group("here").is_err());
        assert_eq!(size("32"), Ok(32));
        assert!(size("31").is_err() && size("65508").is_err() && size("big").is_err());
    }
}
