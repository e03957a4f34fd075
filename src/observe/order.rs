//! Puts the frames of several taps into the order of their times: each ring is in order by itself, a file should be as a whole.

use std::io::{self, Write};

use super::pcapng::{Frame, Writer};

/// Frames that wait until no earlier one can come any more.
#[derive(Debug, Default)]
pub struct Queue {
    octets: Vec<u8>,
    waiting: Vec<Waiting>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    realtime: u64,
    interface: u32,
    outbound: bool,
    length: usize,
    start: usize,
    end: usize,
}

impl Queue {
    /// Takes a copy of a frame.
    pub fn push(&mut self, frame: &Frame<'_>) {
        let start = self.octets.len();
        self.octets.extend_from_slice(frame.octets);
        self.waiting.push(Waiting {
            realtime: frame.realtime,
            interface: frame.interface,
            outbound: frame.outbound,
            length: frame.length,
            start,
            end: self.octets.len(),
        });
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Writes what was seen up to a time, in order; frames of one time in the order in which they came.
    ///
    /// # Errors
    /// Those of writing; the frames are gone then.
    pub fn write_until<W: Write>(&mut self, realtime: u64, writer: &mut Writer<W>) -> io::Result<()> {
        self.waiting.sort_by_key(|frame| frame.realtime);
        let due = self.waiting.partition_point(|frame| frame.realtime <= realtime);
        let mut result = Ok(());
        for frame in self.waiting.drain(..due) {
            result = result.and_then(|()| {
                writer.frame(&Frame {
                    interface: frame.interface,
                    realtime: frame.realtime,
                    octets: &self.octets[frame.start..frame.end],
                    length: frame.length,
                    outbound: frame.outbound,
                })
            });
        }
        let mut kept = Vec::new();
        for frame in &mut self.waiting {
            let start = kept.len();
            kept.extend_from_slice(&self.octets[frame.start..frame.end]);
            (frame.start, frame.end) = (start, kept.len());
        }
        self.octets = kept;
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_leave_in_the_order_of_their_times() {
        let mut queue = Queue::default();
        for (interface, realtime) in [(0, 30), (0, 50), (1, 10), (1, 30), (1, 40)] {
            let octets = &[realtime as u8, interface as u8];
            queue.push(&Frame { interface, realtime, octets, length: 60, outbound: false });
        }
        let write = |queue: &mut Queue, until: u64| -> Vec<[u8; 2]> {
            let mut out = Vec::new();
            let mut writer = Writer::new(&mut out, &[]).unwrap();
            let header = writer.written() as usize;
            queue.write_until(until, &mut writer).unwrap();
            let size = Writer::<Vec<u8>>::frame_size(2) as usize;
            out[header..].chunks_exact(size).map(|block| [block[28], block[29]]).collect()
        };
        assert_eq!(write(&mut queue, 40), [[10, 1], [30, 0], [30, 1], [40, 1]]);
        assert!(!queue.is_empty());
        assert_eq!(write(&mut queue, u64::MAX), [[50, 0]]);
        assert!(queue.is_empty());
    }
}
