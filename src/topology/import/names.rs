//! Labels to names: legal host names, unique, short enough that a link's name, made of two, can be a wire's.

use std::collections::{HashMap, HashSet};

/// Octets of a router's name.
const LONGEST: usize = 28;

/// Names that were given.
#[derive(Debug, Default)]
pub(super) struct Names {
    taken: HashSet<String>,
    /// The last number that was put to a name.
    numbers: HashMap<String, usize>,
}

/// A label as a host name, as far as it goes: empty if there is nothing in it.
pub(super) fn legal(label: &str) -> String {
    let mut name = String::new();
    for c in deunicode::deunicode(label).chars().take(4 * LONGEST) {
        if c.is_ascii_alphanumeric() {
            name.push(c.to_ascii_lowercase());
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    // A name that begins with a letter is never taken for a number.
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, 'n');
    }
    cut(&name, LONGEST).to_owned()
}

fn cut(name: &str, length: usize) -> &str {
    name.get(..length).unwrap_or(name).trim_end_matches('-')
}

impl Names {
    /// The name itself, or with the next free number: `stone-mt`, `stone-mt-2`.
    pub fn take(&mut self, name: &str) -> String {
        if self.taken.insert(name.to_owned()) {
            return name.to_owned();
        }
        loop {
            let number = self.numbers.entry(name.to_owned()).or_insert(1);
            *number += 1;
            let number = format!("-{number}");
            let numbered = format!("{}{number}", cut(name, LONGEST.saturating_sub(number.len()).max(1)));
            if self.taken.insert(numbered.clone()) {
                return numbered;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_become_host_names() {
        for (label, name) in [
            ("Cocoa Beach", "cocoa-beach"),
            ("Köln/Düsseldorf", "koln-dusseldorf"),
            ("Ελλάδα", "ellada"),
            ("Stone Mt?", "stone-mt"),
            ("?", ""),
            (" -- ", ""),
            ("1st", "n1st"),
            ("10.0.0.1", "n10-0-0-1"),
            ("null", "null"),
        ] {
            assert_eq!(legal(label), name, "{label}");
        }
        assert_eq!(legal(&"ab ".repeat(1000)), "ab-ab-ab-ab-ab-ab-ab-ab-ab-a");
        assert_eq!(legal(&format!("{}-b", "a".repeat(LONGEST - 1))), "a".repeat(LONGEST - 1));
        assert!(legal(&"北".repeat(1000)).len() <= LONGEST);
    }

    #[test]
    fn names_are_given_once() {
        let mut names = Names::default();
        let long = "a".repeat(LONGEST);
        let given: Vec<String> = ["x", "x-2", "x", "x", &long, &long].map(|name| names.take(name)).into();
        assert_eq!(given, ["x", "x-2", "x-3", "x-4", &long, &format!("{}-2", "a".repeat(LONGEST - 2))]);
    }

    #[test]
    fn many_nodes_of_one_label_cost_no_search() {
        let mut names = Names::default();
        let last = (0..50_000).map(|_| names.take("pop")).last();
        assert_eq!(last.as_deref(), Some("pop-50000"));
    }
}
