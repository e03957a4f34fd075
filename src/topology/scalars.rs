//! Values of the language that are more than a word: spans of time, rates, shares, ranges of numbers, addresses.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::fault::FaultKind;
use super::read::{Cx, Read};
use super::tree::{Node, Value};

/// The longest span of time that a file may name.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// A scalar's text, if the node is one.
fn scalar<'a>(node: &'a Node, expected: &str, cx: &mut Cx) -> Option<&'a str> {
    match &node.value {
        Value::Scalar { text, .. } if !node.is_null() => Some(text.trim()),
        _ => {
            cx.wrong_type(node, expected);
            None
        }
    }
}

/// A whole number in a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Int<const MIN: i64, const MAX: i64>(i64);

impl<const MIN: i64, const MAX: i64> Int<MIN, MAX> {
    /// The number, in a type that holds the range.
    pub fn get<T: TryFrom<i64> + Default>(self) -> T {
        // A range that does not fit T would be a slip in the model; the least harmful answer is T's default.
        debug_assert!(T::try_from(self.0).is_ok());
        T::try_from(self.0).unwrap_or_default()
    }
}

impl<const MIN: i64, const MAX: i64> Read for Int<MIN, MAX> {
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        let number = match &node.value {
            Value::Scalar { text, plain: true } => text.parse::<i128>().ok(),
            _ => None,
        };
        let Some(number) = number else {
            cx.wrong_type(node, "a whole number");
            return None;
        };
        match i64::try_from(number) {
            Ok(number) if (MIN..=MAX).contains(&number) => Some(Int(number)),
            _ => {
                let kind = out_of_range(&cx.key(), &number.to_string(), &format!("{MIN} to {MAX}"));
                cx.push(&node.head, kind);
                None
            }
        }
    }
}

impl<const MIN: i64, const MAX: i64> JsonSchema for Int<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Int{MIN}To{MAX}").into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "minimum": MIN, "maximum": MAX})
    }
}

/// The fault of a value outside its range.
pub(super) fn out_of_range(what: &str, value: &str, range: &str) -> FaultKind {
    FaultKind::OutOfRange { what: what.into(), value: value.into(), range: range.into() }
}

/// A span of time: `10s`, `250ms`, or a bare number of seconds; at most a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Time(pub Duration);

impl Read for Time {
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        const EXPECTED: &str = "a span of time such as `10s` or `250ms`";
        let text = scalar(node, EXPECTED, cx)?;
        let Ok(span) = text.parse::<router_core::time::Span>() else {
            cx.wrong_type(node, EXPECTED);
            return None;
        };
        if span.0 > LONGEST {
            cx.push(&node.head, out_of_range("a span of time", text, "0 to 24h"));
            return None;
        }
        Some(Time(span.0))
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A span of time: 10s, 250ms, 1m 30s, or a bare number of seconds; at most 24h.",
            "type": ["string", "number"]
        })
    }
}

/// A number, and what follows it.
fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number = text.get(..end)?.parse::<f64>().ok()?;
    Some((number, text.get(end..)?.trim()))
}

/// Bits a second: `100mbit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BitRate(pub u64);

impl Read for BitRate {
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        const EXPECTED: &str = "a rate such as `100mbit` (`bit`, `kbit`, `mbit`, `gbit`)";
        let text = scalar(node, EXPECTED, cx)?;
        let scale = number_and_unit(text).and_then(|(number, unit)| {
            let scale = match unit.to_ascii_lowercase().as_str() {
                "bit" | "bps" => 1.0,
                "kbit" | "kbps" => 1e3,
                "mbit" | "mbps" => 1e6,
                "gbit" | "gbps" => 1e9,
                _ => return None,
            };
            Some(number * scale)
        });
        let Some(bits) = scale else {
            cx.wrong_type(node, EXPECTED);
            return None;
        };
        if !(1e3..=1e12).contains(&bits) {
            cx.push(&node.head, out_of_range("a link's rate", text, "1kbit to 1000gbit"));
            return None;
        }
        // In range, so the cast keeps the number.
        Some(BitRate(bits.round() as u64))
    }
}

impl JsonSchema for BitRate {
    fn schema_name() -> Cow<'static, str> {
        "BitRate".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Bits a second: 64kbit, 100mbit, 2.5gbit.",
            "type": "string",
            "pattern": "^[0-9.]+ *([kmgKMG]?(bit|bps|Bit))$"
        })
    }
}

/// Packets a second: `1000pps`, `10kpps`, or a bare number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct PacketRate(pub f64);

impl Read for PacketRate {
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        const EXPECTED: &str = "a packet rate such as `1000pps`";
        let text = scalar(node, EXPECTED, cx)?;
        let rate = number_and_unit(text).and_then(|(number, unit)| match unit {
            "" | "pps" => Some(number),
            "kpps" => Some(number * 1e3),
            _ => None,
        });
        let Some(rate) = rate else {
            cx.wrong_type(node, EXPECTED);
            return None;
        };
        if !(0.1..=1e6).contains(&rate) {
            cx.push(&node.head, out_of_range("a stream's rate", text, "0.1pps to 1000kpps"));
            return None;
        }
        Some(PacketRate(rate))
    }
}

impl JsonSchema for PacketRate {
    fn schema_name() -> Cow<'static, str> {
        "PacketRate".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Packets a second, 0.1 to 1,000,000: 1000pps, 10kpps, or a bare number.",
            "anyOf": [
                {"type": "string", "pattern": "^[0-9.]+ *k?pps$"},
                {"type": "number", "minimum": 0.1, "maximum": 1_000_000}
            ]
        })
    }
}

/// A share: `0.1%`, or 0.001.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Share(pub f64);

impl Read for Share {
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        const EXPECTED: &str = "a share such as `0.1%`";
        let text = scalar(node, EXPECTED, cx)?;
        let share = number_and_unit(text).and_then(|(number, unit)| match unit {
            "" => Some(number),
            "%" => Some(number / 100.0),
            _ => None,
        });
        let Some(share) = share else {
            cx.wrong_type(node, EXPECTED);
            return None;
        };
        if !(0.0..=1.0).contains(&share) {
            cx.push(&node.head, out_of_range("a share", text, "0% to 100% (0 to 1)"));
            return None;
        }
        Some(Share(share))
    }
}

impl JsonSchema for Share {
    fn schema_name() -> Cow<'static, str> {
        "Share".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A share: 0.1%, or a number from 0 to 1.",
            "anyOf": [
                {"type": "string", "pattern": "^[0-9.]+ *%?$"},
                {"type": "number", "minimum": 0, "maximum": 1}
            ]
        })
    }
}

/// What protocol timers may be scaled by.
pub const TIMERS: std::ops::RangeInclusive<f64> = 0.01..=10.0;

/// A scale factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale(pub f64);

impl Read for Scale {
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        const EXPECTED: &str = "a number such as `0.1`";
        let text = scalar(node, EXPECTED, cx)?;
        let Some((scale, "")) = number_and_unit(text) else {
            cx.wrong_type(node, EXPECTED);
            return None;
        };
        if !TIMERS.contains(&scale) {
            cx.push(&node.head, out_of_range("the scale of timers", text, "0.01 to 10"));
            return None;
        }
        Some(Scale(scale))
    }
}

impl JsonSchema for Scale {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Scale".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "number", "minimum": 0.01, "maximum": 10})
    }
}

macro_rules! parsed {
    ($(#[$meta:meta])* $name:ident($inner:ty), $expected:literal, $schema:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) struct $name(pub $inner);

        impl Read for $name {
            fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
                let text = scalar(node, $expected, cx)?;
                match Self::parse(text) {
                    Some(value) => Some($name(value)),
                    None => {
                        cx.wrong_type(node, $expected);
                        None
                    }
                }
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"description": $schema, "type": "string"})
            }
        }
    };
}

parsed!(
    /// An IP address.
    Address(IpAddr),
    "an IP address",
    "An IPv4 or IPv6 address."
);
parsed!(
    /// An address with its prefix length.
    InterfaceAddress(IpNet),
    "an address with its prefix length, such as `10.1.0.1/24`",
    "An address with its prefix length: 10.1.0.1/24."
);
parsed!(
    /// A prefix, or a single address.
    Prefix(IpNet),
    "a prefix such as `239.255.0.0/16`",
    "A prefix: 239.255.0.0/16; an address alone stands for itself."
);

impl Address {
    fn parse(text: &str) -> Option<IpAddr> {
        text.parse().ok()
    }
}

impl InterfaceAddress {
    fn parse(text: &str) -> Option<IpNet> {
        text.parse().ok()
    }
}

impl Prefix {
    fn parse(text: &str) -> Option<IpNet> {
        text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from)).map(|net| net.trunc())
    }
}
