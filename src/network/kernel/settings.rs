//! The kernel settings of a namespace: every one that matters is set, for a new namespace inherits what the host has.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use netlink_packet_route::link::{LinkAttribute, LinkMessage};

use super::netlink::{attribute, nest};
use crate::topology::plan::{Node, NodeKind, Plan};

const ROOT: &str = "/proc/sys/net";

/// IFLA_AF_SPEC, and in it AF_INET's IFLA_INET_CONF (linux/if_link.h).
const IFLA_AF_SPEC: u16 = 26;
const IFLA_INET_CONF: u16 = 1;

/// IGMP and MLD intervals of the kernel's own members at scale 1 (RFC 9776 §8.11, RFC 9777 §9.11): v2 and v1, then v3.
const UNSOLICITED_OLD: Duration = Duration::from_secs(10);
const UNSOLICITED_NEW: Duration = Duration::from_secs(1);

/// A setting: its file under `/proc/sys/net`, and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    file: &'static str,
    value: u32,
    without: Without,
    /// Kernels without IPv6 lack it.
    ipv6: bool,
}

/// What to do where `/proc/sys` cannot be written and the value is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Without {
    /// The lab would give wrong results.
    Refuse,
    /// Live with it.
    Ignore,
    /// Give it to each interface over netlink: its number in IFLA_INET_CONF (IPV4_DEVCONF_* of linux/ip.h).
    Netlink(u16),
}

fn ipv4(file: &'static str, value: u32, without: Without) -> Setting {
    Setting { file, value, without, ipv6: false }
}

fn ipv6(file: &'static str, value: u32) -> Setting {
    Setting { file, value, without: Without::Ignore, ipv6: true }
}

/// Settings of all nodes.
fn common() -> Vec<Setting> {
    vec![
        // A socket may join as many groups and list as many sources as a scenario asks for.
        ipv4("ipv4/igmp_max_memberships", 65535, Without::Ignore),
        ipv4("ipv4/igmp_max_msf", 4096, Without::Ignore),
        ipv4("ipv4/conf/all/rp_filter", 0, Without::Refuse),
        ipv4("ipv4/conf/default/rp_filter", 0, Without::Netlink(8)),
        ipv4("ipv4/conf/default/ignore_routes_with_linkdown", 1, Without::Netlink(29)),
        ipv4("ipv4/conf/all/accept_redirects", 0, Without::Ignore),
        ipv4("ipv4/conf/default/accept_redirects", 0, Without::Netlink(4)),
        ipv4("ipv4/conf/all/send_redirects", 0, Without::Ignore),
        ipv4("ipv4/conf/default/send_redirects", 0, Without::Netlink(6)),
        ipv4("ipv4/conf/all/force_igmp_version", 0, Without::Refuse),
        ipv6("ipv6/conf/all/disable_ipv6", 0),
        // Duplicate address detection would keep every address unusable for up to 2 s.
        ipv6("ipv6/conf/default/accept_dad", 0),
        ipv6("ipv6/conf/default/dad_transmits", 0),
        ipv6("ipv6/conf/default/accept_ra", 0),
        ipv6("ipv6/conf/default/router_solicitations", 0),
        ipv6("ipv6/conf/default/ignore_routes_with_linkdown", 1),
    ]
}

fn of(plan: &Plan, node: &Node) -> Vec<Setting> {
    let milliseconds = |span: Duration| u32::try_from(plan.scaled(span).as_millis().max(1)).unwrap_or(u32::MAX);
    let mut settings = Vec::new();
    match &node.kind {
        NodeKind::Router(_) => {
            // First: it resets others to what RFC 1812 wants.
            settings.push(ipv4("ipv4/ip_forward", 1, Without::Netlink(1)));
            settings.push(ipv6("ipv6/conf/all/forwarding", 1));
            settings.extend(common());
        }
        NodeKind::Host(host) => {
            settings.push(ipv4("ipv4/ip_forward", 0, Without::Netlink(1)));
            settings.extend(common());
            if let Some(version) = host.igmp_version {
                settings.retain(|s| s.file != "ipv4/conf/all/force_igmp_version");
                settings.push(ipv4("ipv4/conf/all/force_igmp_version", version.into(), Without::Netlink(17)));
            }
            let [old, new] = [UNSOLICITED_OLD, UNSOLICITED_NEW].map(milliseconds);
            settings.extend([
                ipv4("ipv4/conf/default/igmpv2_unsolicited_report_interval", old, Without::Netlink(27)),
                ipv4("ipv4/conf/default/igmpv3_unsolicited_report_interval", new, Without::Netlink(28)),
                ipv6("ipv6/conf/default/mldv1_unsolicited_report_interval", old),
                ipv6("ipv6/conf/default/mldv2_unsolicited_report_interval", new),
            ]);
        }
    }
    settings
}

/// A LAN's bridge is no IP node.
fn of_lan() -> Vec<Setting> {
    vec![ipv6("ipv6/conf/all/disable_ipv6", 1), ipv6("ipv6/conf/default/disable_ipv6", 1)]
}

/// Why a setting could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot set /proc/sys/net/{file} to {value} for {owner}: {error}")]
pub struct SettingError {
    file: &'static str,
    value: u32,
    owner: String,
    error: io::Error,
}

/// Applies settings, and knows what a new namespace has anyway.
#[derive(Debug, Default)]
pub struct Settings {
    /// Values as a new namespace has them.
    initial: BTreeMap<&'static str, u32>,
    /// /proc/sys cannot be written: what can be is set interface by interface.
    read_only: bool,
}

impl Settings {
    /// Finds out what new namespaces have; the calling thread must be in one, of which nothing was changed.
    pub fn of_new_namespace(plan: &Plan) -> Settings {
        let mut initial = BTreeMap::new();
        for setting in plan.nodes.iter().flat_map(|node| of(plan, node)).chain(of_lan()) {
            if let Entry::Vacant(entry) = initial.entry(setting.file)
                && let Some(value) = read(&Path::new(ROOT).join(setting.file))
            {
                entry.insert(value);
            }
        }
        Settings { initial, read_only: false }
    }

    /// Makes the settings of a node in the calling thread's namespace, which must be new.
    ///
    /// # Errors
    /// [`SettingError`] for the first that cannot be made and matters.
    pub fn apply_node(&mut self, plan: &Plan, node: &Node) -> Result<(), SettingError> {
        self.apply(&of(plan, node), &node.name)
    }

    /// Makes the settings of a LAN's bridge, likewise.
    ///
    /// # Errors
    /// [`SettingError`] for the first that cannot be made and matters.
    pub fn apply_lan(&mut self, name: &str) -> Result<(), SettingError> {
        self.apply(&of_lan(), name)
    }

    fn apply(&mut self, settings: &[Setting], owner: &str) -> Result<(), SettingError> {
        for setting in settings {
            if self.initial.get(setting.file) == Some(&setting.value) {
                continue;
            }
            match fs::write(Path::new(ROOT).join(setting.file), setting.value.to_string()) {
                Ok(()) => {}
                Err(error) if setting.ipv6 && error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if setting.without != Without::Refuse && is_read_only(&error) => self.read_only = true,
                Err(error) => {
                    return Err(SettingError { file: setting.file, value: setting.value, owner: owner.into(), error });
                }
            }
        }
        Ok(())
    }

    /// Adds to the message that brings an interface of a node up what could not be set by file.
    pub fn complete(&self, plan: &Plan, node: &Node, message: &mut LinkMessage) {
        if !self.read_only {
            return;
        }
        let mut octets = Vec::new();
        nest(&mut octets, libc::AF_INET as u16, |octets| {
            nest(octets, IFLA_INET_CONF, |octets| {
                for setting in of(plan, node) {
                    if let Without::Netlink(number) = setting.without {
                        attribute(octets, number, &setting.value.to_ne_bytes());
                    }
                }
            });
        });
        message
            .attributes
            .push(LinkAttribute::Other(netlink_packet_core::DefaultNla::new(IFLA_AF_SPEC | 0x8000, octets)));
    }
}

fn read(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn is_read_only(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EROFS | libc::EACCES | libc::EPERM))
}
