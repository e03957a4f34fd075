//! What can be wrong with a file. All faults of a file are found in one run.

use std::net::IpAddr;

use ipnet::IpNet;

use super::tree::Span;

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub kind: FaultKind,
    /// Where, in octets of the text; empty at 0 for a fault of the file as a whole.
    pub span: Span,
    /// The nearest word that would have been right.
    pub nearest: Option<String>,
    /// Another place that matters, and why (`first here`).
    pub related: Option<(Span, String)>,
}

/// Kinds of faults; each carries the offending value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultKind {
    // The file as a whole.
    /// The file can't be read.
    #[error("can't read the file: {why}")]
    Unreadable {
        /// The operating system's reason.
        why: String,
    },
    /// The file is larger than any topology.
    #[error("the file is larger than {} MiB, the most that is read", limit / (1024 * 1024))]
    TooLarge {
        /// The limit in octets.
        limit: u64,
    },
    /// The file is no UTF-8.
    #[error("the file is not UTF-8: octet {offset} (counted from 0) can't be read")]
    NotUtf8 {
        /// Offset of the first octet that is wrong.
        offset: usize,
    },
    /// There is nothing in the file.
    #[error("the file is empty")]
    Empty,
    /// The text is no YAML.
    #[error("this is not YAML: {message}")]
    Syntax {
        /// What the parser says.
        message: String,
    },
    /// A second document begins.
    #[error("a second document begins here; a file holds one")]
    SecondDocument,
    /// A tag.
    #[error("the tag `{tag}` means nothing here")]
    Tag {
        /// The tag.
        tag: String,
    },
    /// A key that is a list or a mapping.
    #[error("a key must be a word")]
    KeyIsNoWord,
    /// An alias inside the node that it names.
    #[error("this alias stands inside what it names")]
    AliasOfItself,
    /// Nested too deeply.
    #[error("nested more than {limit} levels deep")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// Too much, aliases followed.
    #[error("the file unfolds to more than {limit} values here, aliases followed")]
    TooManyNodes {
        /// The limit.
        limit: usize,
    },

    // Keys and values.
    /// A key that stands there twice.
    #[error("the key `{key}` stands twice in {of}")]
    DuplicateKey {
        /// The key.
        key: String,
        /// In what.
        of: &'static str,
    },
    /// A name that is given twice.
    #[error("two {what}s are named `{name}`")]
    DuplicateName {
        /// Of what.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A key that the language does not know.
    #[error("unknown key `{key}` in {of}")]
    UnknownKey {
        /// The key.
        key: String,
        /// In what.
        of: &'static str,
        /// What may stand there.
        known: Vec<String>,
    },
    /// A key that must be there.
    #[error("{of} needs the key `{key}`")]
    MissingKey {
        /// The key.
        key: String,
        /// In what.
        of: &'static str,
    },
    /// None of the keys of which one must be there.
    #[error("{of} needs one of the keys {}", list(known))]
    NoneOfKeys {
        /// In what.
        of: &'static str,
        /// The keys.
        known: Vec<String>,
    },
    /// Two keys that exclude each other.
    #[error("{of} can't have both `{first}` and `{second}`")]
    KeysExclude {
        /// In what.
        of: &'static str,
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// A key that makes no sense with another one's value.
    #[error("the key `{key}` is {only}")]
    KeyNotHere {
        /// The key.
        key: String,
        /// Where it would be right (`for routers only`).
        only: &'static str,
    },
    /// A value of another shape.
    #[error("expected {expected}, found {found}")]
    WrongType {
        /// What is expected.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A word that is not one of those that are possible.
    #[error("`{word}` is not {of}")]
    UnknownWord {
        /// The word.
        word: String,
        /// What it should be.
        of: &'static str,
        /// The words.
        known: Vec<String>,
    },
    /// A number or span outside its range.
    #[error("{value} is out of range: {what} is {range}")]
    OutOfRange {
        /// What it is.
        what: String,
        /// The value.
        value: String,
        /// The range (`1 to 255`).
        range: String,
    },
    /// Something that a later version will have.
    #[error("`{word}` is not supported by this version")]
    Unsupported {
        /// The word.
        word: String,
        /// What is there instead.
        instead: &'static str,
    },

    // Names.
    /// A name that can't be a host name.
    #[error("`{name}` is no host name")]
    NotAHostName {
        /// The name.
        name: String,
    },
    /// A name that can't be a wire's.
    #[error("`{name}` can't be the name of a wire")]
    NotAWireName {
        /// The name.
        name: String,
    },
    /// A name that can't be an interface's.
    #[error("`{name}` can't be the name of an interface: {why}")]
    NotAnInterfaceName {
        /// The name.
        name: String,
        /// Why not.
        why: &'static str,
    },
    /// A reference to nothing.
    #[error("there is no {what} named `{name}`")]
    Unknown {
        /// Of what.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A reference that can mean several things.
    #[error("`{name}` can mean {}", list(candidates))]
    Ambiguous {
        /// The name.
        name: String,
        /// What it can mean.
        candidates: Vec<String>,
    },
    /// A generated node that the file names as one of another kind.
    #[error("`{name}` is generated as a {is}")]
    GeneratedAs {
        /// The node.
        name: String,
        /// What it is.
        is: &'static str,
    },
    /// A node of the wrong kind.
    #[error("`{name}` is a {is}; {wanted} is needed here")]
    WrongKind {
        /// The node.
        name: String,
        /// What it is.
        is: &'static str,
        /// What is needed (`a host`).
        wanted: &'static str,
    },

    // The network.
    /// A link with both ends at one node.
    #[error("`{node}` is linked to itself")]
    LinkedToItself {
        /// The node.
        node: String,
    },
    /// A node twice on a LAN.
    #[error("`{node}` stands twice on the LAN `{lan}`")]
    TwiceOnLan {
        /// The node.
        node: String,
        /// The LAN.
        lan: String,
    },
    /// A LAN without nodes, or a link without two ends.
    #[error("{what} needs {needed}, and has {count}")]
    WrongCount {
        /// What.
        what: &'static str,
        /// How many it needs (`exactly two ends`).
        needed: &'static str,
        /// How many it has.
        count: usize,
    },
    /// A node that is not on a wire.
    #[error("`{node}` is not attached to `{wire}`")]
    NotAttached {
        /// The node.
        node: String,
        /// The wire.
        wire: String,
    },
    /// A node that shares no wire with another.
    #[error("`{node}` and `{other}` share no wire")]
    NotNeighbours {
        /// The node.
        node: String,
        /// The other.
        other: String,
    },
    /// A node without any interface.
    #[error("`{node}` is attached to nothing")]
    Unattached {
        /// The node.
        node: String,
    },
    /// More multicast interfaces than a kernel table has.
    #[error("`{node}` has {count} multicast interfaces; the kernel's table has room for {limit}")]
    TooManyInterfaces {
        /// The router.
        node: String,
        /// How many it has.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// More than the addresses of a wire's prefix, or than this version builds.
    #[error("there are {count} {what}; {limit} is the most")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Two interfaces with one address.
    #[error("the address {address} is taken by {holder}")]
    DuplicateAddress {
        /// The address.
        address: IpAddr,
        /// Who has it (`r1.eth0`).
        holder: String,
    },
    /// Two wires with prefixes that overlap.
    #[error("{prefix} of `{wire}` overlaps {other_prefix} of `{other}`")]
    Overlap {
        /// The prefix.
        prefix: IpNet,
        /// Its wire.
        wire: String,
        /// The other prefix.
        other_prefix: IpNet,
        /// Its wire.
        other: String,
    },
    /// Two prefixes of a family on a wire.
    #[error("{address} lies outside {subnet}, the prefix of `{wire}`")]
    OutsideSubnet {
        /// The address.
        address: IpNet,
        /// The prefix.
        subnet: IpNet,
        /// The wire.
        wire: String,
    },
    /// An address that no interface can have.
    #[error("{address} can't be an interface's address: it is {why}")]
    NotAnInterfaceAddress {
        /// The address.
        address: IpNet,
        /// Why not (`a multicast address`).
        why: &'static str,
    },
    /// No address is left in a prefix.
    #[error("the prefix {subnet} of `{wire}` has no address left for `{node}`")]
    SubnetFull {
        /// The prefix.
        subnet: IpNet,
        /// The wire.
        wire: String,
        /// The node without one.
        node: String,
    },
    /// A host with several routers on its wires.
    #[error("`{host}` sees {} routers, {}: which one is its gateway?", routers.len(), list(routers))]
    NoGateway {
        /// The host.
        host: String,
        /// The routers.
        routers: Vec<String>,
    },
    /// A gateway that a host can't reach.
    #[error("`{gateway}` is on no wire of `{host}`")]
    FarGateway {
        /// The host.
        host: String,
        /// The gateway.
        gateway: String,
    },
    /// A threshold on a wire that carries IPv6 alone.
    #[error("a TTL threshold on IPv6: the kernel's IPv6 forwarding entries carry no TTLs")]
    ThresholdOnIpv6,

    // Groups and scenarios.
    /// An address that is no group.
    #[error("{address} is no multicast group")]
    NotAGroup {
        /// The address or prefix.
        address: String,
    },
    /// A group that routers never forward.
    #[error("{address} lies in 224.0.0.0/24: such groups never leave a wire")]
    LinkLocalGroup {
        /// The group.
        address: IpAddr,
    },
    /// An IPv6 group.
    #[error("{address} is an IPv6 group: multicast over IPv6 is not supported by this version")]
    Ipv6Group {
        /// The group.
        address: String,
    },
    /// A stream that no step before has started.
    #[error("the stream `{name}` starts only later, on line {line}")]
    StreamLater {
        /// The stream.
        name: String,
        /// Where it starts.
        line: usize,
    },
    /// `to`, `at` or `hosts` left out where nobody has joined.
    #[error("no host has joined {group} here, so `{key}` can't be left out")]
    NobodyJoined {
        /// The group.
        group: IpAddr,
        /// The key.
        key: &'static str,
    },
    /// A host that has not joined.
    #[error("`{host}` has not joined {group} here")]
    NotJoined {
        /// The host.
        host: String,
        /// The group.
        group: IpAddr,
    },
    /// Groups that another step of the scenario takes together with others.
    #[error("another step takes {first} to {last} together: all steps that mean one of them must mean all of them")]
    GroupsOverlap {
        /// The first of them.
        first: IpAddr,
        /// The last of them.
        last: IpAddr,
    },
    /// Groups that are to be taken together, but that the network does not treat alike.
    #[error("{first} to {last} are not alike to this network: the file treats {prefix} apart")]
    GroupsParted {
        /// The first of them.
        first: IpAddr,
        /// The last of them.
        last: IpAddr,
        /// What some interface, route or setting names.
        prefix: IpNet,
    },
    /// `$each` in a step that is not repeated.
    #[error("`$each` stands for the item of a `for-each`, and there is none around it")]
    EachOutside,
    /// A step in which other steps stand, in another one.
    #[error("`{step}` can't stand in `{around}`")]
    NestedStep {
        /// The inner one.
        step: &'static str,
        /// The outer one.
        around: &'static str,
    },
    /// `random` with hosts that come and go where no host has joined.
    #[error("no host has joined {group} here: one is needed, for at least one always remains")]
    NoMemberToRemain {
        /// The group.
        group: IpAddr,
    },
    /// A wire that `random` is to fail, with a host on it.
    #[error("`{wire}` can't fail at random: {why}")]
    NeverFails {
        /// The wire.
        wire: String,
        /// Why not.
        why: &'static str,
    },
    /// A kind of disturbance of `random` for which there is nothing to choose from.
    #[error("nothing can be drawn here: {why}")]
    NothingToDraw {
        /// Why not.
        why: &'static str,
    },
    /// A payload that does not fit the network.
    #[error("{size} octets of payload are more than {limit}, what fits a packet on `{wire}` (its MTU less 28)")]
    TooLargeForMtu {
        /// Payload in octets.
        size: usize,
        /// The most that fits.
        limit: usize,
        /// The wire with the smallest MTU.
        wire: String,
    },
}

impl Fault {
    /// A fault at a place.
    pub fn new(span: Span, kind: FaultKind) -> Fault {
        Fault { kind, span, nearest: None, related: None }
    }

    /// Adds the nearest right word.
    #[must_use]
    pub fn nearest(mut self, nearest: Option<String>) -> Fault {
        self.nearest = nearest;
        self
    }

    /// Adds another place that matters.
    #[must_use]
    pub fn related(mut self, span: Span, why: impl Into<String>) -> Fault {
        self.related = Some((span, why.into()));
        self
    }

    /// Whether it is about the file as a whole, so that no line can be shown.
    pub fn is_of_file(&self) -> bool {
        matches!(
            self.kind,
            FaultKind::Unreadable { .. } | FaultKind::TooLarge { .. } | FaultKind::NotUtf8 { .. } | FaultKind::Empty
        )
    }

    /// What would be right.
    pub fn help(&self) -> Option<String> {
        if let Some(nearest) = &self.nearest {
            return Some(format!("did you mean `{nearest}`?"));
        }
        self.kind.help()
    }
}

impl FaultKind {
    fn help(&self) -> Option<String> {
        let text = match self {
            FaultKind::UnknownKey { key, .. } if key == "<<" => {
                "merge keys are not part of YAML 1.2; say it once under `defaults`".into()
            }
            FaultKind::UnknownKey { known, .. } | FaultKind::UnknownWord { known, .. } => {
                if known.is_empty() {
                    return None;
                }
                format!("one of {}", list(known))
            }
            FaultKind::Empty => "a file needs at least `name`, and `nodes` or `generate`".into(),
            FaultKind::GeneratedAs { .. } => "give it settings here, or take another name for another node".into(),
            FaultKind::Unsupported { instead, .. } => (*instead).into(),
            FaultKind::NotAHostName { .. } => {
                "letters, digits and hyphens, at most 63, a letter or digit first and last".into()
            }
            FaultKind::NotAWireName { .. } => {
                "letters, digits, hyphens and underscores, at most 63, a letter or digit first".into()
            }
            FaultKind::TooManyInterfaces { .. } => "split the router, or set `multicast: none` on it".into(),
            FaultKind::NoGateway { routers, .. } => {
                let example = routers.first().map_or("ROUTER", String::as_str);
                format!("say which, for example `gateway: {example}`, or `gateway: none`")
            }
            FaultKind::ThresholdOnIpv6 => "give the wire an IPv4 prefix too, or take the threshold away".into(),
            FaultKind::NotAGroup { .. } => "a group lies in 224.0.0.0/4, for example 239.1.1.1".into(),
            FaultKind::LinkLocalGroup { .. } => "use another group, for example 239.1.1.1".into(),
            FaultKind::Ipv6Group { .. } => "use an IPv4 group, for example 239.1.1.1".into(),
            FaultKind::Ambiguous { .. } => "name one of them".into(),
            FaultKind::LinkedToItself { .. } => "a link joins two nodes".into(),
            FaultKind::DuplicateName { what: "wire", .. } => "give one of them another `name`".into(),
            FaultKind::Tag { .. } => "take it away".into(),
            FaultKind::EachOutside => "write `for-each: {router: all, steps: [...]}` around the step, or a name".into(),
            FaultKind::NoMemberToRemain { .. } => "let a host `join` before".into(),
            _ => return None,
        };
        Some(text)
    }
}

/// Words as a person lists them: `a, b and c`.
pub(crate) fn list(words: &[String]) -> String {
    const SHOWN: usize = 24;
    let quoted: Vec<String> = words.iter().take(SHOWN).map(|w| format!("`{w}`")).collect();
    match quoted.as_slice() {
        [] => "nothing".into(),
        [one] => one.clone(),
        _ if words.len() > SHOWN => format!("{}, and {} more", quoted.join(", "), words.len() - SHOWN),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// The candidate nearest to a word, if one is near enough to be a slip of the pen.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    if word.len() > 128 {
        return None;
    }
    let lower = word.to_lowercase();
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let distance = strsim::damerau_levenshtein(&lower, &candidate.to_lowercase());
        if best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    let (distance, candidate) = best?;
    let allowed = match word.chars().count().max(candidate.chars().count()) {
        0..=2 => 1,
        3..=5 => 2,
        _ => word.chars().count() / 3 + 1,
    };
    (distance <= allowed && distance < candidate.chars().count()).then(|| candidate.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        assert_eq!(nearest("knd", ["kind", "igmp"]), Some("kind".into()));
        assert_eq!(nearest("swtich", ["switch", "router"]), Some("switch".into()));
        assert_eq!(nearest("R1", ["r1"]), Some("r1".into()));
        assert_eq!(nearest("zebra", ["kind", "igmp"]), None);
        assert_eq!(nearest("x", ["y"]), None);
    }

    #[test]
    fn lists_read_as_people_write_them() {
        assert_eq!(list(&["a".into(), "b".into(), "c".into()]), "`a`, `b` and `c`");
    }
}
