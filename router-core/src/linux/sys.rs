//! The socket options and requests that no safe wrapper knows (`linux/mroute.h`, `linux/in.h`).

use std::io;
use std::mem::size_of;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// Options of the multicast routing socket.
pub mod mrt {
    pub const INIT: i32 = 200;
    pub const ADD_VIF: i32 = 202;
    pub const DEL_VIF: i32 = 203;
    pub const ADD_MFC: i32 = 204;
    pub const DEL_MFC: i32 = 205;
    pub const ASSERT: i32 = 207;
    pub const PIM: i32 = 208;
}

/// Virtual interfaces in a multicast routing table at most.
pub const MAXVIFS: usize = 32;
/// `VIFF_USE_IFINDEX`: [`VifControl::ifindex`] names the interface.
pub const VIFF_USE_IFINDEX: u8 = 0x8;
/// `VIFF_REGISTER`: the interface that registers arrive by, and packets to be registered leave by.
pub const VIFF_REGISTER: u8 = 0x4;
/// Octets of a buffer that is large.
#[cfg(target_env = "gnu")]
const LARGE: i32 = 64 * 1024;
/// Nanoseconds of a short slice of time: the least that Linux gives.
const SLICE: u64 = 100_000;
/// `SIOCGETSGCNT`: counters of an entry.
const SIOCGETSGCNT: libc::c_ulong = 0x89e1;

/// `struct vifctl` with an interface index.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct VifControl {
    pub vif: u16,
    pub flags: u8,
    pub threshold: u8,
    pub rate_limit: u32,
    pub ifindex: i32,
    pub remote: u32,
}

/// `struct mfcctl`. Addresses in network order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct EntryControl {
    pub origin: [u8; 4],
    pub group: [u8; 4],
    pub parent: u16,
    pub ttls: [u8; MAXVIFS],
    pub packets: u32,
    pub octets: u32,
    pub wrong_interface: u32,
    pub expire: i32,
}

/// `struct sioc_sg_req`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct EntryCounters {
    pub source: [u8; 4],
    pub group: [u8; 4],
    pub packets: libc::c_ulong,
    pub octets: libc::c_ulong,
    pub wrong_interface: libc::c_ulong,
}

/// Types that the kernel may read as plain bytes: `repr(C)`, integers and arrays of them only.
///
/// # Safety
/// Every bit pattern that safe code can make of the type is one that the kernel may be given for its length.
pub unsafe trait Plain: Copy {}
// SAFETY: an integer.
unsafe impl Plain for i32 {}
// SAFETY: `repr(C)` of integers, without padding.
unsafe impl Plain for VifControl {}
// SAFETY: `repr(C)` of integers; padding after `ttls` is only ever read by the kernel, which ignores it.
unsafe impl Plain for EntryControl {}

/// A raw IPv4 socket for a protocol number, non-blocking and closed on exec.
pub fn raw_socket(protocol: i32) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: `socket` takes no pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, kind, protocol) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Unmaps the pages of a mapping that is not writable and has no page of this process's own (`Anonymous: 0 kB` in smaps(5)). They come
/// back from the file when they are needed.
pub(super) fn unmap_clean_pages(start: usize, end: usize) {
    // SAFETY: pages of a private file mapping that were never written are equal to the file's. Dropping them from the page table loses
    // nothing: the next access maps the same pages again. The caller has made sure that there are no others in the range, and a range that
    // is not writable gets no others. An error changes nothing.
    unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
}

/// Gives free memory of the heap back to the kernel, where the C library can.
pub(super) fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a size and changes nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Gives each buffer of [`LARGE`] octets or more pages of its own, where the C library can: those that nobody has written to take no memory.
pub(super) fn keep_large_buffers_apart() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it changes only where memory that is asked for from now on comes from.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}

/// Asks the scheduler for slices of time as short as it has them (Linux 6.12): whoever needs the processor for moments then gets it when
/// something happens, and not once another's longer slice is over. An older kernel takes no notice.
pub(super) fn ask_for_short_slices() {
    let size = size_of::<libc::sched_attr>() as u32;
    // SAFETY: a structure of integers, of which zeros are values.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    // SAFETY: of this thread (0); the kernel writes no more than `size` octets to `attributes` and reads no more than the `size` in it.
    unsafe {
        let got = libc::syscall(libc::SYS_sched_getattr, 0, std::ptr::from_mut(&mut attributes), size, 0);
        if got == 0 && attributes.sched_policy == libc::SCHED_OTHER as u32 {
            attributes.sched_runtime = SLICE;
            libc::syscall(libc::SYS_sched_setattr, 0, std::ptr::from_ref(&attributes), 0);
        }
    }
}

/// `setsockopt` of an IPv4 option with a plain value.
pub fn set_option<T: Plain>(socket: impl AsFd, option: i32, value: &T) -> io::Result<()> {
    // SAFETY: `value` is valid for reads of its own size during the call, and `Plain` says that the kernel may read it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_IP,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads the counters of an entry (`SIOCGETSGCNT`).
pub fn entry_counters(socket: impl AsFd, source: Ipv4Addr, group: Ipv4Addr) -> io::Result<EntryCounters> {
    let mut request = EntryCounters { source: source.octets(), group: group.octets(), ..EntryCounters::default() };
    // SAFETY: the kernel reads and writes one `sioc_sg_req`, which `request` has the layout of, during the call only.
    let result =
        unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), SIOCGETSGCNT as _, std::ptr::from_mut(&mut request)) };
    if result == 0 { Ok(request) } else { Err(io::Error::last_os_error()) }
}

/// Joins a group from all sources on an interface, in EXCLUDE mode (`MCAST_JOIN_GROUP`).
pub fn join_group(socket: impl AsFd, interface: u32, group: Ipv4Addr) -> io::Result<()> {
    // `struct group_req`: interface, group.
    let mut bytes = aligned(interface);
    bytes.extend(storage(group));
    set_bytes(socket, libc::MCAST_JOIN_GROUP, &bytes)
}

/// Joins a group for one source on an interface, in INCLUDE mode (`MCAST_JOIN_SOURCE_GROUP`).
pub fn join_source(socket: impl AsFd, interface: u32, group: Ipv4Addr, source: Ipv4Addr) -> io::Result<()> {
    set_bytes(socket, libc::MCAST_JOIN_SOURCE_GROUP, &source_request(interface, group, source))
}

/// Sets the whole source filter of a group that the socket is a member of (`MCAST_MSFILTER`).
pub fn set_filter(
    socket: impl AsFd,
    interface: u32,
    group: Ipv4Addr,
    is_include: bool,
    sources: &[Ipv4Addr],
) -> io::Result<()> {
    set_bytes(socket, libc::MCAST_MSFILTER, &filter_request(interface, group, is_include, sources))
}

fn set_bytes(socket: impl AsFd, option: i32, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: `bytes` is valid for reads of its length during the call, which copies it (its alignment does not matter).
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_IP,
            option,
            bytes.as_ptr().cast(),
            bytes.len() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `struct group_source_req`: interface, group, source.
fn source_request(interface: u32, group: Ipv4Addr, source: Ipv4Addr) -> Vec<u8> {
    let mut bytes = aligned(interface);
    bytes.extend(storage(group));
    bytes.extend(storage(source));
    bytes
}

/// `struct group_filter`: interface, group, mode, number of sources, the sources.
fn filter_request(interface: u32, group: Ipv4Addr, is_include: bool, sources: &[Ipv4Addr]) -> Vec<u8> {
    let mode = if is_include { libc::MCAST_INCLUDE } else { libc::MCAST_EXCLUDE };
    let mut bytes = aligned(interface);
    bytes.extend(storage(group));
    bytes.extend((mode as u32).to_ne_bytes());
    bytes.extend((sources.len() as u32).to_ne_bytes());
    for source in sources {
        bytes.extend(storage(*source));
    }
    bytes
}

/// An interface index, padded so that a socket address may follow.
fn aligned(interface: u32) -> Vec<u8> {
    let mut bytes = interface.to_ne_bytes().to_vec();
    bytes.resize(align_of::<libc::sockaddr_storage>(), 0);
    bytes
}

/// A `sockaddr_storage` that holds a `sockaddr_in`.
fn storage(address: Ipv4Addr) -> [u8; size_of::<libc::sockaddr_storage>()] {
    let mut bytes = [0; size_of::<libc::sockaddr_storage>()];
    bytes[..2].copy_from_slice(&(libc::AF_INET as libc::sa_family_t).to_ne_bytes());
    bytes[4..8].copy_from_slice(&address.octets());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_the_kernels() {
        assert_eq!(size_of::<VifControl>(), 16);
        assert_eq!(size_of::<EntryControl>(), 60);
        assert_eq!(std::mem::offset_of!(EntryControl, packets), 44);
        assert_eq!(size_of::<EntryCounters>(), 8 + 3 * size_of::<libc::c_ulong>());
        if cfg!(target_pointer_width = "64") {
            let (group, source) = (Ipv4Addr::new(232, 1, 1, 1), Ipv4Addr::new(10, 0, 0, 1));
            assert_eq!(source_request(7, group, source).len(), size_of::<libc::group_source_req>());
            let filter = filter_request(7, group, true, &[source]);
            assert_eq!(filter.len(), 144 + 128);
            assert_eq!(filter[136..144], [1u32.to_ne_bytes(), 1u32.to_ne_bytes()].concat());
            assert_eq!(filter[148..152], [10, 0, 0, 1]);
        }
    }
}
