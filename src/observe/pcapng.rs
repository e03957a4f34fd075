//! A writer of pcapng files (draft-ietf-opsawg-pcapng): named interfaces, stamps in nanoseconds, the direction of every frame.

use std::io::{self, Write};

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const ETHERNET: u16 = 1;

const END_OF_OPTIONS: u16 = 0;
const COMMENT: u16 = 1;
const SECTION_APPLICATION: u16 = 4;
const INTERFACE_NAME: u16 = 2;
const INTERFACE_TEXT: u16 = 3;
const INTERFACE_RESOLUTION: u16 = 9;
const PACKET_FLAGS: u16 = 2;
const STATISTICS_RECEIVED: u16 = 4;
const STATISTICS_DROPPED: u16 = 5;

/// An interface of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name, as Wireshark shows it.
    pub name: String,
    /// What it is, in a few words.
    pub description: String,
    /// The most octets that are kept of a frame; 0: no limit.
    pub snap_length: u32,
}

/// A frame of a capture.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Index among the interfaces that the writer was made with.
    pub interface: u32,
    /// Nanoseconds since 1970.
    pub realtime: u64,
    /// What was kept of it.
    pub octets: &'a [u8],
    /// How long it was.
    pub length: usize,
    /// Whether the interface sent it.
    pub outbound: bool,
}

/// Writes a capture. Every block is written by one call, so that a reader of a pipe never waits for half a frame.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    block: Vec<u8>,
    written: u64,
}

impl<W: Write> Writer<W> {
    /// Starts a capture with its interfaces.
    ///
    /// # Errors
    /// Those of writing.
    pub fn new(out: W, interfaces: &[Interface]) -> io::Result<Writer<W>> {
        let mut writer = Writer { out, block: Vec::with_capacity(2048), written: 0 };
        writer.begin(SECTION_HEADER);
        writer.u32(BYTE_ORDER);
        writer.u16(1);
        writer.u16(0);
        writer.block.extend(u64::MAX.to_le_bytes()); // section length: not said
        writer.option(SECTION_APPLICATION, concat!("testbed ", env!("CARGO_PKG_VERSION")).as_bytes());
        writer.end_of_options();
        writer.end()?;
        for interface in interfaces {
            writer.begin(INTERFACE_DESCRIPTION);
            writer.u16(ETHERNET);
            writer.u16(0);
            writer.u32(interface.snap_length);
            writer.option(INTERFACE_NAME, interface.name.as_bytes());
            writer.option(INTERFACE_TEXT, interface.description.as_bytes());
            writer.option(INTERFACE_RESOLUTION, &[9]);
            writer.end_of_options();
            writer.end()?;
        }
        Ok(writer)
    }

    /// Writes a frame.
    ///
    /// # Errors
    /// Those of writing.
    pub fn frame(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        self.begin(ENHANCED_PACKET);
        self.u32(frame.interface);
        self.u32((frame.realtime >> 32) as u32);
        self.u32(frame.realtime as u32);
        self.u32(u32::try_from(frame.octets.len()).unwrap_or(u32::MAX));
        self.u32(u32::try_from(frame.length).unwrap_or(u32::MAX));
        self.block.extend_from_slice(frame.octets);
        self.pad();
        self.option(PACKET_FLAGS, &(if frame.outbound { 2u32 } else { 1 }).to_le_bytes());
        self.end_of_options();
        self.end()
    }

    /// Writes what became of an interface's capture: frames kept and lost, and a remark.
    ///
    /// # Errors
    /// Those of writing.
    pub fn statistics(
        &mut self,
        interface: u32,
        realtime: u64,
        received: u64,
        dropped: u64,
        comment: Option<&str>,
    ) -> io::Result<()> {
        self.begin(INTERFACE_STATISTICS);
        self.u32(interface);
        self.u32((realtime >> 32) as u32);
        self.u32(realtime as u32);
        if let Some(comment) = comment {
            self.option(COMMENT, comment.as_bytes());
        }
        self.option(STATISTICS_RECEIVED, &received.to_le_bytes());
        self.option(STATISTICS_DROPPED, &dropped.to_le_bytes());
        self.end_of_options();
        self.end()
    }

    /// Octets written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Octets that a frame of `captured` octets takes.
    pub fn frame_size(captured: usize) -> u64 {
        (12 + 20 + captured.next_multiple_of(4) + 12) as u64
    }

    /// Hands buffered octets on.
    ///
    /// # Errors
    /// Those of writing.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn begin(&mut self, kind: u32) {
        self.block.clear();
        self.u32(kind);
        self.u32(0); // the length, known at the end
    }

    fn end(&mut self) -> io::Result<()> {
        let length = (self.block.len() + 4) as u32;
        self.block[4..8].copy_from_slice(&length.to_le_bytes());
        self.u32(length);
        self.out.write_all(&self.block)?;
        self.written += u64::from(length);
        Ok(())
    }

    fn u16(&mut self, value: u16) {
        self.block.extend_from_slice(&value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.block.extend_from_slice(&value.to_le_bytes());
    }

    fn pad(&mut self) {
        self.block.resize(self.block.len().next_multiple_of(4), 0);
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        let value = &value[..value.len().min(usize::from(u16::MAX))];
        self.u16(code);
        self.u16(value.len() as u16);
        self.block.extend_from_slice(value);
        self.pad();
    }

    fn end_of_options(&mut self) {
        self.u16(END_OF_OPTIONS);
        self.u16(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(mut octets: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let mut blocks = Vec::new();
        while !octets.is_empty() {
            let word = |at: usize| u32::from_le_bytes(octets[at..at + 4].try_into().unwrap());
            let length = word(4) as usize;
            assert_eq!(length % 4, 0);
            assert_eq!(word(length - 4) as usize, length, "the length stands at both ends");
            blocks.push((word(0), octets[8..length - 4].to_vec()));
            octets = &octets[length..];
        }
        blocks
    }

    #[test]
    fn a_capture_has_the_blocks_that_the_format_asks_for() {
        let mut octets = Vec::new();
        let interface = |name: &str| Interface { name: name.into(), description: "one end".into(), snap_length: 128 };
        let mut writer = Writer::new(&mut octets, &[interface("r1.eth0"), interface("r2.eth0")]).unwrap();
        let before = writer.written();
        writer
            .frame(&Frame {
                interface: 1,
                realtime: 0x1_0000_0002,
                octets: &[1, 2, 3, 4, 5],
                length: 60,
                outbound: true,
            })
            .unwrap();
        assert_eq!(writer.written() - before, Writer::<Vec<u8>>::frame_size(5));
        writer.statistics(1, 7, 1, 0, Some("cut")).unwrap();
        let written = writer.written();
        assert_eq!(written as usize, octets.len());

        let blocks = blocks(&octets);
        assert_eq!(blocks.iter().map(|b| b.0).collect::<Vec<_>>(), [SECTION_HEADER, 1, 1, 6, 5]);
        let packet = &blocks[3].1;
        assert_eq!(packet[..20], [1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 60, 0, 0, 0]);
        assert_eq!(packet[20..28], [1, 2, 3, 4, 5, 0, 0, 0]);
        assert_eq!(packet[28..], [2, 0, 4, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    }
}
