//! From a path or a text to a plan, or to everything that is wrong with it.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::fault::{Fault, FaultKind};
use super::faults::Faults;
use super::plan::Plan;
use super::read::{Cx, Read};
use super::{file, generate, resolve, tree};

/// The largest file that is read, in octets: hundreds of times the largest topology that a machine can hold.
pub const SIZE_LIMIT: u64 = 8 * 1024 * 1024;

/// Loads a file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(path: &Path) -> Result<Plan, Faults> {
    let name = path.display().to_string();
    let of_file = |kind| Faults::new(&name, "", vec![Fault::new(0..0, kind)]);
    let unreadable = |error: std::io::Error| of_file(FaultKind::Unreadable { why: error.to_string() });
    match read_bounded(path).map_err(unreadable)? {
        Some(octets) => parse_octets(&name, octets),
        None => Err(of_file(FaultKind::TooLarge { limit: SIZE_LIMIT })),
    }
}

/// What a file holds; nothing if that is more than [`SIZE_LIMIT`].
pub(super) fn read_bounded(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() && metadata.len() > SIZE_LIMIT {
        return Ok(None);
    }
    // A pipe, or a file that grows, says nothing of its size.
    let mut octets = Vec::new();
    file.take(SIZE_LIMIT + 1).read_to_end(&mut octets)?;
    Ok((octets.len() as u64 <= SIZE_LIMIT).then_some(octets))
}

/// Parses what a file holds.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse_octets(name: &str, octets: Vec<u8>) -> Result<Plan, Faults> {
    let of_file = |kind| Err(Faults::new(name, "", vec![Fault::new(0..0, kind)]));
    if octets.len() as u64 > SIZE_LIMIT {
        return of_file(FaultKind::TooLarge { limit: SIZE_LIMIT });
    }
    match String::from_utf8(octets) {
        Ok(text) => parse(name, &text),
        Err(error) => of_file(FaultKind::NotUtf8 { offset: error.utf8_error().valid_up_to() }),
    }
}

/// Parses a text; `name` stands for the file in messages.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(name: &str, text: &str) -> Result<Plan, Faults> {
    let of_file = |kind| Err(Faults::new(name, "", vec![Fault::new(0..0, kind)]));
    if text.len() as u64 > SIZE_LIMIT {
        return of_file(FaultKind::TooLarge { limit: SIZE_LIMIT });
    }
    let root = match tree::parse(text) {
        Ok(Some(root)) if !root.is_null() => root,
        Ok(_) => return of_file(FaultKind::Empty),
        Err(fault) => return Err(Faults::new(name, text, vec![*fault])),
    };
    let mut cx = Cx::default();
    let file = file::File::read(&root, &mut cx).and_then(|file| generate::expand(file, &mut cx));
    let plan = file.map(|file| resolve::resolve(name, text, &file, &mut cx));
    match plan {
        Some(plan) if cx.is_clean() => Ok(plan),
        _ => Err(Faults::new(name, text, cx.into_faults())),
    }
}
