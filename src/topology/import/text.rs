//! Texts of graph files: what octets mean, entities, and labels that are fit to be shown.

use std::borrow::Cow;

/// Names of the entities `&nbsp;` to `&yuml;`, for U+00A0 to U+00FF (ISO 8859-1, as GML has them).
const LATIN1: [&str; 96] = [
    "nbsp", "iexcl", "cent", "pound", "curren", "yen", "brvbar", "sect", "uml", "copy", "ordf", "laquo", "not", "shy",
    "reg", "macr", "deg", "plusmn", "sup2", "sup3", "acute", "micro", "para", "middot", "cedil", "sup1", "ordm",
    "raquo", "frac14", "frac12", "frac34", "iquest", "Agrave", "Aacute", "Acirc", "Atilde", "Auml", "Aring", "AElig",
    "Ccedil", "Egrave", "Eacute", "Ecirc", "Euml", "Igrave", "Iacute", "Icirc", "Iuml", "ETH", "Ntilde", "Ograve",
    "Oacute", "Ocirc", "Otilde", "Ouml", "times", "Oslash", "Ugrave", "Uacute", "Ucirc", "Uuml", "Yacute", "THORN",
    "szlig", "agrave", "aacute", "acirc", "atilde", "auml", "aring", "aelig", "ccedil", "egrave", "eacute", "ecirc",
    "euml", "igrave", "iacute", "icirc", "iuml", "eth", "ntilde", "ograve", "oacute", "ocirc", "otilde", "ouml",
    "divide", "oslash", "ugrave", "uacute", "ucirc", "uuml", "yacute", "thorn", "yuml",
];

/// The longest entity: `&#1114111;`.
const ENTITY_LIMIT: usize = 10;

/// Characters of a label that are shown.
const SHOWN: usize = 60;

/// A file's text without a byte order mark, and whether it was no UTF-8, so that each octet counts as a character.
pub(super) fn decode(octets: &[u8]) -> (Cow<'_, str>, bool) {
    match std::str::from_utf8(octets) {
        Ok(text) => (Cow::Borrowed(text.strip_prefix('\u{feff}').unwrap_or(text)), false),
        Err(_) => (Cow::Owned(octets.iter().map(|octet| char::from(*octet)).collect()), true),
    }
}

/// What an entity's name stands for: `auml`, `#228`, `#xe4`.
pub(super) fn entity(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => number.parse(),
        };
        return code.ok().and_then(char::from_u32);
    }
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let place = LATIN1.iter().position(|known| *known == name)?;
            char::from_u32(0xa0 + u32::try_from(place).ok()?)
        }
    }
}

/// A text with its entities put in; what looks like one and is none stays.
pub(super) fn with_entities(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out += before;
        let end = after.bytes().take(ENTITY_LIMIT).position(|octet| octet == b';');
        match end.and_then(|end| Some((entity(after.get(..end)?)?, after.get(end + 1..)?))) {
            Some((meant, left)) => {
                out.push(meant);
                rest = left;
            }
            None => {
                out.push('&');
                rest = after;
            }
        }
    }
    Cow::Owned(out + rest)
}

/// A text on one line, of characters that may stand in a comment.
pub(super) fn shown(text: &str) -> String {
    let fits = |c: char| {
        let special = matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
        if c.is_control() || special { ' ' } else { c }
    };
    // A label's own spaces may be many; what counts is what is left of them.
    let mut out = String::new();
    for word in text.split(|c| fits(c).is_whitespace()).filter(|word| !word.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        out += word;
        if out.len() > 4 * SHOWN {
            break;
        }
    }
    if out.chars().count() > SHOWN {
        return out.chars().take(SHOWN - 3).chain("...".chars()).collect();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_mean_what_iso_8859_1_says() {
        assert_eq!(with_entities("Z&uuml;rich &amp; K&#246;ln &#x2014; &yuml;&nbsp;"), "Zürich & Köln — ÿ\u{a0}");
        for strange in ["&", "&;", "AT&T", "&bogus;", "&#;", "&#x110000;", "&#55296;", "& uuml;", "&ü;", "&aaaaaaaaaü;"]
        {
            assert_eq!(with_entities(strange), strange);
        }
        assert_eq!((entity("szlig"), entity("times"), entity("nbsp")), (Some('ß'), Some('×'), Some('\u{a0}')));
    }

    #[test]
    fn octets_that_are_no_utf_8_are_latin_1() {
        assert_eq!(decode("Köln".as_bytes()), (Cow::Borrowed("Köln"), false));
        assert_eq!(decode(b"K\xf6ln").0, "Köln");
        assert_eq!(decode("\u{feff}graph".as_bytes()).0, "graph");
    }

    #[test]
    fn what_is_shown_is_one_short_line() {
        assert_eq!(shown(" a\r\n\tb\u{2028}c\u{7} "), "a b c");
        assert_eq!(shown(&"x".repeat(1000)).len(), SHOWN);
        assert_eq!(shown(&"é ".repeat(100_000)).chars().count(), SHOWN);
    }
}
