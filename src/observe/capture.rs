//! Capture files of wires: one named interface an attachment, control messages whole, data cut to its headers and stamp, bounded in size.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use super::order::Queue;
use super::pcapng::{self, Interface, Writer};
use crate::sys::packet;
use crate::topology::plan::{Plan, WireId, WireKind};

/// Octets that are kept of a data frame: all headers and the stamp.
pub const DATA_OCTETS: u32 = 128;
/// Octets of all captures of a scenario together, and of one wire's.
const ALL_MAX: u64 = 256 << 20;
const WIRE: (u64, u64) = (256 << 10, 32 << 20);

/// The most octets of frames in each capture of so many wires.
pub fn limit(wires: usize) -> u64 {
    (ALL_MAX / (wires as u64).max(1)).clamp(WIRE.0, WIRE.1)
}

/// A capture file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the capture {path}: {source}")]
pub struct CaptureError {
    /// The file.
    pub path: PathBuf,
    /// The cause.
    pub source: io::Error,
}

/// The capture file of one wire.
#[derive(Debug)]
pub struct Capture {
    path: PathBuf,
    writer: Writer<BufWriter<File>>,
    queue: Queue,
    /// Octets that the file will have once the queue is written.
    size: u64,
    limit: u64,
    kept: Vec<u64>,
    left_out: Vec<u64>,
    last: u64,
}

impl Capture {
    /// Creates `directory/WIRE.pcapng`. At most `limit` octets of frames are written; of data frames `data_octets` each.
    ///
    /// # Errors
    /// [`CaptureError`] if the file cannot be made.
    pub fn of_wire(
        plan: &Plan,
        wire: WireId,
        directory: &Path,
        limit: u64,
        data_octets: u32,
    ) -> Result<Capture, CaptureError> {
        let path = directory.join(file_name(&plan.wire(wire).name));
        let interfaces = interfaces(plan, wire, &format!("data cut to {data_octets} octets"));
        let open = || Writer::new(BufWriter::new(File::create(&path)?), &interfaces);
        let writer = open().map_err(|source| CaptureError { path: path.clone(), source })?;
        let ends = interfaces.len();
        let size = writer.written();
        Ok(Capture {
            path,
            writer,
            queue: Queue::default(),
            size,
            limit,
            kept: vec![0; ends],
            left_out: vec![0; ends],
            last: 0,
        })
    }

    /// Takes a frame that was seen at one end, unless the file is full.
    pub fn take(&mut self, end: u16, outbound: bool, frame: &packet::Frame<'_>) {
        self.last = self.last.max(frame.realtime);
        let size = Writer::<File>::frame_size(frame.octets.len());
        // Once a frame was left out, all later ones are: a capture has no holes before its end.
        let full = self.size + size > self.limit || self.left_out.iter().any(|count| *count > 0);
        let counts = if full { &mut self.left_out } else { &mut self.kept };
        if let Some(count) = counts.get_mut(usize::from(end)) {
            *count += 1;
        }
        if full {
            return;
        }
        self.size += size;
        self.queue.push(&pcapng::Frame {
            interface: u32::from(end),
            realtime: frame.realtime,
            octets: frame.octets,
            length: frame.length,
            outbound,
        });
    }

    /// Writes the frames up to a time, in order.
    ///
    /// # Errors
    /// [`CaptureError`] if the file cannot be written.
    pub fn write_until(&mut self, realtime: u64) -> Result<(), CaptureError> {
        if self.queue.is_empty() {
            return Ok(());
        }
        self.queue.write_until(realtime, &mut self.writer).map_err(|source| self.error(source))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// If frames were left out because the file is full, a sentence that says so.
    pub fn cut(&self) -> Option<String> {
        let count = self.left_out.iter().sum::<u64>();
        (count > 0).then(|| {
            format!(
                "{}: the last {count} frames are missing, its limit of {} octets was reached",
                self.path.display(),
                self.limit
            )
        })
    }

    /// Hands everything taken so far to the file.
    ///
    /// # Errors
    /// [`CaptureError`] if the file cannot be written.
    pub fn flush(&mut self) -> Result<(), CaptureError> {
        self.write_until(u64::MAX)?;
        self.writer.flush().map_err(|source| self.error(source))
    }

    /// Completes the file with each end's counts.
    ///
    /// # Errors
    /// [`CaptureError`] if the file cannot be written.
    pub fn finish(mut self) -> Result<(), CaptureError> {
        self.flush()?;
        let cut = self.cut();
        for (end, (kept, left_out)) in (0u32..).zip(self.kept.iter().zip(&self.left_out)) {
            let comment = cut.as_deref().filter(|_| *left_out > 0);
            let written = self.writer.statistics(end, self.last, kept + left_out, *left_out, comment);
            written.map_err(|source| CaptureError { path: self.path.clone(), source })?;
        }
        self.flush()
    }

    fn error(&self, source: io::Error) -> CaptureError {
        CaptureError { path: self.path.clone(), source }
    }
}

/// The interfaces of a wire's capture, in the order of its ends.
pub fn interfaces(plan: &Plan, wire: WireId, remark: &str) -> Vec<Interface> {
    let wire = plan.wire(wire);
    let side = match wire.kind {
        WireKind::Link => "link",
        WireKind::Lan { .. } => "port of LAN",
    };
    let comma = if remark.is_empty() { "" } else { ", " };
    let interface = |at| Interface {
        name: plan.name_of(at),
        description: format!("{side} {}{comma}{remark}", wire.name),
        snap_length: 0,
    };
    wire.ends.iter().map(|at| interface(*at)).collect()
}

/// A file's name for a wire's: names may hold what a file's may not.
fn file_name(wire: &str) -> String {
    let safe = |c: char| if c == '/' || c.is_control() { '_' } else { c };
    format!("{}.pcapng", wire.chars().map(safe).collect::<String>())
}
