//! Figures as people read them.

use std::time::Duration;

use crate::scenario::{Figure, Value};

/// A span of time with three digits that count: `13.2ms`, `850µs`, `4.10s`, `2m 05s`.
pub fn span(span: Duration) -> String {
    let ns = span.as_nanos();
    let scaled = |unit: f64, name: &str| {
        let value = ns as f64 / unit;
        let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
        format!("{value:.digits$}{name}")
    };
    match ns {
        0 => "0".to_owned(),
        1..1_000 => format!("{ns}ns"),
        1_000..999_500 => scaled(1e3, "µs"),
        999_500..999_500_000 => scaled(1e6, "ms"),
        999_500_000..120_000_000_000 => scaled(1e9, "s"),
        _ => format!("{}m {:02}s", span.as_secs() / 60, span.as_secs() % 60),
    }
}

/// A number with its thousands apart: `1,316,000`.
pub fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A figure: `lost 0 (h1)`.
pub fn figure(figure: &Figure) -> String {
    let value = match &figure.value {
        Value::Packets(n) | Value::Count(n) => number(*n),
        Value::Span(time) => span(*time),
        Value::Text(text) => text.clone(),
    };
    match &figure.at {
        Some(at) => format!("{} {value} ({at})", figure.name),
        None => format!("{} {value}", figure.name),
    }
}

/// Figures of one name together: `lost 0 (h1), 2 (h2)`.
pub fn figures(all: &[Figure]) -> String {
    let mut texts: Vec<(&str, String)> = Vec::new();
    for one in all {
        let text = figure(one);
        match texts.iter_mut().find(|(name, _)| *name == one.name) {
            Some((name, before)) => {
                before.push_str(", ");
                before.push_str(text.strip_prefix(*name).unwrap_or(&text).trim_start());
            }
            None => texts.push((&one.name, text)),
        }
    }
    texts.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_three_digits() {
        let texts = [0, 40, 1_500, 999_400, 1_000_000, 13_250_000, 850_000_000, 4_100_000_000, 125_000_000_000]
            .map(|n| span(Duration::from_nanos(n)));
        assert_eq!(texts, ["0", "40ns", "1.50µs", "999µs", "1.00ms", "13.2ms", "850ms", "4.10s", "2m 05s"]);
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!([0, 999, 1000, 1_316_000].map(number), ["0", "999", "1,000", "1,316,000"]);
    }

    #[test]
    fn figures_of_one_name_stand_together() {
        let lost = |at: &str, n| Figure::at("lost", at, Value::Packets(n));
        let judged = Figure::new("judged", Value::Packets(2000));
        let slow = Figure::at("p99", "h1", Value::Span(Duration::from_millis(2)));
        assert_eq!(
            figures(&[judged, lost("h1", 0), slow, lost("h2", 3)]),
            "judged 2,000; lost 0 (h1), 3 (h2); p99 2.00ms (h1)"
        );
    }
}
