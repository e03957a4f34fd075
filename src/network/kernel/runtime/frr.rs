//! What FRR says of itself: its daemons answer on a socket each, as they answer vtysh.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;
use serde_json::Value;

use crate::network::{DesignatedRouter, Membership, Neighbour};
use crate::topology::plan::Node;
use crate::topology::steps::SourceFilter;

/// Octets of an answer that are taken.
const ANSWER_MAX: usize = 8 << 20;
/// What an answer ends with, before the octet of the command's status.
const END: [u8; 3] = [0; 3];

/// Asks a daemon of FRR's a question, as vtysh does: the command and a zero octet; the answer is a text, three zero octets and a status.
///
/// # Errors
/// If nobody answers in time, or the daemon does not know the command.
pub fn ask(socket: &Path, command: &str, patience: Duration) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.write_all(command.as_bytes())?;
    stream.write_all(&[0])?;
    let mut answer = Vec::new();
    let mut octets = [0; 16 * 1024];
    loop {
        if let [text @ .., 0, 0, 0, status] = &answer[..] {
            if *status != 0 {
                let why = format!("{command:?}: status {status}: {}", String::from_utf8_lossy(text).trim());
                return Err(io::Error::other(why));
            }
            return Ok(String::from_utf8_lossy(text).into_owned());
        }
        let count = stream.read(&mut octets)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if answer.len() + count > ANSWER_MAX + END.len() + 1 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is too long"));
        }
        answer.extend_from_slice(&octets[..count]);
    }
}

/// The same, for an answer in JSON.
///
/// # Errors
/// Those of [`ask`], and `InvalidData`.
pub fn ask_json(socket: &Path, command: &str, patience: Duration) -> io::Result<Value> {
    Ok(serde_json::from_str(&ask(socket, command, patience)?)?)
}

/// The interfaces of a node that an answer has something about.
fn interfaces<'a>(node: &'a Node, answer: &'a Value) -> impl Iterator<Item = (usize, &'a Value)> {
    node.interfaces.iter().enumerate().filter_map(|(index, interface)| Some((index, answer.get(&interface.name)?)))
}

/// `show ip pim neighbor json`.
pub fn neighbours(node: &Node, answer: &Value) -> Vec<Neighbour> {
    let of = |(interface, known): (usize, &Value)| {
        let addresses: Vec<IpAddr> =
            known.as_object().map(|known| known.keys().flat_map(|key| key.parse()).collect()).unwrap_or_default();
        addresses.into_iter().map(move |address| Neighbour { interface, address }).collect::<Vec<_>>()
    };
    interfaces(node, answer).flat_map(of).collect()
}

/// `show ip pim interface json`.
pub fn designated_routers(node: &Node, answer: &Value) -> Vec<DesignatedRouter> {
    let of = |(interface, known): (usize, &Value)| {
        let address = known.get("pimDesignatedRouter").and_then(address)?;
        (!address.is_unspecified()).then_some(DesignatedRouter { interface, address })
    };
    interfaces(node, answer).filter_map(of).collect()
}

/// `show ip pim rp-info json`: the rendezvous point of the longest range that has a group.
pub fn rendezvous_point(answer: &Value, group: IpAddr) -> Option<IpAddr> {
    let of_rp = |(rp, ranges): (&String, &Value)| {
        let lengths = ranges.as_array().into_iter().flatten().filter_map(|range| {
            let range: IpNet = range.get("group")?.as_str()?.parse().ok()?;
            range.contains(&group).then(|| range.prefix_len())
        });
        Some((lengths.max()?, rp.parse::<IpAddr>().ok()?))
    };
    answer.as_object()?.iter().filter_map(of_rp).max().map(|(_, rp)| rp)
}

/// `show ip igmp groups json`, with `show ip igmp sources json`.
pub fn memberships(node: &Node, groups: &Value, sources: &Value) -> Vec<Membership> {
    let mut memberships = Vec::new();
    for (interface, known) in interfaces(node, groups) {
        for entry in known.get("groups").and_then(Value::as_array).into_iter().flatten() {
            let Some(group) = entry.get("group").and_then(address) else { continue };
            let version = entry.get("version").and_then(Value::as_u64).unwrap_or(3);
            let mode = entry.get("mode").and_then(Value::as_str).unwrap_or_default();
            let filter = filter(mode, sources.get(&node.interfaces[interface].name), group);
            memberships.push(Membership { interface, group, filter, version: u8::try_from(version).unwrap_or(3) });
        }
    }
    memberships
}

/// A group's filter: in mode include the sources that are forwarded, in mode exclude those that are not.
fn filter(mode: &str, interface: Option<&Value>, group: IpAddr) -> SourceFilter {
    let is_include = mode.eq_ignore_ascii_case("include");
    let known = interface.and_then(|of| of.get(group.to_string())).and_then(|of| of.get("sources"));
    let mut sources = BTreeSet::new();
    for entry in known.and_then(Value::as_array).into_iter().flatten() {
        let is_forwarded = entry.get("forwarded").and_then(Value::as_bool).unwrap_or(false);
        // Any source is written `*`.
        if let Some(source) = entry.get("source").and_then(address)
            && is_forwarded == is_include
        {
            sources.insert(source);
        }
    }
    if is_include { SourceFilter::Include(sources) } else { SourceFilter::Exclude(sources) }
}

fn address(value: &Value) -> Option<IpAddr> {
    value.as_str()?.parse().ok()
}

/// What pimd believes about a group, a line each: memberships, and what `show ip mroute json` and `show ip pim upstream json` have.
pub fn beliefs(group: IpAddr, mut ask: impl FnMut(&str) -> io::Result<Value>) -> Vec<String> {
    let mut lines = Vec::new();
    let group = group.to_string();
    let text = |value: Option<&Value>| match value {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    match ask("show ip pim upstream json") {
        Ok(answer) => {
            for (source, of) in answer.get(&group).and_then(Value::as_object).into_iter().flatten() {
                let (state, interface) = (text(of.get("joinState")), text(of.get("inboundInterface")));
                lines.push(format!("is {state} upstream for ({source}, {group}) by {interface}"));
            }
            if lines.is_empty() {
                lines.push(format!("knows nothing of {group}"));
            }
        }
        Err(error) => lines.push(format!("does not say what it knows: {error}")),
    }
    if let Ok(answer) = ask("show ip mroute json") {
        for (source, of) in answer.get(&group).and_then(Value::as_object).into_iter().flatten() {
            let outgoing = of.get("oil").and_then(Value::as_object).map(|oil| {
                let names: Vec<&str> = oil.keys().map(String::as_str).collect();
                names.join(", ")
            });
            let outgoing = outgoing.filter(|names| !names.is_empty()).unwrap_or_else(|| "nowhere".to_owned());
            lines.push(format!("wants ({source}, {group}) from {} to {outgoing}", text(of.get("iif"))));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn the_longest_range_that_has_a_group_names_its_rendezvous_point() {
        let answer = serde_json::json!({
            "10.255.0.1": [{"rpAddress": "10.255.0.1", "group": "224.0.0.0/4", "source": "Static"}],
            "10.255.0.2": [{"group": "239.1.0.0/16", "source": "BSR"}, {"group": "239.2.0.0/16", "source": "BSR"}],
        });
        let of = |group: &str| rendezvous_point(&answer, group.parse().unwrap()).map(|rp| rp.to_string());
        assert_eq!(of("239.1.1.1").as_deref(), Some("10.255.0.2"));
        assert_eq!(of("239.3.1.1").as_deref(), Some("10.255.0.1"));
        assert_eq!(rendezvous_point(&serde_json::json!({}), "239.1.1.1".parse().unwrap()), None);
    }

    #[test]
    fn an_answer_comes_in_pieces_and_ends_with_its_status() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pimd.vty");
        let listener = UnixListener::bind(&path).unwrap();
        let daemon = std::thread::spawn(move || {
            for (pieces, _) in
                [([&b"{\n}\n\0"[..], &b"\0\0\0"[..]], "good"), ([&b"% no\n"[..], &b"\0\0\0\x0d"[..]], "bad")]
            {
                let (mut socket, _) = listener.accept().unwrap();
                let mut asked = [0; 64];
                let count = socket.read(&mut asked).unwrap();
                assert!(asked[..count].starts_with(b"show x"));
                for piece in pieces {
                    socket.write_all(piece).unwrap();
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        });
        let patience = Duration::from_secs(5);
        assert_eq!(ask_json(&path, "show x", patience).unwrap(), serde_json::json!({}));
        assert!(ask(&path, "show x", patience).unwrap_err().to_string().contains("status 13: % no"));
        daemon.join().unwrap();
    }
}
