//! The stand-alone multicast routing daemon.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use router_core::config::Config;
use router_core::control::client::Client;
use router_core::linux;
use router_core::show::Show;

const USAGE: &str = "\
usage: router-core --config FILE [--control SOCKET] [--check] [--verbose]
       router-core show interfaces|groups|entries|counters|routes|neighbours|trees|bsr|rp --control SOCKET
       router-core show rp GROUP --control SOCKET
       router-core events --control SOCKET

Routes multicast in this network namespace until SIGTERM.

  --config FILE     its configuration, YAML or JSON
  --control SOCKET  where it answers `show` and streams events (mode 0600)
  --check           only say whether the configuration is right
  --verbose         log memberships and forwarding entries too
  --version, --help

Ends 0 after SIGTERM, 2 if the command line or the configuration is wrong, 3 if this machine or user cannot run it.
";

/// Octets of a configuration file at most.
const CONFIG_MAX: u64 = 16 * 1024 * 1024;
/// How long `show` waits for a daemon.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Command {
    Run { config: PathBuf, control: Option<PathBuf>, verbose: bool },
    Check { config: PathBuf },
    Show { what: Show, control: PathBuf },
    Events { control: PathBuf },
    Version,
    Help,
}

/// Why it did not end well.
#[derive(Debug)]
enum Failure {
    /// The command line or the configuration.
    BadInput(String),
    /// The machine, the user's rights, or a daemon that does not answer.
    Machine(String),
}

fn main() -> ExitCode {
    let result = parse(std::env::args_os().skip(1)).and_then(run);
    let (code, message) = match result {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::BadInput(message)) => (2, message),
        Err(Failure::Machine(message)) => (3, message),
    };
    // Nobody can be told that standard error fails.
    let _ = writeln!(std::io::stderr(), "router-core: {message}");
    ExitCode::from(code)
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run { config, control, verbose } => linux::run(load(&config)?, control, verbose).map_err(machine),
        Command::Check { config } => load(&config).map(drop),
        Command::Show { what, control } => {
            let shown =
                Client::connect(&control, PATIENCE).and_then(|mut client| client.show(what)).map_err(machine)?;
            print(&serde_json::to_string_pretty(&shown).map_err(machine)?)
        }
        Command::Events { control } => {
            let mut events = Client::connect(&control, PATIENCE).and_then(Client::events).map_err(machine)?;
            loop {
                if let Some(event) = events.next(Duration::from_secs(3600)).map_err(machine)? {
                    print(&serde_json::to_string(&event).map_err(machine)?)?;
                }
            }
        }
        Command::Version => print(concat!("router-core ", env!("CARGO_PKG_VERSION"))),
        Command::Help => print(USAGE.trim_end()),
    }
}

fn print(text: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{text}").map_err(machine)
}

fn machine(error: impl std::fmt::Display) -> Failure {
    Failure::Machine(error.to_string())
}

fn load(path: &Path) -> Result<Config, Failure> {
    let bad = |what: &dyn std::fmt::Display| Failure::BadInput(format!("{}: {what}", path.display()));
    let size = fs::metadata(path).map_err(|error| bad(&error))?.len();
    if size > CONFIG_MAX {
        return Err(bad(&format_args!("{size} octets: a configuration has at most {CONFIG_MAX}")));
    }
    let text = fs::read_to_string(path).map_err(|error| bad(&error))?;
    // JSON is YAML too, but its own reader is smaller, and a daemon that never needs the other keeps it off its memory.
    let json = if text.trim_start().starts_with('{') { serde_json::from_str(&text).ok() } else { None };
    let config: Config = match json {
        Some(config) => config,
        None => serde_yaml::from_str(&text).map_err(|error| bad(&error))?,
    };
    config.check().map_err(|errors| bad(&errors))?;
    Ok(config)
}

fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Command, Failure> {
    let bad = |what: String| Failure::BadInput(format!("{what}\n\n{}", USAGE.trim_end()));
    let (mut config, mut control) = (None, None);
    let (mut is_check, mut is_verbose) = (false, false);
    let mut words = Vec::new();
    while let Some(argument) = arguments.next() {
        let mut path = |name: &str, place: &mut Option<PathBuf>| match arguments.next() {
            None => Err(bad(format!("{name} needs a path"))),
            Some(_) if place.is_some() => Err(bad(format!("{name} is given twice"))),
            Some(value) => {
                *place = Some(value.into());
                Ok(())
            }
        };
        match argument.to_str() {
            Some("--config") => path("--config", &mut config)?,
            Some("--control") => path("--control", &mut control)?,
            Some("--check") => is_check = true,
            Some("--verbose") => is_verbose = true,
            Some("--version") => return Ok(Command::Version),
            Some("--help" | "-h") => return Ok(Command::Help),
            Some(word) if !word.starts_with('-') => words.push(word.to_owned()),
            _ => return Err(bad(format!("unknown option {argument:?}"))),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let [word, ..] = words[..]
        && (config.is_some() || is_check || is_verbose)
    {
        return Err(bad(format!("{word:?} goes with --control only")));
    }
    match (&words[..], config, control) {
        ([], Some(config), None) if is_check => Ok(Command::Check { config }),
        ([], Some(_), Some(_)) if is_check => Err(bad("--check listens nowhere: leave --control out".to_owned())),
        ([], Some(config), control) => Ok(Command::Run { config, control, verbose: is_verbose }),
        ([], None, _) => Err(bad("--config is missing".to_owned())),
        (["events"], None, Some(control)) => Ok(Command::Events { control }),
        (["show", what], None, Some(control)) => match Show::ALL.into_iter().find(|show| show.word() == *what) {
            Some(what) => Ok(Command::Show { what, control }),
            None => Err(bad(format!("there is no {what:?} to show"))),
        },
        (["show", "rp", group], None, Some(control)) => match group.parse::<IpAddr>() {
            Ok(group) if group.is_multicast() => Ok(Command::Show { what: Show::RpOf(group), control }),
            _ => Err(bad(format!("{group:?} is no group"))),
        },
        (["show"], ..) => Err(bad("say what to show".to_owned())),
        (["show", _] | ["show", "rp", _] | ["events"], ..) => Err(bad("--control is missing".to_owned())),
        ([word, ..], ..) => Err(bad(format!("unknown command {word:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, Failure> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn fault(line: &str) -> String {
        match parsed(line) {
            Err(Failure::BadInput(message)) => message.lines().next().unwrap_or_default().to_owned(),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_daemon_needs_a_configuration_and_may_have_a_control_socket() {
        let run = |control: Option<&str>, verbose| Command::Run {
            config: "a.yaml".into(),
            control: control.map(PathBuf::from),
            verbose,
        };
        assert_eq!(parsed("--config a.yaml").unwrap(), run(None, false));
        assert_eq!(parsed("--control s --verbose --config a.yaml").unwrap(), run(Some("s"), true));
        assert_eq!(parsed("--config a.yaml --check").unwrap(), Command::Check { config: "a.yaml".into() });
        assert_eq!(
            parsed("show routes --control s").unwrap(),
            Command::Show { what: Show::Routes, control: "s".into() }
        );
        assert_eq!(
            parsed("show rp 239.1.1.1 --control s").unwrap(),
            Command::Show { what: Show::RpOf("239.1.1.1".parse().unwrap()), control: "s".into() }
        );
    }

    #[test]
    fn a_wrong_command_line_is_named() {
        assert_eq!(fault(""), "--config is missing");
        assert_eq!(fault("--config"), "--config needs a path");
        assert_eq!(fault("--config a --config b"), "--config is given twice");
        assert_eq!(fault("--colour"), "unknown option \"--colour\"");
        assert_eq!(fault("show"), "say what to show");
        assert_eq!(fault("show weather --control s"), "there is no \"weather\" to show");
        assert_eq!(fault("show rp 10.0.0.1 --control s"), "\"10.0.0.1\" is no group");
        assert_eq!(fault("show rp 239.1.1.1"), "--control is missing");
        assert_eq!(fault("show routes 239.1.1.1 --control s"), "unknown command \"show\"");
        assert_eq!(fault("show routes"), "--control is missing");
        assert_eq!(fault("events --config a"), "\"events\" goes with --control only");
        assert_eq!(fault("dance"), "unknown command \"dance\"");
    }
}
