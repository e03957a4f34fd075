//! How `send` and `receive` print what they measured.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::Serialize;
use tabled::builder::Builder;
use tabled::settings::Style;

use super::Failure;

/// A span with three digits or so and a unit that fits.
pub fn span(span: Duration) -> String {
    let nanoseconds = span.as_nanos() as f64;
    let (value, unit) = match nanoseconds {
        n if n < 1e3 => return format!("{n} ns"),
        n if n < 1e6 => (n / 1e3, "µs"),
        n if n < 1e9 => (n / 1e6, "ms"),
        n => (n / 1e9, "s"),
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {unit}")
}

/// `239.1.1.1:5001`, `[ff3e::1]:5001`.
pub fn address_and_port(address: IpAddr, port: u16) -> String {
    SocketAddr::new(address, port).to_string()
}

/// Prints a value as one line of JSON.
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let line = serde_json::to_string(value).map_err(|error| Failure::machine(format!("cannot write JSON: {error}")))?;
    print(&format!("{line}\n"))
}

/// Prints a table.
pub fn print_rows(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Result<(), Failure> {
    let mut builder = Builder::default();
    builder.push_record(header.iter().copied());
    rows.for_each(|row| builder.push_record(row));
    print(&format!("{}\n", builder.build().with(Style::sharp())))
}

/// Says on standard error why the figures may be wrong.
pub fn print_doubts(doubts: &[String]) {
    for doubt in doubts {
        eprintln!("testbed: in doubt: {doubt}");
    }
}

/// Writes to standard output; a reader that went away is no fault.
fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::machine(format!("cannot write the figures: {error}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_a_unit_that_fits() {
        let of = |nanoseconds| span(Duration::from_nanos(nanoseconds));
        assert_eq!(of(0), "0 ns");
        assert_eq!(of(999), "999 ns");
        assert_eq!(of(1_234), "1.23 µs");
        assert_eq!(of(45_678), "45.7 µs");
        assert_eq!(of(456_789), "457 µs");
        assert_eq!(of(1_500_000), "1.50 ms");
        assert_eq!(of(61_000_000_000), "61.0 s");
    }
}
