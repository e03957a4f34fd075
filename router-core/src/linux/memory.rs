//! Lets go of the memory that only the start needed.
//!
//! A hundred routers on a machine share the pages of one program, but each maps what its start ran through: the loader, the
//! configuration's parser, the first dumps. Once the router is at work, its program's pages are unmapped; what the work needs comes back from
//! the page cache by itself, a few dozen faults in all. Resident memory then is the working set.

use std::fs::File;
use std::io::{BufRead, BufReader};

use super::sys;

/// Mappings that are looked at, at most.
const MAPPINGS: usize = 256;

/// A mapping's place in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mapping {
    start: usize,
    end: usize,
}

/// Unmaps the pages of this program and its libraries that hold nothing of this process's own. For a process with one thread: another one
/// could change the mappings meanwhile. Where procfs does not tell which those are,
/// all of them stay. What the configuration's parser took of the heap goes back, too.
pub fn release_start() {
    sys::trim_heap();
    let Ok(file) = File::open("/proc/self/smaps") else { return };
    for mapping in clean_mappings(BufReader::with_capacity(4096, file)) {
        sys::unmap_clean_pages(mapping.start, mapping.end);
    }
}

/// Mappings of files that are not writable and have no page of this process's own.
fn clean_mappings(smaps: impl BufRead) -> Vec<Mapping> {
    let mut clean = Vec::with_capacity(32);
    let mut candidate = None;
    for line in smaps.lines().map_while(Result::ok) {
        if let Some(mapping) = header(&line) {
            candidate = mapping;
        } else if let Some(own) = line.strip_prefix("Anonymous:")
            && let Some(mapping) = candidate.take()
            && own.trim() == "0 kB"
            && clean.len() < MAPPINGS
        {
            clean.push(mapping);
        }
    }
    clean
}

/// The first line of a mapping: the mapping, if it is of a file and not writable. `None` for lines of another kind.
fn header(line: &str) -> Option<Option<Mapping>> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let place = Mapping { start: usize::from_str_radix(start, 16).ok()?, end: usize::from_str_radix(end, 16).ok()? };
    let rights = fields.next()?;
    let inode = fields.nth(2)?;
    Some((!rights.contains('w') && inode != "0" && place.start < place.end).then_some(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
55d0c8a00000-55d0c8a42000 r--p 00000000 fe:01 131 /usr/bin/router-core
Rss:                 264 kB
Anonymous:             0 kB
VmFlags: rd mr mw me
55d0c8a42000-55d0c8c00000 r-xp 00042000 fe:01 131 /usr/bin/router-core
Anonymous:             0 kB
55d0c8c00000-55d0c8c08000 r--p 00200000 fe:01 131 /usr/bin/router-core
Anonymous:            32 kB
55d0c8c08000-55d0c8c09000 rw-p 00208000 fe:01 131 /usr/bin/router-core
Anonymous:             0 kB
55d0ca000000-55d0ca021000 rw-p 00000000 00:00 0 [heap]
Anonymous:             0 kB
7ffd1a000000-7ffd1a002000 r-xp 00000000 00:00 0 [vdso]
Anonymous:             0 kB
";

    #[test]
    fn only_untouched_pages_of_files_are_let_go() {
        let clean = clean_mappings(SMAPS.as_bytes());
        let expected = [(0x55d0_c8a0_0000, 0x55d0_c8a4_2000), (0x55d0_c8a4_2000, 0x55d0_c8c0_0000)];
        assert_eq!(clean, expected.map(|(start, end)| Mapping { start, end }));
    }
}
