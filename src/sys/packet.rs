//! Packet sockets (`AF_PACKET`) with a memory-mapped receive ring: what taps and captures read frames from.
//!
//! A ring belongs to the network namespace in which its socket was opened, and stays usable from any thread.
//! It needs no receive buffer beyond `rmem_max`: its memory is its own, so an ordinary user's taps are as deep as root's.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};

/// One instruction of a classic BPF program, as `SO_ATTACH_FILTER` takes it.
pub use libc::sock_filter as Instruction;

/// Octets that one slot needs beside the frame: the kernel's header, the link-layer address and the alignment of an Ethernet frame.
pub const SLOT_OVERHEAD: usize = 66;

const BLOCK: usize = 64 * 1024;
/// Bytes for whole copies of frames that do not fit a slot; the kernel takes at most `rmem_max`.
const COPY_BUFFER: libc::c_int = 1 << 20;
const ADDRESS_OFFSET: usize = mem::size_of::<libc::tpacket2_hdr>().next_multiple_of(16);

/// A frame as a packet socket gives it, link-layer header first.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// When the kernel saw it: nanoseconds of `CLOCK_REALTIME`.
    pub realtime: u64,
    /// Its octets, as many as the filter and the slot let through.
    pub octets: &'a [u8],
    /// How long it was on the wire.
    pub length: usize,
    /// Whether this interface sent it (else it came in).
    pub outgoing: bool,
    /// Whether its transport checksum is still to be computed (checksum offload): the field holds a partial sum.
    pub checksum_pending: bool,
}

/// The size of a [`Ring`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Frames that it holds; rounded up to fill whole blocks of 64 KiB.
    pub slots: usize,
    /// Octets a slot, [`SLOT_OVERHEAD`] included: a power of two from 128 to 65536. A longer frame is read from a copy of its own.
    pub slot_size: usize,
}

/// A packet socket on one interface with its receive ring.
#[derive(Debug)]
pub struct Ring {
    socket: OwnedFd,
    memory: NonNull<u8>,
    length: usize,
    slots: usize,
    slot_size: usize,
    next: usize,
    copy: Vec<u8>,
}

// SAFETY: the mapping is owned by the ring alone and shared with nobody but the kernel, which hands slots over by their atomic status word;
// nothing in it depends on the thread.
unsafe impl Send for Ring {}

impl Ring {
    /// Opens a ring on an interface of the calling thread's network namespace. The filter is in force before the first frame comes.
    ///
    /// # Errors
    /// Those of the system calls; `InvalidInput` for a shape that cannot be.
    pub fn open(interface: u32, filter: &[Instruction], shape: Shape) -> io::Result<Ring> {
        let size = shape.slot_size;
        if !size.is_power_of_two() || !(128..=BLOCK).contains(&size) || shape.slots == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("a packet ring of {shape:?} is impossible"),
            ));
        }
        let blocks = (shape.slots * size).div_ceil(BLOCK);
        let slots = blocks * (BLOCK / size);
        let length = blocks * BLOCK;
        let number = |n: usize| u32::try_from(n).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));

        // SAFETY: no pointer is passed; protocol 0 keeps the socket deaf until it is bound.
        let fd = check(unsafe {
            libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0)
        })?;
        // SAFETY: the descriptor was just made and belongs to nobody else.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        set_filter(&socket, filter)?;
        set_option(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1i32)?;
        set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUF, &COPY_BUFFER)?;
        set_option(&socket, libc::SOL_PACKET, libc::PACKET_VERSION, &(libc::tpacket_versions::TPACKET_V2 as i32))?;
        set_option(&socket, libc::SOL_PACKET, libc::PACKET_COPY_THRESH, &1i32)?;
        let request = libc::tpacket_req {
            tp_block_size: number(BLOCK)?,
            tp_block_nr: number(blocks)?,
            tp_frame_size: number(size)?,
            tp_frame_nr: number(slots)?,
        };
        set_option(&socket, libc::SOL_PACKET, libc::PACKET_RX_RING, &request)?;
        // SAFETY: a fresh mapping of the length that the ring was just given; the result is checked.
        let memory = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                socket.as_raw_fd(),
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(memory.cast::<u8>()).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let ring = Ring { socket, memory, length, slots, slot_size: size, next: 0, copy: Vec::new() };

        let interface =
            i32::try_from(interface).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "no interface index"))?;
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
            sll_ifindex: interface,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        // SAFETY: the address lives through the call and its length is its own.
        check(unsafe {
            libc::bind(
                ring.socket.as_raw_fd(),
                ptr::from_ref(&address).cast(),
                mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        })?;
        Ok(ring)
    }

    /// Frames that the ring can hold.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Gives every frame that has arrived, at most `limit`, in order. Never blocks.
    pub fn drain(&mut self, limit: usize, mut each: impl FnMut(Frame<'_>)) -> usize {
        let mut taken = 0;
        while taken < limit {
            let offset = self.next * self.slot_size;
            // SAFETY: `next < slots`, so the slot lies inside the mapping; blocks are page-aligned and slot sizes powers of two of at least
            // 128, so the header at the slot's start is aligned. The status word is the header's first field and is only touched atomically.
            let status = unsafe { AtomicU32::from_ptr(self.memory.as_ptr().add(offset).cast::<u32>()) };
            let flags = status.load(Ordering::Acquire);
            if flags & libc::TP_STATUS_USER == 0 {
                break;
            }
            // SAFETY: the acquire load saw that the kernel has handed the slot over, so it is ours, initialised and unchanging until the
            // store below gives it back; it lies inside the mapping as said above.
            let slot = unsafe { std::slice::from_raw_parts(self.memory.as_ptr().add(offset), self.slot_size) };
            // SAFETY: the slot starts with this header (`TPACKET_V2`), plain integers that any octets are valid for.
            let header = unsafe { ptr::read_unaligned(slot.as_ptr().cast::<libc::tpacket2_hdr>()) };
            let start = usize::from(header.tp_mac).min(slot.len());
            let end = (start + header.tp_snaplen as usize).min(slot.len());
            let octets = if flags & libc::TP_STATUS_COPY != 0 {
                receive_copy(&self.socket, &mut self.copy, header.tp_len as usize).unwrap_or(&slot[start..end])
            } else {
                &slot[start..end]
            };
            // `sll_pkttype` is the eleventh octet of the `sockaddr_ll` behind the header.
            let outgoing =
                slot[ADDRESS_OFFSET + mem::offset_of!(libc::sockaddr_ll, sll_pkttype)] == libc::PACKET_OUTGOING;
            each(Frame {
                realtime: u64::from(header.tp_sec) * 1_000_000_000 + u64::from(header.tp_nsec),
                octets,
                length: header.tp_len as usize,
                outgoing,
                checksum_pending: flags & libc::TP_STATUS_CSUMNOTREADY != 0,
            });
            status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
            self.next = (self.next + 1) % self.slots;
            taken += 1;
        }
        taken
    }

    /// Frames that the kernel could not put into the ring since the last call.
    ///
    /// # Errors
    /// Those of `getsockopt`.
    pub fn take_drops(&self) -> io::Result<u64> {
        let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut length = mem::size_of_val(&statistics) as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` octets into a structure of that size.
        check(unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                ptr::from_mut(&mut statistics).cast(),
                &mut length,
            )
        })?;
        Ok(u64::from(statistics.tp_drops))
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `open` with this length, and nothing borrows from it any more.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), self.length) };
    }
}

/// The whole of a frame that did not fit its slot; copies queue up in the order of their slots.
fn receive_copy<'a>(socket: &OwnedFd, buffer: &'a mut Vec<u8>, length: usize) -> Option<&'a [u8]> {
    buffer.resize(length, 0);
    // SAFETY: the kernel writes at most the buffer's length.
    let got = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT) };
    usize::try_from(got).ok().map(|got| &buffer[..got])
}

fn set_filter(socket: &OwnedFd, filter: &[Instruction]) -> io::Result<()> {
    if filter.is_empty() {
        return Ok(());
    }
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
        // The kernel only reads the program.
        filter: filter.as_ptr().cast_mut(),
    };
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

fn set_option<T>(socket: &OwnedFd, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the value lives through the call, the length is its own, and what a filter points to lives in the caller's frame.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            ptr::from_ref(value).cast(),
            mem::size_of::<T>() as libc::socklen_t,
        )
    })?;
    Ok(())
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
