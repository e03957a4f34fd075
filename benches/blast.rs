//! A bare loop of the system calls that the bulk sender and receiver make: what they are compared with.
//!
//! `blast send INTERFACE GROUP SIZE SEGMENTS MILLISECONDS` sends datagrams of SIZE octets, SEGMENTS of them a call (`UDP_SEGMENT`; 1: plain),
//! the first four octets a sequence number. `blast receive INTERFACE GROUP SIZE MILLISECONDS` counts what it gets (`recvmmsg`, `UDP_GRO`),
//! and ends a quarter of a second after the last. INTERFACE is a kernel index, the port is 5002. One JSON line each.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const PORT: u16 = 5002;
const BATCH: usize = 64;
const BUFFER: usize = 65536;
const RECEIVE_BUFFER: libc::c_int = 256 << 20;
const IDLE: Duration = Duration::from_millis(250);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize| arguments.get(place).and_then(|text| text.parse::<usize>().ok());
    let group = arguments.get(2).and_then(|text| text.parse::<Ipv4Addr>().ok());
    let done = match (arguments.first().map(String::as_str), number(1), group, number(3), number(4), number(5)) {
        (Some("send"), Some(interface), Some(group), Some(size), Some(segments), Some(time))
            if (4..=65000).contains(&size) && segments > 0 && size * segments <= 65000 =>
        {
            send(interface, group, size, segments, Duration::from_millis(time as u64))
        }
        (Some("receive"), Some(interface), Some(group), Some(size), Some(time), None) if size >= 4 => {
            receive(interface, group, size, Duration::from_millis(time as u64))
        }
        _ => {
            eprintln!(
                "usage: blast send INTERFACE GROUP SIZE SEGMENTS MILLISECONDS\n       \
                 blast receive INTERFACE GROUP SIZE MILLISECONDS"
            );
            return ExitCode::from(2);
        }
    };
    match done {
        Ok((packets, seconds)) => {
            let rate = if seconds > 0.0 { packets as f64 / seconds } else { 0.0 };
            println!("{{\"packets\":{packets},\"seconds\":{seconds:.3},\"rate\":{rate:.0}}}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("blast: {error}");
            ExitCode::from(3)
        }
    }
}

fn set<T>(socket: &UdpSocket, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    let length = mem::size_of::<T>() as libc::socklen_t;
    // SAFETY: the pointer and the length are those of a live value, which the kernel only reads.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (value as *const T).cast(), length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn membership(interface: usize, group: Ipv4Addr) -> libc::ip_mreqn {
    libc::ip_mreqn {
        imr_multiaddr: libc::in_addr { s_addr: u32::from(group).to_be() },
        imr_address: libc::in_addr { s_addr: 0 },
        imr_ifindex: interface as libc::c_int,
    }
}

fn send(interface: usize, group: Ipv4Addr, size: usize, segments: usize, time: Duration) -> io::Result<(u64, f64)> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    set(&socket, libc::IPPROTO_IP, libc::IP_MULTICAST_IF, &membership(interface, group))?;
    socket.set_multicast_ttl_v4(16)?;
    socket.set_multicast_loop_v4(false)?;
    socket.connect((group, PORT))?;
    if segments > 1 {
        set(&socket, libc::SOL_UDP, libc::UDP_SEGMENT, &(size as libc::c_int))?;
    }
    let mut payload = vec![0; size * segments];
    let (mut packets, mut sequence) = (0, 0_u32);
    let start = Instant::now();
    while start.elapsed() < time {
        for segment in payload.chunks_exact_mut(size) {
            segment[..4].copy_from_slice(&sequence.to_be_bytes());
            sequence = sequence.wrapping_add(1);
        }
        match socket.send(&payload) {
            Ok(_) => packets += segments as u64,
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
            Err(error) => return Err(error),
        }
    }
    Ok((packets, start.elapsed().as_secs_f64()))
}

fn receive(interface: usize, group: Ipv4Addr, size: usize, time: Duration) -> io::Result<(u64, f64)> {
    let socket = UdpSocket::bind((group, PORT))?;
    // An ordinary user gets what rmem_max allows.
    if set(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &RECEIVE_BUFFER).is_err() {
        set(&socket, libc::SOL_SOCKET, libc::SO_RCVBUF, &RECEIVE_BUFFER)?;
    }
    set(&socket, libc::SOL_UDP, libc::UDP_GRO, &1_i32)?;
    set(&socket, libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP, &membership(interface, group))?;
    let mut buffers = vec![[0_u8; BUFFER]; BATCH];
    let mut slices: Vec<libc::iovec> =
        buffers.iter_mut().map(|b| libc::iovec { iov_base: b.as_mut_ptr().cast(), iov_len: BUFFER }).collect();
    let mut headers: Vec<libc::mmsghdr> = slices
        .iter_mut()
        .map(|slice| {
            // SAFETY: all zeroes are a valid header: no name, no control data.
            let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
            header.msg_hdr.msg_iov = slice;
            header.msg_hdr.msg_iovlen = 1;
            header
        })
        .collect();
    println!("{{\"ready\":true}}");
    let (mut packets, mut first, mut last) = (0, None, Instant::now());
    let start = Instant::now();
    let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    while start.elapsed() < time && (first.is_none() || last.elapsed() < IDLE) {
        // SAFETY: one pollfd, and the count says so.
        if unsafe { libc::poll(&mut poll, 1, 50) } <= 0 {
            continue;
        }
        // SAFETY: every header points at an iovec, and that at a buffer, of vectors that live and stay where they are until the function ends.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        if count <= 0 {
            continue;
        }
        last = Instant::now();
        first.get_or_insert(last);
        for header in &headers[..count as usize] {
            packets += (header.msg_len as usize).div_ceil(size) as u64;
        }
    }
    let seconds = first.map_or(0.0, |first| last.duration_since(first).as_secs_f64());
    Ok((packets, seconds))
}
